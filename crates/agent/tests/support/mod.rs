//! A runner for tests: starts the agent as an ordinary process and talks to it over pipes.

#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    clippy::unwrap_used,
    reason = "each test file uses a part of it"
)]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use longshore_agent_protocol::message::{FromAgent, JobResult, JobSpec, StepResult, StepSpec};
use longshore_agent_protocol::{
    ContainerRequest, FrameError, FromAgentDecoder, Item, SpoolReader, ToAgent, VERSION, encode_marker, encode_to_agent,
};
use longshore_core::expression::Expression;
use longshore_core::template::{Part, Template};
use tempfile::TempDir;

pub const NONCE: [u8; 16] = [7; 16];
const DEADLINE: Duration = Duration::from_secs(300);

/// The options of an agent under test.
#[derive(Clone, Copy)]
pub struct Limits {
    pub spool: u64,
    pub disk_full_ms: u64,
    pub aftermath_ms: u64,
    pub patience_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { spool: 1 << 30, disk_full_ms: 60_000, aftermath_ms: 60_000, patience_ms: 10_000 }
    }
}

/// A running agent, and the test's end of the pipes.
pub struct Agent {
    pub root: TempDir,
    pub child: Child,
    stdin: Option<ChildStdin>,
    bytes: Receiver<Vec<u8>>,
    decoder: FromAgentDecoder,
    session: u32,
    /// Whether to acknowledge what is received.
    pub acks: bool,
    pub last_seq: u64,
}

impl Agent {
    pub fn start() -> Self {
        Self::start_with(Limits::default())
    }

    pub fn start_with(limits: Limits) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), limits)
    }

    pub fn start_in(root: TempDir, limits: Limits) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_longshore-agent-alone"))
            .arg(root.path().join("longshore"))
            .args([limits.spool, limits.disk_full_ms, limits.aftermath_ms, limits.patience_ms].map(|n| n.to_string()))
            // The steps' environment comes from the image, here from these lines only, and not from whoever runs the
            // tests.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("FROM_IMAGE", "yes")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let mut stdout = child.stdout.take().unwrap();
        let (sender, bytes) = sync_channel(4);
        thread::spawn(move || {
            loop {
                let mut buffer = vec![0; 256 << 10];
                match stdout.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => buffer.truncate(count),
                }
                if sender.send(buffer).is_err() {
                    break;
                }
            }
        });
        let decoder = FromAgentDecoder::new(0, [0; 16], 0);
        Self { root, child, stdin, bytes, decoder, session: 0, acks: true, last_seq: 0 }
    }

    pub fn workspace(&self) -> String {
        self.root.path().join("longshore/workspace").display().to_string()
    }

    pub fn spec(&self, steps: Vec<StepSpec>) -> JobSpec {
        JobSpec {
            caches: Vec::new(),
            on_workspace: false,
            env: BTreeMap::new(),
            known: BTreeMap::new(),
            secret_files: BTreeMap::new(),
            outputs: BTreeMap::new(),
            masks: vec![],
            workspace: self.workspace(),
            user: String::new(),
            timeout_ms: 300_000,
            grace_ms: 5_000,
            checkout: false,
            steps,
            services: vec![],
            path: vec![],
            authorities: String::new(),
            pod_secret: None,
            member: None,
            artifacts: vec![],
            artifact_limits: None,
        }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Opens the next session, as a new client that has stored everything up to `last_seq`.
    pub fn hello(&mut self, last_seq: u64) {
        let session = self.session + 1;
        let nonce = [u8::try_from(session).unwrap(); 16];
        let mut bytes = Vec::new();
        encode_marker(NONCE, &mut bytes);
        encode_to_agent(session, &ToAgent::Hello { version: VERSION, last_seq, nonce }, &mut bytes).unwrap();
        self.session = session;
        self.last_seq = last_seq;
        self.decoder = FromAgentDecoder::new(session, nonce, last_seq);
        self.write(&bytes);
    }

    pub fn encoded(&self, session: u32, message: &ToAgent) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_to_agent(session, message, &mut bytes).unwrap();
        bytes
    }

    pub fn say(&mut self, message: &ToAgent) {
        let bytes = self.encoded(self.session, message);
        self.write(&bytes);
    }

    pub fn begin(&mut self, steps: Vec<StepSpec>) {
        let spec = self.spec(steps);
        self.begin_with(spec);
    }

    pub fn begin_with(&mut self, spec: JobSpec) {
        self.hello(0);
        self.say(&ToAgent::Plan(Box::new(spec)));
    }

    /// Returns the next message of the session.
    pub fn next(&mut self) -> Result<Item<FromAgent>, FrameError> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(item) = self.decoder.next() {
                if let Ok(item) = &item {
                    self.last_seq = self.last_seq.max(item.seq);
                    let last = matches!(item.message, FromAgent::JobFinished { .. });
                    if self.acks && item.seq > 0 && (item.seq % 16 == 0 || last) {
                        let seq = item.seq;
                        self.say(&ToAgent::Ack { seq });
                    }
                }
                return item;
            }
            match self.bytes.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.decoder.push(&bytes),
                Err(RecvTimeoutError::Timeout) => panic!("the agent says nothing"),
                Err(RecvTimeoutError::Disconnected) => panic!("the agent has closed its output"),
            }
        }
    }

    /// Reads up to the first message for which `is_it` holds. Returns all messages, including that one.
    pub fn until(&mut self, is_it: impl Fn(&FromAgent) -> bool) -> Vec<FromAgent> {
        let mut said = Vec::new();
        loop {
            let message = self.next().unwrap().message;
            said.push(message);
            if said.last().is_some_and(&is_it) {
                return said;
            }
        }
    }

    /// Reads to the job's end.
    pub fn finish(&mut self) -> Log {
        let mut log = Log::default();
        while log.result.is_none() {
            log.take(self.next().unwrap().message);
        }
        log
    }

    /// Waits until the agent exits.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Reads the messages in the spool.
    pub fn read_spool(&self, after: u64) -> Vec<Item<FromAgent>> {
        read_spool(&self.root.path().join("longshore/spool"), after)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.child.kill();
        }
        self.stdin = None;
        let _ = self.child.wait();
    }
}

