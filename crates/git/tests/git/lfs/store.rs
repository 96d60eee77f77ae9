//! A store of Git LFS whose answers are a test's.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use sha2::{Digest as _, Sha256};

/// A store's answer to a question or a download.
pub(super) type Answer = Box<dyn Fn(&Asked) -> (u16, Vec<(String, String)>, Vec<u8>) + Send>;

/// One request.
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) authorization: String,
    pub(super) host: String,
    pub(super) body: Vec<u8>,
}

/// A host over HTTP whose answers are a test's.
pub(super) struct Store {
    pub(super) address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, String)>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Store {
    pub(super) fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, stop) = (Arc::<Mutex<Vec<_>>>::default(), Arc::new(AtomicBool::new(false)));
        let (seen, stopped) = (Arc::clone(&asked), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let stream = stream.unwrap();
                let Some(request) = read(&stream) else { continue };
                seen.lock().unwrap().push((request.path.clone(), request.authorization.clone()));
                let (status, headers, body) = answer(&request);
                let mut head =
                    format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                // It does not matter if the client has had enough.
                let _ = (&stream).write_all(&[head.as_bytes(), b"\r\n", &body].concat());
            }
        });
        Self { address, asked, stop, thread: Some(thread) }
    }

    pub(super) fn asked(&self) -> Vec<(String, String)> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().unwrap().join();
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
            None => break,
        };
    }
    let mut body = vec![0; headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let header = |name: &str| headers.get(name).cloned().unwrap_or_default();
    Some(Asked { path, authorization: header("authorization"), host: header("host"), body })
}

pub(super) fn oid(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

pub(super) fn pointer(content: &[u8]) -> String {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n", oid(content), content.len())
}

/// Offers every object at `<href>/<oid>`.
pub(super) fn offers(asked: &Asked, href: &str) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let question: serde_json::Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!(question["operation"], "download");
    let objects: Vec<_> = question["objects"].as_array().unwrap().iter().map(|object| {
        let oid = object["oid"].as_str().unwrap();
        serde_json::json!({ "oid": oid, "size": object["size"], "actions": { "download": { "href": format!("{href}/{oid}"), "header": { "X-Key": "k" } } } })
    }).collect();
    (200, vec![], serde_json::json!({ "objects": objects }).to_string().into_bytes())
}

/// A store that has these objects.
pub(super) fn honest(contents: Vec<Vec<u8>>) -> Answer {
    Box::new(move |asked| match asked.path.strip_suffix("/objects/batch") {
        Some(base) => offers(asked, &format!("http://{}{base}/o", asked.host)),
        None => match contents.iter().find(|content| asked.path.ends_with(&oid(content))) {
            Some(content) => (200, vec![], content.clone()),
            None => (404, vec![], vec![]),
        },
    })
}
