//! The part with a repository's caches on its page, and the form that removes one.

use axum::{extract::State, response::Response};
use longshore_core::{CacheId, RepoId, access::Action};
use longshore_store::{
    Store,
    caches::{self, Entry, Lookups},
};

use crate::{
    error::ApiError,
    pages::{
        post::{NoFields, Post, see_other},
        site::Site,
    },
    params::PathPair,
};

/// How many caches are shown, the last used first.
const MAX_CACHES: usize = 50;

pub(super) struct Part {
    pub(super) shown: Vec<Entry>,
    pub(super) count: usize,
    /// The size of all that have been measured. Layers that several caches share count for each.
    pub(super) bytes: u64,
    lookups: Lookups,
}

impl Part {
    pub(super) async fn load(store: &Store, repo: RepoId) -> Result<Self, ApiError> {
        let mut shown = caches::list(store, repo).await?;
        let count = shown.len();
        let bytes = shown.iter().filter_map(|entry| entry.bytes).sum();
        shown.truncate(MAX_CACHES);
        Ok(Self { shown, count, bytes, lookups: caches::lookups(store, repo).await? })
    }

    /// Returns how many of a hundred lookups found a cache.
    pub(super) fn hit_rate(&self) -> Option<u64> {
        (self.lookups.found * 100).checked_div(self.lookups.asked)
    }
}

pub(crate) async fn remove(
    State(site): State<Site>,
    PathPair(id, cache): PathPair<RepoId, CacheId>,
    Post { visitor, form: NoFields {} }: Post<NoFields>,
) -> Result<Response, ApiError> {
    visitor.caller.repo_to(&site.store, Action::RemoveCache, id).await?;
    let mut tx = site.store.write().await?;
    caches::remove(&mut tx, id, cache).await?;
    tx.commit().await?;
    tracing::info!(repo = %id, %cache, by = visitor.caller.name(), "a cache was removed");
    Ok(see_other(&format!("/repos/{id}#caches")))
}
