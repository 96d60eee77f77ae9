//! The only place that starts git. Every process gets the same hardened environment, ends with its whole process group
//! when its caller goes away or its time is over, and reports errors without credentials.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use longshore_forge::CloneUrl;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
    time::timeout,
};
use ureq::tls::TlsConfig;

use super::{GitError, lfs::LfsHttp, ssh::SshFiles};

/// The most output kept. A list of all files of a very large repository is about this long.
const MAX_OUTPUT: u64 = 256 << 20;

/// The most characters kept of git's error output.
const MAX_MESSAGE: usize = 2000;

/// Variables passed on from our own environment; all others are dropped.
const PASSED_VARIABLES: [&str; 4] = ["PATH", "SSH_AUTH_SOCK", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH"];

/// Variables for proxies that are passed on as well, in lower and in upper case.
const PROXIES: [&str; 4] = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"];

/// Overrides every repository's configuration files, by git's own precedence.
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
    // A branch may have a commit's name. A full commit name still means the commit, so no warning is needed.
    ("core.warnAmbiguousRefs", "false"),
    ("core.askPass", "false"),
    ("credential.helper", ""),
    ("protocol.ext.allow", "never"),
    ("fetch.recurseSubmodules", "false"),
    ("submodule.recurse", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("gc.autoDetach", "false"),
    // Credentials are for the named host, and a host's answer must not choose where we go.
    ("http.followRedirects", "false"),
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "60"),
    ("init.defaultBranch", "main"),
    // Data folders are often volumes that belong to another user.
    ("safe.directory", "*"),
];

/// How to start git.
#[derive(Debug, Clone)]
pub struct Git {
    program: PathBuf,
    remote_limit: Duration,
    local_limit: Duration,
    merge_limit: Duration,
    ca_file: Option<PathBuf>,
    receive_limits: (u64, u64),
    lfs: LfsHttp,
}

impl Default for Git {
    fn default() -> Self {
        Self {
            program: PathBuf::from("git"),
            remote_limit: Duration::from_secs(600),
            local_limit: Duration::from_secs(300),
            merge_limit: Duration::from_secs(30),
            ca_file: None,
            receive_limits: (super::incoming::MAX_BYTES, super::incoming::MAX_OBJECTS),
            lfs: LfsHttp::new(TlsConfig::default()),
        }
    }
}

impl Git {
    /// Uses another program than `git` from the PATH.
    #[must_use]
    pub fn with_program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// Sets the time limit for talking with remotes (default: 10 minutes).
    #[must_use]
    pub const fn with_remote_timeout(mut self, limit: Duration) -> Self {
        self.remote_limit = limit;
        self
    }

    /// Sets the time limit for merging two commits (default: 30 seconds).
    #[must_use]
    pub const fn with_merge_timeout(mut self, limit: Duration) -> Self {
        self.merge_limit = limit;
        self
    }

    /// Trusts the certificate authorities in this PEM file instead of the system's.
    #[must_use]
    pub fn with_ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(file.into());
        self
    }

    /// Trusts these authorities where objects of Git LFS are fetched.
    #[must_use]
    pub fn with_tls(mut self, tls: TlsConfig) -> Self {
        self.lfs = LfsHttp::new(tls);
        self
    }

    /// Limits how many bytes, packed, and how many objects a commit that is on no branch or tag may bring (default: 1
    /// GiB, 1,000,000).
    #[must_use]
    pub const fn with_receive_limits(mut self, bytes: u64, objects: u64) -> Self {
        self.receive_limits = (bytes, objects);
        self
    }

    /// Starts git without a repository.
    pub(crate) fn command(&self) -> Invocation {
        self.begin(Command::new(&self.program))
    }

    /// Starts git on the repository with data in `git_dir`, where no file may grow beyond the limit for received bytes:
    /// the kernel kills a process that writes more. The limit also applies to git's child processes.
    pub(crate) fn bounded(&self, git_dir: &Path) -> Invocation {
        let blocks = self.receive_limits.0.div_ceil(512).to_string();
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"ulimit -f "$1" && shift && exec "$@""#, "sh", &blocks]).arg(&self.program);
        let mut invocation = self.begin(shell);
        invocation.command.env("GIT_DIR", git_dir);
        invocation
    }

    fn begin(&self, mut command: Command) -> Invocation {
        let is_passed = |name: &&&str| self.ca_file.is_none() || !name.starts_with("GIT_SSL_");
        command
            .env_clear()
            .envs(PASSED_VARIABLES.iter().filter(is_passed).filter_map(|name| Some((name, std::env::var_os(name)?))))
            .envs(proxies(|name| std::env::var_os(name)))
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
                ("GIT_SSH_COMMAND", super::ssh::PLAIN),
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
        let mut invocation =
            Invocation { command, config: 0, limit: self.local_limit, max_output: None, url: None, ssh: None };
        for (key, value) in CONFIG {
            invocation.config(key, value);
        }
        if let Some(file) = &self.ca_file {
            invocation.config("http.sslCAInfo", file);
        }
        invocation
    }

    /// Starts git on the repository with data in `git_dir`.
    pub(crate) fn in_repository(&self, git_dir: &Path) -> Invocation {
        let mut invocation = self.command();
        invocation.command.env("GIT_DIR", git_dir);
        invocation
    }

    /// Starts git in a user's folder, where it finds the repository itself.
    pub(crate) fn in_folder(&self, folder: &Path) -> Invocation {
        let mut invocation = self.command();
        invocation.command.current_dir(folder);
        invocation
    }

    pub(crate) const fn lfs(&self) -> &LfsHttp {
        &self.lfs
    }

    pub(crate) const fn remote_limit(&self) -> Duration {
        self.remote_limit
    }

    pub(crate) const fn merge_limit(&self) -> Duration {
        self.merge_limit
    }

    /// Returns the limits of bytes and objects.
    pub(crate) const fn receive_limits(&self) -> (u64, u64) {
        self.receive_limits
    }
}

