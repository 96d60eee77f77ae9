//! The guard of a server.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use longshore_guard::{Policy, ServerPolicy};
use longshore_guard_transport::{Options, Proxy};
use tokio_util::sync::CancellationToken;

use crate::world::{engine, engine_socket};

/// Starts a guard in a folder, asks it for the containers of an instance, and ends it. Returns the answer.
async fn answer(dir: &Path, instance: &str) -> String {
    let policy = Policy::Server(ServerPolicy::default());
    let kept = Some(dir.join("guard.instance"));
    let proxy = Proxy::connect(Options { instance: kept, ..Options::new(engine_socket(), policy) }).await.unwrap();
    let socket = dir.join("guard.sock");
    let listener = Proxy::listen(&socket, 0o600).await.unwrap();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(Arc::clone(&proxy).serve(listener, stop.clone()));
    let body = format!(r#"{{"Name":"longshore-volume-{instance}","Labels":{{"longshore.instance":"{instance}"}}}}"#);
    let filters = format!("%7B%22label%22%3A%5B%22longshore.instance%3D{instance}%22%5D%7D");
    let head = |line: &str, body: &str| {
        format!(
            "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let mut answers = String::new();
    for request in [head(&format!("GET /containers/json?filters={filters}"), ""), head("POST /volumes/create", &body)] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.read_to_string(&mut answers).unwrap();
    }
    stop.cancel();
    serving.await.unwrap();
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_servers_guard_that_starts_again_serves_the_instance_that_it_served() {
    let dir = tempfile::tempdir().unwrap();
    let instance = format!("i{}", hex::encode(rand::random::<[u8; 5]>()));
    for _ in 0..2 {
        let own = answer(dir.path(), &instance).await;
        assert!(own.contains("200 OK") && !own.contains("serves the instance"), "{own}");
    }
    let other = answer(dir.path(), "somebody-elses").await;
    assert!(other.contains(&format!("this guard serves the instance {instance}, not somebody-elses")), "{other}");
    engine(&["volume", "rm", &format!("longshore-volume-{instance}")]);
}
