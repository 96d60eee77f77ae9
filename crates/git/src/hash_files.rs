//! `hash-files(...)` for the keys of caches, before any container exists: of a commit, from git's own hashes of its
//! files, so that no file is read; of a working tree, from the files that were packed.
//!
//! Only plain files count, in the order of their paths, so the hash is the same on every machine. It is not the one
//! that a step gets: a commit's is made of git's hashes, a step's of the contents.

use std::{io, path::Path};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use longshore_forge::CommitId;
use sha2::{Digest as _, Sha256};

use super::{GitError, Mirror, TarSource, checkout::now, tar_writer::TarWriter};

impl Mirror {
    /// Returns the hash over the commit's files that match; empty if none does. A pattern that begins with `!` excludes
    /// files. The inner error is for people: a pattern is invalid.
    ///
    /// # Errors
    /// If git fails.
    pub async fn hash_files(&self, commit: &CommitId, patterns: &[String]) -> Result<Result<String, String>, GitError> {
        let patterns = match Patterns::parse(patterns) {
            Ok(patterns) => patterns,
            Err(why) => return Ok(Err(why)),
        };
        let list = ["ls-tree", "-r", "-z", "--full-tree", "--end-of-options", commit.as_str()];
        let list = self.git().in_repository(self.folder()).args(list).output("listing a commit's files", &[]).await?;
        let mut found = Vec::new();
        for record in list.split(|byte| *byte == 0) {
            let Some(tab) = record.iter().position(|byte| *byte == b'\t') else { continue };
            let facts = String::from_utf8_lossy(&record[..tab]);
            let mut words = facts.split(' ');
            let (Some("100644" | "100755"), Some(_), Some(object)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let path = &record[tab + 1..];
            if patterns.admit(&String::from_utf8_lossy(path)) {
                found.push((path.to_vec(), object.as_bytes().to_vec()));
            }
        }
        Ok(Ok(hash_of_hashes(found)))
    }
}

impl Mirror {
    /// Returns a hash over the names, modes and contents of the commit's files that these globs name, and over
    /// everything that decides how they are checked out: all `.gitattributes`, and submodules. `None` if they name no
    /// file.
    ///
    /// # Errors
    /// If a glob is invalid, or git fails.
    pub async fn hash_tree(&self, commit: &CommitId, globs: &[String]) -> Result<Option<String>, GitError> {
        let only = FileFilter::parse(globs)?;
        let list = ["ls-tree", "-r", "-z", "--full-tree", "--end-of-options", commit.as_str()];
        let list = self.git().in_repository(self.folder()).args(list).output("listing a commit's files", &[]).await?;
        let (mut all, mut any) = (Sha256::new(), false);
        for record in list.split(|byte| *byte == 0) {
            let Some(tab) = record.iter().position(|byte| *byte == b'\t') else { continue };
            let (facts, path) = (&record[..tab], &record[tab + 1..]);
            let named = only.admits(path);
            any |= named;
            let decides = path.rsplit(|byte| *byte == b'/').next() == Some(b".gitattributes") || path == b".gitmodules";
            if named || decides || facts.starts_with(b"160000") {
                all.update([u8::from(named)]);
                all.update(record);
                all.update([0]);
            }
        }
        Ok(any.then(|| hex::encode(all.finalize())))
    }
}

impl TarSource {
    /// Returns a tar of the files in it that these globs name, without a `.git`.
    ///
    /// # Errors
    /// If a glob is invalid, or the disk fails.
    pub async fn only(&self, globs: &[String]) -> Result<Self, GitError> {
        let only = FileFilter::parse(globs)?;
        let narrowing = GitError::io("choosing the workspace's files");
        let file = self.open().await.map_err(GitError::io("choosing the workspace's files"))?.into_std().await;
        let narrow = move || -> io::Result<Self> {
            let mut archive = tar::Archive::new(io::BufReader::with_capacity(1 << 20, file));
            let mut out = TarWriter::new(io::BufWriter::with_capacity(1 << 20, tempfile::tempfile()?), now());
            let mut any = false;
            for entry in archive.entries()? {
                let mut entry = entry?;
                let (kind, path) = (entry.header().entry_type(), entry.path_bytes().into_owned());
                if kind.is_dir() || path.starts_with(b".git/") || !only.admits(&path) {
                    continue;
                }
                any = true;
                if kind.is_symlink() {
                    let target = entry.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default();
                    out.link(&path, &target)?;
                } else {
                    let (executable, size) = (entry.header().mode()? & 0o100 != 0, entry.size());
                    out.file(&path, executable, size, &mut entry)?;
                }
            }
            if !any {
                return Err(io::Error::other("the globs of `reuse` name no file"));
            }
            Self::new(out.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?)
        };
        tokio::task::spawn_blocking(narrow).await.map_err(io::Error::other).flatten().map_err(narrowing)
    }

