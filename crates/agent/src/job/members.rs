//! Steps that run in containers of their own: what the job's agent does for them as the conductor of the pod.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use longshore_agent_protocol::message::{
    AgentError, JobEnd, JobResult, JobSpec, MemberPurpose, ProgramSpec, StepResult, StepSpec, StepStatus,
};
use longshore_agent_protocol::{ContainerRequest, FromAgent, MemberId, PodSecret};
use longshore_core::template::Template;

use super::services::Service;
use super::tries::TryProgress;
use super::{Job, JobError, LEFTOVER_GRACE, StepScope, message_error};
use crate::clock;
use crate::files::WrittenValues;
use crate::pod::Pod;
use crate::step::PreparedStep;
use crate::verdict::{millis, skipped_result};

/// How long a member may take, after the grace period, to report the end of its step.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// When a container that has not joined is first asked for again.
const FIRST_REQUEST_AFTER: Duration = Duration::from_secs(10);
/// A member has no time limit of its own: the conductor enforces it.
pub(super) const NO_LIMIT: u64 = u64::MAX;

/// The containers beside the job's own, and what they have reported.
#[derive(Debug, Default)]
pub(super) struct Members {
    pub(super) pod: Pod,
    /// The ends of their steps.
    pub(super) results: HashMap<MemberId, StepResult>,
    /// Their last messages.
    pub(super) ends: HashMap<MemberId, JobEnd>,
    /// Members that have their plan, and have not reported their end.
    unfinished: HashSet<MemberId>,
    pub(super) services: Vec<Service>,
    /// A service has failed, and the job with it.
    pub(super) broken: bool,
    /// The services are being ended, because the job is over.
    pub(super) ending: bool,
    /// Why the container of the step that has just ended did not serve it.
    pub(super) error: Option<(AgentError, String)>,
    /// Since when no member is read, because there is no room for what they say.
    deaf_since: Option<Instant>,
    buffer: Vec<u8>,
}

/// The growing pauses after which a container that has not joined is requested again.
#[derive(Debug)]
pub(super) struct RequestBackoff {
    pub(super) next: Instant,
    pause: Duration,
}

impl RequestBackoff {
    pub(super) fn new() -> Self {
        Self { next: Instant::now() + FIRST_REQUEST_AFTER, pause: FIRST_REQUEST_AFTER }
    }

    /// Returns whether it is time to ask. Then the next time is set.
    pub(super) fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = now >= self.next;
        if is_due {
            self.pause *= 2;
            self.next = now + self.pause;
        }
        is_due
    }
}

/// A try of a step in a container of its own.
#[derive(Debug)]
pub(super) struct MemberTry {
    member: MemberId,
    /// `Some` until it is sent to the member.
    plan: Option<Box<JobSpec>>,
    /// The limit of the try, which counts from the plan's arrival.
    limit: Option<Duration>,
    grace: Duration,
    backoff: RequestBackoff,
    image: String,
    end: Option<MemberEnd>,
    /// When to stop waiting for the end of a step that was told to end.
    give_up: Option<Instant>,
}

/// How a try in a container of its own ended.
#[derive(Debug)]
enum MemberEnd {
    Reported(Box<(StepResult, JobEnd)>),
    /// It did not run, or its end was not reported.
    Lost(String),
}

impl Members {
    /// Returns whether processes of a member may be left.
    pub(super) fn may_have_processes(&self) -> bool {
        !self.unfinished.is_empty()
    }

    /// Sends a member its plan.
    pub(super) fn start(&mut self, member: MemberId, plan: JobSpec) {
        self.unfinished.insert(member);
        self.pod.start(member, plan);
    }

    /// Takes note of whether members are read now, and returns whether that has begun again. Time in which they are not
    /// read does not count against services.
    pub(super) fn set_heard(&mut self, heard: bool) -> bool {
        match (heard, self.deaf_since) {
            (false, None) => self.deaf_since = Some(Instant::now()),
            (true, Some(since)) => {
                self.services.iter_mut().for_each(|service| service.postpone(since.elapsed()));
                self.deaf_since = None;
                return true;
            }
            (false, Some(_)) | (true, None) => {}
        }
        false
    }

    pub(super) const fn are_heard(&self) -> bool {
        self.deaf_since.is_none()
    }

    fn take_end(&mut self, member: MemberId) -> Option<MemberEnd> {
        if let Some(end) = self.ends.remove(&member) {
            self.pod.dismiss(member);
            let result = self.results.remove(&member);
            let result = result.unwrap_or(StepResult { status: StepStatus::Error, ..skipped_result() });
            return Some(MemberEnd::Reported(Box::new((result, end))));
        }
        if let Some(reason) = self.pod.failure(member) {
            let reason = format!("the step's container could not start: {reason}");
            // It may run anyway; nothing of it may go on beside the next steps.
            self.pod.dismiss(member);
            return Some(MemberEnd::Lost(reason));
        }
        self.pod.is_gone(member).then(|| {
            let reason =
                "the step's container stopped before the step finished: it ran out of memory, or was stopped from outside";
            MemberEnd::Lost(reason.to_owned())
        })
    }
}

