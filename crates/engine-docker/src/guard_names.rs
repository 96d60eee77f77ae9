//! Names of what jobs make through their guards.

use longshore_executor::AttemptId;
use longshore_executor::names::Instance;
use longshore_guard::job_guard;

/// The start of the names that a guard gives.
pub(crate) const PREFIX: &str = "longshore-guard";

/// Names a job among all jobs of all instances on the engine, in what is made through its guard.
pub(crate) fn scope(instance: &Instance, attempt: AttemptId) -> String {
    job_guard::scope(instance.as_str(), &attempt.job.to_string(), &attempt.attempt.to_string())
}

/// Returns whether a name is one that the guard of this job gives.
pub(crate) fn is_inner_name(name: &str, instance: &str, attempt: AttemptId) -> bool {
    Instance::new(instance).is_ok_and(|instance| {
        name.strip_prefix(PREFIX).is_some_and(|rest| rest.starts_with(&format!("-{}-", scope(&instance, attempt))))
    })
}

#[cfg(test)]
mod tests {
    use longshore_core::JobId;
    use longshore_guard::Policy;

    use super::*;

    #[test]
    fn a_scope_is_one_jobs_of_one_instance() {
        let attempt =
            |attempt| AttemptId { job: "0197a0b0-0000-7000-8000-000000000000".parse::<JobId>().unwrap(), attempt };
        let (one, other) = (Instance::new("one").unwrap(), Instance::new("other").unwrap());
        let scopes = [scope(&one, attempt(1)), scope(&one, attempt(2)), scope(&other, attempt(1))];
        assert!(scopes[0] != scopes[1] && scopes[0] != scopes[2], "{scopes:?}");
        let name = format!("longshore-guard-{}-db", scopes[0]);
        assert!(is_inner_name(&name, "one", attempt(1)));
        assert!(!is_inner_name(&name, "one", attempt(2)) && !is_inner_name(&name, "other", attempt(1)));
        let (name, again) = (attempt(1).new_network_name(), attempt(1).new_network_name());
        assert!(name.as_str() < PREFIX, "the job's own network sorts first");
        assert_ne!(name, again, "each try has its own");
        assert!(attempt(1).is_network_name(name.as_str()) && !attempt(11).is_network_name(name.as_str()));
        assert!(!attempt(1).is_network_name(attempt(11).new_network_name().as_str()));
        let policy = format!(r#"{{"job":{{"scope":"{}"}}}}"#, scopes[0]);
        assert!(Policy::parse(&policy).is_ok(), "a guard takes it");
    }
}
