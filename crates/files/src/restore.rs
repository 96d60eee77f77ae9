//! Restores a backup into an empty data folder: unpacks it in a subfolder, verifies it completely, and only then moves
//! it into place.
//!
//! Called by `longshore restore`. Takes the server's own lock of the folder, so that no server starts on half of it. A
//! killed restore leaves `<data>/restore` behind: servers then refuse the folder, and the next restore starts over.
//! Paths in the tar are not trusted: only the names of a backup are accepted.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, BufWriter, Read, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Component, Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use crate::{
    FilesError,
    archive::{FORMAT, Hashing, MANIFEST, Manifest, SUMS},
    folder, lock,
};

/// Far longer than any manifest.
const MAX_MANIFEST: u64 = 1 << 20;
/// The checksums of the unpacked files, to compare with those of the backup.
const SEEN: &str = "SHA256SUMS.seen";
/// The names that may exist in a folder that counts as empty.
const IGNORED_NAMES: [&str; 3] = [folder::LOCK, folder::BACKUP_LOCK, "lost+found"];

/// Unpacks a backup into `data_dir`, which is created if it is missing. Refuses a database newer than `newest_schema`.
/// Blocks.
///
/// Returns [`FilesError::Locked`] while a server has the folder open, [`FilesError::NotEmpty`] if it contains
/// something, and [`FilesError::Backup`] if the backup is incomplete or not one; the folder is then as empty as before.
pub fn read(data_dir: &Path, input: impl Read, newest_schema: i64) -> Result<Manifest, FilesError> {
    fs::create_dir_all(data_dir).map_err(|source| FilesError::io(data_dir, source))?;
    let _lock = lock::take(data_dir)?;
    clear_unfinished_restore(data_dir)?;
    let staging = data_dir.join(folder::RESTORE);
    fs::create_dir(&staging).map_err(|source| FilesError::io(&staging, source))?;
    let restored = unpack(&staging, input).and_then(|manifest| {
        verify(&staging, &manifest, newest_schema)?;
        put_in_place(data_dir, &staging)?;
        Ok(manifest)
    });
    if restored.is_err() {
        clear_unfinished_restore(data_dir)?;
    }
    restored
}

/// Declares that the folder replaces the one that its database came from: the next server on it takes over the running
/// jobs, and the old server's objects on the engine. Call it before that server's first start, when the other server is
/// gone for good. Blocks.
///
/// Returns [`FilesError::Locked`] while a server has the folder open, and [`FilesError::Backup`] if there is no whole
/// database.
pub fn take_over(data_dir: &Path) -> Result<(), FilesError> {
    if !folder::database(data_dir).is_file() || data_dir.join(folder::RESTORE).exists() {
        let message =
            format!("{} does not hold a complete database: restore a backup into it first", data_dir.display());
        return Err(FilesError::Backup(message));
    }
    let _lock = lock::take(data_dir)?;
    let mark = data_dir.join(folder::IDENTITY);
    folder::write_private(&mark, folder::TAKE_OVER).map_err(|source| FilesError::io(&mark, source))?;
    let owner = fs::metadata(data_dir).map_err(|source| FilesError::io(data_dir, source))?;
    std::os::unix::fs::lchown(&mark, Some(owner.uid()), Some(owner.gid()))
        .map_err(|source| FilesError::io(&mark, source))
}

/// Removes what an unfinished restore has left. Fails if the folder contains anything else.
fn clear_unfinished_restore(data_dir: &Path) -> Result<(), FilesError> {
    let at = |source| FilesError::io(data_dir, source);
    let unfinished = data_dir.join(folder::RESTORE).is_dir();
    let mut ours = Vec::new();
    for entry in fs::read_dir(data_dir).map_err(at)? {
        let entry = entry.map_err(at)?;
        let name = entry.file_name();
        if IGNORED_NAMES.iter().any(|ignored| name == *ignored) {
            continue;
        }
        if !unfinished {
            return Err(FilesError::NotEmpty(format!(
                "{} is not empty (there is `{}`): restore into an empty folder, and point the server at that",
                data_dir.display(),
                name.display()
            )));
        }
        ours.push(entry.path());
    }
    // The folder that proves that all of it is ours is removed last.
    ours.sort_by_key(|path| path.ends_with(folder::RESTORE));
    for path in ours {
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(|source| FilesError::io(&path, source))?;
    }
    Ok(())
}

