//! The only place that starts git. Every process gets the same hardened environment, ends with its whole process group
//! when its caller goes away or its time is over, and reports errors without credentials.

mod invocation;
mod output;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::process::Command;
use ureq::tls::TlsConfig;

pub(crate) use self::{
    invocation::{GitOutput, Invocation, Streaming},
    output::output_within,
};
use super::lfs::LfsHttp;

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
    processor_limit: Duration,
    strangers_limits: (u64, u64),
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
            processor_limit: super::incoming::MAX_PROCESSOR,
            strangers_limits: (super::strangers::MAX_BYTES, super::strangers::MIN_FREE),
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

    /// Limits the processor time that each process of git may take to receive such a commit, in whole seconds (default:
    /// 2 minutes).
    #[must_use]
    pub const fn with_processor_limit(mut self, limit: Duration) -> Self {
        self.processor_limit = limit;
        self
    }

    /// Limits how many bytes strangers' commits may take in a mirror, and how many must be free on its disk to receive
    /// one (default: 4 GiB, 2 GiB).
    #[must_use]
    pub const fn with_strangers_limits(mut self, most: u64, min_free: u64) -> Self {
        self.strangers_limits = (most, min_free);
        self
    }

    /// Starts git without a repository.
    pub(crate) fn command(&self) -> Invocation {
        self.begin(Command::new(&self.program))
    }

    /// Starts git on the repository with data in `git_dir`, where no file may grow beyond the limit for received bytes,
    /// and no process may take more than the limit of processor time: the kernel kills one that does. The limits also
    /// apply to git's child processes, to each by itself.
    pub(crate) fn bounded(&self, git_dir: &Path) -> Invocation {
        let blocks = self.receive_limits.0.div_ceil(512).to_string();
        let seconds = self.processor_limit.as_secs().to_string();
        // The soft limit of time has a signal of its own, by which its death is recognized.
        let script = r#"ulimit -f "$1" && ulimit -S -t "$2" && shift 2 && exec "$@""#;
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh", &blocks, &seconds]).arg(&self.program);
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
        let mut invocation = Invocation::new(command, self.local_limit);
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

    /// Returns the most bytes of strangers' commits in a mirror, and the least free bytes.
    pub(crate) const fn strangers_limits(&self) -> (u64, u64) {
        self.strangers_limits
    }

    pub(crate) const fn processor_limit(&self) -> Duration {
        self.processor_limit
    }
}

/// Returns the variables for proxies. A variable that is set in one case only gets the same value in the other case:
/// git looks for that of http in lower case alone.
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
}
