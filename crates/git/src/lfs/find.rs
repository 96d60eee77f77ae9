//! Finds the files that are pointers: those whose `.gitattributes` give them the filter `lfs`, and whose content is
//! one.

use std::{collections::HashMap, ffi::OsStr, io::Read as _, os::unix::ffi::OsStrExt as _, path::Path};

use longshore_forge::lfs::{MAX_POINTER, Pointer};
use rustix::fs::{Mode, OFlags};
use tokio::task::spawn_blocking;

use super::MAX_FILES;
use crate::{Git, GitError, command::Invocation, git_dir::IndexEntry};

/// Returns the pointers of a commit, by their paths. `dot_git` is the `.git` of its checkout, with its index.
pub(crate) async fn in_commit(
    git: &Git,
    dot_git: &Path,
    entries: &[IndexEntry],
) -> Result<HashMap<Vec<u8>, Pointer>, GitError> {
    let files: HashMap<&[u8], &IndexEntry> =
        entries.iter().filter(|entry| entry.is_file()).map(|entry| (entry.path.as_slice(), entry)).collect();
    let root = dot_git.parent().unwrap_or(dot_git);
    let ask = git.in_repository(dot_git).env("GIT_WORK_TREE", root).args(["check-attr", "--cached"]);
    let mut filtered = with_filter(ask, files.keys().copied()).await?;
    filtered.sort();
    if filtered.len() > MAX_FILES {
        let have = filtered.len();
        return Err(GitError::LfsLimit(format!(
            "a commit may have {MAX_FILES} files in Git LFS, and this one has {have}"
        )));
    }
    let entry_of = |path: &Vec<u8>| files.get(path.as_slice()).copied();
    let list = |paths: &[Vec<u8>]| -> String {
        paths.iter().filter_map(entry_of).map(|entry| format!("{}\n", entry.object)).collect()
    };
    let reading = "reading pointers of Git LFS";
    let cat = |how: &str| git.in_repository(dot_git).args(["cat-file", how, "--buffer"]);
    let sizes = cat("--batch-check=%(objectsize)").output(reading, list(&filtered).as_bytes()).await?;
    let sizes: Vec<Option<u64>> =
        sizes.split(|byte| *byte == b'\n').map(|size| std::str::from_utf8(size).ok()?.parse().ok()).collect();
    let small: Vec<Vec<u8>> = filtered
        .into_iter()
        .zip(sizes)
        .filter(|(_, size)| size.is_some_and(|size| size < MAX_POINTER))
        .map(|(path, _)| path)
        .collect();
    if small.is_empty() {
        return Ok(HashMap::new());
    }
    let contents = cat("--batch").output(reading, list(&small).as_bytes()).await?;
    let strange = || GitError::Failed { operation: reading, detail: "its answer cannot be parsed".to_owned() };
    let (mut rest, mut found) = (contents.as_slice(), HashMap::new());
    for path in small {
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or_else(strange)?;
        let size =
            std::str::from_utf8(&rest[..end]).ok().and_then(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
        let size = size.filter(|size| end + 1 + size < rest.len()).ok_or_else(strange)?;
        let content = &rest[end + 1..end + 1 + size];
        rest = &rest[end + 2 + size..];
        if let Some(pointer) = read(&path, content)? {
            found.insert(path, pointer);
        }
    }
    Ok(found)
}

/// Returns the pointers among these files of a folder, as they are on the disk.
pub(crate) async fn in_folder(
    git: &Git,
    folder: &Path,
    files: &[Vec<u8>],
) -> Result<HashMap<Vec<u8>, Pointer>, GitError> {
    let filtered = with_filter(git.in_folder(folder).args(["check-attr"]), files.iter().map(Vec::as_slice)).await?;
    let folder = folder.to_owned();
    let search = move || -> Result<HashMap<Vec<u8>, Pointer>, GitError> {
        let mut found = HashMap::new();
        for path in filtered {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            // Gone, or a link: packing says what there is to say.
            let Ok(file) = rustix::fs::open(folder.join(OsStr::from_bytes(&path)), flags, Mode::empty()) else {
                continue;
            };
            let file = std::fs::File::from(file);
            if file.metadata().is_ok_and(|facts| facts.is_file() && facts.len() < MAX_POINTER) {
                let mut content = Vec::new();
                file.take(MAX_POINTER)
                    .read_to_end(&mut content)
                    .map_err(GitError::io("reading pointers of Git LFS"))?;
                if let Some(pointer) = read(&path, &content)? {
                    found.insert(path, pointer);
                }
            }
        }
        Ok(found)
    };
    spawn_blocking(search)
        .await
        .map_err(|error| GitError::Io { what: "reading pointers of Git LFS", source: std::io::Error::other(error) })?
}

fn read(path: &[u8], content: &[u8]) -> Result<Option<Pointer>, GitError> {
    let path = || String::from_utf8_lossy(path).into_owned();
    Pointer::read(content).map_err(|why| GitError::LfsPointer { path: path(), why })
}

/// Returns which of these paths have the filter `lfs`.
async fn with_filter<'p>(
    check_attr: Invocation,
    paths: impl Iterator<Item = &'p [u8]>,
) -> Result<Vec<Vec<u8>>, GitError> {
    let list: Vec<u8> = paths.flat_map(|path| path.iter().copied().chain([0])).collect();
    let answer = check_attr.args(["--stdin", "-z", "filter"]).output("reading attributes", &list).await?;
    let fields: Vec<&[u8]> = answer.split(|byte| *byte == 0).collect();
    Ok(fields.chunks_exact(3).filter(|record| record[2] == b"lfs").map(|record| record[0].to_vec()).collect())
}
