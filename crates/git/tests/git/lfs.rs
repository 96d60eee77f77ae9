//! Checkouts with Git LFS, from stores that answer well and stores that do not. The whole way from a real client's push
//! to a job is in the tests of the whole program.

mod forks;
mod store;

use std::{
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, SystemTime},
};

use longshore_forge::{CloneUrl, CommitId};
use longshore_git::{Checkout, Checkouts, Git, GitError, Mirror, Worktree};

use self::store::{Store, honest, offers, oid, pointer};
use crate::support::{Repository, git};

const PASSWORD: &str = "s3cr3t-w0rd";

/// A repository with one file in LFS, whose host is `store`.
struct World {
    folder: tempfile::TempDir,
    repository: Repository,
    mirror: Mirror,
    checkouts: Checkouts,
    url: CloneUrl,
}

impl World {
    async fn new(store: &Store, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::new(folder.path(), "host/app.git");
        repository.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n").write("plain", "p\n");
        for (path, text) in files {
            repository.write(path, text);
        }
        repository.commit("first");
        let mirror = Mirror::open_or_create(Git::default(), &folder.path().join("mirror.git")).await.unwrap();
        git(mirror.folder(), &["fetch", "-q", repository.0.to_str().unwrap(), "+refs/heads/*:refs/heads/*"]);
        let checkouts = Checkouts::open(folder.path().join("checkouts"), 1 << 30).unwrap();
        let url = format!("http://robot:{PASSWORD}@{}/app.git", store.address).parse().unwrap();
        Self { folder, repository, mirror, checkouts, url }
    }

    async fn unpacked(&self, lfs: bool, by_stranger: bool) -> Result<PathBuf, GitError> {
        self.of_fork(lfs, by_stranger, None).await
    }

    async fn of_fork(&self, lfs: bool, by_stranger: bool, fork: Option<&CloneUrl>) -> Result<PathBuf, GitError> {
        let head = self.repository.git(&["rev-parse", "HEAD"]);
        git(self.mirror.folder(), &["fetch", "-q", self.repository.0.to_str().unwrap(), "+refs/heads/*:refs/heads/*"]);
        let commit: CommitId = head.parse().unwrap();
        let branch = "refs/heads/main".parse().unwrap();
        let checkout = Checkout {
            commit: &commit,
            git_ref: Some(&branch),
            origin: &self.url,
            depth: 1,
            submodules: false,
            lfs,
            only: &[],
            by_stranger,
            trusted_submodules: &[],
            fork,
        };
        let tar = self.checkouts.tar(&self.mirror, &checkout).await?;
        let place = self.folder.path().join(format!("out-{}", tar.number()));
        crate::checkout::unpack(&tar, &place).await;
        Ok(place)
    }
}

fn content(place: &Path, name: &str) -> Vec<u8> {
    std::fs::read(place.join(name)).unwrap()
}

#[tokio::test]
async fn files_of_lfs_are_there_and_git_in_the_job_knows_them_without_lfs() {
    let (one, two) = (b"one\0of the large files\n".to_vec(), vec![7; 100_000]);
    let store = Store::start(honest(vec![one.clone(), two.clone()]));
    let not = "version https://git-lfs.github.com/spec/v1 is the format\n";
    let world = World::new(
        &store,
        &[
            ("a.bin", &pointer(&one)),
            ("sub/b.bin", &pointer(&two)),
            ("again.bin", &pointer(&one)),
            ("c.txt", &pointer(&one)),
            ("not.bin", not),
            ("empty.bin", ""),
        ],
    )
    .await;
    let place = world.unpacked(true, false).await.unwrap();
    assert_eq!((content(&place, "a.bin"), content(&place, "sub/b.bin")), (one.clone(), two));
    assert_eq!(content(&place, "again.bin"), one);
    assert_eq!(content(&place, "c.txt"), pointer(&one).into_bytes(), "it has no filter");
    assert_eq!(content(&place, "not.bin"), not.as_bytes());
    assert_eq!(git(&place, &["status", "--porcelain"]), "");
    git(&place, &["diff", "--exit-code"]);
    git(&place, &["fsck", "--strict"]);
    std::fs::write(place.join("a.bin"), "one\0of the LARGE files\n").unwrap();
    assert_eq!(git(&place, &["status", "--porcelain"]), " M a.bin", "what a job changes is a change");
    let asked = store.asked();
    assert_eq!(asked.len(), 3, "one question and two objects: {asked:?}");
    assert!(asked.iter().all(|(_, authorization)| authorization.starts_with("Basic ")), "{asked:?}");

    // The next commit asks for what is new, and a checkout without it for nothing.
    world.repository.write("plain", "q\n").commit("second");
    assert_eq!(content(&world.unpacked(true, false).await.unwrap(), "a.bin"), one);
    let without = world.unpacked(false, false).await.unwrap();
    assert_eq!(content(&without, "a.bin"), pointer(&one).into_bytes());
    assert_eq!(store.asked().len(), 3);
}

