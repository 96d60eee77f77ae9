//! Settings of this installation, by name.

use sqlx::SqliteConnection;

use crate::{Store, StoreError, WriteTx};

/// The setting with the installation's id.
const INSTANCE: &str = "instance";

/// Returns a setting.
pub async fn get(store: &Store, key: &str) -> Result<Option<String>, StoreError> {
    let value = sqlx::query_scalar("SELECT value FROM settings WHERE key = ?").bind(key);
    Ok(value.fetch_optional(store.readers()).await?)
}

/// Like [`get`], within a transaction.
pub(crate) async fn get_within(tx: &mut WriteTx, key: &str) -> Result<Option<String>, StoreError> {
    get_on(tx.conn(), key).await
}

/// Removes a setting.
pub(crate) async fn remove(tx: &mut WriteTx, key: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM settings WHERE key = ?").bind(key).execute(tx.conn()).await?;
    Ok(())
}

/// Sets a setting.
pub async fn set(tx: &mut WriteTx, key: &str, value: &str) -> Result<(), StoreError> {
    set_on(tx.conn(), key, value).await
}

/// Like [`get`], on a connection of a store that is not open yet.
pub(crate) async fn get_on(conn: &mut SqliteConnection, key: &str) -> Result<Option<String>, StoreError> {
    Ok(sqlx::query_scalar("SELECT value FROM settings WHERE key = ?").bind(key).fetch_optional(conn).await?)
}

/// Like [`set`], on a connection of a store that is not open yet.
pub(crate) async fn set_on(conn: &mut SqliteConnection, key: &str, value: &str) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO settings (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )
    .bind(key)
    .bind(value)
    .execute(conn)
    .await?;
    Ok(())
}

/// Returns this installation's id, which is generated at the first call.
pub(crate) async fn instance(conn: &mut SqliteConnection) -> Result<String, StoreError> {
    match get_on(conn, INSTANCE).await? {
        Some(instance) => Ok(instance),
        None => new_instance(conn).await,
    }
}

/// Gives this installation a new id and returns it.
pub(crate) async fn new_instance(conn: &mut SqliteConnection) -> Result<String, StoreError> {
    let instance = hex::encode(rand::random::<[u8; 6]>());
    set_on(conn, INSTANCE, &instance).await?;
    Ok(instance)
}