/// An invocation of git under construction.
#[derive(Debug)]
pub(crate) struct Invocation {
    command: Command,
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
pub(crate) struct Ended {
    pub(crate) success: bool,
    pub(crate) stdout: Vec<u8>,
    /// Git's error output in one line, shortened, without credentials.
    pub(crate) message: String,
}

impl Invocation {
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

    /// Allows talking to `url` within a time limit, with that address's credentials or key. The caller still has to pass the
    /// address itself as an argument, after `--end-of-options`.
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
    pub(crate) async fn run(mut self, operation: &'static str, input: &[u8]) -> Result<Ended, GitError> {
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
        Ok(Ended { success: status.success() || reached_max, stdout, message })
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

async fn read_stdout(stream: Option<impl AsyncRead + Unpin>, max_output: Option<u64>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        stream.take(max_output.unwrap_or(MAX_OUTPUT + 1)).read_to_end(&mut bytes).await?;
    }
    if bytes.len() as u64 > MAX_OUTPUT {
        return Err(io::Error::other("git's output is longer than 256 MiB"));
    }
    Ok(bytes)
}

/// Reads the last bytes: a remote may send progress and banners without end, and the reason comes last.
async fn read_tail(stream: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut tail = Vec::new();
    if let Some(mut stream) = stream {
        while stream.read_buf(&mut tail).await? > 0 {
            if tail.len() > 8 * MAX_MESSAGE {
                tail.drain(..tail.len() - 4 * MAX_MESSAGE);
            }
        }
    }
    Ok(tail)
}

/// Returns git's error output as one line; parts of it were written by a remote.
fn error_message(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let line: String = lines.join("; ").chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let skip = line.chars().count().saturating_sub(MAX_MESSAGE);
    line.chars().skip(skip).collect()
}

/// Returns the variables for proxies. One that is set in one case only gets the same value in the other case: git looks
/// for that of http in lower case alone.
fn proxies(variable: impl Fn(&str) -> Option<OsString>) -> BTreeMap<String, OsString> {
    let mut found = BTreeMap::new();
    for lower in PROXIES {
        let upper = lower.to_uppercase();
        let (in_lower, in_upper) = (variable(lower), variable(&upper));
        found.extend(in_lower.clone().or_else(|| in_upper.clone()).map(|value| (lower.to_owned(), value)));
        found.extend(in_upper.or(in_lower).map(|value| (upper, value)));
    }
    found
}

/// Replaces user and password in all addresses of a text. Git quotes a proxy's whole address if it does not understand it.
fn without_user_info(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let end = after.find(|c: char| c.is_whitespace() || matches!(c, '\'' | '"')).unwrap_or(after.len());
        match after[..end].rfind('@') {
            Some(at) => {
                shown.push_str("***");
                rest = &after[at..];
            }
            None => rest = after,
        }
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_gets_a_proxy_in_both_cases_however_it_was_given() {
        let given = [("HTTP_PROXY", "http://a"), ("https_proxy", "http://b"), ("NO_PROXY", "c"), ("no_proxy", "d")];
        let found = proxies(|name| given.iter().find(|(given, _)| *given == name).map(|(_, value)| value.into()));
        let expected = [
            ("HTTP_PROXY", "http://a"),
            ("http_proxy", "http://a"),
            ("HTTPS_PROXY", "http://b"),
            ("https_proxy", "http://b"),
            ("NO_PROXY", "c"),
            ("no_proxy", "d"),
        ];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.into())).into());
    }

    #[test]
    fn no_message_shows_who_an_address_is_asked_as() {
        for (text, shown) in [
            (
                "Unsupported proxy scheme for 'foo://robot:s3cret/@proxy:1'",
                "Unsupported proxy scheme for 'foo://***@proxy:1'",
            ),
            ("http://a b@c https://u@d/e and f@g", "http://a b@c https://***@d/e and f@g"),
            ("fatal: nothing of the kind", "fatal: nothing of the kind"),
            ("://", "://"),
        ] {
            assert_eq!(without_user_info(text), shown);
        }
    }
}
