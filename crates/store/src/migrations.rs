//! The migrations: the files of `migrations/`, compiled in. sqlx's macro for this would compile SQLite a second time,
//! for itself. A new database begins with what all of them together lead to (`new_database.sql`), which takes a tenth
//! of the time. After a new migration: `LONGSHORE_BLESS=1 cargo test -p longshore-store --lib migrations`.

use std::sync::LazyLock;

use sqlx::{
    Connection as _, Executor as _, SqlStr, SqliteConnection, SqlitePool,
    migrate::{Migrate as _, MigrateError, Migration, MigrationType, Migrator},
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
    70 "refused_hooks_by_reason" "0070_refused_hooks_by_reason.sql"
    72 "anomaly_notices" "0072_anomaly_notices.sql"
    200 "strangers_statuses" "0200_strangers_statuses.sql"
    201 "bodies" "0201_bodies.sql"
    202 "former_hook_secrets" "0202_former_hook_secrets.sql"
    210 "neutral_refusals" "0210_neutral_refusals.sql"
    230 "cache_scopes" "0230_cache_scopes.sql"
};

static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let migration = |(version, description, sql): &(i64, &'static str, &'static str)| {
        Migration::new(*version, (*description).into(), MigrationType::Simple, SqlStr::from_static(sql), false)
    };
    Migrator::with_migrations(ALL.iter().map(migration).collect())
});

/// The schema and the rows that the migrations make of an empty database.
const NEW_DATABASE: &str = include_str!("new_database.sql");
/// The table of the migrations that have run, under the name that [`Migrator`] gives it.
const APPLIED: &str = "_sqlx_migrations";

/// Migrates the database to this program's schema. [`StoreError::Newer`] if a newer Longshore has migrated it further.
pub(crate) async fn run(writer: &SqlitePool) -> Result<(), StoreError> {
    if begin(&mut *writer.acquire().await?).await? {
        return Ok(());
    }
    MIGRATOR.run(writer).await.map_err(|error| match error {
        // Numbers that this program leaves out may be a later one's.
        MigrateError::VersionMissing(found) => StoreError::Newer { found, known: newest() },
        error => error.into(),
    })
}

/// Fills a database that has nothing in it. Returns `false` for one that has.
async fn begin(conn: &mut SqliteConnection) -> Result<bool, StoreError> {
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
    if sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM sqlite_schema)").fetch_one(&mut *tx).await? {
        return Ok(false);
    }
    tx.execute(SqlStr::from_static(NEW_DATABASE)).await?;
    tx.ensure_migrations_table(APPLIED).await?;
    for migration in MIGRATOR.iter() {
        tx.skip(APPLIED, migration).await?;
    }
    tx.commit().await?;
    Ok(true)
}

/// Returns the newest schema that this program knows.
pub fn newest() -> i64 {
    ALL.last().map_or(0, |(version, ..)| *version)
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Row as _, sqlite::SqlitePoolOptions};

    use super::*;

    async fn empty() -> SqlitePool {
        // One connection, because each has a database of its own.
        SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap()
    }

    /// Returns the statements that make a database of the same schema and the same rows, but for the table of the
    /// migrations themselves.
    async fn dump(database: &SqlitePool) -> String {
        let schema = format!(
            "SELECT type, name, sql || ';\n' AS sql FROM sqlite_schema
             WHERE sql IS NOT NULL AND name <> '{APPLIED}' AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
        );
        let mut statements = String::new();
        for made in sqlx::query(AssertSqlSafe(schema)).fetch_all(database).await.unwrap() {
            let (kind, name, sql): (String, String, String) = (made.get("type"), made.get("name"), made.get("sql"));
            statements.push_str(&sql);
            if kind == "table" {
                statements.push_str(&rows(database, &name).await);
            }
        }
        statements
    }

    async fn rows(database: &SqlitePool, table: &str) -> String {
        let columns =
            format!("SELECT group_concat('quote(' || name || ')', ' || '', '' || ') FROM pragma_table_info('{table}')");
        let columns: String = sqlx::query_scalar(AssertSqlSafe(columns)).fetch_one(database).await.unwrap();
        let insert = format!("SELECT 'INSERT INTO {table} VALUES (' || {columns} || ');' FROM {table}");
        let inserts: Vec<String> = sqlx::query_scalar(AssertSqlSafe(insert)).fetch_all(database).await.unwrap();
        inserts.iter().map(|insert| format!("{insert}\n")).collect()
    }

    #[tokio::test]
    async fn a_new_database_is_what_all_migrations_make_of_an_empty_one() {
        let migrated = empty().await;
        MIGRATOR.run(&migrated).await.unwrap();
        let migrated = dump(&migrated).await;
        if std::env::var_os("LONGSHORE_BLESS").is_some() {
            let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/new_database.sql");
            return std::fs::write(file, migrated).unwrap();
        }
        assert!(
            migrated == NEW_DATABASE,
            "new_database.sql is not what the migrations lead to: run this test with LONGSHORE_BLESS=1 and commit it"
        );
        let new = empty().await;
        run(&new).await.unwrap();
        assert_eq!(dump(&new).await, migrated);
        // Its migrations count as run: neither this program nor a newer one runs them again.
        MIGRATOR.run(&new).await.unwrap();
        let run: Vec<i64> =
            sqlx::query_scalar("SELECT version FROM _sqlx_migrations ORDER BY 1").fetch_all(&new).await.unwrap();
        assert_eq!(run, ALL.iter().map(|(version, ..)| *version).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn entries_of_caches_of_which_nobody_knows_who_made_them_are_forgotten_and_a_job_that_runs_keeps_its_volumes()
    {
        let database = empty().await;
        let before = MIGRATOR.iter().filter(|migration| migration.version < 230).cloned().collect();
        Migrator::with_migrations(before).run(&database).await.unwrap();
        for statement in [
            "INSERT INTO repos (id, name, forge, clone_url, hook_secret, created_at) VALUES ('r', 'app', 'git', '', '', 0)",
            "INSERT INTO caches (id, repo, key, paths, shared, layers, owner, created_at, used_at) VALUES ('c', 'r', 'k', '[]', 0, '[]', 0, 0, 0)",
            "INSERT INTO cache_branches VALUES ('c', 'main')",
            "INSERT INTO cache_uses (job, attempt, position, repo, key, paths, found, branch, begun_at) VALUES ('j', 1, 0, 'r', 'n', '[]', 'c', 'main', 0)",
        ] {
            sqlx::query(statement).execute(&database).await.unwrap();
        }
        run(&database).await.unwrap();
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM caches").fetch_one(&database).await.unwrap();
        let uses: Vec<(String, Option<String>)> =
            sqlx::query_as("SELECT found, scope FROM cache_uses").fetch_all(&database).await.unwrap();
        assert_eq!((left, uses), (0, vec![("c".to_owned(), None)]), "what it saves would be above an entry of before");
    }

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
