//! An engine in memory: containers are entries of a map, agents are tasks. Tests order each fault, call by call.

use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::future::{self, BoxFuture};
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, StreamExt as _};
use longshore_agent_protocol::spool::segment_name;
use longshore_agent_protocol::{FromAgent, encode_from_agent};
use longshore_core::{ImageRef, RegistryCredentials, Timestamp};
use longshore_executor::engine::{
    Answer, End, Engine, FoundMember, FoundPod, GuardSpec, Image, ImageConfig, MemberId, MemberSpec, MemberStanding,
    Pod, PodSpec, Removal, SandboxSpec, SpoolPiece, Standing, ToolSpec, VolumeContent, VolumeSpec,
};
use longshore_executor::names::{ContainerId, ImageId, Instance, VolumeName};
use longshore_executor::objects::{AgentObject, ContainerObject, Kind, ObjectId, Objects, VolumeObject};
use longshore_executor::{AttemptId, EngineError, Link, Refusal};
use tokio::sync::{Notify, mpsc};

use crate::agent::{Agent, Script};

/// A call of the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Image,
    Pull,
    CreateSandbox,
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

/// What a test orders for a call.
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
    /// Containers beside jobs' own, and whether they were started.
    members: BTreeMap<(AttemptId, MemberId), Member>,
    /// Images by name; a pull brings one.
    images: BTreeMap<String, Image>,
    orders: VecDeque<(Verb, Order)>,
    scripts: VecDeque<Script>,
    calls: Vec<Verb>,
    /// Whose credentials each pull came with that was not refused.
    pulled_by: Vec<Option<String>>,
    away: bool,
    /// Volumes beside jobs' workspaces.
    volumes: BTreeMap<VolumeName, VolumeObject>,
    /// The layers of each overlay that was made, the topmost first.
    overlays: Vec<Vec<VolumeName>>,
    /// The most bytes in each volume that was made.
    volume_limits: BTreeMap<VolumeName, Option<u64>>,
    /// The tasks of our own program that were run.
    tools: Vec<String>,
    without_overlays: bool,
    /// When all containers ended that have ended.
    ended_at: Option<Timestamp>,
    passwd: Option<String>,
    /// Where each job's container has volumes beside its workspace.
    mounts: BTreeMap<AttemptId, Vec<(VolumeName, String)>>,
}