impl Job {
    /// Listens for the members of the job's pod, and prepares its services.
    pub(super) fn open_pod(&mut self, spec: &JobSpec) -> Result<(), JobError> {
        let services = (0..).zip(&spec.services).map(|(at, _)| MemberId::Service(at));
        let own_image = (0..).zip(&spec.steps).filter(|(_, step)| step.image.is_some());
        let tries = own_image.flat_map(|(number, step): (u16, &StepSpec)| {
            (1..=super::tries::max_tries(step)).map(move |attempt| MemberId::Step(number, attempt))
        });
        let members: Vec<MemberId> = services.chain(tries).collect();
        if members.is_empty() {
            return Ok(());
        }
        let failed = |error: std::io::Error| {
            JobError::new(AgentError::Internal, format!("the job's pod cannot be opened: {error}"))
        };
        if let Some(shared) = &self.runtime.shared_files {
            let names: Vec<&str> = spec.services.iter().map(|service| service.name.as_str()).collect();
            shared.add_hosts(&names).map_err(failed)?;
        }
        self.prepare_services(spec)?;
        // A runner of an earlier build sends none.
        let secret = spec.pod_secret.unwrap_or(PodSecret(self.runtime.options.nonce));
        self.members.pod.listen(secret, members, self.runtime.mailbox.clone()).map_err(failed)
    }

    /// Reads what a member reports, and passes its output on under the number that it has in the job.
    pub(super) fn read_member(&mut self, place: usize) -> Result<(), JobError> {
        let Members { pod, results, ends, unfinished, services, buffer, .. } = &mut self.members;
        let spool = &self.runtime.spool;
        let read = pod.read(place, buffer, |member, message| match message {
            FromAgent::Output { stderr, time_ms, data, .. } => {
                if let MemberId::Service(at) = member
                    && let Some(service) = services.get_mut(usize::from(at))
                {
                    service.remember(&data);
                }
                spool.append_output(member.step(), stderr, time_ms, &data)
            }
            FromAgent::Note { time_ms, text, .. } => {
                spool.append_message(&FromAgent::Note { step: member.step(), time_ms, text })
            }
            FromAgent::StepStarted { time_ms, .. } => match member {
                MemberId::Service(_) => spool.append_message(&FromAgent::StepStarted { step: member.step(), time_ms }),
                // Its turn has been reported.
                MemberId::Step(..) => Ok(()),
            },
            FromAgent::StepFinished { result, .. } => {
                results.insert(member, result);
                Ok(())
            }
            FromAgent::ServiceReady { .. } => {
                if let MemberId::Service(at) = member
                    && let Some(service) = services.get_mut(usize::from(at))
                {
                    service.is_ready = true;
                }
                Ok(())
            }
            FromAgent::JobFinished { end, .. } => {
                unfinished.remove(&member);
                ends.insert(member, end);
                Ok(())
            }
            FromAgent::Ready { .. }
            | FromAgent::Lost
            | FromAgent::RunContainer { .. }
            | FromAgent::ArtifactFile(_)
            | FromAgent::ArtifactData(_)
            | FromAgent::ArtifactFileEnd { .. }
            | FromAgent::ArtifactsEnd { .. } => Ok(()),
        });
        read.map_err(message_error)
    }

    /// Reports why a step's container did not serve it.
    fn lose_member(&mut self, number: u16, message: &str) -> Result<(), JobError> {
        self.members.error = Some((AgentError::ContainerFailed, message.to_owned()));
        self.note(number, message.to_owned())
    }

    /// Begins a try of a step in a container of its own: asks for the container unless it exists.
    pub(super) fn begin_member_try(
        &mut self,
        number: u16,
        attempt: u32,
        step: &StepSpec,
        ready: &PreparedStep,
        scope: &StepScope<'_>,
    ) -> Result<MemberTry, JobError> {
        let member = MemberId::Step(number, attempt);
        if !self.members.pod.has_joined(member) {
            self.request_container(member, ready.image.clone().unwrap_or_default())?;
        }
        let grace = Duration::from_millis(scope.spec.grace_ms);
        let grace = if step.background { grace.min(LEFTOVER_GRACE) } else { grace };
        let mut plan = member_plan(step, ready, scope.spec, grace);
        // The step gets no file for what its own variables replace.
        plan.secret_files.retain(|variable, _| ready.env.get(variable) == self.secret_variables.get(variable));
        let limit = step.timeout_ms.map(Duration::from_millis);
        let image = ready.image.clone().unwrap_or_default();
        Ok(MemberTry {
            member,
            plan: Some(Box::new(plan)),
            limit,
            grace,
            backoff: RequestBackoff::new(),
            image,
            end: None,
            give_up: None,
        })
    }

    /// Asks the runner for a container that has not joined. If asked again, the runner checks whether it still can.
    pub(super) fn request_container(&self, member: MemberId, image: String) -> Result<(), JobError> {
        let attempt = match member {
            MemberId::Service(_) => 1,
            MemberId::Step(_, attempt) => attempt,
        };
        let container = ContainerRequest { attempt, image };
        self.send(&FromAgent::RunContainer { step: member.step(), time_ms: clock::now_ms(), container })
    }

