//! Git LFS: finds the pointers of a commit, gets their objects from the repository's store with the repository's
//! credentials, and says which file of a checkout is which object.
//!
//! No program of Git LFS is needed, and none runs. `.lfsconfig` is written by anybody who may push or open a pull
//! request, so the store that it names must be on the repository's own host, and gets credentials as submodules do
//! ([`crate::submodules`]).

mod client;
mod find;
mod http;
mod objects;

use std::{
    collections::{HashMap, HashSet},
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use longshore_forge::{
    CloneUrl,
    lfs::{self, Pointer},
};
use tokio::{
    sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard},
    task::spawn_blocking,
};

use self::http::{LfsFile, Remote};
pub(crate) use self::{client::LfsHttp, find::in_commit, find::in_folder, objects::Objects};
use super::{Checkout, Git, GitError, Mirror, git_dir::IndexEntry, size, ssh, submodules};

/// The most files of a checkout that Git LFS has.
pub(crate) const MAX_FILES: usize = 100_000;
/// The largest object. The largest that a forge takes by default has as many bytes.
const MAX_OBJECT_BYTES: u64 = 5 << 30;
/// The most bytes of all such files of a checkout. For strangers it is that of their other files.
const MAX_BYTES: u64 = 20 << 30;
/// How long an object stays that no checkout has used, and the most bytes that a repository's objects take.
const MAX_UNUSED_TIME: Duration = Duration::from_secs(14 * 24 * 60 * 60);
const MAX_REPOSITORY_BYTES: u64 = 20 << 30;

/// The files of a checkout that are objects.
#[derive(Debug)]
pub(crate) struct Files {
    objects: Objects,
    /// Those that the repository does not have.
    of_forks: Objects,
    pub(crate) pointers: HashMap<Vec<u8>, Pointer>,
    /// Whether some were received just now.
    pub(crate) received: bool,
    /// Nothing is swept while they are read.
    _in_use: Option<OwnedRwLockReadGuard<()>>,
}

impl Files {
    pub(crate) fn none() -> Self {
        let nowhere = Objects::at("/nonexistent".into());
        let pointers = HashMap::new();
        Self { objects: nowhere.clone(), of_forks: nowhere, pointers, received: false, _in_use: None }
    }

    /// Returns where an object is.
    pub(crate) fn path(&self, pointer: &Pointer) -> PathBuf {
        let own = self.objects.path(pointer);
        if own.exists() { own } else { self.of_forks.path(pointer) }
    }

    pub(crate) fn contains(&self, path: &[u8]) -> bool {
        self.pointers.contains_key(path)
    }
}

/// What the repositories of a checkout have in Git LFS that came before: a repository and its submodules have one limit
/// together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Taken {
    files: usize,
    bytes: u64,
}

impl Taken {
    pub(crate) fn by<'a>(files: impl Iterator<Item = &'a Files>) -> Self {
        files.fold(Self::default(), |taken, files| taken.with(&files.pointers))
    }

    fn with(self, pointers: &HashMap<Vec<u8>, Pointer>) -> Self {
        Self {
            files: self.files.saturating_add(pointers.len()),
            bytes: pointers.values().fold(self.bytes, |sum, pointer| sum.saturating_add(pointer.size())),
        }
    }
}

/// Gets what a checkout needs. `others` are the entries of its commit that it does not have.
pub(crate) async fn for_checkout(
    mirror: &Mirror,
    checkout: &Checkout<'_>,
    dot_git: &std::path::Path,
    (entries, others): (&[IndexEntry], &[IndexEntry]),
    taken: Taken,
) -> Result<Files, GitError> {
    let git = mirror.git();
    let pointers = in_commit(git, dot_git, entries).await?;
    if pointers.is_empty() {
        return Ok(Files::none());
    }
    let in_use = Arc::clone(&mirror.lfs_in_use).read_owned().await;
    let is_config = |entry: &&IndexEntry| entry.path == b".lfsconfig" && entry.is_file();
    let blob = entries.iter().chain(others).find(is_config).map(|entry| format!("--blob={}", entry.object));
    let config = match blob {
        Some(blob) => {
            read_config(git.in_repository(dot_git).args(["config", "--no-includes", "-z", &blob, "--list"])).await?
        }
        None => String::new(),
    };
    let source = Source {
        git,
        origin: Some(checkout.origin),
        config: &config,
        by_stranger: checkout.by_stranger,
        trusted: checkout.trusted_submodules,
        git_ref: checkout.git_ref.map(longshore_forge::RefName::as_str),
        taken,
    };
    // Objects that another store gave for the repository's credentials do not exist for strangers, who have no
    // credentials.
    let objects = match source.written() {
        Some(_) if !checkout.by_stranger => Objects::of_named_store(mirror.folder()),
        Some(_) | None => Objects::of_mirror(mirror.folder()),
    };
    let of_forks = Objects::of_forks(mirror.folder());
    let fork = checkout.fork.map(|url| (url, &of_forks));
    let received = source.fetch(&pointers, &objects, fork).await?;
    Ok(Files { objects, of_forks, pointers, received, _in_use: Some(in_use) })
}

