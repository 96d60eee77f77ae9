//! What a check has found, in words for people: what is wrong with which thing, and what to do about it.

use longshore_store::check::{FileDamage, Finding, LogDamage};

/// Says what is wrong.
pub(super) fn message(finding: &Finding) -> String {
    match finding {
        Finding::UnfinishedRestore { folder } => format!("{} holds half of a restore", folder.display()),
        Finding::OtherSchema { found, known } => {
            format!("the database has schema {found}, this program knows {known}")
        }
        Finding::DatabaseDamaged(said) => said.clone(),
        Finding::ReferenceBroken { from, to } => {
            format!("a row of `{from}` refers to a row of `{to}` that is not there")
        }
        Finding::StatusWithoutEnd { table, id, status } => {
            format!("{} {id} is {status}, but its end says otherwise", table.trim_end_matches('s'))
        }
        Finding::JobsOutliveBuild { build } => format!("build {build} is over, but not all of its jobs are"),
        Finding::Log { job, path, damage } => {
            format!("the log of job {job}, {}: {}", path.display(), of_log(damage))
        }
        Finding::File { path, damage } => format!("{}: {}", path.display(), of_file(damage)),
        Finding::LogOrphan(path) | Finding::FileOrphan(path) => path.display().to_string(),
        Finding::ReadableByOthers { path, mode } => {
            format!("{} may be read by others (mode {mode:o})", path.display())
        }
        Finding::KeyMissing { path } => format!("something is sealed, but {} is not there", path.display()),
    }
}

fn of_log(damage: &LogDamage) -> String {
    match damage {
        LogDamage::Missing { bytes } => format!("{bytes} bytes are gone"),
        LogDamage::Length { found, expected } => format!("it has {found} bytes instead of {expected}"),
        LogDamage::UnreadableFrom(byte) => format!("it cannot be read from byte {byte} on"),
        LogDamage::Packed(why) => format!("its packed file cannot be unpacked: {why}"),
        LogDamage::Incomplete => "the job succeeded, but its end is not in there".to_owned(),
    }
}

fn of_file(damage: &FileDamage) -> String {
    match damage {
        FileDamage::Missing { bytes } => format!("a file of {bytes} bytes is gone"),
        FileDamage::MissingInObjectStore(said) => said.clone(),
        FileDamage::Elsewhere => "it is in an object store that the settings do not name".to_owned(),
        FileDamage::Length { found, expected } => format!("it holds {found} bytes instead of {expected}"),
        FileDamage::Packed(why) => format!("it cannot be unpacked: {why}"),
    }
}

/// Says what to do about it.
pub(super) const fn help(finding: &Finding) -> &'static str {
    match finding {
        Finding::UnfinishedRestore { .. } => "run `longshore restore` again",
        Finding::OtherSchema { .. } => {
            "use the `longshore` of the version that serves this folder; nothing else was checked"
        }
        Finding::DatabaseDamaged(_) => {
            "stop the server, keep a copy of the folder, look at the disk, and restore the last backup"
        }
        Finding::ReferenceBroken { .. } => "another program wrote to the database: restore the last backup before that",
        Finding::StatusWithoutEnd { .. } | Finding::JobsOutliveBuild { .. } => {
            "restart the server; if it stays, report it with this output"
        }
        Finding::Log { .. } => {
            "restore a backup into another folder and take the log from there; the rest of the build is not concerned"
        }
        Finding::LogOrphan(_) => "nothing refers to it: it may be removed",
        Finding::File { damage: FileDamage::Elsewhere, .. } => {
            "give LONGSHORE_S3_ENDPOINT and the other settings of the object store, and it is looked at"
        }
        Finding::File { .. } => {
            "restore a backup into another folder and take the file from there, or run the job again"
        }
        Finding::FileOrphan(_) => "no artifact names it: it may be removed",
        Finding::ReadableByOthers { .. } => "`chmod 600` it: only the server's user may read it",
        Finding::KeyMissing { .. } => {
            "put secrets.key back, or give the key as LONGSHORE_SECRET_KEY; without it no secret, hook secret or clone credential can be read"
        }
    }
}