/// Reads the messages that are in the spool so far.
pub fn read_spool(folder: &Path, after: u64) -> Vec<Item<FromAgent>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut reader = SpoolReader::new(after);
    let mut items = Vec::new();
    for path in paths {
        reader.begin_segment();
        reader.push(&std::fs::read(path).unwrap());
        while let Some(item) = reader.next() {
            items.push(item.unwrap());
        }
    }
    items
}

/// The messages of a job.
#[derive(Debug, Default)]
pub struct Log {
    pub output: BTreeMap<(u16, bool), Vec<u8>>,
    pub steps: BTreeMap<u16, StepResult>,
    pub notes: Vec<String>,
    pub started: Vec<u16>,
    /// Steps in the order in which they finished.
    pub finished: Vec<u16>,
    /// Containers that steps asked for.
    pub containers: Vec<(u16, ContainerRequest)>,
    pub result: Option<JobResult>,
    pub outputs: BTreeMap<String, String>,
}

impl Log {
    pub fn take(&mut self, message: FromAgent) {
        match message {
            FromAgent::Output { step, stderr, data, .. } => {
                self.output.entry((step, stderr)).or_default().extend_from_slice(&data);
            }
            FromAgent::StepStarted { step, .. } => self.started.push(step),
            FromAgent::StepFinished { step, result, .. } => {
                self.finished.push(step);
                assert!(self.steps.insert(step, result).is_none(), "step {step} finished twice");
            }
            FromAgent::Note { text, .. } => self.notes.push(text),
            FromAgent::JobFinished { end, .. } => (self.result, self.outputs) = (Some(end.result), end.outputs),
            FromAgent::RunContainer { step, container, .. } => self.containers.push((step, container)),
            FromAgent::Ready { .. }
            | FromAgent::Lost
            | FromAgent::ServiceReady { .. }
            | FromAgent::ArtifactFile(_)
            | FromAgent::ArtifactData(_)
            | FromAgent::ArtifactFileEnd { .. }
            | FromAgent::ArtifactsEnd { .. } => {}
        }
    }

    pub fn stdout(&self, step: u16) -> String {
        String::from_utf8_lossy(self.output.get(&(step, false)).map_or(&[][..], Vec::as_slice)).into_owned()
    }

    pub fn stderr(&self, step: u16) -> String {
        String::from_utf8_lossy(self.output.get(&(step, true)).map_or(&[][..], Vec::as_slice)).into_owned()
    }
}

pub fn step(run: &str) -> StepSpec {
    StepSpec {
        id: None,
        name: "step".to_owned(),
        run: run.into(),
        env: BTreeMap::new(),
        working_directory: None,
        shell: "sh".to_owned(),
        condition: None,
        continue_on_error: false,
        timeout_ms: None,
        retry: None,
        user: None,
        tty: false,
        background: false,
        image: None,
        program: None,
        wait: Vec::new(),
    }
}

pub fn always(run: &str) -> StepSpec {
    when("always()", run)
}

/// Returns a step with an `if`.
pub fn when(condition: &str, run: &str) -> StepSpec {
    StepSpec { condition: Some(Expression::parse(condition).unwrap()), ..step(run) }
}

/// Parses a text with `${{ }}` in it.
pub fn template(text: &str) -> Template {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${{") {
        let (source, after) = after.split_once("}}").unwrap();
        parts.extend([Part::Text(before.to_owned()), Part::Expression(Expression::parse(source).unwrap())]);
        rest = after;
    }
    parts.push(Part::Text(rest.to_owned()));
    Template::new(parts)
}

/// Runs a job to its end.
pub fn run(steps: Vec<StepSpec>) -> Log {
    let mut agent = Agent::start();
    agent.begin(steps);
    let log = agent.finish();
    assert_eq!(agent.wait(), Some(0));
    log
}

pub fn run_with(change: impl FnOnce(&mut JobSpec), steps: Vec<StepSpec>) -> Log {
    let mut agent = Agent::start();
    let mut spec = agent.spec(steps);
    change(&mut spec);
    agent.begin_with(spec);
    let log = agent.finish();
    assert_eq!(agent.wait(), Some(0));
    log
}

/// Polls until `is_so` returns true.
pub fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Returns whether a process exists and is not a zombie.
pub fn is_alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
}
