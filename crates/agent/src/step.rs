//! Starts a step's process: script file, shell, environment, user, pipes.
//!
//! `job` calls this for each step. It only starts the process; `reaper` waits for it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use longshore_agent_protocol::ImageConfig;
use rustix::fs::OFlags;

use crate::account::{self, Account};
use crate::ca_certificates::CaCertificates;
use crate::files::StepFiles;
use crate::reaper::Children;
use crate::start_error::{ProgramToRun, StartError, is_foreign, no_directory};
use crate::{sys, terminal};

/// The PATH that the engine gives a container whose image sets none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// A larger pipe would be faster still, but one user's pipes may hold only 64 MiB in all on a machine.
const PIPE_LEN: usize = 256 << 10;

/// A step with all its texts evaluated.
#[derive(Debug, Clone)]
pub(crate) struct PreparedStep {
    pub(crate) run: String,
    pub(crate) shell: String,
    pub(crate) working_directory: Option<String>,
    /// The job's variables, overridden by the step's own.
    pub(crate) env: BTreeMap<String, String>,
    /// Folders to put before PATH.
    pub(crate) path: Vec<String>,
    pub(crate) account: Account,
    pub(crate) terminal: bool,
    /// The image of the container that it runs in, if that is not this one.
    pub(crate) image: Option<String>,
    /// The image's program runs instead of `run`.
    pub(crate) program: Option<Program>,
    /// The environment has nothing but what the image's maker and the pipeline's author put there.
    pub(crate) plain_environment: bool,
}

/// What replaces an image's ENTRYPOINT and CMD. Empty for the image's own.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) entrypoint: Vec<String>,
    pub(crate) command: Vec<String>,
}

/// A running step.
#[derive(Debug)]
pub(crate) struct Running {
    /// Process and process group.
    pub(crate) pid: i32,
    /// Non-blocking.
    pub(crate) stdout: OwnedFd,
    /// `None` for a terminal, where `stdout` carries everything.
    pub(crate) stderr: Option<OwnedFd>,
    pub(crate) files: StepFiles,
}

/// Starts the steps of a job, with what they all share.
#[derive(Debug)]
pub(crate) struct StepLauncher {
    pub(crate) account: Account,
    pub(crate) workspace: PathBuf,
    pub(crate) scripts: PathBuf,
    /// The image's environment, as PID 1 received it.
    image: BTreeMap<OsString, OsString>,
    /// What the image says about its containers. Only members of a pod know it.
    config: ImageConfig,
    /// The operator's certificate authorities.
    ca_certificates: CaCertificates,
}

impl StepLauncher {
    pub(crate) fn new(
        account: Account,
        workspace: PathBuf,
        scripts: PathBuf,
        config: ImageConfig,
        ca_certificates: CaCertificates,
    ) -> Self {
        Self { account, workspace, scripts, image: std::env::vars_os().collect(), config, ca_certificates }
    }

    /// Returns the environment of a step: the image's, with the account's HOME and USER, then the job's and the step's
    /// own, then the variables of the operator's authorities where none of these has set them.
    pub(crate) fn environment(&self, ready: &PreparedStep, files: Option<&StepFiles>) -> BTreeMap<OsString, OsString> {
        let (account, mut env) = (&ready.account, self.image.clone());
        // The engine set root's HOME, because the agent runs as root. A HOME set by the image is kept for the image's
        // own user.
        let set_by_image = env.get(OsStr::new("HOME")).is_some_and(|home| home != "/root" && home != "/");
        if !set_by_image || account.uid != self.account.uid {
            env.insert("HOME".into(), account.home.clone().into());
        }
        if ready.program.is_none() {
            env.insert("USER".into(), account.name.clone().into());
            env.insert("LOGNAME".into(), account.name.clone().into());
        }
        env.entry("PATH".into()).or_insert_with(|| DEFAULT_PATH.into());
        if ready.terminal {
            env.entry("TERM".into()).or_insert_with(|| "xterm-256color".into());
        }
        env.extend(ready.env.iter().map(|(name, value)| (name.into(), value.into())));
        if !ready.path.is_empty() {
            let mut path = OsString::from(ready.path.join(":"));
            if let Some(rest) = env.get(OsStr::new("PATH")) {
                path.push(":");
                path.push(rest);
            }
            env.insert("PATH".into(), path);
        }
        self.ca_certificates.add_to(&mut env);
        let Some(files) = files else { return env };
        env.extend(files.variables());
        // Git refuses to work in another user's folder unless told otherwise.
        if account.uid != self.account.uid && !env.contains_key(OsStr::new("GIT_CONFIG_COUNT")) {
            env.insert("GIT_CONFIG_COUNT".into(), "1".into());
            env.insert("GIT_CONFIG_KEY_0".into(), "safe.directory".into());
            env.insert("GIT_CONFIG_VALUE_0".into(), self.workspace.clone().into());
        }
        env
    }

