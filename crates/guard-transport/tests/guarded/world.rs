//! A guard in this process, in front of the engine of this machine.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use longshore_guard::Policy;
use longshore_guard_transport::{Options, Proxy};
use tokio_util::sync::CancellationToken;

use crate::front::Front;

pub(crate) const BUSYBOX: &str = "longshore-test/busybox";

/// The socket of the engine under test.
pub(crate) fn engine_socket() -> PathBuf {
    let host = std::env::var("LONGSHORE_TEST_DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    PathBuf::from(host.strip_prefix("unix://").expect("a unix socket"))
}

/// Whether the engine mounts a container's volumes for a copy in a mount namespace of its own: Docker 24 and later.
pub(crate) fn copies_from_a_namespace_of_its_own() -> bool {
    let api = engine(&["version", "--format", "{{.Server.APIVersion}}"]);
    api.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok()).is_some_and(|minor| minor >= 43)
}

/// `docker ARGS` on the engine itself.
pub(crate) fn engine(args: &[&str]) -> String {
    let host = format!("unix://{}", engine_socket().display());
    let output = Command::new("docker").env("DOCKER_HOST", host).args(args).output().unwrap();
    assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(crate) struct World {
    pub(crate) scope: String,
    pub(crate) proxy: Arc<Proxy>,
    /// Records the requests that reach the engine.
    pub(crate) front: Front,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) volume: String,
    network: Option<String>,
    /// The sandbox of the job.
    pub(crate) sandbox: Option<String>,
    stop: CancellationToken,
    serving: Option<tokio::task::JoinHandle<()>>,
}

impl World {
    /// Starts the guard of a job with a workspace, and with a network of its own if `networked`.
    pub(crate) async fn new(networked: bool) -> Self {
        Self::with(networked, &serde_json::json!({ "refusals": 100_000 })).await
    }

    /// The same, with this budget.
    pub(crate) async fn with(networked: bool, budget: &serde_json::Value) -> Self {
        Self::having(networked, &serde_json::json!({ "budget": budget }), None).await
    }

