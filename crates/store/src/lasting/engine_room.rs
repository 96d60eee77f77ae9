//! The engine's disk: how much room it has, the images that this server pulled and may remove, and what was removed and
//! why.

use longshore_core::Timestamp;
use sqlx::{Row as _, sqlite::SqliteRow};

use crate::{Store, StoreError, WriteTx, row};

/// How many removals are remembered.
const MAX_REMEMBERED: i64 = 100;

/// An image that this server pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledImage {
    pub name: String,
    /// The image that the name meant when it was pulled last.
    pub id: String,
    pub used_at: Timestamp,
}

/// Something that was removed to make room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eviction {
    pub at: Timestamp,
    pub what: String,
    pub bytes: u64,
    pub why: String,
}

/// The engine's disk, as it was measured last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineDisk {
    pub free: u64,
    pub total: u64,
    /// Why jobs that should start wait for room, if they do.
    pub held: Option<String>,
}

/// Notes what was measured.
pub async fn set_disk(tx: &mut WriteTx, disk: &EngineDisk) -> Result<(), StoreError> {
    sqlx::query("INSERT OR REPLACE INTO engine_disk (id, free, total, held) VALUES (1, ?, ?, ?)")
        .bind(row::signed(disk.free))
        .bind(row::signed(disk.total))
        .bind(&disk.held)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Forgets what an earlier process measured.
pub async fn forget_disk(tx: &mut WriteTx) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM engine_disk").execute(tx.conn()).await?;
    Ok(())
}

/// Returns the engine's disk; `None` if this process has not measured it.
pub async fn disk(store: &Store) -> Result<Option<EngineDisk>, StoreError> {
    let row = sqlx::query("SELECT free, total, held FROM engine_disk").fetch_optional(store.readers()).await?;
    let read = |row: SqliteRow| {
        Ok(EngineDisk {
            free: row::unsigned(&row, "free")?,
            total: row::unsigned(&row, "total")?,
            held: row.try_get("held")?,
        })
    };
    row.map(read).transpose()
}

/// Notes that a job has used an image. An image that this server did not pull is noted only if it pulled that image
/// before.
pub async fn note_image(
    tx: &mut WriteTx,
    name: &str,
    id: &str,
    pulled: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    if pulled {
        sqlx::query(
            "INSERT INTO pulled_images (name, image, used_at) VALUES (?, ?, ?)
             ON CONFLICT (name) DO UPDATE SET image = excluded.image, used_at = excluded.used_at",
        )
        .bind(name)
        .bind(id)
        .bind(now.as_millis())
        .execute(tx.conn())
        .await?;
    } else {
        sqlx::query("UPDATE pulled_images SET used_at = ? WHERE name = ? AND image = ?")
            .bind(now.as_millis())
            .bind(name)
            .bind(id)
            .execute(tx.conn())
            .await?;
    }
    Ok(())
}

/// Returns the images that this server pulled, least recently used first.
pub async fn images(store: &Store) -> Result<Vec<PulledImage>, StoreError> {
    let rows = sqlx::query("SELECT name, image, used_at FROM pulled_images ORDER BY used_at")
        .fetch_all(store.readers())
        .await?;
    rows.iter()
        .map(|row| {
            Ok(PulledImage {
                name: row.try_get("name")?,
                id: row.try_get("image")?,
                used_at: row::time(row, "used_at")?,
            })
        })
        .collect()
}

/// Forgets an image that was removed, or whose name now means another one.
pub async fn forget_image(tx: &mut WriteTx, name: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM pulled_images WHERE name = ?").bind(name).execute(tx.conn()).await?;
    Ok(())
}

/// Notes what was removed, and why. Only the newest are remembered.
pub async fn note_removal(
    tx: &mut WriteTx,
    what: &str,
    bytes: u64,
    why: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO room_made (at, what, bytes, why) VALUES (?, ?, ?, ?)")
        .bind(now.as_millis())
        .bind(what)
        .bind(row::signed(bytes))
        .bind(why)
        .execute(tx.conn())
        .await?;
    sqlx::query("DELETE FROM room_made WHERE seq <= (SELECT max(seq) FROM room_made) - ?")
        .bind(MAX_REMEMBERED)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Returns what was removed, the newest first.
pub async fn removals(store: &Store, limit: u32) -> Result<Vec<Eviction>, StoreError> {
    let rows = sqlx::query("SELECT at, what, bytes, why FROM room_made ORDER BY seq DESC LIMIT ?")
        .bind(limit)
        .fetch_all(store.readers())
        .await?;
    rows.iter().map(from_row).collect()
}

fn from_row(row: &SqliteRow) -> Result<Eviction, StoreError> {
    Ok(Eviction {
        at: row::time(row, "at")?,
        what: row.try_get("what")?,
        bytes: row::unsigned(row, "bytes")?,
        why: row.try_get("why")?,
    })
}
