//! An engine that speaks only newer versions of its API, as Docker 29 does from 1.44 on.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use serde_json::json;

use crate::world::{BUSYBOX, World, engine};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_any_age_work_on_an_engine_that_speaks_only_its_newer_apis() {
    let newest = engine(&["version", "-f", "{{.Server.APIVersion}}"]);
    let newest: u32 = newest.strip_prefix("1.").unwrap().parse().unwrap();
    // 20.10, whose only one is 1.41, stands for an engine that just fits.
    let oldest = newest.min(44);
    let world = World::having(true, &json!({}), Some(oldest)).await;
    let mut old = UnixStream::connect(&world.front.socket).unwrap();
    let head = format!("GET /v1.{}/info HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n", oldest - 1);
    old.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    old.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("is too old"), "{answer}");
    world.front.heard();
    for api in ["", "1.41", "1.32"] {
        let run = |args: &[&str]| {
            let mut command = world.command("docker");
            if !api.is_empty() {
                command.env("DOCKER_API_VERSION", api);
            }
            let output = command.args(args).output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{api} docker {args:?}: {text}");
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        assert_eq!(run(&["run", "--rm", BUSYBOX, "echo", "hello"]), "hello");
        run(&["network", "create", "own"]);
        run(&["run", "-d", "--name", "db", "--network", "own", "-v", "data:/data", BUSYBOX, "sleep", "600"]);
        assert_eq!(run(&["exec", "db", "echo", "inside"]), "inside");
        run(&["stop", "-t", "0", "db"]);
        run(&["create", "--name", "files", "-v", "data:/data", BUSYBOX, "true"]);
        run(&["cp", "files:/etc/passwd", &world.dir.path().join("passwd").display().to_string()]);
        run(&["cp", &world.dir.path().join("passwd").display().to_string(), "files:/data/"]);
        run(&["rm", "-f", "db", "files"]);
        run(&["network", "rm", "own"]);
        run(&["volume", "rm", "data"]);
        let context = world.dir.path().join("context");
        std::fs::create_dir_all(&context).unwrap();
        std::fs::write(context.join("Dockerfile"), format!("FROM {BUSYBOX}\nRUN echo built > /x\n")).unwrap();
        run(&["build", "-t", "app:1", &context.display().to_string()]);
        assert_eq!(run(&["run", "--rm", "app:1", "cat", "/x"]), "built");
        run(&["rmi", "app:1"]);
    }
    let wanted = format!("/v1.{newest}/");
    let heard = world.front.heard();
    assert!(heard.len() > 30 && heard.iter().all(|line| line.contains(&wanted)), "{heard:?}");
    world.end().await;
}