/// Unpacks everything into `staging`, with the checksums of the unpacked files.
fn unpack(staging: &Path, input: impl Read) -> Result<Manifest, FilesError> {
    let broken = |error: io::Error| FilesError::Backup(format!("this is not a complete backup: {error}"));
    let seen_path = staging.join(SEEN);
    let seen = File::create(&seen_path).map_err(|source| FilesError::io(&seen_path, source))?;
    let mut seen = BufWriter::new(seen);
    let mut archive = tar::Archive::new(input);
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name = entry.path().map_err(broken)?.into_owned();
        if !entry.header().entry_type().is_file() || !is_known(&name) {
            return Err(FilesError::Backup(format!(
                "this is not a backup of Longshore: it contains `{}`",
                name.display()
            )));
        }
        let path = staging.join(&name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|source| FilesError::io(folder, source))?;
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| FilesError::io(&path, source))?;
        let mut hashing = Hashing { inner: &mut entry, hash: Sha256::new() };
        copy(&mut hashing, &mut file, &path)?;
        if name == Path::new(MANIFEST) {
            seen.flush().map_err(|source| FilesError::io(&seen_path, source))?;
            return read_manifest(&path);
        }
        let sum = hex::encode(hashing.hash.finalize());
        writeln!(seen, "{sum}  {}", name.display()).map_err(|source| FilesError::io(&seen_path, source))?;
    }
    Err(FilesError::Backup(format!("the backup was cut off: it does not end in {MANIFEST}; take another one")))
}

/// Copies, and distinguishes a tar that ends too early from a full disk.
fn copy(from: &mut impl Read, to: &mut File, path: &Path) -> Result<(), FilesError> {
    let mut buffer = vec![0; 128 << 10];
    loop {
        let read = from
            .read(&mut buffer)
            .map_err(|error| FilesError::Backup(format!("the backup cannot be read any further: {error}")))?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..read]).map_err(|source| FilesError::io(path, source))?;
    }
}

/// Returns whether a backup has a file of this name: the database, the private files, `logs/<yyyy-mm>/<dd>/<name>`,
/// `artifacts/blobs/<xx>/<name>`, `artifacts/elsewhere/<xx>/<name>`, checksums and manifest.
fn is_known(name: &Path) -> bool {
    let parts: Option<Vec<&str>> = name
        .components()
        .map(|part| match part {
            Component::Normal(part) => part.to_str(),
            Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => None,
        })
        .collect();
    match parts.as_deref() {
        Some([folder::DATABASE | SUMS | MANIFEST]) => true,
        Some([name]) => folder::PRIVATE.contains(name),
        Some([folder::LOGS, rest @ .., _]) => rest.len() <= 2,
        Some([folder::ARTIFACTS, folder::BLOBS | folder::ELSEWHERE, _, _]) => true,
        _ => false,
    }
}

fn read_manifest(path: &Path) -> Result<Manifest, FilesError> {
    let mut text = String::new();
    let file = File::open(path).map_err(|source| FilesError::io(path, source))?;
    file.take(MAX_MANIFEST).read_to_string(&mut text).map_err(|source| FilesError::io(path, source))?;
    let value: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| FilesError::Backup(format!("the backup's {MANIFEST} cannot be read: {error}")))?;
    // Check the format first: a later one may have other fields.
    if value["format"] != FORMAT {
        return Err(FilesError::Backup(format!(
            "the backup has format {}, this program reads {FORMAT}: use the version that made it ({})",
            value["format"], value["longshore"]
        )));
    }
    serde_json::from_value(value)
        .map_err(|error| FilesError::Backup(format!("the backup's {MANIFEST} cannot be read: {error}")))
}

