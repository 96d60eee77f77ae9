//! A receiver of webhooks on this machine: it keeps the requests, and answers as a test says.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use serde_json::Value;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    pub method: String,
    pub path: String,
    /// With names in lower case.
    pub headers: BTreeMap<String, String>,
    pub raw: Vec<u8>,
    /// Whether it was answered with a success.
    pub taken: bool,
}

impl Received {
    pub fn body(&self) -> Value {
        serde_json::from_slice(&self.raw).expect("JSON")
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// The requests that it has received, and its answers.
#[derive(Debug)]
pub struct State {
    pub received: Vec<Received>,
    /// The status of every answer, and more of its head.
    pub status: u16,
    pub more: String,
    pub text: String,
}

/// A running receiver. Answers until the program ends.
pub struct Receiver {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl Receiver {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(Mutex::new(State {
            received: Vec::new(),
            status: 200,
            more: String::new(),
            text: "ok".to_owned(),
        }));
        let of_thread = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&of_thread);
                std::thread::spawn(move || serve(&client, &state));
            }
        });
        Self { port, state }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with it")
    }

    pub fn answer(&self, status: u16, more: &str, text: &str) {
        let mut state = self.state();
        state.status = status;
        state.more = more.to_owned();
        state.text = text.to_owned();
    }

    /// Returns the requests that were answered with a success.
    pub fn taken(&self) -> Vec<Received> {
        self.state().received.iter().filter(|one| one.taken).cloned().collect()
    }

    /// Returns the messages that were taken, each once: a sender that was killed sends the last one again, under the
    /// same id.
    pub fn messages(&self) -> Vec<Received> {
        let mut known = std::collections::HashSet::new();
        self.taken().into_iter().filter(|one| known.insert(one.header("webhook-id").to_owned())).collect()
    }

    /// Waits until so many requests have been taken, and returns them.
    pub fn wait_for(&self, count: usize) -> Vec<Received> {
        let start = Instant::now();
        loop {
            let taken = self.taken();
            if taken.len() >= count {
                return taken;
            }
            assert!(
                start.elapsed() < Duration::from_secs(600),
                "waited for {count} requests: {:?}",
                self.state().received
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn serve(client: &TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let mut words = line.split(' ');
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut raw = vec![0; length];
        reader.read_exact(&mut raw).ok()?;
        let answer = {
            let mut state = state.lock().ok()?;
            let taken = (200..300).contains(&state.status);
            state.received.push(Received { method, path, headers, raw, taken });
            format!(
                "HTTP/1.1 {} X\r\nContent-Length: {}\r\n{}\r\n{}",
                state.status,
                state.text.len(),
                state.more,
                state.text
            )
        };
        let mut writer = client;
        writer.write_all(answer.as_bytes()).ok()?;
    }
}
