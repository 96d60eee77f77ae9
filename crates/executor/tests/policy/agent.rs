//! An agent in memory: a task that speaks the protocol and follows a script instead of running a job's steps.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use longshore_agent_protocol::message::{SandboxLeft, StepStatus};
use longshore_agent_protocol::{
    ContainerFailure, ContainerRequest, FromAgent, JobEnd, JobResult, StepResult, ToAgent, ToAgentDecoder, VERSION,
    encode_from_agent, encode_marker,
};
use longshore_executor::{FromLink, Link};
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;

use crate::engine::Spool;

/// What an agent does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Script {
    /// Prints `done` and succeeds.
    #[default]
    Succeeds,
    /// Does the same, and leaves very many files in its workspace.
    LeavesManyFiles,
    /// Prints `up`, and then what it is told to; ends when it is told to, or canceled.
    Waits,
    /// Like `Waits`, but continues when it is canceled.
    IgnoresCancel,
    /// Never answers.
    Silent,
    /// Reports the job's success and ends its output, but not its container.
    Stays,
    /// Exits at once with this code, without output.
    Crashes(i64),
}

/// What the agent's task receives.
enum Input {
    Bytes(Bytes),
    Print(String),
    Finish(JobResult),
    Say(FromAgent),
}

#[derive(Clone)]
pub struct Agent {
    inputs: mpsc::UnboundedSender<Input>,
    outputs: Outputs,
    exit_code: Arc<Mutex<Option<i64>>>,
    failures: Arc<Mutex<Vec<ContainerFailure>>>,
}

/// The links that are attached.
type Outputs = Arc<Mutex<Vec<mpsc::UnboundedSender<Bytes>>>>;

impl Agent {
    pub fn start(nonce: [u8; 16], script: Script, spool: Spool) -> Self {
        let (inputs, heard) = mpsc::unbounded_channel();
        let agent = Self { inputs, outputs: Outputs::default(), exit_code: Arc::default(), failures: Arc::default() };
        if let Script::Crashes(code) = script {
            agent.end(code);
        } else if script != Script::Silent {
            let task =
                Task { agent: agent.clone(), script, spool, next_seq: 1, session: 0, planned: false, over: None };
            tokio::spawn(task.run(nonce, heard));
        }
        agent
    }

    /// Opens another link.
    pub fn link(&self) -> Link {
        let (output, arriving) = mpsc::unbounded_channel();
        if self.exit_code().is_none() {
            self.outputs.lock().unwrap().push(output);
        }
        let arriving = stream::unfold(arriving, async |mut arriving| Some((arriving.recv().await?, arriving)));
        Link { output: arriving.map(FromLink::Stdout).boxed(), input: Box::pin(Writer(self.inputs.clone())) }
    }

    pub fn cut_links(&self) {
        self.outputs.lock().unwrap().clear();
    }

    pub fn print(&self, line: &str) {
        let _ = self.inputs.send(Input::Print(line.to_owned()));
    }

    /// Reports that the turn of a step with its own image has come.
    pub fn ask(&self, step: u16, attempt: u32) {
        let container = ContainerRequest { attempt, image: "tool".to_owned() };
        self.say(FromAgent::RunContainer { step, time_ms: 0, container });
    }

    /// Reports something as if it were in its spool.
    pub fn say(&self, message: FromAgent) {
        let _ = self.inputs.send(Input::Say(message));
    }

    /// The containers of which it was told that they cannot be started.
    pub fn failures(&self) -> Vec<ContainerFailure> {
        self.failures.lock().unwrap().clone()
    }

    pub fn finish(&self, result: JobResult) {
        let _ = self.inputs.send(Input::Finish(result));
    }

    /// Ends its container now.
    pub fn end(&self, code: i64) {
        self.exit_code.lock().unwrap().get_or_insert(code);
        self.cut_links();
    }

    pub fn exit_code(&self) -> Option<i64> {
        *self.exit_code.lock().unwrap()
    }
}

struct Writer(mpsc::UnboundedSender<Input>);

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let _ = self.0.send(Input::Bytes(Bytes::copy_from_slice(bytes)));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct Task {
    agent: Agent,
    script: Script,
    spool: Spool,
    next_seq: u64,
    session: u32,
    planned: bool,
    /// The sequence number of the job's end.
    over: Option<u64>,
}