fn verify(staging: &Path, manifest: &Manifest, newest: i64) -> Result<(), FilesError> {
    if manifest.schema > newest {
        return Err(FilesError::Backup(format!(
            "the backup was made by Longshore {} with schema {}, this program knows {newest}: use that version or a later one",
            manifest.longshore, manifest.schema
        )));
    }
    let damaged = |what: &str| FilesError::Backup(format!("the backup is damaged: {what}; take another one"));
    let (sums, seen) = (staging.join(SUMS), staging.join(SEEN));
    let mut hash = Hashing { inner: open(&sums)?, hash: Sha256::new() };
    io::copy(&mut hash, &mut io::sink()).map_err(|source| FilesError::io(&sums, source))?;
    if hex::encode(hash.hash.finalize()) != manifest.sums_sha256 {
        return Err(damaged("its sums are not those that it was made with"));
    }
    // Files were unpacked in the order in which the checksums were written; only the line of the checksums file itself
    // is missing.
    let mut seen_lines = open(&seen)?.lines();
    let mut files = 0;
    for line in open(&sums)?.lines() {
        let line = line.map_err(|source| FilesError::io(&sums, source))?;
        let seen_line = seen_lines.next().transpose().map_err(|source| FilesError::io(&seen, source))?;
        if seen_line.as_deref() != Some(&line) {
            return Err(damaged(&format!("`{}` is not what it was", line.get(66..).unwrap_or(&line))));
        }
        files += 1;
    }
    if files != manifest.files || seen_lines.count() != 1 {
        return Err(damaged("it has other files than it was made with"));
    }
    if !folder::database(staging).is_file() {
        return Err(damaged("it contains no database"));
    }
    Ok(())
}

fn open(path: &Path) -> Result<BufReader<File>, FilesError> {
    File::open(path).map(BufReader::new).map_err(|source| FilesError::io(path, source))
}

/// Moves the files into place, the database last, after everything is synced to disk. Then removes the sign of an
/// unfinished restore.
fn put_in_place(data_dir: &Path, staging: &Path) -> Result<(), FilesError> {
    let at = |source| FilesError::io(data_dir, source);
    for name in [SUMS, SEEN, MANIFEST] {
        let path = staging.join(name);
        fs::remove_file(&path).map_err(|source| FilesError::io(&path, source))?;
    }
    // A server on this folder is not the backup's server, which may still run.
    let mark = staging.join(folder::IDENTITY);
    folder::write_private(&mark, folder::RESTORED).map_err(|source| FilesError::io(&mark, source))?;
    give_to_owner_of(data_dir, staging)?;
    for name in [folder::LOGS, folder::ARTIFACTS, folder::IDENTITY].into_iter().chain(folder::PRIVATE) {
        let from = staging.join(name);
        if from.exists() {
            fs::rename(&from, data_dir.join(name)).map_err(|source| FilesError::io(&from, source))?;
        }
    }
    let folder = File::open(data_dir).map_err(at)?;
    rustix::fs::syncfs(&folder).map_err(|error| at(error.into()))?;
    fs::rename(folder::database(staging), folder::database(data_dir)).map_err(at)?;
    folder.sync_all().map_err(at)?;
    fs::remove_dir(staging).map_err(|source| FilesError::io(staging, source))?;
    folder.sync_all().map_err(at)
}

/// Gives the files to the user who owns the folder (a container's volume), if root restores.
fn give_to_owner_of(data_dir: &Path, staging: &Path) -> Result<(), FilesError> {
    let owner = fs::metadata(data_dir).map_err(|source| FilesError::io(data_dir, source))?;
    let ours = fs::metadata(staging).map_err(|source| FilesError::io(staging, source))?;
    if (owner.uid(), owner.gid()) == (ours.uid(), ours.gid()) {
        return Ok(());
    }
    let mut waiting: Vec<PathBuf> = vec![staging.to_owned(), data_dir.join(folder::LOCK)];
    while let Some(path) = waiting.pop() {
        let at = |source| FilesError::io(&path, source);
        std::os::unix::fs::lchown(&path, Some(owner.uid()), Some(owner.gid())).map_err(at)?;
        if path.is_dir() {
            for entry in fs::read_dir(&path).map_err(at)? {
                waiting.push(entry.map_err(at)?.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_that_a_backup_has_are_taken_from_a_tar() {
        for good in [
            "longshore.db",
            "admin-token",
            "secrets.key",
            "logs/2026-01/02/x-1.log",
            "artifacts/blobs/ab/abcd.zst",
            "artifacts/elsewhere/ab/abcd",
            "manifest.json",
            SUMS,
        ] {
            assert!(is_known(Path::new(good)), "{good}");
        }
        for bad in [
            "/longshore.db",
            "../x",
            "logs",
            "artifacts/incoming/x",
            "artifacts/blobs/../x",
            "logs/../../x",
            "logs/a/b/c/d",
            "lock",
            "mirrors/x",
            "",
            "logs/./../x",
        ] {
            assert!(!is_known(Path::new(bad)), "{bad}");
        }
    }
}