/// What an agent has reported and nobody has acknowledged.
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

    /// Gives the engine an image of this name.
    pub fn tag(&self, name: &str, id: &str) {
        self.tag_image(name, id, ImageConfig::default(), false);
    }

    /// Gives the engine an image of this name that says this about its containers.
    pub fn tag_with(&self, name: &str, config: ImageConfig) {
        self.tag_image(name, name, config, false);
    }

    /// Gives the engine an image as if somebody had pulled it.
    pub fn tag_pulled(&self, name: &str, id: &str) {
        self.tag_image(name, id, ImageConfig::default(), true);
    }

    fn tag_image(&self, name: &str, id: &str, config: ImageConfig, pulled: bool) {
        let image = Image {
            id: ImageId::new(format!("sha256:{id}")).unwrap(),
            config,
            digest: pulled.then(|| format!("sha256:digest-of-{id}")),
            architecture: String::new(),
            labels: Vec::new(),
            home: None,
            bytes: 0,
        };
        self.state().images.insert(name.to_owned(), image);
    }

    pub fn untag(&self, name: &str) {
        self.state().images.remove(name);
    }

    /// Refuses the next call of this verb.
    pub fn fail(&self, verb: Verb, error: EngineError) {
        self.state().orders.push_back((verb, Order::Fail(error)));
    }

    /// Carries out the next call of this verb, but loses its answer.
    pub fn lose(&self, verb: Verb, error: EngineError) {
        self.state().orders.push_back((verb, Order::Lose(error)));
    }

    /// Lets the next call of this verb hang for ever.
    pub fn hang(&self, verb: Verb) {
        self.state().orders.push_back((verb, Order::Hang));
    }

    /// Lets every call fail while the engine is away. Open links stay open.
    pub fn away(&self, away: bool) {
        self.state().away = away;
    }

    /// Sets what the agents of the next containers do; by default they run every step and succeed.
    pub fn script(&self, script: Script) {
        self.state().scripts.push_back(script);
    }

    pub fn calls(&self, verb: Verb) -> usize {
        self.state().calls.iter().filter(|call| **call == verb).count()
    }

    /// The users of the pulls that were not refused.
    pub fn pulled_by(&self) -> Vec<Option<String>> {
        self.state().pulled_by.clone()
    }

    /// Waits until this verb has been called this many times.
    pub async fn called(&self, verb: Verb, times: usize) {
        loop {
            let called = self.0.called.notified();
            if self.calls(verb) >= times {
                return;
            }
            called.await;
        }
    }

    /// Returns the agent of the attempt's container.
    pub fn agent(&self, attempt: AttemptId) -> Agent {
        let state = self.state();
        let container = state.containers.values().find(|container| container.attempt == attempt);
        container.and_then(|container| container.agent.clone()).expect("a started container")
    }

    /// Cuts every link.
    pub fn cut_links(&self) {
        self.state().containers.values().filter_map(|container| container.agent.as_ref()).for_each(Agent::cut_links);
    }

    /// Ids of the images that containers were created from, in order, of those that are there.
    pub fn sandboxes(&self) -> Vec<ContainerId> {
        self.state().sandboxes.keys().cloned().collect()
    }

    /// Removes a sandbox behind the executor's back.
    pub fn lose_sandboxes(&self) {
        self.state().sandboxes.clear();
    }

    /// Removes the attempt's container behind the executor's back.
    pub fn lose_container(&self, attempt: AttemptId) {
        self.state().containers.retain(|_, container| container.attempt != attempt);
    }

    /// The containers beside jobs' own that were started.
    pub fn members(&self) -> Vec<MemberId> {
        self.state()
            .members
            .iter()
            .filter(|(_, of)| of.standing == MemberStanding::Running)
            .map(|((_, id), _)| *id)
            .collect()
    }

    /// Ends a container beside a job's, as somebody on the host may.
    pub fn end_member(&self, attempt: AttemptId, member: MemberId) {
        self.state().members.get_mut(&(attempt, member)).unwrap().standing = MemberStanding::Ended;
    }

    /// Lets a container beside a job's be one of another run of the attempt.
    pub fn disown_member(&self, attempt: AttemptId, member: MemberId) {
        self.state().members.get_mut(&(attempt, member)).unwrap().key = [0; 16];
    }

    /// Gives the engine a volume of nobody's.
    pub fn add_volume(&self, name: &str) {
        let name = VolumeName::new(name).unwrap();
        let instance = self.0.instance.to_string();
        let volume =
            VolumeObject { name: name.clone(), instance, kind: Some(Kind::Cache), attempt: None, created: None };
        self.state().volumes.insert(name, volume);
    }

    /// Sets when all containers ended that have ended.
    pub fn ended_at(&self, at: Timestamp) {
        self.state().ended_at = Some(at);
    }

    /// Lets the engine have no overlays.
    pub fn without_overlays(&self) {
        self.state().without_overlays = true;
    }

    /// Sets the passwd file of every image.
    pub fn passwd(&self, text: &str) {
        self.state().passwd = Some(text.to_owned());
    }

    /// The volumes beside jobs' workspaces.
    pub fn volumes(&self) -> Vec<String> {
        self.state().volumes.keys().map(ToString::to_string).collect()
    }

    /// The most bytes in each volume that was made.
    pub fn volume_limits(&self) -> BTreeMap<VolumeName, Option<u64>> {
        self.state().volume_limits.clone()
    }

    /// The layers of the overlays that were made.
    pub fn overlays(&self) -> Vec<Vec<String>> {
        let names = |layers: &Vec<VolumeName>| layers.iter().map(ToString::to_string).collect();
        self.state().overlays.iter().map(names).collect()
    }

    /// The tasks of our own program that were run.
    pub fn tools(&self) -> Vec<String> {
        self.state().tools.clone()
    }

    /// Where the job's container has volumes beside its workspace.
    pub fn mounts(&self, attempt: AttemptId) -> Vec<(String, String)> {
        let state = self.state();
        let mounts = state.mounts.get(&attempt).into_iter().flatten();
        mounts.map(|(volume, target)| (volume.to_string(), target.clone())).collect()
    }

    /// Lists what is left of jobs.
    pub fn left(&self) -> Vec<String> {
        let state = self.state();
        let containers = state.containers.keys().map(ToString::to_string);
        let members = state.members.keys().map(|(attempt, member)| attempt.member_name(*member).to_string());
        let containers = containers.chain(members);
        containers.chain(state.spools.keys().cloned()).chain(state.sandboxes.keys().map(ToString::to_string)).collect()
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
}

pub fn away() -> EngineError {
    EngineError::Away("the Docker engine does not respond".to_owned())
}

