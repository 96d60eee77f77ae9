//! The containers beside a job's own: its services, and its steps with an image of their own.
//!
//! Services are started as soon as the job's container is. The container of a step is started when the step's turn
//! comes, or ahead of it if its image is here already. Everything here can be done again: a container is created under
//! a name that only one try of a step or service has, so another process that takes the job over finds what there is.
//! A container that cannot be started is reported to the job's agent, which decides what that means for the job.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longshore_agent_protocol::{ContainerFailure, ContainerRequest, MemberId};
use longshore_core::{ImageRef, Record, Template};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::accounts::Accounts;
use crate::attempt::AttemptId;
use crate::engine::{DockerSocket, Engine, Image, MemberSpec, MemberStanding, Pod};
use crate::error::EngineError;
use crate::following::agent::AgentHealth;
use crate::lasting::caches::Caches;
use crate::objects::ObjectId;
use crate::options::Limits;
use crate::placement::{Placement, used};
use crate::pulling::images::Images;
use crate::removing::removal::Removals;
use crate::request::{JobRequest, JobUpdate};

/// The most containers of steps that are started ahead of their turn.
const MAX_STARTED_AHEAD: usize = 8;
/// Limit for tries of a start that fails for a reason that passes.
const MAX_TRIES: u32 = 4;
/// Pause before the next try, times the number of tries.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Pause before the next try while the engine is away.
const ENGINE_AWAY_PAUSE: Duration = Duration::from_secs(1);
/// Lines for the job's log that may wait to be written.
const MAX_WAITING_NOTES: usize = 64;

/// The containers beside one job's own.
pub(crate) struct Members {
    engine: Arc<dyn Engine>,
    images: Arc<Images>,
    agent: Arc<AgentHealth>,
    accounts: Arc<Accounts>,
    removals: Arc<Removals>,
    /// An earlier process may have started them.
    adopted: bool,
    request: Arc<JobRequest>,
    pod: Pod,
    /// How long to wait for an engine that is away.
    patience: Duration,
    /// Whether each has been started. Each has one start at a time.
    started: Mutex<BTreeMap<MemberId, Arc<tokio::sync::Mutex<bool>>>>,
    /// All that failed, for the job's agent.
    failures: watch::Sender<Vec<ContainerFailure>>,
    updates: mpsc::WeakSender<JobUpdate>,
    notes: mpsc::Sender<String>,
    /// Read by the job's session alone.
    noted: tokio::sync::Mutex<mpsc::Receiver<String>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Whether anybody waits for a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Urgency {
    Needed,
    /// Its turn may come. A pull is worth it only if nothing can skip the step.
    Ahead {
        may_pull: bool,
    },
}

/// The state of a container before its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Existing {
    None,
    Runs,
    Ended,
}

/// Returns the error for a container that has ended. If its agent joined, the job's agent knows more, and does not heed
/// this.
fn has_ended() -> EngineError {
    let reason = "it was stopped from outside, or could not start for lack of space".to_owned();
    EngineError::Local { what: "the container has ended", reason }
}

