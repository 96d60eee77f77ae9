//! The one place that starts git. Every process gets the same hardened environment, ends with its whole group when
//! its caller goes away or its time is over, and tells its errors without credentials.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
    time::timeout,
};

use super::{CloneUrl, GitError};

/// Output that is kept whole; a list of all files of a very large repository is about this long.
const MAX_OUTPUT: u64 = 256 << 20;

/// What is kept of git's complaints.
const MAX_COMPLAINT: usize = 2000;

/// Taken over from our own environment; everything else of it stays outside.
const PASSED_ON: [&str; 12] = [
    "PATH",
    "SSH_AUTH_SOCK",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];

/// Above any file of any repository, in git's own order of precedence.
const CONFIG: [(&str, &str); 23] = [
    ("core.hooksPath", "/dev/null"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.untrackedCache", "false"),
    ("core.autocrlf", "false"),
    ("core.sparseCheckout", "false"),
    ("core.splitIndex", "false"),
    ("core.quotePath", "false"),
    // A branch may be called as a commit is; a commit's full name means the commit all the same, and nothing is to be said about it.
    ("core.warnAmbiguousRefs", "false"),
    ("core.askPass", "false"),
    ("credential.helper", ""),
    ("protocol.ext.allow", "never"),
    ("fetch.recurseSubmodules", "false"),
    ("submodule.recurse", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("gc.autoDetach", "false"),
    // Credentials are for the host that was named, and who answers there does not choose where we go.
    ("http.followRedirects", "false"),
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "60"),
    ("init.defaultBranch", "main"),
    // Data folders are often volumes that belong to another user.
    ("safe.directory", "*"),
];

/// How git is started.
#[derive(Debug, Clone)]
pub struct Git {
    program: PathBuf,
    remote_limit: Duration,
    local_limit: Duration,
    ca_file: Option<PathBuf>,
    most_received: (u64, u64),
}

impl Default for Git {
    fn default() -> Self {
        Self {
            program: PathBuf::from("git"),
            remote_limit: Duration::from_secs(600),
            local_limit: Duration::from_secs(300),
            ca_file: None,
            most_received: (super::incoming::MAX_BYTES, super::incoming::MAX_OBJECTS),
        }
    }
}

impl Git {
    /// Another program than the `git` on the PATH.
    #[must_use]
    pub fn with_program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// How long talks with remotes may take (default: 10 minutes).
    #[must_use]
    pub const fn with_remote_timeout(mut self, limit: Duration) -> Self {
        self.remote_limit = limit;
        self
    }

    /// The authorities whose certificates are trusted, as a file of PEM: in place of the system's.
    #[must_use]
    pub fn with_ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(file.into());
        self
    }

    /// How many bytes, packed, and how many objects a commit that is on no branch or tag may bring (default: 1 GiB, 1,000,000).
    #[must_use]
    pub const fn with_most_received(mut self, bytes: u64, objects: u64) -> Self {
        self.most_received = (bytes, objects);
        self
    }

    /// Git on no repository in particular.
    pub(crate) fn command(&self) -> Invocation {
        self.begin(Command::new(&self.program))
    }

    /// Git on the repository whose data lies in `git_dir`, none of whose files grows beyond what may be received: the kernel ends whoever
    /// writes more. The limit holds for the programs that it starts, too.
    pub(crate) fn bounded(&self, git_dir: &Path) -> Invocation {
        let blocks = self.most_received.0.div_ceil(512).to_string();
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"ulimit -f "$1" && shift && exec "$@""#, "sh", &blocks]).arg(&self.program);
        let mut invocation = self.begin(shell);
        invocation.command.env("GIT_DIR", git_dir);
        invocation
    }

    fn begin(&self, mut command: Command) -> Invocation {
        let is_passed_on = |name: &&&str| self.ca_file.is_none() || !name.starts_with("GIT_SSL_");
        command
            .env_clear()
            .envs(PASSED_ON.iter().filter(is_passed_on).filter_map(|name| Some((name, std::env::var_os(name)?))))
            .envs([
                ("HOME", "/nonexistent"),
                ("LC_ALL", "C"),
                ("GIT_CONFIG_NOSYSTEM", "1"),
                ("GIT_CONFIG_SYSTEM", "/dev/null"),
                ("GIT_CONFIG_GLOBAL", "/dev/null"),
                ("GIT_ATTR_NOSYSTEM", "1"),
                ("GIT_TERMINAL_PROMPT", "0"),
                ("GIT_ASKPASS", "false"),
                ("SSH_ASKPASS", "false"),
                ("GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ConnectTimeout=20"),
                ("GIT_ALLOW_PROTOCOL", "http:https:ssh"),
                ("GIT_PROTOCOL_FROM_USER", "0"),
                ("GIT_NO_REPLACE_OBJECTS", "1"),
                ("GIT_OPTIONAL_LOCKS", "0"),
                ("GIT_PAGER", "cat"),
            ])
            .current_dir("/")
            .kill_on_drop(true)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut invocation = Invocation { command, config: 0, limit: self.local_limit, enough: None, url: None };
        for (key, value) in CONFIG {
            invocation.config(key, value);
        }
        if let Some(file) = &self.ca_file {
            invocation.config("http.sslCAInfo", file);
        }
        invocation
    }

    /// Git on the repository whose data lies in `git_dir`.
    pub(crate) fn in_repository(&self, git_dir: &Path) -> Invocation {
        let mut invocation = self.command();
        invocation.command.env("GIT_DIR", git_dir);
        invocation
    }

    /// Git in a folder of a person's, whose repository it finds by itself.
    pub(crate) fn in_folder(&self, folder: &Path) -> Invocation {
        let mut invocation = self.command();
        invocation.command.current_dir(folder);
        invocation
    }

    pub(crate) const fn remote_limit(&self) -> Duration {
        self.remote_limit
    }

    /// Bytes and objects.
    pub(crate) const fn most_received(&self) -> (u64, u64) {
        self.most_received
    }
}

