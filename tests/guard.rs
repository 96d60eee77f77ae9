//! The program as a guard: the executor works behind it, and code with the executor's rights has no more than the
//! executor.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use support::{engine, server, world::one_step};

/// `longshore guard` before the engine, and a working tree beside it.
struct Guarded {
    dir: tempfile::TempDir,
    instance: String,
    guard: Child,
}

impl Guarded {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let instance = dir.path().file_name().expect("a name").to_string_lossy().replace('.', "g").to_lowercase();
        let policy = format!(r#"{{"server":{{"instance":"{instance}"}}}}"#);
        std::fs::write(dir.path().join("policy.json"), policy).expect("written");
        let guard = guard(dir.path());
        let guarded = Self { dir, instance, guard };
        guarded.wait();
        guarded
    }

    /// Waits until the guard listens.
    fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(600);
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            assert!(Instant::now() < until, "the guard does not listen");
            std::thread::yield_now();
        }
    }

    fn restart(&mut self) {
        self.guard.kill().expect("killed");
        self.guard.wait().expect("ended");
        self.guard = guard(self.dir.path());
        self.wait();
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("guard.sock")
    }

    fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    fn run(&self, pipeline: &str) -> Output {
        let tree = self.dir.path().join("tree");
        std::fs::create_dir_all(&tree).expect("a folder");
        std::fs::write(tree.join(".longshore.yml"), pipeline).expect("written");
        Command::new(server::program())
            .arg("run")
            .current_dir(tree)
            .env("LONGSHORE_DOCKER_HOST", self.host())
            .env("LONGSHORE_INSTANCE", &self.instance)
            .output()
            .expect("the program runs")
    }
}

/// Starts the guard of a folder.
fn guard(dir: &Path) -> Child {
    let engine = engine::docker_host();
    let socket = engine.strip_prefix("unix://").expect("a unix socket");
    Command::new(server::program())
        .args(["guard", "--socket", socket, "--listen"])
        .arg(dir.join("guard.sock"))
        .arg("--policy")
        .arg(dir.join("policy.json"))
        .arg("--audit")
        .arg(dir.join("audit.jsonl"))
        .spawn()
        .expect("the program runs")
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        engine::remove_all(&self.instance);
    }
}

#[test]
fn jobs_run_behind_the_guard_and_its_restart_loses_nothing_of_them() {
    let mut guarded = Guarded::start();
    for _ in 0..2 {
        let output = guarded.run(&one_step("echo behind the guard"));
        let printed = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{printed}{}", String::from_utf8_lossy(&output.stderr));
        assert!(printed.contains("one | behind the guard\n"), "{printed}");
        // It keeps nothing: the next run finds the sandbox that is left by its name and label.
        guarded.restart();
    }
    engine::until_gone(&guarded.instance, &["job", "volume"]);
    assert_eq!(engine::objects(&guarded.instance, &["sandbox"]).len(), 1);

    let docker = |args: &[&str]| {
        let output =
            Command::new("docker").env("DOCKER_HOST", guarded.host()).args(args).output().expect("docker runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for args in [
        &["run", "--rm", "--privileged", engine::BUSYBOX, "true"][..],
        &["run", "--rm", "-v", "/:/h", engine::BUSYBOX, "true"],
        &["run", "--rm", engine::BUSYBOX, "true"],
        &["volume", "ls"],
        &["ps", "-a"],
        &["volume", "create", "x"],
        &["build", "-"],
    ] {
        let (succeeded, text) = docker(args);
        assert!(!succeeded, "docker {args:?} succeeded: {text}");
    }

    let log = guarded.dir.path().join("audit.jsonl");
    let verify =
        |log: &Path| Command::new(server::program()).args(["audit", "verify"]).arg(log).output().expect("it runs");
    let verified = verify(&log);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let text = std::fs::read_to_string(&log).expect("a log");
    assert!(text.contains(r#""rule":"privileged""#) && !text.contains("behind the guard"), "{text}");
    let changed = guarded.dir.path().join("changed.jsonl");
    std::fs::write(&changed, text.replacen("denied", "allowed", 1)).expect("written");
    assert_eq!(verify(&changed).status.code(), Some(1));
}
