//! A registry on this machine that serves one image to the engine, and can be told to misbehave.
//!
//! Implements the reading half of the registry HTTP API, version 2: a manifest, its blobs, and errors in the API's
//! format.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::engine;

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// The logins that may pull from it.
pub const USER: &str = "robot";
/// Has characters that differ between the two alphabets of base64.
pub const PASSWORD: &str = "horse~~~???battery";
/// The two as a registry is told them.
const BASIC: &str = "Basic cm9ib3Q6aG9yc2V+fn4/Pz9iYXR0ZXJ5";

/// How a registry asks who somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    Nobody,
    /// User and password with every request.
    Basic,
    /// A token, which it gives to anybody, and which is good only with user and password.
    Bearer,
}

/// A registry that runs until the program ends. Removes what was pulled from it when dropped.
pub struct Registry {
    port: u16,
    /// How many of the next requests are answered with "too many requests".
    busy: Arc<AtomicU32>,
    manifest: String,
}

struct Contents {
    manifest: Vec<u8>,
    blobs: Vec<(String, Vec<u8>)>,
}

impl Registry {
    /// Starts a registry that serves the tests' image as `team/app:1` to anybody.
    pub fn start() -> Self {
        Self::start_for(Auth::Nobody)
    }

    /// Serves it to those who say who they are in this way.
    pub fn start_for(auth: Auth) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let contents = Arc::new(contents(port));
        let manifest = digest(&contents.manifest);
        let busy = Arc::new(AtomicU32::new(0));
        let of_thread = Arc::clone(&busy);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (contents, busy) = (Arc::clone(&contents), Arc::clone(&of_thread));
                std::thread::spawn(move || serve(client, &contents, &busy, (auth, port)));
            }
        });
        Self { port, busy, manifest }
    }

    /// Returns the name of the image, or of one that does not exist.
    pub fn image(&self, name: &str) -> String {
        format!("127.0.0.1:{}/team/{name}:1", self.port)
    }

    /// The image's name with its digest in place of the tag.
    pub fn image_by_digest(&self) -> String {
        format!("127.0.0.1:{}/team/app@{}", self.port, self.manifest)
    }

    /// The registry's host and port.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Refuses this many requests because of a rate limit.
    pub fn limit(&self, requests: u32) {
        self.busy.store(requests, Ordering::SeqCst);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = Command::new("docker")
            .args(["--host", &engine::docker_host(), "rmi", "-f", &self.image("app"), &self.image_by_digest()])
            .output();
    }
}

/// Converts the tests' image from the output of `docker save` into a registry's format. What is pulled has an ID of its
/// own: the engine would note the registry at the tests' image too, which other tests use as one that was built here.
fn contents(port: u16) -> Contents {
    let folder = tempfile::tempdir().expect("a folder");
    let tar = folder.path().join("image.tar");
    engine::docker(&["save", "-o", &tar.display().to_string(), engine::BUSYBOX]);
    let unpacked = Command::new("tar").arg("-xf").arg(&tar).arg("-C").arg(folder.path()).status().expect("tar runs");
    assert!(unpacked.success());
    let read = |name: &str| std::fs::read(folder.path().join(name)).expect("in the image");
    let saved: Value = serde_json::from_slice(&read("manifest.json")).expect("JSON");
    let name = |value: &Value| value.as_str().expect("a name").to_owned();
    let mut config: Value = serde_json::from_slice(&read(&name(&saved[0]["Config"]))).expect("JSON");
    config["comment"] = json!(format!("of the registry at port {port}"));
    let config = config.to_string().into_bytes();
    let layers: Vec<Vec<u8>> =
        saved[0]["Layers"].as_array().expect("layers").iter().map(|layer| read(&name(layer))).collect();
    let describe = |kind: &str, data: &[u8]| json!({ "mediaType": kind, "size": data.len(), "digest": digest(data) });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": describe("application/vnd.docker.container.image.v1+json", &config),
        "layers": layers.iter().map(|layer| describe("application/vnd.docker.image.rootfs.diff.tar", layer)).collect::<Vec<_>>(),
    });
    let blobs = layers.into_iter().chain([config]).map(|data| (digest(&data), data)).collect();
    Contents { manifest: manifest.to_string().into_bytes(), blobs }
}

fn digest(data: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(data)))
}

/// One request of a connection, and its end.
fn serve(mut client: TcpStream, contents: &Contents, busy: &AtomicU32, (auth, port): (Auth, u16)) {
    let mut lines = BufReader::new(client.try_clone().expect("cloned")).lines();
    let Some(Ok(first)) = lines.next() else { return };
    let mut said = String::new();
    while let Some(Ok(line)) = lines.next() {
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => value.clone_into(&mut said),
            Some(_) => {}
            None => break,
        }
    }
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let limited =
        path != "/v2/" && busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
    let wanted = match auth {
        Auth::Nobody => None,
        Auth::Basic => Some((BASIC, "Basic realm=\"test\"".to_owned())),
        Auth::Bearer => {
            Some(("Bearer good", format!("Bearer realm=\"http://127.0.0.1:{port}/token\",service=\"test\"")))
        }
    };
    let mut challenge = String::new();
    let (status, kind, body): (&str, &str, Vec<u8>) = if path.starts_with("/token") {
        let token = if said == BASIC { "good" } else { "nobodys" };
        ("200 OK", "application/json", json!({ "token": token }).to_string().into_bytes())
    } else if let Some((_, how)) = wanted.filter(|(good, _)| said != *good) {
        challenge = format!("WWW-Authenticate: {how}\r\n");
        ("401 Unauthorized", "application/json", error("UNAUTHORIZED", "write to mallory@evil.example for access"))
    } else if limited {
        ("429 Too Many Requests", "application/json", error("TOOMANYREQUESTS", "you have reached your pull rate limit"))
    } else if path == "/v2/" {
        ("200 OK", "application/json", b"{}".to_vec())
    } else if path.starts_with("/v2/team/app/manifests/") {
        ("200 OK", MANIFEST, contents.manifest.clone())
    } else if let Some((_, blob)) = contents.blobs.iter().find(|(digest, _)| path.ends_with(digest.as_str())) {
        ("200 OK", "application/octet-stream", blob.clone())
    } else {
        ("404 Not Found", "application/json", error("MANIFEST_UNKNOWN", "ask mallory@evil.example for it"))
    };
    let length = body.len();
    let digest = digest(&body);
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nDocker-Content-Digest: {digest}\r\nDocker-Distribution-Api-Version: registry/2.0\r\n{challenge}Connection: close\r\n\r\n"
    );
    let _ = client.write_all(head.as_bytes());
    if method != "HEAD" {
        let _ = client.write_all(&body);
    }
}

fn error(code: &str, message: &str) -> Vec<u8> {
    json!({ "errors": [{ "code": code, "message": message }] }).to_string().into_bytes()
}
