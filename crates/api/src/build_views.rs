//! Loads builds from the store as views, with their jobs, steps and acts.

use std::collections::HashMap;

use longshore_core::{BuildId, RepoId};
use longshore_store::{
    Store, acts,
    builds::Build,
    jobs::{self, Job},
    repos,
};

use crate::{
    error::ApiError,
    views::{BuildView, RepoRef},
};

/// Loads one build with its jobs.
pub(crate) async fn view_build(store: &Store, build: Build, repo: RepoRef) -> Result<BuildView, ApiError> {
    let jobs = jobs::of_build(store, build.id).await?;
    let acts = acts::of_builds(store, &[build.id]).await?;
    Ok(BuildView::new(build, repo, jobs, &acts))
}

/// Loads builds with their jobs, in few queries for the whole page. Leaves out a build whose repository is being
/// removed.
pub(crate) async fn view_builds(store: &Store, builds: Vec<Build>) -> Result<Vec<BuildView>, ApiError> {
    let ids: Vec<BuildId> = builds.iter().map(|build| build.id).collect();
    let repos = repo_refs(store, &builds).await?;
    let acts = acts::of_builds(store, &ids).await?;
    let mut jobs_by_build = HashMap::<BuildId, Vec<Job>>::new();
    for job in jobs::of_builds(store, &ids).await? {
        jobs_by_build.entry(job.build).or_default().push(job);
    }
    let view = |build: Build| {
        let jobs = jobs_by_build.remove(&build.id).unwrap_or_default();
        Some(BuildView::new(build.clone(), repos.get(&build.repo)?.clone(), jobs, &acts))
    };
    Ok(builds.into_iter().filter_map(view).collect())
}

/// Returns the repositories of these builds. Leaves out a repository that is being removed.
pub(crate) async fn repo_refs(store: &Store, builds: &[Build]) -> Result<HashMap<RepoId, RepoRef>, ApiError> {
    let mut refs = HashMap::new();
    for Build { repo: id, .. } in builds {
        let id = *id;
        if !refs.contains_key(&id)
            && let Some(repo) = repos::get(store, id).await?
        {
            refs.insert(id, RepoRef::from(&repo));
        }
    }
    Ok(refs)
}
