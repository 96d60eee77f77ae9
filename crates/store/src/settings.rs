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
    let value = sqlx::query_scalar("SELECT value FROM settings WHERE key = ?").bind(key);
    Ok(value.fetch_optional(tx.conn()).await?)
}

/// Forgets it.
pub(crate) async fn remove(tx: &mut WriteTx, key: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM settings WHERE key = ?").bind(key).execute(tx.conn()).await?;
    Ok(())
}

/// Sets or replaces it.
pub async fn set(tx: &mut WriteTx, key: &str, value: &str) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO settings (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )
    .bind(key)
    .bind(value)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// This installation's id, made when it is asked for the first time.
pub(crate) async fn instance(conn: &mut SqliteConnection) -> Result<String, StoreError> {
    sqlx::query("INSERT INTO settings (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING")
        .bind(INSTANCE)
        .bind(hex::encode(rand::random::<[u8; 6]>()))
        .execute(&mut *conn)
        .await?;
    Ok(sqlx::query_scalar("SELECT value FROM settings WHERE key = ?").bind(INSTANCE).fetch_one(conn).await?)
}
