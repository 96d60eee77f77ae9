//! A repository that is fetched over ssh, from OpenSSH's server, with a key of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::process::Command;

use serde_json::json;
use support::{
    engine,
    server::{ADMIN_TOKEN, program},
    sshd::Sshd,
    world::World,
};

fn repo(world: &World, args: &[&str]) -> (bool, String) {
    let mut command = Command::new(program());
    command.arg("repo").args(args);
    command.env("LONGSHORE_URL", world.server.url()).env("LONGSHORE_TOKEN", ADMIN_TOKEN);
    let output = command.output().expect("the program runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn a_repository_is_fetched_with_its_own_key_from_the_host_that_was_pinned_and_no_other() {
    let Some(mut sshd) = Sshd::start() else { return };
    let world = World::start();
    let pipeline = format!(
        "on: push\njobs: {{ one: {{ image: {}, steps: [{{ run: cat .longshore.yml }}] }} }}\n",
        engine::BUSYBOX
    );
    // An address for http takes no key.
    let (made, said) = repo(&world, &["key", "team/app"]);
    assert!(!made && said.contains("does not use SSH"), "{said}");
    let bare = world.git.work().parent().unwrap().join("srv/app.git");
    let (status, changed) =
        world.api().patch(&format!("/api/v1/repos/{}", world.repo), &json!({ "clone_url": sshd.url(&bare) }));
    assert_eq!(status, 200, "{changed}");

    let (made, said) = repo(&world, &["key", "team/app"]);
    assert!(made && said.contains("ssh-ed25519 ") && said.contains("SHA256:"), "{said}");
    let public = said.lines().next().unwrap();
    assert_eq!(repo(&world, &["key", "team/app"]).1.lines().next(), Some(public), "it is made once");
    let (_, said) = repo(&world, &["look", "team/app"]);
    assert!(said.contains("deploy key") && said.contains("longshore repo key"), "{said}");
    sshd.let_in(public);
    let (looked, said) = repo(&world, &["look", "team/app"]);
    assert!(looked, "{said}");

    let commit = world.git.push(&pipeline);
    let build = world.build_of(&commit);
    let build = world.api().wait_for_build(build["id"].as_str().unwrap());
    assert_eq!(build["status"], "success", "{build}");

    // A program that answers in the host's place learns nothing.
    sshd.set_up_again();
    let (looked, said) = repo(&world, &["look", "team/app"]);
    assert!(!looked && said.contains("may be an attack"), "{said}");
    let (made, said) = repo(&world, &["key", "team/app", "--new"]);
    assert!(made && !said.contains(public), "{said}");
    sshd.let_in(said.lines().next().unwrap());
    let (looked, said) = repo(&world, &["look", "team/app"]);
    assert!(looked, "{said}");

    // The private halves are nowhere as they are.
    for file in std::fs::read_dir(world.server.data.path()).unwrap() {
        let path = file.unwrap().path();
        let bytes = if path.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        assert!(!bytes.windows(19).any(|window| window == b"OPENSSH PRIVATE KEY"), "{}", path.display());
    }
}
