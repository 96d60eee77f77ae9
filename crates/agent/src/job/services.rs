//! The services of a job: started as they join the pod, waited for before the first step, ended after the last.
//!
//! A service that ends early, cannot be started, or is not ready in time fails the job.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use longshore_agent_protocol::message::{JobSpec, MemberPurpose, ProgramSpec, ServiceSpec, StepSpec, StepStatus};
use longshore_agent_protocol::{FromAgent, JobResult, MemberId};
use longshore_core::Record;
use longshore_core::outcome::human_duration;
use longshore_core::template::Template;

use super::members::{NO_LIMIT, RequestBackoff};
use super::{AgentError, Job, JobError, StepScope};
use crate::readiness::{self, CommandContext, ReadinessCheck};
use crate::step::PreparedStep;
use crate::values::Values;
use crate::verdict::{millis, skipped_result, step_finished};

/// How long to wait for the services' last messages after the last step. They are killed, so this is seldom reached.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// Time for a service to become ready, if the pipeline says nothing.
const DEFAULT_READY_TIMEOUT: Duration = Duration::from_secs(60);
/// The most bytes of a service's last line in the reason of its failure.
const LAST_LINE: usize = 200;

/// A service of the job.
#[derive(Debug)]
pub(super) struct Service {
    name: String,
    member: MemberId,
    /// `Some` until it is sent to the member.
    plan: Option<Box<JobSpec>>,
    /// How long it may take to become ready.
    patience: Duration,
    /// When its plan was sent.
    started: Option<Instant>,
    backoff: RequestBackoff,
    /// Its agent has reported that it is ready.
    pub(super) is_ready: bool,
    /// The log says so.
    ready_is_noted: bool,
    is_over: bool,
    /// It has failed the job, so its own end is a failure too.
    has_failed: bool,
    /// The last line that it has printed, for the reason of its failure.
    last_line: String,
}

impl Service {
    /// Remembers the last line that the service printed.
    pub(super) fn remember(&mut self, data: &[u8]) {
        let tail = &data[data.len().saturating_sub(4 * LAST_LINE)..];
        let text = String::from_utf8_lossy(tail);
        if let Some(line) = text.lines().rev().map(str::trim).find(|line| !line.is_empty()) {
            line[..line.floor_char_boundary(LAST_LINE)].clone_into(&mut self.last_line);
        }
    }

    /// Extends the time limit for its readiness.
    pub(super) fn postpone(&mut self, time: Duration) {
        self.started = self.started.map(|started| started + time);
    }

    /// Returns its last line of output, for the end of a message.
    fn last_words(&self) -> String {
        if self.last_line.is_empty() { String::new() } else { format!(": {}", self.last_line) }
    }

    /// Returns when the wait for its readiness ends.
    fn deadline(&self) -> Option<Instant> {
        self.started.filter(|_| !self.is_ready && !self.is_over).map(|started| started + self.patience)
    }
}

impl Job {
    /// Evaluates what the services are started with.
    pub(super) fn prepare_services(&mut self, spec: &JobSpec) -> Result<(), JobError> {
        let mut values = Values::new(spec.known.clone(), spec.workspace.clone().into());
        // A variable of the job that has no value before the checkout is left out for services.
        let known = spec.env.iter().filter_map(|(name, text)| Some((name.clone(), text.evaluate(&values).ok()?)));
        let known: BTreeMap<String, String> = known.collect();
        values.add_env(known);
        for (at, service) in (0..).zip(&spec.services) {
            let plan = service_plan(service, spec, &values).map_err(|reason| {
                JobError::new(AgentError::Expression, format!("the service `{}`: {reason}", service.name))
            })?;
            self.members.services.push(Service {
                name: service.name.clone(),
                member: MemberId::Service(at),
                plan: Some(Box::new(plan)),
                patience: service
                    .ready
                    .as_ref()
                    .map_or(DEFAULT_READY_TIMEOUT, |ready| Duration::from_millis(ready.timeout_ms)),
                started: None,
                backoff: RequestBackoff::new(),
                is_ready: false,
                ready_is_noted: false,
                is_over: false,
                has_failed: false,
                last_line: String::new(),
            });
        }
        Ok(())
    }

