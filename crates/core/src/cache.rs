//! The rules of caches: which paths may be cached, what a key looks like, and who reads and saves which entries. Pure.
//!
//! An entry belongs to a scope of a repository, and is immutable under its key there. A job runs what is in the entries
//! that it begins with, so whoever decides what is in them decides what its secrets do. That is why a scope is a branch,
//! a tag, or a pull request with the branches whose files it runs: the same that rules of secrets ask about. A job saves
//! into its own scope, and reads that and the default branch's. Jobs of a stranger's pull request read what its target
//! branch saved, and save nothing.

use std::fmt;

use crate::{Event, event::PullRequest, plan::WORKSPACE, stranger};

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

/// The scope of all caches of a working tree.
const WORKING_TREE: &str = "working-tree";

/// Which entries of its repository a job reads, and where it saves some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheAccess {
    /// The scope that what it saves belongs to; `None` for a job that saves nothing.
    pub saves: Option<String>,
    /// The scopes of which it reads entries, in this order.
    pub reads: Vec<String>,
}

impl CacheAccess {
    /// Returns what the jobs of this event may do. Approving a stranger's commit lets its jobs run; it does not let
    /// them save what others read.
    #[must_use]
    pub fn of(event: &Event) -> Self {
        let default = event.default_branch.as_deref().map(of_branch);
        let (own, target) = match &event.pull_request {
            Some(request) if stranger::brings(event) => {
                return Self { saves: None, reads: vec![of_branch(&request.target_branch)] };
            }
            Some(request) => of_pull_request(request),
            None => (event.git_ref.clone(), None),
        };
        let mut reads = vec![own.clone()];
        for scope in target.into_iter().chain(default) {
            if !reads.contains(&scope) {
                reads.push(scope);
            }
        }
        Self { saves: Some(own), reads }
    }

    /// Returns what the jobs of a working tree may do: all of it is one person's, whatever its branches.
    #[must_use]
    pub fn of_working_tree(event: &Event) -> Self {
        let scope = || WORKING_TREE.to_owned();
        Self { saves: (!stranger::brings(event)).then(scope), reads: vec![scope()] }
    }
}

fn of_branch(name: &str) -> String {
    format!("refs/heads/{name}")
}

/// Returns a pull request's own scope, and that of its target branch if it reads that too. A pull request that runs
/// nothing of its target reads nothing of it: whoever may push to one branch could open one of another branch into it.
/// For the same reason its scope names the branches whose files it runs, which may change while its number stays. No
/// ref has a `:` in its name.
fn of_pull_request(request: &PullRequest) -> (String, Option<String>) {
    let PullRequest { number, source_branch, target_branch, merge, gone, .. } = request;
    match (merge, gone) {
        (None, None) => (format!("refs/pull/{number}/head:{source_branch}"), None),
        (_, _) => {
            let own = format!("refs/pull/{number}/head:{source_branch}:{target_branch}");
            (own, Some(of_branch(target_branch)))
        }
    }
}

/// Returns the name of a scope for people: a branch's short name, or the full name of a ref.
#[must_use]
pub fn scope_name(scope: &str) -> &str {
    let name = scope.split_once(':').map_or(scope, |(name, _)| name);
    name.strip_prefix("refs/heads/").unwrap_or(name)
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

    fn access(saves: Option<&str>, reads: &[&str]) -> CacheAccess {
        let reads = reads.iter().map(|scope| (*scope).to_owned()).collect();
        CacheAccess { saves: saves.map(str::to_owned), reads }
    }

    fn event(git_ref: &str, pull_request: Option<PullRequest>) -> Event {
        let event = Event::new(EventName::Push, git_ref, "1f0c2d3e4a5b6c7d8e9f00112233445566778899");
        Event { default_branch: Some("main".to_owned()), pull_request, ..event }
    }

    #[test]
    fn a_stranger_reads_what_the_target_branch_saved_and_saves_nothing() {
        let fork = PullRequest { fork: true, ..PullRequest::opened(7, "main", "next") };
        assert_eq!(CacheAccess::of(&event("refs/pull/7/head", Some(fork.clone()))), access(None, &["refs/heads/next"]));
        let of_tree = |request| CacheAccess::of_working_tree(&event("refs/heads/main", request));
        assert_eq!((of_tree(Some(fork)).saves, of_tree(None).saves), (None, Some(WORKING_TREE.to_owned())));
    }

    #[test]
    fn a_job_reads_what_its_own_ref_and_then_what_the_default_branch_saved() {
        let main = "refs/heads/main";
        for (own, reads) in [
            (main, &[main][..]),
            ("refs/heads/feature", &["refs/heads/feature", main]),
            ("refs/tags/main", &["refs/tags/main", main]),
            // A branch that is called like something else is not that.
            ("refs/heads/refs/pull/7/head", &["refs/heads/refs/pull/7/head", main]),
        ] {
            assert_eq!(CacheAccess::of(&event(own, None)), access(Some(own), reads));
        }
        let unknown = Event { default_branch: None, ..event("refs/heads/feature", None) };
        assert_eq!(CacheAccess::of(&unknown), access(Some("refs/heads/feature"), &["refs/heads/feature"]));
    }

    #[test]
    fn a_pull_request_of_the_repository_reads_only_what_branches_whose_files_it_runs_and_the_default_branch_saved() {
        // Of the branch with secrets, into the one of somebody who may push to that alone.
        let request = PullRequest::opened(7, "release", "evil");
        let of = |request| CacheAccess::of(&event("refs/pull/7/head", Some(request)));
        let own = "refs/pull/7/head:release";
        assert_eq!(of(request.clone()), access(Some(own), &[own, "refs/heads/main"]));
        let merge = Some(crate::event::Merge { head: String::new(), target: String::new() });
        let both = "refs/pull/7/head:release:evil";
        let reads = &[both, "refs/heads/evil", "refs/heads/main"];
        assert_eq!(of(PullRequest { merge, ..request.clone() }), access(Some(both), reads));
        assert_eq!(of(PullRequest { gone: Some(String::new()), ..request }), access(Some(both), reads));
        let shown = [own, both, "refs/heads/a/b", "refs/tags/v1"].map(scope_name);
        assert_eq!(shown, ["refs/pull/7/head", "refs/pull/7/head", "a/b", "refs/tags/v1"]);
    }
}
