//! The settings of a job that are read by themselves, after the names that they may use are known.

use std::collections::BTreeMap;

use longshore_core::{
    JobPlan, Template,
    docker::Docker,
    expression::Expression,
    plan::{ArtifactPlan, CachePlan, Checkout, Network, PullPolicy, Resources, Retry, ServicePlan},
};

use super::super::{
    code::Code,
    fields::Fields,
    findings::Findings,
    scalar::duration,
    scope::{Names, Position},
    text::{self, Flag},
    tree::{Kind, Node},
};
use super::{keep, reuse, service, settings, step};

/// The settings as they were read. `None` for one that is invalid, so that all of them are read and reported.
#[derive(Debug)]
#[expect(clippy::option_option, reason = "a key may be absent, invalid or valid")]
pub(super) struct JobSettings {
    condition: Option<Option<Expression>>,
    approval: Option<Option<Template>>,
    runs_on: Option<BTreeMap<String, Template>>,
    services: Option<Vec<ServicePlan>>,
    cache: Option<Vec<CachePlan>>,
    timeout: Option<Option<u64>>,
    retry: Option<Option<Retry>>,
    continue_on_error: Option<Flag>,
    docker: Option<Docker>,
    checkout: Option<Option<Checkout>>,
    reuse: Option<Vec<String>>,
    resources: Option<Resources>,
    artifacts: Option<Vec<ArtifactPlan>>,
    pull: Option<Option<PullPolicy>>,
    capabilities: Option<Vec<String>>,
    network: Option<Network>,
}

/// Settings that are all valid.
#[derive(Debug)]
pub(super) struct ValidSettings {
    /// The settings that are part of the plan as they are.
    pub(super) plan: JobPlan,
    pub(super) timeout_ms: Option<u64>,
    pub(super) approval: Option<Template>,
    pub(super) runs_on: BTreeMap<String, Template>,
    pub(super) continue_on_error: Flag,
}

impl JobSettings {
    /// Reads the settings. `on_workspace` says that the job starts on another job's workspace.
    pub(super) fn read(fields: &Fields<'_>, names: &Names, on_workspace: bool, findings: &mut Findings<'_>) -> Self {
        Self {
            condition: fields.read_optional("if", |node| text::condition(node, Position::JobIf, names, findings)),
            approval: fields.read_optional("approval", |node| approval(node, names, findings)),
            runs_on: fields.read_or("runs-on", BTreeMap::new(), |node| settings::runs_on(node, names, findings)),
            services: fields.read_or("services", Vec::new(), |node| service::read_all(node, names, findings)),
            cache: fields.read_or("cache", Vec::new(), |node| keep::cache(node, names, findings)),
            timeout: fields.read_optional("timeout", |node| duration(node, "`timeout`", findings)),
            retry: fields.read_optional("retry", |node| settings::retry(node, false, findings)),
            continue_on_error: fields.read_or("continue-on-error", Flag::Is(false), |node| {
                text::flag(node, "`continue-on-error`", names, findings)
            }),
            docker: fields.read_or("docker", Docker::None, |node| settings::docker(node, findings)),
            checkout: checkout(fields, on_workspace, findings),
            reuse: match fields.entry("reuse") {
                Some(entry) => reuse::read(entry, fields, on_workspace, findings),
                None => Some(Vec::new()),
            },
            resources: fields.read_or("resources", Resources::default(), |node| settings::resources(node, findings)),
            artifacts: fields.read_or("artifacts", Vec::new(), |node| keep::artifacts(node, names, findings)),
            pull: fields.read_optional("pull", |node| settings::pull(node, findings)),
            capabilities: fields.read_or("capabilities", Vec::new(), |node| settings::capabilities(node, findings)),
            network: fields.read_or("network", Network::Default, |node| settings::network(node, findings)),
        }
    }

    /// Checks that a job without a network has no services.
    pub(super) fn network_fits(&self, fields: &Fields<'_>, findings: &mut Findings<'_>) -> bool {
        let has_services = self.services.as_ref().is_some_and(|services| !services.is_empty());
        let (Some(Network::None), Some(node), true) = (self.network, fields.get("network"), has_services) else {
            return true;
        };
        let help = "write `network: internal`: the job can then reach only its services";
        findings.error(Code::NotTogether, node.place, "a job without a network cannot have services", help.to_owned());
        false
    }

    /// Returns the settings if all of them are valid.
    pub(super) fn validated(self) -> Option<ValidSettings> {
        let plan = JobPlan {
            condition: self.condition?.filter(|condition| condition.source() != "success()"),
            services: self.services?,
            cache: self.cache?,
            retry: self.retry?,
            docker: self.docker?,
            checkout: self.checkout?,
            reuse: self.reuse?,
            resources: self.resources?,
            artifacts: self.artifacts?,
            pull: self.pull?,
            capabilities: self.capabilities?,
            network: self.network?,
            ..JobPlan::default()
        };
        Some(ValidSettings {
            plan,
            timeout_ms: self.timeout?,
            approval: self.approval?,
            runs_on: self.runs_on?,
            continue_on_error: self.continue_on_error?,
        })
    }
}

/// Reads the checkout, which a job on another job's workspace does not have.
#[expect(clippy::option_option, reason = "it may be invalid, off or on")]
fn checkout(fields: &Fields<'_>, on_workspace: bool, findings: &mut Findings<'_>) -> Option<Option<Checkout>> {
    let Some(node) = fields.get("checkout") else {
        return Some((!on_workspace).then(Checkout::default));
    };
    let checkout = settings::checkout(node, findings)?;
    if on_workspace && checkout.is_some() {
        let message = "a job that starts on another job's workspace has no checkout of its own";
        findings.error(Code::NotTogether, node.place, message, "remove `checkout`".to_owned());
        return None;
    }
    Some(checkout)
}

/// Reads the question of an approval.
fn approval(node: &Node, names: &Names, findings: &mut Findings<'_>) -> Option<Template> {
    if let Kind::Scalar(scalar) = &node.kind
        && scalar.boolean().is_some()
    {
        let help = "write the question: `approval: Deploy to production?`, or remove it";
        findings.error(
            Code::WrongType,
            node.place,
            "`approval` must be a question, but this is a boolean",
            help.to_owned(),
        );
        return None;
    }
    step::one_line(node, "`approval`", Position::Planned, names, findings)
}
