//! Who started, canceled, reran, approved or declined something, as the API and the pages show it.

use longshore_core::{
    BuildId, EventName, JobId, Timestamp, TokenId,
    access::{Actor, Via},
};
use longshore_store::{
    acts::{Act, ActKind},
    builds::Build,
};
use serde::Serialize;
use utoipa::ToSchema;

/// Who did something, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ByView {
    /// The token's name, or the forge's name for the user who sent the event; empty if unknown.
    pub(crate) name: String,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
    /// `token`, `session` (a browser), `event` (the forge) or `schedule`
    #[schema(value_type = String, example = "token")]
    pub(crate) via: Via,
    /// The token's ID, since names are not unique; `null` for the administrator's, and if no token was used.
    #[schema(value_type = Option<String>, format = "uuid")]
    pub(crate) token: Option<TokenId>,
}

impl ByView {
    fn new(by: Actor, at: Timestamp) -> Self {
        let Actor { name, via, token } = by;
        Self { name, at, via, token }
    }

    /// Returns the actor's name, or says what acted if it has no name.
    pub(crate) fn display_name(&self) -> &str {
        match self.via {
            Via::Token | Via::Session if self.name.is_empty() => "somebody",
            Via::Event if self.name.is_empty() => "a webhook",
            Via::Schedule => "its schedule",
            Via::Token | Via::Session | Via::Event => &self.name,
        }
    }
}

/// A rerun of this build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct RerunView {
    #[schema(value_type = String, format = "uuid")]
    pub(crate) id: BuildId,
    /// `null` if it has been deleted.
    pub(crate) number: Option<u64>,
    pub(crate) by: ByView,
}

/// Returns who started the build: as recorded, or according to the build's event.
pub(crate) fn started_by(build: &Build, acts: &[Act]) -> ByView {
    let act = acts.iter().find(|act| act.build == build.id && act.kind == ActKind::Started);
    let by = act.map(|act| act.by.clone()).unwrap_or_else(|| {
        let sender = build.event.sender.clone();
        let (name, via) = match build.event.name {
            // Reruns were not always recorded with their actor.
            _ if build.rerun_of.is_some() => (String::new(), Via::Token),
            EventName::Push | EventName::Tag | EventName::PullRequest | EventName::Release | EventName::MergeGroup => {
                (sender, Via::Event)
            }
            EventName::Schedule => (String::new(), Via::Schedule),
            EventName::Manual => (sender, Via::Token),
        };
        Actor { name, via, token: None }
    });
    ByView::new(by, build.created_at)
}

/// Returns who canceled the whole build.
pub(crate) fn canceled_by(build: BuildId, acts: &[Act]) -> Option<ByView> {
    let act = acts.iter().find(|act| act.build == build && act.job.is_none() && act.kind == ActKind::Canceled)?;
    Some(ByView::new(act.by.clone(), act.at))
}

pub(crate) fn reruns(build: BuildId, acts: &[Act]) -> Vec<RerunView> {
    let reruns = acts.iter().filter(|act| act.build == build && act.kind == ActKind::Rerun);
    let view = |act: &Act| {
        let (id, number) = act.made?;
        Some(RerunView { id, number, by: ByView::new(act.by.clone(), act.at) })
    };
    reruns.filter_map(view).collect()
}

/// Returns who did this to the job itself, and not to its whole build.
pub(crate) fn job_act(job: JobId, kind: ActKind, acts: &[Act]) -> Option<ByView> {
    let act = acts.iter().find(|act| act.job == Some(job) && act.kind == kind)?;
    Some(ByView::new(act.by.clone(), act.at))
}
