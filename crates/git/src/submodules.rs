//! `submodules`: other repositories in a checkout.
//!
//! Their addresses are written in the repository, by anybody who may push or open a pull request. So an address must be
//! relative to the repository's own or on the same host, and of a kind that clone addresses may have. Credentials are
//! sent only for the repositories that an administrator has named, since they may open more than the person who pushes
//! may read; and never for a stranger's commit.

use std::path::Path;

use longshore_forge::{CloneUrl, CommitId};

use super::{Checkout, Git, GitError, git_dir::IndexEntry};

/// The most submodules of one checkout, including nested ones.
pub(crate) const MAX_SUBMODULES: usize = 64;
/// The deepest nesting.
pub(crate) const MAX_NESTING: usize = 8;

/// An entry of `.gitmodules`, with the submodule's commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Submodule {
    pub(crate) name: String,
    pub(crate) path: Vec<u8>,
    pub(crate) url: CloneUrl,
    pub(crate) commit: CommitId,
}

/// Returns the submodules of a commit whose index is `entries`.
pub(crate) async fn list(
    git: &Git,
    source: &Path,
    checkout: &Checkout<'_>,
    entries: &[IndexEntry],
) -> Result<Vec<Submodule>, GitError> {
    if !entries.iter().any(IndexEntry::is_gitlink) {
        return Ok(Vec::new());
    }
    let is_there = entries.iter().any(|entry| entry.path == b".gitmodules" && entry.is_file());
    let written = if is_there {
        let list = git.in_repository(source).args([
            "config",
            "--no-includes",
            "-z",
            &format!("--blob={}:.gitmodules", checkout.commit),
            "--list",
        ]);
        list.output("reading .gitmodules", &[]).await?
    } else {
        Vec::new()
    };
    let written = String::from_utf8_lossy(&written);
    let mut found = Vec::new();
    for entry in entries.iter().filter(|entry| entry.is_gitlink()) {
        let path = String::from_utf8_lossy(&entry.path);
        let failed = |detail: String| GitError::Failed { operation: "checking out the submodules", detail };
        // The last value counts, as in git.
        let value = |name: &str, key: &str| {
            let full = format!("submodule.{name}.{key}");
            written.split('\0').filter_map(|line| line.split_once('\n')).rfind(|(key, _)| *key == full)
        };
        let name = written.split('\0').filter_map(|line| line.split_once('\n')).find_map(|(key, path_of)| {
            let name = key.strip_prefix("submodule.")?.strip_suffix(".path")?;
            (path_of == path).then_some(name)
        });
        let address = name.and_then(|name| value(name, "url")).map(|(_, address)| address);
        let (Some(name), Some(address)) = (name, address) else {
            return Err(failed(format!("`.gitmodules` does not say where `{path}` comes from")));
        };
        if name.contains(char::is_control) {
            return Err(failed(format!("`{path}` has a name with control characters")));
        }
        let url = resolve_address(checkout.origin, checkout.by_stranger, checkout.trusted_submodules, address)
            .map_err(|why| failed(format!("`{path}`: {why}")))?;
        let commit = entry.object.parse().map_err(|error| failed(format!("`{path}`: {error}")))?;
        found.push(Submodule { name: name.to_owned(), path: entry.path.clone(), url, commit });
    }
    Ok(found)
}

/// Returns the address of a submodule, as git resolves it, or why it is refused.
fn resolve_address(
    origin: &CloneUrl,
    by_stranger: bool,
    trusted: &[String],
    written: &str,
) -> Result<CloneUrl, String> {
    let address = match written.starts_with("./") || written.starts_with("../") {
        true => resolve_relative(origin.address(), written).ok_or("its address leads out of the host")?,
        false => written.to_owned(),
    };
    let url: CloneUrl = address.parse().map_err(|error| format!("{error}"))?;
    if url.host() != origin.host() {
        return Err(format!(
            "it lies on `{}`, and submodules are taken from the repository's own host, `{}`, only",
            url.host(),
            origin.host()
        ));
    }
    if !by_stranger {
        return match is_trusted(&url, trusted) {
            true => Ok(url.with_credentials_of(origin)),
            false if url.is_ssh() => Err(format!("submodules over ssh use the server's key: {}", to_do(&url))),
            // Its own name and password would get what was fetched before with the repository's.
            false if url.has_credentials() => Err("its address contains a name or password".to_owned()),
            false => Ok(url),
        };
    }
    if url.is_ssh() {
        return Err(
            "a fork's pull request gets no submodules over ssh, where the server's key would open them".to_owned()
        );
    }
    // With any name and password, the stranger would get what was fetched before with the repository's own.
    if url.has_credentials() {
        return Err("a fork's pull request gets no submodules whose address brings a name or password".to_owned());
    }
    Ok(url)
}

