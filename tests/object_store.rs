//! Artifacts in an object store: moved, read, removed, and what happens while the store is away.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use longshore_core::BlobId;
use longshore_files::artifacts::Blobs;
use longshore_object_store::{ObjectStore, Settings, TlsConfig};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use support::{
    api::text,
    engine,
    s3::S3Server,
    server::{self, ADMIN_TOKEN, Server},
    until,
    world::{World, job},
};

fn world(store: &S3Server) -> World {
    let settings = store.settings();
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    World::of(Server::start_with(engine::docker_host(), &settings))
}

/// A job that leaves a large file, a small one and an empty one, and one that takes them.
fn pipeline() -> String {
    format!(
        "defaults: {{ image: {} }}
jobs:
  build:
    steps: [{{ run: 'head -c 9000000 /dev/urandom > big; echo small > small; : > empty; sha256sum big' }}]
    artifacts: [{{ name: all, paths: [big, small, empty] }}]
  take:
    needs: [{{ job: build, artifacts: [all] }}]
    steps: [{{ run: 'sha256sum big; cat small' }}]
",
        engine::BUSYBOX
    )
}

/// Returns the files of artifacts that are in the data folder.
fn in_folder(world: &World) -> Vec<PathBuf> {
    let root = world.server.data.path().join("artifacts/blobs");
    let folders = std::fs::read_dir(root).into_iter().flatten().flatten();
    folders
        .flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().flatten())
        .map(|e| e.path())
        .collect()
}

fn all_are_moved(world: &World) {
    until("the files to be moved", || in_folder(world).is_empty().then_some(()));
}

fn artifact(world: &World, build: &Value) -> String {
    let id = text(job(build, "build"), "id");
    text(&world.api().get(&format!("/api/v1/jobs/{id}/artifacts"))["items"][0], "id")
}

fn get(world: &World, path: &str, range: Option<&str>) -> (u16, Vec<u8>) {
    let mut curl = Command::new("curl");
    curl.args(["-s", "-w", "%{stderr}%{http_code}", "-H", &format!("Authorization: Bearer {ADMIN_TOKEN}")]);
    curl.args(range.map(|range| format!("-r{range}"))).arg(format!("{}{path}", world.server.url()));
    let output = curl.output().unwrap();
    (String::from_utf8(output.stderr).unwrap().parse().unwrap(), output.stdout)
}

fn longshore(args: &[&str], data: &Path, settings: &[(&str, String)]) -> Output {
    let mut command = Command::new(server::program());
    command.args(args).env("LONGSHORE_DATA", data).env("LONGSHORE_DOCKER_HOST", engine::docker_host());
    command.envs(settings.iter().map(|(name, value)| (*name, value.as_str())));
    command.output().unwrap()
}

#[test]
fn files_move_into_the_store_and_are_read_in_parts_zipped_checked_and_removed_there() {
    let store = S3Server::start();
    let world = world(&store);
    let build = world.run(&pipeline());
    assert_eq!(build["status"], "success", "{build}");
    let log = |name: &str| String::from_utf8(world.api().raw_log(&text(job(&build, name), "id"))).unwrap();
    let sum = log("build").split_whitespace().next().unwrap().to_owned();
    assert_eq!(log("take"), format!("{sum}  big\nsmall\n"));
    all_are_moved(&world);
    let objects = store.objects();
    assert_eq!(objects.len(), 3, "{objects:?}");
    let begins = format!("longshore/{}/", world.server.instance);
    assert!(objects.iter().all(|key| key.starts_with(&begins) && key.ends_with(".zst")), "{objects:?}");

    let id = artifact(&world, &build);
    let place = |name: &str| format!("/api/v1/artifacts/{id}/files/{name}");
    let (status, big) = get(&world, &place("big"), None);
    assert_eq!((status, hex::encode(Sha256::digest(&big))), (200, sum.clone()));
    for (range, from, to) in [("0-9", 0, 10), ("4567890-5678900", 4_567_890, 5_678_901), ("-7", 8_999_993, 9_000_000)] {
        let (status, part) = get(&world, &place("big"), Some(range));
        assert_eq!((status, part == big[from..to]), (206, true), "{range}");
    }
    assert_eq!(get(&world, &place("small"), None), (200, b"small\n".to_vec()));
    assert_eq!(get(&world, &place("empty"), None), (200, Vec::new()));
    let (status, zip) = get(&world, &format!("/api/v1/artifacts/{id}.zip"), None);
    assert_eq!(status, 200);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("all.zip"), zip).unwrap();
    let script = "import zipfile, hashlib; z = zipfile.ZipFile('all.zip'); print(z.testzip(), hashlib.sha256(z.read('big')).hexdigest())";
    let said = Command::new("python3").args(["-c", script]).current_dir(folder.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), format!("None {sum}"));

    // The same bytes once more, from a folder where they have to arrive first.
    let again = world.start_build();
    assert_eq!(world.api().wait_for_build(&text(&again, "id"))["status"], "success");
    all_are_moved(&world);
    assert_eq!(store.objects().len(), 4, "the large one is another one");

    // The check reads the store, also from a copy of the data folder, which removes nothing.
    let settings = store.settings();
    let data = world.server.data.path();
    let checked = longshore(&["check"], data, &settings);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    let unseen = longshore(&["check"], data, &[]);
    assert!(String::from_utf8_lossy(&unseen.stdout).contains("artifact-file-elsewhere"), "{unseen:?}");
    let archive = folder.path().join("backup.tar");
    let copy = folder.path().join("copy");
    let archive = archive.to_str().unwrap();
    for (args, data) in [(["backup", archive], data), (["restore", archive], copy.as_path())] {
        let done = longshore(&args, data, &[]);
        assert!(done.status.success(), "{args:?} {}", String::from_utf8_lossy(&done.stderr));
    }
    let checked = longshore(&["check"], &copy, &settings);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));

    let doctor = |settings: &[(&str, String)]| {
        let said = longshore(&["doctor"], folder.path(), settings).stdout;
        let said = String::from_utf8_lossy(&said).into_owned();
        said.lines().find(|line| line.contains("object-store")).unwrap_or_default().to_owned()
    };
    assert!(doctor(&settings).starts_with("ok "), "{}", doctor(&settings));
    let mut wrong = store.settings();
    wrong[2].1 = "nobody".to_owned();
    assert!(doctor(&wrong).contains("InvalidAccessKeyId"), "{}", doctor(&wrong));

    assert!(world.api().delete(&format!("/api/v1/repos/{}", world.repo)) < 300);
    until("the objects to go", || store.objects().is_empty().then_some(()));
    world.nothing_is_left();
}

