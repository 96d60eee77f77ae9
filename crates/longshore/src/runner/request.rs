//! Puts together what the executor needs for a job: the plan with its secrets, checkout, images, caches and limits.

use std::{collections::BTreeMap, sync::Arc};

use longshore_core::{ErrorKind, JobId, JobPlan, Outcome, capability, stranger};
use longshore_executor::{AttemptId, CheckoutSource, ImageAccess, JobRequest, Limits};
use longshore_pipeline::{BuildFacts, build_variables};
use longshore_store::{StoreError, builds::Build, jobs, people, repos::Repo};

use super::{
    Runner,
    contexts::{self, Missing, Refusal},
    handing_on, needed_files,
    privileges::Privileges,
    registries,
    reporting::internal,
};
use crate::{attempt_files, caches::CacheRequest, full_disk::retry_while_full, seen_registries};

/// The build and the repository of a job.
pub(super) struct Origin<'a> {
    pub(super) build: &'a Build,
    pub(super) repo: &'a Repo,
    /// Whether somebody approved the job.
    pub(super) approved: bool,
}

impl Origin<'_> {
    fn is_strangers(&self) -> bool {
        stranger::brings(&self.build.event)
    }

    /// Returns the variables that were unknown when the plan was frozen. Variables of the job take precedence.
    fn variables(&self, plan: &JobPlan, url: &str) -> BTreeMap<String, String> {
        if !plan.reuse.is_empty() {
            // They differ from build to build.
            return BTreeMap::new();
        }
        let known = (!url.is_empty()).then_some(url);
        let mut variables = build_variables(&BuildFacts {
            number: self.build.number,
            url: known.map(|url| format!("{url}/builds/{}", self.build.id)),
            created_at: Some(self.build.created_at),
            system_url: known.map(str::to_owned),
        });
        variables.retain(|name, _| !plan.env.contains_key(name));
        variables
    }
}

impl Runner {
    /// Returns the request for an attempt, and records what the job gets beyond others.
    pub(super) async fn request(
        &self,
        origin: &Origin<'_>,
        plan: JobPlan,
        job: JobId,
        attempt: u32,
        missing: Missing,
    ) -> Result<JobRequest, Refusal> {
        let privileges = Privileges::of(job, &plan, &self.job_defaults.secrets);
        let request = self.assemble(origin, plan, job, attempt, missing).await;
        // A job that runs already got them when it started.
        if missing == Missing::Refuse {
            let recorded =
                self.written(job, "its privileges to be recorded", || privileges.record(&self.store, &request)).await;
            recorded.map_err(|error| internal(&format!("the audit log cannot be written: {error}")))?;
            if let Ok(request) = &request {
                let noted = self
                    .written(job, "its registries to be recorded", || self.note_registries(job, &request.plan))
                    .await;
                noted.map_err(|error| internal(&format!("the audit log cannot be written: {error}")))?;
            }
        }
        request
    }

    /// Writes something that a job must not begin without.
    async fn written<F>(&self, job: JobId, what: &str, work: impl Fn() -> F) -> Result<(), StoreError>
    where
        F: Future<Output = Result<(), StoreError>>,
    {
        retry_while_full(job, what, self.job_defaults.disk_patience, work).await
    }

    /// Notes the registries of a job's images, before it begins.
    async fn note_registries(&self, job: JobId, plan: &JobPlan) -> Result<(), StoreError> {
        let Some(job) = jobs::get(&self.store, job).await? else { return Ok(()) };
        seen_registries::note(&self.store, &job, &seen_registries::of_plan(plan)).await
    }

