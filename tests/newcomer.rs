//! Errors that people meet who set a repository up: a clone address that is wrong, a webhook that is refused, and what
//! can be changed afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::process::{Command, Output};

use longshore_forge::{Forge, signature::sign};
use serde_json::{Value, json};
use support::{
    api::{Api, text},
    engine,
    git_host::GitHost,
    server::{ADMIN_TOKEN, Server, program},
};

fn longshore(server: &Server, args: &[&str]) -> Output {
    Command::new(program())
        .args(args)
        .env("LONGSHORE_URL", server.url())
        .env("LONGSHORE_TOKEN", ADMIN_TOKEN)
        .env("LONGSHORE_DATA", server.data.path())
        .output()
        .unwrap()
}

fn printed(output: &Output) -> (String, String) {
    assert!(output.status.success(), "{output:?}");
    let read = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (read(&output.stdout), read(&output.stderr))
}

#[test]
fn a_clone_address_that_is_wrong_is_said_at_once_shown_on_the_page_and_can_be_mended() {
    let (server, git) = (Server::start(), GitHost::start());
    git.push("on: push\njobs: { one: { image: x, steps: [{ run: 'true' }] } }\n");
    let wrong = git.url().replace("app.git", "other.git");
    let (out, said) = printed(&longshore(&server, &["repo", "add", "team/app", &wrong, "--forge", "gitea"]));
    assert!(out.contains("Webhook secret") && out.contains("ALLOWED_HOST_LIST"), "{out}");
    assert!(said.contains("cannot be fetched yet") && said.contains("repository not found"), "{said}");
    let api = server.api();
    let repo = &api.get("/api/v1/repos?name=team/app")["items"][0];
    let path = format!("/repos/{}", text(repo, "id"));
    let page = api.get_text(&path).1;
    assert!(page.contains("cannot be fetched") && !page.contains("No builds yet"), "{page}");

    let home = api.get_text("/").1;
    assert!(home.contains("cannot be fetched") && !home.contains("No builds yet"), "{home}");

    let changes = ["--name", "team/moved", "--forge", "forgejo", "--clone-url", &git.url()];
    let (out, said) = printed(&longshore(&server, &[&["repo", "change", "team/app"][..], &changes].concat()));
    assert_eq!(
        (out.as_str(), said.as_str()),
        (format!("team/moved (forgejo) is cloned from {}.\n", git.url()).as_str(), "")
    );
    let page = api.get_text(&path).1;
    assert!(!page.contains("cannot be fetched") && page.contains("No builds yet"), "{page}");
    let (_, said) = printed(&longshore(&server, &["repo", "change", "team/moved", "--clone-url", &wrong]));
    assert!(said.contains("repository not found"), "{said}");

    let (_, right) = printed(&longshore(&server, &["repo", "add", "team/app", &git.url()]));
    assert_eq!(right, "");
    let taken = longshore(&server, &["repo", "change", "team/app", "--name", "team/moved"]);
    assert!(String::from_utf8_lossy(&taken.stderr).contains("already exists"), "{taken:?}");
}

#[test]
fn a_token_that_does_not_come_through_docker_exec_is_missed_with_the_option_that_passes_it_on() {
    let server = Server::start_with(engine::docker_host(), &[]);
    for args in [
        &["connection", "add", "gitea", "https://git.invalid"][..],
        &["registry", "add", "registry.invalid", "--username", "robot"],
        &["secret", "set", "team/app", "TOKEN"],
        &["notification", "add", "slack"],
    ] {
        let ended = longshore(&server, args);
        let why = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{args:?}: {why}");
        assert!(why.contains("standard input is empty") && why.contains("`-i`"), "{args:?}: {why}");
    }
}

/// Calls a webhook. Returns the status and what was said.
fn call(api: &Api, hook: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let (status, answer) = api.post_bytes(hook, headers, body.as_bytes());
    (status, answer["error"]["message"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn calls_of_a_webhook_that_are_refused_are_seen_with_what_to_change_until_one_is_accepted() {
    let server = Server::start_with(engine::docker_host(), &[]);
    let (api, nobody) = (server.api(), Api::new(&server.url(), None));
    let git = GitHost::start();
    let new = json!({ "name": "team/app", "clone_url": git.url(), "forge": "gitea" });
    let (_, repo) = api.post("/api/v1/repos", &new);
    let (id, secret) = (text(&repo, "id"), text(&repo, "hook_secret"));
    let hook = format!("/hooks/{id}");
    let body = r#"{"zen":"x"}"#;
    let event = ("X-Gitea-Event", "push");
    let json = ("Content-Type", "application/json");
    let right = sign(Forge::Gitea, body.as_bytes(), secret.as_bytes());
    let wrong = sign(Forge::Gitea, body.as_bytes(), b"another secret");
    let shown = || {
        let repo: Value = api.get(&format!("/api/v1/repos/{id}"));
        let reason = repo["refused_hook"]["reason"].as_str().map(str::to_owned);
        let page = api.get_text(&format!("/repos/{id}/deliveries")).1;
        assert_eq!(page.contains("id=\"refused-hook\""), reason.is_some(), "{page}");
        reason.unwrap_or_default()
    };
    assert_eq!(shown(), "");
    let page = api.get_text(&format!("/repos/{id}/deliveries")).1;
    assert!(page.contains("ALLOWED_HOST_LIST"), "a forge that calls nobody says so only on its own page: {page}");
    let forms = ("Content-Type", "application/x-www-form-urlencoded");
    let github = [("X-GitHub-Event", "push"), ("X-Hub-Signature-256", "sha256=00"), json];
    for (headers, body, expected) in [
        (&[event, ("X-Gitea-Signature", wrong.as_str()), json][..], body, "not the repository's hook secret"),
        (&[event, ("X-Gitea-Signature", right.as_str()), forms], "payload=%7B%7D", "content type to application/json"),
        (&github, body, "one of GitHub"),
    ] {
        let (status, why) = call(&nobody, &hook, headers, body);
        assert_eq!(status, 401, "{why}");
        assert!(why.contains(expected) && !why.contains("team/app"), "{why}");
        // The log names the first of many calls, and later ones after a pause.
        support::until("the refused call to be shown", || {
            call(&nobody, &hook, headers, body);
            shown().contains(expected).then_some(())
        });
        support::until("the log to say it too", || server.log().contains(expected).then_some(()));
    }
    let (status, why) = call(&nobody, &hook, &[event, ("X-Gitea-Signature", &right), json], body);
    assert_eq!(status, 202, "{why}");
    assert_eq!(shown(), "");
}
