//! What goes wrong with git, told apart by what a person has to do about it.

use std::{io, time::Duration};

/// Every error of this crate's git part. Texts are for people and hold no credentials.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("there is no repository at {address}: check the clone address, or, if it is private, its credentials")]
    NotFound { address: String, detail: String },
    #[error(
        "{address} wants other credentials than the clone address holds: check user, token and its rights ({detail})"
    )]
    Authentication { address: String, detail: String },
    #[error("{address} cannot be reached: check host, port and network ({detail})")]
    Unreachable { address: String, detail: String },
    #[error(
        "the certificate of {address} is not trusted: if its authority is your own, mount its certificate into Longshore's container and name the file in SSL_CERT_FILE ({detail})"
    )]
    Certificate { address: String, detail: String },
    #[error("git did not finish in {} s ({operation}); raise the timeout if the repository is large", .limit.as_secs())]
    Timeout { operation: &'static str, limit: Duration },
    #[error("git refuses {address}: only http, https and ssh are allowed ({detail})")]
    RefusedAddress { address: String, detail: String },
    #[error(
        "{address} redirects to another address, which is not followed, as its credentials would go there: register the address that it leads to ({detail})"
    )]
    Redirect { address: String, detail: String },
    #[error("{revision} is not in the repository: it was deleted or replaced since, or never pushed")]
    UnknownRevision { revision: String },
    #[error("{address} uses SHA-256 object names, which are not supported yet")]
    ObjectFormat { address: String },
    #[error("`.longshore.yml` and `.longshore/` are both there: remove one of them")]
    BothForms,
    #[error("the pipeline file `{path}` {why}")]
    PipelineFile { path: String, why: String },
    #[error(
        "{commit} is a stranger's, and has more than {} files and folders, or more than {} GiB of files: that is not checked out",
        super::size::MAX_ENTRIES, super::size::MAX_BYTES >> 30
    )]
    TooLarge { commit: String },
    #[error("git is not installed, or not on the PATH: install git")]
    NoGit,
    #[error("git failed ({operation}): {detail}")]
    Failed { operation: &'static str, detail: String },
    #[error("{what}: {source}")]
    Io { what: &'static str, source: io::Error },
}

impl GitError {
    /// Whether the same may succeed later without anybody changing anything.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Certificate { .. } | Self::Timeout { .. })
    }

    /// Whether waiting may help: the git host comes back, somebody mends credentials or rights, the disk gets room.
    #[must_use]
    pub const fn may_mend(&self) -> bool {
        match self {
            Self::NotFound { .. }
            | Self::Authentication { .. }
            | Self::Unreachable { .. }
            | Self::Certificate { .. }
            | Self::Timeout { .. }
            | Self::Redirect { .. }
            | Self::NoGit
            | Self::Failed { .. }
            | Self::Io { .. } => true,
            Self::RefusedAddress { .. }
            | Self::UnknownRevision { .. }
            | Self::ObjectFormat { .. }
            | Self::BothForms
            | Self::PipelineFile { .. }
            | Self::TooLarge { .. } => false,
        }
    }

    /// The pipeline file that cannot be read, where that is the reason.
    #[must_use]
    pub fn pipeline_file(&self) -> &str {
        match self {
            Self::PipelineFile { path, .. } => path,
            _ => super::pipeline_files::SINGLE,
        }
    }

    /// For `map_err`: says what was being done.
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    /// What a failed talk with a remote was about, by git's own words (its locale is `C`).
    pub(crate) fn of_remote(address: &str, detail: String) -> Self {
        let has = |words: &[&str]| words.iter().any(|word| detail.contains(word));
        let address = address.to_owned();
        if has(&["' not allowed", "is not allowed"]) {
            Self::RefusedAddress { address, detail }
        } else if has(&["error: 301", "error: 302", "error: 303", "error: 307", "error: 308"]) {
            Self::Redirect { address, detail }
        } else if has(&["mismatched algorithms"]) {
            Self::ObjectFormat { address }
        } else if has(&["certificate"]) {
            Self::Certificate { address, detail }
        } else if has(&["Host key verification failed"]) {
            let detail = format!("ssh does not know the host's key, add it to known_hosts: {detail}");
            Self::Unreachable { address, detail }
        } else if has(&[
            "Authentication failed",
            "could not read Username",
            "could not read Password",
            "askpass",
            "Permission denied",
            "error: 401",
            "error: 403",
        ]) {
            Self::Authentication { address, detail }
        } else if has(&["couldn't find remote ref", "not our ref"]) {
            Self::UnknownRevision { revision: detail }
        } else if has(&["not found", "error: 404", "does not appear to be a git repository", "does not exist"]) {
            Self::NotFound { address, detail }
        } else if has(&[
            "unable to access",
            "Could not resolve",
            "Connection",
            "Network is unreachable",
            "No route to host",
            "early EOF",
            "RPC failed",
            "hung up",
            "unexpected disconnect",
            "Could not read from remote repository",
        ]) {
            Self::Unreachable { address, detail }
        } else {
            Self::Failed { operation: "fetch", detail }
        }
    }
}
