//! Builds with the classic builder.

use std::process::Command;

use crate::world::{BUSYBOX, World, engine};

fn context(world: &World, dockerfile: &str) -> String {
    let dir = world.dir.path().join("context");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("Dockerfile"), dockerfile).unwrap();
    std::fs::write(dir.join("data"), "in the context").unwrap();
    dir.display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_are_built_and_are_the_jobs_alone() {
    let world = World::new(false).await;
    let dir = context(
        &world,
        "ARG BASE\nFROM ${BASE} AS one\nCOPY . /ctx\nRUN echo \\\n  built > /file\nFROM one\nCOPY --from=0 /file /second\nCMD [\"sh\", \"-c\", \"cat /second /ctx/data; ls -a /ctx\"]\n",
    );
    world.ok(&["build", "--build-arg", &format!("BASE={BUSYBOX}"), "-t", "app:1", "-t", "alpine:latest", &dir]);
    let out = world.ok(&["run", "--rm", "app:1"]);
    assert_eq!(out, "built\nin the context.\n..\nDockerfile\ndata", "nothing of the guard's is in the image");
    assert_eq!(world.ok(&["run", "--rm", "alpine", "cat", "/second"]), "built");
    let on_engine = Command::new("docker").args(["image", "inspect", "app:1"]).output().unwrap();
    assert!(!on_engine.status.success(), "the engine's own name is free");
    // Builds from the image that was just built, without a name.
    let dir = context(&world, "FROM app:1\nENV A=b\n");
    let id = world.ok(&["build", "-q", &dir]);
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(world.ok(&["run", "--rm", &id, "sh", "-c", "echo $A"]), "b");
    world.ok(&["rmi", "app:1"]);
    world.end().await;
}

/// The folder as a tar, compressed by this program.
fn packed(dir: &str, program: &str) -> Vec<u8> {
    let packed = Command::new("sh").args(["-c", &format!("tar c -C {dir} . | {program}")]).output().unwrap();
    assert!(packed.status.success(), "{program}: {}", String::from_utf8_lossy(&packed.stderr));
    packed.stdout
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_context_is_read_like_a_plain_one() {
    let world = World::new(false).await;
    let dir = context(&world, &format!("FROM {BUSYBOX}\nCOPY data /data\n"));
    let id = world.ok_with_input(&["build", "-q", "-"], &packed(&dir, "gzip"));
    assert_eq!(world.ok(&["run", "--rm", id.trim(), "cat", "/data"]), "in the context");
    // What is in it is judged, and nothing is unpacked that the guard does not read.
    let is_denied = |entry: &serde_json::Value, why: &str| {
        entry["decision"] == "denied" && entry["reason"].as_str().is_some_and(|reason| reason.contains(why))
    };
    let secret = packed(&context(&world, "FROM longshore-test/nobodys:1\n"), "gzip");
    let dir = context(&world, &format!("FROM {BUSYBOX}\n"));
    let whole = packed(&dir, "gzip");
    for (bytes, why) in [
        (secret, "longshore-test/nobodys:1"),
        (packed(&dir, "gzip | gzip"), "cut off"),
        ([&b"BZh9"[..], &[0; 1024]].concat(), "compressed"),
        (whole[..whole.len() - 4].to_vec(), "cut off"),
    ] {
        let output = world.docker_with_input(&["build", "-q", "-"], &bytes);
        assert!(!output.status.success(), "{why}");
        assert!(
            world.audit().iter().any(|entry| is_denied(entry, why)),
            "{why}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_starts_from_no_image_of_others_and_fails_as_a_build() {
    let world = World::new(false).await;
    let secret = format!("longshore-test/secret-{}:1", world.scope);
    engine(&["tag", BUSYBOX, &secret]);
    for dockerfile in [
        format!("FROM {secret}\n"),
        format!("FROM {BUSYBOX}\nCOPY --from={secret} /etc/passwd /x\n"),
        format!("FROM {BUSYBOX}\nFR\\\nOM {secret}\n"),
    ] {
        let dir = context(&world, &dockerfile);
        world.refused(&["build", &dir], "image");
    }
    world.refused(&["run", "--rm", "--pull", "never", &secret, "true"], "foreign");
    engine(&["rmi", &secret]);
    let dir = context(&world, &format!("FROM {BUSYBOX}\nRUN exit 3\n"));
    world.refused(&["build", "--network", "host", &dir], "foreign");
    let failed = world.docker(&["build", "-t", "never", &dir]);
    assert!(!failed.status.success());
    assert!(
        String::from_utf8_lossy(&failed.stderr).contains("non-zero code: 3"),
        "{}",
        String::from_utf8_lossy(&failed.stderr)
    );
    assert_eq!(world.ok(&["images", "-q", "never"]), "");
    // The layers of a failed build, and those of earlier stages, are removed with the job.
    let dir = context(&world, &format!("FROM {BUSYBOX} AS one\nRUN echo x > /x\nFROM {BUSYBOX}\nRUN exit 3\n"));
    assert!(!world.docker(&["build", &dir]).status.success());
    assert_ne!(world.objects(), Vec::<String>::new());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_spelling_of_a_dockerfile_reaches_images_or_labels_of_others() {
    let world = World::new(false).await;
    // Images that builders of others could have made, by names that the engine takes for images.
    let secret = format!("longshore-test/secret-{}:1", world.scope);
    let plain = format!("secret{}", world.scope);
    for name in [&secret, &plain] {
        engine(&["tag", BUSYBOX, name]);
    }
    for (dockerfile, rule) in [
        (format!("FROM {BUSYBOX} AS {plain}\nCOPY --from={plain} /etc/passwd /stolen\n"), "image"),
        (format!("FROM {BUSYBOX}\nCOPY --chown=1Å--from={secret} /etc/passwd /stolen\n"), "build"),
        (format!("FROM {BUSYBOX}\nONBUILD COPY --fr\\om={secret} /etc/passwd /stolen\n"), "build"),
        (format!("FROM {BUSYBOX}\nLABEL -- longshore.guard.scope=other\n"), "build"),
    ] {
        let dir = context(&world, &dockerfile);
        world.front.heard();
        world.refused(&["build", &dir], rule);
    }
    for name in [&secret, &plain] {
        engine(&["rmi", name]);
    }
    // Stages, triggers and labels as people mean them.
    let dir = context(
        &world,
        &format!(
            "FROM {BUSYBOX} AS one\nRUN echo built > /x\nFROM {BUSYBOX} AS two\nLABEL a=b\nONBUILD COPY data /data\nCOPY --from=one /x /x\n"
        ),
    );
    world.ok(&["build", "-t", "two", &dir]);
    let dir = context(&world, "FROM two\n");
    world.ok(&["build", "-t", "three", &dir]);
    assert_eq!(world.ok(&["run", "--rm", "three", "cat", "/x", "/data"]), "built\nin the context");
    world.end().await;
}
