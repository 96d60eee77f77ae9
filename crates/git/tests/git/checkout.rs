//! Checkouts, unpacked and compared with git's own.

use std::{
    collections::BTreeMap,
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{GitHost, Options, Repository, git};
use longshore_forge::{CloneUrl, CommitId, RefName};
use longshore_git::{Checkout, Checkouts, FetchTarget, Git, Mirror, TarSource};
use tokio::io::AsyncReadExt as _;

/// Unpacks with the system's tar, as another user.
pub(crate) async fn unpack(tar: &TarSource, into: &Path) {
    let mut bytes = Vec::new();
    tar.open().await.unwrap().read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes.len() as u64, tar.length());
    std::fs::create_dir_all(into).unwrap();
    let file = into.with_extension("tar");
    std::fs::write(&file, bytes).unwrap();
    let status = Command::new("tar").arg("-xf").arg(&file).arg("-C").arg(into).status().unwrap();
    assert!(status.success());
}

/// Lists every file, link and folder except `.git`: kind, whether it is executable, content.
pub(crate) fn tree(root: &Path) -> BTreeMap<PathBuf, (char, bool, Vec<u8>)> {
    let mut tree = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().flatten() {
            let (path, metadata) = (entry.path(), entry.metadata().unwrap());
            if path == root.join(".git") {
                continue;
            }
            let value = if metadata.is_dir() {
                folders.push(path.clone());
                ('d', false, vec![])
            } else if metadata.is_symlink() {
                ('l', false, std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes())
            } else {
                ('f', metadata.mode() & 0o111 != 0, std::fs::read(&path).unwrap())
            };
            tree.insert(path.strip_prefix(root).unwrap().to_owned(), value);
        }
    }
    tree
}

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) repository: Repository,
    _host: GitHost,
    mirror: Mirror,
    checkouts: Checkouts,
    url: CloneUrl,
}

pub(crate) async fn world(fill: impl FnOnce(&Repository)) -> World {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::new(folder.path(), "host/app");
    repository.write("a", "a\n").commit("first");
    fill(&repository);
    let host = GitHost::start(&folder.path().join("host"), Options::default());
    let url: CloneUrl = format!("http://robot:s3cr3t-w0rd@{}/app/.git", host.address).parse().unwrap();
    let mirror = Mirror::open_or_create(Git::default(), &folder.path().join("mirror.git")).await.unwrap();
    mirror.fetch(&url, &FetchTarget::Ref("refs/heads/main".parse().unwrap())).await.unwrap();
    let checkouts = Checkouts::open(folder.path().join("checkouts"), 1 << 30).unwrap();
    World { folder, repository, _host: host, mirror, checkouts, url }
}

fn plain<'a>(commit: &'a CommitId, origin: &'a CloneUrl) -> Checkout<'a> {
    Checkout {
        commit,
        git_ref: None,
        origin,
        depth: 1,
        submodules: false,
        lfs: false,
        only: &[],
        by_stranger: false,
        trusted_submodules: &[],
        fork: None,
    }
}

impl World {
    pub(crate) async fn tar(&self, commit: &str, git_ref: Option<&str>) -> TarSource {
        let commit: CommitId = commit.parse().unwrap();
        let git_ref: Option<RefName> = git_ref.map(|name| name.parse().unwrap());
        let checkout = Checkout { git_ref: git_ref.as_ref(), ..plain(&commit, &self.url) };
        self.checkouts.tar(&self.mirror, &checkout).await.unwrap()
    }

    /// Unpacks the newest commit with this much history.
    async fn unpacked(&self, depth: u32) -> PathBuf {
        let (commit, main) = (self.head().parse().unwrap(), "refs/heads/main".parse().unwrap());
        let checkout = Checkout { git_ref: Some(&main), depth, ..plain(&commit, &self.url) };
        let place = self.path(&format!("depth-{depth}"));
        unpack(&self.checkouts.tar(&self.mirror, &checkout).await.unwrap(), &place).await;
        place
    }

