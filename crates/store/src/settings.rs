//! Facts about this installation, by name.

use sqlx::SqliteConnection;

use crate::{Store, StoreError, WriteTx};

const INSTANCE: &str = "instance";

/// The setting of that name.
pub async fn get(store: &Store, key: &str) -> Result<Option<String>, StoreError> {
    let value = sqlx::query_scalar("SELECT value FROM settings WHERE key = ?").bind(key);
    Ok(value.fetch_optional(store.readers()).await?)
}

/// The same, within a transaction.
pub(crate) async fn get_within(tx: &mut WriteTx, key: &str) -> Result<Option<String>, StoreError> {
    get_on(tx.conn(), key).await
}

/// Forgets it.
pub(crate) async fn remove(tx: &mut WriteTx, key: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM settings WHERE key = ?").bind(key).execute(tx.conn()).await?;
    Ok(())
}

/// Sets or replaces it.
pub async fn set(tx: &mut WriteTx, key: &str, value: &str) -> Result<(), StoreError> {
    set_on(tx.conn(), key, value).await
}

/// The setting of that name, before the store is open.
pub(crate) async fn get_on(conn: &mut SqliteConnection, key: &str) -> Result<Option<String>, StoreError> {
    Ok(sqlx::query_scalar("SELECT value FROM settings WHERE key = ?").bind(key).fetch_optional(conn).await?)
}

/// Sets or replaces it, before the store is open.
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

/// This installation's id, made when it is asked for the first time.
pub(crate) async fn instance(conn: &mut SqliteConnection) -> Result<String, StoreError> {
    match get_on(conn, INSTANCE).await? {
        Some(instance) => Ok(instance),
        None => new_instance(conn).await,
    }
}

/// Gives this installation another id.
pub(crate) async fn new_instance(conn: &mut SqliteConnection) -> Result<String, StoreError> {
    let instance = hex::encode(rand::random::<[u8; 6]>());
    set_on(conn, INSTANCE, &instance).await?;
    Ok(instance)
}