/// Lists `.lfsconfig` as git reads it.
pub(crate) async fn read_config(list: super::command::Invocation) -> Result<String, GitError> {
    Ok(String::from_utf8_lossy(&list.output("reading .lfsconfig", &[]).await?).into_owned())
}

/// Where a repository's objects come from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) git: &'a Git,
    pub(crate) origin: Option<&'a CloneUrl>,
    /// The list of `.lfsconfig`, each entry a key, a line break, a value and a NUL.
    pub(crate) config: &'a str,
    pub(crate) by_stranger: bool,
    pub(crate) trusted: &'a [String],
    pub(crate) git_ref: Option<&'a str>,
    pub(crate) taken: Taken,
}

impl Source<'_> {
    /// Receives the objects that are not here yet: what the repository's store does not have from that of the fork, as
    /// anybody may have it. Returns whether there were any.
    pub(crate) async fn fetch(
        &self,
        pointers: &HashMap<Vec<u8>, Pointer>,
        objects: &Objects,
        fork: Option<(&CloneUrl, &Objects)>,
    ) -> Result<bool, GitError> {
        check_limits(pointers, self.taken, self.by_stranger)?;
        let mut wanted: Vec<LfsFile> = pointers
            .iter()
            .map(|(path, pointer)| (String::from_utf8_lossy(path).into_owned(), pointer.clone()))
            .collect();
        wanted.sort_by(|(one, _), (other, _)| one.cmp(other));
        let failed = |error| GitError::Io { what: "looking for objects of Git LFS", source: io::Error::other(error) };
        let here: Vec<Objects> = [objects].into_iter().chain(fork.map(|(_, objects)| objects)).cloned().collect();
        let search = move || {
            let mut seen = HashSet::new();
            let is_here = |pointer: &Pointer| here.iter().any(|objects| objects.has(pointer));
            wanted.retain(|(_, pointer)| seen.insert(pointer.oid().to_owned()) && !is_here(pointer));
            wanted
        };
        let missing = spawn_blocking(search).await.map_err(failed)?;
        let Some((first, _)) = missing.first() else { return Ok(false) };
        let Some(origin) = self.origin else {
            let detail = format!("the object of `{first}` is not here, and the folder has no remote `origin`");
            return Err(GitError::Lfs { address: "no address".to_owned(), detail });
        };
        let remote = self.remote(origin).await?;
        let address = remote.address.clone();
        let lacked = receive(remote, missing, objects).await?;
        let Some((first, said)) = lacked.first().cloned() else { return Ok(true) };
        let missing = |(path, pointer): LfsFile, address: String| GitError::LfsMissing {
            path,
            oid: pointer.oid().to_owned(),
            address,
        };
        let Some((url, of_fork)) = fork else { return Err(missing(first, format!("{address}{said}"))) };
        let beside = self.anybodys(url).await?;
        let fork_address = beside.address.clone();
        let lacked = lacked.into_iter().map(|(wanted, _)| wanted).collect();
        match receive(beside, lacked, of_fork).await {
            Ok(lacked) => match lacked.into_iter().next() {
                None => Ok(true),
                Some((wanted, said)) => Err(missing(wanted, format!("{address}, and not at {fork_address}{said}"))),
            },
            // A fork that not everybody may read.
            Err(error) => Err(missing(first, format!("{address}, and its fork's cannot be asked ({error})"))),
        }
    }

    /// Returns a store as anybody may ask it.
    async fn anybodys(&self, url: &CloneUrl) -> Result<Remote, GitError> {
        let address = lfs::address_of(url).filter(|_| !url.has_credentials());
        let refused = || GitError::Lfs { address: url.address().to_owned(), detail: "it takes a login".to_owned() };
        Ok(Remote {
            client: self.git.lfs().of(url).await,
            address: address.ok_or_else(refused)?,
            headers: Vec::new(),
            url: url.clone(),
            git_ref: None,
        })
    }

    async fn remote(&self, origin: &CloneUrl) -> Result<Remote, GitError> {
        let url = match self.written() {
            None => origin.clone(),
            Some(written) => resolve(origin, self.by_stranger, self.trusted, written).map_err(|why| GitError::Lfs {
                address: origin.address().to_owned(),
                detail: format!("`.lfsconfig` names another store: {why}"),
            })?,
        };
        let named = self.written().is_some();
        let plain =
            if named { Some(url.address().to_owned()).filter(|_| !url.is_ssh()) } else { lfs::address_of(&url) };
        let (address, headers) = match plain {
            Some(address) => {
                let authorization = url.authorization(&address).map(|value| ("Authorization".to_owned(), value));
                (address, authorization.into_iter().collect())
            }
            None => {
                let answer = ssh::ask_for_lfs(&url).await?;
                (answer.href, answer.header.into_iter().collect())
            }
        };
        let git_ref = self.git_ref.map(str::to_owned);
        let client = self.git.lfs().of(origin).await;
        Ok(Remote { client, address, headers, url, git_ref })
    }

    /// Returns the address in `.lfsconfig`.
    fn written(&self) -> Option<&str> {
        let value = |wanted: &str| {
            let entries = self.config.split('\0').filter_map(|entry| entry.split_once('\n'));
            entries.filter(|(key, _)| *key == wanted).map(|(_, value)| value).next_back()
        };
        value("lfs.url").or_else(|| value("remote.origin.lfsurl"))
    }
}

