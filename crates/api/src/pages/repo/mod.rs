//! `/repos/{repo}` and what lies below it: builds, deliveries, settings, a build by hand. All have the same frame.

pub(crate) mod builds;
pub(crate) mod deliveries;
pub(crate) mod new;
pub(crate) mod run;
pub(crate) mod settings;

use longshore_core::{RepoId, access::Action};
use longshore_store::repos::Repo;

use super::Visitor;
use crate::{ApiError, auth::of, server::Server};

/// What the pages of one repository have in common.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) id: RepoId,
    pub(crate) name: String,
    pub(crate) public: bool,
    /// Without its credentials.
    pub(crate) clone_url: String,
    pub(crate) tab: Tab,
    pub(crate) may_start: bool,
    pub(crate) may_redeliver: bool,
    pub(crate) may_change: bool,
    pub(crate) csrf: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tab {
    Builds,
    Run,
    Deliveries,
    Settings,
}

impl Frame {
    fn of(visitor: &Visitor, repo: &Repo, tab: Tab) -> Self {
        Self {
            id: repo.id,
            name: repo.name.clone(),
            public: repo.public,
            clone_url: crate::repos::shown(&repo.clone_url),
            tab,
            may_start: visitor.caller.may(Action::Start, of(repo)),
            may_redeliver: visitor.caller.may(Action::Redeliver, of(repo)),
            may_change: visitor.caller.may(Action::ChangeRepo, of(repo)),
            csrf: visitor.csrf(),
        }
    }

    pub(crate) fn is(&self, tab: Tab) -> bool {
        self.tab == tab
    }
}

/// The repository, for whoever may see it.
async fn find(server: &Server, visitor: &Visitor, id: RepoId) -> Result<Repo, ApiError> {
    visitor.caller.repo(server, id).await
}