    /// Checks that this machine runs the image's programs: if the shell is a program for another machine, tries it.
    pub(crate) fn try_architecture(&self, shell_line: &str, children: &Children) -> Result<(), StartError> {
        let path = self.image.get(OsStr::new("PATH")).map_or(OsStr::new(DEFAULT_PATH), OsString::as_os_str);
        let (program, _) = shell_command(shell_line);
        // A program in the workspace is the pipeline's own, and may not exist yet.
        let Some(program) = find_program(program, path, Path::new("/")).filter(|program| is_foreign(program)) else {
            return Ok(());
        };
        let mut command = Command::new(&program);
        command.current_dir("/").env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        sys::detach_as(&mut command, &self.account, false);
        sys::exec_without_shell(&mut command).map_err(StartError::Spawn)?;
        match children.spawn(&mut command) {
            // Emulation works; nothing more to check.
            Ok(child) => {
                if let Some(pid) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
                Ok(())
            }
            Err(error) => {
                let (account, env) = (&self.account, &self.image);
                let wanted = ProgramToRun {
                    program: &program,
                    directory: Path::new("/"),
                    workspace: &self.workspace,
                    account,
                    env,
                };
                Err(wanted.explain(error))
            }
        }
    }

    /// Starts try `attempt` of step `number`.
    pub(crate) fn start(
        &self,
        number: u16,
        attempt: u32,
        ready: &PreparedStep,
        children: &Children,
    ) -> Result<Running, StartError> {
        let name = if attempt == 1 { format!("step-{number}") } else { format!("step-{number}-{attempt}") };
        let files = StepFiles::make(&self.scripts, &name, &ready.account)
            .map_err(|source| self.no_script(&self.scripts, source))?;
        let env = self.environment(ready, (!ready.plain_environment).then_some(&files));
        let path = env.get(OsStr::new("PATH")).map_or(OsStr::new(DEFAULT_PATH), OsString::as_os_str);
        let CommandLine { program: found, arguments, directory } = match &ready.program {
            Some(program) => self.program_line(program, path, ready)?,
            None => {
                let directory = self.directory(ready)?;
                let (shell, arguments) = shell_command(&ready.shell);
                let found = find_program(shell, path, &directory)
                    .ok_or_else(|| self.no_shell(shell, path, &directory, ready))?;
                let script = self.write_script(&name, &ready.run)?;
                let arguments = arguments.into_iter().map(OsString::from).chain([script.into_os_string()]).collect();
                CommandLine { program: found, arguments, directory }
            }
        };

        let mut command = Command::new(&found);
        command.args(arguments).current_dir(&directory).env_clear().envs(&env);
        sys::detach_as(&mut command, &ready.account, ready.terminal);
        if is_foreign(&found) {
            sys::exec_without_shell(&mut command).map_err(StartError::Spawn)?;
        }
        let (stdout, stderr) = if ready.terminal {
            let (ours, theirs) = terminal::open(&ready.account).map_err(StartError::Terminal)?;
            let copy = || theirs.try_clone().map_err(StartError::Terminal);
            command.stdin(copy()?).stdout(copy()?).stderr(theirs);
            (ours, None)
        } else {
            let (stdout, write_stdout) = pipe(&ready.account).map_err(StartError::Spawn)?;
            let (stderr, write_stderr) = pipe(&ready.account).map_err(StartError::Spawn)?;
            command.stdin(Stdio::null()).stdout(write_stdout).stderr(write_stderr);
            (stdout, Some(stderr))
        };
        let child = children.spawn(&mut command).map_err(|error| {
            let (account, workspace) = (&ready.account, &*self.workspace);
            ProgramToRun { program: &found, directory: &directory, workspace, account, env: &env }.explain(error)
        })?;
        Ok(Running { pid: child.id().cast_signed(), stdout, stderr, files })
    }

    /// Puts together what an image's program is started with, as the engine would.
    fn program_line(&self, program: &Program, path: &OsStr, ready: &PreparedStep) -> Result<CommandLine, StartError> {
        let Program { entrypoint, command } = program;
        let own = entrypoint.is_empty();
        let entrypoint = if own { &self.config.entrypoint } else { entrypoint };
        let command = if command.is_empty() && own { &self.config.command } else { command };
        let mut words = entrypoint.iter().chain(command);
        let first = words.next().ok_or(StartError::NoProgram)?;
        let mut directory = self.directory(ready)?;
        let mut found = find_program(first, path, &directory);
        if found.is_none() && first.contains('/') && ready.working_directory.is_none() {
            // The image's maker wrote the path for the image's own directory.
            let own = Path::new("/").join(&self.config.directory);
            found = find_program(first, path, &own);
            if found.is_some() && !ready.plain_environment {
                directory = own;
            }
        }
        let program = found.ok_or_else(|| self.no_shell(first, path, &directory, ready))?;
        Ok(CommandLine { program, arguments: words.map(OsString::from).collect(), directory })
    }

