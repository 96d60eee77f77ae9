//! Determines which commits, branches and tags a checkout has, from its `depth`.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use longshore_forge::{CommitId, RefName};

use super::{Git, GitError, git_dir::NamedRef};

/// The commits of a checkout, with their refs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckoutHistory {
    /// Commits whose parents are left out: git's `shallow`.
    pub(crate) ends: Vec<String>,
    /// All branches with the whole history; otherwise empty, apart from the branch that is checked out.
    pub(crate) branches: Vec<NamedRef>,
    /// The tags of these commits.
    pub(crate) tags: Vec<NamedRef>,
}

impl CheckoutHistory {
    /// Finds `depth` generations of `commit`, counting itself as the first; 0 for all.
    pub(crate) async fn find(git: &Git, source: &Path, commit: &CommitId, depth: u32) -> Result<Self, GitError> {
        Ok(match depth {
            0 => Self {
                ends: Vec::new(),
                branches: list_refs(git, source, &["refs/heads"]).await?.into_iter().map(|(named, _)| named).collect(),
                tags: list_refs(git, source, &["refs/tags"]).await?.into_iter().map(|(named, _)| named).collect(),
            },
            1 => Self {
                ends: vec![commit.as_str().to_owned()],
                branches: Vec::new(),
                tags: list_refs(git, source, &[&format!("--points-at={commit}"), "refs/tags"])
                    .await?
                    .into_iter()
                    .map(|(named, _)| named)
                    .collect(),
            },
            depth => {
                let (inside, ends) = walk(git, source, commit, depth).await?;
                let tags = list_refs(git, source, &["refs/tags"]).await?;
                let tags = tags.into_iter().filter(|(_, commit)| inside.contains(commit)).map(|(named, _)| named);
                Self { ends, branches: Vec::new(), tags: tags.collect() }
            }
        })
    }

    /// Like [`find`](Self::find), in a person's clone: the branches are those that its `origin` had when it was last
    /// fetched, and the one that is checked out is where a push would bring it. Beyond the commits in `ends` the clone
    /// has no history.
    pub(crate) async fn of_clone(
        git: &Git,
        source: &Path,
        (commit, branch): (&CommitId, Option<&RefName>),
        depth: u32,
        ends: &HashSet<String>,
    ) -> Result<Self, GitError> {
        let mut history = Self::find(git, source, commit, depth).await?;
        if depth == 0 {
            let of_origin = list_refs_named(git, source, AS_IN_ORIGIN, &["refs/remotes/origin/"]).await?;
            let mut of_origin: Vec<NamedRef> = of_origin.into_iter().map(|(named, _)| named).collect();
            // It says which of the others is the default one.
            of_origin.retain(|named| named.name.branch() != Some("HEAD"));
            if !of_origin.is_empty() {
                history.branches = of_origin;
            }
            if let Some(branch) = branch {
                history.branches.retain(|named| named.name != *branch);
                history.branches.push(NamedRef { object: commit.to_string(), name: branch.clone() });
            }
            history.ends.extend(ends.iter().cloned());
        } else if depth > 1 {
            let (inside, _) = walk(git, source, commit, depth).await?;
            history.ends.extend(ends.iter().filter(|end| inside.contains(*end)).cloned());
        }
        Ok(history)
    }

    /// Returns a text that changes whenever the history does.
    pub(crate) fn lines(&self) -> String {
        let ends = self.ends.iter().map(|end| format!("{end}\n"));
        ends.chain(self.branches.iter().chain(&self.tags).map(NamedRef::line)).collect()
    }
}

/// The name of a ref, and that of a clone's `refs/remotes/origin/...` in its origin.
const OWN_NAME: &str = "%(refname)";
const AS_IN_ORIGIN: &str = "refs/heads/%(refname:lstrip=3)";

/// Returns what [`generations`] does, of a repository.
async fn walk(
    git: &Git,
    source: &Path,
    commit: &CommitId,
    depth: u32,
) -> Result<(HashSet<String>, Vec<String>), GitError> {
    let list = git.in_repository(source).args(["rev-list", "--parents", "--end-of-options", commit.as_str()]);
    let list = list.output("walking the history", &[]).await?;
    Ok(generations(&String::from_utf8_lossy(&list), commit.as_str(), depth))
}

/// Lists the refs that the arguments select, each with its commit.
async fn list_refs(git: &Git, source: &Path, select: &[&str]) -> Result<Vec<(NamedRef, String)>, GitError> {
    list_refs_named(git, source, OWN_NAME, select).await
}

async fn list_refs_named(
    git: &Git,
    source: &Path,
    name: &str,
    select: &[&str],
) -> Result<Vec<(NamedRef, String)>, GitError> {
    let format = format!("--format=%(objectname) {name} %(*objectname)");
    let list = git.in_repository(source).args(["for-each-ref", format.as_str()]).args(select);
    let output = list.output("listing branches and tags", &[]).await?;
    let output = String::from_utf8_lossy(&output);
    let names = output.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (object, name, peeled) = (words.next()?, words.next()?, words.next().unwrap_or_default());
        // Leave out names that [`RefName`] does not accept (too long).
        let named = NamedRef { object: object.to_owned(), name: name.parse().ok()? };
        let commit = if peeled.is_empty() { object } else { peeled };
        Some((named, commit.to_owned()))
    });
    Ok(names.collect())
}

/// Returns the commits within `depth` generations of `tip`, and those of them whose parents are beyond. `list` is the
/// output of `git rev-list --parents`.
fn generations(list: &str, tip: &str, depth: u32) -> (HashSet<String>, Vec<String>) {
    let parents: HashMap<&str, Vec<&str>> = list
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?, words.collect()))
        })
        .collect();
    let mut inside = HashSet::from([tip.to_owned()]);
    let mut generation = vec![tip];
    for _ in 1..depth {
        let mut older = Vec::new();
        for parent in generation.iter().filter_map(|commit| parents.get(commit)).flatten() {
            if inside.insert((*parent).to_owned()) {
                older.push(*parent);
            }
        }
        if older.is_empty() {
            return (inside, Vec::new());
        }
        generation = older;
    }
    let ends = generation.iter().filter(|commit| parents.get(*commit).is_some_and(|parents| !parents.is_empty()));
    let ends = ends.map(|commit| (*commit).to_owned()).collect();
    (inside, ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_are_counted_by_the_shortest_way() {
        // d merges c and a; c follows b, b follows a.
        let list = "d c a\nc b\nb a\na";
        let within = |depth| {
            let (inside, ends) = generations(list, "d", depth);
            let mut inside: Vec<String> = inside.into_iter().collect();
            inside.sort();
            (inside.concat(), ends)
        };
        assert_eq!(within(2), ("acd".to_owned(), vec!["c".to_owned()]));
        assert_eq!(within(3), ("abcd".to_owned(), vec!["b".to_owned()]));
        assert_eq!(within(4), ("abcd".to_owned(), Vec::new()));
        assert_eq!(within(4_000_000_000), ("abcd".to_owned(), Vec::new()));
    }
}
