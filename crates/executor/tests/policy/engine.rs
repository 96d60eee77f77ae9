//! An engine in memory: containers are entries of a map, agents are tasks. Tests order each fault, call by call.

mod control;
mod port;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::future::{self, BoxFuture};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use longshore_agent_protocol::FromAgent;
use longshore_core::Timestamp;
use longshore_executor::engine::{Image, MemberId, MemberStanding, Pod};
use longshore_executor::names::{ContainerId, Instance, VolumeName};
use longshore_executor::objects::{DockerPart, ObjectId, VolumeObject};
use longshore_executor::{AttemptId, EngineError, FromLink, Link, Refusal};
use tokio::sync::Notify;

use crate::agent::{Agent, Script};

/// A call of the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Image,
    Pull,
    CreateSandbox,
    CreateGuard,
    Create,
    Start,
    CreateMember,
    StartMember,
    FindMember,
    ListMembers,
    Find,
    Attach,
    Standing,
    Kill,
    ReadSpool,
    Remove,
    RenewAgent,
    CreateVolume,
    ListVolumes,
    RunTool,
    ReadImageFile,
}

/// A fault that a test orders for a call.
#[derive(Debug, Clone)]
enum Order {
    /// The call is refused.
    Fail(EngineError),
    /// The call is done, but its answer is lost.
    Lose(EngineError),
    /// The call never returns.
    Hang,
}

#[derive(Clone)]
pub struct MemoryEngine(Arc<Shared>);

struct Shared {
    instance: Instance,
    state: Mutex<State>,
    called: Notify,
}

#[derive(Default)]
struct State {
    made: u64,
    /// Sandboxes by their ids.
    sandboxes: BTreeMap<ContainerId, Option<String>>,
    containers: BTreeMap<ContainerId, Container>,
    spools: BTreeMap<String, Spool>,
    /// The other containers of jobs' pods.
    members: BTreeMap<(AttemptId, MemberId), Member>,
    /// Images by name. A pull adds one.
    images: BTreeMap<String, Image>,
    orders: VecDeque<(Verb, Order)>,
    scripts: VecDeque<Script>,
    /// What the next guards say instead of that they listen, as their last words.
    last_words: VecDeque<String>,
    calls: Vec<Verb>,
    /// The users of the pulls that were not refused.
    pulled_by: Vec<Option<String>>,
    away: bool,
    /// How many of the next starts are never answered, nor anything about their containers.
    unanswered_starts: usize,
    unanswered: BTreeSet<ContainerId>,
    /// Volumes other than jobs' workspaces.
    volumes: BTreeMap<VolumeName, VolumeObject>,
    /// The layers of each overlay that was made, the topmost first.
    overlays: Vec<Vec<VolumeName>>,
    /// The size limit of each volume that was made.
    volume_limits: BTreeMap<VolumeName, Option<u64>>,
    /// The tasks of our own program that were run.
    tools: Vec<String>,
    without_overlays: bool,
    /// Whether the kernel ended every container that has ended for its memory.
    ended_out_of_memory: bool,
    /// The time at which every container that has ended did so.
    ended_at: Option<Timestamp>,
    passwd: Option<String>,
    /// Objects of jobs with Docker.
    of_docker: Vec<ObjectId>,
    /// Whether those cannot be removed.
    docker_stays: bool,
    /// The part of them that cannot be listed.
    unlistable: Option<(DockerPart, EngineError)>,
    /// The volumes in each job's container other than its workspace, with their mount points.
    mounts: BTreeMap<AttemptId, Vec<(VolumeName, String)>>,
}

/// The messages of an agent that nobody has acknowledged.
pub type Spool = Arc<Mutex<Vec<(u64, FromAgent)>>>;

struct Member {
    id: ContainerId,
    key: [u8; 16],
    standing: MemberStanding,
}

struct Container {
    attempt: AttemptId,
    pod: Pod,
    agent: Option<Agent>,
    started: bool,
}

impl MemoryEngine {
    pub fn new() -> Self {
        let instance = Instance::new("test").unwrap();
        let engine = Self(Arc::new(Shared { instance, state: Mutex::default(), called: Notify::new() }));
        engine.tag("busybox", "1");
        engine
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    /// Records the call, and returns its result.
    fn call<T: Send + 'static>(
        &self,
        verb: Verb,
        work: impl FnOnce(&mut State) -> Result<T, EngineError>,
    ) -> BoxFuture<'static, Result<T, EngineError>> {
        let mut state = self.state();
        state.calls.push(verb);
        self.0.called.notify_waiters();
        if state.away {
            return future::ready(Err(away())).boxed();
        }
        let ordered = state.orders.iter().position(|(of, _)| *of == verb);
        match ordered.and_then(|at| state.orders.remove(at)) {
            None => future::ready(work(&mut state)).boxed(),
            Some((_, Order::Fail(error))) => future::ready(Err(error)).boxed(),
            Some((_, Order::Lose(error))) => future::ready(work(&mut state).and(Err(error))).boxed(),
            Some((_, Order::Hang)) => future::pending().boxed(),
        }
    }
}

impl State {
    fn id(&mut self, kind: &str) -> ContainerId {
        self.made += 1;
        ContainerId::new(format!("{kind}-{}", self.made)).unwrap()
    }

    /// Starts a guard, if there is one of this name, and returns the link to it.
    fn start_guard(&mut self, id: &ContainerId) -> Option<Link> {
        let is_it =
            |object: &ObjectId| matches!(object, ObjectId::NamedContainer(name) if name.as_str() == id.as_str());
        self.of_docker.iter().any(is_it).then(|| {
            let said = |words: String| stream::iter([FromLink::Stdout(words.into())]);
            let output = match self.last_words.pop_front() {
                Some(words) => said(words).boxed(),
                None => said("listening".to_owned()).chain(stream::pending()).boxed(),
            };
            Link { output, input: Box::pin(tokio::io::sink()) }
        })
    }

    fn has_volume(&self, name: &VolumeName) -> bool {
        self.volumes.contains_key(name) || self.spools.contains_key(name.as_str())
    }
}

pub fn away() -> EngineError {
    EngineError::Away("the Docker engine does not respond".to_owned())
}

pub fn unanswered() -> EngineError {
    EngineError::Unanswered { what: "do it" }
}

pub fn refused(refusal: Refusal) -> EngineError {
    EngineError::Refused { refusal, what: "do it", code: 500, message: "something".to_owned() }
}

impl fmt::Debug for MemoryEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryEngine")
    }
}
