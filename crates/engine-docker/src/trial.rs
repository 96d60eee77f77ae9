//! Runs two jobs of our own image in two sandboxes, to try everything that a job needs. The first reports which limits
//! the kernel enforces and waits for a connection; the other tries to connect. The doctor reports what they measured,
//! not what the engine says about itself.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use longshore_core::record::RecordKind;
use longshore_core::{BuildId, JobId, JobPlan, Outcome, Record, StepPlan};
use longshore_executor::engine::Engine as _;
use longshore_executor::{
    AttemptId, DockerAccess, EngineError, Executor, ImageAccess, JobCaches, JobRequest, Journal, Limits, OperatorEnv,
    PullPolicy, Workspace,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::confinement::Gap;
use crate::engine::DockerEngine;
use crate::paths::PROGRAM;

/// How long the jobs may take.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(60);
const PIDS: u32 = 117;
const MEMORY_BYTES: u64 = 192 << 20;

/// What the jobs measured.
pub(crate) struct Trial {
    /// From the request to the first line of output.
    pub(crate) first_line: Duration,
    pub(crate) gaps: Vec<Gap>,
    /// Whether one job's container reaches another's.
    pub(crate) reachable: bool,
    pub(crate) loopback6: bool,
    /// The denied addresses that a job can reach anyway.
    pub(crate) open: Vec<String>,
    /// The objects that were left on the engine at the end.
    pub(crate) left: Vec<String>,
}

/// Runs both jobs, and lists what they leave on the engine.
pub(crate) async fn try_whole_way(engine: &DockerEngine, executor: &Executor) -> Result<Trial, EngineError> {
    let image = engine.agent.ready(&engine.docker).await?.image;
    let begun = Instant::now();
    let cancel = CancellationToken::new();
    let (said, mut lines) = watch::channel(String::new());
    let routes = engine.denied().iter().map(|denied| format!("route {denied}\n")).collect::<String>();
    let questions = format!("limits\nloopback\n{routes}listen");
    let [one, two] = [JobId::new(), JobId::new()];
    let listening = run_probe_job(executor, one, "one", &image, &questions, said, cancel.clone());
    let asking = async {
        // The wait ends early if the job ends.
        let _ = lines.wait_for(|said| answer(said, "listening").is_some()).await;
        let heard = lines.borrow().clone();
        let first_line = begun.elapsed();
        let Some(address) = answer(&heard, "listening") else { return Ok((heard, first_line, String::new())) };
        let (said, answers) = watch::channel(String::new());
        let question = format!("connect {address}");
        let outcome = run_probe_job(executor, two, "two", &image, &question, said, CancellationToken::new()).await;
        cancel.cancel();
        let answers = answers.borrow().clone();
        if outcome == Outcome::Success { Ok((heard, first_line, answers)) } else { Err(failed(&outcome, &answers)) }
    };
    let both = async { tokio::join!(listening, asking) };
    let late = |_| EngineError::AgentFailed("a job did not finish within a minute".to_owned());
    let (outcome, asked) = tokio::time::timeout(TRIAL_TIMEOUT, both).await.map_err(late)?;
    let (heard, first_line, answers) = asked?;
    if answers.is_empty() {
        return Err(failed(&outcome, &heard));
    }
    executor.settled().await;
    let is_own = |attempt: Option<AttemptId>| attempt.is_some_and(|attempt| [one, two].contains(&attempt.job));
    let objects = executor.objects(Some(engine.instance())).await?;
    let containers = objects.containers.into_iter().filter(|object| is_own(object.attempt)).map(|object| object.name);
    let volumes =
        objects.volumes.into_iter().filter(|object| is_own(object.attempt)).map(|object| object.name.to_string());
    Ok(Trial {
        first_line,
        gaps: gaps(&heard),
        reachable: answers.starts_with("reached"),
        open: heard
            .lines()
            .filter_map(|line| line.strip_prefix("route ")?.strip_suffix(" open"))
            .map(str::to_owned)
            .collect(),
        loopback6: answer(&heard, "loopback6") == Some("yes"),
        left: containers.chain(volumes).collect(),
    })
}

/// Runs a job that writes the answers to these questions to `said`.
async fn run_probe_job(
    executor: &Executor,
    job: JobId,
    name: &str,
    image: &str,
    questions: &str,
    said: watch::Sender<String>,
    cancel: CancellationToken,
) -> Outcome {
    let step = StepPlan {
        name: "probe".to_owned(),
        run: Some(questions.into()),
        shell: format!("{PROGRAM} probe"),
        ..StepPlan::default()
    };
    let request = JobRequest {
        build: BuildId::new(),
        job,
        attempt: 1,
        // Its own, so that another doctor at the same time takes no sandbox of it.
        scope: job.to_string(),
        plan: JobPlan {
            key: "doctor".to_owned(),
            pipeline: "doctor".to_owned(),
            name: name.to_owned(),
            job: name.to_owned(),
            image: image.into(),
            steps: vec![step],
            timeout_ms: u64::try_from(TRIAL_TIMEOUT.as_millis()).unwrap_or(u64::MAX),
            ..JobPlan::default()
        },
        operator: OperatorEnv::default(),
        env: BTreeMap::new(),
        secrets: BTreeMap::new(),
        secret_files: BTreeMap::new(),
        known: BTreeMap::new(),
        masks: Vec::new(),
        checkout: None,
        artifacts: None,
        limits: Limits {
            memory: Some(MEMORY_BYTES),
            pids: PIDS,
            cpus: Some(0.5),
            grace: Duration::from_secs(1),
            ..Limits::default()
        },
        pull: PullPolicy::Never,
        images: ImageAccess::default(),
        docker: DockerAccess::None,
        caches: JobCaches::default(),
        workspace: Workspace::default(),
    };
    let (updates, mut told) = mpsc::channel(64);
    let running = executor.run_job(request, Box::new(TrialJournal { said, last_seq: 0 }), updates, cancel);
    let read = async { while told.recv().await.is_some() {} };
    tokio::join!(running, read).0
}

/// Records what a job prints, and the notes that say why it did not start.
struct TrialJournal {
    said: watch::Sender<String>,
    last_seq: u64,
}

impl Journal for TrialJournal {
    fn last_seq(&self) -> u64 {
        self.last_seq
    }

    fn bytes(&self) -> u64 {
        0
    }

    fn milestones(&self) -> Vec<Record<'static>> {
        Vec::new()
    }

    fn append(&mut self, records: &[Record<'_>]) -> io::Result<()> {
        for record in records {
            self.last_seq = self.last_seq.max(record.seq);
            if matches!(record.kind, RecordKind::Output(_)) {
                self.said.send_modify(|said| said.push_str(&String::from_utf8_lossy(&record.data)));
            }
        }
        Ok(())
    }
}

/// Returns the answer to a question.
fn answer<'a>(said: &'a str, question: &str) -> Option<&'a str> {
    said.lines().find_map(|line| line.strip_prefix(question)?.strip_prefix(' '))
}

