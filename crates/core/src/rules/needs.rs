//! The effect of a job's needs: whether it may run, and the values of `needs.<job>`. The rules ask when a need is
//! finished, the runner when the job starts.

use std::collections::BTreeMap;

use crate::{
    BuildId, JobPlan, Status,
    expression::{Context, Progress, Value, runs},
};

/// The state of a job that another one needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeedEnd {
    /// [`JobPlan::key`].
    pub key: String,
    pub status: Status,
    pub outputs: BTreeMap<String, String>,
    /// Its failure does not count as one for the jobs that need it.
    pub continue_on_error: bool,
}

impl NeedEnd {
    fn counts_as(&self) -> Status {
        match self.status {
            Status::Failure | Status::Error | Status::TimedOut if self.continue_on_error => Status::Success,
            status => status,
        }
    }
}

/// Whether a job's needs let it run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Eligibility {
    /// Some are not finished.
    Waits,
    Runs,
    /// The job is skipped, for this reason.
    Skipped(String),
    /// Its `if` cannot be evaluated, for this reason.
    Broken(String),
}

/// Decides whether a job may run, by its needs and its `if`. `needs` are the jobs that it depends on, as
/// [`BuildGraph::needs_of`](super::graph::BuildGraph::needs_of) returns them: a failure is seen through jobs that it
/// has skipped. `known` are contexts beyond the plan's and `needs`: `build`.
#[must_use]
pub fn eligibility(plan: &JobPlan, needs: &[NeedEnd], known: &BTreeMap<String, Value>) -> Eligibility {
    let optional = |end: &NeedEnd| plan.needs.iter().any(|need| need.key == end.key && need.optional);
    let required = || needs.iter().filter(|end| !optional(end));
    let own = |end: &&NeedEnd| plan.needs.iter().any(|need| need.key == end.key);
    let asks = plan.condition.as_ref().is_some_and(|condition| condition.refers().progress);
    let spoiled = required().filter(own).find(|end| end.status.is_final() && end.counts_as() != Status::Success);
    if let Some(end) = spoiled
        && !asks
    {
        // No other need can change this, so the job does not wait for them.
        return Eligibility::Skipped(format!(
            "needs `{}`, which {}",
            short_name(&plan.pipeline, &end.key),
            fate(end.status)
        ));
    }
    if needs.iter().any(|end| !end.status.is_final()) {
        return Eligibility::Waits;
    }
    let any = |wanted: &[Status]| required().any(|end| wanted.contains(&end.counts_as()));
    let values = Values {
        plan,
        needs: needs_context(plan, needs),
        known,
        progress: Progress {
            failed: any(&[Status::Failure, Status::Error, Status::TimedOut]),
            canceled: any(&[Status::Canceled]),
            skipped: any(&[Status::Skipped]),
        },
    };
    match runs(plan.condition.as_ref(), &values) {
        Ok(true) => Eligibility::Runs,
        Ok(false) => {
            let source = plan.condition.as_ref().map_or("success()", |condition| condition.source().trim());
            let because = spoiled
                .map(|end| format!(": `{}` {}", short_name(&plan.pipeline, &end.key), fate(end.status)))
                .unwrap_or_default();
            Eligibility::Skipped(format!("`if: {source}` was false{because}"))
        }
        Err(error) => Eligibility::Broken(format!("the job's `if`: {error}")),
    }
}

/// Returns the name of a job within its pipeline: its key without the pipeline.
#[must_use]
pub fn short_name<'a>(pipeline: &str, key: &'a str) -> &'a str {
    key.strip_prefix(pipeline).and_then(|rest| rest.strip_prefix('/')).unwrap_or(key)
}

const fn fate(status: Status) -> &'static str {
    match status {
        Status::Success => "succeeded",
        Status::Failure => "failed",
        Status::Error => "ended with an error",
        Status::TimedOut => "timed out",
        Status::Canceled => "was canceled",
        Status::Skipped => "was skipped",
        Status::Blocked | Status::Queued | Status::Running | Status::Canceling => "has not finished",
    }
}

