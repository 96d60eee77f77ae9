//! A connection to a Docker engine. Implements the port by handing each call to the module for it.

mod faults;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use bollard::Docker;
use bollard::models::Mount;
use bollard::query_parameters::CreateContainerOptionsBuilder;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use longshore_core::{DeniedAddresses, ImageRef, RegistryCredentials};
use longshore_executor::engine::{
    Answer, BuilderSpec, DockerSocket, Engine, FoundMember, FoundPod, GuardSpec, Image, MemberId, MemberSpec, Pod,
    PodSpec, SandboxSpec, SpoolPiece, Standing, ToolSpec, VolumeSpec,
};
use longshore_executor::names::{ContainerId, Instance};
use longshore_executor::objects::{AgentObject, DockerPart, MadeImage, ObjectId, Objects, VolumeObject};
use longshore_executor::{AttemptId, EngineError, GuardLog, Link};
use tokio::sync::{OnceCell, mpsc};

use crate::agent_image::AgentImage;
use crate::confinement::{self, Gap};
use crate::connect::{Connected, connect};
use crate::error::ApiResult as _;
use crate::fault::Fault;
use crate::network::{self, Network};
use crate::options::DockerOptions;
use crate::overlay::Overlays;
use crate::quota::Quotas;
use crate::sandbox::AddressRules;
use crate::unanswered::unless_unanswered;
use crate::{
    archive, builder, container, containers, guard_log, guard_names, guarded, guarded_list, images, inventory, link,
    removal, sandbox, tool, volumes,
};

/// A Docker engine, and what we keep on it.
pub struct DockerEngine {
    pub(crate) docker: Docker,
    pub(crate) instance: Instance,
    pub(crate) agent: AgentImage,
    pub(crate) network: Network,
    quotas: Quotas,
    overlays: Overlays,
    /// The engine cannot give a sandbox `::1`: its kernel has no IPv6, or it refuses the setting.
    without_loopback6: AtomicBool,
    socket_on_host: OnceCell<String>,
    is_guarded: bool,
    options: DockerOptions,
}

impl DockerEngine {
    /// Connects and agrees on an API version, in one call.
    ///
    /// # Errors
    /// If there is no socket, no permission for it, no answer, or the engine is too old or too new. Each error says
    /// what to do.
    pub async fn connect(options: DockerOptions) -> Result<Self, EngineError> {
        let Connected { docker, is_guarded } = connect(&options.host).await?;
        Ok(Self {
            docker,
            is_guarded,
            instance: options.instance.clone(),
            agent: AgentImage::new(&options),
            network: Network::new(&options),
            quotas: Quotas::default(),
            overlays: Overlays::new(&options),
            without_loopback6: AtomicBool::new(false),
            socket_on_host: OnceCell::new(),
            options,
        })
    }

