//! Finds and reads the pipeline files of a commit or of a folder, without parsing them. Anything unusual is refused by
//! name, since these files decide what runs.

use std::{io::Read as _, os::unix::ffi::OsStrExt as _, path::Path};

use longshore_forge::CommitId;
use rustix::fs::{Mode, OFlags};

use super::{GitError, Mirror};

/// The pipeline language's limit.
const MAX_FILE_LEN: u64 = 256 * 1024;

/// More files than anybody writes by hand.
const MAX_FILES: usize = 100;

pub(super) const SINGLE: &str = ".longshore.yml";
const FOLDER: &str = ".longshore";

/// One file's text with its path in the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineFile {
    pub path: String,
    pub text: String,
}

fn refused(path: &str, why: impl Into<String>) -> GitError {
    GitError::PipelineFile { path: path.to_owned(), why: why.into() }
}

/// Returns the error for a pipeline file that is a link: nobody can tell whose file it leads to.
#[must_use]
pub fn link_refused(path: &str) -> GitError {
    refused(path, "is a symbolic link, which is refused: put the file itself there")
}

/// The kinds of entries at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Link,
    Folder,
    Other,
}

/// Selects the pipeline files from entries (path, kind, size, source), sorted by name.
fn select<T>(entries: Vec<(Vec<u8>, Kind, u64, T)>) -> Result<Vec<(String, T)>, GitError> {
    let mut files = Vec::new();
    let (mut single, mut folder) = (false, false);
    for (path, kind, size, source) in entries {
        let in_folder = path.starts_with(b".longshore/");
        let is_yaml = path.ends_with(b".yml") || path.ends_with(b".yaml");
        let shown = String::from_utf8_lossy(&path).into_owned();
        if shown == ".longshore.yaml" {
            return Err(refused(&shown, format!("is not read: rename it to `{SINGLE}`")));
        } else if shown == FOLDER {
            match kind {
                Kind::Folder => continue,
                Kind::Link => return Err(refused(&shown, "is a symbolic link, which is refused: make it a folder")),
                Kind::File | Kind::Other => return Err(refused(&shown, "is not a folder")),
            }
        } else if shown != SINGLE && (!in_folder || !is_yaml || kind == Kind::Folder) {
            continue;
        }
        match kind {
            Kind::File => {}
            Kind::Link => return Err(link_refused(&shown)),
            Kind::Folder | Kind::Other => return Err(refused(&shown, "is not a regular file")),
        }
        if size > MAX_FILE_LEN {
            return Err(refused(&shown, format!("has {size} bytes: 256 KiB at most")));
        }
        let path = String::from_utf8(path).map_err(|_| refused(&shown, "has a name that is not UTF-8"))?;
        single |= !in_folder;
        folder |= in_folder;
        files.push((path, source));
    }
    if single && folder {
        return Err(GitError::BothForms);
    }
    if files.len() > MAX_FILES {
        return Err(refused(FOLDER, format!("holds {} pipeline files: {MAX_FILES} at most", files.len())));
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(files)
}

fn decode_text(path: &str, bytes: Vec<u8>) -> Result<String, GitError> {
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        refused(path, format!("is not UTF-8 (line {line})"))
    })
}

impl Mirror {
    /// Returns the pipeline files at `commit`: `.longshore.yml`, or every `*.yml` and `*.yaml` directly in
    /// `.longshore/`. Empty if there is neither.
    ///
    /// # Errors
    /// [`GitError::BothForms`], [`GitError::PipelineFile`] for refused files, others if git fails.
    pub async fn pipeline_files(&self, commit: &CommitId) -> Result<Vec<PipelineFile>, GitError> {
        let list = self.git().in_repository(self.folder()).args([
            "ls-tree",
            "-z",
            "--long",
            "--full-tree",
            "--end-of-options",
            commit.as_str(),
            SINGLE,
            ".longshore.yaml",
            FOLDER,
            ".longshore/",
        ]);
        let list = list.output("listing pipeline files", &[]).await?;
        let parse = |record: &[u8]| {
            let tab = record.iter().position(|byte| *byte == b'\t')?;
            let facts = std::str::from_utf8(&record[..tab]).ok()?;
            let mut words = facts.split_ascii_whitespace();
            let (mode, _, object, size) = (words.next()?, words.next()?, words.next()?, words.next()?);
            let kind = match mode {
                "100644" | "100755" => Kind::File,
                "120000" => Kind::Link,
                "040000" => Kind::Folder,
                _ => Kind::Other,
            };
            Some((record[tab + 1..].to_vec(), kind, size.parse().unwrap_or(0), object.to_owned()))
        };
        let mut files = Vec::new();
        for (path, object) in select(list.split(|byte| *byte == 0).filter_map(parse).collect())? {
            // There is usually one file, so a process per file is simpler than a dialogue with one process.
            let read = self.git().in_repository(self.folder()).args(["cat-file", "blob", &object]);
            let text = decode_text(&path, read.output("reading a pipeline file", &[]).await?)?;
            files.push(PipelineFile { path, text });
        }
        Ok(files)
    }
}

/// Like [`Mirror::pipeline_files`], for a user's folder. Blocks while it reads the disk.
///
/// # Errors
/// As [`Mirror::pipeline_files`].
pub fn read_pipeline_files(folder: &Path) -> Result<Vec<PipelineFile>, GitError> {
    let io = |source| GitError::Io { what: "reading pipeline files", source };
    let mut entries = Vec::new();
    let mut add = |path: &Path| {
        if let Ok(metadata) = folder.join(path).symlink_metadata() {
            let kind = match metadata.file_type() {
                kind if kind.is_file() => Kind::File,
                kind if kind.is_symlink() => Kind::Link,
                kind if kind.is_dir() => Kind::Folder,
                _ => Kind::Other,
            };
            entries.push((path.as_os_str().as_bytes().to_vec(), kind, metadata.len(), path.to_owned()));
        }
    };
    for name in [SINGLE, ".longshore.yaml", FOLDER] {
        add(Path::new(name));
    }
    if folder.join(FOLDER).symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
        for entry in folder.join(FOLDER).read_dir().map_err(io)? {
            add(&Path::new(FOLDER).join(entry.map_err(io)?.file_name()));
        }
    }
    let read = |(path, place): (String, std::path::PathBuf)| {
        // It may have become a link or a pipe since it was examined.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open(folder.join(place), flags, Mode::empty()).map_err(|e| io(e.into()))?;
        let mut bytes = Vec::new();
        std::fs::File::from(file).take(MAX_FILE_LEN).read_to_end(&mut bytes).map_err(io)?;
        Ok(PipelineFile { text: decode_text(&path, bytes)?, path })
    };
    select(entries)?.into_iter().map(read).collect()
}