    /// Waits until every service is ready, one has failed, or the job is stopped.
    pub(super) fn wait_for_services(&mut self) -> Result<(), JobError> {
        self.advance_services()?;
        while !self.members.broken
            && self.stop.is_none()
            && self.members.services.iter().any(|service| !service.is_ready)
        {
            self.turn(None)?;
        }
        Ok(())
    }

    /// Returns when [`Self::advance_services`] has to be called again.
    pub(super) fn services_deadline(&self) -> Option<Instant> {
        if self.members.broken || self.members.ending {
            return None;
        }
        let services = &self.members.services;
        let asks = services.iter().filter(|service| service.plan.is_some()).map(|service| service.backoff.next);
        let deadlines = services.iter().filter_map(Service::deadline).filter(|_| self.members.are_heard());
        deadlines.chain(asks).min()
    }

    /// Starts the services that have joined, and handles those that are ready, have ended or are late.
    pub(super) fn advance_services(&mut self) -> Result<(), JobError> {
        for at in 0..self.members.services.len() {
            self.advance_service(at)?;
        }
        Ok(())
    }

    fn advance_service(&mut self, at: usize) -> Result<(), JobError> {
        let members = &mut self.members;
        let heard = members.are_heard();
        let Some(service) = members.services.get_mut(at).filter(|service| !service.is_over) else { return Ok(()) };
        let (member, step) = (service.member, service.member.step());
        if members.pod.has_joined(member)
            && !members.ending
            && let Some(plan) = service.plan.take()
        {
            service.started = Some(Instant::now());
            members.start(member, *plan);
        }
        let Some(service) = members.services.get_mut(at) else { return Ok(()) };
        let mut failed = None;
        if service.is_ready && !service.ready_is_noted {
            service.ready_is_noted = true;
            let after = service.started.map_or(Duration::ZERO, |started| started.elapsed());
            let text = format!("ready after {}", human_duration(millis(after)));
            self.note(step, text)?;
            self.send(&FromAgent::ServiceReady { time_ms: crate::clock::now_ms(), step: Some(step) })?;
        } else if let Some(reason) = members.pod.failure(member) {
            failed = Some(format!("the service `{}` could not start: {reason}", service.name));
        } else if service.plan.is_some() && !members.ending && service.backoff.is_due() {
            if !self.checkout_is_open() {
                self.request_container(member, String::new())?;
            }
        } else if heard && service.deadline().is_some_and(|deadline| Instant::now() >= deadline) && !members.ending {
            let limit = human_duration(millis(service.patience));
            failed =
                Some(format!("the service `{}` was not ready within {limit}{}", service.name, service.last_words()));
        }
        if let Some(message) = failed {
            if let Some(service) = self.members.services.get_mut(at) {
                service.has_failed = true;
            }
            self.break_job(message)?;
        }
        self.take_service_end(at)
    }

    /// Reports the end of a service. Before the job's end, it fails the job.
    fn take_service_end(&mut self, at: usize) -> Result<(), JobError> {
        let members = &mut self.members;
        let Some(service) = members.services.get_mut(at) else { return Ok(()) };
        let member = service.member;
        let end = members.ends.remove(&member);
        if end.is_none() && !members.pod.is_gone(member) {
            return Ok(());
        }
        service.is_over = true;
        let result = members.results.remove(&member);
        let (name, says) = (service.name.clone(), service.last_words());
        members.pod.dismiss(member);
        if members.ending {
            return self.report_ended_service(member);
        }
        let why = match (result.as_ref().and_then(|result| result.exit_code), end.map(|end| end.result)) {
            (_, Some(JobResult::Error { message, .. })) => format!("cannot run: {message}"),
            (Some(_), _) if result.as_ref().is_some_and(|result| result.out_of_memory) => {
                "ran out of memory".to_owned()
            }
            (Some(code), _) => format!("exited with code {code}{says}"),
            (None, _) => "ended: its container ran out of memory, or was stopped from outside".to_owned(),
        };
        let mut result = result.unwrap_or_else(skipped_result);
        result.status = StepStatus::Failure;
        self.send(&step_finished(member.step(), result))?;
        self.break_job(format!("the service `{name}` {why}"))
    }

