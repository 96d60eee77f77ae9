//! The `.git` of a checkout: `depth` commits, its branch, the tags that point at them, an index and `origin`. Written
//! directly where git would need a process per item, because a build waits for it.

use std::{
    fmt::Write as _,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use longshore_forge::{CommitId, RefName};

use super::{Git, GitError, checkout_history::CheckoutHistory, submodules::Submodule};

/// A branch or tag with the object it names: the commit or, for an annotated tag, the tag's own object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedRef {
    pub(crate) object: String,
    pub(crate) name: RefName,
}

impl NamedRef {
    /// Returns a line that changes whenever the ref does.
    pub(crate) fn line(&self) -> String {
        format!("{} {}\n", self.object, self.name)
    }
}

const GITLINK_MODE: u32 = 0o160_000;
const SYMLINK_MODE: u32 = 0o120_000;

impl IndexEntry {
    pub(crate) const fn is_gitlink(&self) -> bool {
        self.mode == GITLINK_MODE
    }

    pub(crate) const fn is_link(&self) -> bool {
        self.mode == SYMLINK_MODE
    }

    pub(crate) const fn is_file(&self) -> bool {
        self.mode & 0o170_000 == 0o100_000
    }
}

/// The input for a `.git`.
#[derive(Debug)]
pub(crate) struct GitDir<'a> {
    /// The data of the repository that holds the commit.
    pub(crate) source: &'a Path,
    pub(crate) commit: &'a CommitId,
    /// The branch of HEAD; `None` leaves it detached.
    pub(crate) branch: Option<&'a RefName>,
    pub(crate) history: &'a CheckoutHistory,
    /// The address of `origin`, without credentials.
    pub(crate) origin: Option<&'a str>,
}

/// An entry of the index.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) mode: u32,
    pub(crate) object: String,
    pub(crate) path: Vec<u8>,
}