pub fn refused(refusal: Refusal) -> EngineError {
    EngineError::Refused { refusal, what: "do it", code: 500, message: "something".to_owned() }
}

impl Engine for MemoryEngine {
    fn instance(&self) -> &Instance {
        &self.0.instance
    }

    fn prepare(&self) -> Answer<'_, ()> {
        future::ready(Ok(())).boxed()
    }

    fn image<'a>(&'a self, image: &'a ImageRef) -> Answer<'a, Option<Image>> {
        self.call(Verb::Image, |state| Ok(state.images.get(image.as_str()).cloned()))
    }

    fn pull<'a>(
        &'a self,
        image: &'a ImageRef,
        credentials: Option<&'a RegistryCredentials>,
        _: &'a mpsc::Sender<String>,
    ) -> Answer<'a, ()> {
        let who = credentials.map(|credentials| credentials.username().to_owned());
        let pulled = self.call(Verb::Pull, |state| {
            state.pulled_by.push(who);
            Ok(())
        });
        async move {
            pulled.await?;
            self.tag_pulled(image.as_str(), "pulled");
            Ok(())
        }
        .boxed()
    }

    fn create_sandbox<'a>(&'a self, sandbox: &'a SandboxSpec) -> Answer<'a, ContainerId> {
        self.call(Verb::CreateSandbox, |state| {
            let id = state.id("sandbox");
            state.sandboxes.insert(id.clone(), sandbox.scope.clone());
            Ok(id)
        })
    }

    fn start_sandbox<'a>(&'a self, _: &'a ContainerId) -> Answer<'a, ()> {
        future::ready(Ok(())).boxed()
    }

    fn create_guard<'a>(&'a self, _: &'a GuardSpec<'a>) -> Answer<'a, ContainerId> {
        future::ready(Err(refused(Refusal::Invalid))).boxed()
    }

    fn list_guarded(&self, _: AttemptId) -> Answer<'_, Vec<ObjectId>> {
        future::ready(Ok(Vec::new())).boxed()
    }

    fn find_sandboxes<'a>(&'a self, scope: &'a str) -> Answer<'a, Vec<ContainerId>> {
        let of_scope = |of: &&Option<String>| of.as_deref() == Some(scope);
        let state = self.state();
        let found = state.sandboxes.iter().filter(|(_, of)| of_scope(of)).map(|(id, _)| id.clone()).collect();
        future::ready(Ok(found)).boxed()
    }

    fn create<'a>(&'a self, spec: &'a PodSpec<'a>) -> Answer<'a, Pod> {
        self.call(Verb::Create, |state| {
            if state.containers.values().any(|container| container.attempt == spec.attempt) {
                return Err(EngineError::NameTaken("the name is in use".to_owned()));
            }
            let pod = Pod {
                container: state.id("job"),
                volume: spec.attempt.volume_name(),
                sandbox: spec.sandbox.clone(),
                nonce: spec.nonce,
                user: spec.image.config.user.clone(),
            };
            for mount in spec.mounts {
                assert!(state.volumes.contains_key(&mount.volume), "{} is not there", mount.volume);
            }
            let mounts = spec.mounts.iter().map(|mount| (mount.volume.clone(), mount.target.clone())).collect();
            state.mounts.insert(spec.attempt, mounts);
            state.spools.entry(pod.volume.to_string()).or_default();
            let container = Container { attempt: spec.attempt, pod: pod.clone(), agent: None, started: false };
            state.containers.insert(pod.container.clone(), container);
            Ok(pod)
        })
    }

    fn create_member<'a>(&'a self, spec: &'a MemberSpec<'a>) -> Answer<'a, ContainerId> {
        self.call(Verb::CreateMember, |state| {
            let id = state.id("member");
            match state.members.entry((spec.attempt, spec.member)) {
                Entry::Occupied(_) => Err(EngineError::NameTaken("the name is in use".to_owned())),
                Entry::Vacant(place) => {
                    place.insert(Member { id: id.clone(), key: spec.key(), standing: MemberStanding::Created });
                    Ok(id)
                }
            }
        })
    }

    fn start_member<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, ()> {
        self.call(Verb::StartMember, |state| {
            let member = state.members.values_mut().find(|member| member.id == *id);
            let member = member.ok_or_else(|| refused(Refusal::NotFound))?;
            assert_eq!(member.standing, MemberStanding::Created, "a container is started once");
            member.standing = MemberStanding::Running;
            Ok(())
        })
    }

    fn find_member(&self, attempt: AttemptId, member: MemberId) -> Answer<'_, Option<FoundMember>> {
        self.call(Verb::FindMember, |state| {
            Ok(state.members.get(&(attempt, member)).map(|found| FoundMember {
                container: found.id.clone(),
                standing: found.standing,
                key: found.key,
            }))
        })
    }

    fn list_members(&self, attempt: AttemptId) -> Answer<'_, Vec<ContainerId>> {
        self.call(Verb::ListMembers, |state| {
            let of_attempt = state.members.iter().filter(|((of, _), _)| *of == attempt);
            Ok(of_attempt.map(|(_, member)| member.id.clone()).collect())
        })
    }

    fn start<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, Link> {
        self.call(Verb::Start, |state| {
            let script = state.scripts.pop_front().unwrap_or_default();
            let container = state.containers.get_mut(id).ok_or_else(|| refused(Refusal::NotFound))?;
            if !state.sandboxes.contains_key(&container.pod.sandbox) {
                return Err(EngineError::SandboxGone("no such container".to_owned()));
            }
            let spool = Arc::clone(&state.spools[container.pod.volume.as_str()]);
            let agent = Agent::start(container.pod.nonce.0, script, spool);
            container.started = true;
            Ok(container.agent.insert(agent).link())
        })
    }

    fn find(&self, attempt: AttemptId) -> Answer<'_, Option<FoundPod>> {
        self.call(Verb::Find, |state| {
            let found = state.containers.values().find(|container| container.attempt == attempt);
            Ok(found.map(|found| FoundPod { pod: found.pod.clone(), started: found.started }))
        })
    }

    fn attach<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, Link> {
        self.call(Verb::Attach, |state| {
            let agent = state.containers.get(id).and_then(|container| container.agent.as_ref());
            agent.map(Agent::link).ok_or_else(|| refused(Refusal::NotFound))
        })
    }

    fn standing<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, Standing> {
        self.call(Verb::Standing, |state| {
            let Some(container) = state.containers.get(id) else { return Ok(Standing::Vanished) };
            Ok(match container.agent.as_ref().and_then(Agent::exit_code) {
                None => Standing::Running,
                Some(code) => Standing::Ended(End {
                    code,
                    out_of_memory: false,
                    cannot_run: false,
                    message: None,
                    at: state.ended_at,
                    removal: Removal::No,
                }),
            })
        })
    }

    fn kill<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, ()> {
        self.call(Verb::Kill, |state| {
            let agent = state.containers.get(id).and_then(|container| container.agent.as_ref());
            agent.map(|agent| agent.end(137)).ok_or_else(|| refused(Refusal::NotFound))
        })
    }

    fn read_spool(&self, id: &ContainerId) -> BoxStream<'static, Result<SpoolPiece, EngineError>> {
        let read = self.call(Verb::ReadSpool, |state| {
            let container = state.containers.get(id).ok_or_else(|| refused(Refusal::NotFound))?;
            let spool = state.spools[container.pod.volume.as_str()].lock().unwrap().clone();
            let Some((first, _)) = spool.first() else { return Ok(Vec::new()) };
            let mut bytes = Vec::new();
            for (seq, message) in &spool {
                encode_from_agent(0, *seq, message, &mut bytes).unwrap();
            }
            let file = SpoolPiece::File { name: segment_name(*first), length: bytes.len() as u64, plain: true };
            Ok(vec![file, SpoolPiece::Bytes(bytes.into())])
        });
        let pieces = read.map(|read| match read {
            Ok(pieces) => pieces.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        });
        stream::once(pieces).flat_map(stream::iter).boxed()
    }

    fn list<'a>(&'a self, _: Option<&'a Instance>) -> Answer<'a, Objects> {
        let state = self.state();
        let runs = |id: &ContainerId| {
            let agent = state.containers.get(id).and_then(|container| container.agent.as_ref());
            agent.and_then(Agent::exit_code).is_none()
        };
        let object = |id: &ContainerId, kind, attempt, joined| ContainerObject {
            id: id.clone(),
            name: id.to_string(),
            instance: self.0.instance.to_string(),
            kind,
            build: None,
            attempt,
            running: runs(id),
            created: Timestamp::from_millis(0),
            joined,
        };
        let jobs = state
            .containers
            .iter()
            .map(|(id, container)| object(id, Kind::Job, Some(container.attempt), Some(container.pod.sandbox.clone())));
        let sandboxes = state.sandboxes.keys().map(|id| object(id, Kind::Sandbox, None, None));
        let volumes = state.containers.values().map(|container| VolumeObject {
            name: container.pod.volume.clone(),
            instance: self.0.instance.to_string(),
            kind: Some(Kind::Volume),
            attempt: Some(container.attempt),
            created: None,
        });
        let objects =
            Objects { containers: jobs.chain(sandboxes).collect(), volumes: volumes.collect(), networks: Vec::new() };
        future::ready(Ok(objects)).boxed()
    }

    fn list_agents(&self) -> Answer<'_, Vec<AgentObject>> {
        future::ready(Ok(Vec::new())).boxed()
    }

    fn list_volumes(&self, attempt: AttemptId) -> Answer<'_, Vec<VolumeObject>> {
        self.call(Verb::ListVolumes, |state| {
            Ok(state.volumes.values().filter(|volume| volume.attempt == Some(attempt)).cloned().collect())
        })
    }

    fn create_volume<'a>(&'a self, spec: &'a VolumeSpec<'a>) -> Answer<'a, ()> {
        let instance = self.0.instance.to_string();
        self.call(Verb::CreateVolume, |state| {
            if let VolumeContent::Overlay { upper, work, lower } = spec.content {
                let layers = [upper, work].into_iter().chain(lower);
                if let Some(gone) = layers.into_iter().find(|name| !state.volumes.contains_key(name)) {
                    return Err(EngineError::VolumeGone(format!("there is no volume {gone}")));
                }
                state.overlays.push([upper].into_iter().chain(lower).cloned().collect());
            }
            state.volume_limits.insert(spec.name.clone(), spec.disk);
            let volume = VolumeObject {
                name: spec.name.clone(),
                instance,
                kind: Some(spec.content.kind()),
                attempt: spec.of.map(|(_, attempt)| attempt),
                created: None,
            };
            state.volumes.entry(spec.name.clone()).or_insert(volume);
            Ok(())
        })
    }

    fn has_overlays(&self) -> Answer<'_, bool> {
        future::ready(Ok(!self.state().without_overlays)).boxed()
    }

    fn run_tool<'a>(&'a self, tool: &'a ToolSpec<'a>) -> Answer<'a, String> {
        self.call(Verb::RunTool, |state| {
            if let Some(gone) = tool.read.iter().chain(tool.write).find(|name| !state.volumes.contains_key(name)) {
                return Err(EngineError::VolumeGone(format!("there is no volume {gone}")));
            }
            let volumes = tool.read.iter().chain(tool.write).map(ToString::to_string);
            let words = tool.arguments[..1].iter().map(|word| (*word).to_owned()).chain(volumes);
            state.tools.push(words.collect::<Vec<_>>().join(" "));
            if tool.arguments[0] != "measure" {
                return Ok(String::new());
            }
            match tool.read.iter().any(|volume| volume.as_str().contains("endless")) {
                true => {
                    Err(EngineError::Local { what: "a task with volumes failed", reason: "it was killed".to_owned() })
                }
                false => Ok("4096\n".repeat(tool.read.len())),
            }
        })
    }

    fn read_image_file<'a>(&'a self, _: &'a Image, _: &'a str) -> Answer<'a, Option<String>> {
        self.call(Verb::ReadImageFile, |state| Ok(state.passwd.clone()))
    }

    fn remove<'a>(&'a self, object: &'a ObjectId) -> Answer<'a, ()> {
        self.call(Verb::Remove, |state| {
            let removed = match object {
                ObjectId::Container(id) => {
                    let before = state.members.len();
                    state.members.retain(|_, member| member.id != *id);
                    state.sandboxes.remove(id).is_some()
                        | state.containers.remove(id).is_some()
                        | (state.members.len() < before)
                }
                ObjectId::NamedContainer(name) => {
                    let before = state.members.len();
                    state.members.retain(|(attempt, member), _| attempt.member_name(*member) != *name);
                    state.members.len() < before
                }
                ObjectId::Volume(name) => {
                    state.spools.remove(name.as_str()).is_some() | state.volumes.remove(name).is_some()
                }
                ObjectId::Network(_) | ObjectId::Image(_) => false,
            };
            if removed { Ok(()) } else { Err(refused(Refusal::NotFound)) }
        })
    }

    fn renew_agent(&self) -> BoxFuture<'_, bool> {
        self.call(Verb::RenewAgent, |_| Ok(())).map(|renewed| renewed.is_ok()).boxed()
    }
}

impl fmt::Debug for MemoryEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryEngine")
    }
}
