//! The engine, seen through its own command line.

use std::process::Command;

/// The engine under test.
pub fn docker_host() -> String {
    std::env::var("LONGSHORE_TEST_DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned())
}

/// The image of the tests: a static busybox, made by `scripts/images.sh`.
pub const BUSYBOX: &str = "longshore-test/busybox:latest";

/// `docker ARGS`, its output's lines.
pub fn docker(args: &[&str]) -> Vec<String> {
    let output = Command::new("docker").arg("--host").arg(docker_host()).args(args).output().expect("docker runs");
    assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Everything of an instance on the engine, berths, agents and the network apart where `kinds` says so.
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

/// Removes everything of an instance.
pub fn remove_all(instance: &str) {
    let filter = format!("label=longshore.instance={instance}");
    for (list, remove) in [
        (&["ps", "-aq"][..], &["rm", "-f", "-v"][..]),
        (&["volume", "ls", "-q"], &["volume", "rm", "-f"]),
        (&["network", "ls", "-q"], &["network", "rm"]),
    ] {
        let found = docker(&[list, &["--filter", &filter]].concat());
        if !found.is_empty() {
            let ids: Vec<&str> = found.iter().map(String::as_str).collect();
            docker(&[remove, &ids].concat());
        }
    }
}
