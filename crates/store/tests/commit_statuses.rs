//! The outbox of statuses: what a forge is owed follows from the jobs, in the same transaction, and nothing else.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

use longshore_core::{
    Diagnostic, Event, EventName, JobId, Outcome, Severity, Span, StatusDetail,
    commit_status::CommitState,
    event::{Merge, PullRequest},
    expression::Expression,
    rules::state::JobEvent,
};
use longshore_store::{
    Store, builds,
    commit_statuses::{self, Key},
    connections::{self, NewConnection},
    jobs,
    repos::{self, Repo, RepoPatch},
};

mod world;
use world::{World, event, new_build, now};

async fn connected(world: &World) -> Repo {
    let repo = world.repo("team/app").await;
    let mut tx = world.store.write().await.unwrap();
    let connection = connections::set(&mut tx, &connection("token"), "x", now()).await.unwrap().0;
    connections::attach(&mut tx, repo.id, connection.id, "41").await.unwrap();
    tx.commit().await.unwrap();
    repo
}

fn connection(token: &str) -> NewConnection {
    NewConnection {
        name: None,
        kind: "gitea".to_owned(),
        url: "https://forge.example".to_owned(),
        account: "robot".to_owned(),
        token: token.to_owned(),
        clone_login: String::new(),
    }
}

/// Every context that is owed, with its newest state and description.
async fn owed(store: &Store) -> Vec<(Key, CommitState, String)> {
    let mut all = Vec::new();
    for due in commit_statuses::due(store, &[], 100).await.unwrap() {
        let owed = commit_statuses::unsent(store, &due.key).await.unwrap().unwrap();
        all.push((due.key, owed.state, owed.description));
    }
    all.sort_by(|a, b| a.0.context.cmp(&b.0.context));
    all
}

async fn only(store: &Store) -> (Key, CommitState, String) {
    let all = owed(store).await;
    assert_eq!(all.len(), 1, "{all:?}");
    all.into_iter().next().unwrap()
}

async fn mark_reported(store: &Store, key: &Key, wanted: i64) {
    let mut tx = store.write().await.unwrap();
    commit_statuses::mark_reported(&mut tx, key, wanted, &commit_statuses::Shown::Status, now()).await.unwrap();
    tx.commit().await.unwrap();
}

async fn tell_all(store: &Store) {
    for (key, ..) in owed(store).await {
        let wanted = commit_statuses::unsent(store, &key).await.unwrap().unwrap().wanted;
        mark_reported(store, &key, wanted).await;
    }
}

async fn claim(store: &Store) -> JobId {
    let mut tx = store.write().await.unwrap();
    let claimed = jobs::claim_next(&mut tx, now()).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    claimed.job.id
}

async fn end(store: &Store, job: JobId, outcome: Outcome) {
    let mut tx = store.write().await.unwrap();
    jobs::apply(&mut tx, job, &JobEvent::Ended(outcome), now()).await.unwrap();
    tx.commit().await.unwrap();
}

fn failure() -> Outcome {
    Outcome::Failure { exit_code: 101, step: "Unit tests".to_owned(), out_of_memory: false }
}

#[tokio::test]
async fn a_forge_is_owed_the_newest_state_and_nothing_that_came_before() {
    let world = World::new().await;
    let repo = connected(&world).await;
    world.build(&repo, &[("a", &[])]).await;
    assert_eq!(only(&world.store).await.1, CommitState::Pending);
    let job = claim(&world.store).await;
    let (key, state, _) = only(&world.store).await;
    assert_eq!((state, key.context.as_str()), (CommitState::Running, "longshore/ci"));
    // It changes while the forge is told: it stays owed.
    let running = commit_statuses::unsent(&world.store, &key).await.unwrap().unwrap().wanted;
    end(&world.store, job, failure()).await;
    mark_reported(&world.store, &key, running).await;
    let (_, state, description) = only(&world.store).await;
    assert_eq!((state, description.as_str()), (CommitState::Failure, "a: step `Unit tests` failed with exit code 101"));
    tell_all(&world.store).await;
    assert!(owed(&world.store).await.is_empty());
    // A confirmation that comes late takes nothing back.
    mark_reported(&world.store, &key, running).await;
    assert!(owed(&world.store).await.is_empty());
}

#[tokio::test]
async fn what_is_owed_outlives_a_kill() {
    let world = World::new().await;
    let repo = connected(&world).await;
    world.build(&repo, &[("a", &[])]).await;
    claim(&world.store).await;
    let before = owed(&world.store).await;
    world.store.close().await;
    let World { store, dir } = world;
    drop(store);
    let store = Store::open(dir.path()).await.unwrap();
    assert_eq!(owed(&store).await, before);
}

