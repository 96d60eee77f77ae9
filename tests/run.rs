//! `longshore run` and `longshore lint`, and their exit codes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::process::{Command, Output};

use support::{
    engine, executable, server,
    tree::{Tree, out},
    world::one_step,
};

#[test]
fn a_run_takes_the_working_tree_as_it_is_and_prints_a_prefixed_log() {
    let tree = Tree::new(&one_step("cat untracked; echo $WORD; echo $TOKEN"));
    tree.write("untracked", "not committed\n");
    let output = tree.longshore(&["run", "--env", "WORD=given", "--secret", "TOKEN=hunter2hunter2"]);
    let printed = out(&output);
    assert_eq!(output.status.code(), Some(0), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    for line in ["one | not committed\n", "one | given\n", "one | ***\n"] {
        assert!(printed.contains(line), "{line:?} in {printed}");
    }
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[test]
fn the_exit_code_says_whose_fault_it_was() {
    assert_eq!(Tree::new(&one_step("exit 9")).exit_code(&["run"]), Some(1));
    assert_eq!(Tree::new("jobs: 3\n").exit_code(&["run"]), Some(2));
    let registry = support::registry::Registry::start();
    let missing = one_step("true").replace(engine::BUSYBOX, &registry.image("not-here"));
    assert_eq!(Tree::new(&missing).exit_code(&["run"]), Some(3));
    assert_eq!(Tree::empty().exit_code(&["run"]), Some(2));
}

#[test]
fn a_run_leaves_nothing_but_a_sandbox_which_the_next_one_takes() {
    let tree = Tree::new(&one_step("true"));
    for _ in 0..3 {
        assert_eq!(tree.exit_code(&["run"]), Some(0));
        engine::until_gone(&tree.instance, &["job", "volume"]);
        assert_eq!(engine::objects(&tree.instance, &["sandbox"]).len(), 1);
    }
}

#[test]
fn a_run_asks_no_git_host() {
    let tree = Tree::new(&one_step("sleep 0.5"));
    let folder = tempfile::tempdir().unwrap();
    let (program, log) = (folder.path().join("git"), folder.path().join("log"));
    let path = std::env::var("PATH").unwrap();
    let script = format!("#!/bin/sh\necho \"$*\" >> '{}'\nPATH='{path}' exec git \"$@\"\n", log.display());
    executable::write(&program, script.as_bytes());
    let path = format!("{}:{path}", folder.path().display());
    let output = tree.command(&["run"]).env("PATH", path).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", out(&output));
    let started = std::fs::read_to_string(&log).unwrap();
    assert!(started.contains("rev-parse"), "{started}");
    assert!(!["ls-remote", "fetch"].iter().any(|word| started.contains(word)), "{started}");
}

#[test]
fn lint_gives_json_with_the_place_of_each_finding_and_exits_with_1() {
    let tree = Tree::new("jobs:\n  a:\n    image: x\n    stepz: []\n");
    let output = tree.longshore(&["lint", "--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let unknown = found.as_array().unwrap().iter().find(|f| f["code"] == "LS012").unwrap();
    assert_eq!(
        (unknown["file"].as_str(), unknown["line"].as_u64(), unknown["column"].as_u64()),
        (Some(".longshore.yml"), Some(4), Some(5))
    );
}

#[test]
fn lint_says_how_many_pipelines_it_found_without_problems() {
    let output = Tree::new(&one_step("true")).longshore(&["lint"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(out(&output), "");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "1 pipeline: no problems\n");
}

/// Returns the code, the file and the message of each finding of `lint --format json`.
fn findings(output: &Output) -> Vec<(String, String, String)> {
    let found: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    found.iter().map(|found| (text(&found["code"]), text(&found["file"]), text(&found["message"]))).collect()
}

#[test]
fn what_a_server_refuses_to_read_is_refused_by_lint_and_run() {
    let tree = Tree::empty();
    tree.write(".longshore/a.yml", &one_step("true"));
    assert_eq!(tree.exit_code(&["lint"]), Some(0));
    std::os::unix::fs::symlink("a.yml", tree.path().join(".longshore/b.yml")).unwrap();
    for path in [".", ".longshore/b.yml"] {
        let output = tree.longshore(&["lint", "--format", "json", path]);
        assert_eq!(output.status.code(), Some(1), "{path}");
        let found = findings(&output);
        assert!(
            found.len() == 1 && found[0].0 == "LS041" && found[0].2.contains("b.yml` is a symbolic link"),
            "{found:?}"
        );
    }
    let output = tree.longshore(&["run"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("LS041") && said.contains("is a symbolic link"), "{said}");

    std::fs::remove_file(tree.path().join(".longshore/b.yml")).unwrap();
    tree.write(".longshore.yml", &one_step("true"));
    let found = findings(&tree.longshore(&["lint", "--format", "json"]));
    assert!(found.len() == 1 && found[0].0 == "LS041" && found[0].2.contains("remove one of them"), "{found:?}");
}

#[test]
fn findings_name_files_as_whoever_asks_can_open_them() {
    let tree = Tree::empty();
    tree.write("sub/.longshore/a.yml", "jobs: { a: { imgae: x, use: ./ci/t.yml } }\n");
    tree.write("sub/ci/t.yml", "job: { image: x, stepz: [] }\n");
    let absolute = tree.path().join("sub").display().to_string();
    for (path, expected) in
        [("sub", "sub/"), ("sub/", "sub/"), ("./sub", "./sub/"), ("sub/.longshore/a.yml", "sub/"), (&absolute, "sub/")]
    {
        let found = findings(&tree.longshore(&["lint", "--format", "json", path]));
        let files: Vec<&str> = found.iter().map(|(_, file, _)| file.as_str()).collect();
        for name in [".longshore/a.yml", "ci/t.yml"] {
            assert!(files.contains(&format!("{expected}{name}").as_str()), "{path}: {found:?}");
        }
        assert!(files.iter().all(|file| tree.path().join(file).is_file()), "{path}: {found:?}");
    }
    let human = out(&tree.longshore(&["lint", "sub"]));
    let sarif = out(&tree.longshore(&["lint", "sub", "--format", "sarif"]));
    assert!(human.contains("--> sub/.longshore/a.yml:1:") && sarif.contains("\"sub/ci/t.yml\""), "{human}{sarif}");
}

#[test]
fn below_a_repositorys_top_lint_and_run_say_where_its_pipeline_is() {
    let tree = Tree::empty();
    tree.write("src/main.rs", "");
    let said = |args: &[&str]| {
        let output = tree.longshore(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    tree.write(".git/HEAD", "");
    for command in ["lint", "run"] {
        assert!(said(&[command, "src"]).contains("no pipeline in src: write a .longshore.yml"), "{command}");
    }
    tree.write(".longshore.yml", &one_step("true"));
    for command in ["lint", "run"] {
        let said = said(&[command, "src"]);
        let top = format!("the repository's top has one, name that folder: {}\n", tree.path().display());
        assert!(said.contains(&top), "{command}: {said}");
    }
}

#[test]
fn a_job_that_waits_for_approval_is_left_out_unless_it_is_approved_before() {
    let image = engine::BUSYBOX;
    let tree = Tree::new(&format!(
        "on: push
jobs:
  test: {{ image: {image}, steps: [run: echo tested] }}
  deploy: {{ image: {image}, needs: [test], approval: 'Really?', steps: [run: echo deployed] }}
  tell: {{ image: {image}, needs: [deploy], steps: [run: echo told] }}
"
    ));
    let without = tree.longshore(&["run"]);
    let why = String::from_utf8_lossy(&without.stderr);
    assert_eq!(without.status.code(), Some(0), "{without:?}");
    assert!(why.contains("deploy; run them with `--approve`"), "{why}");
    let log = out(&without);
    assert!(log.contains("tested") && !log.contains("deployed") && !log.contains("told"), "{log}");
    assert_eq!(tree.exit_code(&["run", "--job", "deploy", "--capacity", "0"]), Some(2));
    let approved = out(&tree.longshore(&["run", "--approve"]));
    assert!(approved.contains("deployed") && approved.contains("told"), "{approved}");
}

#[test]
fn the_branch_that_is_checked_out_is_the_default_one_where_no_remote_says_otherwise() {
    let image = engine::BUSYBOX;
    let tree = Tree::new(&format!(
        "on: push
jobs:
  here: {{ image: {image}, if: event.branch == repo.default-branch, steps: [run: 'echo on $CI_REPO_DEFAULT_BRANCH'] }}
"
    ));
    let made = Command::new("git").args(["init", "-q", "-b", "trunk"]).current_dir(tree.path()).status().unwrap();
    assert!(made.success());
    let log = out(&tree.longshore(&["run"]));
    assert!(log.contains("on trunk"), "{log}");
}

#[test]
fn a_run_hands_on_the_proxies_of_the_docker_client_and_an_authority_of_ones_own() {
    let tree = Tree::new(&one_step("echo $http_proxy $HTTPS_PROXY $NO_PROXY; cat $LONGSHORE_CA_FILE"));
    let settings =
        r#"{"proxies": {"default": {"httpProxy": "http://u:hunter2hunter2@proxy:3128", "noProxy": ".corp"}}}"#;
    tree.write("docker/config.json", settings);
    let certificate = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    tree.write("ca.pem", certificate);
    let run = |config: &str| {
        let mut command = Command::new(server::program());
        for proxy in ["http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"] {
            command.env_remove(proxy).env_remove(proxy.to_uppercase());
        }
        command
            .arg("run")
            .current_dir(tree.path())
            .env("LONGSHORE_DOCKER_HOST", engine::docker_host())
            .env("LONGSHORE_INSTANCE", &tree.instance)
            .env("LONGSHORE_CA_FILE", tree.path().join("ca.pem"))
            .env("DOCKER_CONFIG", tree.path().join(config))
            .env("HTTPS_PROXY", "http://secure:3129");
        let output = command.output().expect("the program runs");
        (out(&output), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (log, said) = run("docker");
    let line = "http://***@proxy:3128 http://secure:3129 .corp,localhost,127.0.0.1,::1\n";
    assert!(log.contains(line) && log.contains("MAA=") && !log.contains("hunter2"), "{log}{said}");
    tree.write("broken/config.json", "{");
    let (log, said) = run("broken");
    assert!(said.contains("broken/config.json") && log.contains("http://secure:3129"), "{log}{said}");
}

#[test]
fn a_run_that_fails_ends_with_the_first_error_and_how_to_run_just_that_job_again() {
    let tree = Tree::new(&format!(
        "on: {{ push: {{}}, manual: {{ inputs: {{ level: {{ default: low }} }} }} }}\ndefaults: {{ image: {} }}\njobs:\n  \
         good: {{ steps: [run: 'true'] }}\n  bad: {{ steps: [run: \"seq 1 3; echo 'error: it broke'; echo 'error: again'; exit 4\"] }}\n",
        engine::BUSYBOX
    ));
    let output = tree.longshore(&["run", "--event", "manual", "--input", "level=very high"]);
    let printed = out(&output);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    let (_, ending) = printed.split_once("\nbad, line ").expect("its first error");
    assert!(ending.contains(": error: it broke\n") && !ending.contains("again\n  run"), "{printed}");
    let again = "  run it again: longshore run --event manual --input 'level=very high' --job bad\n";
    assert!(ending.ends_with(again), "{printed}");
    // As it says.
    let args = ["run", "--event", "manual", "--input", "level=very high", "--job", "bad"];
    let once_more = out(&tree.longshore(&args));
    assert!(once_more.contains("bad | error: it broke\n") && !once_more.contains("good"), "{once_more}");
}
