//! Comments on pull requests.

use std::time::{Duration, Instant};

use longshore_core::{Event, EventName, JobPlan, Outcome, event::PullRequest};
use longshore_forge_client::Http;
use longshore_outbox::Comments;
use longshore_store::{
    builds::Build,
    pull_request_comments,
    repos::{self, RepoPatch},
};
use tokio_util::sync::CancellationToken;

use crate::{
    forge::{self, Comment, Kind},
    killable::Killable,
    world::{World, claim, end, failure, job},
};

/// Returns a repository whose pull requests get comments, or none.
async fn world(kind: Kind, comments: bool) -> World {
    let world = World::new(kind).await;
    let mut tx = world.store.write().await.unwrap();
    let patch = RepoPatch { comments: Some(comments), ..RepoPatch::default() };
    repos::patch(&mut tx, world.repo, &patch).await.unwrap();
    tx.commit().await.unwrap();
    world
}

impl World {
    fn write_comments(&self) -> Killable {
        let comments =
            Comments { store: self.store.clone(), http: Http::default(), url: "https://ci.example".to_owned() };
        Killable::start(comments.run(CancellationToken::new()))
    }

    /// Builds a pull request to this end.
    async fn build_pull_request(&self, number: u64, name: &str, works: bool) -> Build {
        let mut event = Event::new(EventName::PullRequest, format!("refs/pull/{number}/head"), "1".repeat(40));
        event.pull_request = Some(PullRequest {
            title: "@everyone".to_owned(),
            action: "synchronize".to_owned(),
            fork: true,
            ..PullRequest::opened(number, "topic", "main")
        });
        let build = self.build(event, JobPlan { name: name.to_owned(), ..job("ci", "run") }).await;
        let outcome = if works { Outcome::Success } else { failure(7, "run `x` @everyone") };
        end(&self.store, &claim(&self.store).await, outcome).await;
        build
    }

    async fn all_is_written(&self) {
        let start = Instant::now();
        while !pull_request_comments::due(&self.store, &[], 1).await.unwrap().is_empty() {
            assert!(start.elapsed() < Duration::from_secs(600), "{:?}", self.forge.state().refused);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn comments(&self) -> Vec<Comment> {
        self.forge.state().comments.clone()
    }
}

const KINDS: [Kind; 6] = [Kind::Github, Kind::Gitea, Kind::Forgejo, Kind::Gitlab, Kind::Bitbucket, Kind::Gogs];

#[tokio::test(flavor = "multi_thread")]
async fn one_comment_says_what_failed_and_is_updated_in_place() {
    for kind in KINDS {
        let world = world(kind, true).await;
        let _writer = world.write_comments();
        // A pipeline that never failed gets no comment.
        world.build_pull_request(7, "test", true).await;
        let failed = world.build_pull_request(7, "test", false).await;
        world.all_is_written().await;
        let [first] = world.comments().try_into().unwrap();
        assert_eq!((first.repo, first.number, first.edits), (41, 7, 0), "{kind:?}");
        assert_eq!(first.body.contains("<!--"), kind != Kind::Bitbucket, "{}", first.body);
        for part in [&format!("https://ci.example/builds/{}", failed.id), "`test`", "failed with exit code 7"] {
            assert!(first.body.contains(part), "{kind:?}: {part} in {}", first.body);
        }
        world.build_pull_request(7, "other", false).await;
        world.all_is_written().await;
        let fixed = world.build_pull_request(7, "test", true).await;
        world.all_is_written().await;
        let [last] = world.comments().try_into().unwrap();
        assert_eq!((last.id, last.edits), (first.id, 2), "{kind:?}");
        assert!(last.body.contains(&fixed.id.to_string()) && last.body.contains("succeeded"), "{}", last.body);
        let refused = world.forge.state().refused.clone();
        assert!(refused.is_empty(), "{kind:?}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_others_wrote_is_markup_a_mention_or_a_command() {
    let world = world(Kind::Gitlab, true).await;
    let _writer = world.write_comments();
    world.build_pull_request(7, "x` @everyone\n/close\n[a](https://evil.example) #1 <b> `", false).await;
    world.all_is_written().await;
    let [comment] = world.comments().try_into().unwrap();
    let body = comment.body;
    assert!(!body.contains("@everyone") && !body.lines().any(|line| line.starts_with('/')), "{body}");
    // Whatever others wrote stands between backquotes: without what does, only ours is left.
    let outside: String = body.split('`').step_by(2).collect();
    for sign in ["evil", "<b>", "#1", "close"] {
        assert!(!outside.contains(sign), "{sign}: {outside}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_kills_and_a_forge_that_is_down_there_is_one_comment_with_the_last_word() {
    for kind in KINDS {
        let world = world(kind, true).await;
        let mut writer = world.write_comments();
        for n in 0..24 {
            match n % 6 {
                0 => world.forge.state().down = true,
                2 => world.forge.state().limited = 1,
                3 => {
                    drop(writer);
                    writer = world.write_comments();
                }
                4 => world.forge.state().down = false,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
            world.build_pull_request(n % 3, "test", n % 2 == 1).await;
        }
        world.forge.state().down = false;
        let last: Vec<Build> =
            [world.build_pull_request(0, "test", false).await, world.build_pull_request(1, "test", true).await].into();
        world.all_is_written().await;
        drop(writer);
        let comments = world.comments();
        for (number, build) in last.iter().enumerate() {
            let of: Vec<&Comment> = comments.iter().filter(|one| one.number == number as u64).collect();
            assert_eq!(of.len(), 1, "{kind:?} {number}: {of:?}");
            assert!(of[0].body.contains(&build.id.to_string()), "{kind:?} {number}: {of:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comment_that_was_made_before_a_kill_is_found_and_one_of_somebody_else_is_not_touched() {
    for kind in KINDS {
        let world = world(kind, true).await;
        // Bitbucket shows comments of HTML.
        let mark = if kind == Kind::Bitbucket { "[//]: # (longshore)\n" } else { "<!-- longshore -->" };
        let theirs = format!("{mark}\nnot ours");
        for (id, author) in [(1, "mallory"), (2, forge::ACCOUNT)] {
            let body = if id == 1 { theirs.clone() } else { format!("{mark}\nours") };
            let comment = Comment { id, repo: 41, number: 7, author: author.to_owned(), body, edits: 0 };
            world.forge.state().comments.push(comment);
        }
        let build = world.build_pull_request(7, "test", false).await;
        let key = pull_request_comments::Key { repo: world.repo, pull_request: 7 };
        let mut tx = world.store.write().await.unwrap();
        pull_request_comments::sending(&mut tx, key).await.unwrap();
        tx.commit().await.unwrap();
        let _writer = world.write_comments();
        world.all_is_written().await;
        let [first, second] = world.comments().try_into().unwrap();
        assert_eq!((first.body, first.edits), (theirs, 0), "{kind:?}");
        assert!(second.body.contains(&build.id.to_string()), "{kind:?}: {second:?}");
        // Somebody removes it: the next failure makes another one.
        world.forge.state().comments.clear();
        world.build_pull_request(7, "test", false).await;
        world.all_is_written().await;
        assert_eq!(world.comments().len(), 1, "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_without_the_setting_gets_none() {
    let world = world(Kind::Github, false).await;
    let _writer = world.write_comments();
    world.build_pull_request(7, "test", false).await;
    world.all_is_written().await;
    assert!(world.comments().is_empty());
}
