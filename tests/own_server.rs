//! The command line beside its server, as `docker exec` starts it in the server's container.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::process::{Command, Output};

use support::{
    engine,
    server::{ADMIN_TOKEN, Server, program},
};

const PUBLIC: &str = "https://ci.example.org/builds-of-ours";

/// Runs a command with the environment of the server's container.
fn inside(server: &Server, url: Option<&str>, args: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.args(args).env("LONGSHORE_DATA", server.data.path()).env("LONGSHORE_ADMIN_TOKEN", ADMIN_TOKEN);
    command.env_remove("LONGSHORE_TOKEN").env_remove("LONGSHORE_URL");
    command.envs(url.map(|url| ("LONGSHORE_URL", url))).output().unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn beside_its_server_the_command_line_needs_neither_address_nor_token_whatever_the_public_address_is() {
    let server = Server::start_with(engine::docker_host(), &[("LONGSHORE_URL", PUBLIC)]);
    for url in [None, Some(PUBLIC), Some("https://ci.example.org/builds-of-ours/"), Some("")] {
        let link = said(&inside(&server, url, &["token", "sign-in"]));
        assert!(link.starts_with(&format!("{PUBLIC}/sign-in?code=")), "{url:?}: {link}");
    }
    let added = said(&inside(&server, Some(PUBLIC), &["repo", "add", "team/app", "https://git.invalid/team/app.git"]));
    assert!(added.contains(&format!("{PUBLIC}/hooks/")), "{added}");
    assert!(said(&inside(&server, None, &["repo", "list"])).contains("team/app"));

    // Another server's address is another server's.
    let other = inside(&server, Some("http://127.0.0.1:9"), &["repo", "list"]);
    let why = String::from_utf8_lossy(&other.stderr);
    assert!(!other.status.success() && why.contains("no response from http://127.0.0.1:9"), "{why}");
}

#[test]
fn a_server_that_is_gone_is_not_taken_for_whoever_listens_in_its_place() {
    let mut server = Server::start_with(engine::docker_host(), &[("LONGSHORE_URL", PUBLIC)]);
    server.kill();
    let listener = std::net::TcpListener::bind(("127.0.0.1", server.port)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let ended = inside(&server, Some(&format!("{PUBLIC}.invalid")), &["repo", "list"]);
    assert!(!ended.status.success());
    let ended = inside(&server, None, &["repo", "list", "--url", "http://127.0.0.1:9"]);
    assert!(!ended.status.success());
    assert!(listener.accept().is_err(), "nobody was asked, and so nobody got the token");
}
