//! The frame around all pages of one repository: its name, its tabs, and what the visitor may do with it.

use longshore_core::{RepoId, access::Action};
use longshore_store::{Store, repos::Repo};

use crate::{
    auth::object_of,
    error::ApiError,
    pages::visitor::Visitor,
    repo_changes::{shown_look_error, without_credentials},
};

/// The frame that the pages of one repository share.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) id: RepoId,
    pub(crate) name: String,
    pub(crate) public: bool,
    /// The clone address without credentials.
    pub(crate) clone_url: String,
    /// Why its branches and tags could not be checked.
    pub(crate) look_error: Option<String>,
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
    pub(super) fn new(visitor: &Visitor, repo: &Repo, tab: Tab) -> Self {
        let may_change = visitor.caller.may(Action::ChangeRepo, object_of(repo));
        Self {
            id: repo.id,
            name: repo.name.clone(),
            public: repo.public,
            clone_url: without_credentials(&repo.clone_url),
            look_error: shown_look_error(repo, may_change),
            tab,
            may_start: visitor.caller.may(Action::Start, object_of(repo)),
            may_redeliver: visitor.caller.may(Action::Redeliver, object_of(repo)),
            may_change,
            csrf: visitor.csrf(),
        }
    }

    pub(crate) fn is(&self, tab: Tab) -> bool {
        self.tab == tab
    }
}

/// Returns the repository if the visitor may see it.
pub(super) async fn find_repo(store: &Store, visitor: &Visitor, id: RepoId) -> Result<Repo, ApiError> {
    visitor.caller.repo(store, id).await
}