/// One start of git, being put together.
#[derive(Debug)]
pub(crate) struct Invocation {
    command: Command,
    config: usize,
    limit: Duration,
    /// Bytes of its output that are read at most.
    enough: Option<u64>,
    url: Option<CloneUrl>,
}

/// How git ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) success: bool,
    pub(crate) stdout: Vec<u8>,
    /// Its complaint in one line, shortened, without credentials.
    pub(crate) complaint: String,
}

impl Invocation {
    /// Configuration through the environment: it wins over every file, and no argument shows it.
    pub(crate) fn config(&mut self, key: &str, value: impl AsRef<OsStr>) {
        self.command.env(format!("GIT_CONFIG_KEY_{}", self.config), key);
        self.command.env(format!("GIT_CONFIG_VALUE_{}", self.config), value);
        self.config += 1;
        self.command.env("GIT_CONFIG_COUNT", self.config.to_string());
    }

    /// Lets it take so long.
    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Reads no more than so many bytes of its output; that it has more to say is no error.
    pub(crate) fn at_most(mut self, bytes: u64) -> Self {
        self.enough = Some(bytes);
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

    /// Lets it talk to `url` for so long, with that address's credentials. The address itself is an argument still
    /// to be given, after `--end-of-options`.
    pub(crate) fn remote(mut self, url: &CloneUrl, limit: Duration) -> Self {
        if let Some((key, value)) = url.git_config() {
            self.config(&key, &value);
        }
        self.limit = limit;
        self.url = Some(url.clone());
        self
    }

    /// Runs it to its end; what it says when it fails is an error.
    pub(crate) async fn output(self, operation: &'static str, input: &[u8]) -> Result<Vec<u8>, GitError> {
        let url = self.url.clone();
        let ended = self.run(operation, input).await?;
        match (ended.success, url) {
            (true, _) => Ok(ended.stdout),
            (false, Some(url)) => Err(GitError::of_remote(url.address(), ended.complaint)),
            (false, None) => Err(GitError::Failed { operation, detail: ended.complaint }),
        }
    }

    /// Runs it to its end, however that is.
    pub(crate) async fn run(mut self, operation: &'static str, input: &[u8]) -> Result<Ended, GitError> {
        if !input.is_empty() {
            self.command.stdin(Stdio::piped());
        }
        let (mut child, mut group) = self.start()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let write = async {
            if let Some(mut stdin) = stdin {
                // It may have ended without reading all; then its exit status tells why.
                let _ = stdin.write_all(input).await;
            }
            Ok(())
        };
        let work = async {
            let (stdout, stderr, ()) = tokio::try_join!(read_stdout(stdout, self.enough), read_tail(stderr), write)?;
            Ok::<_, io::Error>((child.wait().await?, stdout, stderr))
        };
        let done = timeout(self.limit, work).await.map_err(|_| GitError::Timeout { operation, limit: self.limit })?;
        let (status, stdout, stderr) = done.map_err(GitError::io("talking with git"))?;
        group.0 = None;
        let complaint = complaint(&stderr);
        let complaint = self.url.as_ref().map_or(complaint.clone(), |url| url.redact(&complaint));
        // Nobody reads on: it ends by that, and not well.
        let was_enough = self.enough.is_some_and(|enough| stdout.len() as u64 == enough);
        Ok(Ended { success: status.success() || was_enough, stdout, complaint })
    }

    /// Starts it with its standard input from a file, its output to be read by the caller, in a blocking way.
    pub(crate) fn stream(mut self, input: std::fs::File) -> Result<Streaming, GitError> {
        self.command.stdin(input).stderr(Stdio::null());
        let (mut child, group) = self.start()?;
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("git has no output"));
        let stdout = stdout.and_then(tokio::process::ChildStdout::into_owned_fd);
        let stdout = stdout.map_err(GitError::io("talking with git"))?.into();
        Ok(Streaming { stdout, child, group })
    }

    fn start(&mut self) -> Result<(Child, Group), GitError> {
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
    /// Waits for its end, its output having been read.
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

/// Ends git's helpers (git-remote-https, ssh) together with git when dropped before git's end.
#[derive(Debug)]
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

async fn read_stdout(stream: Option<impl AsyncRead + Unpin>, enough: Option<u64>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        stream.take(enough.unwrap_or(MAX_OUTPUT + 1)).read_to_end(&mut bytes).await?;
    }
    if bytes.len() as u64 > MAX_OUTPUT {
        return Err(io::Error::other("git's output is longer than 256 MiB"));
    }
    Ok(bytes)
}

/// The last bytes: a remote may send progress and banners without end, and the reason stands last.
async fn read_tail(stream: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut tail = Vec::new();
    if let Some(mut stream) = stream {
        while stream.read_buf(&mut tail).await? > 0 {
            if tail.len() > 8 * MAX_COMPLAINT {
                tail.drain(..tail.len() - 4 * MAX_COMPLAINT);
            }
        }
    }
    Ok(tail)
}

/// Git's complaint as one line; a remote wrote parts of it.
fn complaint(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let line: String = lines.join("; ").chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let skip = line.chars().count().saturating_sub(MAX_COMPLAINT);
    line.chars().skip(skip).collect()
}
