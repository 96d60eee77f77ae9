//! Checks and sets a repository's secrets, for the API and the pages.

use longshore_core::{RepoId, SecretName, SecretRules, Timestamp, masking, secret::NotASecretName};
use longshore_pipeline::secret_rules;
use longshore_store::{
    Store,
    secrets::{self, Secret, SecretPatch},
};

use crate::error::ApiError;

pub(crate) fn parse_name(name: &str) -> Result<SecretName, ApiError> {
    name.parse().map_err(|error: NotASecretName| ApiError::bad_request(error.to_string()))
}

/// Sets a secret. Returns it, whether it is new, and notes on what logs do not mask of its value.
pub(crate) async fn set_secret(
    store: &Store,
    repo: RepoId,
    name: &SecretName,
    patch: &SecretPatch,
    by: &str,
) -> Result<(Secret, bool, Vec<String>), ApiError> {
    let SecretPatch { value, branches, tags, events, jobs } = patch;
    let given = SecretRules {
        branches: branches.clone().unwrap_or_default(),
        tags: tags.clone().unwrap_or_default(),
        events: events.clone().unwrap_or_default(),
        jobs: jobs.clone().unwrap_or_default(),
    };
    secret_rules::check(&given).map_err(ApiError::bad_request)?;
    let notes = value.as_ref().map_or_else(Vec::new, |value| masking::notes(value.expose()));
    let mut tx = store.write().await?;
    let (secret, new) = secrets::set(&mut tx, repo, name, patch, by, Timestamp::now()).await?;
    tx.commit().await?;
    tracing::info!(%repo, %name, new, by, "a secret was set");
    Ok((secret, new, notes))
}
