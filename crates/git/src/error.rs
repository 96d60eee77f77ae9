//! Errors with git, distinguished by what a person has to do about them.

use std::{io, time::Duration};

use longshore_forge::{CloneUrl, lfs::InvalidPointer};

/// Where ssh looks for keys: the home of the passwd entry, whatever HOME is.
const SSH_FOLDER: &str =
    "~/.ssh of the user that Longshore runs as (in its image /var/lib/longshore/.ssh, for the user 8080)";

const REJECTED: &str = "rejects the clone address's credentials: check user, token and its permissions";
const WANTED: &str = "asks for credentials, and the clone address has none: write user and token into it, as in `https://USER:TOKEN@HOST/...`";

/// The errors of this crate's git part. Messages are for people and hold no credentials.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("repository not found at {address}: check the clone address, or its credentials if it is private")]
    NotFound { address: String, detail: String },
    /// `given` says whether the clone address has credentials.
    #[error("{address} {} ({detail})", if *given { REJECTED } else { WANTED })]
    Authentication { address: String, given: bool, detail: String },
    #[error(
        "{address} accepts none of the server's ssh keys: give the repository a deploy key (`longshore repo key`), or put a key that can read it into {SSH_FOLDER}, readable by that user alone ({detail})"
    )]
    SshKey { address: String, detail: String },
    #[error(
        "unknown ssh host key of {address}: give the repository a deploy key (`longshore repo key`), which pins the host's keys, or add the line that `ssh-keyscan` prints for the host, once you have checked it, to known_hosts in {SSH_FOLDER} ({detail})"
    )]
    UnknownHostKey { address: String, detail: String },
    #[error(
        "the host key of {address} differs from known_hosts: if the host was set up again, replace its line in known_hosts in {SSH_FOLDER}; if not, this may be an attack ({detail})"
    )]
    ChangedHostKey { address: String, detail: String },
    #[error(
        "{address} does not accept the repository's deploy key: add its public key there (`longshore repo key` shows it), with the right to read ({detail})"
    )]
    DeployKey { address: String, detail: String },
    #[error(
        "the host key of {address} is none of those that were pinned with the repository's deploy key: if the host was set up again, pin the new ones (`longshore repo key --new`); if not, this may be an attack ({detail})"
    )]
    PinnedHostKey { address: String, detail: String },
    #[error("{address} cannot be reached: check host, port and network ({detail})")]
    Unreachable { address: String, detail: String },
    #[error(
        "the certificate of {address} is not trusted: if its authority is your own, mount its certificate into Longshore's container and name the file in LONGSHORE_CA_FILE ({detail})"
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
    #[error(
        "{commit} is not on {refs}: it was pushed over or deleted since, or was never there, so nothing is built of it; start a build of a branch or tag that has it"
    )]
    NotOnRef { commit: String, refs: String },
    #[error("{revision} names a {kind}, not a commit: only commits can be built")]
    NotACommit { revision: String, kind: String },
    #[error("{address} uses SHA-256 object names, which are not supported yet")]
    ObjectFormat { address: String },
    #[error("both `.longshore.yml` and `.longshore/` exist: remove one of them")]
    BothForms,
    #[error("the pipeline file `{path}` {why}")]
    PipelineFile { path: String, why: String },
    #[error(
        "{commit} is a stranger's commit with more than {} files and folders, or more than {} GiB of files: it is not checked out",
        super::size::MAX_ENTRIES, super::size::MAX_BYTES >> 30
    )]
    TooLarge { commit: String },
    /// `what` says which limit it exceeds.
    #[error("{commit} is on no branch or tag, and {what}: it is not accepted")]
    TooMuch { commit: String, what: String },
    #[error("{commit} is a stranger's commit, and is not received for now: {why}")]
    NoRoom { commit: String, why: String },
    #[error(
        "the Git LFS object of `{path}`, {oid}, is not at {address}: push it from where it is (`git lfs push --all origin`)"
    )]
    LfsMissing { path: String, oid: String, address: String },
    #[error("Git LFS at {address}: {detail}")]
    Lfs { address: String, detail: String },
    #[error("`{path}` is not a pointer of Git LFS, though it begins as one: {why}")]
    LfsPointer { path: String, why: InvalidPointer },
    #[error("{0}")]
    LfsLimit(String),
    #[error("{detail}; `git lfs pull` in the folder brings what is missing")]
    NotPulled { detail: String },
    #[error("git is not installed, or not on the PATH: install git")]
    NoGit,
    #[error("git failed ({operation}): {detail}")]
    Failed { operation: &'static str, detail: String },
    #[error("{what}: {source}")]
    Io { what: &'static str, source: io::Error },
}

impl GitError {
    /// Returns whether a retry may succeed without anybody changing anything.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Certificate { .. } | Self::Timeout { .. })
    }

    /// Returns whether waiting may help: the forge comes back, somebody fixes credentials or rights, the disk gets
    /// space.
    #[must_use]
    pub const fn may_mend(&self) -> bool {
        match self {
            Self::NotFound { .. }
            | Self::Authentication { .. }
            | Self::SshKey { .. }
            | Self::UnknownHostKey { .. }
            | Self::ChangedHostKey { .. }
            | Self::DeployKey { .. }
            | Self::PinnedHostKey { .. }
            | Self::Unreachable { .. }
            | Self::Certificate { .. }
            | Self::Timeout { .. }
            | Self::Redirect { .. }
            | Self::LfsMissing { .. }
            | Self::Lfs { .. }
            | Self::NoRoom { .. }
            | Self::NoGit
            | Self::Failed { .. }
            | Self::Io { .. } => true,
            Self::RefusedAddress { .. }
            | Self::UnknownRevision { .. }
            | Self::NotOnRef { .. }
            | Self::NotACommit { .. }
            | Self::ObjectFormat { .. }
            | Self::BothForms
            | Self::PipelineFile { .. }
            | Self::LfsPointer { .. }
            | Self::LfsLimit(_)
            | Self::NotPulled { .. }
            | Self::TooLarge { .. }
            | Self::TooMuch { .. } => false,
        }
    }

    /// Returns the pipeline file that cannot be read, if that is the error.
    #[must_use]
    pub fn pipeline_file(&self) -> &str {
        match self {
            Self::PipelineFile { path, .. } => path,
            _ => super::pipeline_files::SINGLE,
        }
    }

    /// For `map_err`: adds the operation to the error.
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    /// Classifies a failure with a remote by git's own words (its locale is `C`).
    pub(crate) fn from_remote(url: &CloneUrl, detail: String) -> Self {
        let has = |words: &[&str]| words.iter().any(|word| detail.contains(word));
        let address = url.address().to_owned();
        let has_key = url.ssh_login().is_some();
        if has(&["' not allowed", "is not allowed"]) {
            Self::RefusedAddress { address, detail }
        } else if has(&["error: 301", "error: 302", "error: 303", "error: 307", "error: 308"]) {
            Self::Redirect { address, detail }
        } else if has(&["mismatched algorithms"]) {
            Self::ObjectFormat { address }
        } else if has(&["certificate"]) {
            Self::Certificate { address, detail }
        } else if has_key && has(&["IDENTIFICATION HAS CHANGED", "Host key verification failed"]) {
            Self::PinnedHostKey { address, detail }
        } else if has_key && has(&["Permission denied (", "Too many authentication failures"]) {
            Self::DeployKey { address, detail }
        } else if has(&["IDENTIFICATION HAS CHANGED", "key differs from the key for the IP"]) {
            Self::ChangedHostKey { address, detail }
        } else if has(&["Host key verification failed"]) {
            Self::UnknownHostKey { address, detail }
        } else if has(&["Permission denied (", "Too many authentication failures"]) {
            // OpenSSH lists the login methods between the parentheses; no host prints this over http.
            Self::SshKey { address, detail }
        } else if has(&[
            "Authentication failed",
            "could not read Username",
            "could not read Password",
            "askpass",
            "Permission denied",
            "error: 401",
            "error: 403",
        ]) {
            Self::Authentication { address, given: url.has_credentials(), detail }
        } else if has(&["couldn't find remote ref", "not our ref", "unadvertised object"]) {
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
            let hint = if is_own_machine(url.host()) {
                // In a container that is nobody else.
                "; this host is the machine or container that Longshore runs in"
            } else if has(&["Could not resolve"]) {
                "; a container does not know the names of its host's /etc/hosts: start it with `--add-host NAME:ADDRESS`"
            } else {
                ""
            };
            Self::Unreachable { address, detail: format!("{detail}{hint}") }
        } else {
            Self::Failed { operation: "fetch", detail }
        }
    }
}

