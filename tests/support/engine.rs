//! The engine, through its own command line.

use std::process::Command;

/// Returns the address of the engine under test.
pub fn docker_host() -> String {
    std::env::var("LONGSHORE_TEST_DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned())
}

/// The image of the tests: a static busybox, made by `scripts/images.sh`.
pub const BUSYBOX: &str = "longshore-test/busybox:latest";

/// Runs `docker ARGS` and returns the lines of its output.
pub fn docker(args: &[&str]) -> Vec<String> {
    let output = Command::new("docker").arg("--host").arg(docker_host()).args(args).output().expect("docker runs");
    assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Returns what `docker inspect` prints of a container; `None` if it does not exist.
pub fn inspect(container: &str, format: &str) -> Option<String> {
    let args = ["inspect", "--type", "container", "--format", format, container];
    let output = Command::new("docker").arg("--host").arg(docker_host()).args(args).output().expect("docker runs");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Lists the objects of an instance on the engine that are of one of these kinds.
pub fn objects(instance: &str, kinds: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for kind in kinds {
        let instance = format!("label=longshore.instance={instance}");
        let kind = format!("label=longshore.kind={kind}");
        let filters = ["--filter", instance.as_str(), "--filter", kind.as_str(), "-q"];
        found.extend(docker(&[&["ps", "-a"][..], &filters].concat()));
        found.extend(docker(&[&["volume", "ls"][..], &filters].concat()));
        found.extend(docker(&[&["network", "ls"][..], &filters].concat()));
    }
    found
}

/// Waits until nothing of these kinds is left of an instance: an engine goes on by itself with files that it is slow to
/// delete.
pub fn until_gone(instance: &str, kinds: &[&str]) {
    let gone = super::polled(super::PATIENCE, || objects(instance, kinds).is_empty().then_some(()));
    assert!(gone.is_some(), "something is left: {:?}", described(instance));
}

/// Describes all objects of an instance, for the message of a test that found some.
pub fn described(instance: &str) -> Vec<String> {
    let instance = format!("label=longshore.instance={instance}");
    [
        &["ps", "-a", "--format", "container {{.Names}}: {{.Status}}, {{.Label \"longshore.kind\"}}"][..],
        &["volume", "ls", "--format", "volume {{.Name}}: {{.Label \"longshore.kind\"}}"],
        &["network", "ls", "--format", "network {{.Name}}: {{.Label \"longshore.kind\"}}"],
    ]
    .iter()
    .flat_map(|list| docker(&[list, &["--filter", instance.as_str()][..]].concat()))
    .collect()
}

/// Removes everything of an instance, except the agent's volume and image, which all instances of one version share.
/// Requests of a server that has ended may still be in progress, so nothing may be left twice in a row. Reports what
/// cannot be removed after a while; `make test` finds it too.
pub fn remove_all(instance: &str) {
    let mut quiet = 0;
    for _ in 0..200 {
        quiet = if remove_what_is_there(instance) { 0 } else { quiet + 1 };
        if quiet == 2 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(150));
    }
    eprintln!("the engine does not let go of everything of the instance {instance}");
}

/// Returns whether there was anything.
fn remove_what_is_there(instance: &str) -> bool {
    let mut any = false;
    let filter = format!("label=longshore.instance={instance}");
    for (list, remove) in [
        // A container of the agent's is one that brings it or runs a task of it, and belongs to one instance.
        (&["ps", "-a", "--format", "{{.ID}} container"][..], &["rm", "-f", "-v"][..]),
        (&["volume", "ls", "--format", "{{.Name}} {{.Label \"longshore.kind\"}}"], &["volume", "rm", "-f"]),
        (&["network", "ls", "--format", "{{.ID}} {{.Label \"longshore.kind\"}}"], &["network", "rm"]),
        // Images that jobs with Docker have built.
        (&["images", "--format", "{{.ID}} {{.Repository}}"], &["rmi", "-f"]),
    ] {
        let found = docker(&[list, &["--filter", &filter]].concat());
        let ids: Vec<&str> = found
            .iter()
            .filter_map(|line| line.split_once(' '))
            .filter(|(_, kind)| !matches!(*kind, "agent" | "longshore-agent"))
            .map(|(id, _)| id)
            .collect();
        if !ids.is_empty() {
            any = true;
            // Some may be disappearing by themselves right now. The next round shows.
            let _ = Command::new("docker").arg("--host").arg(docker_host()).args(remove).args(&ids).output();
        }
    }
    any
}
