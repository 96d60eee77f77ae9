//! The rules of caches: which paths may be cached, what a key looks like, and who reads and saves which entries. Pure.
//!
//! An entry belongs to a repository and is immutable under its key. Jobs of people who may push read and save all of a
//! repository's entries. Jobs of a stranger's pull request read what its target branch saved, and save nothing.

use std::fmt;

use crate::{Event, plan::WORKSPACE, stranger};

/// The most characters of a key.
pub const MAX_KEY: usize = 512;

/// Folders that a cache must not hide: the kernel's, and ours.
const RESERVED: [&str; 5] = ["/proc", "/sys", "/dev", "/longshore", "/.longshore"];

/// A folder in a job's containers that is cached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CachePath(Base, String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Base {
    Workspace,
    Home,
    Root,
}

/// Why a text is not a valid path of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotACachePath {
    #[error("there is no path here")]
    Empty,
    #[error("a path cannot contain `..`")]
    Upwards,
    #[error("a path must be a single line, without `,` and `\"`")]
    Unreadable,
    #[error("a cache path is a folder and cannot contain `*`, `?` or `[`")]
    Glob,
    #[error("only `~/`, the home of the job's user, is supported")]
    OtherHome,
    #[error("this folder is too broad: name folders in it")]
    TooMuch,
    #[error("this folder belongs to the system")]
    Reserved,
}

impl CachePath {
    /// Parses a path: from the workspace on, from `~/` on, or from the root on.
    ///
    /// # Errors
    /// It leads upwards, has wildcards, or names a folder that is not to be cached.
    pub fn parse(text: &str) -> Result<Self, NotACachePath> {
        let text = text.trim();
        if text.is_empty() {
            return Err(NotACachePath::Empty);
        }
        if text.chars().any(|c| c.is_control() || c == ',' || c == '"') || text.len() > 1024 {
            return Err(NotACachePath::Unreadable);
        }
        if text.contains(['*', '?', '[']) {
            return Err(NotACachePath::Glob);
        }
        let (base, rest) = match (text.strip_prefix('~'), text.strip_prefix('/')) {
            (Some(""), _) => (Base::Home, ""),
            (Some(rest), _) => (Base::Home, rest.strip_prefix('/').ok_or(NotACachePath::OtherHome)?),
            (None, Some(rest)) => (Base::Root, rest),
            (None, None) => (Base::Workspace, text),
        };
        let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.contains(&"..") {
            return Err(NotACachePath::Upwards);
        }
        let (base, parts) = match (base, WORKSPACE.trim_start_matches('/').split('/').collect::<Vec<_>>()) {
            (Base::Root, workspace) if parts.starts_with(&workspace) => (Base::Workspace, &parts[workspace.len()..]),
            (base, _) => (base, parts.as_slice()),
        };
        if parts.is_empty() {
            return Err(NotACachePath::TooMuch);
        }
        let path = Self(base, parts.join("/"));
        match base {
            Base::Root if is_reserved(&path.within("")) => Err(NotACachePath::Reserved),
            Base::Workspace if parts[0] == ".git" => Err(NotACachePath::Reserved),
            Base::Workspace | Base::Home | Base::Root => Ok(path),
        }
    }

    /// Returns the absolute path in a container whose user has this home. `None` if there is no such folder to cache: a
    /// home of `/` or in a folder of the system's.
    #[must_use]
    pub fn within_home(&self, home: &str) -> Option<String> {
        let home = home.trim_end_matches('/');
        let path = self.within(home);
        // An empty home is `/`.
        let fits = self.0 != Base::Home || (home.starts_with('/') && !home.split('/').any(|part| part == ".."));
        (fits && !path.contains([',', '"', '\n']) && (self.0 == Base::Workspace || !is_reserved(&path))).then_some(path)
    }

    /// Returns whether its place depends on the home of the container's user.
    #[must_use]
    pub fn is_in_home(&self) -> bool {
        self.0 == Base::Home
    }

    /// Returns whether it is in the workspace.
    #[must_use]
    pub fn is_in_workspace(&self) -> bool {
        self.0 == Base::Workspace
    }

    /// Returns whether one of the two is in the other.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let is_in = |inner: &Self, outer: &Self| format!("{}/", inner.1).starts_with(&format!("{}/", outer.1));
        self.0 == other.0 && (is_in(self, other) || is_in(other, self))
    }

    fn within(&self, home: &str) -> String {
        let base = match self.0 {
            Base::Workspace => WORKSPACE,
            Base::Home => home,
            Base::Root => "",
        };
        format!("{base}/{}", self.1)
    }
}

/// As it may be written in a pipeline.
impl fmt::Display for CachePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = match self.0 {
            Base::Workspace => "",
            Base::Home => "~/",
            Base::Root => "/",
        };
        write!(f, "{base}{}", self.1)
    }
}

