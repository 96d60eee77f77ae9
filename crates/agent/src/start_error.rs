//! Finds out why a step's program did not start and who is at fault, from the kernel's error and the files involved.
//!
//! One error of the kernel covers several causes: "no such file" also means that a program's loader is missing. `step`
//! calls this when a program could not be run. It knows nothing of jobs.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use longshore_agent_protocol::message::AgentError;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::account::Account;
use crate::files::{self, MAX_VARIABLE};

/// How many bytes of a program are read to identify it.
const MAX_HEADER: u64 = 64 << 10;
/// How many interpreters are followed: an interpreter can itself be a script.
const MAX_INTERPRETERS: usize = 4;
/// The exit code of a step that did not start, as in shells.
pub(crate) const NOT_STARTED: i32 = 126;

/// Why a step did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(
        "the image has no `{program}` (looked for in {path}): use an image that has it, or choose another with the step's `shell`"
    )]
    NoShell { program: String, path: String },
    #[error("the image has neither an ENTRYPOINT nor a CMD: write `command` or `run`")]
    NoProgram,
    #[error("the image has no program `{program}` (looked for in {path})")]
    ProgramMissing { program: String, path: String },
    #[error(
        "`{program}` cannot be executed by {user}: check its mode, and whether its file system is mounted `noexec`"
    )]
    NotExecutable { program: String, user: String, of_workspace: bool },
    #[error(
        "`{program}` is a program for {theirs}, and this engine runs {ours}: use an image for {ours}, or install emulation of {theirs} (binfmt) on the engine's host"
    )]
    Foreign { program: String, theirs: String, ours: String, of_workspace: bool },
    #[error("`{program}` is not a program: neither one for this machine nor a script that begins with `#!`")]
    NotAProgram { program: String, of_workspace: bool },
    #[error(
        "`{program}` needs `{loader}` to be loaded, which is not in the image: use an image that has it, or a program that is linked statically"
    )]
    NoLoader { program: String, loader: String, of_workspace: bool },
    #[error(
        "the variable `{name}` has {length} bytes including its name, and the kernel passes a program at most 128 KiB in one variable: write it to a file instead"
    )]
    LongVariable { name: String, length: usize },
    #[error(
        "the step's variables have {} KiB together, more than the kernel passes to a program; the longest are {longest}: write them to files instead",
        .length >> 10
    )]
    LongEnvironment { length: usize, longest: String },
    #[error("the working directory {path} does not exist")]
    NoDirectory { path: String },
    #[error("the working directory {path} is not inside the workspace")]
    OutsideDirectory { path: String },
    #[error("the workspace is gone: a step removed or moved {path}")]
    NoWorkspace { path: String },
    #[error("the folder of the steps' scripts is gone: a step removed or moved {path}")]
    NoScripts { path: String },
    #[error("the script file {path} cannot be written: {source}")]
    Script { path: String, source: io::Error },
    #[error("the terminal cannot be opened: {0}")]
    Terminal(io::Error),
    #[error(
        "the job has {current} processes and threads, and the limit is {most}: stop those that steps left running, or raise `resources: pids`"
    )]
    TooManyProcesses { current: u64, most: u64 },
    #[error("the process cannot be started (too many processes on the engine's host, or not enough memory?): {0}")]
    Spawn(io::Error),
}

/// Who is at fault when a step does not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The pipeline or a command: the step fails.
    Commands,
    /// The image or Longshore: the whole job ends with this error.
    Job(AgentError),
    /// Longshore, but the next attempt may succeed.
    Transient(AgentError),
}

impl StartError {
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::NoShell { .. } | Self::NoProgram | Self::ProgramMissing { .. } => {
                Fault::Job(AgentError::ImageUnusable)
            }
            Self::NotExecutable { of_workspace, .. }
            | Self::Foreign { of_workspace, .. }
            | Self::NotAProgram { of_workspace, .. }
            | Self::NoLoader { of_workspace, .. } => {
                if *of_workspace {
                    Fault::Commands
                } else {
                    Fault::Job(AgentError::ImageUnusable)
                }
            }
            Self::Script { source, .. } if source.raw_os_error() == Some(Errno::NOSPC.raw_os_error()) => {
                Fault::Job(AgentError::DiskFull)
            }
            Self::Script { .. } => Fault::Job(AgentError::Internal),
            Self::Terminal(_) | Self::Spawn(_) => Fault::Transient(AgentError::Internal),
            Self::LongVariable { .. }
            | Self::LongEnvironment { .. }
            | Self::NoDirectory { .. }
            | Self::OutsideDirectory { .. }
            | Self::NoWorkspace { .. }
            | Self::NoScripts { .. }
            | Self::TooManyProcesses { .. } => Fault::Commands,
        }
    }
}