#[tokio::test]
async fn a_context_belongs_to_the_newest_build_of_its_commit() {
    let world = World::new().await;
    let repo = connected(&world).await;
    world.build(&repo, &[("a", &[])]).await;
    let old = claim(&world.store).await;
    let new = world.build(&repo, &[("a", &[])]).await;
    let newer = claim(&world.store).await;
    end(&world.store, newer, Outcome::Success).await;
    end(&world.store, old, failure()).await;
    let (key, state, _) = only(&world.store).await;
    let owed = commit_statuses::unsent(&world.store, &key).await.unwrap().unwrap();
    assert_eq!((state, owed.build), (CommitState::Success, Some(new.id)));
}

#[tokio::test]
async fn nothing_is_owed_where_no_forge_is_connected_or_nobody_wants_it() {
    let world = World::new().await;
    let other = world.repo("team/other").await;
    world.build(&other, &[("a", &[])]).await;
    assert!(owed(&world.store).await.is_empty());
    let repo = connected(&world).await;
    let set = async |statuses| {
        let mut tx = world.store.write().await.unwrap();
        let patch = RepoPatch { statuses: Some(statuses), ..RepoPatch::default() };
        repos::patch(&mut tx, repo.id, &patch).await.unwrap();
        tx.commit().await.unwrap();
    };
    set(StatusDetail::None).await;
    world.build(&repo, &[("a", &[])]).await;
    assert!(owed(&world.store).await.is_empty());
    set(StatusDetail::Job).await;
    world.build(&repo, &[("a", &[]), ("b", &["a"])]).await;
    let contexts: Vec<String> = owed(&world.store).await.into_iter().map(|(key, ..)| key.context).collect();
    assert_eq!(contexts, ["longshore/ci/a", "longshore/ci/b"]);
}

#[tokio::test]
async fn broken_files_fail_the_contexts_that_may_be_required_and_say_where() {
    let world = World::new().await;
    let repo = connected(&world).await;
    world.build(&repo, &[("a", &[])]).await;
    tell_all(&world.store).await;
    let error = Diagnostic {
        code: "LS001".to_owned(),
        severity: Severity::Error,
        file: ".longshore/lint.yml".to_owned(),
        span: Span { line: 3, column: 1, length: 1 },
        message: "`jobz` is not a key of a pipeline".to_owned(),
        help: None,
        source: None,
    };
    let mut broken = new_build(&repo, &[]);
    broken.event.commit = "f".repeat(40);
    broken.diagnostics = vec![error];
    world.create(&broken).await;
    let all = owed(&world.store).await;
    let contexts: Vec<&str> = all.iter().map(|(key, ..)| key.context.as_str()).collect();
    assert_eq!(contexts, ["longshore/ci", "longshore/lint"]);
    for (key, state, description) in &all {
        assert_eq!((*state, key.commit.as_str()), (CommitState::Error, broken.event.commit.as_str()));
        assert_eq!(description, ".longshore/lint.yml:3: `jobz` is not a key of a pipeline");
    }
}

#[tokio::test]
async fn what_has_nothing_to_do_holds_up_no_merge_and_takes_no_builds_place() {
    let world = World::new().await;
    let repo = connected(&world).await;
    let note_skipped = async || {
        let pipelines = [("ci".to_owned(), "none of the 2 changed files matters to it".to_owned())];
        let mut tx = world.store.write().await.unwrap();
        commit_statuses::note_skipped(&mut tx, repo.id, &event("main"), &pipelines, now()).await.unwrap();
        tx.commit().await.unwrap();
    };
    note_skipped().await;
    let (_, state, description) = only(&world.store).await;
    assert_eq!(state, CommitState::Skipped);
    assert_eq!(description, "skipped: none of the 2 changed files matters to it");
    world.build(&repo, &[("a", &[])]).await;
    note_skipped().await;
    assert_eq!(only(&world.store).await.1, CommitState::Pending);
}

/// A pull request that is built as merged: no forge has the commit that is built.
fn merged(head: &str) -> Event {
    Event {
        name: EventName::PullRequest,
        git_ref: "refs/pull/7/head".to_owned(),
        commit: "e".repeat(40),
        pull_request: Some(PullRequest {
            number: 7,
            title: "A change".to_owned(),
            action: "opened".to_owned(),
            source_branch: "topic".to_owned(),
            target_branch: "main".to_owned(),
            fork: false,
            author: None,
            merged: false,
            draft: false,
            labels: Vec::new(),
            merge: Some(Merge { head: head.to_owned(), target: "d".repeat(40) }),
            from: None,
            gone: None,
        }),
        ..event("main")
    }
}

