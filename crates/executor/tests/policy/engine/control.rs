//! How a test controls the engine and inspects it.

use std::collections::BTreeMap;

use longshore_core::Timestamp;
use longshore_executor::engine::{Image, ImageConfig, MemberId, MemberStanding};
use longshore_executor::names::{ContainerId, ImageId, VolumeName};
use longshore_executor::objects::{DockerPart, Kind, ObjectId, VolumeObject};
use longshore_executor::{AttemptId, EngineError};

use super::{MemoryEngine, Order, Verb};
use crate::agent::{Agent, Script};

impl MemoryEngine {
    /// From now on, jobs with Docker leave these objects, whatever is done to remove them.
    pub fn leave_of_docker(&self, objects: Vec<ObjectId>) {
        let mut state = self.state();
        (state.of_docker, state.docker_stays) = (objects, true);
    }

    /// Gives the engine objects that a job with Docker has made.
    pub fn make_with_docker(&self, objects: Vec<ObjectId>) {
        let mut state = self.state();
        (state.of_docker, state.docker_stays) = (objects, false);
    }

    /// Returns what jobs with Docker have made.
    pub fn of_docker(&self) -> Vec<String> {
        self.state().of_docker.iter().map(ToString::to_string).collect()
    }

    /// From now on, this part of what jobs with Docker have made cannot be listed, but for `None`.
    pub fn unlistable(&self, part: Option<(DockerPart, EngineError)>) {
        self.state().unlistable = part;
    }

    /// Gives the engine an image of this name.
    pub fn tag(&self, name: &str, id: &str) {
        self.tag_image(name, id, ImageConfig::default(), false);
    }

    /// Gives the engine an image of this name with a configuration.
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
            volumes: Vec::new(),
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

    /// Leaves so many starts unanswered, and all that is asked about their containers, as an engine does that opens a
    /// pipe in place of a container's /etc/passwd.
    pub fn leave_unanswered(&self, starts: usize) {
        self.state().unanswered_starts = starts;
    }

    /// Answers again about all containers.
    pub fn answer_again(&self) {
        self.state().unanswered.clear();
    }

    /// Lets every call fail while the engine is away. Open links stay open.
    pub fn away(&self, away: bool) {
        self.state().away = away;
    }

    /// Sets what the agents of the next containers do; by default they run every step and succeed.
    pub fn script(&self, script: Script) {
        self.state().scripts.push_back(script);
    }

    /// Lets the next guard say this and end.
    pub fn guard_ends_with(&self, words: &str) {
        self.state().last_words.push_back(words.to_owned());
    }

    pub fn calls(&self, verb: Verb) -> usize {
        self.state().calls.iter().filter(|call| **call == verb).count()
    }

    /// Returns the users of the pulls that were not refused.
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

    /// Returns the ids of the sandboxes that exist.
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

    /// Returns the running containers of pods other than jobs' own.
    pub fn members(&self) -> Vec<MemberId> {
        self.state()
            .members
            .iter()
            .filter(|(_, of)| of.standing == MemberStanding::Running)
            .map(|((_, id), _)| *id)
            .collect()
    }

    /// Ends another container of a pod, as somebody on the host may.
    pub fn end_member(&self, attempt: AttemptId, member: MemberId) {
        self.state().members.get_mut(&(attempt, member)).unwrap().standing = MemberStanding::Ended;
    }

    /// Makes another container of a pod belong to an earlier run of the attempt.
    pub fn disown_member(&self, attempt: AttemptId, member: MemberId) {
        self.state().members.get_mut(&(attempt, member)).unwrap().key = [0; 16];
    }

    /// Gives the engine a volume that no job uses.
    pub fn add_volume(&self, name: &str) {
        let name = VolumeName::new(name).unwrap();
        let instance = self.0.instance.to_string();
        let volume =
            VolumeObject { name: name.clone(), instance, kind: Some(Kind::Cache), attempt: None, created: None };
        self.state().volumes.insert(name, volume);
    }

    /// Says that the kernel ended every container that has ended for its memory.
    pub fn ended_out_of_memory(&self) {
        self.state().ended_out_of_memory = true;
    }

    /// Sets the time at which every container that has ended did so.
    pub fn ended_at(&self, at: Timestamp) {
        self.state().ended_at = Some(at);
    }

    /// Makes the engine refuse overlays.
    pub fn without_overlays(&self) {
        self.state().without_overlays = true;
    }

    /// Sets the passwd file of every image.
    pub fn passwd(&self, text: &str) {
        self.state().passwd = Some(text.to_owned());
    }

    /// Returns the volumes other than jobs' workspaces.
    pub fn volumes(&self) -> Vec<String> {
        self.state().volumes.keys().map(ToString::to_string).collect()
    }

    /// Returns the size limit of each volume that was made.
    pub fn volume_limits(&self) -> BTreeMap<VolumeName, Option<u64>> {
        self.state().volume_limits.clone()
    }

    /// Returns the layers of the overlays that were made, the topmost first.
    pub fn overlays(&self) -> Vec<Vec<String>> {
        let names = |layers: &Vec<VolumeName>| layers.iter().map(ToString::to_string).collect();
        self.state().overlays.iter().map(names).collect()
    }

    /// Returns the tasks of our own program that were run.
    pub fn tools(&self) -> Vec<String> {
        self.state().tools.clone()
    }

    /// Returns the volumes in the job's container other than its workspace, with their mount points.
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
}