/// A program that a step runs, and where.
#[derive(Debug)]
pub(crate) struct ProgramToRun<'a> {
    pub(crate) program: &'a Path,
    pub(crate) directory: &'a Path,
    pub(crate) workspace: &'a Path,
    pub(crate) account: &'a Account,
    pub(crate) env: &'a BTreeMap<OsString, OsString>,
}

impl ProgramToRun<'_> {
    /// Returns why the program did not start.
    pub(crate) fn explain(&self, error: io::Error) -> StartError {
        let program = self.program.display().to_string();
        let of_workspace = self.program.starts_with(self.workspace);
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::TOOBIG) => self.too_long().unwrap_or(StartError::Spawn(error)),
            Some(Errno::NOENT | Errno::NOTDIR) if !self.directory.is_dir() => {
                no_directory(self.directory, self.workspace)
            }
            Some(Errno::NOENT | Errno::NOTDIR | Errno::NOEXEC) => match inspect(self.program) {
                Inspection::Foreign { theirs } => {
                    StartError::Foreign { program, theirs, ours: own_architecture(), of_workspace }
                }
                Inspection::NoLoader(loader) => StartError::NoLoader { program, loader, of_workspace },
                Inspection::NotAProgram => StartError::NotAProgram { program, of_workspace },
                Inspection::Runnable => StartError::Spawn(error),
            },
            Some(Errno::ACCESS | Errno::PERM) => {
                StartError::NotExecutable { program, user: self.account.name.clone(), of_workspace }
            }
            Some(Errno::AGAIN) => match process_count() {
                Some((current, most)) if current >= most => StartError::TooManyProcesses { current, most },
                Some(_) | None => StartError::Spawn(error),
            },
            Some(_) | None => StartError::Spawn(error),
        }
    }

    /// Returns what is too long in the environment: the longest variable if it exceeds the limit for one, else all of
    /// them together. `None` if there are no variables.
    fn too_long(&self) -> Option<StartError> {
        let length = |(name, value): &(&OsString, &OsString)| name.len() + value.len() + 2;
        let shown = |name: &OsStr| name.to_string_lossy().chars().take(64).collect::<String>();
        let mut variables: Vec<_> = self.env.iter().collect();
        variables.sort_by_key(|variable| std::cmp::Reverse(length(variable)));
        let longest = variables.first()?;
        if length(longest) > MAX_VARIABLE {
            return Some(StartError::LongVariable { name: shown(longest.0), length: length(longest) });
        }
        let names: Vec<_> = variables
            .iter()
            .take(3)
            .map(|variable| format!("`{}` ({} KiB)", shown(variable.0), length(variable) >> 10))
            .collect();
        let length = variables.iter().map(length).sum();
        Some(StartError::LongEnvironment { length, longest: names.join(", ") })
    }
}

/// Returns the error for a missing working directory.
pub(crate) fn no_directory(directory: &Path, workspace: &Path) -> StartError {
    if workspace.is_dir() {
        StartError::NoDirectory { path: directory.display().to_string() }
    } else {
        StartError::NoWorkspace { path: workspace.display().to_string() }
    }
}

/// Returns whether the program is built for another architecture. Only running it shows whether this machine can
/// emulate that.
pub(crate) fn is_foreign(program: &Path) -> bool {
    matches!(inspect(program), Inspection::Foreign { .. })
}

/// Returns this machine's architecture, as images name it.
fn own_architecture() -> String {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
    .to_owned()
}

/// What a program's file says about it.
#[derive(Debug, PartialEq, Eq)]
enum Inspection {
    Runnable,
    Foreign { theirs: String },
    NoLoader(String),
    NotAProgram,
}

fn inspect(program: &Path) -> Inspection {
    let mut program = program.to_owned();
    for _ in 0..MAX_INTERPRETERS {
        let Ok(header) = files::read_regular(&program, OFlags::empty(), MAX_HEADER) else {
            return Inspection::Runnable;
        };
        let loader = if let Some(line) = header.strip_prefix(b"#!") {
            let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
            match words.next() {
                Some(word) => path_from_bytes(word),
                None => return Inspection::NotAProgram,
            }
        } else {
            let Some(elf) = Elf::parse(&header) else { return Inspection::NotAProgram };
            if elf.machine() != own_architecture() {
                return Inspection::Foreign { theirs: elf.machine() };
            }
            match elf.loader() {
                Some(loader) => path_from_bytes(loader),
                None => return Inspection::Runnable,
            }
        };
        if !loader.exists() {
            return Inspection::NoLoader(loader.display().to_string());
        }
        program = loader;
    }
    Inspection::Runnable
}

fn path_from_bytes(bytes: &[u8]) -> PathBuf {
    String::from_utf8_lossy(bytes).into_owned().into()
}

/// The header of an ELF file.
struct Elf<'a> {
    bytes: &'a [u8],
    is_64_bit: bool,
    is_little_endian: bool,
}

