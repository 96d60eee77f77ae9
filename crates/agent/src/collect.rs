//! Finds the files that a job leaves: those in the workspace that match the globs of its artifacts and reports.
//!
//! No process of the job runs any more, but a container that hangs, or somebody's `docker exec`, may still change
//! files. So no folder is entered and no file is opened through a link that leads out of the workspace, even if the
//! link was put there a moment ago; and only regular files are read. An artifact is taken whole or not at all: one that
//! exceeds a limit is refused, with the reason. `job` calls this and then reads the files.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use longshore_agent_protocol::{AnnouncedFile, ArtifactLimits};
use longshore_core::artifact::{self, ArtifactKind};
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags};

use crate::globs::Trees;

/// The most files and folders that are visited.
const MAX_VISITED: usize = 2_000_000;
/// How many of an artifact's left-out files are named in the log.
const MAX_NAMED: usize = 10;

/// An artifact, with all expressions evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArtifactRequest {
    /// Its place in the plan.
    pub(crate) place: u16,
    pub(crate) kind: ArtifactKind,
    pub(crate) name: String,
    pub(crate) paths: Vec<String>,
}

impl ArtifactRequest {
    /// Returns how messages name the artifact.
    fn shown(&self) -> String {
        match self.kind {
            ArtifactKind::Files => format!("artifact `{}`", self.name),
            ArtifactKind::Report(format) => format!("reports: {}", format.as_str()),
        }
    }
}

/// The files that were found.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) files: Vec<CollectedFile>,
    /// For the log.
    pub(crate) notes: Vec<String>,
    /// Why the first artifact that was refused is not saved. Refused reports are only noted.
    pub(crate) refused: Option<String>,
}

/// A file to send.
#[derive(Debug, Clone)]
pub(crate) struct CollectedFile {
    pub(crate) announced: AnnouncedFile,
    identity: Identity,
}

/// The properties that change when a file changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

impl CollectedFile {
    /// Opens the file, if it is still the same.
    pub(crate) fn open(&self, workspace: &Workspace) -> io::Result<File> {
        let file = workspace.open_file(Path::new(&self.announced.path))?;
        if self.is_unchanged(&file) { Ok(file) } else { Err(io::Error::other("it was replaced")) }
    }

    /// Returns whether the open file is as it was when it was found.
    pub(crate) fn is_unchanged(&self, file: &File) -> bool {
        file.metadata().is_ok_and(|now| Identity::of(&now) == self.identity)
    }
}

/// The workspace's folder, open. All paths are relative to it.
#[derive(Debug)]
pub(crate) struct Workspace(OwnedFd);

const OPEN_FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
// NONBLOCK: opening a pipe without a writer does not hang. NOCTTY: a terminal does not become our controlling terminal.
const OPEN_FILE: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

impl Workspace {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(CWD, path, OPEN_FOLDER, Mode::empty())?))
    }

    /// Opens a folder without following any link.
    fn open_folder(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut folder = rustix::fs::openat(&self.0, ".", OPEN_FOLDER, Mode::empty())?;
        for part in path {
            folder = rustix::fs::openat(&folder, part, OPEN_FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
        }
        Ok(folder)
    }

    /// Opens a regular file. A link is followed only inside the workspace.
    fn open_file(&self, path: &Path) -> io::Result<File> {
        let name = path.file_name().unwrap_or(OsStr::new(""));
        let opened = self
            .open_folder(path.parent().unwrap_or(Path::new("")))
            .and_then(|folder| Ok(rustix::fs::openat(&folder, name, OPEN_FILE | OFlags::NOFOLLOW, Mode::empty())?));
        let file = match opened {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
                rustix::fs::openat2(&self.0, path, OPEN_FILE, Mode::empty(), inside)?
            }
            opened => opened?,
        };
        let file = File::from(file);
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a file")) }
    }
}