impl Task {
    async fn run(mut self, nonce: [u8; 16], mut heard: mpsc::UnboundedReceiver<Input>) {
        let mut decoder = ToAgentDecoder::new(nonce);
        while let Some(input) = heard.recv().await {
            if self.agent.exit_code().is_some() {
                return;
            }
            match input {
                Input::Bytes(bytes) => {
                    decoder.push(&bytes);
                    while let Some(item) = decoder.next() {
                        let item = item.unwrap();
                        self.take(item.session, item.message);
                    }
                }
                Input::Print(line) => self.print(&line),
                Input::Say(message) => self.say(message),
                Input::Finish(result) => {
                    self.finish(result);
                    // Nobody is there to acknowledge it.
                    if self.agent.outputs.lock().unwrap().iter().all(mpsc::UnboundedSender::is_closed) {
                        self.agent.end(0);
                    }
                }
            }
        }
    }

    fn take(&mut self, session: u32, message: ToAgent) {
        match message {
            ToAgent::Hello { last_seq, nonce, .. } => {
                self.session = session;
                let mut bytes = Vec::new();
                encode_marker(nonce, &mut bytes);
                let ready = FromAgent::Ready {
                    version: VERSION,
                    planned: self.planned,
                    checkout_received: 0,
                    checkout_whole: self.planned,
                };
                encode_from_agent(session, 0, &ready, &mut bytes).unwrap();
                for (seq, message) in self.spool.lock().unwrap().iter().filter(|(seq, _)| *seq > last_seq) {
                    encode_from_agent(session, *seq, message, &mut bytes).unwrap();
                }
                self.send(bytes);
            }
            ToAgent::Plan(_) if self.planned => {}
            ToAgent::Plan(_) => {
                self.planned = true;
                self.say(FromAgent::StepStarted { step: 0, time_ms: 0 });
                match self.script {
                    Script::Succeeds | Script::LeavesManyFiles | Script::Stays => {
                        self.print("done");
                        self.finish(JobResult::Success);
                    }
                    Script::Waits | Script::IgnoresCancel => self.print("up"),
                    Script::Silent | Script::Crashes(_) => {}
                }
            }
            ToAgent::Cancel if self.script == Script::Waits && self.over.is_none() => self.finish(JobResult::Canceled),
            ToAgent::Ack { seq } => {
                self.spool.lock().unwrap().retain(|(of, _)| *of > seq);
                if self.over.is_some_and(|over| over <= seq) {
                    match self.script {
                        Script::Stays => self.agent.cut_links(),
                        _ => self.agent.end(0),
                    }
                }
            }
            ToAgent::ContainerFailed(failure) => self.agent.failures.lock().unwrap().push(failure),
            ToAgent::Cancel
            | ToAgent::Checkout { .. }
            | ToAgent::CheckoutEnd { .. }
            | ToAgent::TakeArtifacts(_)
            | ToAgent::ArtifactRoom { .. }
            | ToAgent::ArtifactsStored => {}
        }
    }

    fn print(&mut self, line: &str) {
        self.say(FromAgent::Output { step: 0, stderr: false, time_ms: 0, data: format!("{line}\n").into() });
    }

    fn finish(&mut self, result: JobResult) {
        let status = if result == JobResult::Success { StepStatus::Success } else { StepStatus::Canceled };
        let step = StepResult {
            status,
            exit_code: None,
            signal: None,
            wall_ms: 0,
            cpu_ms: 0,
            peak_memory_bytes: 0,
            out_of_memory: false,
            outputs: std::collections::BTreeMap::new(),
            summary: String::new(),
        };
        self.say(FromAgent::StepFinished { step: 0, time_ms: 0, result: step });
        self.over = Some(self.next_seq);
        let sandbox = SandboxLeft { is_restored: true, reason: String::new() };
        let many_files = Some(self.script == Script::LeavesManyFiles);
        self.say(FromAgent::JobFinished { time_ms: 0, end: JobEnd { sandbox, many_files, ..result.into() } });
    }

    fn say(&mut self, message: FromAgent) {
        let mut bytes = Vec::new();
        encode_from_agent(self.session, self.next_seq, &message, &mut bytes).unwrap();
        self.spool.lock().unwrap().push((self.next_seq, message));
        self.next_seq += 1;
        self.send(bytes);
    }

    fn send(&self, bytes: Vec<u8>) {
        let bytes = Bytes::from(bytes);
        self.agent.outputs.lock().unwrap().retain(|output| output.send(bytes.clone()).is_ok());
    }
}
