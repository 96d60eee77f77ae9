//! Published ports, and the networks of the job.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::world::{BUSYBOX, World, engine};

/// Requests a page of a web server that may still be starting.
fn get(port: u16) -> String {
    let until = Instant::now() + Duration::from_secs(300);
    loop {
        let mut answer = String::new();
        let asked = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
            stream.write_all(b"GET /x HTTP/1.0\r\n\r\n")?;
            stream.read_to_string(&mut answer)
        });
        if asked.is_ok() && answer.contains("200 OK") {
            return answer.lines().last().unwrap_or_default().to_owned();
        }
        assert!(Instant::now() < until, "{asked:?} {answer}");
        std::thread::yield_now();
    }
}

fn refuses(port: u16) {
    let until = Instant::now() + Duration::from_secs(300);
    while TcpStream::connect(("127.0.0.1", port)).is_ok() {
        assert!(Instant::now() < until, "the port {port} still listens");
        std::thread::yield_now();
    }
}

const SERVE: &str = "mkdir -p /www; echo served > /www/x; exec httpd -f -p 8000 -h /www";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn published_ports_answer_on_localhost_alone_and_while_their_container_runs() {
    let world = World::new(true).await;
    world.ok(&["run", "-d", "--name", "web", "-p", "8000", BUSYBOX, "sh", "-c", SERVE]);
    let shown = world.ok(&["port", "web", "8000/tcp"]);
    let port: u16 = shown.strip_prefix("127.0.0.1:").unwrap_or_else(|| panic!("{shown}")).parse().unwrap();
    assert_eq!(get(port), "served");
    assert!(world.ok(&["ps", "--format", "{{.Ports}}"]).contains(&format!("127.0.0.1:{port}->8000/tcp")));
    let on_engine = world.ok(&["ps", "-q", "--no-trunc"]);
    assert_eq!(
        engine(&["inspect", "-f", "{{.HostConfig.PortBindings}}", &on_engine]),
        "map[]",
        "the host publishes nothing"
    );

    // A port that is in use is an error when the container starts.
    let taken = world.docker(&["run", "-d", "--name", "second", "-p", &format!("{port}:8000"), BUSYBOX, "sleep", "60"]);
    let text = String::from_utf8_lossy(&taken.stderr).into_owned();
    assert!(!taken.status.success() && text.contains("port is already allocated"), "{text}");
    world.ok(&["rm", "-f", "second"]);
    world.ok(&["stop", "-t", "0", "web"]);
    refuses(port);
    // A restarted container gets the same port again. A port that was chosen by number is free at once.
    world.ok(&["run", "-d", "--name", "third", "-p", &format!("{port}:8000"), BUSYBOX, "sh", "-c", SERVE]);
    assert_eq!(get(port), "served");
    world.ok(&["restart", "-t", "0", "third"]);
    assert_eq!(get(port), "served");
    world.ok(&["start", "web"]);
    let again = world.ok(&["port", "web", "8000/tcp"]);
    assert_ne!(again, format!("127.0.0.1:{port}"));
    world.ok(&["rm", "-f", "third"]);
    refuses(port);
    // A container that removes itself frees its port.
    world.ok(&["run", "--rm", "-p", &format!("{port}:1"), BUSYBOX, "true"]);
    refuses(port);
    world.ok(&["run", "-d", "--expose", "8000", "-P", "--name", "all", BUSYBOX, "sh", "-c", SERVE]);
    let shown = world.ok(&["port", "all", "8000/tcp"]);
    assert_eq!(get(shown.rsplit(':').next().unwrap().parse().unwrap()), "served");
    world.refused(&["run", "-d", "-p", "53:53/sctp", BUSYBOX, "true"], "publish");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_job_is_on_every_network_of_its_own() {
    let world = World::new(true).await;
    let sandbox = world.sandbox.clone().unwrap();
    world.ok(&["network", "create", "own"]);
    world.ok(&["run", "-d", "--name", "web", "--network", "own", "-p", "8000", BUSYBOX, "sh", "-c", SERVE]);
    let shown = world.ok(&["port", "web", "8000/tcp"]);
    assert_eq!(get(shown.rsplit(':').next().unwrap().parse().unwrap()), "served");
    let from_job = engine(&["exec", &sandbox, "wget", "-q", "-O", "-", "http://web:8000/x"]);
    assert_eq!(from_job, "served", "names resolve in the job");
    assert!(!world.ok(&["network", "inspect", "own"]).contains("sandbox"), "what is ours is not seen");
    let in_use = world.docker(&["network", "rm", "own"]);
    assert!(String::from_utf8_lossy(&in_use.stderr).contains("active endpoints"));
    assert_eq!(engine(&["exec", &sandbox, "wget", "-q", "-O", "-", "http://web:8000/x"]), "served", "and it stays");
    world.ok(&["rm", "-f", "web"]);
    world.ok(&["network", "rm", "own"]);
    assert_eq!(world.objects(), Vec::<String>::new());
    world.end().await;
}

/// An image with Python, made by `scripts/images.sh`.
const PYTHON: &str = "longshore/debian:bookworm";
/// Answers each datagram with what was sent, and "back" before it.
const ECHO: &str = "
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(('', 5300))
while True:
    text, client = server.recvfrom(65535)
    server.sendto(b'back ' + text, client)
";

/// Sends a text until it comes back: a datagram may be lost. What was sent more than once may come back later, too, and
/// to nobody else.
fn comes_back(client: &UdpSocket, text: &str) {
    client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let until = Instant::now() + Duration::from_secs(300);
    let mut answer = [0; 1000];
    loop {
        assert!(Instant::now() < until, "{text} does not come back");
        // An error is that of an earlier datagram.
        let _ = client.send(text.as_bytes());
        if let Ok(length) = client.recv(&mut answer) {
            let answer = String::from_utf8_lossy(&answer[..length]);
            if answer == format!("back {text}") {
                return;
            }
            assert_eq!(answer.split(' ').nth(1), text.split(' ').next(), "{answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_udp_port_answers_each_client_while_its_container_runs() {
    let images = serde_json::json!({ "images": [BUSYBOX, PYTHON] });
    let world = World::having(true, &images, None).await;
    world.ok(&["run", "-d", "--name", "echo", "-p", "5300/udp", PYTHON, "python3", "-c", ECHO]);
    let shown = world.ok(&["port", "echo", "5300/udp"]);
    assert!(world.ok(&["ps", "--format", "{{.Ports}}"]).contains(&format!("{shown}->5300/udp")));
    let client = || {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(&shown).unwrap();
        client
    };
    let (first, second) = (client(), client());
    for turn in 0..3 {
        comes_back(&first, &format!("first {turn}"));
        comes_back(&second, &format!("second {turn}"));
    }
    // More than are remembered at once: the silent ones make room.
    for number in 0..600 {
        comes_back(&client(), &format!("client {number}"));
    }
    comes_back(&first, "first again");
    world.ok(&["stop", "-t", "0", "echo"]);
    let until = Instant::now() + Duration::from_secs(300);
    while UdpSocket::bind(&shown).is_err() {
        assert!(Instant::now() < until, "the port still listens");
        std::thread::yield_now();
    }
    world.ok(&["rm", "echo"]);
    world.end().await;
}