#[tokio::test]
async fn the_state_of_a_merge_is_owed_to_the_pull_requests_own_commit() {
    let world = World::new().await;
    let repo = connected(&world).await;
    let heads = ["a", "b", "c"].map(|digit| digit.repeat(40));
    let mut build = new_build(&repo, &[("a", &[])]);
    build.event = merged(&heads[0]);
    world.create(&build).await;
    end(&world.store, claim(&world.store).await, Outcome::Success).await;
    let (key, state, _) = only(&world.store).await;
    assert_eq!((key.commit, state), (heads[0].clone(), CommitState::Success));
    let mut broken = new_build(&repo, &[]);
    broken.event = merged(&heads[1]);
    broken.diagnostics = vec![Diagnostic {
        code: "LS001".to_owned(),
        severity: Severity::Error,
        file: ".longshore.yml".to_owned(),
        span: Span { line: 3, column: 1, length: 1 },
        message: "`jobz` is not a key of a pipeline".to_owned(),
        help: None,
        source: None,
    }];
    world.create(&broken).await;
    let mut tx = world.store.write().await.unwrap();
    let pipelines = [("ci".to_owned(), "nothing to do".to_owned())];
    commit_statuses::note_skipped(&mut tx, repo.id, &merged(&heads[2]), &pipelines, now()).await.unwrap();
    tx.commit().await.unwrap();
    let commits: std::collections::BTreeSet<String> =
        owed(&world.store).await.into_iter().map(|(key, ..)| key.commit).collect();
    assert_eq!(commits, heads.into_iter().collect());
}

/// A pull request from a fork whose newest commit is one that the repository has, too.
fn of_stranger(own: &Event) -> Event {
    let of_fork = PullRequest { fork: true, ..PullRequest::opened(5, "main", "old") };
    Event {
        pull_request: Some(of_fork),
        commit: own.commit.clone(),
        ..Event::new(EventName::PullRequest, "refs/pull/5/head", "")
    }
}

#[tokio::test]
async fn no_build_of_a_stranger_takes_the_place_of_the_repositorys_own() {
    let world = World::new().await;
    let repo = connected(&world).await;
    let own = new_build(&repo, &[("a", &[])]);
    let mut strange = own.clone();
    strange.event = of_stranger(&own.event);
    // Among strangers, the newest decides; the repository's own comes before all of them.
    let first = world.create(&strange).await;
    assert_eq!(only(&world.store).await.1, CommitState::Pending);
    let of_first = claim(&world.store).await;
    let build = world.create(&own).await;
    end(&world.store, of_first, failure()).await;
    end(&world.store, claim(&world.store).await, Outcome::Success).await;
    tell_all(&world.store).await;
    // Not while it waits, not when it is stopped, not by a merge that is impossible.
    world.create(&strange).await;
    let mut tx = world.store.write().await.unwrap();
    builds::close_pull_request(&mut tx, repo.id, 5, now()).await.unwrap();
    tx.commit().await.unwrap();
    let mut broken = new_build(&repo, &[]);
    broken.event = of_stranger(&own.event);
    broken.diagnostics = vec![Diagnostic {
        code: "LS001".to_owned(),
        severity: Severity::Error,
        file: "ci.yml".to_owned(),
        span: Span { line: 3, column: 1, length: 1 },
        message: "conflict".to_owned(),
        help: None,
        source: None,
    }];
    world.create(&broken).await;
    assert!(owed(&world.store).await.is_empty());
    assert_ne!(first.id, build.id);
    assert_eq!(commit_statuses::builds_of_commit(&world.store, repo.id, &own.event.commit).await.unwrap(), [build.id]);
    // A newer build of the repository's own does.
    world.create(&own).await;
    assert_eq!(only(&world.store).await.1, CommitState::Pending);
}

#[tokio::test]
async fn no_build_of_a_stranger_takes_the_place_of_what_had_nothing_to_do() {
    let world = World::new().await;
    let repo = connected(&world).await;
    let own = new_build(&repo, &[("a", &[])]);
    let mut strange = own.clone();
    strange.event = of_stranger(&own.event);
    let pipelines = [("ci".to_owned(), "nothing to do".to_owned())];
    let skip = async || {
        let mut tx = world.store.write().await.unwrap();
        commit_statuses::note_skipped(&mut tx, repo.id, &own.event, &pipelines, now()).await.unwrap();
        tx.commit().await.unwrap();
    };
    skip().await;
    assert_eq!(only(&world.store).await.1, CommitState::Skipped);
    tell_all(&world.store).await;
    world.create(&strange).await;
    assert!(owed(&world.store).await.is_empty());
    world.create(&own).await;
    assert_eq!(only(&world.store).await.1, CommitState::Pending);
}

