//! The port as the engine in memory implements it.

use std::collections::btree_map::Entry;
use std::sync::Arc;

use futures_util::future::{self, BoxFuture};
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, StreamExt as _};
use longshore_agent_protocol::encode_from_agent;
use longshore_agent_protocol::spool::segment_name;
use longshore_core::{ImageRef, RegistryCredentials, Timestamp};
use longshore_executor::engine::{
    Answer, BuilderSpec, End, Engine, FoundMember, FoundPod, GuardSpec, Image, MemberId, MemberSpec, MemberStanding,
    Pod, PodSpec, Removal, SandboxSpec, SpoolPiece, Standing, ToolSpec, VolumeContent, VolumeSpec,
};
use longshore_executor::names::{ContainerId, Instance};
use longshore_executor::objects::{
    AgentObject, ContainerObject, DockerPart, Kind, MadeImage, ObjectId, Objects, VolumeObject,
};
use longshore_executor::{AttemptId, EngineError, GuardLog, Link, Refusal};
use tokio::sync::mpsc;

use super::{Container, Member, MemoryEngine, Verb, refused, unanswered};
use crate::agent::Agent;

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

    fn create_guard<'a>(&'a self, guard: &'a GuardSpec<'a>) -> Answer<'a, ContainerId> {
        self.call(Verb::CreateGuard, |state| {
            let name = guard.attempt.guard_name();
            let id = ContainerId::new(name.to_string()).unwrap();
            let object = ObjectId::NamedContainer(name);
            if state.of_docker.contains(&object) {
                return Err(EngineError::NameTaken("the name is in use".to_owned()));
            }
            state.of_docker.push(object);
            Ok(id)
        })
    }

    fn create_builder<'a>(&'a self, _: &'a BuilderSpec<'a>) -> Answer<'a, ContainerId> {
        future::ready(Err(refused(Refusal::Invalid))).boxed()
    }

    fn list_guarded(&self, _: AttemptId, part: DockerPart) -> Answer<'_, Vec<ObjectId>> {
        let state = self.state();
        let answer = match &state.unlistable {
            Some((of, error)) if *of == part => Err(error.clone()),
            Some(_) | None => Ok(state.of_docker.iter().filter(|object| part_of(object) == part).cloned().collect()),
        };
        future::ready(answer).boxed()
    }

    fn list_made_images(&self) -> Answer<'_, Vec<MadeImage>> {
        future::ready(Ok(Vec::new())).boxed()
    }

    fn scope_of(&self, attempt: AttemptId) -> String {
        format!("{attempt:?}")
    }

    fn read_guard_log(&self, _: AttemptId) -> Answer<'_, Option<GuardLog>> {
        future::ready(Ok(None)).boxed()
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
                secret: spec.secret,
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
            if let Some(guard) = state.start_guard(id) {
                return Ok(guard);
            }
            if state.unanswered_starts > 0 {
                state.unanswered_starts -= 1;
                state.unanswered.insert(id.clone());
                return Err(unanswered());
            }
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
            if found.is_some_and(|found| state.unanswered.contains(&found.pod.container)) {
                return Err(unanswered());
            }
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
                    out_of_memory: state.ended_out_of_memory,
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
            if let Some(member) = state.members.values_mut().find(|member| member.id == *id) {
                member.standing = MemberStanding::Ended;
                return Ok(());
            }
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
        let instance = self.0.instance.to_string();
        self.call(Verb::ListVolumes, |state| {
            let name = attempt.volume_name();
            let is_workspace = state.spools.contains_key(name.as_str()) && !state.volumes.contains_key(&name);
            let (instance, kind) = (instance.clone(), Some(Kind::Volume));
            let workspace = VolumeObject { name, instance, kind, attempt: Some(attempt), created: None };
            let made = state.volumes.values().filter(|volume| volume.attempt == Some(attempt)).cloned();
            Ok(made.chain(is_workspace.then_some(workspace)).collect())
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
                attempt: spec.owner.map(|(_, attempt)| attempt),
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
            if let Some(gone) = tool.read.iter().chain(tool.write).find(|name| !state.has_volume(name)) {
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
            if matches!(object, ObjectId::Container(id) if state.unanswered.contains(id)) {
                return Err(unanswered());
            }
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
            let before = state.of_docker.len();
            let stays = state.docker_stays;
            state.of_docker.retain(|of| of != object || stays);
            let removed = removed | (state.of_docker.len() < before);
            if removed { Ok(()) } else { Err(refused(Refusal::NotFound)) }
        })
    }

    fn renew_agent(&self) -> BoxFuture<'_, bool> {
        self.call(Verb::RenewAgent, |_| Ok(())).map(|renewed| renewed.is_ok()).boxed()
    }
}

/// A container by its name stands for a guard.
fn part_of(object: &ObjectId) -> DockerPart {
    match object {
        ObjectId::NamedContainer(_) => DockerPart::Guard,
        ObjectId::Container(_) => DockerPart::Containers,
        ObjectId::Image(_) => DockerPart::Images,
        ObjectId::Volume(_) => DockerPart::Volumes,
        ObjectId::Network(_) => DockerPart::Networks,
    }
}
