//! What the jobs of `longshore run` get: the event that the user simulates, the checkout that a server would make, and
//! variables and secrets from files.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use support::{
    engine,
    registry::{Auth, PASSWORD, Registry, USER},
    tree::{Tree, out},
    world::one_step,
};

fn printed(tree: &Tree, args: &[&str]) -> String {
    let output = tree.longshore(args);
    let all = out(&output) + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {all}");
    all
}

#[test]
fn two_pipelines_jobs_of_one_name_are_told_apart_and_chosen_by_name_or_file() {
    let tree = Tree::empty();
    let pipeline = |word: &str| one_step(&format!("echo {word}"));
    tree.write(".longshore/one.yml", &pipeline("first"));
    tree.write(".longshore/two.yml", &pipeline("second"));
    let both = printed(&tree, &["run"]);
    for line in ["one/one | first\n", "two/one | second\n"] {
        assert!(both.contains(line), "{line:?} in {both}");
    }
    for summary in ["success    one/one ", "success    two/one "] {
        assert!(both.contains(summary), "{summary:?} in {both}");
    }
    for args in [
        &["run", "--pipeline", "two"][..],
        &["run", "--pipeline", ".longshore/two.yml"],
        &["run", "--pipeline", "two.yml", "--job", "one"],
        &["run", "--job", "two/one"],
    ] {
        let one = tree.longshore(args);
        if args.contains(&"two.yml") {
            let said = String::from_utf8_lossy(&one.stderr);
            assert!(one.status.code() == Some(2) && said.contains("available: one, two"), "{said}");
            continue;
        }
        let log = out(&one);
        assert!(log.contains("second") && !log.contains("first"), "{args:?}: {log}");
    }
    let several = printed(&tree, &["run", "--job", "one/one", "--job", "two/one"]);
    assert!(several.contains("first") && several.contains("second"), "{several}");
    let unknown = tree.longshore(&["run", "--job", "one/one", "--job", "three"]);
    let said = String::from_utf8_lossy(&unknown.stderr);
    assert!(unknown.status.code() == Some(2) && said.contains("available: one/one, two/one"), "{said}");
}

#[test]
fn a_runs_checkout_has_the_history_tags_and_branches_that_a_servers_has() {
    let image = engine::BUSYBOX;
    let tree = Tree::new(&format!(
        "on: push
jobs:
  deep: {{ image: {image}, checkout: {{ depth: 0 }}, steps: [run: 'cat .git/packed-refs; [ -e .git/shallow ] || echo whole'] }}
  flat: {{ image: {image}, steps: [run: 'cat .git/shallow'] }}
"
    ));
    tree.git(&["init", "-q", "-b", "main"]);
    tree.git(&["add", "-A"]);
    tree.git(&["commit", "-qm", "1"]);
    tree.git(&["tag", "v1"]);
    let first = tree.git(&["rev-parse", "HEAD"]);
    tree.git(&["commit", "-q", "--allow-empty", "-m", "2"]);
    let head = tree.git(&["rev-parse", "HEAD"]);
    let log = printed(&tree, &["run"]);
    for line in [
        &format!("deep | {first} refs/tags/v1\n"),
        &format!("deep | {head} refs/remotes/origin/main\n"),
        "deep | whole\n",
        &format!("flat | {head}\n"),
    ] {
        assert!(log.contains(line), "{line:?} in {log}");
    }
}

#[test]
fn the_event_is_a_pull_request_or_the_commits_own_tag() {
    let image = engine::BUSYBOX;
    let tree = Tree::new(&format!(
        "on: {{ pull-request: {{ branches: [release] }}, push: {{ tags: ['v*'] }} }}
jobs:
  one:
    image: {image}
    steps: [run: 'echo $CI_PIPELINE_EVENT $CI_COMMIT_SOURCE_BRANCH to $CI_COMMIT_TARGET_BRANCH, tag $CI_COMMIT_TAG']
"
    ));
    tree.git(&["init", "-q", "-b", "topic"]);
    tree.git(&["add", "-A"]);
    tree.git(&["commit", "-qm", "1"]);
    let log = printed(&tree, &["run", "--event", "pull-request", "--base", "release"]);
    assert!(log.contains("pull_request topic to release, tag\n"), "{log}");
    assert_eq!(tree.exit_code(&["run", "--event", "pull-request", "--base", "main"]), Some(2));
    assert_eq!(tree.exit_code(&["run", "--base", "release"]), Some(2));
    let untagged = printed(&tree, &["run", "--event", "tag"]);
    assert!(untagged.contains("no tag points at this commit") && untagged.contains("tag v0.0.0-local\n"), "{untagged}");
    tree.git(&["tag", "v1.9.0"]);
    tree.git(&["tag", "v1.10.0"]);
    let tagged = printed(&tree, &["run", "--event", "tag"]);
    assert!(tagged.contains("tag v1.10.0\n") && !tagged.contains("no tag points"), "{tagged}");
}

#[test]
fn a_private_image_is_pulled_with_what_the_docker_client_has_stored() {
    let registry = Registry::start_for(Auth::Basic);
    let image = registry.image("app");
    let tree = Tree::new(&one_step("echo it runs").replace(engine::BUSYBOX, &image));
    let host = image.split('/').next().unwrap();
    let auth = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    tree.write("../docker/config.json", &format!(r#"{{"auths": {{"{host}": {{"auth": "{auth}"}}}}}}"#));
    let run = |config: &str| tree.command(&["run"]).env("DOCKER_CONFIG", tree.path().join(config)).output().unwrap();
    let refused = run("../none");
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    let pulled = run("../docker");
    assert!(pulled.status.success() && out(&pulled).contains("it runs"), "{pulled:?}");
    assert!(!out(&pulled).contains(PASSWORD), "{pulled:?}");
    drop(registry);
}

#[test]
fn variables_and_secrets_come_from_files_and_the_command_line_wins() {
    let tree = Tree::new(&one_step("echo $A $B; echo \"$KEY\"; echo is $TOKEN"));
    tree.write("../vars.env", "A=\"from a file\"\nexport B=file # not C\n");
    tree.write("../secrets.env", "KEY=\"line one\\nline two hidden\"\nTOKEN=hunter2hunter2\n");
    let args = ["run", "--env-file", "../vars.env", "--env", "B=given", "--secret-file", "../secrets.env"];
    let log = printed(&tree, &args);
    assert!(log.contains("| from a file given\n"), "{log}");
    assert!(log.contains("| is ***\n") && !log.contains("hunter2") && !log.contains("hidden"), "{log}");
    tree.write("../broken.env", "A=1\nno variable\n");
    let refused = tree.longshore(&["run", "--env-file", "../broken.env"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(2) && said.contains("broken.env, line 2"), "{said}");
}