    /// Advances a try in a container of its own. Returns whether it is over, and the limit of one that has just begun.
    pub(super) fn refresh_member_try(&mut self, running: &mut MemberTry) -> (bool, Option<Instant>) {
        if running.end.is_none() {
            running.end = self.members.take_end(running.member);
        }
        let mut limit = None;
        if running.end.is_none()
            && self.members.pod.has_joined(running.member)
            && let Some(plan) = running.plan.take()
        {
            limit = running.limit.map(|limit| Instant::now() + limit);
            self.members.start(running.member, *plan);
        }
        if running.end.is_none() && running.plan.is_some() && running.backoff.is_due() {
            // It cannot be too long: it has been sent before.
            let _ = self.request_container(running.member, running.image.clone());
        }
        (running.end.is_some(), limit)
    }

    /// Returns when a try in a container of its own has to advance again. While no member is connected, its time does
    /// not pass.
    pub(super) fn member_wakes_at(&self, running: &MemberTry, limit: Option<Instant>) -> Option<Instant> {
        let limit = limit.filter(|_| self.members.are_heard());
        let ask = running.plan.is_some().then_some(running.backoff.next);
        [limit, ask].into_iter().flatten().min()
    }

    /// Ends a try in a container of its own: tells its agent to, and then closes the session, which ends all processes.
    pub(super) fn end_member_try(&mut self, running: &mut MemberTry) -> TryProgress {
        if running.plan.take().is_some() {
            self.members.pod.dismiss(running.member);
            running.end = Some(MemberEnd::Reported(Box::new((skipped_result(), JobResult::Canceled.into()))));
            return TryProgress::Over;
        }
        match running.give_up {
            None => {
                self.members.pod.cancel(running.member);
                let until = Instant::now() + running.grace + REPORT_TIMEOUT;
                running.give_up = Some(until);
                TryProgress::Runs(Some(until))
            }
            Some(_) if !self.members.are_heard() => TryProgress::Runs(None),
            Some(until) if Instant::now() < until => TryProgress::Runs(Some(until)),
            Some(_) => {
                self.members.pod.dismiss(running.member);
                let reason = "the step did not stop in time when asked to; its container was stopped";
                running.end = Some(MemberEnd::Lost(reason.to_owned()));
                TryProgress::Over
            }
        }
    }

    /// Returns how a try in a container of its own ended, and the values it passes on.
    pub(super) fn member_result(
        &mut self,
        number: u16,
        running: &mut MemberTry,
        why: Option<StepStatus>,
    ) -> Result<(StepResult, WrittenValues), JobError> {
        let (mut result, written) = match running.end.take() {
            Some(MemberEnd::Reported(reported)) => {
                let (mut result, end) = *reported;
                if let JobResult::Error { kind, message } = &end.result
                    && result.status == StepStatus::Error
                {
                    self.note(number, message.clone())?;
                    self.members.error = Some((*kind, message.clone()));
                }
                // Nothing of Longshore's asked its agent to.
                if result.status == StepStatus::Canceled && why.is_none() {
                    result.status = StepStatus::Error;
                    self.lose_member(
                        number,
                        "the step's container was stopped from outside (docker stop, a restart of the engine)",
                    )?;
                }
                let outputs = std::mem::take(&mut result.outputs);
                let summary = std::mem::take(&mut result.summary);
                (result, WrittenValues { outputs, env: end.env, path: end.path, summary })
            }
            Some(MemberEnd::Lost(message)) => {
                self.lose_member(number, &message)?;
                (StepResult { status: StepStatus::Error, ..skipped_result() }, WrittenValues::default())
            }
            None => (StepResult { status: StepStatus::Error, ..skipped_result() }, WrittenValues::default()),
        };
        if let Some(why) = why {
            result.status = why;
        }
        Ok((result, written))
    }
}

/// Returns the plan of a member: one step of the job, with all its texts evaluated.
fn member_plan(step: &StepSpec, ready: &PreparedStep, job: &JobSpec, grace: Duration) -> JobSpec {
    let literal = |text: &String| Template::from(text.as_str());
    let program = ready.program.as_ref().map(|program| ProgramSpec {
        entrypoint: program.entrypoint.iter().map(literal).collect(),
        command: program.command.iter().map(literal).collect(),
    });
    JobSpec {
        env: ready.env.iter().map(|(name, value)| (name.clone(), literal(value))).collect(),
        secret_files: job.secret_files.clone(),
        masks: job.masks.clone(),
        workspace: job.workspace.clone(),
        user: step.user.clone().unwrap_or_default(),
        timeout_ms: NO_LIMIT,
        grace_ms: millis(grace),
        steps: vec![StepSpec {
            name: step.name.clone(),
            run: literal(&ready.run),
            working_directory: ready.working_directory.as_ref().map(literal),
            shell: ready.shell.clone(),
            tty: step.tty,
            program,
            ..StepSpec::default()
        }],
        path: ready.path.clone(),
        authorities: job.authorities.clone(),
        member: Some(MemberPurpose::Step),
        ..JobSpec::default()
    }
}
