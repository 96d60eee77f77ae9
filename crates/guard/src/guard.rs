//! The guard of one client: the client's policy, the table of its objects, and facts about the engine.

mod learn;
mod settle;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::decision::{Decision, Effect, EngineCall, Shape};
use crate::dockerfile::{DockerfileError, growth};
use crate::facts::{EngineFacts, Host};
use crate::image_ref::{ImageName, ImageRef};
use crate::job::{check_names_left, pull_call, registry_of};
use crate::policy::{JobPolicy, Policy};
use crate::refusal::{Judged, Refusal, refuse};
use crate::route::Request;
use crate::table::{Table, full_id};
use crate::{answer, dockerfile, job, server};

#[derive(Debug)]
pub struct Guard {
    pub(crate) policy: Policy,
    pub(crate) engine: EngineFacts,
    pub(crate) host: Host,
    pub table: Table,
    /// Why the job ends, once what its containers write is over the budget.
    pub(crate) over_disk: Option<String>,
}

impl Guard {
    #[must_use]
    pub fn new(policy: Policy, engine: EngineFacts, mut table: Table) -> Self {
        if let Policy::Job(job) = &policy {
            table.is_watched = true;
            // Not its own, and seen in its own containers.
            job.network.iter().chain(&job.sandbox).for_each(|id| table.know(id));
        }
        Self { policy, engine, host: Host::default(), table, over_disk: None }
    }

    /// Adds what the guard of a server knows of its host.
    #[must_use]
    pub fn on_host(self, host: Host) -> Self {
        Self { host, ..self }
    }

    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    #[must_use]
    pub fn engine(&self) -> &EngineFacts {
        &self.engine
    }

    /// Returns the call that pulls a base image of a build.
    ///
    /// # Errors
    /// If the policy allows no pulls from its registry.
    pub fn pull(&self, reference: &str, build: &crate::Build) -> Result<EngineCall, Refusal> {
        let Policy::Job(policy) = &self.policy else {
            return Err(Refusal::new(crate::Rule::Image, "the server may not pull images for builds".to_owned()));
        };
        let image = ImageRef::parse(reference)?;
        policy.may_pull(&image)?;
        self.check_pulls_left(policy)?;
        let mut call = pull_call(&image, &build.platform);
        let auth = build.registries.iter().find(|(server, _)| registry_of(server) == image.registry);
        call.credentials = auth.map(|(_, auth)| ("X-Registry-Auth", auth.to_header()));
        Ok(call)
    }

    /// Refuses a pull beyond the budget.
    pub(crate) fn check_pulls_left(&self, policy: &JobPolicy) -> Judged<()> {
        if self.table.conduct.pulls >= policy.budget.pulls {
            return refuse!(Budget, "the job has used all of its {} pulls of images", policy.budget.pulls);
        }
        Ok(())
    }

    /// Judges what a build, a load or a pull takes of the budget, once it is its turn: those before it have taken
    /// something. A pull is counted here, before the engine is asked.
    ///
    /// # Errors
    /// If nothing is left.
    pub fn begin_images(&mut self, effect: &Effect) -> Result<(), Refusal> {
        let (Policy::Job(policy), Effect::ImagesMade { references, kept }) = (&self.policy, effect) else {
            return Ok(());
        };
        if *kept {
            return check_names_left(self, policy, references.keys());
        }
        self.check_pulls_left(policy)?;
        references.keys().for_each(|reference| self.note_pull(reference));
        Ok(())
    }

    /// Notes a pull that begins. Called before the engine is asked.
    pub fn note_pull(&mut self, reference: &str) {
        if let Ok(image) = ImageRef::parse(reference) {
            self.table.conduct.note_pull(&image);
        }
    }

    /// Returns why every request is refused, if it is.
    #[must_use]
    pub fn frozen(&self) -> Option<Refusal> {
        let frozen = self.table.conduct.frozen.as_ref();
        self.over_disk().or_else(|| frozen.map(|reason| Refusal::new(crate::Rule::Frozen, reason.clone())))
    }

    /// Notes a request of a job that was refused. Returns why everything is refused from now on, if that begins here.
    pub fn note_refusal(&mut self, refusal: &Refusal, call: &str, at_ms: u64) -> Option<String> {
        let Policy::Job(policy) = &self.policy else { return None };
        self.table.conduct.note(refusal, call, at_ms, policy.budget.refusals).map(str::to_owned)
    }

    /// Returns the container that joins every network of the client, if there is one.
    #[must_use]
    pub fn sandbox(&self) -> Option<&str> {
        match &self.policy {
            Policy::Job(job) => job.sandbox.as_deref(),
            Policy::Server(_) => None,
        }
    }

    /// Returns a container's address on a network of the client, from the engine's description of the container.
    #[must_use]
    pub fn address_of(&self, container: &Value) -> Option<std::net::IpAddr> {
        let networks = container.get("NetworkSettings")?.get("Networks")?.as_object()?;
        let own = |end: &&Value| {
            let id = end.get("NetworkID").and_then(Value::as_str).unwrap_or_default();
            answer::network_name(self, id).is_some()
        };
        networks.values().filter(own).find_map(|end| end.get("IPAddress")?.as_str()?.parse().ok())
    }