/// Returns whether an administrator has named the repository at that address.
pub(crate) fn is_trusted(url: &CloneUrl, trusted: &[String]) -> bool {
    let path = path_of(url);
    trusted.iter().any(|named| match named.strip_suffix("/*") {
        Some(owner) => path.strip_prefix(owner).is_some_and(|rest| rest.starts_with('/')),
        None => path == named,
    })
}

/// Returns `team/lib` of an address.
pub(crate) fn path_of(url: &CloneUrl) -> &str {
    let address = url.address();
    let path = match address.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => address.split_once(':').map_or("", |(_, path)| path),
    };
    let path = path.trim_matches('/');
    path.strip_suffix(".git").unwrap_or(path)
}

/// Returns what an administrator has to do for a submodule that not everybody may read.
fn to_do(url: &CloneUrl) -> String {
    format!("an administrator has to add `{}` to the submodules in the repository's settings", path_of(url))
}

/// Adds what to do to the error of a submodule that was fetched without credentials and is not for everybody.
pub(crate) fn explained(error: GitError, checkout: &Checkout<'_>, url: &CloneUrl) -> GitError {
    let without = !checkout.by_stranger && checkout.origin.has_credentials() && !url.has_credentials();
    match &error {
        // Forges do not reveal that a private repository exists.
        GitError::NotFound { .. } | GitError::Authentication { .. } if without => GitError::Failed {
            operation: "checking out the submodules",
            detail: format!("{} is private and is fetched without credentials: {}", url.address(), to_do(url)),
        },
        _ => error,
    }
}

