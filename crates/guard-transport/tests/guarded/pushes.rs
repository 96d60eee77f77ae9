//! What others see of an image while a job pushes it, and what is left of a push that breaks off.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, mpsc};

use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::world::{BUSYBOX, World, engine};

/// A registry that lets nobody push, and takes its time to say so.
struct Registry {
    port: u16,
    asked: mpsc::Receiver<()>,
    /// While this is here, it does not answer.
    answers: Option<mpsc::Sender<()>>,
}

impl Registry {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (ask, asked) = mpsc::channel();
        let (answers, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (ask, held) = (ask.clone(), Arc::clone(&held));
                std::thread::spawn(move || serve(client, &ask, &held));
            }
        });
        Self { port, asked, answers: Some(answers) }
    }

    fn image(&self, name: &str) -> String {
        format!("127.0.0.1:{}/team/{name}:1", self.port)
    }

    /// Waits until somebody wants to push.
    fn is_asked(&self) {
        self.asked.recv().unwrap();
    }

    fn refuses(&mut self) {
        self.answers = None;
    }
}

fn serve(mut client: TcpStream, ask: &mpsc::Sender<()>, held: &Mutex<mpsc::Receiver<()>>) {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match client.read(&mut piece) {
            Ok(count) if count > 0 => head.extend_from_slice(&piece[..count]),
            Ok(_) | Err(_) => return,
        }
        // The engine tries TLS first.
        if head[0] == 0x16 {
            return;
        }
    }
    let status = if head.starts_with(b"GET /v2/ ") {
        "200 OK"
    } else {
        let _ = ask.send(());
        let _ = held.lock().unwrap().recv();
        "403 Forbidden"
    };
    let _ = write!(client, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

async fn pusher() -> World {
    World::having(true, &json!({ "push": ["127.0.0.1:*"], "local_images": true }), None).await
}

fn push(world: &World, name: &str) -> Child {
    world.ok(&["tag", BUSYBOX, name]);
    let mut command = world.command("docker");
    command.args(["push", name]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Whether the engine has an image by this name.
fn is_there(name: &str) -> bool {
    !engine(&["images", "-q", name]).is_empty()
}

fn marks(world: &World) -> Vec<String> {
    let listed = engine(&["images", "--format", "{{.Tag}}", &format!("longshore-guard/{}", world.scope)]);
    listed.lines().filter(|tag| tag.starts_with("push-")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_starts_an_image_that_another_job_is_pushing() {
    let mut registry = Registry::start();
    let (name, made_here) = (registry.image("app"), registry.image("made-here"));
    let (world, other) = (pusher().await, pusher().await);
    let pushing = push(&world, &name);
    registry.is_asked();
    assert!(is_there(&name), "during the push");
    let refused = other.docker(&["run", "--rm", &name, "true"]);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && text.contains("pulling images from 127.0.0.1"), "{text}");
    // One that the engine has in earnest is there.
    engine(&["tag", BUSYBOX, &made_here]);
    assert_eq!(other.ok(&["run", "--rm", &made_here, "echo", "twin"]), "twin");
    registry.refuses();
    let pushed = pushing.wait_with_output().unwrap();
    assert!(!pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stdout));
    assert!(!is_there(&name), "after it");
    assert_eq!(marks(&world), [""; 0]);
    engine(&["rmi", &made_here]);
    world.end().await;
    other.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_its_client_leaves_takes_the_name_away_all_the_same() {
    let mut registry = Registry::start();
    let name = registry.image("left");
    let world = pusher().await;
    let mut pushing = push(&world, &name);
    registry.is_asked();
    pushing.kill().unwrap();
    pushing.wait().unwrap();
    registry.refuses();
    while is_there(&name) || !marks(&world).is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_push_leaves_whose_guard_was_killed_goes_with_the_job() {
    let name = "127.0.0.1:9/team/killed:1";
    let world = pusher().await;
    let mark = format!("longshore-guard/{}:push-{}", world.scope, hex::encode(&Sha256::digest(name)[..16]));
    engine(&["tag", BUSYBOX, name]);
    engine(&["tag", BUSYBOX, &mark]);
    world.end().await;
    assert!(!is_there(name) && is_there(BUSYBOX));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_jobs_that_push_under_one_name_each_pushes_its_own_image() {
    let mut registry = Registry::start();
    let name = registry.image("both");
    let (world, other) = (pusher().await, pusher().await);
    let first = push(&world, &name);
    registry.is_asked();
    let pushed = engine(&["images", "-q", "--no-trunc", &name]);
    other.ok(&["tag", "longshore-test/no-shell", &name]);
    let second = other.command("docker").args(["push", &name]).stdout(Stdio::piped()).spawn().unwrap();
    // The second one asks again and again whether it is its turn, and names nothing.
    let mut asked = 0;
    while asked < 3 {
        asked += other.front.heard().iter().filter(|line| line.contains("/images/json?filters=")).count();
        assert_eq!(engine(&["images", "-q", "--no-trunc", &name]), pushed, "the first one pushes");
    }
    registry.refuses();
    for push in [first, second] {
        let ended = push.wait_with_output().unwrap();
        assert!(!String::from_utf8_lossy(&ended.stdout).contains("another image"), "{ended:?}");
    }
    assert!(!is_there(&name) && marks(&world).is_empty() && marks(&other).is_empty());
    world.end().await;
    other.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_cannot_be_taken_from_a_pushed_image_keeps_its_mark_and_goes_with_the_job() {
    let mut registry = Registry::start();
    registry.refuses();
    let name = registry.image("held");
    let world = pusher().await;
    world.front.fail("/team/held:1?noprune", 1);
    assert!(!push(&world, &name).wait_with_output().unwrap().status.success());
    assert!(is_there(&name) && marks(&world).len() == 1, "nobody takes it for an image of that name");
    world.end().await;
    assert!(!is_there(&name));
}
