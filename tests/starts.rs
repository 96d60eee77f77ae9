//! Builds that people start: which commit, of which branch or tag, is meant.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::world::{World, one_step};

fn start(world: &World, what: &Value) -> (u16, Value) {
    world.api().post(&format!("/api/v1/repos/{}/builds", world.repo), what)
}

#[test]
fn a_commit_is_started_only_on_a_branch_or_tag_that_it_is_on() {
    let world = World::start();
    let git = &world.git;
    let first = git.commit("first", &[(".longshore.yml", &one_step("echo ours"))]);
    let second = git.commit("second", &[]);
    git.git(&["push", "-q", "origin", "HEAD:main"]);
    git.git(&["checkout", "-q", "-b", "theirs"]);
    let stolen = git.commit("from a fork", &[(".longshore.yml", &one_step("echo stolen"))]);
    git.git(&["push", "-q", "origin", "HEAD:refs/pull/9/head"]);
    let side = git.commit("side", &[]);
    git.git(&["checkout", "-q", "main"]);

    for commit in [&first, &second] {
        for what in [json!({ "commit": commit }), json!({ "commit": commit, "ref": "main" })] {
            let (status, build) = start(&world, &what);
            assert_eq!((status, &build["commit"]), (201, &json!(commit)), "{build}");
        }
    }
    for what in [json!({ "commit": stolen }), json!({ "commit": stolen, "ref": "main" })] {
        let (status, answer) = start(&world, &what);
        assert_eq!(status, 422, "{answer}");
        let expected = format!("{stolen} is not on refs/heads/main: name the branch or tag that it is on");
        assert_eq!(answer["error"]["message"], expected);
    }
    // Who may push there has said that it is theirs.
    git.git(&["push", "-q", "origin", &format!("{side}:refs/heads/side")]);
    let (status, build) = start(&world, &json!({ "commit": stolen, "ref": "side" }));
    assert_eq!((status, &build["commit"], &build["branch"]), (201, &json!(stolen), &json!("side")), "{build}");
    // A branch that was pushed over does not have it any more.
    git.git(&["push", "-q", "--force", "origin", &format!("{first}:refs/heads/side")]);
    let (status, answer) = start(&world, &json!({ "commit": stolen, "ref": "side" }));
    assert_eq!(status, 422, "{answer}");
}