fn resolve_relative(origin: &str, written: &str) -> Option<String> {
    let mut base = origin.trim_end_matches('/');
    let mut rest = written;
    // The part that `../` may not remove: `https://host`, or `git@host`.
    let root = base.find("://").map_or(0, |at| at + 3);
    let root = root + base[root..].find(if root > 0 { '/' } else { ':' })?;
    let mut separator = '/';
    loop {
        if let Some(after) = rest.strip_prefix("./") {
            rest = after;
        } else if let Some(after) = rest.strip_prefix("../") {
            rest = after;
            match base.rfind('/').filter(|at| *at >= root) {
                Some(at) => base = &base[..at],
                None if base.len() > root => {
                    (base, separator) = (&base[..root], ':');
                }
                None => return None,
            }
        } else {
            break;
        }
    }
    if base.len() == root && origin.contains("://") {
        separator = '/';
    }
    Some(format!("{base}{separator}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_address_is_resolved_as_git_does_and_never_leaves_its_host() {
        for (origin, written, resolved) in [
            ("https://h:1/team/app.git", "../lib.git", Some("https://h:1/team/lib.git")),
            ("https://h:1/team/app.git/", "../../other/lib", Some("https://h:1/other/lib")),
            ("https://h/team/app", "./lib", Some("https://h/team/app/lib")),
            ("https://h/team/app", "../../../lib", None),
            ("git@h:team/app.git", "../lib.git", Some("git@h:team/lib.git")),
            ("git@h:team/app.git", "../../lib.git", Some("git@h:lib.git")),
            ("git@h:team/app.git", "../../../lib.git", None),
            ("ssh://git@h/app", "../lib", Some("ssh://git@h/lib")),
        ] {
            let origin: CloneUrl = origin.parse().unwrap();
            let trusted = ["team/*".to_owned(), "lib".to_owned()];
            let found = resolve_address(&origin, false, &trusted, written).ok().map(|url| url.address().to_owned());
            assert_eq!(found.as_deref(), resolved, "{origin} {written}");
        }
    }

    #[test]
    fn an_address_of_another_host_or_kind_is_refused() {
        let origin: CloneUrl = "https://me:s3cret-word@forge.example:8443/team/app.git".parse().unwrap();
        for (written, word) in [
            ("https://elsewhere.example/a", "elsewhere.example"),
            ("http://127.0.0.1:2375/a", "127.0.0.1"),
            ("https://forge.example:2375/a", "forge.example:2375"),
            ("file:///etc", "`file`"),
            ("ext::sh -c id", "spaces"),
            ("/srv/git/a", "is invalid"),
            ("-oProxyCommand=x", "dash"),
            ("git@forge.example@evil.example:a", "is invalid"),
        ] {
            let error = resolve_address(&origin, false, &[], written).unwrap_err();
            assert!(error.contains(word), "{written}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
        let named = ["team/lib".to_owned()];
        let same = resolve_address(&origin, false, &named, "../lib.git").unwrap();
        assert_eq!(same.git_config(), origin.git_config());
        let all = ["a".to_owned()];
        let plain = resolve_address(&origin, false, &all, "http://forge.example:8443/a").unwrap();
        assert_eq!(plain.git_config(), None, "credentials for https do not go over http");
        assert_eq!(
            resolve_address(&origin, true, &named, "../lib.git").unwrap().git_config(),
            None,
            "nor for strangers"
        );
        let ssh: CloneUrl = "git@forge.example:team/app.git".parse().unwrap();
        assert!(resolve_address(&ssh, true, &named, "../lib.git").unwrap_err().contains("ssh"));
        let brings = "https://any:thing@forge.example:8443/team/private.git";
        for by_stranger in [false, true] {
            let brought = resolve_address(&origin, by_stranger, &named, brings).unwrap_err();
            assert!(brought.contains("name or password") && !brought.contains("thing"), "{brought}");
        }
    }

    #[test]
    fn no_path_that_leads_out_of_a_trusted_owner_counts_as_its() {
        let https: CloneUrl = "https://me:s3cret-word@forge.example/team/app.git".parse().unwrap();
        let ssh: CloneUrl = "ssh://git@forge.example/team/app.git".parse().unwrap();
        let trusted = ["team/*".to_owned()];
        for origin in [https, ssh] {
            let host = origin.address().strip_suffix("/team/app.git").unwrap();
            for path in
                ["team/../other/private", "team/%2e%2e/other/private", "team/..%2fother/private", "team/..\\other"]
            {
                let why = resolve_address(&origin, false, &trusted, &format!("{host}/{path}.git")).unwrap_err();
                assert!(why.contains("percent-encoded"), "{path}: {why}");
            }
            let relative = resolve_address(&origin, false, &trusted, "../x/../../other/private.git").unwrap_err();
            assert!(relative.contains("`..`"), "{relative}");
        }
    }

    #[test]
    fn credentials_go_to_the_repositories_that_an_administrator_named_and_to_no_others() {
        let https: CloneUrl = "https://me:s3cret-word@forge.example/team/app.git".parse().unwrap();
        let ssh: CloneUrl = "git@forge.example:team/app.git".parse().unwrap();
        for (trusted, written, sent) in [
            (&[][..], "../lib.git", false),
            (&["team/lib"], "../lib.git", true),
            (&["team/lib"], "../lib", true),
            (&["team/lib"], "../lib2.git", false),
            (&["team/lib"], "../../other/lib.git", false),
            (&["x/y", "team/*"], "../deep/er.git", true),
            (&["team/*"], "../../team2/lib.git", false),
            (&["lib"], "../lib.git", false),
        ] {
            let trusted: Vec<String> = trusted.iter().map(|&named| named.to_owned()).collect();
            let url = resolve_address(&https, false, &trusted, written).unwrap();
            assert_eq!(url.has_credentials(), sent, "{trusted:?} {written}");
            let url = resolve_address(&ssh, false, &trusted, written);
            assert_eq!(url.is_ok(), sent, "{trusted:?} {written}");
            if let Err(why) = url {
                assert!(why.contains("an administrator has to add `") && why.contains("lib"), "{why}");
            }
        }
    }
}