#[test]
fn a_store_that_is_away_holds_up_no_job_loses_nothing_and_is_said() {
    let mut store = S3Server::start();
    let world = world(&store);
    store.kill();
    let build = world.run(&pipeline());
    assert_eq!(build["status"], "success", "{build}");
    let id = artifact(&world, &build);
    let small = format!("/api/v1/artifacts/{id}/files/small");
    until("the page to say it", || {
        world.api().get_text("/queue").1.contains("3 files wait in the data folder").then_some(())
    });
    assert!(world.api().get_text(&format!("/artifacts/{id}")).1.contains("store-trouble"));
    assert_eq!(get(&world, &small, None), (200, b"small\n".to_vec()), "it is in the folder");

    store.launch();
    all_are_moved(&world);
    assert_eq!((store.objects().len(), get(&world, &small, None).0), (3, 200));
    until("the page to say nothing", || (!world.api().get_text("/queue").1.contains("files wait")).then_some(()));
    store.kill();
    let (status, said) = get(&world, &small, None);
    assert_eq!(status, 503);
    assert!(String::from_utf8_lossy(&said).contains("the object store http://127.0.0.1"), "{said:?}");
    assert_eq!(get(&world, &format!("/api/v1/artifacts/{id}.zip"), None).0, 503);

    // An object that is due for removal while the store is away is removed later, and holds up nothing.
    assert!(world.api().delete(&format!("/api/v1/repos/{}", world.repo)) < 300);
    store.launch();
    let mut world = world;
    world.server.kill();
    world.server.launch();
    until("the objects to go", || store.objects().is_empty().then_some(()));
}

#[test]
fn a_server_that_is_killed_while_it_moves_files_has_each_of_them() {
    let store = S3Server::start();
    let mut world = world(&store);
    let pipeline = format!(
        "jobs:
  build:
    image: {}
    steps: [{{ run: 'i=0; while [ $i -lt 40 ]; do head -c 700000 /dev/urandom > f$i; i=$((i+1)); done; sha256sum f*' }}]
    artifacts: [{{ name: all, paths: ['f*'] }}]
",
        engine::BUSYBOX
    );
    let build = world.run(&pipeline);
    assert_eq!(build["status"], "success", "{build}");
    for moved in [3, 12, 25] {
        until("some files to be moved", || (store.objects().len() >= moved).then_some(()));
        world.server.kill();
        let elsewhere = world.server.data.path().join("artifacts/elsewhere");
        let marks = std::fs::read_dir(elsewhere).into_iter().flatten().flatten();
        let marks = marks.flat_map(|folder| std::fs::read_dir(folder.path()).unwrap()).count();
        assert!(in_folder(&world).len() + marks >= 40, "a file is in neither place");
        world.server.launch();
    }
    all_are_moved(&world);
    assert_eq!(store.objects().len(), 40);
    let id = artifact(&world, &build);
    let log = String::from_utf8(world.api().raw_log(&text(job(&build, "build"), "id"))).unwrap();
    for (sum, name) in log.lines().map(|line| line.split_once("  ").unwrap()) {
        let (status, bytes) = get(&world, &format!("/api/v1/artifacts/{id}/files/{name}"), None);
        assert_eq!((status, hex::encode(Sha256::digest(&bytes)).as_str()), (200, sum), "{name}");
    }
    let checked = longshore(&["check"], world.server.data.path(), &store.settings());
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    world.nothing_is_left();
}

/// The length of the parts below.
const PART: u64 = 64 << 10;

