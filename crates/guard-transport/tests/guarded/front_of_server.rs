//! The guard of a server.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use longshore_guard::{Policy, ServerPolicy};
use longshore_guard_transport::{Options, Proxy};
use tokio_util::sync::CancellationToken;

use crate::world::{BUSYBOX, copies_from_a_namespace_of_its_own, engine, engine_socket};

/// A server's guard, and what it answers.
struct Server {
    dir: tempfile::TempDir,
    instance: String,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let policy = Policy::Server(ServerPolicy::default());
        let proxy = Proxy::connect(Options::new(engine_socket(), policy)).await.unwrap();
        let listener = Proxy::listen(&dir.path().join("guard.sock"), 0o600).await.unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(proxy.serve(listener, stop.clone()));
        Self { dir, instance: format!("i{}", hex::encode(rand::random::<[u8; 5]>())), stop, serving }
    }

    /// Returns the status and the body of an answer.
    fn ask(&self, line: &str, body: &str) -> (u16, String) {
        let mut stream = UnixStream::connect(self.dir.path().join("guard.sock")).unwrap();
        let head = "Host: x\r\nConnection: close\r\nContent-Type: application/json";
        write!(stream, "{line} HTTP/1.1\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        (answer[9..12].parse().unwrap(), answer)
    }

    fn labels(&self) -> String {
        format!(r#"{{"longshore.instance":"{}"}}"#, self.instance)
    }

    fn name(&self, what: &str) -> String {
        format!("longshore-{what}-{}", self.instance)
    }

    /// Creates a container that sleeps, with these volumes. Returns the answer.
    fn create(&self, what: &str, volumes: &[(&str, &str)]) -> (u16, String) {
        let mounts = volumes.iter().map(|(volume, target)| {
            format!(
                r#"{{"Type":"volume","Source":"{}","Target":"{target}","VolumeOptions":{{"NoCopy":true}}}}"#,
                self.name(volume)
            )
        });
        let mounts = mounts.collect::<Vec<_>>().join(",");
        let body = format!(
            r#"{{"Image":"{BUSYBOX}","Entrypoint":["sleep","600"],"Labels":{},"HostConfig":{{"NetworkMode":"none","CapDrop":["ALL"],"SecurityOpt":["no-new-privileges"],"Mounts":[{mounts}]}}}}"#,
            self.labels()
        );
        self.ask(&format!("POST /containers/create?name={}", self.name(what)), &body)
    }

    fn end_container(&self, what: &str) {
        engine(&["rm", "-f", &self.name(what)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_has_no_volume_mounted_on_the_host_in_which_others_may_be() {
    let server = Server::start().await;
    for volume in ["one", "two"] {
        let body = format!(r#"{{"Name":"{}","Labels":{}}}"#, server.name(volume), server.labels());
        assert_eq!(server.ask("POST /volumes/create", &body).0, 201);
    }
    for (what, volumes) in [("ended", &[("one", "/a"), ("two", "/a/b")][..]), ("alone", &[])] {
        let created = server.create(what, volumes);
        assert_eq!(created.0, 201, "{}", created.1);
    }
    let read = |what: &str, how: &str| server.ask(&format!("GET /containers/{}/{how}", server.name(what)), "");
    // Who is in the volumes makes no difference: another guard may let somebody in at any moment.
    let is_old = !copies_from_a_namespace_of_its_own();
    let with_volumes = read("ended", "archive?path=/etc");
    assert_eq!(with_volumes.0, if is_old { 403 } else { 200 }, "{}", with_volumes.1);
    let exported = read("ended", "export");
    assert_eq!(exported.0, if is_old { 200 } else { 403 });
    assert!(!is_old || exported.1.contains("etc/passwd"));
    let alone = read("alone", "archive?path=/etc/passwd");
    assert_eq!(alone.0, 200, "{}", alone.1);
    assert_eq!(server.ask(&format!("POST /containers/{}/start", server.name("alone")), "").0, 204);
    assert_eq!((read("alone", "archive?path=/etc").0, read("alone", "export").0), (403, 403), "it runs");
    for what in ["ended", "alone"] {
        server.end_container(what);
    }
    for volume in ["one", "two"] {
        engine(&["volume", "rm", &server.name(volume)]);
    }
    server.stop.cancel();
    server.serving.await.unwrap();
}

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