#[tokio::test]
async fn what_a_store_sends_is_compared_with_its_name_and_nothing_else_is_kept() {
    let wanted = b"what was pushed".to_vec();
    for (sent, word) in [
        (b"what was pushes".to_vec(), "another SHA-256"),
        (b"what was pushed and more".to_vec(), "more bytes than"),
        (b"what was".to_vec(), "broke off after 8 of 15 bytes"),
    ] {
        let store = Store::start(Box::new(move |asked| match asked.path.ends_with("/batch") {
            true => offers(asked, &format!("http://{}/o", asked.host)),
            false => (200, vec![], sent.clone()),
        }));
        let world = World::new(&store, &[("a.bin", &pointer(&wanted))]).await;
        let error = world.unpacked(true, false).await.unwrap_err().to_string();
        assert!(error.contains(word) && error.contains("`a.bin`"), "{error}");
        let kept =
            std::process::Command::new("find").arg(world.mirror.folder().join("lfs")).args(["-type", "f"]).output();
        assert!(kept.unwrap().stdout.is_empty(), "{word}");
    }
}

#[tokio::test]
async fn a_missing_object_a_closed_store_and_a_broken_pointer_say_what_to_do() {
    let wanted = pointer(b"never pushed");
    let refusing =
        |status: u16| Store::start(Box::new(move |_| (status, vec![], br#"{"message": "not\nyou"}"#.to_vec())));
    for (store, word) in [
        (
            Store::start(Box::new(|asked| {
                (200, vec![], {
                    let question: serde_json::Value = serde_json::from_slice(&asked.body).unwrap();
                    let oid = &question["objects"][0]["oid"];
                    serde_json::json!({ "objects": [{ "oid": oid, "error": { "code": 404, "message": "gone" } }] })
                        .to_string()
                        .into_bytes()
                })
            })),
            "git lfs push --all",
        ),
        (refusing(401), "check user, token"),
        (refusing(404), "switch Git LFS on"),
        (refusing(302), "redirects"),
        (Store::start(Box::new(|_| (200, vec![], b"<html>".to_vec()))), "not a Git LFS batch response"),
    ] {
        let world = World::new(&store, &[("a.bin", &wanted)]).await;
        let error = world.unpacked(true, false).await.unwrap_err().to_string();
        assert!(error.contains(word), "{word}: {error}");
        assert!(!error.contains(PASSWORD) && !error.contains('\n'), "{error}");
    }
    let store = Store::start(honest(vec![]));
    let conflict = format!("{}<<<<<<< HEAD\n", pointer(b"x"));
    let world = World::new(&store, &[("a.bin", &conflict)]).await;
    let error = world.unpacked(true, false).await.unwrap_err().to_string();
    assert!(error.contains("`a.bin` is not a pointer"), "{error}");
    assert!(store.asked().is_empty());
}

#[tokio::test]
async fn a_store_that_is_busy_is_asked_again() {
    let wanted = b"patience".to_vec();
    let tries = Mutex::new(0);
    let answer = honest(vec![wanted.clone()]);
    let store = Store::start(Box::new(move |asked| {
        let mut tries = tries.lock().unwrap();
        *tries += 1;
        if *tries % 2 == 1 { (503, vec![], vec![]) } else { answer(asked) }
    }));
    let world = World::new(&store, &[("a.bin", &pointer(&wanted))]).await;
    assert_eq!(content(&world.unpacked(true, false).await.unwrap(), "a.bin"), wanted);
}

#[tokio::test]
async fn credentials_follow_to_no_other_host() {
    let wanted = b"kept elsewhere".to_vec();
    let bytes = wanted.clone();
    let elsewhere = Store::start(Box::new(move |_| (200, vec![], bytes.clone())));
    let other = format!("http://{}", elsewhere.address);
    for by_redirect in [false, true] {
        let other = other.clone();
        let store = Store::start(Box::new(move |asked| match (asked.path.ends_with("/batch"), by_redirect) {
            (true, false) => offers(asked, &other),
            (true, true) => offers(asked, &format!("http://{}/o", asked.host)),
            (false, _) => (307, vec![("Location".to_owned(), format!("{other}/x?sig=1"))], vec![]),
        }));
        let world = World::new(&store, &[("a.bin", &pointer(&wanted))]).await;
        assert_eq!(content(&world.unpacked(true, false).await.unwrap(), "a.bin"), wanted);
        assert!(store.asked().iter().all(|(_, authorization)| !authorization.is_empty()));
    }
    assert_eq!(elsewhere.asked().len(), 2);
    assert!(elsewhere.asked().iter().all(|(_, authorization)| authorization.is_empty()), "{:?}", elsewhere.asked());
}

#[tokio::test]
async fn a_store_cannot_send_the_server_to_its_clouds_metadata() {
    let metadata = "http://169.254.169.254/computeMetadata";
    for by_redirect in [false, true] {
        let store = Store::start(Box::new(move |asked| match (asked.path.ends_with("/batch"), by_redirect) {
            (true, false) => offers(asked, metadata),
            (true, true) => offers(asked, &format!("http://{}/o", asked.host)),
            (false, _) => (307, vec![("Location".to_owned(), metadata.to_owned())], vec![]),
        }));
        let world = World::new(&store, &[("a.bin", &pointer(b"wanted"))]).await;
        let error = world.unpacked(true, false).await.unwrap_err().to_string();
        assert!(error.contains("leads to the server's own host"), "{error}");
    }
}

#[tokio::test]
async fn a_commit_cannot_send_the_server_or_its_credentials_elsewhere() {
    let wanted = b"mine".to_vec();
    let elsewhere = Store::start(honest(vec![wanted.clone()]));
    let store = Store::start(honest(vec![wanted.clone()]));
    let named = |url: &str| format!("[lfs]\n\turl = {url}\n");
    let away = named(&format!("http://{}/app.git/info/lfs", elsewhere.address));
    for by_stranger in [false, true] {
        let world = World::new(&store, &[("a.bin", &pointer(&wanted)), (".lfsconfig", &away)]).await;
        let error = world.unpacked(true, by_stranger).await.unwrap_err().to_string();
        assert!(error.contains("own host"), "{error}");
    }
    assert!(elsewhere.asked().is_empty() && store.asked().is_empty());
    // Another repository of the host is asked as anybody may ask it.
    let beside = named(&format!("http://{}/secret.git/info/lfs", store.address));
    let world = World::new(&store, &[("a.bin", &pointer(&wanted)), (".lfsconfig", &beside)]).await;
    world.unpacked(true, true).await.unwrap();
    let asked = store.asked();
    assert!(
        asked.iter().all(|(path, authorization)| path.starts_with("/secret.git/") && authorization.is_empty()),
        "{asked:?}"
    );
}

#[tokio::test]
async fn what_one_repository_has_fetched_another_cannot_name() {
    let secret = b"of a private repository".to_vec();
    let store = Store::start(honest(vec![secret.clone()]));
    World::new(&store, &[("a.bin", &pointer(&secret))]).await.unpacked(true, false).await.unwrap();
    let empty = Store::start(Box::new(|_| (200, vec![], br#"{"objects": []}"#.to_vec())));
    let world = World::new(&empty, &[("stolen.bin", &pointer(&secret))]).await;
    let error = world.unpacked(true, true).await.unwrap_err();
    assert!(matches!(error, GitError::LfsMissing { .. }), "{error}");
}

#[tokio::test]
async fn a_working_tree_gets_objects_from_its_own_folder_or_from_its_origin() {
    let (own, far) = (b"own".to_vec(), b"far".to_vec());
    let store = Store::start(honest(vec![far.clone()]));
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::new(folder.path(), "work");
    repository
        .write(".gitattributes", "*.bin filter=lfs\n")
        .write("own.bin", pointer(&own))
        .write("there.bin", "smudged");
    repository.commit("first");
    let oid = oid(&own);
    repository.write(&format!(".git/lfs/objects/{}/{}/{oid}", &oid[..2], &oid[2..4]), &own);
    let kept = folder.path().join("kept");
    let take = async |name: &str| {
        let worktree = Worktree::open(&Git::default(), &repository.0).await.unwrap();
        let tar =
            worktree.tars(&[1].into(), Some(&kept)).await.map_err(|error| error.to_string())?.0.remove(&1).unwrap();
        let place = folder.path().join(name);
        crate::checkout::unpack(&tar, &place).await;
        Ok::<_, String>(place)
    };
    let place = take("first").await.unwrap();
    assert_eq!((content(&place, "own.bin"), content(&place, "there.bin")), (own, b"smudged".to_vec()));
    assert!(!kept.exists());

    repository.write("far.bin", pointer(&far));
    let error = take("without").await.unwrap_err();
    assert!(error.contains("no remote `origin`") && error.contains("git lfs pull"), "{error}");
    repository.git(&["remote", "add", "origin", &format!("http://{}/app.git", store.address)]);
    assert_eq!(content(&take("second").await.unwrap(), "far.bin"), far);
    take("third").await.unwrap();
    assert_eq!(store.asked().len(), 2, "it is kept for the next run");
}

#[tokio::test]
async fn objects_of_a_submodule_that_no_checkout_has_opened_since_the_start_go_too() {
    let store = Store::start(honest(vec![]));
    let world = World::new(&store, &[]).await;
    let submodule = world.mirror.folder().join("submodules/once.git");
    drop(Mirror::open_or_create(Git::default(), &submodule).await.unwrap());
    let [old, young] = [30, 1].map(|days| {
        let folder = submodule.join("lfs/objects/aa/bb");
        std::fs::create_dir_all(&folder).unwrap();
        let object = folder.join(format!("{days}"));
        std::fs::write(&object, "x").unwrap();
        let used = SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60);
        std::fs::File::options().append(true).open(&object).unwrap().set_modified(used).unwrap();
        object
    });
    world.mirror.prune(&[], Duration::from_secs(60)).await.unwrap();
    assert_eq!((old.exists(), young.exists()), (false, true));
}
