//! Which repository of a forge a delivery is about. An organisation's webhook, or one of a whole forge, sends events of
//! all repositories to one address, with one secret.

/// How a delivery names its repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgeRepository {
    /// The forge's own id, which a repository keeps through renames and transfers.
    pub id: Option<String>,
    /// `owner/name`, with the groups in between at GitLab.
    pub full_name: Option<String>,
    /// Where it is cloned from and shown.
    pub addresses: Vec<String>,
}

impl ForgeRepository {
    pub(crate) fn is_unnamed(&self) -> bool {
        self.id.is_none() && self.full_name.is_none() && self.addresses.is_empty()
    }

    /// Returns whether its name or one of its addresses leads to the same place as a clone address. The host may
    /// differ: a forge is often reached by an inner name, and below a path (`https://example.org/git/`) or not. A clone
    /// address whose path is shorter than `owner/name`, such as a mirror's, has to be the end of the repository's name.
    /// Any other one has to end in the whole name: groups may be called as others are, one in another.
    #[must_use]
    pub fn is_at(&self, clone_url: &str) -> bool {
        let ours = path_of(clone_url);
        if ours.is_empty() {
            return false;
        }
        let of_name = self.full_name.as_deref().map(parts).filter(|theirs| !theirs.is_empty());
        let may_be_longer = of_name.is_none() || ours.len() == 1;
        let of_addresses = self.addresses.iter().map(|address| path_of(address)).filter(|theirs| !theirs.is_empty());
        of_addresses.chain(of_name).any(|theirs| ours.ends_with(&theirs) || may_be_longer && theirs.ends_with(&ours))
    }

    /// Returns its name for people.
    #[must_use]
    pub fn shown(&self) -> &str {
        self.full_name.as_deref().or(self.addresses.first().map(String::as_str)).or(self.id.as_deref()).unwrap_or("?")
    }
}

/// Returns the parts of an address's path: of `https://host/a/b.git`, `ssh://git@host:22/a/b` and `git@host:a/b`.
fn path_of(address: &str) -> Vec<String> {
    let path = match address.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => address.rsplit_once(':').map_or(address, |(_, path)| path),
    };
    parts(path)
}

/// Splits a path, without letter case and the ending `.git`, which forges do not tell apart either.
fn parts(path: &str) -> Vec<String> {
    let path = path.trim_matches('/').to_lowercase();
    let path = path.strip_suffix(".git").unwrap_or(&path);
    path.split('/').map(str::to_owned).filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_the_one_that_is_cloned_if_owner_and_name_are_the_same() {
        let announced = ForgeRepository {
            id: Some("7".to_owned()),
            full_name: Some("Team/App".to_owned()),
            addresses: vec!["https://forge.example/Team/App.git".to_owned()],
        };
        for (clone_url, same) in [
            ("https://me:word@forge.example/team/app.git", true),
            ("http://forgejo:3000/team/app", true),
            ("https://example.org/git/team/app.git/", true),
            ("git@forge.example:team/app.git", true),
            ("ssh://git@[fd00::2]:22/team/app.git", true),
            // A mirror without owners.
            ("https://mirror.example/app.git", true),
            // A fork of that name, and another repository of the owner.
            ("https://forge.example/eve/app.git", false),
            ("https://forge.example/team/other.git", false),
            ("https://forge.example/", false),
        ] {
            assert_eq!(announced.is_at(clone_url), same, "{clone_url}");
        }
        // Somebody else's group may have a group called as ours is.
        let nested = ForgeRepository {
            id: Some("8".to_owned()),
            full_name: Some("eve/team/app".to_owned()),
            addresses: vec!["https://forge.example/eve/team/app.git".to_owned()],
        };
        assert!(!nested.is_at("https://forge.example/team/app.git") && nested.is_at("https://f/eve/team/app"));
        let group = ForgeRepository { id: None, full_name: Some("a/b/c".to_owned()), addresses: Vec::new() };
        assert!(group.is_at("https://gitlab.example/a/b/c.git") && !group.is_at("https://gitlab.example/a/x/c.git"));
        assert_eq!((announced.shown(), group.shown()), ("Team/App", "a/b/c"));
    }
}
