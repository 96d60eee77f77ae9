//! Mirrors, against real git and a real git host over HTTP.

use crate::support::{GitHost, Options, Repository};
use longshore_core::RepoId;
use longshore_forge::{CloneUrl, CommitId, RefName, Revision};
use longshore_git::{FetchTarget, Git, GitError, Mirror, Mirrors};

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) repository: Repository,
    pub(crate) host: GitHost,
    pub(crate) mirror: Mirror,
    pub(crate) url: CloneUrl,
}

pub(crate) async fn world_with(options: Options, userinfo: &str) -> World {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::new(folder.path(), "host/app");
    repository.write(".longshore.yml", "jobs: {}\n").commit("first\n\nbody");
    let host = GitHost::start(&folder.path().join("host"), options);
    let mirror = Mirror::open_or_create(Git::default(), &folder.path().join("mirror.git")).await.unwrap();
    let url = format!("http://{userinfo}{}/app/.git", host.address).parse().unwrap();
    World { folder, repository, host, mirror, url }
}

pub(crate) async fn world() -> World {
    world_with(Options::default(), "").await
}

pub(crate) fn branch(name: &str) -> RefName {
    format!("refs/heads/{name}").parse().unwrap()
}

pub(crate) fn on(name: &str) -> FetchTarget {
    FetchTarget::Ref(branch(name))
}

impl World {
    pub(crate) async fn fetch(&self, wanted: &FetchTarget) -> Result<CommitId, GitError> {
        self.mirror.fetch(&self.url, wanted).await
    }

    pub(crate) fn head(&self) -> CommitId {
        self.repository.git(&["rev-parse", "HEAD"]).parse().unwrap()
    }
}

#[tokio::test]
async fn a_fetch_brings_branches_and_tags_and_tells_the_commit() {
    let world = world().await;
    world.repository.git(&["tag", "-a", "v1", "-m", "one"]);
    let head = world.head();
    assert_eq!(world.fetch(&on("main")).await.unwrap(), head);
    let tag = Revision::Ref("refs/tags/v1".parse().unwrap());
    assert_eq!(world.mirror.resolve(&tag).await.unwrap(), head);
    let facts = world.mirror.commit_facts(&head).await.unwrap();
    assert_eq!((facts.author.as_str(), facts.email.as_str()), ("Eve", "eve@example.org"));
    assert_eq!(facts.message, "first\n\nbody");
}

#[tokio::test]
async fn a_delivery_is_answered_from_the_mirror_when_its_commit_is_here() {
    let world = world().await;
    let push = FetchTarget::Push { git_ref: branch("main"), after: world.head() };
    world.fetch(&push).await.unwrap();
    let asked = world.host.requests.lock().unwrap().len();
    assert_eq!(world.fetch(&push).await.unwrap(), world.head());
    assert_eq!(world.fetch(&FetchTarget::Commit(world.head())).await.unwrap(), world.head());
    assert_eq!(world.host.requests.lock().unwrap().len(), asked);
    // A tag on that commit is new.
    world.repository.git(&["tag", "-a", "v1", "-m", "one"]);
    let object = world.repository.git(&["rev-parse", "refs/tags/v1"]).parse().unwrap();
    let push = FetchTarget::Push { git_ref: "refs/tags/v1".parse().unwrap(), after: object };
    assert_eq!(world.fetch(&push).await.unwrap(), world.head());
}

#[tokio::test]
async fn a_branch_that_was_deleted_is_not_built_any_more_and_its_commits_still_are() {
    let world = world().await;
    world.repository.git(&["checkout", "--quiet", "-b", "gone"]);
    let commit: CommitId = world.repository.write("b", "b\n").commit("second").parse().unwrap();
    assert_eq!(world.fetch(&on("gone")).await.unwrap(), commit);
    world.repository.git(&["checkout", "--quiet", "main"]);
    world.repository.git(&["branch", "--quiet", "-D", "gone"]);
    assert!(matches!(world.fetch(&on("gone")).await, Err(GitError::UnknownRevision { .. })));
    assert_eq!(world.fetch(&FetchTarget::Commit(commit.clone())).await.unwrap(), commit);
}

#[tokio::test]
async fn a_commit_that_was_pushed_away_is_still_built_or_named_as_gone() {
    let world = world().await;
    let first = world.head();
    world.fetch(&on("main")).await.unwrap();
    world.repository.git(&["commit", "-q", "--amend", "-m", "other"]);
    assert_eq!(world.fetch(&on("main")).await.unwrap(), world.head());
    assert_eq!(world.fetch(&FetchTarget::Commit(first.clone())).await.unwrap(), first);
    let gone = FetchTarget::Push { git_ref: branch("main"), after: "1".repeat(40).parse().unwrap() };
    assert!(matches!(world.fetch(&gone).await, Err(GitError::UnknownRevision { .. })));
    assert!(matches!(world.fetch(&on("nowhere")).await, Err(GitError::UnknownRevision { .. })));
}

