//! Holds back a stranger's job that gets something if files or outputs reach it that nobody has approved, whichever way
//! they come.
//! The scheduler has such jobs asked about when it makes the build; this holds it again before they start.

use longshore_core::{ErrorKind, JobPlan, Outcome, stranger};
use longshore_store::{Store, builds::Build, handing_on};

/// Refuses a job to which something may not be handed.
pub(crate) async fn judge(store: &Store, build: &Build, plan: &JobPlan) -> Result<(), Outcome> {
    if !stranger::gets_something(&build.event, plan) || plan.takes_from().next().is_none() {
        return Ok(());
    }
    match handing_on::unapproved(store, build.id, &plan.key).await {
        Ok(None) => Ok(()),
        Ok(Some(from)) => {
            let message = format!(
                "not approved: the job would start with files or outputs of `{from}`, which nobody has approved; rerun the whole build and approve it"
            );
            Err(Outcome::Error { kind: ErrorKind::NotApproved, message })
        }
        Err(error) => Err(Outcome::Error { kind: ErrorKind::Internal, message: error.to_string() }),
    }
}