/// Receives objects, and returns those that the store does not have, each with what it says about that.
async fn receive(remote: Remote, missing: Vec<LfsFile>, objects: &Objects) -> Result<Vec<(LfsFile, String)>, GitError> {
    let stop = StopOnDrop(Arc::new(AtomicBool::new(false)));
    let (is_stopped, objects) = (Arc::clone(&stop.0), objects.clone());
    let received = spawn_blocking(move || remote.fetch(&missing, &objects, &is_stopped)).await;
    received
        .map_err(|error| GitError::Io { what: "receiving objects of Git LFS", source: io::Error::other(error) })
        .flatten()
}

/// Returns the address that `.lfsconfig` names, or why it is refused.
fn resolve(origin: &CloneUrl, by_stranger: bool, trusted: &[String], written: &str) -> Result<CloneUrl, String> {
    let url: CloneUrl = written.parse().map_err(|error| format!("{error}"))?;
    let name_of = |url: &CloneUrl| {
        let host = url.host();
        host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name).to_owned()
    };
    // The ports of ssh and https differ.
    let same =
        if origin.is_ssh() == url.is_ssh() { origin.host() == url.host() } else { name_of(origin) == name_of(&url) };
    if !same {
        return Err(format!(
            "it is on `{}`, and objects are taken from the repository's own host, `{}`, only",
            url.host(),
            origin.host()
        ));
    }
    if url.has_credentials() {
        return Err("its address contains a name or password".to_owned());
    }
    let repository = url.address().trim_end_matches('/').trim_end_matches("/info/lfs").parse::<CloneUrl>();
    let repository = repository.as_ref().unwrap_or(&url);
    let own = submodules::path_of(repository) == submodules::path_of(origin);
    if own || (!by_stranger && submodules::is_trusted(repository, trusted)) {
        return Ok(url.with_credentials_of(origin));
    }
    match url.is_ssh() {
        true => Err("a store over ssh would be opened with the server's key: name the repository's own".to_owned()),
        false => Ok(url),
    }
}

fn check_limits(pointers: &HashMap<Vec<u8>, Pointer>, taken: Taken, by_stranger: bool) -> Result<(), GitError> {
    let most = if by_stranger { size::MAX_BYTES } else { MAX_BYTES };
    let whose = if by_stranger { "a stranger's commit" } else { "a commit" };
    if let Some((path, pointer)) = pointers.iter().find(|(_, pointer)| pointer.size() > MAX_OBJECT_BYTES) {
        let (path, size) = (String::from_utf8_lossy(path), pointer.size());
        let limit = MAX_OBJECT_BYTES >> 30;
        return Err(GitError::LfsLimit(format!(
            "`{path}` has {size} bytes in Git LFS, and no file may have more than {limit} GiB there"
        )));
    }
    let all = taken.with(pointers);
    if all.files > MAX_FILES {
        return Err(GitError::LfsLimit(format!(
            "{whose} may have {MAX_FILES} files in Git LFS, with those of its submodules, and this one has {}",
            all.files
        )));
    }
    match all.bytes <= most {
        true => Ok(()),
        false => Err(GitError::LfsLimit(format!(
            "the files of {whose} may have {} GiB in Git LFS together, with those of its submodules, and those of this one have {} MiB",
            most >> 30,
            all.bytes >> 20
        ))),
    }
}

