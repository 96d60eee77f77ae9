//! Starts guards: the containers that serve jobs their Docker API. A guard is started before the job's container, and
//! stays until the job's end: the job may have streams open while no server runs. What it says later is heard by
//! [`GuardWords`].

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::{Mutex, mpsc};
use tokio_util::task::AbortOnDropHandle;

use crate::attempt::AttemptId;
use crate::engine::{Engine, GuardSpec, Standing};
use crate::error::EngineError;
use crate::following::link::{FromLink, Link};
use crate::names::ContainerId;
use crate::removing::removal::Removals;

/// How long a guard may take until it listens. It takes milliseconds, or seconds on a host that is starting many
/// containers.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How much of what a guard says is kept.
const MAX_OUTPUT_BYTES: usize = 2048;

/// Words of a guard that wait for the job's session.
const MAX_WAITING_WORDS: usize = 4;
/// The pause before a guard is listened to again whose link was cut.
const AGAIN: Duration = Duration::from_secs(1);

/// The beginning of the line in which a guard says that it listens.
pub const LISTENS: &str = "listening on ";

/// The beginning of a line in which a guard says that its job has to end, and why. It says so again and again.
pub const JOB_ENDS: &str = "end: ";

/// The beginning of the line in which a guard says that it ends, because it does not reach the engine, and why. Its
/// socket may be one that the engine has left: a new guard gets the present one.
pub const ENGINE_AWAY: &str = "away: ";

/// What a guard says once it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GuardWord {
    /// It refuses the job everything.
    Frozen(String),
    /// The job has to end.
    JobEnds(String),
    /// It has ended, and does not start again.
    Ended,
}

impl GuardWord {
    /// Reads a line, unless it says no more than that the guard has started again.
    fn parse(line: &str) -> Option<Self> {
        if [LISTENS, ENGINE_AWAY].iter().any(|start| line.starts_with(start)) {
            return None;
        }
        Some(match line.strip_prefix(JOB_ENDS) {
            Some(reason) => Self::JobEnds(reason.to_owned()),
            None => Self::Frozen(line.to_owned()),
        })
    }
}

/// Starts the guard of a job; returns once it listens, with the link over which it says more. A guard that an earlier
/// try left is replaced.
pub(crate) async fn start_guard(
    engine: &dyn Engine,
    removals: &Removals,
    spec: &GuardSpec<'_>,
    patience: Duration,
) -> Result<Link, EngineError> {
    let container =
        removals.create_replacing(spec.attempt.guard_name(), patience, || engine.create_guard(spec)).await?;
    let mut link = engine.start(&container).await?;
    let mut output = Vec::new();
    let listens = async {
        while let Some(piece) = link.output.next().await {
            match piece {
                // It says one line there: that it listens, or that there is no engine.
                FromLink::Stdout(line) => return listens_or_away(&line),
                FromLink::CannotRun(text) => {
                    return Err(EngineError::AgentFailed(String::from_utf8_lossy(&text).into_owned()));
                }
                FromLink::Stderr(text) if output.len() < MAX_OUTPUT_BYTES => output.extend_from_slice(&text),
                FromLink::Stderr(_) => {}
            }
        }
        Err(failed(&String::from_utf8_lossy(&output)))
    };
    match tokio::time::timeout(START_TIMEOUT, listens).await {
        Ok(listens) => listens.map(|()| link),
        Err(_) => Err(failed("it does not listen")),
    }
}

fn listens_or_away(line: &[u8]) -> Result<(), EngineError> {
    match String::from_utf8_lossy(line).strip_prefix(ENGINE_AWAY) {
        Some(reason) => {
            Err(EngineError::Away(format!("the guard of the job's Docker API did not start: {}", reason.trim())))
        }
        None => Ok(()),
    }
}

/// What the guard of a running job says, for the job's session.
pub(crate) struct GuardWords {
    /// Read by the job's session alone.
    heard: Mutex<mpsc::Receiver<GuardWord>>,
    _task: AbortOnDropHandle<()>,
}

impl GuardWords {
    /// Begins to listen, over the link of the guard's start or, where an earlier process has started it, over another
    /// one. A guard that was killed starts again, some times. Without one, nobody measures what the job writes.
    pub(crate) fn listen(
        engine: &Arc<dyn Engine>,
        removals: &Arc<Removals>,
        attempt: AttemptId,
        mut link: Option<Link>,
    ) -> Self {
        let (words, heard) = mpsc::channel(MAX_WAITING_WORDS);
        let (engine, removals) = (Arc::clone(engine), Arc::clone(removals));
        let task = tokio::spawn(async move {
            let container = ContainerId::made(attempt.guard_name().to_string());
            loop {
                let open = match link.take() {
                    Some(link) => Some(link),
                    None => engine.attach(&container).await.ok(),
                };
                if let Some(open) = open {
                    hear(open, &words, &removals, attempt).await;
                }
                if let Ok(Standing::Ended(_) | Standing::Vanished) = engine.standing(&container).await {
                    let _ = words.send(GuardWord::Ended).await;
                    return;
                }
                tokio::time::sleep(AGAIN).await;
            }
        });
        Self { heard: Mutex::new(heard), _task: AbortOnDropHandle::new(task) }
    }

    /// Returns the next word. May be dropped and called again.
    pub(crate) async fn next(&self) -> GuardWord {
        match self.heard.lock().await.recv().await {
            Some(word) => word,
            None => std::future::pending().await,
        }
    }
}

/// Passes on what a guard says until its link is cut.
async fn hear(mut link: Link, words: &mpsc::Sender<GuardWord>, removals: &Removals, attempt: AttemptId) {
    while let Some(piece) = link.output.next().await {
        let FromLink::Stdout(bytes) = piece else { continue };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        for word in text.lines().map(str::trim).filter(|line| !line.is_empty()).filter_map(GuardWord::parse) {
            let _ = words.send(word.clone()).await;
            if let GuardWord::Frozen(reason) = word {
                removals.report_frozen(attempt, reason).await;
            }
        }
    }
}

fn failed(reason: &str) -> EngineError {
    EngineError::Local { what: "the guard of the job's Docker API did not start", reason: reason.trim().to_owned() }
}