/// Returns the files of artifacts in this folder, which move to this store in parts.
fn in_parts(data: &Path, settings: &[(&str, String)]) -> Blobs {
    let value = |name: &str| settings.iter().find(|(known, _)| *known == name).unwrap().1.clone();
    let settings = Settings {
        endpoint: value("LONGSHORE_S3_ENDPOINT"),
        bucket: value("LONGSHORE_S3_BUCKET"),
        prefix: "longshore".to_owned(),
        region: "us-east-1".to_owned(),
        access_key: value("LONGSHORE_S3_ACCESS_KEY"),
        secret_key: value("LONGSHORE_S3_SECRET_KEY"),
        path_style: true,
    };
    let blobs = Blobs::new(data, true);
    blobs.use_object_store(ObjectStore::new(&settings, TlsConfig::default()).unwrap().with_parts_of(PART), "i");
    blobs
}

/// The process that is killed below: moves a file in parts.
#[test]
fn move_in_parts() {
    let (Some(data), Ok(port)) = (std::env::var_os("MOVE_IN_PARTS"), std::env::var("MOVE_TO")) else { return };
    let settings = S3Server::settings_at(port.parse().unwrap());
    let data = PathBuf::from(data);
    let blobs = in_parts(&data, &settings);
    for id in blobs.in_folder().unwrap() {
        assert!(blobs.move_out(&id).unwrap());
    }
}

/// Returns the blob and its bytes, which are in the folder.
fn large_file(data: &Path) -> (BlobId, Vec<u8>) {
    // Many parts: a process that is to be killed after some of them must not be done before that is seen.
    let words = std::iter::repeat_with(rand::random::<u64>).take(200 * 8192);
    let bytes: Vec<u8> = words.flat_map(u64::to_ne_bytes).chain([7; 17]).collect();
    let id: BlobId = hex::encode(Sha256::digest(&bytes)).parse().unwrap();
    let path = data.join("artifacts/blobs").join(Blobs::relative_path(&id));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, &bytes).unwrap();
    (id, bytes)
}

/// Starts a process that moves what is in the folder, kills it once so many parts are there, and returns how many are.
/// The store starts again, because it may still be writing the part that was on its way.
fn kill_after(data: &Path, store: &mut S3Server, id: &BlobId, parts: usize) -> usize {
    let note = data.join("artifacts").join(Blobs::relative_mark_path(id)).with_extension("upload");
    let noted = || {
        let note: Value = serde_json::from_slice(&std::fs::read(&note).ok()?).ok()?;
        Some(note["etags"].as_array()?.len())
    };
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["move_in_parts", "--exact"])
        .env("MOVE_IN_PARTS", data)
        .env("MOVE_TO", store.port().to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("some parts", || noted().filter(|there| *there >= parts));
    child.kill().unwrap();
    child.wait().unwrap();
    store.kill();
    store.launch();
    noted().unwrap()
}

#[test]
fn a_large_file_that_moves_in_parts_goes_on_after_each_kill_and_is_there_whole() {
    let (mut store, data) = (S3Server::start(), tempfile::tempdir().unwrap());
    let (id, bytes) = large_file(data.path());
    let mut there = 0;
    for parts in [1, 9, 25] {
        let now = kill_after(data.path(), &mut store, &id, parts);
        assert!(now >= there, "it began anew");
        there = now;
    }
    assert_eq!(store.objects(), [""; 0], "half an object is seen");
    let blobs = in_parts(data.path(), &store.settings());
    assert!(blobs.move_out(&id).unwrap());
    let key = format!("longshore/i/{}", Blobs::relative_path(&id).display());
    assert_eq!(store.objects(), std::slice::from_ref(&key));
    assert_eq!(store.object(&key), bytes);
    assert_eq!(store.uploads(), 0);
    assert!(blobs.is_offloaded(&id));
    let marks = data.path().join("artifacts").join(Blobs::relative_mark_path(&id));
    assert_eq!(std::fs::read_dir(marks.parent().unwrap()).unwrap().count(), 1, "nothing but the mark");
}

#[test]
fn parts_of_a_file_that_is_removed_or_came_anew_are_abandoned() {
    let (mut store, data) = (S3Server::start(), tempfile::tempdir().unwrap());
    let (id, _) = large_file(data.path());
    kill_after(data.path(), &mut store, &id, 3);
    let blobs = in_parts(data.path(), &store.settings());
    let path = data.path().join("artifacts/blobs").join(Blobs::relative_path(&id));
    // The same file, packed in another way.
    let other = vec![7; 5 * 65_536];
    std::fs::write(&path, &other).unwrap();
    assert!(blobs.move_out(&id).unwrap());
    let key = format!("longshore/i/{}", Blobs::relative_path(&id).display());
    assert_eq!((store.object(&key), store.uploads()), (other, 0));
    blobs.begin_removal(id).unwrap().carry_out().unwrap();
    assert_eq!(store.objects(), [""; 0]);

    let (id, _) = large_file(data.path());
    kill_after(data.path(), &mut store, &id, 3);
    assert_eq!(store.uploads(), 1);
    blobs.begin_removal(id).unwrap().carry_out().unwrap();
    assert_eq!((store.objects(), store.uploads()), (Vec::new(), 0));
}