    /// Returns whether a guard answers in the engine's place.
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        self.is_guarded
    }

    /// Returns the addresses that its jobs may not reach.
    pub(crate) fn denied(&self) -> &[DeniedAddresses] {
        &self.options.denied
    }

    /// Returns the limits that this engine does not enforce; empty if it enforces all.
    ///
    /// # Errors
    /// The engine could not be asked.
    pub async fn gaps(&self) -> Result<Vec<Gap>, EngineError> {
        confinement::ask(&self.docker).await
    }

    async fn create_pod(&self, pod: &PodSpec<'_>) -> Result<Pod, EngineError> {
        let agent = self.agent.ready(&self.docker).await?;
        let socket = self.docker_socket(pod.docker, pod.attempt).await?;
        let body = container::body(&self.instance, pod, &agent, socket, &self.quotas);
        let options = CreateContainerOptionsBuilder::new().name(pod.attempt.container_name().as_str()).build();
        let created = match self.docker.create_container(Some(options), body).await.api("create a container") {
            Ok(created) => created,
            Err(error) => return Err(self.fault_of_pod(error).await),
        };
        Ok(Pod {
            container: containers::created(created.id)?,
            volume: pod.attempt.volume_name(),
            sandbox: pod.sandbox.clone(),
            nonce: pod.nonce,
            secret: pod.secret,
            user: pod.image.config.user.clone(),
        })
    }

    async fn create_one_volume(&self, volume: &VolumeSpec<'_>) -> Result<(), EngineError> {
        let disk = volume.disk.filter(|_| self.quotas.of_volumes());
        match volumes::create(&self.docker, &self.instance, volume, disk).await {
            Err(error) if disk.is_some() && matches!(Fault::of(&error), Fault::NoVolumeQuota) => {
                self.quotas.refused(Fault::NoVolumeQuota);
                volumes::create(&self.docker, &self.instance, volume, None).await
            }
            created => created,
        }
    }

    async fn create_member_container(&self, member: &MemberSpec<'_>) -> Result<ContainerId, EngineError> {
        let agent = self.agent.ready(&self.docker).await?;
        let socket = self.docker_socket(member.docker, member.attempt).await?;
        let body = container::member_body(&self.instance, member, &agent, socket, &self.quotas);
        let name = member.attempt.member_name(member.member);
        let options = CreateContainerOptionsBuilder::new().name(name.as_str()).build();
        match self.docker.create_container(Some(options), body).await.api("create a container") {
            Ok(created) => containers::created(created.id),
            Err(error) => Err(self.fault_of_pod(error).await),
        }
    }

    /// Returns the mount by which a container of a pod has a Docker API.
    async fn docker_socket(&self, docker: DockerSocket, attempt: AttemptId) -> Result<Option<Mount>, EngineError> {
        Ok(match docker {
            DockerSocket::None => None,
            DockerSocket::Guarded => Some(guarded::socket_mount(attempt)),
            DockerSocket::Raw => Some(guarded::raw_mount(self.socket_on_host().await?)),
        })
    }

    /// Returns the path of the engine's socket on its host.
    async fn socket_on_host(&self) -> Result<&str, EngineError> {
        let found = self.socket_on_host.get_or_try_init(|| guarded::socket_on_host(&self.docker, &self.options.host));
        found.await.map(String::as_str)
    }

    async fn create_guard_container(&self, guard: &GuardSpec<'_>) -> Result<ContainerId, EngineError> {
        let agent = self.agent.ready(&self.docker).await?;
        let socket = self.socket_on_host().await?;
        match guarded::create(&self.docker, &self.options, guard, &agent, socket).await {
            Ok(container) => Ok(container),
            Err(error) => Err(self.fault_of_guard(error).await),
        }
    }

    async fn create_builder_container(&self, builder: &BuilderSpec<'_>) -> Result<ContainerId, EngineError> {
        match builder::create(&self.docker, &self.instance, builder, &self.quotas).await {
            Ok(container) => Ok(container),
            Err(error) => Err(self.fault_of_pod(error).await),
        }
    }

    async fn start_pod(&self, id: &ContainerId) -> Result<Link, EngineError> {
        // Attach before the start: the engine throws away output that nobody reads.
        let link = link::attach(&self.docker, id).await?;
        match self.start_container(id).await {
            Ok(()) => Ok(link),
            Err(error) => Err(self.fault_of_pod(error).await),
        }
    }

    async fn start_container(&self, id: &ContainerId) -> Result<(), EngineError> {
        let started = self.docker.start_container(id.as_str(), None);
        unless_unanswered(&self.docker, "start a container", started).await
    }

    async fn create_sandbox_container(&self, sandbox: &SandboxSpec) -> Result<ContainerId, EngineError> {
        let agent = self.agent.ready(&self.docker).await?;
        let own;
        let network = match sandbox.owner {
            Some((build, attempt)) => {
                own = network::create_own(&self.docker, &self.options, build, attempt).await?;
                &own
            }
            None => self.network.ready(&self.docker).await?,
        };
        let loopback6 = !self.without_loopback6.load(Ordering::Relaxed);
        let DockerOptions { denied, allowed, sandbox_idle, docker_subnet, .. } = &self.options;
        // Networks come and go: each sandbox denies those that there are when it is made.
        let is_host_denied = denied.contains(&DeniedAddresses::Host);
        let host = if is_host_denied { network::host_addresses(&self.docker).await? } else { Vec::new() };
        let mut denied = denied.clone();
        // The host has an address on each network of a job with Docker, also on those that are made later.
        if let Some(range) = docker_subnet.filter(|_| is_host_denied && sandbox.owner.is_none()) {
            denied.push(DeniedAddresses::Network(range.range().into()));
        }
        let addresses = AddressRules { denied: &denied, allowed, host: &host };
        let body = sandbox::body(&self.instance, sandbox, agent, network, &addresses, *sandbox_idle, loopback6);
        let options = CreateContainerOptionsBuilder::new().name(sandbox.name.as_str()).build();
        match self.docker.create_container(Some(options), body).await.api("create a container") {
            Ok(created) => containers::created(created.id),
            Err(error) => Err(self.fault_of_sandbox(error).await),
        }
    }

    async fn remove_object(&self, object: &ObjectId) -> Result<(), EngineError> {
        let removed = removal::remove(&self.docker, object).await;
        match object {
            ObjectId::Network(name) if *name == self.instance.network_name() => self.network.forget().await,
            ObjectId::Image(id) if self.agent.is_delivered(id.as_str()).await => self.agent.forget().await,
            ObjectId::Volume(name) if self.agent.is_delivered(name.as_str()).await => self.agent.forget().await,
            ObjectId::Container(_)
            | ObjectId::NamedContainer(_)
            | ObjectId::Volume(_)
            | ObjectId::Network(_)
            | ObjectId::Image(_) => {}
        }
        removed
    }
}

