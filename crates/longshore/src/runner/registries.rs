//! Picks the registries' credentials that a job may use.
//!
//! Called by the runner when a job starts or is adopted. Credentials leave the store here and nowhere else; they go to
//! the engine with the job's pulls, and neither into its environment nor to its agent.

use std::collections::{BTreeMap, BTreeSet};

use longshore_core::{ErrorKind, ImageRef, JobPlan, Outcome, RegistryHost, Template};
use longshore_executor::ImageAccess;
use longshore_store::{Store, StoreError, registries, repos::Repo};

use super::contexts::Missing;

/// Returns a job's access to registries. A stranger's job gets no credentials, even after it was approved: its author
/// chooses what it does with the images.
pub(crate) async fn access(
    store: &Store,
    repo: &Repo,
    stranger: bool,
    plan: &JobPlan,
    missing: Missing,
) -> Result<ImageAccess, Outcome> {
    let error = |message: String| Outcome::Error { kind: ErrorKind::SecretMissing, message };
    let guarded = registries::guarded(store)
        .await
        .map_err(|reason| error(format!("cannot read the registries' credentials: {reason}")))?;
    let credentials = match (stranger, registries::open(store, repo.id).await) {
        (true, _) => BTreeMap::new(),
        (false, Ok(opened)) => opened,
        // A job that does not need them runs without.
        (false, Err(reason)) if missing == Missing::PassOver || !needs_them(store, repo, plan).await => {
            tracing::error!(%reason, repo = repo.name, "a job runs without the registries' credentials");
            BTreeMap::new()
        }
        (false, Err(reason)) => return Err(error(format!("cannot read the registries' credentials: {reason}"))),
    };
    Ok(ImageAccess { credentials, guarded, ..ImageAccess::default() })
}

/// Returns whether an image of the plan comes from a registry that the job has credentials for.
async fn needs_them(store: &Store, repo: &Repo, plan: &JobPlan) -> bool {
    let hosts: Result<BTreeSet<RegistryHost>, StoreError> = registries::hosts(store, repo.id).await;
    let of_services = plan.services.iter().map(|service| &service.image);
    let of_steps = plan.steps.iter().filter_map(|step| step.image.as_ref());
    let images = std::iter::once(&plan.image).chain(of_services).chain(of_steps).filter_map(Template::as_known);
    let mut used = images.filter_map(|name| ImageRef::parse(name).ok()).map(|image| RegistryHost::of(&image));
    hosts.map_or(true, |hosts| used.any(|host| hosts.contains(&host)))
}
