//! The sizes of volumes, as far as they have been measured.

use std::collections::BTreeMap;

use sqlx::{Row as _, SqliteConnection};

use super::Layers;
use crate::{Store, StoreError, WriteTx, row};

/// Notes the sizes of volumes.
pub async fn set_sizes(tx: &mut WriteTx, measured: &[(String, u64)]) -> Result<(), StoreError> {
    for (volume, bytes) in measured {
        sqlx::query("INSERT INTO cache_volumes (volume, bytes) VALUES (?, ?) ON CONFLICT (volume) DO UPDATE SET bytes = excluded.bytes")
            .bind(volume)
            .bind(row::signed(*bytes))
            .execute(tx.conn())
            .await?;
    }
    Ok(())
}

/// Forgets the sizes of volumes that are gone.
pub async fn forget_sizes(tx: &mut WriteTx, volumes: &[String]) -> Result<(), StoreError> {
    for volume in volumes {
        sqlx::query("DELETE FROM cache_volumes WHERE volume = ?").bind(volume).execute(tx.conn()).await?;
    }
    Ok(())
}

/// Returns the known sizes of volumes.
pub async fn volume_sizes(store: &Store) -> Result<BTreeMap<String, u64>, StoreError> {
    sizes(&mut *store.readers().acquire().await?).await
}

pub(super) async fn sizes(conn: &mut SqliteConnection) -> Result<BTreeMap<String, u64>, StoreError> {
    let rows = sqlx::query("SELECT volume, bytes FROM cache_volumes").fetch_all(conn).await?;
    rows.iter().map(|row| Ok((row.try_get("volume")?, row::unsigned(row, "bytes")?))).collect()
}

/// Returns the size of all layers; `None` if one has not been measured.
pub(super) fn size(layers: &Layers, sizes: &BTreeMap<String, u64>) -> Option<u64> {
    layers.iter().flatten().map(|volume| sizes.get(volume).copied()).sum()
}