/// Returns the context `needs`: `result` and `outputs` of each job. The jobs of a matrix count as one, with the worst
/// result and, for each output, the value of the last job that has it.
#[must_use]
pub fn needs_context(plan: &JobPlan, needs: &[NeedEnd]) -> Value {
    let mut jobs: BTreeMap<&str, (Status, BTreeMap<String, String>)> = BTreeMap::new();
    for end in needs {
        let Some(need) = plan.needs.iter().find(|need| need.key == end.key) else { continue };
        let (status, outputs) = jobs.entry(&need.job).or_insert((Status::Success, BTreeMap::new()));
        if *status == Status::Success {
            *status = end.counts_as();
        }
        outputs.extend(end.outputs.clone());
    }
    Value::map(jobs.into_iter().map(|(job, (status, outputs))| {
        (job, Value::map([("result", Value::from(status.as_str())), ("outputs", Value::map(outputs))]))
    }))
}

/// Returns the context `build`. `server_url` has no trailing slash. It is empty if there is no server, and then `url`
/// is null.
#[must_use]
pub fn build_context(id: BuildId, number: u64, server_url: &str) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "no repository has 2^53 builds")]
    let number = Value::Number(number as f64);
    let url = match server_url {
        "" => Value::Null,
        known => format!("{known}/builds/{id}").into(),
    };
    Value::map([("number", number), ("id", id.to_string().into()), ("url", url)])
}

struct Values<'a> {
    plan: &'a JobPlan,
    needs: Value,
    known: &'a BTreeMap<String, Value>,
    progress: Progress,
}

