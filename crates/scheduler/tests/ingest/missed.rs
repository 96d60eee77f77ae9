//! Pushes without a webhook are found. A webhook that comes late, or is about another repository, starts nothing.

use longshore_core::Timestamp;
use longshore_store::{
    deliveries::{self, DeliveryStatus},
    repos::{self, RepoPatch},
};
use serde_json::json;

use crate::{NONE, PIPELINE, World, push};

const MAIN: &str = "refs/heads/main";

impl World {
    /// Looks at the repository. Returns what the deliveries became that stand for missed pushes.
    async fn check(&self) -> Vec<deliveries::Delivery> {
        let mut found = Vec::new();
        for push in self.scheduler.check_for_missed_pushes(self.repo.id).await.unwrap().found {
            found.push(self.end(push.delivery).await);
        }
        found
    }

    async fn patch(&self, patch: RepoPatch) {
        let mut tx = self.store.write().await.unwrap();
        repos::patch(&mut tx, self.repo.id, &patch).await.unwrap();
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn what_no_webhook_told_of_is_built_once_and_the_delivery_that_comes_later_names_the_build() {
    for forge in ["git", "github", "forgejo"] {
        let world = World::new(forge, PIPELINE).await;
        let first = world.repository.git(&["rev-parse", "HEAD"]);
        assert_eq!(world.check().await, [], "what was there before anybody looked is not built");
        let commit = world.repository.commit("told of late");
        world.repository.git(&["tag", "-a", "-m", "m", "v1"]);
        world.repository.git(&["branch", "other"]);
        let found = world.check().await;
        let mut built = Vec::new();
        for delivery in &found {
            assert!(delivery.found && delivery.status == DeliveryStatus::Done, "{delivery:?}");
            let build = world.build(delivery).await;
            assert!(build.event.found);
            built.push((build.event.name.as_str(), build.event.git_ref, build.event.commit, build.event.before));
        }
        assert_eq!(
            built,
            [
                ("push", MAIN.to_owned(), commit.clone(), Some(first.clone())),
                ("push", "refs/heads/other".to_owned(), commit.clone(), None),
                ("tag", "refs/tags/v1".to_owned(), commit.clone(), None),
            ],
            "{forge}"
        );
        assert_eq!(world.check().await, [], "{forge}");
        // The forge says where the branch was in between, too.
        let late = world.process("push", "id:1", &push(MAIN, &"1".repeat(40), &commit, 1)).await;
        assert_eq!((late.status, late.found), (DeliveryStatus::Ignored, false), "{forge}");
        assert!(late.reason.unwrap().contains("build #1"), "{forge}");
        assert_eq!(world.builds().await, 3, "{forge}");
        // A push whose webhook came is not found once more.
        let next = world.repository.commit("next");
        let told = world.process("push", "id:2", &push(MAIN, &commit, &next, 2)).await;
        assert!(!world.build(&told).await.event.found);
        assert_eq!(world.check().await, [], "{forge}");
    }
}

#[tokio::test]
async fn a_branch_that_was_deleted_and_comes_back_unseen_is_built_and_a_late_deletion_forgets_nothing() {
    let world = World::new("github", PIPELINE).await;
    world.check().await;
    let commit = world.repository.git(&["rev-parse", "HEAD"]);
    world.repository.git(&["branch", "topic"]);
    let topic = "refs/heads/topic";
    assert_eq!(world.check().await.len(), 1);
    world.repository.git(&["branch", "-D", "topic"]);
    assert_eq!(world.check().await, []);
    world.repository.git(&["branch", "topic"]);
    assert_eq!(world.build(&world.check().await[0]).await.number, 2);
    let other = "2".repeat(40);
    assert_eq!(world.process("push", "id:1", &push(topic, &other, NONE, 1)).await.status, DeliveryStatus::Ignored);
    assert_eq!(world.check().await, [], "the deletion was of another commit");
    let twin = world.process("push", "id:2", &push(topic, NONE, &commit, 2)).await;
    assert!(twin.reason.unwrap().contains("build #2"));
}

#[tokio::test]
async fn a_push_that_is_told_of_late_never_becomes_the_branchs_newest_build() {
    let world = World::new("forgejo", PIPELINE).await;
    let a = world.repository.git(&["rev-parse", "HEAD"]);
    world.build(&world.process("push", "id:a", &push(MAIN, NONE, &a, 1)).await).await;
    world.check().await;
    let (b, c) = (world.repository.commit("b"), world.repository.commit("c"));
    let found = world.check().await;
    assert_eq!(world.build(&found[0]).await.event.commit, c);
    let late = world.process("push", "id:b", &push(MAIN, &a, &b, 2)).await;
    assert_eq!(late.status, DeliveryStatus::Ignored);
    assert!(late.reason.as_ref().unwrap().contains("newer commit, built as #2"), "{late:?}");
    assert_eq!(world.check().await, []);
    // A person who wants it gets it.
    let mut tx = world.store.write().await.unwrap();
    let (_, again) = deliveries::redeliver(&mut tx, late.id, Timestamp::now()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(world.build(&world.end(again).await).await.event.commit, b);
}

#[tokio::test]
async fn pushes_that_waited_for_the_git_host_are_built_in_their_order() {
    let world = World::new("github", PIPELINE).await;
    let there = world.repo.clone_url.clone();
    world.patch(RepoPatch { clone_url: Some("http://127.0.0.1:1/app".to_owned()), ..RepoPatch::default() }).await;
    let mut commits = vec![world.repository.git(&["rev-parse", "HEAD"])];
    let mut ids = Vec::new();
    for time in 1..4 {
        let commit = world.repository.commit("next");
        let told = push(MAIN, commits.last().unwrap(), &commit, time);
        let [id] = world.deliver("push", &[(&format!("id:{time}"), &told)]).await[..] else { panic!("one") };
        ids.push(id);
        commits.push(commit);
        let mut changed = world.store.watch();
        while time < 3 && deliveries::get(&world.store, id).await.unwrap().unwrap().attempts == 0 {
            changed.changed().await.unwrap();
        }
        if time == 2 {
            world.patch(RepoPatch { clone_url: Some(there.clone()), ..RepoPatch::default() }).await;
        }
    }
    let mut changed = world.store.watch();
    for (number, id) in (1..).zip(ids) {
        let delivery = loop {
            changed.borrow_and_update();
            let delivery = deliveries::get(&world.store, id).await.unwrap().unwrap();
            if delivery.status != DeliveryStatus::Pending {
                break delivery;
            }
            changed.changed().await.unwrap();
        };
        let build = world.build(&delivery).await;
        assert_eq!((build.number, &build.event.commit), (number, &commits[number as usize]));
    }
}

#[tokio::test]
async fn a_delivery_about_another_repository_is_refused_and_the_forges_id_survives_a_rename() {
    let world = World::new("forgejo", PIPELINE).await;
    let mut time = 0;
    let mut told = async |id: i64, name: &str| {
        time += 1;
        let commit = world.repository.commit("next");
        let mut body = push(MAIN, NONE, &commit, time);
        body["repository"] = json!({ "id": id, "full_name": name, "pushed_at": time });
        world.process("push", &format!("id:{time}"), &body).await
    };
    // The clone address ends in `app/.git`: a mirror's.
    let refused = told(8, "eve/other").await;
    assert_eq!((refused.status, refused.builds.len()), (DeliveryStatus::Ignored, 0));
    let reason = refused.reason.as_ref().unwrap();
    assert!(reason.contains("a repository that does not match the clone URL") && !reason.contains("eve"), "{reason}");
    assert_eq!(told(7, "team/app").await.builds.len(), 1);
    assert_eq!(told(7, "team2/renamed").await.builds.len(), 1);
    let refused = told(8, "team/app").await;
    let reason = refused.reason.as_ref().unwrap();
    assert!(reason.contains("another repository than number 7") && !reason.contains('8'), "{reason}");
    // Without a body that names it, nothing is known to be wrong.
    let commit = world.repository.commit("next");
    assert_eq!(world.process("push", "id:plain", &push(MAIN, NONE, &commit, 9)).await.builds.len(), 1);
}

#[tokio::test]
async fn a_repository_that_cannot_be_looked_at_says_why_until_it_can() {
    let world = World::new("git", PIPELINE).await;
    let there = world.repo.clone_url.clone();
    world.patch(RepoPatch { clone_url: Some("http://127.0.0.1:1/app".to_owned()), ..RepoPatch::default() }).await;
    let error = world.scheduler.check_for_missed_pushes(world.repo.id).await.unwrap_err().to_string();
    let repo = async || repos::get(&world.store, world.repo.id).await.unwrap().unwrap();
    assert!(error.contains("cannot be reached"), "{error}");
    assert_eq!((repo().await.look_error, repo().await.looked_at), (Some(error), None));
    world.patch(RepoPatch { clone_url: Some(there), ..RepoPatch::default() }).await;
    world.check().await;
    assert_eq!(repo().await.look_error, None);
    assert!(repo().await.looked_at.is_some());
}