impl Members {
    /// Begins to start what the job needs beside its container. `None` if it needs nothing. `adopted`: an earlier
    /// process may have started it; `requested`: what the job has asked for.
    pub(crate) fn start(
        placement: &Placement,
        request: &Arc<JobRequest>,
        pod: &Pod,
        adopted: bool,
        requested: Vec<(u16, ContainerRequest)>,
        updates: mpsc::WeakSender<JobUpdate>,
    ) -> Option<Arc<Self>> {
        if !request.has_members() {
            return None;
        }
        let (notes, noted) = mpsc::channel(MAX_WAITING_NOTES);
        let members = Arc::new(Self {
            engine: Arc::clone(&placement.engine),
            images: Arc::clone(&placement.images),
            agent: Arc::clone(&placement.agent),
            accounts: Arc::clone(&placement.accounts),
            removals: Arc::clone(&placement.removals),
            adopted,
            request: Arc::clone(request),
            pod: pod.clone(),
            patience: placement.patience,
            started: Mutex::default(),
            failures: watch::Sender::new(Vec::new()),
            updates,
            notes,
            noted: tokio::sync::Mutex::new(noted),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        if adopted {
            // The earlier process has found out their ports.
            (0..).zip(&request.plan.services).for_each(|(at, _)| members.spawn(MemberId::Service(at), None));
        } else {
            members.start_services();
        }
        for (step, container) in requested {
            members.run(step, container);
        }
        members.prepare_steps();
        Some(members)
    }

    /// Starts a container that the job's agent misses, unless it exists: that of a step whose turn has come, or of a
    /// service. A job can write into its agent's files, so only what the plan has is started.
    pub(crate) fn run(self: &Arc<Self>, step: u16, container: ContainerRequest) {
        let plan = &self.request.plan;
        if let Some(at) = step.checked_sub(Record::FIRST_SERVICE).filter(|_| step != Record::NO_STEP) {
            if usize::from(at) < plan.services.len() {
                self.spawn(MemberId::Service(at), None);
            }
            return;
        }
        let planned = plan.steps.get(usize::from(step)).filter(|step| step.image.is_some());
        let most = planned.map_or(0, |step| 1 + step.retry.as_ref().map_or(0, |retry| retry.max));
        if (1..=most).contains(&container.attempt) {
            self.spawn(MemberId::Step(step, container.attempt), Some(container.image));
        }
    }

    /// Returns the containers that could not be started so far, and later those that fail then.
    pub(crate) fn failures(&self) -> watch::Receiver<Vec<ContainerFailure>> {
        self.failures.subscribe()
    }

    /// Returns the next line for the job's log. May be dropped and called again.
    pub(crate) async fn next_note(&self) -> String {
        match self.noted.lock().await.recv().await {
            Some(note) => note,
            None => std::future::pending().await,
        }
    }

    /// Returns the attempt that they belong to.
    pub(crate) fn attempt(&self) -> AttemptId {
        self.request.attempt_id()
    }

    /// Stops starting containers when it is dropped.
    pub(crate) fn guard(&self) -> DropGuard {
        self.stop.clone().drop_guard()
    }

    /// Stops starting containers. Returns once no start is in progress.
    pub(crate) async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn spawn(self: &Arc<Self>, member: MemberId, image: Option<String>) {
        let members = Arc::clone(self);
        self.tasks.spawn(async move {
            if let Err(error) = members.ensure(member, image, Urgency::Needed).await {
                members.fail(member, error.to_string());
            }
        });
    }

    fn fail(&self, container: MemberId, message: String) {
        self.failures.send_modify(|all| all.push(ContainerFailure { container, message }));
    }

    /// Looks up the images of all services, and starts the services unless two of them open one port.
    fn start_services(self: &Arc<Self>) {
        let members = Arc::clone(self);
        self.tasks.spawn(async move {
            let all = (0..members.request.plan.services.len() as u16).map(MemberId::Service);
            let found = futures_util::future::join_all(all.clone().map(async |member| {
                let name = members.image_name(member, None)?;
                members.image(member, &name, Urgency::Needed).await
            }));
            let found = found.await;
            let services = members.request.plan.services.iter().zip(&found);
            // A service that is started otherwise, or asked otherwise, may open other ports than its image says.
            let ports: Vec<(&str, &[u16])> = services
                .filter(|(service, _)| {
                    service.ready.is_none() && service.command.is_empty() && service.entrypoint.is_empty()
                })
                .filter_map(|(service, image)| {
                    let image = image.as_ref().ok()?.as_ref()?;
                    Some((service.name.as_str(), image.config.ports.as_slice()))
                })
                .collect();
            let clash = clash(&ports);
            for (member, image) in all.zip(found) {
                match (image, &clash) {
                    (Err(error), _) => members.fail(member, error.to_string()),
                    (Ok(_), Some(clash)) => members.fail(member, clash.clone()),
                    (Ok(_), None) => members.spawn(member, None),
                }
            }
        });
    }

    /// Starts the containers of the first steps that have an image of their own, one after the other.
    fn prepare_steps(self: &Arc<Self>) {
        let steps: Vec<(MemberId, Urgency)> = (0..)
            .zip(&self.request.plan.steps)
            .filter(|(_, step)| step.image.as_ref().is_some_and(|image| image.as_known().is_some()))
            .map(|(at, step)| (MemberId::Step(at, 1), Urgency::Ahead { may_pull: step.condition.is_none() }))
            .take(MAX_STARTED_AHEAD)
            .collect();
        let members = Arc::clone(self);
        self.tasks.spawn(async move {
            for (member, urgency) in steps {
                if let Err(error) = members.ensure(member, None, urgency).await {
                    tracing::debug!(%member, %error, "a step's container was not started ahead");
                }
            }
        });
    }

    /// Starts a container unless it has been started. `image` is what its agent asks for; the plan's own without it.
    async fn ensure(&self, member: MemberId, image: Option<String>, urgency: Urgency) -> Result<(), EngineError> {
        let started = {
            let mut all = self.started.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(member).or_default())
        };
        let mut started = started.lock().await;
        // Asked for again, it may have ended before its agent could join.
        if !*started || urgency == Urgency::Needed {
            *started = self.try_until_started(member, image, urgency, *started).await?;
        }
        Ok(())
    }

    /// Returns `false` if the container has to wait for its turn, or the job is over. A call that creates or starts a
    /// container is always waited for: otherwise a container could be left that nobody knows.
    async fn try_until_started(
        &self,
        member: MemberId,
        image: Option<String>,
        urgency: Urgency,
        known: bool,
    ) -> Result<bool, EngineError> {
        let name = self.image_name(member, image)?;
        let begun = Instant::now();
        let mut tries = 0;
        loop {
            if self.stop.is_cancelled() {
                return Ok(false);
            }
            let error = match self.try_once(member, &name, urgency, known).await {
                Ok(started) => return Ok(started),
                Err(error) => error,
            };
            tracing::debug!(%member, %error, tries, "a container beside the job's did not start");
            tries += 1;
            match error {
                error if error.is_away() && begun.elapsed() < self.patience => self.pause(ENGINE_AWAY_PAUSE).await,
                error if tries >= MAX_TRIES => return Err(error),
                EngineError::Stale(_) => {}
                EngineError::AgentFailed(_) if self.agent.renew().await => {}
                EngineError::ImageGone(_) => self.images.forget_agreed(self.request.build, &name),
                error if error.is_transient() => self.pause(RETRY_PAUSE * tries).await,
                error => return Err(error),
            }
        }
    }

    /// Makes one try. A container that may be there is looked for before its image is.
    async fn try_once(
        &self,
        member: MemberId,
        name: &ImageRef,
        urgency: Urgency,
        known: bool,
    ) -> Result<bool, EngineError> {
        if known || self.adopted {
            match self.resume(member).await? {
                Existing::None => {}
                Existing::Runs => return Ok(true),
                // Its turn has been, while another process followed the job.
                Existing::Ended if urgency != Urgency::Needed => return Ok(true),
                Existing::Ended => return Err(has_ended()),
            }
        }
        let Some(image) = self.image(member, name, urgency).await? else { return Ok(false) };
        if let Some(updates) = self.updates.upgrade() {
            let update = JobUpdate::Image { step: Some(member.step()), image: used(name, &image) };
            let _ = updates.send(update).await;
        }
        self.start_once(member, &image).await?;
        Ok(true)
    }

    /// Finds the container that exists already, and starts it if it was only created.
    async fn resume(&self, member: MemberId) -> Result<Existing, EngineError> {
        let attempt = self.attempt();
        let Some(found) = self.engine.find_member(attempt, member).await? else { return Ok(Existing::None) };
        if found.key != self.pod.secret.member_key(member) {
            // It belongs to another run of the attempt, by a process that this database does not know.
            let name = ObjectId::NamedContainer(attempt.member_name(member));
            self.removals.now(&name, self.patience).await;
            return Ok(Existing::None);
        }
        match found.standing {
            MemberStanding::Created => self.engine.start_member(&found.container).await.map(|()| Existing::Runs),
            MemberStanding::Running => Ok(Existing::Runs),
            MemberStanding::Ended => Ok(Existing::Ended),
        }
    }

    async fn pause(&self, pause: Duration) {
        self.stop.run_until_cancelled(tokio::time::sleep(pause)).await;
    }

    /// Returns the container's image on this engine. `None` if it is not worth a pull, or the job is over.
    async fn image(&self, member: MemberId, name: &ImageRef, urgency: Urgency) -> Result<Option<Image>, EngineError> {
        let JobRequest { build, images: access, .. } = &*self.request;
        let known = self.images.known(*build, access, name).await?;
        let policy = self.request.pull_of(member);
        if urgency == (Urgency::Ahead { may_pull: false }) && !known.is_enough(policy) {
            return Ok(None);
        }
        let resolved = self.images.resolve(*build, access, name, known, policy, &self.notes);
        // The engine stops a pull when the call is dropped.
        self.stop.run_until_cancelled(resolved).await.transpose()
    }

    async fn start_once(&self, member: MemberId, image: &Image) -> Result<(), EngineError> {
        let limits = self.limits(member);
        let mounts = match member {
            MemberId::Step(..) if !self.request.caches.wanted.is_empty() => {
                let user = self.accounts.find(image).await?;
                Caches::of(&*self.engine, &self.request).mounts(&user).await?
            }
            MemberId::Step(..) | MemberId::Service(_) => Vec::new(),
        };
        let spec = MemberSpec {
            build: self.request.build,
            attempt: self.request.attempt_id(),
            member,
            image,
            sandbox: &self.pod.sandbox,
            secret: self.pod.secret,
            limits: &limits,
            docker: match member {
                MemberId::Service(_) => DockerSocket::None,
                MemberId::Step(..) => self.request.docker_socket(),
            },
            mounts: &mounts,
        };
        let container = match self.engine.create_member(&spec).await {
            Ok(container) => container,
            // An earlier try, or an earlier process, created it.
            Err(EngineError::NameTaken(message)) => {
                return match self.resume(member).await? {
                    Existing::Runs => Ok(()),
                    Existing::Ended => Err(has_ended()),
                    Existing::None => Err(EngineError::Stale(Box::new(EngineError::NameTaken(message)))),
                };
            }
            Err(error) => return Err(error),
        };
        self.engine.start_member(&container).await
    }

    fn image_name(&self, member: MemberId, asked: Option<String>) -> Result<ImageRef, EngineError> {
        let planned = match member {
            MemberId::Service(at) => self.request.plan.services.get(usize::from(at)).map(|service| &service.image),
            MemberId::Step(at, _) => self.request.plan.steps.get(usize::from(at)).and_then(|step| step.image.as_ref()),
        };
        // What the agent asks for counts only where the plan does not name the image.
        let image = planned.and_then(Template::as_known).map(str::to_owned).or(asked).unwrap_or_default();
        ImageRef::parse(&image).map_err(|error| EngineError::ImageMissing { image, reason: error.to_string() })
    }

    fn limits(&self, member: MemberId) -> Limits {
        let asked = match member {
            MemberId::Service(at) => self.request.plan.services.get(usize::from(at)).map(|service| &service.resources),
            MemberId::Step(..) => None,
        };
        asked.map_or_else(|| self.request.limits.clone(), |asked| self.request.limits.within(asked))
    }
}

/// Names the services of a plan whose images expose the same port, which only one of them can open.
pub(crate) fn clash(services: &[(&str, &[u16])]) -> Option<String> {
    let mut first: HashMap<u16, &str> = HashMap::new();
    for (name, ports) in services {
        for port in *ports {
            if let Some(other) = first.insert(*port, name).filter(|other| other != name) {
                return Some(format!(
                    "the services `{other}` and `{name}` both use port {port}, but all containers of a job share one network: \
                     let one of them use another port (`command`, or a variable of its image), and say which with `ready`"
                ));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_services_that_open_one_port_are_named_with_it() {
        assert_eq!(clash(&[("a", &[5432]), ("b", &[6379, 6380])]), None);
        let clash = clash(&[("a", &[5432]), ("c", &[1, 2]), ("b", &[80, 5432])]).unwrap();
        assert!(clash.contains("`a` and `b`") && clash.contains("port 5432"), "{clash}");
    }
}
