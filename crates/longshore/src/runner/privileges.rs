//! Writes into the audit log what a job gets beyond what every job has: secrets, registries' credentials, Docker,
//! capabilities. And what it was refused.

use longshore_core::{ErrorKind, JobId, JobPlan, Outcome, Timestamp, docker::Docker};
use longshore_executor::JobRequest;
use longshore_store::{
    Store, StoreError,
    audit::{self, Decision, Entry},
};

use super::contexts::Refusal;
use crate::seen_registries;

/// The privileges that a job's plan asks for.
#[derive(Debug)]
pub(crate) struct Privileges {
    job: JobId,
    name: String,
    /// The names of the secrets of its repository.
    secrets: Vec<String>,
    docker: Docker,
    capabilities: Vec<String>,
}

impl Privileges {
    /// `given` are secrets that came with the command line.
    pub(crate) fn of(job: JobId, plan: &JobPlan, given: &[(String, String)]) -> Self {
        let is_given = |name: &str| given.iter().any(|(known, _)| known == name);
        let secrets = plan.secrets.iter().map(|wanted| wanted.name.clone()).filter(|name| !is_given(name));
        Self {
            job,
            name: plan.name.clone(),
            secrets: secrets.collect(),
            docker: plan.docker,
            capabilities: plan.capabilities.clone(),
        }
    }

    /// Writes the records of a job that starts with all that it asks for, or does not start.
    pub(crate) async fn record(&self, store: &Store, request: &Result<JobRequest, Refusal>) -> Result<(), StoreError> {
        let records = match request {
            Ok(request) => self.granted(&used_credentials(request)),
            Err(refusal) => self.refused(refusal).into_iter().collect(),
        };
        if records.is_empty() {
            return Ok(());
        }
        let (mut tx, now) = (store.write().await?, Timestamp::now());
        for record in records {
            audit::record(&mut tx, record, now).await?;
        }
        tx.commit().await.map(drop)
    }

    /// `registries` are those whose credentials its pulls use.
    fn granted(&self, registries: &[String]) -> Vec<Entry> {
        let mut records = Vec::new();
        if !registries.is_empty() {
            let used = Entry::of_job(self.job, &self.name, "registry.use");
            records.push(Entry { fields: registries.to_vec(), ..used });
        }
        if !self.secrets.is_empty() {
            records.push(self.secrets());
        }
        if !self.docker.is_none() {
            records.push(self.docker());
        }
        if !self.capabilities.is_empty() {
            records.push(self.capabilities());
        }
        records
    }

    fn refused(&self, refusal: &Refusal) -> Option<Entry> {
        let Outcome::Error { kind, message } = &refusal.outcome else { return None };
        let denied = |entry| Some(Entry { decision: Decision::Denied, reason: message.clone(), ..entry });
        if !refusal.withheld.is_empty() {
            denied(self.secrets())
        } else if *kind == ErrorKind::DockerNotGranted {
            denied(self.docker())
        } else if *kind == ErrorKind::CapabilityNotGranted {
            denied(self.capabilities())
        } else {
            None
        }
    }

    fn secrets(&self) -> Entry {
        Entry { fields: self.secrets.clone(), ..Entry::of_job(self.job, &self.name, "secret.use") }
    }

    fn docker(&self) -> Entry {
        let object = match self.docker {
            Docker::Raw => "the host's socket",
            Docker::Guarded | Docker::None => "a guard's socket",
        };
        Entry { object: object.to_owned(), ..Entry::of_job(self.job, &self.name, "docker.use") }
    }

    fn capabilities(&self) -> Entry {
        Entry { fields: self.capabilities.clone(), ..Entry::of_job(self.job, &self.name, "capability.use") }
    }
}

/// Returns the registries that a job's images are pulled from with credentials.
fn used_credentials(request: &JobRequest) -> Vec<String> {
    let has = |host: &String| request.images.credentials.keys().any(|known| known.as_str() == host);
    let mut used: Vec<String> = seen_registries::of_plan(&request.plan).into_iter().filter(has).collect();
    used.sort_unstable();
    used.dedup();
    used
}
