//! Raw bytes: HTTP is parsed strictly, or refused.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::world::{BUSYBOX, World};

/// Sends raw bytes. Returns what the guard answers until it closes the connection or stays silent.
fn say(world: &World, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(world.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(300))).unwrap();
    stream.write_all(bytes).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(target: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("POST {target} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_readers_of_http_could_read_differently_is_refused() {
    let world = World::new(false).await;
    let create = "/v1.41/containers/create";
    let body = format!(r#"{{"Image":"{BUSYBOX}","HostConfig":{{"Privileged":true}}}}"#);
    let length = body.len();
    for (what, bytes, status) in [
        ("another case", post(create, "", &body.to_lowercase()), "400"),
        ("privileged", post(create, "", &body), "403"),
        ("chunked", format!("POST {create} HTTP/1.1\r\nHost: x\r\nContent-Type: Application/JSON;charset=UTF-16\r\nTransfer-Encoding: chunked\r\n\r\n{length:x};ext=1\r\n{body}\r\n0\r\n\r\n").into_bytes(), "403"),
        ("two lengths", format!("POST {create} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes(), "400"),
        ("length and chunks", format!("POST {create} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n").into_bytes(), "40"),
        ("unknown coding", format!("POST {create} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n{body}").into_bytes(), "400"),
        ("no length", format!("POST {create} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n{body}").into_bytes(), "400"),
        ("folded header", format!("POST {create} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n ; x=y\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes(), "400"),
        ("NUL in a header", format!("POST {create} HTTP/1.1\r\nHost: x\r\nX: \0\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes(), "400"),
        ("form", post("/v1.41/images/busybox/tag?repo=ok", "Content-Type: application/x-www-form-urlencoded\r\n", "repo=evil"), "415"),
        ("encoding", post(create, "Content-Encoding: gzip\r\n", &body), "415"),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), "40"),
        ("absolute target", b"GET http://x/version HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), "400"),
        ("CONNECT", b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), "40"),
        ("h2c", post("/session", "Connection: Upgrade\r\nUpgrade: h2c\r\n", ""), "403"),
        ("upgrade of what is not a stream", post("/containers/x/start", "Connection: Upgrade\r\nUpgrade: tcp\r\n", ""), "404"),
    ] {
        let answer = say(&world, &bytes);
        let is_refused = answer.starts_with(&format!("HTTP/1.1 {status}"));
        assert!(is_refused || (answer.is_empty() && status == "40"), "{what}: {answer}");
        assert!(!answer.contains("HTTP/1.1 201"), "{what}: {answer}");
    }
    assert_eq!(world.objects(), Vec::<String>::new());
    let twin = post(create, "Content-Type: application/json\r\nConnection: close\r\n", &body.replace("true", "false"));
    assert!(say(&world, &twin).starts_with("HTTP/1.1 201"), "{}", say(&world, &twin));
    let denied: Vec<_> = world.audit().into_iter().filter(|entry| entry["decision"] == "denied").collect();
    assert!(denied.iter().any(|entry| entry["rule"] == "privileged" && entry["route"] == "containers/create"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_after_a_request_for_a_stream_are_no_request_unless_it_becomes_one() {
    let world = World::new(false).await;
    let smuggled = "POST /v1.41/containers/nobody/attach?stream=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\nGET /version HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = say(&world, smuggled.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 404") && answer.matches("HTTP/1.1").count() == 1, "{answer}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn archives_that_are_not_plain_never_reach_the_engine() {
    let world = World::new(false).await;
    world.ok(&["create", "--name", "c", BUSYBOX, "true"]);
    for start in [&b"\x1f\x8b\x08\x00"[..], b"BZh9", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"nothing"] {
        let mut bytes = format!(
            "PUT /v1.41/containers/c/archive?path=/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            start.len() + 1024
        )
        .into_bytes();
        bytes.extend_from_slice(start);
        bytes.extend([7; 1024]);
        assert!(say(&world, &bytes).starts_with("HTTP/1.1 415"), "{start:?}");
    }
    world.end().await;
}
