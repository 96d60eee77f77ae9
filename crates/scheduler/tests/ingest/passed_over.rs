//! Statuses for pipelines that had nothing to do, so that a required one blocks no merge.

use longshore_core::{Timestamp, commit_status::CommitState};
use longshore_store::{
    commit_statuses,
    connections::{self, NewConnection},
    deliveries::DeliveryStatus,
};

use crate::{World, pull_request, push};

const PATHS: &str = "on: { push: { paths: ['src/**'] }, pull-request: { paths: ['src/**'] } }
jobs: { one: { image: a, steps: [{ run: b }] } }
";

async fn connect(world: &World) {
    let new = NewConnection {
        name: None,
        kind: "github".to_owned(),
        url: "https://forge.example".to_owned(),
        account: "robot".to_owned(),
        token: "token".to_owned(),
        clone_login: String::new(),
    };
    let mut tx = world.store.write().await.unwrap();
    let (connection, _) = connections::set(&mut tx, &new, "x", Timestamp::now()).await.unwrap();
    connections::attach(&mut tx, world.repo.id, connection.id, "1").await.unwrap();
    tx.commit().await.unwrap();
}

/// The states that the forge is owed, by commit.
async fn states(world: &World) -> Vec<(String, CommitState)> {
    let mut states = Vec::new();
    for due in commit_statuses::due(&world.store, &[], 100).await.unwrap() {
        assert_eq!(due.key.context, "longshore/longshore");
        let owed = commit_statuses::unsent(&world.store, &due.key).await.unwrap().unwrap();
        states.push((due.key.commit, owed.state));
    }
    states
}

#[tokio::test]
async fn what_paths_or_a_message_leave_out_counts_as_done_and_a_strangers_message_does_not() {
    let world = World::new("github", PATHS).await;
    connect(&world).await;
    let repository = &world.repository;
    let first = repository.git(&["rev-parse", "HEAD"]);
    let docs = repository.write("docs.md", "1").commit("docs");
    let left_out = world.process("push", "1", &push("refs/heads/main", &first, &docs, 1)).await;
    assert_eq!(left_out.status, DeliveryStatus::Ignored, "{left_out:?}");
    assert_eq!(states(&world).await, [(docs.clone(), CommitState::Skipped)]);

    let quiet = repository.write("src/a", "1").commit("code [skip ci]");
    let left_out = world.process("push", "2", &push("refs/heads/main", &docs, &quiet, 2)).await;
    assert_eq!(left_out.status, DeliveryStatus::Ignored, "{left_out:?}");
    assert!(states(&world).await.contains(&(quiet.clone(), CommitState::Skipped)));

    repository.git(&["checkout", "-q", "-b", "topic"]);
    let fork = repository.write("src/b", "1").commit("mine [skip ci]");
    repository.git(&["update-ref", "refs/pull/7/head", &fork]);
    let left_out = world.process("pull_request", "3", &pull_request("opened", &fork, 3)).await;
    assert_eq!(left_out.status, DeliveryStatus::Ignored, "{left_out:?}");
    assert!(states(&world).await.iter().all(|(commit, _)| *commit != fork));

    repository.git(&["checkout", "-q", "main"]);
    let code = repository.write("src/c", "1").commit("code");
    world.process("push", "4", &push("refs/heads/main", &quiet, &code, 4)).await;
    assert!(states(&world).await.contains(&(code, CommitState::Pending)));
}
