//! A proxy for the engine's socket. It holds a call at a chosen moment, so that the server can be killed there, cuts
//! all connections, or loses an answer.
//!
//! The server opens a connection for each call, so a connection is a call.

use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

/// What the proxy does to the next matching call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trick {
    /// Hold the call before it reaches the engine.
    HoldBefore,
    /// Hold the answer of the engine.
    HoldAfter,
    /// Drop the answer of the engine, and close the connection.
    LoseAnswer,
}

struct Rule {
    /// `POST /start`: the method and how the path ends.
    call: (&'static str, &'static str),
    trick: Trick,
    met: Sender<()>,
}

#[derive(Default)]
struct State {
    rule: Option<Rule>,
    open: Vec<UnixStream>,
    /// Whether nothing passes and nothing is closed, like an engine that hangs.
    frozen: bool,
    /// The delay before each piece, like a slow engine.
    delay: Duration,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    thawed: Condvar,
}

/// A running proxy. Its threads end with the program.
pub struct Proxy {
    dir: tempfile::TempDir,
    shared: Arc<Shared>,
}

impl Proxy {
    pub fn before(engine: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(dir.path().join("docker.sock")).expect("a socket");
        let engine = PathBuf::from(engine.trim_start_matches("unix://"));
        let shared = Arc::<Shared>::default();
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (engine, shared) = (engine.clone(), Arc::clone(&of_thread));
                std::thread::spawn(move || carry(client, &engine, &shared));
            }
        });
        Self { dir, shared }
    }

    pub fn host(&self) -> String {
        format!("unix://{}", self.dir.path().join("docker.sock").display())
    }

    /// Applies the trick to the next matching call. Returns a channel that gets a message when that happens.
    pub fn trick(&self, call: (&'static str, &'static str), trick: Trick) -> Receiver<()> {
        let (met, told) = channel();
        self.state().rule = Some(Rule { call, trick, met });
        told
    }

    /// Passes everything unchanged again.
    pub fn honest(&self) {
        let mut state = self.state();
        state.rule = None;
        state.frozen = false;
        state.delay = Duration::ZERO;
        self.shared.thawed.notify_all();
    }

    /// Lets nothing pass until [`Proxy::honest`].
    pub fn freeze(&self) {
        self.state().frozen = true;
    }

    /// Delays every piece by this much until [`Proxy::honest`].
    pub fn slow(&self, delay: Duration) {
        self.state().delay = delay;
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.state.lock().expect("state")
    }

    /// Closes all connections.
    pub fn cut(&self) {
        for open in std::mem::take(&mut self.state().open) {
            let _ = open.shutdown(Shutdown::Both);
        }
    }
}

fn carry(mut client: UnixStream, engine: &PathBuf, shared: &Arc<Shared>) {
    let Ok(mut engine) = UnixStream::connect(engine) else { return };
    let mut head = vec![0; 4096];
    let Ok(count) = client.read(&mut head) else { return };
    let line = String::from_utf8_lossy(&head[..count]).lines().next().unwrap_or_default().to_owned();
    let rule = {
        let mut state = shared.state.lock().expect("state");
        for side in [&client, &engine] {
            state.open.extend(side.try_clone());
        }
        let met = state.rule.as_ref().is_some_and(|rule| is(&line, rule.call));
        if met { state.rule.take() } else { None }
    };
    if let Some(Rule { trick: Trick::HoldBefore, met, .. }) = &rule {
        let _ = met.send(());
        until_gone(&mut client);
        return;
    }
    if engine.write_all(&head[..count]).is_err() {
        return;
    }
    let (mut from_client, mut to_engine) = (client.try_clone().expect("cloned"), engine.try_clone().expect("cloned"));
    let of_thread = Arc::clone(shared);
    std::thread::spawn(move || {
        pass(&mut from_client, &mut to_engine, &of_thread);
        let _ = to_engine.shutdown(Shutdown::Write);
    });
    if let Some(Rule { trick, met, .. }) = rule {
        let mut answer = [0; 4096];
        let _ = engine.read(&mut answer);
        let _ = met.send(());
        if trick == Trick::HoldAfter {
            until_gone(&mut client);
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = engine.shutdown(Shutdown::Both);
        return;
    }
    pass(&mut engine, &mut client, shared);
    let _ = client.shutdown(Shutdown::Both);
}

/// Copies to the end, with the proxy's delay.
fn pass(from: &mut UnixStream, to: &mut UnixStream, shared: &Shared) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        let state = shared.state.lock().expect("state");
        let state = shared.thawed.wait_while(state, |state| state.frozen).expect("state");
        let delay = state.delay;
        drop(state);
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        if to.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}

fn is(line: &str, (method, end): (&str, &str)) -> bool {
    let mut words = line.split(' ');
    let said = words.next();
    let path = words.next().unwrap_or_default().split('?').next().unwrap_or_default();
    said == Some(method) && (path.ends_with(end) || end.ends_with('/') && path.contains(end))
}

/// Waits until the client closes the connection. (Another thread reads what the client still sends.)
fn until_gone(client: &mut UnixStream) {
    let _ = std::io::copy(client, &mut std::io::sink());
}