    /// Fails the job because a service has failed: no further step runs, except those with `failure()` or `always()`.
    fn break_job(&mut self, message: String) -> Result<(), JobError> {
        if std::mem::replace(&mut self.members.broken, true) {
            return Ok(());
        }
        self.note(Record::NO_STEP, message.clone())?;
        if self.failure.is_none() {
            self.failure = Some(JobResult::Error { kind: AgentError::ServiceFailed, message });
        }
        Ok(())
    }

    /// Ends all services. Waits a moment for the last of their output.
    pub(super) fn end_services(&mut self) -> Result<(), JobError> {
        if std::mem::replace(&mut self.members.ending, true) {
            return Ok(());
        }
        let members: Vec<MemberId> = self.members.services.iter().map(|service| service.member).collect();
        for member in &members {
            self.members.pod.cancel(*member);
        }
        let until = Instant::now() + END_TIMEOUT;
        let runs = |service: &Service| service.started.is_some() && !service.is_over;
        while self.members.services.iter().any(runs) && Instant::now() < until {
            self.turn(Some(until))?;
        }
        for (at, member) in members.into_iter().enumerate() {
            if self.members.services.get(at).is_some_and(|service| !service.is_over) {
                self.members.pod.dismiss(member);
                self.take_service_end(at)?;
            }
        }
        Ok(())
    }

    fn report_ended_service(&self, member: MemberId) -> Result<(), JobError> {
        let service = self.members.services.iter().find(|service| service.member == member);
        let status = match service {
            Some(service) if service.has_failed => StepStatus::Failure,
            Some(service) if service.started.is_some() => StepStatus::Success,
            Some(_) | None => StepStatus::Skipped,
        };
        self.send(&step_finished(member.step(), longshore_agent_protocol::StepResult { status, ..skipped_result() }))
    }

    /// In a service's own container: finds out when it is ready.
    pub(super) fn watch_readiness(&self, prepared: &PreparedStep, scope: &StepScope<'_>) -> Result<(), JobError> {
        let (Some(MemberPurpose::Service { ready }), Some(membership)) =
            (&scope.spec.member, &self.runtime.options.membership)
        else {
            return Ok(());
        };
        let check = ReadinessCheck::choose(ready.as_ref().map(|ready| &ready.probe), &membership.image);
        let context = CommandContext {
            env: scope.launcher.environment(prepared, None),
            account: prepared.account.clone(),
            directory: scope.launcher.workspace.clone(),
        };
        let children = std::sync::Arc::clone(&self.runtime.children);
        readiness::watch(check, context, children, self.runtime.mailbox.clone())
            .map_err(|error| JobError::new(AgentError::Internal, format!("no thread for the probe: {error}")))
    }

    /// In a service's own container: reports that it is ready.
    pub(super) fn report_ready(&self) {
        // It cannot be too long.
        let _ = self.send(&FromAgent::ServiceReady { time_ms: crate::clock::now_ms(), step: None });
    }
}

/// Returns the plan of a service's container: one step that runs until it is ended.
fn service_plan(service: &ServiceSpec, job: &JobSpec, values: &Values) -> Result<JobSpec, String> {
    let literal = |text: String| Template::from(text.as_str());
    let mut env = BTreeMap::new();
    for (name, text) in &service.env {
        let value = text.evaluate(values).map_err(|error| format!("`env: {name}`: {error}"))?;
        env.insert(name.clone(), literal(value));
    }
    let words = |what: &str, texts: &[Template]| {
        let texts: Result<Vec<_>, _> = texts.iter().map(|text| text.evaluate_script(values).map(literal)).collect();
        texts.map_err(|error| format!("`{what}`: {error}"))
    };
    let program = ProgramSpec {
        entrypoint: words("entrypoint", &service.program.entrypoint)?,
        command: words("command", &service.program.command)?,
    };
    Ok(JobSpec {
        env,
        masks: job.masks.clone(),
        user: service.user.clone().unwrap_or_default(),
        timeout_ms: NO_LIMIT,
        // Its files are discarded, so it gets no grace period: `grace_ms` is 0.
        steps: vec![StepSpec { name: service.name.clone(), program: Some(program), ..StepSpec::default() }],
        authorities: job.authorities.clone(),
        member: Some(MemberPurpose::Service { ready: service.ready.clone() }),
        ..JobSpec::default()
    })
}
