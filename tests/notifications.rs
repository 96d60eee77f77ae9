//! People are told of builds: a server, a real engine and git host, a receiver of webhooks and a real mail server.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::process::Command;

use serde_json::{Value, json};
use support::{
    api::text,
    engine,
    receiver::Receiver,
    server::{ADMIN_TOKEN, Server, program},
    smtp::{MailServer, Security},
    until,
    world::{World, one_step},
};

/// Runs `longshore notification ARGS`. Returns what it prints.
fn notification(world: &World, args: &[&str]) -> String {
    let output = Command::new(program())
        .arg("notification")
        .args(args)
        .env("LONGSHORE_URL", world.server.url())
        .env("LONGSHORE_TOKEN", ADMIN_TOKEN)
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_team_is_told_by_mail_and_webhook_of_what_failed_and_that_it_works_again() {
    let mail = MailServer::start(Security::StartTls);
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("ca.pem");
    std::fs::write(&authority, mail.certificate()).unwrap();
    let settings = [
        ("LONGSHORE_SMTP_URL", mail.url()),
        ("LONGSHORE_SMTP_FROM", "ci@example.org".to_owned()),
        ("LONGSHORE_CA_FILE", authority.display().to_string()),
    ];
    let settings: Vec<(&'static str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let world = World::of(Server::start_with(engine::docker_host(), &settings));
    let receiver = Receiver::start();
    notification(&world, &["add", "email", "team@example.org", "--repo", "team/app", "--on", "failure,fixed"]);
    let added = notification(&world, &["add", "webhook", &receiver.url("/hook"), "--name", "bot", "--branch", "main"]);
    assert!(added.contains("whsec_"), "{added}");
    notification(&world, &["test", "bot"]);
    assert_eq!(receiver.wait_for(1)[0].body()["type"], "test");

    let failed = world.run(&one_step("exit 7"));
    let told = receiver.wait_for(2)[1].body();
    assert_eq!((&told["type"], &told["data"]["build"]["id"]), (&json!("build.failure"), &failed["id"]));
    let letter = mail.wait_for(1).remove(0);
    for part in
        ["X-To: team@example.org", "failed on main", &text(&failed, "id"), "step `exit 7` failed with exit code 7"]
    {
        assert!(letter.contains(part), "{part}: {letter}");
    }
    let fixed = world.run(&one_step("true"));
    let told = receiver.wait_for(3)[2].body();
    assert_eq!((&told["type"], &told["data"]["build"]["id"]), (&json!("build.fixed"), &fixed["id"]));
    assert!(mail.wait_for(2)[1].contains("works again on main"));
    world.run(&one_step("echo again"));
    assert_eq!((receiver.taken().len(), mail.messages().len()), (3, 2));

    let list: Value = serde_json::from_str(&notification(&world, &["list", "--json"])).unwrap();
    assert!(list[0]["last_told_at"].is_string() && list[0]["problem"].is_null(), "{list}");
    notification(&world, &["remove", "bot"]);
    assert_eq!(notification(&world, &["list", "--json"]).trim(), "[]");
}

#[test]
fn what_was_to_be_told_when_the_server_was_killed_is_told_afterwards_in_order() {
    let mut world = World::start();
    let receiver = Receiver::start();
    notification(&world, &["add", "webhook", &receiver.url("/hook"), "--repo", "team/app"]);
    receiver.answer(503, "", "down");
    let mut expected = Vec::new();
    for n in 0..3 {
        let run = if n % 2 == 0 { format!("echo {n}; exit 3") } else { format!("echo {n}") };
        let build = world.run(&one_step(&run));
        expected.push((if n % 2 == 0 { "build.failure" } else { "build.fixed" }, text(&build, "id")));
        world.server.kill();
        world.server.launch();
    }
    until("the first try", || (!receiver.state().received.is_empty()).then_some(()));
    world.server.kill();
    receiver.answer(200, "", "ok");
    world.server.launch();
    let told: Vec<Value> = receiver.wait_for(3).iter().map(support::receiver::Received::body).collect();
    let told: Vec<(&str, String)> =
        told.iter().map(|one| (one["type"].as_str().unwrap(), text(&one["data"]["build"], "id"))).collect();
    assert_eq!(told, expected);
}
