//! Outputs of a step and of the job, without those that would reveal a secret.

use std::collections::BTreeMap;

use longshore_agent_protocol::mask::masked;
use longshore_agent_protocol::message::{AgentError, JobSpec, StepResult};
use longshore_core::Record;

use super::{Job, JobError, evaluate_all};
use crate::values::Values;

/// The most bytes of a job's outputs. They have to fit into one frame, whatever they contain.
const MAX_JOB_OUTPUTS: u64 = 128 << 10;

impl Job {
    /// Drops outputs that would reveal a secret, and masks the summary.
    pub(super) fn mask_result(&self, number: u16, result: &mut StepResult) -> Result<(), JobError> {
        let outputs = std::mem::take(&mut result.outputs);
        result.outputs = self.without_secrets(number, outputs)?;
        if let Some(patterns) = &self.patterns
            && let Some(shown) = masked(patterns, result.summary.as_bytes())
        {
            result.summary = String::from_utf8_lossy(&shown).into_owned();
        }
        Ok(())
    }

    pub(super) fn without_secrets(
        &self,
        number: u16,
        mut outputs: BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, JobError> {
        let Some(patterns) = &self.patterns else { return Ok(outputs) };
        let hidden: Vec<String> = outputs
            .iter()
            .filter(|(_, value)| masked(patterns, value.as_bytes()).is_some())
            .map(|(name, _)| name.clone())
            .collect();
        for name in hidden {
            outputs.remove(&name);
            self.note(number, format!("the output `{name}` was dropped: it would reveal a secret"))?;
        }
        Ok(outputs)
    }

    pub(super) fn job_outputs(&self, spec: &JobSpec, values: &Values) -> Result<BTreeMap<String, String>, JobError> {
        let outputs = self.without_secrets(Record::NO_STEP, evaluate_all("outputs", &spec.outputs, values)?)?;
        let length: usize = outputs.iter().map(|(name, value)| name.len() + value.len()).sum();
        if length as u64 > MAX_JOB_OUTPUTS {
            let limit = MAX_JOB_OUTPUTS >> 10;
            return Err(JobError::new(
                AgentError::Expression,
                format!("the job's outputs have {length} bytes together, more than the limit of {limit} KiB"),
            ));
        }
        Ok(outputs)
    }
}
