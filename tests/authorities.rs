//! `LONGSHORE_CA_FILE`: the user's own certificate authorities.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;
#[path = "../crates/git/tests/support/tls.rs"]
mod tls;

use std::process::Command;

use serde_json::json;
use support::{api::text, engine, git_host::GitHost, server::Server};
use tls::Tls;

const PIPELINE: &str = "on: [push, manual]\njobs: { one: { image: busybox, steps: [{ run: 'true' }] } }\n";

#[test]
fn a_git_host_and_a_server_behind_an_authority_of_ones_own_are_reached_by_one_setting() {
    let folder = tempfile::tempdir().unwrap();
    let git = GitHost::start();
    git.push(PIPELINE);
    let port: u16 = git.url().rsplit(':').next().unwrap().split('/').next().unwrap().parse().unwrap();
    let host = Tls::before(port, folder.path());
    for setting in ["LONGSHORE_CA_FILE", "SSL_CERT_FILE"] {
        let authority = host.authority.to_str().unwrap();
        let server = Server::start_with(engine::docker_host(), &[(setting, authority)]);
        let (repo, _) = server.api().add_repo("team/app", &format!("https://127.0.0.1:{}/app.git", host.port));
        let (status, build) = server.api().post(&format!("/api/v1/repos/{repo}/builds"), &json!({ "ref": "main" }));
        assert_eq!(status, 201, "{setting}: {build}");
        assert_eq!(text(&build, "event"), "manual");

        // The command line talks to a server with such a certificate.
        let before = Tls::before(server.port, &folder.path().join(setting));
        let list = |settings: &[(&str, &str)]| {
            let mut command = Command::new(support::server::program());
            command.args(["repo", "list", "--json", "--url", &format!("https://127.0.0.1:{}", before.port)]);
            command.args(["--token", support::server::ADMIN_TOKEN]).env_remove("SSL_CERT_FILE");
            let output = command.envs(settings.iter().copied()).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
        };
        assert!(list(&[]).contains("no response") && list(&[]).contains("LONGSHORE_CA_FILE"), "{}", list(&[]));
        let said = list(&[(setting, before.authority.to_str().unwrap())]);
        assert!(said.contains("team/app"), "{setting}: {said}");
    }
}

#[test]
fn whatever_meets_a_certificate_that_is_not_trusted_names_the_setting() {
    let folder = tempfile::tempdir().unwrap();
    let git = GitHost::start();
    let port: u16 = git.url().rsplit(':').next().unwrap().split('/').next().unwrap().parse().unwrap();
    let host = Tls::before(port, folder.path());
    let server = Server::start();
    let url = format!("https://127.0.0.1:{}", host.port);
    let (_, connection) =
        server.api().post("/api/v1/connections", &json!({ "kind": "gitea", "url": url, "token": "x" }));
    let (_, notification) = server.api().post("/api/v1/notifications", &json!({ "kind": "webhook", "address": url }));
    let test = format!("/api/v1/notifications/{}/test", text(&notification, "id"));
    for answer in [connection, server.api().post(&test, &json!({})).1] {
        assert!(answer.to_string().contains("LONGSHORE_CA_FILE"), "{answer}");
    }
}

#[test]
fn a_file_without_a_certificate_stops_the_start_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let start = |setting: &str| {
        let mut command = Command::new(support::server::program());
        command.args(["serve", "--data"]).arg(folder.path().join("data")).env_remove("SSL_CERT_FILE");
        let output = command.env(setting, &file).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for setting in ["LONGSHORE_CA_FILE", "SSL_CERT_FILE"] {
        let _ = std::fs::remove_file(&file);
        let named = |said: &str| said.contains(setting) && said.contains(file.to_str().unwrap());
        let missing = start(setting);
        assert!(named(&missing) && missing.contains("cannot be read"), "{missing}");
        for (content, why) in [
            ("", "holds no certificate"),
            ("nothing of the kind", "holds no certificate"),
            ("-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n", "is damaged"),
        ] {
            std::fs::write(&file, content).unwrap();
            let said = start(setting);
            assert!(named(&said) && said.contains(why), "{said}");
        }
    }
    assert!(!folder.path().join("data").exists());
}