impl Engine for DockerEngine {
    fn instance(&self) -> &Instance {
        &self.instance
    }

    fn prepare(&self) -> Answer<'_, ()> {
        async {
            self.agent.ready(&self.docker).await?;
            self.network.ready(&self.docker).await?;
            Ok(())
        }
        .boxed()
    }

    fn image<'a>(&'a self, image: &'a ImageRef) -> Answer<'a, Option<Image>> {
        images::find(&self.docker, image).boxed()
    }

    fn given_image<'a>(&'a self, image: &'a ImageRef) -> Answer<'a, Option<Image>> {
        images::find_given(&self.docker, image).boxed()
    }

    fn pull<'a>(
        &'a self,
        image: &'a ImageRef,
        credentials: Option<&'a RegistryCredentials>,
        notes: &'a mpsc::Sender<String>,
    ) -> Answer<'a, ()> {
        images::pull(&self.docker, image, credentials, notes).boxed()
    }

    fn create_sandbox<'a>(&'a self, sandbox: &'a SandboxSpec) -> Answer<'a, ContainerId> {
        self.create_sandbox_container(sandbox).boxed()
    }

    fn start_sandbox<'a>(&'a self, sandbox: &'a ContainerId) -> Answer<'a, ()> {
        async {
            match self.start_container(sandbox).await {
                Ok(()) => Ok(()),
                Err(error) => Err(self.fault_of_sandbox(error).await),
            }
        }
        .boxed()
    }

    fn create_guard<'a>(&'a self, guard: &'a GuardSpec<'a>) -> Answer<'a, ContainerId> {
        self.create_guard_container(guard).boxed()
    }

    fn create_builder<'a>(&'a self, builder: &'a BuilderSpec<'a>) -> Answer<'a, ContainerId> {
        self.create_builder_container(builder).boxed()
    }

    fn list_guarded(&self, attempt: AttemptId, part: DockerPart) -> Answer<'_, Vec<ObjectId>> {
        guarded_list::list(&self.docker, &self.instance, attempt, part).boxed()
    }

    fn list_made_images(&self) -> Answer<'_, Vec<MadeImage>> {
        guarded_list::made_images(&self.docker).boxed()
    }

    fn scope_of(&self, attempt: AttemptId) -> String {
        guard_names::scope(&self.instance, attempt)
    }

    fn read_guard_log(&self, attempt: AttemptId) -> Answer<'_, Option<GuardLog>> {
        guard_log::read(&self.docker, attempt).boxed()
    }

    fn find_sandboxes<'a>(&'a self, scope: &'a str) -> Answer<'a, Vec<ContainerId>> {
        async {
            let agent = self.agent.hash().await?;
            let found = sandbox::find(&self.docker, &self.instance, scope, agent).await?;
            if !found.is_empty() {
                self.agent.assume(agent).await;
            }
            Ok(found)
        }
        .boxed()
    }

    fn create<'a>(&'a self, pod: &'a PodSpec<'a>) -> Answer<'a, Pod> {
        self.create_pod(pod).boxed()
    }

    fn create_member<'a>(&'a self, member: &'a MemberSpec<'a>) -> Answer<'a, ContainerId> {
        self.create_member_container(member).boxed()
    }

    fn start_member<'a>(&'a self, container: &'a ContainerId) -> Answer<'a, ()> {
        async {
            match self.start_container(container).await {
                Ok(()) => Ok(()),
                Err(error) => Err(self.fault_of_pod(error).await),
            }
        }
        .boxed()
    }

    fn find_member(&self, attempt: AttemptId, member: MemberId) -> Answer<'_, Option<FoundMember>> {
        containers::find_member(&self.docker, &self.instance, attempt, member).boxed()
    }

    fn list_members(&self, attempt: AttemptId) -> Answer<'_, Vec<ContainerId>> {
        inventory::members(&self.docker, &self.instance, attempt).boxed()
    }

    fn start<'a>(&'a self, container: &'a ContainerId) -> Answer<'a, Link> {
        self.start_pod(container).boxed()
    }

    fn find(&self, attempt: AttemptId) -> Answer<'_, Option<FoundPod>> {
        containers::find(&self.docker, &self.instance, attempt).boxed()
    }

    fn attach<'a>(&'a self, container: &'a ContainerId) -> Answer<'a, Link> {
        link::attach(&self.docker, container).boxed()
    }

    fn standing<'a>(&'a self, container: &'a ContainerId) -> Answer<'a, Standing> {
        containers::standing(&self.docker, container).boxed()
    }

    fn kill<'a>(&'a self, container: &'a ContainerId) -> Answer<'a, ()> {
        containers::kill(&self.docker, container).boxed()
    }

    fn read_spool(&self, container: &ContainerId) -> BoxStream<'static, Result<SpoolPiece, EngineError>> {
        archive::read_spool(&self.docker, container)
    }

    fn list<'a>(&'a self, instance: Option<&'a Instance>) -> Answer<'a, Objects> {
        inventory::list(&self.docker, instance).boxed()
    }

    fn list_agents(&self) -> Answer<'_, Vec<AgentObject>> {
        async { inventory::list_agents(&self.docker, self.agent.hash().await?).await }.boxed()
    }

    fn list_volumes(&self, attempt: AttemptId) -> Answer<'_, Vec<VolumeObject>> {
        inventory::volumes(&self.docker, &self.instance, attempt).boxed()
    }

    fn create_volume<'a>(&'a self, volume: &'a VolumeSpec<'a>) -> Answer<'a, ()> {
        self.create_one_volume(volume).boxed()
    }

    fn has_overlays(&self) -> Answer<'_, bool> {
        self.overlays.work(self, &self.docker).boxed()
    }

    fn run_tool<'a>(&'a self, tool: &'a ToolSpec<'a>) -> Answer<'a, String> {
        async {
            let agent = self.agent.ready(&self.docker).await?;
            tool::run(&self.docker, &self.instance, &agent, tool).await
        }
        .boxed()
    }

    fn read_image_file<'a>(&'a self, image: &'a Image, path: &'a str) -> Answer<'a, Option<String>> {
        async {
            let agent = self.agent.ready(&self.docker).await?;
            tool::read_image_file(&self.docker, &self.instance, &agent, image, path).await
        }
        .boxed()
    }

    fn remove<'a>(&'a self, object: &'a ObjectId) -> Answer<'a, ()> {
        self.remove_object(object).boxed()
    }

    fn renew_agent(&self) -> BoxFuture<'_, bool> {
        self.agent.drop_delivered(&self.docker).boxed()
    }
}

impl fmt::Debug for DockerEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerEngine").field("options", &self.options).finish_non_exhaustive()
    }
}