impl Context for Values<'_> {
    fn context(&self, name: &str) -> Option<&Value> {
        match name {
            "needs" => Some(&self.needs),
            _ => self.known.get(name).or_else(|| self.plan.known.get(name)),
        }
    }

    fn progress(&self) -> Option<Progress> {
        Some(self.progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{expression::Expression, plan::Need};

    fn job(condition: Option<&str>, needs: &[(&str, bool)]) -> JobPlan {
        JobPlan {
            key: "ci/it".to_owned(),
            pipeline: "ci".to_owned(),
            condition: condition.map(|source| Expression::parse(source).unwrap()),
            needs: needs
                .iter()
                .map(|(job, optional)| Need {
                    key: format!("ci/{job}"),
                    job: (*job).to_owned(),
                    optional: *optional,
                    ..Need::default()
                })
                .collect(),
            ..JobPlan::default()
        }
    }

    fn end(job: &str, status: Status) -> NeedEnd {
        let outputs = BTreeMap::from([("version".to_owned(), "2".to_owned())]);
        NeedEnd { key: format!("ci/{job}"), status, outputs, continue_on_error: false }
    }

    fn of(condition: Option<&str>, needs: &[(&str, Status)]) -> Eligibility {
        let plan = job(condition, &needs.iter().map(|(job, _)| (*job, false)).collect::<Vec<_>>());
        let ends: Vec<_> = needs.iter().map(|(job, status)| end(job, *status)).collect();
        eligibility(&plan, &ends, &BTreeMap::new())
    }

    /// Returns a chain of jobs, the nearest first: only the first is needed by the job itself.
    fn behind(condition: &str, chain: &[(&str, Status)]) -> Eligibility {
        let plan = job(Some(condition), &[(chain[0].0, false)]);
        let ends: Vec<_> = chain.iter().map(|(job, status)| end(job, *status)).collect();
        eligibility(&plan, &ends, &BTreeMap::new())
    }

    #[test]
    fn a_failure_is_seen_through_the_jobs_that_it_has_skipped() {
        let chain = |last| [("deploy", Status::Skipped), ("package", Status::Skipped), ("test", last)];
        for failed in [Status::Failure, Status::Error, Status::TimedOut] {
            assert_eq!(behind("failure()", &chain(failed)), Eligibility::Runs);
        }
        assert_eq!(behind("cancelled()", &chain(Status::Canceled)), Eligibility::Runs);
        assert_eq!(behind("always()", &chain(Status::Failure)), Eligibility::Runs);
        assert_eq!(behind("failure()", &chain(Status::Running)), Eligibility::Waits);
        assert_eq!(behind("always()", &chain(Status::Running)), Eligibility::Waits);
        let reason = skipped(behind("failure()", &chain(Status::Success)));
        assert_eq!(reason, "`if: failure()` was false: `deploy` was skipped");
        let passed_over = NeedEnd { continue_on_error: true, ..end("test", Status::Failure) };
        let plan = job(Some("failure()"), &[("deploy", false)]);
        let ends = [end("deploy", Status::Skipped), passed_over];
        assert!(matches!(eligibility(&plan, &ends, &BTreeMap::new()), Eligibility::Skipped(_)));
        // A job without such an `if` gets the reason of the job that it needs, and waits for no other.
        assert_eq!(behind("true", &[("test", Status::Running), ("x", Status::Failure)]), Eligibility::Waits);
        let reason = skipped(behind("true", &chain(Status::Running)));
        assert_eq!(reason, "needs `deploy`, which was skipped");
    }

    fn skipped(eligibility: Eligibility) -> String {
        match eligibility {
            Eligibility::Skipped(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_job_waits_for_all_its_needs_and_runs_when_they_have_succeeded() {
        assert_eq!(of(None, &[]), Eligibility::Runs);
        assert_eq!(of(None, &[("a", Status::Success), ("b", Status::Running)]), Eligibility::Waits);
        assert_eq!(of(None, &[("a", Status::Success), ("b", Status::Success)]), Eligibility::Runs);
    }

    #[test]
    fn a_need_that_did_not_succeed_skips_the_job_and_is_named() {
        let reason = skipped(of(None, &[("a", Status::Failure), ("b", Status::Running)]));
        assert_eq!(reason, "needs `a`, which failed");
        let reason = skipped(of(Some("needs.a.outputs.version == '2'"), &[("a", Status::Skipped)]));
        assert_eq!(reason, "needs `a`, which was skipped");
    }

    #[test]
    fn a_condition_that_asks_how_it_went_is_asked_when_all_is_over() {
        let both = |second| [("a", Status::Failure), ("b", second)];
        assert_eq!(of(Some("always()"), &both(Status::Running)), Eligibility::Waits);
        assert_eq!(of(Some("always()"), &both(Status::Success)), Eligibility::Runs);
        assert_eq!(of(Some("failure()"), &both(Status::Success)), Eligibility::Runs);
        assert_eq!(of(Some("!cancelled()"), &both(Status::Success)), Eligibility::Runs);
        let reason = skipped(of(Some("success() && true"), &both(Status::Success)));
        assert_eq!(reason, "`if: success() && true` was false: `a` failed");
        let reason = skipped(of(Some("failure()"), &[("a", Status::Success)]));
        assert_eq!(reason, "`if: failure()` was false");
        assert_eq!(of(Some("needs.a.result == 'failure' && always()"), &both(Status::Success)), Eligibility::Runs);
    }

    #[test]
    fn outputs_decide_and_optional_needs_do_not() {
        assert_eq!(of(Some("needs.a.outputs.version == '2'"), &[("a", Status::Success)]), Eligibility::Runs);
        let plan = job(None, &[("a", true), ("b", false)]);
        let ends = |a, b| [end("a", a), end("b", b)];
        let none = BTreeMap::new();
        assert_eq!(eligibility(&plan, &ends(Status::Failure, Status::Success), &none), Eligibility::Runs);
        assert_eq!(eligibility(&plan, &ends(Status::Running, Status::Success), &none), Eligibility::Waits);
        assert!(matches!(eligibility(&plan, &ends(Status::Success, Status::Failure), &none), Eligibility::Skipped(_)));
    }

    #[test]
    fn a_failure_that_is_to_be_passed_over_counts_as_a_success() {
        let plan = job(None, &[("a", false)]);
        let ends = [NeedEnd { continue_on_error: true, ..end("a", Status::Failure) }];
        assert_eq!(eligibility(&plan, &ends, &BTreeMap::new()), Eligibility::Runs);
    }

    #[test]
    fn a_condition_without_a_value_is_broken_and_says_why() {
        let broken = of(Some("from-json(needs.a.outputs.none)"), &[("a", Status::Success)]);
        assert!(matches!(broken, Eligibility::Broken(reason) if reason.contains("from-json")));
    }
}
