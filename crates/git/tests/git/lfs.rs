//! Checkouts with Git LFS, from stores that answer well and stores that do not. The whole way from a real client's push to a
//! job is in the tests of the whole program.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use crate::support::{Repository, git};
use longshore_forge::{CloneUrl, CommitId};
use longshore_git::{Checkout, Checkouts, Git, GitError, Mirror, Worktree};
use sha2::{Digest as _, Sha256};

/// What a store does with a question or a download.
type Answer = Box<dyn Fn(&Asked) -> (u16, Vec<(String, String)>, Vec<u8>) + Send>;

/// One request.
struct Asked {
    path: String,
    authorization: String,
    host: String,
    body: Vec<u8>,
}

/// A host over HTTP whose answers are a test's.
struct Store {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, String)>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Store {
    fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, stop) = (Arc::<Mutex<Vec<_>>>::default(), Arc::new(AtomicBool::new(false)));
        let (seen, stopped) = (Arc::clone(&asked), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let stream = stream.unwrap();
                let Some(request) = read(&stream) else { continue };
                seen.lock().unwrap().push((request.path.clone(), request.authorization.clone()));
                let (status, headers, body) = answer(&request);
                let mut head =
                    format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                // It does not matter if the client has had enough.
                let _ = (&stream).write_all(&[head.as_bytes(), b"\r\n", &body].concat());
            }
        });
        Self { address, asked, stop, thread: Some(thread) }
    }

    fn asked(&self) -> Vec<(String, String)> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().unwrap().join();
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
            None => break,
        };
    }
    let mut body = vec![0; headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let header = |name: &str| headers.get(name).cloned().unwrap_or_default();
    Some(Asked { path, authorization: header("authorization"), host: header("host"), body })
}

fn oid(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

fn pointer(content: &[u8]) -> String {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n", oid(content), content.len())
}

/// Offers every object at `<href>/<oid>`.
fn offers(asked: &Asked, href: &str) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let question: serde_json::Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!(question["operation"], "download");
    let objects: Vec<_> = question["objects"].as_array().unwrap().iter().map(|object| {
        let oid = object["oid"].as_str().unwrap();
        serde_json::json!({ "oid": oid, "size": object["size"], "actions": { "download": { "href": format!("{href}/{oid}"), "header": { "X-Key": "k" } } } })
    }).collect();
    (200, vec![], serde_json::json!({ "objects": objects }).to_string().into_bytes())
}

/// A store that has these objects.
fn honest(contents: Vec<Vec<u8>>) -> Answer {
    Box::new(move |asked| match asked.path.strip_suffix("/objects/batch") {
        Some(base) => offers(asked, &format!("http://{}{base}/o", asked.host)),
        None => match contents.iter().find(|content| asked.path.ends_with(&oid(content))) {
            Some(content) => (200, vec![], content.clone()),
            None => (404, vec![], vec![]),
        },
    })
}

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
        (b"what was pushes".to_vec(), "other bytes come"),
        (b"what was pushed and more".to_vec(), "more bytes come"),
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

/// A host with a repository and a fork of it, each with a store of its own.
fn two_stores(own: Vec<u8>, of_fork: Vec<u8>) -> Answer {
    Box::new(move |asked| {
        let (base, content) = match asked.path.starts_with("/eve/") {
            true => ("/eve/app.git/info/lfs", &of_fork),
            false => ("/app.git/info/lfs", &own),
        };
        if !asked.path.ends_with("/objects/batch") {
            return if asked.path.ends_with(&oid(content)) {
                (200, vec![], content.clone())
            } else {
                (404, vec![], vec![])
            };
        }
        let (status, headers, body) = offers(asked, &format!("http://{}{base}/o", asked.host));
        let mut answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
        for object in answer["objects"].as_array_mut().unwrap() {
            if object["oid"] != oid(content).as_str() {
                *object = serde_json::json!({ "oid": object["oid"], "error": { "code": 404, "message": "none" } });
            }
        }
        (status, headers, answer.to_string().into_bytes())
    })
}

#[tokio::test]
async fn what_the_repository_does_not_have_comes_from_the_fork_as_anybody_may_have_it() {
    let (own, new) = (b"of the repository".to_vec(), b"of the fork".to_vec());
    let store = Store::start(two_stores(own.clone(), new.clone()));
    let world = World::new(&store, &[("own.bin", &pointer(&own)), ("new.bin", &pointer(&new))]).await;
    let fork: CloneUrl = format!("http://{}/eve/app.git", store.address).parse().unwrap();
    let place = world.of_fork(true, true, Some(&fork)).await.unwrap();
    assert_eq!((content(&place, "own.bin"), content(&place, "new.bin")), (own, new));
    let asked = store.asked();
    assert_eq!(asked.len(), 4, "each store was asked for one object: {asked:?}");
    for (path, authorization) in &asked {
        assert_eq!(authorization.is_empty(), path.starts_with("/eve/"), "{path}");
    }
    // It is kept for the fork's next commit, and is not the repository's.
    world.repository.write("plain", "q\n").commit("second");
    world.of_fork(true, true, Some(&fork)).await.unwrap();
    assert_eq!(store.asked().len(), 4);
    let error = world.unpacked(true, false).await.unwrap_err();
    assert!(matches!(&error, GitError::LfsMissing { path, .. } if path == "new.bin"), "{error}");
}

#[tokio::test]
async fn an_object_that_neither_the_repository_nor_the_fork_has_names_both() {
    let wanted = b"nowhere".to_vec();
    let closed = Mutex::new(false);
    let both = two_stores(Vec::new(), Vec::new());
    let store = Store::start(Box::new(move |asked| {
        let mut closed = closed.lock().unwrap();
        if asked.path.starts_with("/eve/") && std::mem::replace(&mut *closed, true) {
            return (401, vec![], br#"{"message": "private"}"#.to_vec());
        }
        both(asked)
    }));
    let fork: CloneUrl = format!("http://{}/eve/app.git", store.address).parse().unwrap();
    for word in ["(none)", "private"] {
        let world = World::new(&store, &[("a.bin", &pointer(&wanted))]).await;
        let error = world.of_fork(true, true, Some(&fork)).await.unwrap_err().to_string();
        assert!(
            error.contains("/app.git/info/lfs") && error.contains("/eve/app.git") && error.contains(word),
            "{error}"
        );
        assert!(!error.contains(PASSWORD), "{error}");
    }
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
