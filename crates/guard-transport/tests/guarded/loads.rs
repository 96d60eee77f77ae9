//! Archives of images that a job loads.

use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::world::{BUSYBOX, World, engine};

/// Returns the archive of an image of this name, which has no labels and is not on the engine any more.
fn saved(world: &World, name: &str) -> String {
    let [files, image] = ["files.tar", "image.tar"].map(|file| world.dir.path().join(file).display().to_string());
    let container = engine(&["create", BUSYBOX]);
    engine(&["export", "-o", &files, &container]);
    engine(&["rm", &container]);
    engine(&["import", &files, name]);
    engine(&["save", "-o", &image, name]);
    engine(&["rmi", name]);
    image
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_loaded_is_the_jobs_alone_and_has_no_layer_that_was_not_in_it() {
    let world = World::new(false).await;
    let name = format!("longshore-test/loaded-{}:1", world.scope);
    let file = saved(&world, &name);
    assert_eq!(world.ok(&["load", "-i", &file]), format!("Loaded image: {name}"));
    assert_eq!(world.ok(&["run", "--rm", &name, "echo", "loaded"]), "loaded");
    assert!(world.ok(&["images"]).contains("longshore-test/loaded-"));
    assert_eq!(engine(&["images", "-q", &name]), "", "the engine's own name is free");
    world.ok(&["tag", &name, "other:1"]);
    world.ok(&["rmi", &name, "other:1"]);

    // The engine has the layer, and would take it.
    let without = world.dir.path().join("without.tar").display().to_string();
    std::fs::copy(&file, &without).unwrap();
    let tar = |words: &[&str]| {
        let output = Command::new("tar").args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let list: serde_json::Value = serde_json::from_str(&tar(&["-xOf", &without, "manifest.json"])).unwrap();
    let layer = list[0]["Layers"][0].as_str().unwrap();
    tar(&["--delete", "-f", &without, layer]);
    world.refused(&["load", "-i", &without], "archive");
    let packed = world.dir.path().join("packed.tar.gz").display().to_string();
    assert!(Command::new("gzip").args(["-k", "-S", ".gz", &file]).status().unwrap().success());
    std::fs::rename(format!("{file}.gz"), &packed).unwrap();
    world.refused(&["load", "-i", &packed], "media-type");
    assert_eq!(world.ok(&["images", "-q"]), "");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_loaded_is_known_also_if_its_client_did_not_wait_for_the_end() {
    let world = World::new(false).await;
    let name = format!("longshore-test/left-{}:1", world.scope);
    let file = saved(&world, &name);
    let archive = std::fs::read(&file).unwrap();
    let mut client = std::os::unix::net::UnixStream::connect(world.socket()).unwrap();
    let head = "POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-tar";
    write!(client, "{head}\r\nContent-Length: {}\r\n\r\n", archive.len()).unwrap();
    client.write_all(&archive).unwrap();
    drop(client);
    let started = Instant::now();
    while world.ok(&["images", "-q", &name]).is_empty() {
        assert!(started.elapsed() < Duration::from_secs(300), "the load is not known");
        std::thread::sleep(Duration::from_millis(100));
    }
    world.end().await;
}
