//! `paths` and `paths-ignore`, where it is not one commit that was pushed.

use longshore_core::Severity;
use longshore_store::{builds, deliveries::DeliveryStatus};

use crate::{NONE, World, pull_request, push};

const PATHS: &str = "on: { push: { paths: ['src/**'] }, pull-request: { paths: ['src/**'] } }
jobs: { one: { image: a, steps: [{ run: b }] } }
";
const IGNORE: &str = "on: { push: { paths-ignore: ['**.md'] }, pull-request: { paths-ignore: ['**.md'] } }
jobs: { one: { image: a, steps: [{ run: b }] } }
";

#[tokio::test]
async fn the_filters_by_path_see_all_that_a_new_branch_and_a_forced_push_bring() {
    for pipeline in [PATHS, IGNORE] {
        let world = World::new("git", pipeline).await;
        let repository = &world.repository;
        repository.git(&["checkout", "-q", "-b", "topic"]);
        repository.write("src/a", "1").commit("one");
        repository.write("two.md", "1").commit("two");
        let third = repository.write("three.md", "1").commit("three");
        let built = world.process("push", "1", &push("refs/heads/topic", NONE, &third, 1)).await;
        assert_eq!(world.build(&built).await.event.commit, third);
        // The changes of that push do not matter.
        let fourth = repository.write("four.md", "1").commit("four");
        let ignored = world.process("push", "2", &push("refs/heads/topic", &third, &fourth, 2)).await;
        assert_eq!(ignored.status, DeliveryStatus::Ignored, "{ignored:?}");
        assert!(ignored.reason.as_ref().unwrap().contains("none of the 1 changed files"), "{ignored:?}");
        // Forced pushes: from a commit that nobody has any more, and from one that is still there.
        for (number, before) in [(3, "1".repeat(40)), (4, fourth.clone())] {
            repository.write("four.md", number.to_string()).git(&["commit", "-q", "-a", "--amend", "-m", "forced"]);
            let forced = repository.git(&["rev-parse", "HEAD"]);
            let built =
                world.process("push", &number.to_string(), &push("refs/heads/topic", &before, &forced, number)).await;
            assert_eq!(world.build(&built).await.event.commit, forced);
        }
        // A new branch that brings no such change.
        repository.git(&["checkout", "-q", "-b", "docs", "main"]);
        let docs = repository.write("docs.md", "1").commit("docs");
        let ignored = world.process("push", "5", &push("refs/heads/docs", NONE, &docs, 5)).await;
        assert_eq!(ignored.status, DeliveryStatus::Ignored, "{ignored:?}");
    }
}

const ASKS: &str = "jobs: { one: { image: a, if: \"changed('src/**')\", steps: [{ run: b }] } }\n";

#[tokio::test]
async fn a_condition_is_given_the_changes_that_filters_by_path_see() {
    let world = World::new("github", ASKS).await;
    let repository = &world.repository;
    let mut number = 0;
    let mut asked = async |event: &str, body: serde_json::Value| {
        number += 1;
        let build = world.build(&world.process(event, &number.to_string(), &body).await).await;
        let plan = builds::plan(&world.store, build.id).await.unwrap().unwrap();
        (serde_json::to_string(&plan.jobs[0].known).unwrap(), build.diagnostics.len())
    };
    let is = |answer: bool| format!(r#"{{"changed":{{"[\"src/**\"]":{answer}}}}}"#);
    repository.git(&["checkout", "-q", "-b", "topic"]);
    let first = repository.write("src/a", "1").commit("one");
    assert_eq!(asked("push", push("refs/heads/topic", NONE, &first, 1)).await, (is(true), 0));
    let second = repository.write("docs/a", "1").commit("two");
    assert_eq!(asked("push", push("refs/heads/topic", &first, &second, 2)).await, (is(false), 0));
    // A pull request changes all that it does since it left its target.
    repository.git(&["update-ref", "refs/pull/7/head", &second]);
    assert_eq!(asked("pull_request", pull_request("opened", &second, 3)).await, (is(true), 0));
    // Nobody knows what the default branch had before.
    repository.git(&["checkout", "-q", "main"]);
    let main = repository.write("docs/b", "1").commit("docs");
    assert_eq!(asked("push", push("refs/heads/main", &"1".repeat(40), &main, 4)).await, (is(true), 1));
}

#[tokio::test]
async fn what_nobody_knows_to_have_changed_passes_every_filter_and_the_build_says_so() {
    for pipeline in [PATHS, IGNORE] {
        let world = World::new("github", pipeline).await;
        let repository = &world.repository;
        let gone = "1".repeat(40);
        let mut bodies = Vec::new();
        let main = repository.write("a.md", "1").commit("docs");
        bodies.push(("push", push("refs/heads/main", NONE, &main, 1)));
        let main = repository.write("a.md", "2").commit("docs again");
        bodies.push(("push", push("refs/heads/main", &gone, &main, 2)));
        repository.git(&["checkout", "-q", "--orphan", "alone"]);
        let alone = repository.write("b.md", "1").commit("alone");
        bodies.push(("push", push("refs/heads/alone", NONE, &alone, 3)));
        repository.git(&["update-ref", "refs/pull/7/head", &alone]);
        bodies.push(("pull_request", pull_request("opened", &alone, 4)));
        for (number, (event, body)) in bodies.iter().enumerate() {
            let build = world.build(&world.process(event, &number.to_string(), body).await).await;
            let [note] = &build.diagnostics[..] else { panic!("{number}: {:?}", build.diagnostics) };
            assert_eq!((note.code.as_str(), note.severity), ("LS061", Severity::Warning));
            assert!(note.message.contains("let this event pass"), "{note:?}");
        }
    }
}