#[tokio::test]
async fn a_mirror_that_somebody_removed_is_made_again() {
    let world = world().await;
    let mirrors = Mirrors::new(Git::default(), world.folder.path().join("mirrors"));
    let repo = RepoId::new();
    mirrors.mirror(repo).await.unwrap().fetch(&world.url, &on("main")).await.unwrap();
    std::fs::remove_dir_all(world.folder.path().join("mirrors")).unwrap();
    assert_eq!(mirrors.mirror(repo).await.unwrap().fetch(&world.url, &on("main")).await.unwrap(), world.head());
}

#[tokio::test]
async fn a_mirror_is_removed_while_its_fetch_hangs_and_no_other_waits_for_that() {
    let world = world().await;
    let folder = world.folder.path().join("mirrors");
    let mirrors = Mirrors::new(Git::default(), &folder);
    let (removed, other) = (RepoId::new(), RepoId::new());
    let mirror = mirrors.mirror(removed).await.unwrap();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/silent", silent.local_addr().unwrap()).parse().unwrap();
    let fetch = tokio::spawn(async move { mirror.fetch(&url, &on("main")).await });
    let asked = silent.accept().await.unwrap();
    let beside = async {
        mirrors.remove(removed).await.unwrap();
        mirrors.mirror(other).await.unwrap().fetch(&world.url, &on("main")).await.unwrap()
    };
    let fetched = tokio::time::timeout(std::time::Duration::from_secs(300), beside).await.expect("nobody waits");
    assert_eq!(fetched, world.head());
    assert_eq!(mirrors.repositories().await.unwrap(), [other]);
    drop((asked, silent));
    assert!(fetch.await.unwrap().is_err());

    std::fs::create_dir_all(folder.join(format!("{removed}.removed/objects"))).unwrap();
    mirrors.delete_removed().await.unwrap();
    assert!(!folder.join(format!("{removed}.removed")).exists());
}

#[tokio::test]
async fn a_lock_that_a_killed_fetch_left_does_not_stop_the_next() {
    let world = world().await;
    world.fetch(&on("main")).await.unwrap();
    let folder = world.mirror.folder().to_owned();
    for lock in ["packed-refs.lock", "refs/heads/main.lock", "shallow.lock"] {
        std::fs::write(folder.join(lock), "").unwrap();
    }
    world.repository.commit("second");
    let mirror = Mirror::open_or_create(Git::default(), &folder).await.unwrap();
    assert_eq!(mirror.fetch(&world.url, &on("main")).await.unwrap(), world.head());
}

#[tokio::test]
async fn half_of_a_mirror_is_made_anew() {
    let world = world().await;
    for parts in [&["HEAD"][..], &["HEAD", "refs/"], &["objects/", "refs/"], &[]] {
        let folder = world.folder.path().join("half.git");
        for part in parts {
            let path = folder.join(part);
            match part.ends_with('/') {
                true => std::fs::create_dir_all(path).unwrap(),
                false => {
                    std::fs::create_dir_all(&folder).unwrap();
                    std::fs::write(path, "ref: refs/heads/main\n").unwrap();
                }
            }
        }
        std::fs::create_dir_all(world.folder.path().join("half.new/objects")).unwrap();
        let mirror = Mirror::open_or_create(Git::default(), &folder).await.unwrap();
        assert_eq!(mirror.fetch(&world.url, &on("main")).await.unwrap(), world.head(), "{parts:?}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}

#[tokio::test]
async fn two_fetches_at_once_do_not_collide() {
    let world = world().await;
    for n in 0..4 {
        world.repository.git(&["branch", &format!("b{n}")]);
    }
    let names = ["b0", "b1", "b2", "b3"].map(on);
    let [a, b, c, d] = &names;
    let results = tokio::join!(world.fetch(a), world.fetch(b), world.fetch(c), world.fetch(d));
    for result in [results.0, results.1, results.2, results.3] {
        assert_eq!(result.unwrap(), world.head());
    }
    world.mirror.maintain(&[]).await.unwrap();
}

#[tokio::test]
async fn hooks_in_a_mirror_never_run() {
    let world = world().await;
    let ran = world.folder.path().join("ran");
    for hook in ["reference-transaction", "post-checkout", "post-index-change"] {
        let path = world.mirror.folder().join("hooks").join(hook);
        crate::support::write(&path, format!("#!/bin/sh\ntouch '{}'\n", ran.display()));
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    world.fetch(&on("main")).await.unwrap();
    assert!(!ran.exists());
}
