//! The migrations: the files of `migrations/`, compiled in. sqlx's macro for this would compile SQLite a second time,
//! for itself.

use std::sync::LazyLock;

use sqlx::{
    SqlStr, SqlitePool,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

use crate::StoreError;

macro_rules! migrations {
    ($($version:literal $description:literal $file:literal)*) => {
        [$(($version, $description, include_str!(concat!("../../../migrations/", $file)))),*]
    };
}

/// Version, description, SQL. Append-only: a migration that has run is never changed.
const ALL: &[(i64, &str, &str)] = &migrations! {
    1 "first" "0001_first.sql"
    2 "secrets" "0002_secrets.sql"
    3 "sessions" "0003_sessions.sql"
    5 "language" "0005_language.sql"
    6 "retention" "0006_retention.sql"
    7 "phases" "0007_phases.sql"
    8 "schedules" "0008_schedules.sql"
    10 "discovery" "0010_discovery.sql"
    11 "access" "0011_access.sql"
    12 "strangers" "0012_strangers.sql"
    13 "sealed" "0013_sealed.sql"
    14 "told" "0014_told.sql"
    17 "told_bodies" "0017_told_bodies.sql"
    18 "registries" "0018_registries.sql"
    19 "connections" "0019_connections.sql"
    20 "pushes" "0020_pushes.sql"
    21 "caches" "0021_caches.sql"
    22 "artifacts" "0022_artifacts.sql"
    23 "reports" "0023_reports.sql"
    24 "docker" "0024_docker.sql"
    26 "images" "0026_images.sql"
    29 "statuses" "0029_statuses.sql"
    30 "told_state" "0030_told_state.sql"
    31 "engine_room" "0031_engine_room.sql"
    40 "deploy_keys" "0040_deploy_keys.sql"
    41 "report_readings" "0041_report_readings.sql"
    42 "refused_hooks" "0042_refused_hooks.sql"
    44 "notifications" "0044_notifications.sql"
    45 "reuse" "0045_reuse.sql"
    54 "comments" "0054_comments.sql"
    55 "audit" "0055_audit.sql"
    56 "check_runs" "0056_check_runs.sql"
    57 "lasting_workspaces" "0057_lasting_workspaces.sql"
    65 "anomalies" "0065_anomalies.sql"
    66 "overtaken_notices" "0066_overtaken_notices.sql"
};

static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let migration = |(version, description, sql): &(i64, &'static str, &'static str)| {
        Migration::new(*version, (*description).into(), MigrationType::Simple, SqlStr::from_static(sql), false)
    };
    Migrator::with_migrations(ALL.iter().map(migration).collect())
});

/// Migrates the database to this program's schema. [`StoreError::Newer`] if a newer Longshore has migrated it further.
pub(crate) async fn run(writer: &SqlitePool) -> Result<(), StoreError> {
    MIGRATOR.run(writer).await.map_err(|error| match error {
        // Numbers that this program leaves out may be a later one's.
        MigrateError::VersionMissing(found) => StoreError::Newer { found, known: newest() },
        error => error.into(),
    })
}

/// Returns the newest schema that this program knows.
pub fn newest() -> i64 {
    ALL.last().map_or(0, |(version, ..)| *version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_compiled_in_and_in_its_order() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
        let mut files: Vec<(String, String)> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|file| (file.file_name().into_string().unwrap(), std::fs::read_to_string(file.path()).unwrap()))
            .collect();
        files.sort();
        let ours: Vec<(String, String)> =
            ALL.iter().map(|(version, name, sql)| (format!("{version:04}_{name}.sql"), (*sql).to_owned())).collect();
        assert_eq!(ours, files);
    }
}
