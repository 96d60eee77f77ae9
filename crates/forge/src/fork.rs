//! The fork that a pull request comes from: its name as the forge sends it, and its address on the repository's own
//! host.

use longshore_core::event::Fork;

use crate::{CloneUrl, text};

/// The longest name of a repository, with its groups.
const MAX_NAME: usize = 400;

/// Returns the fork that an event names. [`address`] checks the names.
pub(crate) fn of_names(name: Option<String>, of: Option<String>) -> Option<Fork> {
    let (name, of) = (text::one_line(&name?), text::one_line(&of?));
    [&name, &of].iter().all(|name| (1..=MAX_NAME).contains(&name.len())).then_some(Fork { name, of })
}

/// Returns the clone address of a fork: that of the repository, with the fork's name in place of the repository's, and
/// without credentials. `None` over ssh, where a login is needed, and if the address does not end in the repository's
/// name.
#[must_use]
pub fn address(origin: &CloneUrl, fork: &Fork) -> Option<CloneUrl> {
    let is_part = |part: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(is_plain)
    };
    if origin.is_ssh() || !fork.name.split('/').all(is_part) {
        return None;
    }
    let address = origin.address().trim_end_matches('/');
    let address = address.strip_suffix(".git").unwrap_or(address);
    let at = address.len().checked_sub(fork.of.len())?;
    let (base, of) = (address.get(..at)?, address.get(at..)?);
    if !base.ends_with('/') || base.ends_with("//") || !of.eq_ignore_ascii_case(&fork.of) {
        return None;
    }
    format!("{base}{}.git", fork.name).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fork_is_on_the_repositorys_own_host_whatever_it_is_called() {
        let at = |origin: &str, name: &str, of: &str| {
            let fork = Fork { name: name.to_owned(), of: of.to_owned() };
            let found = address(&origin.parse().unwrap(), &fork)?;
            assert!(!found.has_credentials());
            Some(found.address().to_owned())
        };
        let own = "https://robot:word@h:3000/git/team/app.git";
        assert_eq!(at(own, "eve/app", "Team/app").as_deref(), Some("https://h:3000/git/eve/app.git"));
        assert_eq!(at("http://h/a/b/app/", "eve/x.y", "a/b/app").as_deref(), Some("http://h/eve/x.y.git"));
        for (origin, name, of) in [
            (own, "eve/app", "team/other"),
            (own, "eve/app", "eam/app"),
            (own, "eve/app", ""),
            (own, "eve/app", "h:3000/git/team/app"),
            (own, "../other/app", "team/app"),
            (own, "eve/app?x=", "team/app"),
            (own, "eve/app#", "team/app"),
            (own, "eve//app", "team/app"),
            (own, "/evil.example/app", "team/app"),
            (own, "eve@evil.example/app", "team/app"),
            (own, "eve/%2e%2e/app", "team/app"),
            (own, "", "team/app"),
            ("ssh://git@h/team/app.git", "eve/app", "team/app"),
            ("git@h:team/app.git", "eve/app", "team/app"),
        ] {
            assert_eq!(at(origin, name, of), None, "{origin} {name} {of}");
        }
    }
}
