//! One invocation of git: its configuration, its limits, its run, and its end with its whole process group.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::process::ExitStatusExt as _,
    process::Stdio,
    time::Duration,
};

use longshore_forge::CloneUrl;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
    time::timeout,
};

use super::output::{error_message, read_stdout, read_tail, without_user_info};
use crate::{GitError, ssh::SshFiles};

/// An invocation of git under construction.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(super) command: Command,
    config: usize,
    limit: Duration,
    /// The most bytes of output to read.
    max_output: Option<u64>,
    url: Option<CloneUrl>,
    /// What ssh reads while it runs.
    ssh: Option<SshFiles>,
}

/// The outcome of an invocation.
#[derive(Debug)]
pub(crate) struct GitOutput {
    pub(crate) success: bool,
    pub(crate) stdout: Vec<u8>,
    /// Git's error output in one line, shortened, without credentials.
    pub(crate) message: String,
    /// The kernel ended it for the processor time that it took.
    pub(crate) used_up_processor: bool,
}

impl Invocation {
    pub(super) const fn new(command: Command, limit: Duration) -> Self {
        Self { command, config: 0, limit, max_output: None, url: None, ssh: None }
    }

    /// Sets configuration through the environment: it overrides every file, and is not visible in the arguments.
    pub(crate) fn config(&mut self, key: &str, value: impl AsRef<OsStr>) {
        self.command.env(format!("GIT_CONFIG_KEY_{}", self.config), key);
        self.command.env(format!("GIT_CONFIG_VALUE_{}", self.config), value);
        self.config += 1;
        self.command.env("GIT_CONFIG_COUNT", self.config.to_string());
    }

    /// Sets the time limit.
    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Reads at most this many bytes of output; more output is cut off without an error.
    pub(crate) fn max_output(mut self, bytes: u64) -> Self {
        self.max_output = Some(bytes);
        self
    }

    pub(crate) fn env(mut self, key: &str, value: impl Into<OsString>) -> Self {
        self.command.env(key, value.into());
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    /// Allows talking to `url` within a time limit, with that address's credentials or key. The caller still has to
    /// pass the address itself as an argument, after `--end-of-options`.
    pub(crate) fn remote(mut self, url: &CloneUrl, limit: Duration) -> Self {
        if let Some((key, value)) = url.git_config() {
            self.config(&key, &value);
        }
        self.limit = limit;
        self.url = Some(url.clone());
        self
    }

    /// Runs git to its end and returns its output. A failure becomes an error with git's message.
    pub(crate) async fn output(self, operation: &'static str, input: &[u8]) -> Result<Vec<u8>, GitError> {
        let url = self.url.clone();
        let ended = self.run(operation, input).await?;
        match (ended.success, url) {
            (true, _) => Ok(ended.stdout),
            (false, Some(url)) => Err(GitError::from_remote(&url, ended.message)),
            (false, None) => Err(GitError::Failed { operation, detail: ended.message }),
        }
    }

    /// Runs git to its end and returns the outcome.
    pub(crate) async fn run(mut self, operation: &'static str, input: &[u8]) -> Result<GitOutput, GitError> {
        if !input.is_empty() {
            self.command.stdin(Stdio::piped());
        }
        let (mut child, mut group) = self.start()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let write = async {
            if let Some(mut stdin) = stdin {
                // Git may have ended without reading everything; its exit status then tells why.
                let _ = stdin.write_all(input).await;
            }
            Ok(())
        };
        let work = async {
            let (stdout, stderr, ()) =
                tokio::try_join!(read_stdout(stdout, self.max_output), read_tail(stderr), write)?;
            Ok::<_, io::Error>((child.wait().await?, stdout, stderr))
        };
        let done = timeout(self.limit, work).await.map_err(|_| GitError::Timeout { operation, limit: self.limit })?;
        let (status, stdout, stderr) = done.map_err(GitError::io("talking with git"))?;
        group.0 = None;
        let message = without_user_info(&error_message(&stderr));
        let message = self.url.as_ref().map_or(message.clone(), |url| url.redact(&message));
        // With nobody reading on, git ends, and fails.
        let reached_max = self.max_output.is_some_and(|max_output| stdout.len() as u64 == max_output);
        let used_up_processor = status.signal() == Some(Signal::XCPU.as_raw());
        Ok(GitOutput { success: status.success() || reached_max, stdout, message, used_up_processor })
    }

    /// Starts git with a file as its standard input. The caller reads the output, blocking.
    pub(crate) fn stream(mut self, input: std::fs::File) -> Result<Streaming, GitError> {
        self.command.stdin(input).stderr(Stdio::null());
        let (mut child, group) = self.start()?;
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("git has no output"));
        let stdout = stdout.and_then(tokio::process::ChildStdout::into_owned_fd);
        let stdout = stdout.map_err(GitError::io("talking with git"))?.into();
        Ok(Streaming { stdout, child, group })
    }

    fn start(&mut self) -> Result<(Child, Group), GitError> {
        if let Some(login) = self.url.as_ref().and_then(CloneUrl::ssh_login) {
            let files = SshFiles::new(login).map_err(GitError::io("giving ssh its key"))?;
            self.command.env("GIT_SSH_COMMAND", files.command());
            self.ssh = Some(files);
        }
        let child = self.command.spawn().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => GitError::NoGit,
            _ => GitError::Io { what: "starting git", source },
        })?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok((child, Group(group)))
    }
}

/// A running git whose output is read elsewhere.
#[derive(Debug)]
pub(crate) struct Streaming {
    pub(crate) stdout: std::fs::File,
    child: Child,
    group: Group,
}

impl Streaming {
    /// Waits for its end, after its output was read.
    pub(crate) async fn end(mut self, operation: &'static str) -> Result<(), GitError> {
        drop(self.stdout);
        let status = self.child.wait().await.map_err(GitError::io("waiting for git"))?;
        self.group.0 = None;
        if status.success() {
            Ok(())
        } else {
            Err(GitError::Failed { operation, detail: format!("it ended with {status}") })
        }
    }
}

/// Kills git and its helpers (git-remote-https, ssh) when dropped before git's end.
#[derive(Debug)]
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}