impl GitDir<'_> {
    /// Writes the `.git` to `folder`. Returns the entries of its index.
    pub(crate) async fn write(&self, git: &Git, folder: &Path) -> Result<Vec<IndexEntry>, GitError> {
        let packs = folder.join("objects/pack");
        let written = async {
            tokio::fs::create_dir_all(&packs).await?;
            tokio::fs::create_dir_all(folder.join("refs")).await?;
            for (name, text) in [("config", self.config()), ("packed-refs", self.packed_refs()), ("HEAD", self.head())]
            {
                tokio::fs::write(folder.join(name), text).await?;
            }
            if !self.history.ends.is_empty() {
                let ends: String = self.history.ends.iter().map(|end| format!("{end}\n")).collect();
                tokio::fs::write(folder.join("shallow"), ends).await?;
            }
            Ok(())
        };
        written.await.map_err(GitError::io("writing the checkout's .git"))?;
        let (_, entries) = tokio::try_join!(self.pack(git, packs), self.index(git, folder))?;
        Ok(entries)
    }

    /// Packs the commits, their trees and files, and the tags' objects. Existing deltas are reused, and none are
    /// searched for: the pack is read once or twice and then thrown away.
    async fn pack(&self, git: &Git, packs: PathBuf) -> Result<Vec<u8>, GitError> {
        let mut wanted = String::new();
        for end in &self.history.ends {
            let _ = writeln!(wanted, "--shallow {end}");
        }
        let _ = writeln!(wanted, "{}", self.commit);
        for named in self.history.branches.iter().chain(&self.history.tags) {
            let _ = writeln!(wanted, "{}", named.object);
        }
        let mut invocation = git.in_repository(self.source);
        // Unfinished files are removed with the checkout's folder. A linked working tree has its objects elsewhere, and
        // a colon would split the path.
        let (own, objects) = (packs.parent().unwrap_or(&packs), self.source.join("objects"));
        if objects.is_dir() && !objects.as_os_str().as_bytes().contains(&b':') {
            invocation = invocation.env("GIT_OBJECT_DIRECTORY", own).env("GIT_ALTERNATE_OBJECT_DIRECTORIES", objects);
        }
        let invocation = invocation
            .args(["pack-objects", "--revs", "--shallow", "--window=0", "--quiet"])
            .args([packs.join("pack")]);
        invocation.output("packing the commit", wanted.as_bytes()).await
    }

    async fn index(&self, git: &Git, folder: &Path) -> Result<Vec<IndexEntry>, GitError> {
        let index = folder.join("index");
        let on_index = || git.in_repository(self.source).env("GIT_INDEX_FILE", index.clone());
        let mut read = on_index();
        // The format in a user's configuration does not concern us ([`super::index_stat`]).
        read.config("index.version", "2");
        let read = read.args(["read-tree", "--end-of-options", self.commit.as_str()]);
        read.output("reading the commit's tree", &[]).await?;
        let list = on_index().args(["ls-files", "--stage", "-z", "--full-name"]);
        parse_index(&list.output("listing the commit's files", &[]).await?)
    }

    fn head(&self) -> String {
        match self.branch {
            Some(branch) => format!("ref: {branch}\n"),
            None => format!("{}\n", self.commit),
        }
    }

    fn packed_refs(&self) -> String {
        let mut text = String::new();
        if let Some(name) = self.branch.and_then(RefName::branch) {
            let _ = writeln!(text, "{} refs/heads/{name}", self.commit);
            if self.origin.is_some() && self.history.branches.is_empty() {
                let _ = writeln!(text, "{} refs/remotes/origin/{name}", self.commit);
            }
        }
        for NamedRef { object, name } in &self.history.branches {
            if let Some(name) = name.branch() {
                let _ = writeln!(text, "{object} refs/remotes/origin/{name}");
            }
        }
        text.extend(self.history.tags.iter().map(NamedRef::line));
        text
    }

    fn config(&self) -> String {
        let mut text = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\
                        \tlogallrefupdates = true\n"
            .to_owned();
        if let Some(origin) = self.origin {
            let _ = writeln!(text, "[remote \"origin\"]\n\turl = \"{}\"", escaped(origin));
            let _ = writeln!(text, "\tfetch = +refs/heads/*:refs/remotes/origin/*");
        }
        text
    }
}

/// Declares in the `.git` at `folder` which submodules are checked out with it.
pub(crate) async fn configure_submodules(folder: &Path, submodules: &[Submodule]) -> Result<(), GitError> {
    use tokio::io::AsyncWriteExt as _;
    let mut text = String::new();
    for submodule in submodules {
        let (name, url) = (escaped(&submodule.name), escaped(submodule.url.address()));
        let _ = writeln!(text, "[submodule \"{name}\"]\n\tactive = true\n\turl = \"{url}\"");
    }
    let append = async {
        let mut config = tokio::fs::OpenOptions::new().append(true).open(folder.join("config")).await?;
        config.write_all(text.as_bytes()).await?;
        config.flush().await
    };
    append.await.map_err(GitError::io("writing the checkout's .git"))
}

/// Escapes a text inside quotes of git's configuration. None of these texts has control characters.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

fn parse_index(list: &[u8]) -> Result<Vec<IndexEntry>, GitError> {
    let parse = |record: &[u8]| {
        let tab = record.iter().position(|byte| *byte == b'\t')?;
        let mut words = std::str::from_utf8(&record[..tab]).ok()?.split(' ');
        let mode = u32::from_str_radix(words.next()?, 8).ok()?;
        Some(IndexEntry { mode, object: words.next()?.to_owned(), path: record[tab + 1..].to_vec() })
    };
    let strange =
        || GitError::Failed { operation: "listing the commit's files", detail: "its list cannot be parsed".to_owned() };
    let records = list.split(|byte| *byte == 0).filter(|record| !record.is_empty());
    records.map(|record| parse(record).ok_or_else(strange)).collect()
}