/// Collects the files of all these artifacts in one pass.
pub(crate) fn collect(workspace: &Workspace, requests: &[ArtifactRequest], limits: &ArtifactLimits) -> Collected {
    let mut collecting = Collecting { limits, selections: Vec::new(), visited: 0, collected: Collected::default() };
    for request in requests {
        match Trees::new(request.paths.iter().map(String::as_str)) {
            Ok(trees) => collecting.selections.push(Selection::new(request, trees)),
            Err(error) => collecting.refuse(request, &format!("invalid paths: {error}")),
        }
    }
    collecting.walk(workspace);
    collecting.finish()
}

/// The files that were selected for one artifact.
struct Selection<'a> {
    request: &'a ArtifactRequest,
    trees: Trees,
    files: Vec<CollectedFile>,
    bytes: u64,
    refused: Option<String>,
    /// Some of the paths that are left out, each with the reason, and sorted by it.
    left_out: BTreeSet<(&'static str, String)>,
    left_out_count: usize,
}

impl<'a> Selection<'a> {
    const fn new(request: &'a ArtifactRequest, trees: Trees) -> Self {
        Self {
            request,
            trees,
            files: Vec::new(),
            bytes: 0,
            refused: None,
            left_out: BTreeSet::new(),
            left_out_count: 0,
        }
    }

    fn may_take_below(&self, folder: &Path) -> bool {
        self.refused.is_none() && self.trees.may_take_below(folder)
    }

    fn leave_out(&mut self, path: &Path, why: &'static str) {
        self.left_out_count += 1;
        if self.left_out.len() < MAX_NAMED {
            let shown: String = path.to_string_lossy().chars().take(200).collect();
            self.left_out.insert((why, shown.escape_debug().to_string()));
        }
    }

    fn refuse(&mut self, why: String) {
        self.refused = Some(why);
        self.files = Vec::new();
    }

    fn take(&mut self, path: &Path, found: &Metadata, limits: &ArtifactLimits) {
        let fault = match path.to_str() {
            None => Some("its name is not UTF-8"),
            Some(path) => artifact::path_fault(path),
        };
        if let Some(why) = fault {
            return self.leave_out(path, why);
        }
        let path = path.to_string_lossy().into_owned();
        if found.len() > limits.file_bytes {
            let message = format!(
                "`{path}` has {}, more than the limit of {} for a file (the server's `artifacts_file_mib`)",
                mib(found.len()),
                mib(limits.file_bytes)
            );
            return self.refuse(message);
        }
        if self.files.len() >= limits.files as usize {
            return self.refuse(format!(
                "it has more files than the limit of {} for a job (the server's `artifacts_files`)",
                limits.files
            ));
        }
        self.bytes += found.len();
        let announced = AnnouncedFile {
            artifact: self.request.place,
            name: self.request.name.clone(),
            path,
            bytes: found.len(),
            executable: found.mode() & 0o100 != 0,
        };
        self.files.push(CollectedFile { announced, identity: Identity::of(found) });
    }
}

/// The state of the one walk through the workspace.
struct Collecting<'a> {
    limits: &'a ArtifactLimits,
    selections: Vec<Selection<'a>>,
    visited: usize,
    collected: Collected,
}

