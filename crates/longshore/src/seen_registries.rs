//! Notes which registries the images of a repository's jobs come from, and writes into the audit log when a repository
//! uses a new one.

use longshore_core::{ImageRef, JobPlan, RegistryHost, Timestamp};
use longshore_store::{
    Store, StoreError,
    audit::{self, Entry},
    jobs::Job,
    repo_registries,
};

/// Returns the registries of the images that a plan names, as far as they are known before the job runs.
pub(crate) fn of_plan(plan: &JobPlan) -> Vec<String> {
    let images = plan.images().filter_map(|image| ImageRef::parse(image.as_known()?).ok());
    images.map(|image| RegistryHost::of(&image).as_str().to_owned()).collect()
}

/// Notes the registries of a job. Registries that are new to its repository are recorded.
pub(crate) async fn note(store: &Store, job: &Job, registries: &[String]) -> Result<(), StoreError> {
    if repo_registries::has_used(store, job.repo, registries).await? {
        return Ok(());
    }
    let (mut tx, now) = (store.write().await?, Timestamp::now());
    for registry in repo_registries::note(&mut tx, job.repo, job.build, registries).await? {
        let record = Entry { object: registry, ..Entry::of_job(job.id, &job.name, "image.registry") };
        audit::record(&mut tx, record, now).await?;
    }
    tx.commit().await.map(drop)
}
