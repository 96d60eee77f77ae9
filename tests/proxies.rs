//! Jobs reach the world from a private network: through a proxy, with private authorities and variables for all jobs.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;
#[path = "../crates/git/tests/support/tls.rs"]
mod tls;

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use serde_json::json;
use support::{
    api::text,
    engine::{self, BUSYBOX, docker},
    git_host::GitHost,
    server::Server,
};
use tls::Tls;

/// Takes CONNECT, with user and password only, and leads to the port on this machine, whatever the host. Prints the
/// hosts.
const PROXY: &str = r#"
import base64, socket, sys, threading
expected = "Basic " + base64.b64encode(sys.argv[1].encode()).decode()
listener = socket.create_server(("0.0.0.0", 0))
print(listener.getsockname()[1], flush=True)
def copy(source, to):
    try:
        while data := source.recv(65536):
            to.sendall(data)
        to.shutdown(socket.SHUT_WR)
    except OSError:
        pass
def serve(client):
    head = b""
    while b"\r\n\r\n" not in head:
        more = client.recv(65536)
        if not more:
            return
        head += more
    asked, *headers = head.decode().split("\r\n")
    given = dict(header.lower().split(": ", 1) for header in headers if ": " in header)
    if given.get("proxy-authorization") != expected.lower():
        client.sendall(b"HTTP/1.1 407 Who?\r\nProxy-Authenticate: Basic realm=\"proxy\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        client.close()
        return
    print(asked.split(" ")[1], flush=True)
    to = socket.create_connection(("127.0.0.1", int(asked.split(" ")[1].rsplit(":", 1)[1])))
    client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
    threading.Thread(target=copy, args=(to, client), daemon=True).start()
    copy(client, to)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"#;

/// A running proxy. Ended when dropped.
struct Proxy {
    process: Child,
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts one that asks for this user and password.
    fn start(credentials: &str) -> Self {
        let mut process = Command::new("python3")
            .args(["-c", PROXY, credentials])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = lines.next().unwrap().parse().unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&asked);
        std::thread::spawn(move || lines.for_each(|line| heard.lock().unwrap().push(line)));
        Self { process, port, asked }
    }

    /// Where it has led to.
    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns an address of this machine that containers reach. The engine's description of its network may lack it.
fn gateway() -> String {
    let routes = docker(&["run", "--rm", BUSYBOX, "ip", "route"]);
    let default = routes.iter().find_map(|route| route.strip_prefix("default via ")?.split(' ').next());
    default.expect("a default route").to_owned()
}

#[test]
fn a_server_and_its_jobs_reach_a_host_with_an_authority_of_ones_own_through_a_proxy_and_no_log_has_its_password() {
    let folder = tempfile::tempdir().unwrap();
    let git = GitHost::start();
    let port: u16 = git.url().rsplit(':').next().unwrap().split('/').next().unwrap().parse().unwrap();
    let host = Tls::before(port, folder.path());
    let address = format!("https://own.example:{}/app.git", host.port);
    let proxy = Proxy::start("robot:p@ss-w0rd-of-all");
    let debian = "longshore/debian:bookworm";
    git.push(&format!(
        r#"
on: [push, manual]
jobs:
  one:
    image: {debian}
    env: {{ SHARED: job }}
    services:
      side:
        image: {BUSYBOX}
        command: [sh, -c, 'echo "side $SITE $SHARED $no_proxy"; cat "$LONGSHORE_CA_FILE"; touch /tmp/said; sleep 1000']
        ready: {{ exec: test -e /tmp/said }}
    steps:
      - run: |
          echo "job $SITE $SHARED $NO_PROXY"
          git ls-remote {address} refs/heads/main | cut -f2
          python3 -c "import urllib.request as r; print('answer', r.urlopen('{address}/info/refs?service=git-upload-pack').status)"
          echo "by $https_proxy"
          printf 'robot:p@ss-w0rd-of-all' | base64
      - {{ image: {debian}, run: 'echo "own $SITE"; git ls-remote {address} refs/heads/main | cut -f2; openssl version >/dev/null' }}
"#
    ));
    let by = format!("http://robot:p%40ss-w0rd-of-all@{}:{}", gateway(), proxy.port);
    let settings = [
        ("HTTPS_PROXY", by.as_str()),
        ("NO_PROXY", "registry.example"),
        ("LONGSHORE_CA_FILE", host.authority.to_str().unwrap()),
        ("LONGSHORE_JOB_ENV", "# for all\nSITE=here\nSHARED=operator\n"),
    ];
    let server = Server::start_with(engine::docker_host(), &settings);
    let (repo, _) = server.api().add_repo("team/app", &address);
    let (status, build) = server.api().post(&format!("/api/v1/repos/{repo}/builds"), &json!({ "ref": "main" }));
    assert_eq!(status, 201, "{build}");
    let git_asked = proxy.asked();
    assert!(!git_asked.is_empty(), "the server's own git goes by the proxy");
    let build = server.api().wait_for_build(&text(&build, "id"));
    let job = text(&build["jobs"][0], "id");
    let log = String::from_utf8(server.api().raw_log(&job)).unwrap();
    assert_eq!(text(&build, "status"), "success", "{build}\n{log}");
    let left_out = "registry.example,localhost,127.0.0.1,::1,side";
    let by = format!("by http://***@{}:{}\n", gateway(), proxy.port);
    let found = "refs/heads/main\n";
    assert!(log.contains(&format!("job here job {left_out}\n{found}answer 200\n{by}")), "{log}");
    assert!(log.contains(&format!("own here\n{found}")), "{log}");
    assert!(log.contains(&format!("side here operator {left_out}\n-----BEGIN CERTIFICATE-----\n")), "{log}");
    // Nor in the form in which it is sent: `p@ss-w0rd` in base64.
    assert!(!log.contains("cEBzcy13MHJk"), "{log}");
    assert!(!log.contains("w0rd-of-all") && !server.log().contains("w0rd-of-all"), "{log}");
    assert!(proxy.asked().len() >= git_asked.len() + 3, "{:?}", proxy.asked());
}