    /// Unpacks the newest commit with its submodules, or returns the error.
    pub(crate) async fn with_submodules(&self, by_stranger: bool) -> Result<PathBuf, String> {
        let commit = self.head().parse().unwrap();
        self.mirror.fetch(&self.url, &FetchTarget::Commit(self.head().parse().unwrap())).await.unwrap();
        let checkout = Checkout { submodules: true, by_stranger, ..plain(&commit, &self.url) };
        let tar = self.checkouts.tar(&self.mirror, &checkout).await.map_err(|error| error.to_string())?;
        let place = self.path(&format!("submodules-{commit}-{by_stranger}"));
        unpack(&tar, &place).await;
        Ok(place)
    }

    pub(crate) fn head(&self) -> String {
        self.repository.git(&["rev-parse", "HEAD"])
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn unusual(repository: &Repository) {
    let long = format!("{}/{}", "folder".repeat(20), "file".repeat(30));
    repository
        .write("crlf.txt", "one\ntwo\n")
        .write("sub/id.c", "/* $Id$ */\n")
        .write("utf16.txt", "ünï\n")
        .write("auto.txt", "a\nb\n")
        .write("dropped", "an archive leaves it out\n")
        .write("filtered", "as it is\n")
        .write("empty", "")
        .write("space name\ttab", "x")
        .write("ünï🚢", [0, 255, 10])
        .write(&long, "long")
        .write("run.sh", "#!/bin/sh\n")
        .write(
            ".gitattributes",
            "* text=auto\n*.c ident\ncrlf.txt eol=crlf\nutf16.txt text working-tree-encoding=UTF-16LE\n\
             dropped export-ignore\nauto.txt export-subst\nfiltered filter=evil\nlink eol=crlf\n",
        );
    symlink("./sub//id.c", repository.0.join("link")).unwrap();
    symlink("x/".repeat(100), repository.0.join("long-link")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(repository.0.join("run.sh"), mode).unwrap();
    repository.git(&["config", "filter.evil.smudge", "sh -c 'echo evil'"]);
    // The UTF-16 file's bytes in the work tree have to be UTF-16.
    let bytes: Vec<u8> = "ünï\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    repository.write("utf16.txt", bytes);
    repository.commit("unusual files");
    let head = repository.git(&["rev-parse", "HEAD"]);
    repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{head},module")]);
    repository.git(&["commit", "-q", "-m", "a submodule"]);
}

#[tokio::test]
async fn a_checkout_is_byte_for_byte_what_git_clone_makes() {
    let world = world(unusual).await;
    world.repository.git(&["tag", "light"]);
    world.repository.git(&["tag", "-a", "v1", "-m", "one"]);
    world.mirror.fetch(&world.url, &FetchTarget::Ref("refs/tags/v1".parse().unwrap())).await.unwrap();
    let (ours, theirs) = (world.path("ours"), world.path("theirs"));
    unpack(&world.tar(&world.head(), Some("refs/heads/main")).await, &ours).await;
    git(
        world.folder.path(),
        &["clone", "-q", "--depth=1", &format!("file://{}", world.repository.0.display()), "theirs"],
    );
    let (ours_tree, theirs_tree) = (tree(&ours), tree(&theirs));
    assert_eq!(ours_tree.keys().collect::<Vec<_>>(), theirs_tree.keys().collect::<Vec<_>>());
    assert_eq!(ours_tree, theirs_tree);
    assert_eq!(ours_tree[Path::new("crlf.txt")].2, b"one\r\ntwo\r\n");

    assert_eq!(git(&ours, &["status", "--porcelain"]), "");
    assert_eq!(git(&ours, &["rev-parse", "HEAD"]), world.head());
    assert_eq!(git(&ours, &["branch", "--show-current"]), "main");
    assert_eq!(git(&ours, &["describe", "--tags"]), "v1");
    assert_eq!(git(&ours, &["log", "-1", "--format=%s"]), "a submodule");
    assert_eq!(git(&ours, &["rev-list", "--count", "HEAD"]), "1");
    assert_eq!(git(&ours, &["config", "remote.origin.url"]), world.url.address());
    git(&ours, &["fsck", "--strict"]);
    let secret = Command::new("grep").args(["-r", "s3cr3t"]).arg(&ours).output().unwrap();
    assert!(secret.stdout.is_empty());
    // It can be worked with: a commit on it, and more history from its origin.
    git(&ours, &["commit", "-q", "--allow-empty", "-m", "mine"]);
    git(&ours, &["-c", "protocol.version=2", "fetch", "-q", "--unshallow", "origin"]);
    assert_eq!(git(&ours, &["rev-list", "--count", "origin/main"]), "3");
}

#[tokio::test]
async fn a_tag_or_a_bare_commit_leaves_head_detached() {
    let world = world(|repository| drop(repository.git(&["tag", "v1"]))).await;
    for (n, git_ref) in [Some("refs/tags/v1"), None].into_iter().enumerate() {
        let ours = world.path(&format!("ours{n}"));
        unpack(&world.tar(&world.head(), git_ref).await, &ours).await;
        assert_eq!(git(&ours, &["branch", "--show-current"]), "");
        assert_eq!(git(&ours, &["describe", "--tags", "--exact-match"]), "v1");
        assert_eq!(git(&ours, &["status", "--porcelain"]), "");
    }
}

#[tokio::test]
async fn filters_and_hooks_that_came_with_a_repository_do_not_run() {
    let world = world(|repository| {
        repository.write("filtered", "as it is\n").write(".gitattributes", "filtered filter=lfs eol=crlf\n");
        repository.commit("filter");
    })
    .await;
    // The worst case: filter and hooks are in the mirror's own configuration.
    let ran = world.path("ran");
    let command = format!("touch '{}'", ran.display());
    for key in ["filter.lfs.smudge", "filter.lfs.process", "core.fsmonitor"] {
        git(world.mirror.folder(), &["config", key, &command]);
    }
    let ours = world.path("ours");
    unpack(&world.tar(&world.head(), Some("refs/heads/main")).await, &ours).await;
    assert_eq!(std::fs::read(ours.join("filtered")).unwrap(), b"as it is\r\n");
    assert!(!ran.exists());
}

#[tokio::test]
async fn a_tree_with_files_behind_a_link_is_refused() {
    let world = world(|_| ()).await;
    let repository = &world.repository;
    let blob = repository.git(&["hash-object", "-w", "a"]);
    let mktree = |list: &str| {
        crate::support::write(&repository.0.join("list"), list);
        let script = "git mktree --missing < list";
        let output = Command::new("sh").args(["-c", script]).current_dir(&repository.0).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let sub = mktree(&format!("100644 blob {blob}\tx\n"));
    let top = mktree(&format!("120000 blob {blob}\tdir\n040000 tree {sub}\tdir\n"));
    let commit = repository.git(&["commit-tree", &top, "-m", "evil"]);
    repository.git(&["update-ref", "refs/heads/evil", &commit]);
    world.mirror.fetch(&world.url, &FetchTarget::Ref("refs/heads/evil".parse().unwrap())).await.unwrap();
    let commit: CommitId = commit.parse().unwrap();
    let checkout = plain(&commit, &world.url);
    match world.checkouts.tar(&world.mirror, &checkout).await {
        Err(error) => assert!(error.to_string().contains("git failed"), "{error}"),
        // Git itself may resolve this by dropping one of the two.
        Ok(tar) => {
            let ours = world.path("ours");
            unpack(&tar, &ours).await;
            assert!(!(ours.join("dir").is_symlink() && ours.join("dir/x").exists()));
        }
    }
}

#[tokio::test]
async fn callers_at_once_share_one_preparation_and_old_ones_make_room() {
    let world = world(|_| ()).await;
    let head = world.head();
    let tars = tokio::join!(world.tar(&head, None), world.tar(&head, None), world.tar(&head, None));
    let inode = |tar: tokio::fs::File| async move { tar.metadata().await.unwrap().ino() };
    let first = inode(tars.0.open().await.unwrap()).await;
    assert_eq!(inode(tars.1.open().await.unwrap()).await, first);
    assert_eq!(inode(tars.2.open().await.unwrap()).await, first);

    // There is room for one: the other is dropped, and its reader reads on.
    let small = Checkouts::open(world.path("small"), tars.0.length()).unwrap();
    let commit: CommitId = head.parse().unwrap();
    let main: RefName = "refs/heads/main".parse().unwrap();
    let tar = async |git_ref| {
        let checkout = Checkout { git_ref, ..plain(&commit, &world.url) };
        small.tar(&world.mirror, &checkout).await.unwrap()
    };
    let (held, _) = (tar(None).await, tar(Some(&main)).await);
    let again = tar(None).await;
    assert_ne!(inode(held.open().await.unwrap()).await, inode(again.open().await.unwrap()).await);
    unpack(&held, &world.path("held")).await;
    assert_eq!(std::fs::read_dir(world.path("small")).unwrap().count(), 0, "nothing has a name on the disk");
}

#[tokio::test]
async fn a_new_tag_on_a_commit_is_in_its_next_checkout() {
    let world = world(|_| ()).await;
    world.tar(&world.head(), Some("refs/heads/main")).await;
    world.repository.git(&["tag", "v2"]);
    world.mirror.fetch(&world.url, &FetchTarget::Ref("refs/tags/v2".parse().unwrap())).await.unwrap();
    let ours = world.path("ours");
    unpack(&world.tar(&world.head(), Some("refs/heads/main")).await, &ours).await;
    assert_eq!(git(&ours, &["describe", "--tags"]), "v2");
}

#[tokio::test]
async fn as_many_commits_go_along_as_were_asked_for_and_git_is_content_with_them() {
    let world = world(|repository| {
        repository.git(&["tag", "-a", "v0", "-m", "zero"]);
        repository.git(&["branch", "old"]);
        repository.write("b", "b").commit("second");
        repository.git(&["checkout", "-q", "-b", "side"]);
        repository.write("c", "c").commit("aside");
        repository.git(&["checkout", "-q", "main"]);
        repository.write("d", "d").commit("third");
        repository.git(&["merge", "-q", "--no-ff", "-m", "merge", "side"]);
        repository.git(&["tag", "v1"]);
    })
    .await;
    let log = |place: &Path| git(place, &["log", "--format=%s", "--topo-order"]).lines().count();
    for (depth, commits, tags) in
        [(1, 1, "v1"), (2, 3, "v1"), (3, 4, "v1"), (4, 5, "v0\nv1"), (50, 5, "v0\nv1"), (0, 5, "v0\nv1")]
    {
        let place = world.unpacked(depth).await;
        assert_eq!(log(&place), commits, "depth {depth}");
        assert_eq!(git(&place, &["tag"]), tags, "depth {depth}");
        assert_eq!(git(&place, &["status", "--porcelain"]), "", "depth {depth}");
        git(&place, &["fsck", "--connectivity-only"]);
        assert_eq!(place.join(".git/shallow").exists(), (1..4).contains(&depth), "depth {depth}");
        let branches = git(&place, &["branch", "-r", "--format=%(refname:short)"]);
        let all = "origin/main\norigin/old\norigin/side";
        assert_eq!(branches, if depth == 0 { all } else { "origin/main" }, "depth {depth}");
    }
    let whole = world.path("depth-0");
    assert_eq!(git(&whole, &["diff", "--name-only", "origin/old..."]), "b\nc\nd");
}