impl Collecting<'_> {
    fn walk(&mut self, workspace: &Workspace) {
        let mut folders = vec![PathBuf::new()];
        while let Some(path) = folders.pop() {
            if self.visit(workspace, &path, &mut folders).is_err() {
                self.leave_out(&path, "the folder cannot be read");
            }
            if self.visited > MAX_VISITED {
                for selection in self.selections.iter_mut().filter(|selection| selection.refused.is_none()) {
                    selection.refuse(format!(
                        "finding its paths takes a search of more than {MAX_VISITED} files: name the folders that contain them"
                    ));
                }
            }
            if self.selections.iter().all(|selection| selection.refused.is_some()) {
                return;
            }
        }
    }

    /// Leaves a folder out of every artifact that could include something in it.
    fn leave_out(&mut self, folder: &Path, why: &'static str) {
        for selection in self.selections.iter_mut().filter(|selection| selection.may_take_below(folder)) {
            selection.leave_out(folder, why);
        }
    }

    fn visit(&mut self, workspace: &Workspace, path: &Path, folders: &mut Vec<PathBuf>) -> io::Result<()> {
        let folder = workspace.open_folder(path)?;
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") || (name == b".git" && path.as_os_str().is_empty()) {
                continue;
            }
            self.visited += 1;
            if self.visited > MAX_VISITED {
                return Ok(());
            }
            let below = path.join(OsStr::from_bytes(name));
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
                    let found = rustix::fs::statat(&folder, entry.file_name(), flags)?;
                    FileType::from_raw_mode(found.st_mode)
                }
                kind => kind,
            };
            if kind == FileType::Directory {
                if below.as_os_str().len() > artifact::MAX_PATH {
                    self.leave_out(&below, "its path is too long");
                } else if self.selections.iter().any(|selection| selection.may_take_below(&below)) {
                    folders.push(below);
                }
                continue;
            }
            let limits = *self.limits;
            let takers = self
                .selections
                .iter_mut()
                .filter(|selection| selection.refused.is_none() && selection.trees.take(&below));
            let mut takers = takers.peekable();
            if takers.peek().is_none() {
                continue;
            }
            let found = match kind {
                FileType::RegularFile | FileType::Symlink => {
                    workspace.open_file(&below).and_then(|file| file.metadata()).map_err(|_| match kind {
                        FileType::Symlink => "the link does not point to a file in the workspace",
                        _ => "it cannot be read",
                    })
                }
                _ => Err("it is neither a file nor a folder"),
            };
            for selection in takers {
                match &found {
                    Ok(found) => selection.take(&below, found, &limits),
                    Err(why) => selection.leave_out(&below, why),
                }
            }
        }
        Ok(())
    }

    fn refuse(&mut self, request: &ArtifactRequest, why: &str) {
        let message = format!("{} not saved: {why}", request.shown());
        if request.kind == ArtifactKind::Files {
            self.collected.refused.get_or_insert_with(|| message.clone());
        }
        self.collected.notes.push(message);
    }

    fn finish(mut self) -> Collected {
        let mut bytes = 0;
        let mut files = 0;
        for mut selection in std::mem::take(&mut self.selections) {
            if selection.left_out_count > 0 {
                let named: Vec<String> =
                    selection.left_out.iter().map(|(why, path)| format!("`{path}` ({why})")).collect();
                let more = match selection.left_out_count - named.len() {
                    0 => String::new(),
                    more => format!(", and {more} more"),
                };
                self.collected.notes.push(format!(
                    "{}: left out {}{more}",
                    selection.request.shown(),
                    named.join(", ")
                ));
            }
            if selection.refused.is_none() && bytes + selection.bytes > self.limits.job_bytes {
                selection.refused = Some(format!(
                    "with it, the job's artifacts have more than the limit of {} (the server's `artifacts_job_mib`)",
                    mib(self.limits.job_bytes)
                ));
            }
            if selection.refused.is_none() && files + selection.files.len() > self.limits.files as usize {
                selection.refused = Some(format!(
                    "with it, the job's artifacts have more than the limit of {} files (the server's `artifacts_files`)",
                    self.limits.files
                ));
            }
            if let Some(why) = &selection.refused {
                self.refuse(selection.request, why);
                continue;
            }
            if selection.files.is_empty() {
                let globs: Vec<String> = selection.request.paths.iter().map(|path| format!("`{path}`")).collect();
                self.collected.notes.push(format!(
                    "{}: no files match {}",
                    selection.request.shown(),
                    globs.join(", ")
                ));
                continue;
            }
            bytes += selection.bytes;
            files += selection.files.len();
            selection.files.sort_by(|a, b| a.announced.path.cmp(&b.announced.path));
            self.collected.files.append(&mut selection.files);
        }
        self.collected
    }
}

/// Shows a size in MiB, or in bytes if it is less than one.
fn mib(bytes: u64) -> String {
    if bytes < 1 << 20 { format!("{bytes} bytes") } else { format!("{} MiB", bytes.div_ceil(1 << 20)) }
}