#[tokio::test]
async fn what_had_nothing_to_do_takes_no_place_of_a_strangers_build() {
    let world = World::new().await;
    let repo = connected(&world).await;
    let own = new_build(&repo, &[("a", &[])]);
    let mut strange = own.clone();
    strange.event = of_stranger(&own.event);
    world.create(&strange).await;
    let pipelines = [("ci".to_owned(), "nothing to do".to_owned())];
    let mut tx = world.store.write().await.unwrap();
    commit_statuses::note_skipped(&mut tx, repo.id, &own.event, &pipelines, now()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(only(&world.store).await.1, CommitState::Pending);
}

#[tokio::test]
async fn a_strangers_pull_request_into_a_branch_of_their_choice_takes_no_place_of_one_into_the_default_branch() {
    let world = World::new().await;
    let repo = connected(&world).await;
    let build_for = |target: &str| {
        let mut build = new_build(&repo, &[("a", &[])]);
        build.event = of_stranger(&build.event);
        build.event.default_branch = Some("main".to_owned());
        build.event.pull_request = Some(PullRequest { fork: true, ..PullRequest::opened(5, "topic", target) });
        build
    };
    world.create(&build_for("lax")).await;
    end(&world.store, claim(&world.store).await, Outcome::Success).await;
    tell_all(&world.store).await;
    world.create(&build_for("main")).await;
    end(&world.store, claim(&world.store).await, failure()).await;
    assert_eq!(only(&world.store).await.1, CommitState::Failure);
    tell_all(&world.store).await;
    world.create(&build_for("lax")).await;
    end(&world.store, claim(&world.store).await, Outcome::Success).await;
    assert!(owed(&world.store).await.is_empty());
}

#[tokio::test]
async fn what_a_stranger_has_left_out_counts_by_the_default_branchs_rules_alone() {
    let world = World::new().await;
    let repo = connected(&world).await;
    let pipelines = [("ci".to_owned(), "nothing to do".to_owned())];
    for (digit, target, state) in [("a", "old", CommitState::Pending), ("b", "main", CommitState::Skipped)] {
        let mut strange = of_stranger(&Event { commit: digit.repeat(40), ..event("main") });
        strange.default_branch = Some("main".to_owned());
        strange.pull_request = Some(PullRequest { fork: true, ..PullRequest::opened(5, "topic", target) });
        let mut tx = world.store.write().await.unwrap();
        commit_statuses::note_skipped(&mut tx, repo.id, &strange, &pipelines, now()).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(only(&world.store).await.1, state);
        let mut build = new_build(&repo, &[("a", &[])]);
        build.event = strange;
        build.plan.jobs[0].condition = Some(Expression::parse("failure()").unwrap());
        world.create(&build).await;
        assert_eq!(only(&world.store).await.1, state);
        tell_all(&world.store).await;
    }
}

#[tokio::test]
async fn what_a_forge_refuses_is_given_up_until_it_changes_or_another_token_comes() {
    let world = World::new().await;
    let repo = connected(&world).await;
    let build = world.build(&repo, &[("a", &[])]).await;
    let give_up = async || {
        let (key, ..) = only(&world.store).await;
        let wanted = commit_statuses::unsent(&world.store, &key).await.unwrap().unwrap().wanted;
        let mut tx = world.store.write().await.unwrap();
        commit_statuses::failed(&mut tx, &key, wanted, "refused", None).await.unwrap();
        tx.commit().await.unwrap();
        assert!(owed(&world.store).await.is_empty());
        let late = commit_statuses::late(&world.store, build.id, build.created_at).await.unwrap();
        assert!(late.len() == 1 && late[0].given_up && late[0].problem.as_deref() == Some("refused"), "{late:?}");
    };
    give_up().await;
    claim(&world.store).await;
    assert_eq!(only(&world.store).await.1, CommitState::Running);
    give_up().await;
    let mut tx = world.store.write().await.unwrap();
    connections::set(&mut tx, &connection("another"), "x", now()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(only(&world.store).await.1, CommitState::Running);
}

#[tokio::test]
async fn a_build_that_goes_takes_what_is_owed_of_it_along() {
    let world = World::new().await;
    let repo = connected(&world).await;
    let build = world.build(&repo, &[("a", &[])]).await;
    let mut tx = world.store.write().await.unwrap();
    builds::cancel(&mut tx, build.id, now()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(only(&world.store).await.1, CommitState::Canceled);
    let mut tx = world.store.write().await.unwrap();
    repos::delete(&mut tx, repo.id).await.unwrap();
    tx.commit().await.unwrap();
    assert!(owed(&world.store).await.is_empty());
}
