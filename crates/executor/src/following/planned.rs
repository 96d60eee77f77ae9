//! What a job's plan lets its agent report: its steps and services, and how often each begins, is ready and ends.
//!
//! A spool is the job's own statement, because root of the job can write into it. Without these limits it could hold
//! millions of beginnings, each of which becomes a record, an update and a change of the database.

use std::collections::BTreeMap;

use longshore_agent_protocol::FromAgent;
use longshore_core::Record;
use longshore_core::plan::JobPlan;
use longshore_core::record::RecordKind;

/// How often the container of one try may be asked for. Each time the conductor waits twice as long, from ten seconds
/// on.
const MAX_REQUESTS: u32 = 32;

/// A report that the plan has no place for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it reports more than the job's plan has")]
pub(crate) struct Unplanned;

/// What the plan has, and what of it has been reported.
#[derive(Debug, Default)]
pub(crate) struct Planned {
    /// Tries of each step.
    steps: Vec<u32>,
    services: usize,
    told: BTreeMap<u16, Told>,
    finished: bool,
}

/// What has been reported of a step or service.
#[derive(Debug, Default)]
struct Told {
    started: bool,
    ready: bool,
    finished: bool,
    requests: u32,
}

impl Planned {
    pub(crate) fn new(plan: &JobPlan) -> Self {
        let tries = |retry: u32| retry.saturating_add(1);
        Self {
            steps: plan.steps.iter().map(|step| tries(step.retry.as_ref().map_or(0, |retry| retry.max))).collect(),
            services: plan.services.len(),
            ..Self::default()
        }
    }

    /// Counts a message of the agent.
    pub(crate) fn admit(&mut self, message: &FromAgent) -> Result<(), Unplanned> {
        let (kind, step) = match message {
            FromAgent::Output { step, .. } | FromAgent::Note { step, .. } => return self.know(*step),
            FromAgent::StepStarted { step, .. } => (RecordKind::StepStarted, *step),
            FromAgent::StepFinished { step, .. } => (RecordKind::StepFinished, *step),
            FromAgent::RunContainer { step, .. } => (RecordKind::RunContainer, *step),
            FromAgent::ServiceReady { step, .. } => (RecordKind::ServiceReady, step.unwrap_or(Record::NO_STEP)),
            FromAgent::JobFinished { .. } => (RecordKind::JobFinished, Record::NO_STEP),
            FromAgent::Ready { .. }
            | FromAgent::Lost
            | FromAgent::ArtifactFile(_)
            | FromAgent::ArtifactData(_)
            | FromAgent::ArtifactFileEnd { .. }
            | FromAgent::ArtifactsEnd { .. } => return Ok(()),
        };
        self.count(kind, step)
    }

    /// Counts a record, as an earlier process has written it or as it is about to be.
    pub(crate) fn count(&mut self, kind: RecordKind, step: u16) -> Result<(), Unplanned> {
        self.know(step)?;
        let tries = self.steps.get(usize::from(step)).copied().unwrap_or(1);
        let told = self.told.entry(step).or_default();
        let again = match kind {
            RecordKind::Output(_) | RecordKind::AttemptEnded => false,
            RecordKind::JobFinished => std::mem::replace(&mut self.finished, true),
            RecordKind::StepStarted => std::mem::replace(&mut told.started, true),
            RecordKind::StepFinished => std::mem::replace(&mut told.finished, true),
            RecordKind::ServiceReady => std::mem::replace(&mut told.ready, true),
            RecordKind::RunContainer => {
                told.requests += 1;
                told.requests > tries.saturating_mul(MAX_REQUESTS)
            }
        };
        if again { Err(Unplanned) } else { Ok(()) }
    }

    /// Refuses the number of a step or service that does not exist.
    fn know(&self, step: u16) -> Result<(), Unplanned> {
        let is_known = match step.checked_sub(Record::FIRST_SERVICE) {
            _ if step == Record::NO_STEP => true,
            Some(service) => usize::from(service) < self.services,
            None => usize::from(step) < self.steps.len(),
        };
        if is_known { Ok(()) } else { Err(Unplanned) }
    }
}