impl<'a> Elf<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        if !bytes.starts_with(b"\x7fELF") || bytes.len() < 20 {
            return None;
        }
        Some(Self { bytes, is_64_bit: bytes[4] == 2, is_little_endian: bytes[5] != 2 })
    }

    /// Reads `length` bytes as a number; returns 0 beyond the end.
    fn number(&self, at: usize, length: usize) -> usize {
        let Some(bytes) = at.checked_add(length).and_then(|end| self.bytes.get(at..end)) else { return 0 };
        let add = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
        let sum = if self.is_little_endian { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) };
        usize::try_from(sum).unwrap_or(usize::MAX)
    }

    /// Returns the architecture, as images name it.
    fn machine(&self) -> String {
        match (self.number(18, 2), self.is_little_endian) {
            (3, _) => "386",
            (8, true) => "mipsle",
            (8, false) => "mips",
            (21, true) => "ppc64le",
            (21, false) => "ppc64",
            (22, _) => "s390x",
            (40, _) => "arm",
            (62, _) => "amd64",
            (183, _) => "arm64",
            (243, _) => "riscv64",
            (258, _) => "loong64",
            (other, _) => return format!("another machine (ELF number {other})"),
        }
        .to_owned()
    }

    /// Returns the program's loader, or `None` if the program is linked statically.
    fn loader(&self) -> Option<&'a [u8]> {
        const INTERPRETER: usize = 3;
        let (table, size, count) = if self.is_64_bit {
            (self.number(32, 8), self.number(54, 2), self.number(56, 2))
        } else {
            (self.number(28, 4), self.number(42, 2), self.number(44, 2))
        };
        let header = (0..count)
            .map(|at| table.saturating_add(at * size))
            .find(|header| self.number(*header, 4) == INTERPRETER)?;
        let (at, length) = if self.is_64_bit {
            (self.number(header.checked_add(8)?, 8), self.number(header.checked_add(32)?, 8))
        } else {
            (self.number(header.checked_add(4)?, 4), self.number(header.checked_add(16)?, 4))
        };
        let name = self.bytes.get(at..at.checked_add(length)?)?;
        Some(name.split(|byte| *byte == 0).next().unwrap_or(name))
    }
}

/// Returns how many processes and threads the job has, and its limit; `None` if unknown or unlimited.
fn process_count() -> Option<(u64, u64)> {
    ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].iter().find_map(|folder| {
        let number = |file: &str| fs::read_to_string(format!("{folder}/{file}")).ok()?.trim().parse().ok();
        Some((number("pids.current")?, number("pids.max")?))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Builds the beginning of a 64-bit program that is loaded by `loader`.
    fn elf(machine: u8, loader: &str) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[18] = machine;
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = u8::from(!loader.is_empty());
        bytes[64] = 3;
        bytes[64 + 8] = 64 + 56;
        bytes[64 + 32] = u8::try_from(loader.len() + 1).unwrap();
        bytes.extend_from_slice(loader.as_bytes());
        bytes.push(0);
        bytes
    }

    #[test]
    fn what_a_program_needs_is_read_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let inspected = |bytes: &[u8]| {
            let program = folder.path().join("program");
            fs::write(&program, bytes).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
            inspect(&program)
        };
        let own = if own_architecture() == "arm64" { 183 } else { 62 };
        let other = if own == 62 { 183 } else { 62 };
        let theirs = if own == 62 { "arm64" } else { "amd64" }.to_owned();
        assert_eq!(inspected(&elf(own, "")), Inspection::Runnable);
        assert_eq!(inspected(&elf(other, "/lib/ld.so")), Inspection::Foreign { theirs });
        assert_eq!(inspected(&elf(own, "/no/such/ld.so")), Inspection::NoLoader("/no/such/ld.so".into()));
        assert_eq!(inspected(b"#!/no/such/interpreter -x\n"), Inspection::NoLoader("/no/such/interpreter".into()));
        assert_eq!(inspected(b"#!\n"), Inspection::NotAProgram);
        assert_eq!(inspected(b"not a program"), Inspection::NotAProgram);
        assert_eq!(inspected(b""), Inspection::NotAProgram);
        let real = std::env::current_exe().unwrap();
        assert_eq!(inspect(&real), Inspection::Runnable);
    }

    #[test]
    fn bytes_that_lie_about_their_length_are_read_no_further() {
        for at in 0..120 {
            let mut bytes = elf(62, "/lib/ld.so");
            bytes[at] = 0xff;
            let _ = Elf::parse(&bytes).map(|elf| (elf.machine(), elf.loader().map(<[u8]>::to_vec)));
            bytes.truncate(at);
            let _ = Elf::parse(&bytes).map(|elf| (elf.machine(), elf.loader().map(<[u8]>::to_vec)));
        }
    }
}
