//! Seals what an older version stored in the clear: hook secrets, and clone addresses with credentials.
//! Called once when the server starts and the key is known. One transaction seals the rows and notes that the
//! database's file still contains the old values; then the file is rewritten without them. If a kill interrupts this,
//! the next start completes it.

use longshore_core::RepoId;
use sqlx::Row as _;

use crate::{Store, StoreError, repos, row, secret_key, settings};

/// The setting that says that freed pages and the write-ahead log may contain values that are sealed now.
const TO_SCRUB: &str = "scrub_after_sealing";

/// Seals what is not sealed, and removes it from the database's files. Returns how many repositories had something to
/// seal.
///
/// [`StoreError::SecretKey`] if the current key is not the database's: nothing is changed then.
pub async fn seal(store: &Store) -> Result<u64, StoreError> {
    let sealed = seal_rows(store).await?;
    if settings::get(store, TO_SCRUB).await?.is_some() {
        scrub(store).await?;
    }
    Ok(sealed)
}

async fn seal_rows(store: &Store) -> Result<u64, StoreError> {
    let mut tx = store.write().await?;
    let rows = sqlx::query(
        "SELECT id, clone_url, hook_secret, hook_secret_sealed IS NULL AS hook_is_open, clone_url_sealed IS NULL AS address_is_open
         FROM repos WHERE hook_secret_sealed IS NULL OR (clone_url_sealed IS NULL AND instr(clone_url, '@') > 0)",
    )
    .fetch_all(tx.conn())
    .await?;
    let mut count = 0;
    for row in &rows {
        let id: RepoId = row::parsed(row, "id")?;
        let (hook_secret, address): (String, String) = (row.try_get("hook_secret")?, row.try_get("clone_url")?);
        let has_hook = row.try_get("hook_is_open")? && !hook_secret.is_empty();
        let has_login = row.try_get("address_is_open")? && repos::without_credentials(&address) != address;
        if !has_hook && !has_login {
            continue;
        }
        let key = secret_key::of_database_or_new(&mut tx).await?;
        if has_hook {
            sqlx::query("UPDATE repos SET hook_secret = '', hook_secret_sealed = ? WHERE id = ?")
                .bind(key.seal(&repos::hook_binding(id), hook_secret.as_bytes())?)
                .bind(id.to_string())
                .execute(tx.conn())
                .await?;
        }
        if has_login {
            let (open, sealed) = repos::sealed_address(&key, id, &address)?;
            sqlx::query("UPDATE repos SET clone_url = ?, clone_url_sealed = ? WHERE id = ?")
                .bind(open)
                .bind(sealed)
                .bind(id.to_string())
                .execute(tx.conn())
                .await?;
        }
        count += 1;
    }
    if count > 0 {
        settings::set(&mut tx, TO_SCRUB, "1").await?;
        tx.commit().await?;
    }
    Ok(count)
}

/// Rewrites the database, so that neither its free pages nor the write-ahead log contain old values.
async fn scrub(store: &Store) -> Result<(), StoreError> {
    tracing::info!("rewriting the database once: values that are sealed now were in it unencrypted");
    let turn = store.inner.queue.lock().await;
    let mut conn = store.writer().acquire().await?;
    sqlx::query("VACUUM").execute(&mut *conn).await?;
    let busy: i64 = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *conn).await?.try_get(0)?;
    drop(conn);
    drop(turn);
    if busy != 0 {
        return Err(StoreError::Busy(
            "the write-ahead log could not be emptied: a program reads the database".to_owned(),
        ));
    }
    let mut tx = store.write().await?;
    settings::remove(&mut tx, TO_SCRUB).await?;
    tx.commit().await?;
    Ok(())
}
