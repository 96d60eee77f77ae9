//! The environment that every job of this server gets besides its pipeline: the operator's variables, proxies and
//! certificate authorities.

use std::collections::BTreeMap;

use longshore_core::JobPlan;
use longshore_executor::OperatorEnv;

use crate::proxies::{in_both_cases, leave_out_the_job, masks};

/// The same for all jobs, but for `NO_PROXY`, which names the services of each.
#[derive(Debug, Clone, Default)]
pub(crate) struct JobEnv(OperatorEnv);

impl JobEnv {
    /// Puts the operator's variables over the proxies.
    pub(crate) fn new(
        proxies: BTreeMap<String, String>,
        variables: BTreeMap<String, String>,
        authorities: String,
    ) -> Self {
        let mut all = proxies;
        all.extend(in_both_cases(variables));
        Self(OperatorEnv { variables: all, authorities })
    }

    /// Returns what a job's containers are given.
    pub(crate) fn of_job(&self, plan: &JobPlan) -> OperatorEnv {
        let mut operator = self.0.clone();
        leave_out_the_job(&mut operator.variables, plan.services.iter().map(|service| service.name.as_str()));
        operator
    }

    /// Returns what no log of a job may show.
    pub(crate) fn masks(&self) -> Vec<String> {
        masks(&self.0.variables)
    }
}
