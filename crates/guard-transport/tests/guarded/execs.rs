//! Execs of a job's containers.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::json;

use crate::world::{BUSYBOX, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exec_that_the_engine_never_begins_counts_also_without_its_client_and_its_container() {
    let world = World::with(true, &json!({ "execs": 2 })).await;
    let created = || {
        world.ok(&["run", "-d", "--name", "own", BUSYBOX, "sleep", "600"]);
        let (status, answer) = world.send_json("POST", "/containers/own/exec", r#"{"Cmd":["true"],"User":"x"}"#);
        assert_eq!(status, 201, "{answer}");
        answer.split('"').find(|word| word.len() == 64).unwrap().to_owned()
    };
    // So does one whose user is looked up in a pipe.
    for _ in 0..2 {
        let exec = created();
        let start = format!("/exec/{exec}/start");
        world.front.hang(&start);
        let mut client = UnixStream::connect(world.socket()).unwrap();
        let body = r#"{"Detach":true}"#;
        let head = "HTTP/1.1\r\nHost: x\r\nContent-Type: application/json";
        write!(client, "POST {start} {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        while !world.front.heard().iter().any(|line| line.contains(&start)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        drop(client);
        world.ok(&["rm", "-f", "own"]);
    }
    let exec = created();
    let (status, answer) = world.send_json("POST", &format!("/exec/{exec}/start"), r#"{"Detach":true}"#);
    assert!(status == 429 && answer.contains("have not begun"), "{answer}");
    world.ok(&["rm", "-f", "own"]);
    world.end().await;
}