fn is_reserved(path: &str) -> bool {
    RESERVED.iter().any(|folder| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// Checks a key, or the beginning of one, after its expressions were evaluated.
///
/// # Errors
/// A sentence for people.
pub fn check_key(key: &str) -> Result<(), String> {
    if key.trim().is_empty() {
        return Err("the key of a cache is empty".to_owned());
    }
    if key.chars().count() > MAX_KEY {
        return Err(format!("the key of a cache has more than {MAX_KEY} characters"));
    }
    if key.chars().any(char::is_control) {
        return Err("the key of a cache is one line".to_owned());
    }
    Ok(())
}

/// Which entries of its repository a job reads, and whether it saves any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheAccess {
    /// Reads all, and saves. What it saves counts as saved by this branch, if it runs on one.
    Trusted { branch: Option<String> },
    /// Reads what this branch saved, and saves nothing.
    Stranger { target: String },
}

impl CacheAccess {
    /// Returns what the jobs of this event may do. Approving a stranger's commit lets its jobs run; it does not let
    /// them save what others read.
    #[must_use]
    pub fn of(event: &Event) -> Self {
        match &event.pull_request {
            Some(pull_request) if stranger::brings(event) => {
                Self::Stranger { target: pull_request.target_branch.clone() }
            }
            Some(_) => Self::Trusted { branch: None },
            None => Self::Trusted { branch: event.git_ref.strip_prefix("refs/heads/").map(str::to_owned) },
        }
    }

    #[must_use]
    pub const fn saves(&self) -> bool {
        matches!(self, Self::Trusted { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventName, event::PullRequest};

    #[test]
    fn a_path_is_a_folder_that_a_job_may_hide() {
        for (text, shown, absolute) in [
            ("target", "target", "/longshore/workspace/target"),
            ("./web//node_modules/", "web/node_modules", "/longshore/workspace/web/node_modules"),
            ("/longshore/workspace/target", "target", "/longshore/workspace/target"),
            ("~/.cargo/registry", "~/.cargo/registry", "/home/x/.cargo/registry"),
            ("/usr/local/cargo/registry", "/usr/local/cargo/registry", "/usr/local/cargo/registry"),
        ] {
            let path = CachePath::parse(text).unwrap();
            assert_eq!((path.to_string().as_str(), path.within_home("/home/x/").as_deref()), (shown, Some(absolute)));
        }
        for (text, why) in [
            ("", NotACachePath::Empty),
            (".", NotACachePath::TooMuch),
            ("~", NotACachePath::TooMuch),
            ("/", NotACachePath::TooMuch),
            ("/longshore/workspace", NotACachePath::TooMuch),
            ("../x", NotACachePath::Upwards),
            ("a/../../x", NotACachePath::Upwards),
            ("/longshore/workspace/../spool", NotACachePath::Upwards),
            ("~root/x", NotACachePath::OtherHome),
            ("**/node_modules", NotACachePath::Glob),
            ("a,lowerdir=/etc", NotACachePath::Unreadable),
            ("/proc/1", NotACachePath::Reserved),
            ("/longshore/spool", NotACachePath::Reserved),
            ("/.longshore", NotACachePath::Reserved),
            (".git/objects", NotACachePath::Reserved),
        ] {
            assert_eq!(CachePath::parse(text), Err(why), "{text}");
        }
        let in_home = CachePath::parse("~/x").unwrap();
        for home in ["/dev", "/longshore", "relative", "/a/../b", "/a,b"] {
            assert_eq!(in_home.within_home(home), None, "{home}");
        }
        assert_eq!(in_home.within_home("/").as_deref(), None, "`/` is nobody's home");
    }

    #[test]
    fn two_paths_of_which_one_is_in_the_other_are_told() {
        let path = |text| CachePath::parse(text).unwrap();
        assert!(path("a").overlaps(&path("a/b")) && path("a/b").overlaps(&path("a")) && path("a").overlaps(&path("a")));
        assert!(!path("a").overlaps(&path("ab")) && !path("a").overlaps(&path("~/a")));
    }

    #[test]
    fn a_stranger_reads_what_the_target_branch_saved_and_saves_nothing() {
        let mut event = Event::new(EventName::Push, "refs/heads/main", "1f0c2d3e4a5b6c7d8e9f00112233445566778899");
        assert_eq!(CacheAccess::of(&event), CacheAccess::Trusted { branch: Some("main".to_owned()) });
        event.git_ref = "refs/tags/v1".to_owned();
        assert_eq!(CacheAccess::of(&event), CacheAccess::Trusted { branch: None });
        let pull_request = |fork| PullRequest { fork, ..PullRequest::opened(7, "main", "next") };
        event.pull_request = Some(pull_request(false));
        assert_eq!(CacheAccess::of(&event), CacheAccess::Trusted { branch: None });
        event.pull_request = Some(pull_request(true));
        assert_eq!(CacheAccess::of(&event), CacheAccess::Stranger { target: "next".to_owned() });
        assert!(!CacheAccess::of(&event).saves());
    }
}