    fn directory(&self, step: &PreparedStep) -> Result<PathBuf, StartError> {
        let wanted = step.working_directory.as_deref().unwrap_or_default();
        let path = self.workspace.join(wanted);
        if Path::new(wanted).components().any(|part| part == std::path::Component::ParentDir) {
            return Err(StartError::OutsideDirectory { path: wanted.to_owned() });
        }
        if path.is_dir() { Ok(path) } else { Err(no_directory(&path, &self.workspace)) }
    }

    /// Writes the script to a file that the step's user can read. It stays until the job's end, because shells read it
    /// while they run.
    fn write_script(&self, name: &str, text: &str) -> Result<PathBuf, StartError> {
        let path = self.scripts.join(name);
        let write = || {
            let mut file = File::options().write(true).create_new(true).mode(0o755).open(&path)?;
            io::Write::write_all(&mut file, text.as_bytes())
        };
        match write() {
            Ok(()) => Ok(path),
            Err(source) => Err(self.no_script(&path, source)),
        }
    }

    fn no_shell(&self, program: &str, path: &OsStr, directory: &Path, ready: &PreparedStep) -> StartError {
        match candidates(program, path, directory).into_iter().find(|file| file.is_file()) {
            Some(file) => StartError::NotExecutable {
                program: file.display().to_string(),
                user: ready.account.name.clone(),
                of_workspace: file.starts_with(&self.workspace),
            },
            None if ready.program.is_some() => {
                StartError::ProgramMissing { program: program.to_owned(), path: path.to_string_lossy().into_owned() }
            }
            None => StartError::NoShell {
                program: if program == "sh" { "/bin/sh".to_owned() } else { program.to_owned() },
                path: path.to_string_lossy().into_owned(),
            },
        }
    }

    fn no_script(&self, path: &Path, source: io::Error) -> StartError {
        if self.scripts.is_dir() {
            StartError::Script { path: path.display().to_string(), source }
        } else {
            StartError::NoScripts { path: self.scripts.display().to_string() }
        }
    }
}

/// What is started, and where.
struct CommandLine {
    program: PathBuf,
    arguments: Vec<OsString>,
    directory: PathBuf,
}

/// Returns the shell's program and its arguments before the script.
fn shell_command(shell: &str) -> (&str, Vec<&str>) {
    match shell.trim() {
        "" | "sh" => ("sh", vec!["-e"]),
        "bash" => ("bash", vec!["-eo", "pipefail"]),
        other => {
            let mut words = other.split_whitespace();
            (words.next().unwrap_or("sh"), words.collect())
        }
    }
}

/// Finds the program's file in the step's PATH.
fn find_program(program: &str, path: &OsStr, directory: &Path) -> Option<PathBuf> {
    let runnable = |file: &PathBuf| {
        fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    candidates(program, path, directory).into_iter().find(runnable)
}

/// Lists where a program may be, by the step's PATH. `sh` may also be at its usual path.
fn candidates(program: &str, path: &OsStr, directory: &Path) -> Vec<PathBuf> {
    if program.contains('/') {
        return vec![directory.join(program)];
    }
    let fallback = (program == "sh").then(|| PathBuf::from("/bin/sh"));
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program))
        .chain(fallback)
        .collect()
}

/// Creates a pipe with a non-blocking reading end. The account owns the other end, so that it can open `/dev/stdout`.
fn pipe(account: &Account) -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    if account::differs_from_ours(account) {
        std::os::unix::fs::fchown(&write, Some(account.uid), Some(account.gid))?;
    }
    rustix::fs::fcntl_setfl(&read, OFlags::NONBLOCK)?;
    // Over the user's limit the pipe stays small, which is fine.
    let _ = rustix::pipe::fcntl_setpipe_size(&read, PIPE_LEN);
    Ok((read, write))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_the_arguments_that_stop_at_the_first_error() {
        assert_eq!(shell_command("sh"), ("sh", vec!["-e"]));
        assert_eq!(shell_command(""), ("sh", vec!["-e"]));
        assert_eq!(shell_command("bash"), ("bash", vec!["-eo", "pipefail"]));
        assert_eq!(shell_command("python3 -u"), ("python3", vec!["-u"]));
    }

    #[test]
    fn a_program_is_found_by_the_path_and_never_by_a_relative_entry() {
        assert_eq!(find_program("sh", OsStr::new(""), Path::new("/")), Some("/bin/sh".into()));
        assert_eq!(find_program("sh", OsStr::new("/nowhere:/bin"), Path::new("/")), Some("/bin/sh".into()));
        assert_eq!(find_program("ls", OsStr::new("bin"), Path::new("/")), None);
        assert_eq!(find_program("no-such-program", OsStr::new(DEFAULT_PATH), Path::new("/")), None);
    }
}