    /// Like [`Mirror::hash_files`], over the files in the tar.
    ///
    /// # Errors
    /// If the tar cannot be read.
    pub async fn hash_files(&self, patterns: &[String]) -> io::Result<Result<String, String>> {
        let patterns = match Patterns::parse(patterns) {
            Ok(patterns) => patterns,
            Err(why) => return Ok(Err(why)),
        };
        let file = self.open().await?.into_std().await;
        let read = tokio::task::spawn_blocking(move || {
            let mut archive = tar::Archive::new(io::BufReader::with_capacity(1 << 20, file));
            let mut found = Vec::new();
            for entry in archive.entries_with_seek()? {
                let mut entry = entry?;
                let path = entry.path()?.into_owned();
                if !entry.header().entry_type().is_file()
                    || path.starts_with(".git")
                    || !patterns.admit(&path.to_string_lossy())
                {
                    continue;
                }
                let mut hash = HashWriter(Sha256::new());
                io::copy(&mut entry, &mut hash)?;
                found.push((path.into_os_string().into_encoded_bytes(), hash.0.finalize().to_vec()));
            }
            Ok(hash_of_hashes(found))
        });
        Ok(Ok(read.await.map_err(io::Error::other).flatten()?))
    }
}

/// Returns one hash over the files' hashes, in the order of their paths. The paths themselves are not in it.
fn hash_of_hashes(mut files: Vec<(Vec<u8>, Vec<u8>)>) -> String {
    if files.is_empty() {
        return String::new();
    }
    files.sort();
    let mut all = Sha256::new();
    for (_, hash) in files {
        all.update(hash);
    }
    hex::encode(all.finalize())
}

struct HashWriter(Sha256);

impl io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The files that a job is narrowed to.
pub(crate) struct FileFilter(Patterns);

impl FileFilter {
    pub(crate) fn parse(globs: &[String]) -> Result<Self, GitError> {
        let failed = |why| GitError::Failed { operation: "reading `reuse`", detail: why };
        Patterns::parse(globs).map(Self).map_err(failed)
    }

    pub(crate) fn admits(&self, path: &[u8]) -> bool {
        self.0.admit(&String::from_utf8_lossy(path))
    }
}

struct Patterns {
    take: GlobSet,
    leave: GlobSet,
}

impl Patterns {
    fn parse(patterns: &[String]) -> Result<Self, String> {
        let (leave, take): (Vec<_>, Vec<_>) = patterns.iter().partition(|pattern| pattern.starts_with('!'));
        Ok(Self {
            take: globs(take.iter().map(|pattern| pattern.as_str()))?,
            leave: globs(leave.iter().map(|pattern| &pattern[1..]))?,
        })
    }

    fn admit(&self, path: &str) -> bool {
        let path = Path::new(path);
        self.take.is_match(path) && !self.leave.is_match(path)
    }
}

fn globs<'a>(patterns: impl Iterator<Item = &'a str>) -> Result<GlobSet, String> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
        set.add(GlobBuilder::new(pattern).literal_separator(true).build().map_err(|error| error.to_string())?);
    }
    set.build().map_err(|error| error.to_string())
}
