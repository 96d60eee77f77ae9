//! A reference to a repository in an answer.

use longshore_core::RepoId;
use longshore_store::repos::Repo;
use serde::Serialize;
use utoipa::ToSchema;

/// A reference to a repository.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct RepoRef {
    #[schema(value_type = String, format = "uuid")]
    pub(crate) id: RepoId,
    pub(crate) name: String,
}

impl From<&Repo> for RepoRef {
    fn from(repo: &Repo) -> Self {
        Self { id: repo.id, name: repo.name.clone() }
    }
}