    /// Judges a request. `nonce` is random: it becomes part of the names of objects that the client did not name.
    ///
    /// # Errors
    /// If the policy refuses it.
    pub fn judge(&self, request: &Request, nonce: &str) -> Result<Decision, Refusal> {
        match &self.policy {
            Policy::Job(policy) => job::judge(self, policy, &request.call, nonce),
            Policy::Server(policy) => server::judge(self, policy, &request.call),
        }
    }

    /// Rewrites an answer of the engine: only own objects, under the names that the client knows, without paths of the
    /// host.
    ///
    /// # Errors
    /// If the answer is not what the engine should return here.
    pub fn rewrite(&self, shape: &Shape, answer: Value) -> Result<Value, String> {
        answer::rewrite(self, shape, answer)
    }

    /// Rewrites one value of a stream. `None` if it is not for this client.
    #[must_use]
    pub fn rewrite_line(&self, shape: &crate::LineShape, line: Value) -> Option<Value> {
        answer::rewrite_line(self, shape, line)
    }

    /// Rewrites a text of the engine with the names that the client knows.
    #[must_use]
    pub fn rewrite_text(&self, text: &str) -> String {
        answer::text(self, text)
    }

    /// Rewrites a build's Dockerfile, with the ids of its base images, and counts what describes the images.
    ///
    /// # Errors
    /// If it is refused, or names images whose ids have to be learned first.
    pub fn dockerfile(&mut self, build: &crate::Build, text: &str) -> Result<String, DockerfileError> {
        let Policy::Job(policy) = &self.policy else {
            return Err(DockerfileError::Refused(Refusal::new(crate::Rule::Build, "the server may not build images")));
        };
        let written = dockerfile::rewrite(text, &build.args, |reference| {
            if let Ok((id, _)) = self.table.image(&ImageName::Ref { reference: reference.clone(), prefix: None }) {
                return Ok(id.to_owned());
            }
            if policy.may_look_up(reference) || policy.may_pull(reference).is_ok() {
                return Err(DockerfileError::Unknown(reference.to_string()));
            }
            Err(DockerfileError::Refused(Refusal::new(
                crate::Rule::Image,
                format!(
                    "the base image {} is not on this engine, and may not be pulled from {}",
                    reference.familiar(),
                    reference.registry
                ),
            )))
        })?;
        let described =
            growth::check(&written, build, |id| self.table.bases.get(id)).map_err(DockerfileError::Refused)?;
        let mut bases = written.lines().filter_map(|line| line.strip_prefix("FROM sha256:")?.split(' ').next());
        if let Some(trigger) = bases.find_map(|id| self.table.triggers.get(id)) {
            let reason = format!(
                "a base image runs {trigger:?} in each build that starts from it (ONBUILD): a build here may not do that"
            );
            return Err(DockerfileError::Refused(Refusal::new(crate::Rule::Build, reason)));
        }
        self.table.described_bytes = self.table.described_bytes.saturating_add(described as u64);
        // The label marks every layer, also those that a failed build or an earlier stage leaves behind.
        let label = format!("LABEL {}={}\n", crate::SCOPE_LABEL, policy.scope);
        Ok(written.lines().flat_map(|line| [line, "\n", if line.starts_with("FROM ") { &label } else { "" }]).collect())
    }

    /// Returns the call that limits the processes of a container that a build has made, from the engine's event about
    /// it. Containers that the client has created have limits of their own, and names that no build gives.
    #[must_use]
    pub fn limit_of_build(&self, created: &Value) -> Option<EngineCall> {
        let Policy::Job(policy) = &self.policy else { return None };
        let actor = &created["Actor"];
        let (id, name) = (actor["ID"].as_str().and_then(full_id)?, actor["Attributes"]["name"].as_str()?);
        let limit = serde_json::json!({ "PidsLimit": policy.budget.pids });
        (!name.starts_with(&policy.prefix()))
            .then(|| EngineCall::new("POST", format!("/containers/{id}/update")).json(limit))
    }

    /// Returns the calls that remove all of the client's objects, in order. A call that is answered with 404 has
    /// succeeded.
    #[must_use]
    pub fn removals(&self) -> Vec<EngineCall> {
        let prefix = self.policy.prefix();
        if prefix.is_empty() {
            return Vec::new();
        }
        let table = &self.table;
        let containers = table
            .containers
            .keys()
            .map(|id| EngineCall::new("DELETE", format!("/containers/{id}")).flag("force", true).flag("v", true));
        let networks = table.networks.keys().map(|id| EngineCall::new("DELETE", format!("/networks/{id}")));
        let volumes = table.volumes.iter().map(|name| EngineCall::new("DELETE", format!("/volumes/{prefix}{name}")));
        let kept: BTreeSet<&String> =
            table.images.values().filter_map(|image| image.kept_as.as_ref()).chain(table.left.keys()).collect();
        let images = kept.into_iter().map(|name| EngineCall::new("DELETE", format!("/images/{name}")));
        containers.chain(networks).chain(volumes).chain(images).collect()
    }

    /// Returns the label by which the client's objects are found on the engine, also if the table was lost.
    #[must_use]
    pub fn label(&self) -> Option<String> {
        match &self.policy {
            Policy::Job(job) => Some(job.label()),
            Policy::Server(_) => None,
        }
    }

    /// Returns the repository by which the images that the client has made are found on the engine, also if the table
    /// was lost.
    #[must_use]
    pub fn image_repository(&self) -> Option<String> {
        match &self.policy {
            Policy::Job(job) => Some(job.image_repository()),
            Policy::Server(_) => None,
        }
    }
}
