//! `hash-files(...)`: one hash over the workspace's files that match some globs.
//!
//! Links are not followed, `.git` is left out, and files are sorted by path, so the same files have the same hash
//! on every machine. `values` calls this when an expression asks for it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::globs::Globs;

/// Returns the hash, 64 hexadecimal digits; empty if no file matches. A pattern that begins with `!` excludes files.
pub(crate) fn hash_files(workspace: &Path, patterns: &[String]) -> Result<String, String> {
    let globs = Globs::of_files(patterns.iter().map(String::as_str))?;
    let mut found = Vec::new();
    visit_files(workspace, Path::new(""), &mut |path| {
        if globs.take(path) {
            found.push(path.to_owned());
        }
    })
    .map_err(|error| error.to_string())?;
    if found.is_empty() {
        return Ok(String::new());
    }
    found.sort();
    let mut all = Sha256::new();
    for path in found {
        let mut one = Sha256::new();
        File::open(workspace.join(&path))
            .and_then(|mut file| io::copy(&mut file, &mut io::BufWriter::with_capacity(64 << 10, HashWriter(&mut one))))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        all.update(one.finalize());
    }
    Ok(hex::encode(all.finalize()))
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn visit_files(root: &Path, folder: &Path, each: &mut impl FnMut(&Path)) -> io::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let path: PathBuf = folder.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_file() {
            each(&path);
        } else if kind.is_dir() && path != Path::new(".git") {
            visit_files(root, &path, each)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(root: &Path, patterns: &[&str]) -> String {
        hash_files(root, &patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_hash_changes_with_the_files_that_match_and_with_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("Cargo.lock"), "one").unwrap();
        fs::write(root.join("a/b/Cargo.lock"), "two").unwrap();
        fs::write(root.join("other"), "x").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.join("link.lock")).unwrap();
        let (top, all) = (hash(root, &["Cargo.lock"]), hash(root, &["**/Cargo.lock"]));
        assert_eq!(top.len(), 64);
        assert_ne!(top, all);
        assert_eq!(hash(root, &["**/Cargo.lock", "!a/**"]), top);
        assert_eq!(hash(root, &["*.nothing"]), "");
        assert_eq!(hash(root, &["link.lock"]), "");
        fs::write(root.join("other"), "y").unwrap();
        assert_eq!(hash(root, &["**/Cargo.lock"]), all);
        fs::write(root.join("Cargo.lock"), "three").unwrap();
        assert_ne!(hash(root, &["**/Cargo.lock"]), all);
    }
}