    async fn assemble(
        &self,
        origin: &Origin<'_>,
        plan: JobPlan,
        job: JobId,
        attempt: u32,
        missing: Missing,
    ) -> Result<JobRequest, Refusal> {
        let event = &origin.build.event;
        if missing == Missing::Refuse {
            contexts::judge_scripts(&plan, event)?;
        }
        let job_defaults = &self.job_defaults;
        let mut secrets =
            contexts::secrets(&self.store, (origin.build, origin.repo), &plan, &job_defaults.secrets, missing).await?;
        let known = contexts::contexts(&self.store, origin.build, job, &plan, &secrets, &job_defaults.url)
            .await
            .map_err(|error| internal(&error.to_string()))?;
        let plan = contexts::with_image(plan, &known)?;
        for (name, value) in &job_defaults.secrets {
            // A secret that the plan names goes where the plan says. All others are variables of every step.
            if !plan.secrets.iter().any(|wanted| wanted.name == *name) {
                secrets.variables.insert(name.clone(), value.clone());
            }
        }
        let checkout = self.checkout(origin, &plan).await?;
        let images = self.image_access(origin, &plan, missing).await?;
        let docker = job_defaults.docker.access(&origin.repo.docker, event, &plan, &images, missing)?;
        let caches = CacheRequest { repo: origin.repo, event, plan: &plan, known: &known, job, attempt, missing };
        let caches = self.caches.for_job(&caches, &self.sources).await?;
        let workspace = self.workspaces.of_job(origin.build.id, &plan).await?;
        let limits = self.limits(origin, &plan, missing)?;
        let mut env = origin.variables(&plan, &job_defaults.url);
        env.extend(job_defaults.env.iter().cloned());
        Ok(JobRequest {
            build: origin.build.id,
            job,
            attempt,
            scope: self.scope(origin),
            operator: job_defaults.job_env.of_job(&plan),
            plan,
            env,
            secrets: secrets.variables,
            secret_files: secrets.files,
            known,
            masks: [job_defaults.job_env.masks(), secrets.masks].concat(),
            checkout,
            artifacts: Some(attempt_files::store_of(&self.store, AttemptId { job, attempt }, &limits.artifacts)),
            limits,
            pull: job_defaults.pull,
            images,
            docker,
            caches,
            workspace,
        })
    }

    /// Returns the source of the job's checkout, with the files of the jobs that it needs.
    async fn checkout(&self, origin: &Origin<'_>, plan: &JobPlan) -> Result<Option<Arc<dyn CheckoutSource>>, Refusal> {
        let checkout: Option<Arc<dyn CheckoutSource>> = match &plan.checkout {
            Some(how) => Some(
                self.sources
                    .for_event(origin.repo, &origin.build.event, how, &plan.reuse)
                    .await
                    .map_err(|message| Outcome::Error { kind: ErrorKind::CheckoutFailed, message })?,
            ),
            None => None,
        };
        handing_on::judge(&self.store, origin.build, plan).await?;
        Ok(needed_files::with_needed(&self.store, origin.build, plan, checkout).await?)
    }

    /// Returns the job's limits, and checks that it may have the capabilities that it asks for.
    fn limits(&self, origin: &Origin<'_>, plan: &JobPlan, missing: Missing) -> Result<Limits, Outcome> {
        let stranger = origin.is_strangers();
        let granted = if stranger { &self.job_defaults.limits_of_strangers } else { &self.job_defaults.limits };
        if missing == Missing::Refuse
            && let Some(why) = capability::refused(&plan.capabilities, &granted.capabilities, stranger)
        {
            let message = format!("the job does not get its capabilities: {why}");
            return Err(Outcome::Error { kind: ErrorKind::CapabilityNotGranted, message });
        }
        Ok(Limits { capabilities: plan.capabilities.clone(), ..granted.within(&plan.resources) })
    }

    /// Returns the scope in which jobs share sandboxes. They are never shared between a stranger's jobs and others, nor
    /// between two strangers.
    fn scope(&self, origin: &Origin<'_>) -> String {
        match &self.job_defaults.scope {
            Some(scope) => scope.clone(),
            None if origin.is_strangers() => format!("{} fork {}", origin.repo.id, origin.build.id),
            None => origin.repo.id.to_string(),
        }
    }

    /// Returns which images a job may use, and with which credentials.
    pub(super) async fn image_access(
        &self,
        origin: &Origin<'_>,
        plan: &JobPlan,
        missing: Missing,
    ) -> Result<ImageAccess, Outcome> {
        let access = registries::access(&self.store, origin.repo, origin.is_strangers(), plan, missing).await?;
        let mut credentials = access.credentials;
        credentials
            .extend(self.job_defaults.registries.iter().flatten().map(|(host, given)| (host.clone(), given.clone())));
        let own_engine = self.job_defaults.registries.is_some();
        Ok(ImageAccess { rule: self.job_defaults.images.clone(), credentials, own_engine, ..access })
    }

    /// Checks that a stranger's job is approved, before any of it runs and before it gets a secret. The scheduler makes
    /// such jobs wait, so this is the second check. It uses the repository's current setting, which may be stricter
    /// than when the job was queued.
    pub(super) async fn check_approval(&self, origin: &Origin<'_>, plan: &JobPlan) -> Result<(), Outcome> {
        let event = &origin.build.event;
        if origin.approved || !stranger::brings(event) {
            return Ok(());
        }
        let known = people::is_known(&self.store, origin.repo.id, event).await;
        let known = known.map_err(|error| internal(&error.to_string()))?;
        match stranger::question(origin.repo.strangers, known, event, plan) {
            None => Ok(()),
            Some(question) => {
                let message = format!("not approved: {question}; rerun the build and approve it");
                Err(Outcome::Error { kind: ErrorKind::NotApproved, message })
            }
        }
    }
}