/// Returns whether a host, with its port if one is given, is the one that asks.
fn is_own_machine(host: &str) -> bool {
    host.starts_with("127.") || host.starts_with("[::1]") || host.split(':').next() == Some("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages of OpenSSH and git.
    fn text(said: &str) -> (GitError, String) {
        let said = format!(
            "{said}; fatal: Could not read from remote repository.; Please make sure you have the correct access rights; and the repository exists."
        );
        let error = GitError::from_remote(&"git@h:team/app.git".parse().unwrap(), said);
        let text = error.to_string();
        (error, text)
    }

    #[test]
    fn a_host_that_is_the_container_itself_is_said_to_be() {
        let message = |url: &str| {
            let detail = "fatal: unable to access: Failed to connect".to_owned();
            GitError::from_remote(&url.parse().unwrap(), detail).to_string()
        };
        for own in ["http://localhost:3000/a/b.git", "http://127.0.0.1/a/b.git", "http://[::1]:3000/a/b.git"] {
            assert!(
                message(own).contains("this host is the machine or container that Longshore runs in"),
                "{}",
                message(own)
            );
        }
        assert!(
            !message("https://forge.example/a/b.git").contains("this host"),
            "{}",
            message("https://forge.example/a/b.git")
        );
    }

    #[test]
    fn a_name_that_does_not_resolve_may_be_one_that_only_the_host_knows() {
        let url = "https://git.lan/a/b.git".parse().unwrap();
        let error = GitError::from_remote(&url, "fatal: unable to access: Could not resolve host: git.lan".to_owned());
        assert!(error.to_string().contains("`--add-host NAME:ADDRESS`") && error.may_mend(), "{error}");
    }

    #[test]
    fn an_address_without_credentials_is_not_said_to_have_wrong_ones() {
        let message = |url: &str| {
            let detail =
                "fatal: could not read Username for 'https://forge.example': terminal prompts disabled".to_owned();
            GitError::from_remote(&url.parse().unwrap(), detail).to_string()
        };
        assert!(
            message("https://forge.example/a/b.git").contains("asks for credentials, and the clone address has none")
        );
        assert!(message("https://robot:x@forge.example/a/b.git").contains("rejects the clone address's credentials"));
    }

    #[test]
    fn an_unknown_host_key_and_a_missing_key_say_what_to_do_and_where() {
        let (error, said) = text(
            "No ED25519 host key is known for h and you have requested strict checking.; Host key verification failed.",
        );
        assert!(matches!(error, GitError::UnknownHostKey { .. }) && error.may_mend(), "{error:?}");
        assert!(
            ["`longshore repo key`", "ssh-keyscan", "known_hosts", "/var/lib/longshore/.ssh"]
                .iter()
                .all(|way| said.contains(way)),
            "{said}"
        );
        let changed = "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @; Host key verification failed.";
        let (error, said) = text(changed);
        assert!(matches!(error, GitError::ChangedHostKey { .. }) && error.may_mend(), "{error:?}");
        assert!(said.contains("replace its line in known_hosts"), "{said}");
        for denied in ["git@h: Permission denied (publickey).", "git@h: Permission denied (publickey,password)."] {
            let (error, said) = text(denied);
            assert!(matches!(error, GitError::SshKey { .. }) && error.may_mend(), "{error:?}");
            assert!(said.contains("`longshore repo key`") && said.contains("/var/lib/longshore/.ssh"), "{said}");
        }
    }
}