/// Ends what is being received when nobody waits for it any more.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Mirror {
    /// Removes objects of Git LFS that no checkout has used for long, and those over the budget, which this repository
    /// and its submodules have together. Leaves those of a repository that is being checked out until the next time.
    pub(crate) async fn sweep_lfs(&self) -> Result<(), GitError> {
        self.sweep_lfs_within(MAX_UNUSED_TIME, MAX_REPOSITORY_BYTES).await
    }

    pub(crate) async fn sweep_lfs_within(&self, unused: Duration, budget: u64) -> Result<(), GitError> {
        let (mut idle, mut guards) = (Vec::new(), Vec::new());
        self.idle_lfs(&mut idle, &mut guards).await?;
        let sweep = move || {
            let swept = objects::sweep(&idle, unused, budget);
            drop(guards);
            swept
        };
        let swept = spawn_blocking(sweep).await.map_err(io::Error::other).flatten();
        swept.map_err(GitError::io("removing objects of Git LFS"))
    }

    /// Collects the objects of this repository and its submodules that no checkout uses now, and what keeps it so.
    async fn idle_lfs(
        &self,
        idle: &mut Vec<Objects>,
        guards: &mut Vec<OwnedRwLockWriteGuard<()>>,
    ) -> Result<(), GitError> {
        if let Ok(guard) = Arc::clone(&self.lfs_in_use).try_write_owned() {
            let folder = self.folder();
            idle.extend([Objects::of_mirror(folder), Objects::of_named_store(folder), Objects::of_forks(folder)]);
            guards.push(guard);
        }
        for submodule in self.all_submodules().await? {
            Box::pin(submodule.idle_lfs(idle, guards)).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_a_commit_names_is_on_the_same_host_and_gets_credentials_as_a_submodule_does() {
        let https: CloneUrl = "https://me:s3cret-word@h/team/app.git".parse().unwrap();
        let trusted = ["team/assets".to_owned()];
        for (written, by_stranger, with_credentials) in [
            ("https://h/team/app.git/info/lfs", false, Some(true)),
            ("https://h/team/app.git/info/lfs", true, Some(true)),
            ("https://h/team/app/info/lfs/", true, Some(true)),
            ("https://h/team/assets.git/info/lfs", false, Some(true)),
            ("https://h/team/assets.git/info/lfs", true, Some(false)),
            ("https://h/other/app.git/info/lfs", false, Some(false)),
            ("http://h/team/app.git/info/lfs", false, Some(false)),
            ("https://elsewhere/team/app.git/info/lfs", false, None),
            ("https://h:2375/team/app.git/info/lfs", false, None),
            ("https://a:b@h/team/app.git/info/lfs", false, None),
            ("git@h:other/app.git", false, None),
            ("file:///etc", false, None),
        ] {
            let found = resolve(&https, by_stranger, &trusted, written).map(|url| url.has_credentials());
            assert_eq!(found.as_ref().ok(), with_credentials.as_ref(), "{written}: {found:?}");
        }
        let ssh: CloneUrl = "ssh://git@h:2222/team/app.git".parse().unwrap();
        assert!(resolve(&ssh, false, &[], "https://h/team/app.git/info/lfs").is_ok());
    }

    #[test]
    fn too_large_checkouts_are_refused_before_anything_is_received() {
        let pointers = |sizes: &[u64]| -> HashMap<Vec<u8>, Pointer> {
            let pointer = |size| Pointer::new(&"a".repeat(64), size).unwrap();
            sizes.iter().enumerate().map(|(n, size)| (vec![u8::try_from(n).unwrap()], pointer(*size))).collect()
        };
        let none = Taken::default();
        assert!(check_limits(&pointers(&[5 << 30, 5 << 30]), none, false).is_ok());
        let before = none.with(&pointers(&[5 << 30, 5 << 30, 5 << 30]));
        assert!(check_limits(&pointers(&[5 << 30]), before, false).is_ok());
        let error = check_limits(&pointers(&[5 << 30, 1]), before, false).unwrap_err().to_string();
        assert!(error.contains("with those of its submodules"), "{error}");
        let error = check_limits(&pointers(&[1]), Taken { files: MAX_FILES, bytes: 0 }, false).unwrap_err().to_string();
        assert!(error.contains("100000 files"), "{error}");
        for (sizes, by_stranger, word) in [
            (&[(5 << 30) + 1][..], false, "5 GiB"),
            (&[5 << 30, 5 << 30, 5 << 30, 5 << 30, 1], false, "20 GiB"),
            (&[1 << 30, 1 << 30, 1], true, "2 GiB"),
            (&[u64::MAX >> 1, u64::MAX >> 1, u64::MAX >> 1], false, "5 GiB"),
        ] {
            let error = check_limits(&pointers(sizes), none, by_stranger).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
