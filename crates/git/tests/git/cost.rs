//! The cost of checkouts. The bounds are several times the measured values: they catch mistakes of kind, not of degree.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use longshore_forge::{CloneUrl, CommitId};
use longshore_git::{Checkout, Checkouts, Git, Mirror, Wanted, Worktree};

use crate::support::{GitHost, Options, Repository, git};

struct Prepared {
    folder: tempfile::TempDir,
    repository: Repository,
    mirror: Mirror,
    url: CloneUrl,
    commit: CommitId,
    _host: GitHost,
}

async fn prepared(files: usize) -> Prepared {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::new(folder.path(), "host/app");
    for n in 0..files {
        let text: String = (0..20 + n % 100).map(|line| format!("line {line} of file {n}\n")).collect();
        repository.write(&format!("d{}/e{}/f{n}.txt", n / 200, n % 10), text);
    }
    repository.commit("all");
    repository.git(&["gc", "-q"]);
    let host = GitHost::start(&folder.path().join("host"), Options::default());
    let url: CloneUrl = host.url("app/.git").parse().unwrap();
    let mirror = Mirror::open_or_create(Git::default(), &folder.path().join("mirror.git")).await.unwrap();
    let commit = mirror.fetch(&url, &Wanted::Ref("refs/heads/main".parse().unwrap())).await.unwrap();
    Prepared { folder, repository, mirror, url, commit, _host: host }
}

impl Prepared {
    async fn checkout(&self, checkouts: &Checkouts) -> Duration {
        let start = Instant::now();
        let checkout = Checkout {
            commit: &self.commit,
            git_ref: None,
            origin: &self.url,
            depth: 1,
            submodules: false,
            lfs: false,
            only: &[],
            by_stranger: false,
            trusted_submodules: &[],
            fork: None,
        };
        let tar = checkouts.tar(&self.mirror, &checkout).await.unwrap();
        tokio::io::copy(&mut tar.open().await.unwrap(), &mut tokio::io::sink()).await.unwrap();
        start.elapsed()
    }
}

fn clone(from: &Path, folder: &Path) -> Duration {
    let start = Instant::now();
    git(folder, &["clone", "-q", "--local", from.to_str().unwrap(), "clone"]);
    let took = start.elapsed();
    std::fs::remove_dir_all(folder.join("clone")).unwrap();
    took
}

#[tokio::test]
async fn a_small_checkout_is_ready_before_a_container_is() {
    let world = prepared(20).await;
    let folder = world.folder.path().join("checkouts");
    let mut cold = Vec::new();
    for _ in 0..5 {
        cold.push(world.checkout(&Checkouts::open(&folder, 1 << 30).unwrap()).await);
    }
    let checkouts = Checkouts::open(&folder, 1 << 30).unwrap();
    world.checkout(&checkouts).await;
    let warm = world.checkout(&checkouts).await;
    let start = Instant::now();
    Worktree::open(&Git::default(), &world.repository.0).await.unwrap().tars(&[1].into(), None).await.unwrap();
    let worktree = start.elapsed();
    cold.sort();
    println!("20 files: checkout cold {:?}, warm {warm:?}, working tree {worktree:?}", cold[2]);
    assert!(cold[2] < Duration::from_millis(400) && warm < Duration::from_millis(200), "{cold:?}, {warm:?}");
}

#[tokio::test]
#[ignore = "takes half a minute and means something only on a quiet machine"]
async fn a_large_checkout_costs_no_more_than_half_again_a_local_clone() {
    let world = prepared(20_000).await;
    let folder = world.folder.path().join("checkouts");
    for _ in 0..3 {
        let local = clone(world.mirror.folder(), world.folder.path());
        let checkouts = Checkouts::open(&folder, 1 << 30).unwrap();
        let cold = world.checkout(&checkouts).await;
        let warm = world.checkout(&checkouts).await;
        let start = Instant::now();
        Worktree::open(&Git::default(), &world.repository.0).await.unwrap().tars(&[1].into(), None).await.unwrap();
        let worktree = start.elapsed();
        println!(
            "20,000 files: clone --local {local:?}, checkout cold {cold:?}, warm {warm:?}, working tree {worktree:?}"
        );
        assert!(warm < local * 3 / 2);
    }
}