fn failed(outcome: &Outcome, said: &str) -> EngineError {
    match outcome {
        Outcome::Error { message, .. } => EngineError::AgentFailed(message.clone()),
        other => EngineError::AgentFailed(format!("a job ended as {} and said `{}`", other.status(), said.trim())),
    }
}

/// Returns the limits that the kernel does not enforce for a job.
fn gaps(said: &str) -> Vec<Gap> {
    let held = |question| answer(said, question).and_then(|value| value.parse::<u64>().ok());
    let limits = [
        ("memory", held("memory").is_some_and(|bytes| bytes <= MEMORY_BYTES)),
        ("processes", held("pids") == Some(u64::from(PIDS))),
        ("processors", held("cpu").is_some()),
    ];
    let lacking: Vec<_> = limits.into_iter().filter(|(_, held)| !held).map(|(what, _)| what).collect();
    let limits = (!lacking.is_empty()).then_some(Gap::Limits(lacking));
    limits.into_iter().chain((held("Seccomp") != Some(2)).then_some(Gap::Seccomp)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_the_kernel_does_not_hold_is_named() {
        let held = format!("pids {PIDS}\nmemory {MEMORY_BYTES}\ncpu 50000\nSeccomp 2\nNoNewPrivs 1\n");
        assert_eq!(gaps(&held), []);
        let none = "pids max\nmemory 9223372036854771712\ncpu -1\nSeccomp 0\n";
        assert_eq!(gaps(none), [Gap::Limits(vec!["memory", "processes", "processors"]), Gap::Seccomp]);
        assert_eq!(gaps(""), gaps(none), "nothing said is nothing held");
        assert_eq!(gaps(&held.replace("cpu 50000", "cpu max")), [Gap::Limits(vec!["processors"])]);
    }
}