    /// The same, with `more` in its policy, on an engine that speaks no API before `1.oldest`.
    pub(crate) async fn having(networked: bool, more: &serde_json::Value, oldest: Option<u32>) -> Self {
        let scope = format!("t{}", hex::encode(rand::random::<[u8; 5]>()));
        let dir = tempfile::tempdir().unwrap();
        let front = Front::start(dir.path(), engine_socket(), oldest);
        let volume = format!("longshore-test-workspace-{scope}");
        engine(&["volume", "create", &volume]);
        let network = networked.then(|| engine(&["network", "create", &format!("longshore-test-{scope}")]));
        let sandbox = network.as_ref().map(|network| {
            let name = format!("longshore-test-sandbox-{scope}");
            engine(&["run", "-d", "--name", &name, "--network", network, BUSYBOX, "sleep", "600"])
        });
        let mut policy = serde_json::json!({ "job": {
            "scope": scope,
            "network": network,
            "sandbox": sandbox,
            "labels": { "longshore.test": scope },
            "places": [{ "path": "/longshore/workspace", "volume": volume }],
            "images": [BUSYBOX],
            "registries": ["registry.invalid"],
            "build": true,
            "load": true,
        }});
        policy["job"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let options = Options {
            state: Some(dir.path().join("table.json")),
            audit: Some(dir.path().join("audit.jsonl")),
            ..Options::new(front.socket.clone(), Policy::parse(&policy.to_string()).unwrap())
        };
        let proxy = Proxy::connect(options).await.unwrap();
        let mut world =
            Self { scope, proxy, front, dir, volume, network, sandbox, stop: CancellationToken::new(), serving: None };
        world.serve().await;
        world
    }

    async fn serve(&mut self) {
        let listener = Proxy::listen(&self.socket(), 0o600).await.unwrap();
        self.stop = CancellationToken::new();
        self.serving = Some(tokio::spawn(Arc::clone(&self.proxy).serve(listener, self.stop.clone())));
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    /// Returns the command of a client that uses the guard's socket.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .env("DOCKER_CONFIG", self.dir.path())
            .env("DOCKER_BUILDKIT", "0")
            .env("COMPOSE_DOCKER_CLI_BUILD", "0")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn docker(&self, args: &[&str]) -> Output {
        self.command("docker").args(args).output().unwrap()
    }

    /// Runs `docker ARGS`, which has to succeed. Returns its standard output.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.docker(args);
        assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Runs `docker ARGS`, which the guard has to refuse by this rule. The command may still continue, with a pull of a
    /// missing image.
    #[track_caller]
    pub(crate) fn refused(&self, args: &[&str], rule: &str) {
        let before = self.audit().len();
        let output = self.docker(args);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "docker {args:?} succeeded: {}", String::from_utf8_lossy(&output.stdout));
        let entries = self.audit().split_off(before);
        // Objects of others are not there, whether their names were found by accident or not.
        let is_rule = |found: &serde_json::Value| found == rule || (rule == "foreign" && found == "probe");
        let refused = entries.iter().any(|entry| entry["decision"] == "denied" && is_rule(&entry["rule"]));
        assert!(refused, "docker {args:?}: {text}: {entries:?}");
    }

    pub(crate) fn docker_with_input(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = self
            .command("docker")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A client that is refused does not read all of it.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    pub(crate) fn ok_with_input(&self, args: &[&str], input: &[u8]) -> String {
        let output = self.docker_with_input(args, input);
        assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Sends one request. Returns the status and the rest of the answer.
    pub(crate) fn send(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> (u16, String) {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(300))).unwrap();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A guard that has refused the head may have closed the connection by now.
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default();
        (status, answer)
    }

    pub(crate) fn send_json(&self, method: &str, target: &str, body: &str) -> (u16, String) {
        let media = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        self.send(method, target, media, body.as_bytes())
    }

    /// Returns the entries of the audit log, which has to be intact.
    pub(crate) fn audit(&self) -> Vec<serde_json::Value> {
        let log = std::fs::read_to_string(self.dir.path().join("audit.jsonl")).unwrap();
        longshore_audit::Chain::default().follow_all(&log).unwrap();
        log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["entry"].clone()).collect()
    }

    /// Returns the objects of this client on the engine.
    pub(crate) fn objects(&self) -> Vec<String> {
        let label = format!("label=longshore.guard.scope={}", self.scope);
        let mut all = Vec::new();
        for list in [&["ps", "-aq"][..], &["volume", "ls", "-q"], &["network", "ls", "-q"]] {
            all.extend(engine(&[list, &["--filter", &label]].concat()).lines().map(str::to_owned));
        }
        let reference = format!("longshore-guard/{}", self.scope);
        all.extend(engine(&["images", "-q", &reference]).lines().map(str::to_owned));
        // Layers of builds have no names.
        all.extend(engine(&["images", "-q", "--filter", &label]).lines().map(str::to_owned));
        all
    }

    /// Stops the guard, and checks that nothing of the client is left.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        self.serving.take().unwrap().await.unwrap();
        self.proxy.remove_all().await.unwrap();
        assert_eq!(self.objects(), Vec::<String>::new());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let host = format!("unix://{}", engine_socket().display());
        let label = format!("label=longshore.guard.scope={}", self.scope);
        let run = |args: &[&str]| Command::new("docker").env("DOCKER_HOST", &host).args(args).output();
        // Cleans up after a test that failed.
        if let Ok(listed) = run(&["ps", "-aq", "--filter", &label]) {
            for id in String::from_utf8_lossy(&listed.stdout).lines() {
                let _ = run(&["rm", "-f", "-v", id]);
            }
        }
        for list in ["volume", "network"] {
            if let Ok(listed) = run(&[list, "ls", "-q", "--filter", &label]) {
                for id in String::from_utf8_lossy(&listed.stdout).lines() {
                    let _ = run(&[list, "rm", id]);
                }
            }
        }
        let reference = format!("longshore-guard/{}", self.scope);
        if let Ok(listed) = run(&["images", "--format", "{{.Repository}}:{{.Tag}}", &reference]) {
            for name in String::from_utf8_lossy(&listed.stdout).lines() {
                let _ = run(&["rmi", name]);
            }
        }
        if let Some(sandbox) = &self.sandbox {
            let _ = run(&["rm", "-f", sandbox]);
        }
        let _ = run(&["volume", "rm", &self.volume]);
        if let Some(network) = &self.network {
            let _ = run(&["network", "rm", network]);
        }
    }
}
