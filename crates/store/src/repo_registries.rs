//! The registries that the jobs of each repository have had images of.

use longshore_core::{BuildId, RepoId};

use crate::{Store, StoreError, WriteTx};

/// Returns whether a repository has had images of all of these registries.
pub async fn has_used(store: &Store, repo: RepoId, registries: &[String]) -> Result<bool, StoreError> {
    let known: Vec<String> = sqlx::query_scalar("SELECT registry FROM repo_registries WHERE repo = ?")
        .bind(repo.to_string())
        .fetch_all(store.readers())
        .await?;
    Ok(registries.iter().all(|registry| known.contains(registry)))
}

/// Notes the registries of a build's images. Returns those that are new to the repository. The registries of its first
/// build are not new.
pub async fn note(
    tx: &mut WriteTx,
    repo: RepoId,
    build: BuildId,
    registries: &[String],
) -> Result<Vec<String>, StoreError> {
    let mut new = Vec::new();
    for registry in registries {
        let noted = sqlx::query("INSERT OR IGNORE INTO repo_registries (repo, registry, build) VALUES (?, ?, ?)")
            .bind(repo.to_string())
            .bind(registry)
            .bind(build.to_string())
            .execute(tx.conn())
            .await?;
        let has_others: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM repo_registries WHERE repo = ? AND build <> ?)")
                .bind(repo.to_string())
                .bind(build.to_string())
                .fetch_one(tx.conn())
                .await?;
        if noted.rows_affected() > 0 && has_others {
            new.push(registry.clone());
        }
    }
    Ok(new)
}
