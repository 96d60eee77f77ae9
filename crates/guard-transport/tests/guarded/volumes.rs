//! What an engine writes into a volume while others may be in it.

use std::fs;

use crate::world::{BUSYBOX, World, engine};

/// An image with many files below `/data`, and the last of them in a folder of its own.
fn image(world: &World) -> String {
    let dir = world.dir.path().join("context");
    for folder in ["data/a", "data/zzz"] {
        fs::create_dir_all(dir.join(folder)).unwrap();
    }
    for at in 0..3000 {
        fs::write(dir.join(format!("data/a/{at}")), "x").unwrap();
    }
    fs::write(dir.join("data/zzz/file"), "from the image").unwrap();
    fs::write(dir.join("Dockerfile"), format!("FROM {BUSYBOX}\nCOPY data /data\n")).unwrap();
    world.ok(&["build", "-q", "-t", "large:1", &dir.display().to_string()]);
    "large:1".to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_into_a_volume_while_the_table_cannot_be_saved() {
    let world = World::new(false).await;
    world.ok(&["create", "--name", "waits", "-v", "data:/v", BUSYBOX, "true"]);
    // The table is written beside the one before it.
    let beside = world.dir.path().join("table.new");
    fs::create_dir(&beside).unwrap();
    world.front.heard();
    for args in [&["start", "waits"][..], &["create", "-v", "other:/etc", BUSYBOX, "true"]] {
        let text = String::from_utf8_lossy(&world.docker(args).stderr).into_owned();
        assert!(text.contains("the table of own objects cannot be saved"), "{args:?}: {text}");
    }
    let heard = world.front.heard();
    assert!(!heard.iter().any(|line| line.starts_with("POST ")), "{heard:?}");
    fs::remove_dir(&beside).unwrap();
    world.ok(&["start", "-a", "waits"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_in_a_volume_while_the_engine_fills_it_from_an_image() {
    let world = World::new(false).await;
    let large = image(&world);
    // The engine fills a volume by its path on the host, where such a link leads out of it.
    let outside = world.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let races = format!(
        "while ! test -e /v/stop; do if test -e /v/a; then ln -s {} /v/zzz; touch /v/stop; fi; done",
        outside.display()
    );
    world.ok(&["run", "-d", "--name", "inside", "-v", "raced:/v", BUSYBOX, "sh", "-c", &races]);
    world.ok(&["create", "--name", "filling", "-v", "raced:/data", &large, "true"]);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "the engine wrote outside of the volume");
    assert_eq!(world.ok(&["run", "--rm", "-v", "raced:/v", BUSYBOX, "ls", "/v"]), "");
    // Nor is it enough that the container has ended, or that somebody can copy a link into it.
    world.ok(&["rm", "-f", "inside"]);
    world.ok(&["rm", "filling"]);
    assert_eq!(world.ok(&["run", "--rm", "-v", "raced:/data", &large, "ls", "/data"]), "");
    let file = world.dir.path().join("file");
    fs::write(&file, "copied").unwrap();
    world.ok(&["create", "--name", "copied", "-v", "copied-into:/w", BUSYBOX, "true"]);
    world.ok(&["cp", &file.display().to_string(), "copied:/w/file"]);
    world.ok(&["run", "--rm", "-v", "copied-into:/w", BUSYBOX, "rm", "/w/file"]);
    assert_eq!(world.ok(&["run", "--rm", "-v", "copied-into:/data", &large, "ls", "/data"]), "");

    // A new one is filled, also if others have it, who have not started; and so is one that was made anew.
    let of_image = "from the image";
    assert_eq!(world.ok(&["run", "--rm", "-v", "new:/data", &large, "cat", "/data/zzz/file"]), of_image);
    world.ok(&["create", "--name", "waits", "-v", "shared:/v", BUSYBOX, "cat", "/v/zzz/file"]);
    world.ok(&["create", "--name", "fills", "-v", "shared:/data", &large, "true"]);
    assert_eq!(world.ok(&["start", "-a", "waits"]), of_image);
    world.ok(&["volume", "rm", "raced"]);
    assert_eq!(world.ok(&["run", "--rm", "-v", "raced:/data", &large, "cat", "/data/zzz/file"]), of_image);
    world.ok(&["run", "--rm", "-v", "raced:/data", BUSYBOX, "cat", "/data/zzz/file"]);
    assert_eq!(
        engine(&["volume", "inspect", "-f", "{{.Driver}}", &format!("longshore-guard-{}-raced", world.scope)]),
        "local"
    );
    world.end().await;
}
