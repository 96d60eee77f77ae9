//! Builds that people start by hand: which commit of which branch or tag they get.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::{
    api::text,
    engine, until,
    world::{World, job, one_step},
};

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
        let expected = format!("{stolen} is not on refs/heads/main: name a branch or tag that contains it");
        assert_eq!(answer["error"]["message"], expected);
    }
    // The branch contains the commit, so somebody who may push vouches for it.
    git.git(&["push", "-q", "origin", &format!("{side}:refs/heads/side")]);
    let (status, build) = start(&world, &json!({ "commit": stolen, "ref": "side" }));
    assert_eq!((status, &build["commit"], &build["branch"]), (201, &json!(stolen), &json!("side")), "{build}");
    // After a forced push the branch no longer contains the commit.
    git.git(&["push", "-q", "--force", "origin", &format!("{first}:refs/heads/side")]);
    let (status, answer) = start(&world, &json!({ "commit": stolen, "ref": "side" }));
    assert_eq!(status, 422, "{answer}");
}

#[test]
fn the_default_branch_is_what_the_remote_says_where_nobody_else_does() {
    let world = World::start();
    let git = &world.git;
    git.head("trunk");
    let pipeline = format!(
        "on: {{ push: , manual: , schedule: [{{ cron: '0 0 1 1 *' }}] }}
jobs:
  one:
    image: {}
    if: event.branch == repo.default-branch
    steps: [{{ run: 'echo \"$CI_REPO_DEFAULT_BRANCH\"' }}]
",
        engine::BUSYBOX
    );
    let commit = git.commit("change", &[(".longshore.yml", &pipeline)]);
    git.git(&["push", "-q", "origin", "HEAD:trunk"]);
    let pushed = world.api().wait_for_build(&text(&world.build_of(&commit), "id"));
    assert_eq!(job(&pushed, "one")["status"], "success", "{pushed}");
    assert_eq!(world.api().raw_log(&text(job(&pushed, "one"), "id")), b"trunk\n");
    assert_eq!(world.schedules()[0]["branch"], "trunk", "a push to it says what is scheduled");

    let (status, build) = start(&world, &json!({}));
    assert_eq!((status, &build["branch"]), (201, &json!("trunk")), "{build}");
    let build = world.api().wait_for_build(&text(&build, "id"));
    assert_eq!(job(&build, "one")["status"], "success", "{build}");

    // The default branch of an added repository is found at the remote.
    let (added, _) = world.api().add_repo("team/added", &git.url());
    let schedules = until("the schedules of a repository that was added", || {
        let known = world.api().get(&format!("/api/v1/repos/{added}/schedules"));
        known["items"].as_array().filter(|known| !known.is_empty()).cloned()
    });
    assert_eq!(schedules[0]["branch"], "trunk");

    // The repository's own setting takes precedence.
    git.git(&["push", "-q", "origin", "HEAD:other"]);
    let new = json!({ "name": "team/set", "clone_url": git.url(), "default_branch": "other" });
    let (status, set) = world.api().post("/api/v1/repos", &new);
    assert_eq!(status, 201, "{set}");
    let (status, build) = world.api().post(&format!("/api/v1/repos/{}/builds", text(&set, "id")), &json!({}));
    assert_eq!((status, &build["branch"]), (201, &json!("other")), "{build}");
}

#[test]
fn a_short_name_is_a_branch_or_else_a_tag() {
    let world = World::start();
    let git = &world.git;
    let first = git.commit("first", &[(".longshore.yml", &one_step("true"))]);
    git.git(&["tag", "-a", "v1", "-m", "one"]);
    git.git(&["tag", "both"]);
    let second = git.commit("second", &[]);
    git.git(&["push", "-q", "origin", "HEAD:main", "refs/tags/v1", "refs/tags/both", "HEAD:refs/heads/both"]);
    for (name, commit, branch) in
        [("v1", &first, None), ("both", &second, Some("both")), ("refs/tags/both", &first, None)]
    {
        let (status, build) = start(&world, &json!({ "ref": name }));
        assert_eq!((status, &build["commit"]), (201, &json!(commit)), "{name}: {build}");
        assert_eq!(build["branch"], json!(branch), "{build}");
    }
    let (status, answer) = start(&world, &json!({ "ref": "v2" }));
    assert_eq!(status, 422, "{answer}");
    let message = text(&answer["error"], "message");
    assert!(message.contains("refs/heads/v2") && message.contains("refs/tags/v2"), "{message}");
}
