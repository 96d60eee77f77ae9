//! A proxy on a unix socket in front of the engine's. It counts calls, and can cut every connection. bollard opens one
//! connection for each call, so a connection is a call; the proxy keeps its first line.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub struct Proxy {
    path: PathBuf,
    calls: Calls,
    refusing: Arc<AtomicBool>,
    cut: Arc<Mutex<CancellationToken>>,
    hung: Arc<Mutex<CancellationToken>>,
    stopping: Stopping,
    rewriting: Rewriting,
    /// The oldest API that it lets through, `1.n`.
    oldest: Arc<AtomicU32>,
    stop: CancellationToken,
    _dir: tempfile::TempDir,
}

/// The moment of a call at which the proxy stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before the engine receives it.
    BeforeTheEngine,
    /// After the engine has done it, and before the client gets the answer.
    BeforeTheAnswer,
    /// After the client has received this many bytes of the answer.
    InTheAnswer(u64),
}

/// Method and target of each call.
type Calls = Arc<Mutex<Vec<(String, String)>>>;

/// Pairs of texts: each occurrence of the first is replaced by the second, in every call.
type Rewriting = Arc<Mutex<Vec<(String, String)>>>;

/// The call to stop, the moment, and whom to notify.
type Stopping = Arc<Mutex<Option<Stop>>>;

struct Stop {
    call: String,
    /// How many matching calls pass first.
    passing: usize,
    moment: Moment,
    stopped: oneshot::Sender<()>,
}

impl Proxy {
    /// Starts a proxy in front of the engine at `host` (`unix://…`).
    pub fn before(host: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let proxy = Self {
            path,
            calls: Arc::default(),
            refusing: Arc::default(),
            cut: Arc::default(),
            hung: Arc::default(),
            stopping: Arc::default(),
            rewriting: Arc::default(),
            oldest: Arc::default(),
            stop: CancellationToken::new(),
            _dir: dir,
        };
        let target = PathBuf::from(host.strip_prefix("unix://").unwrap());
        let (calls, refusing, cut, stop) =
            (Arc::clone(&proxy.calls), Arc::clone(&proxy.refusing), Arc::clone(&proxy.cut), proxy.stop.clone());
        let (stopping, hung) = (Arc::clone(&proxy.stopping), Arc::clone(&proxy.hung));
        let (rewriting, oldest) = (Arc::clone(&proxy.rewriting), Arc::clone(&proxy.oldest));
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            while let Ok((client, _)) = listener.accept().await {
                if refusing.load(Ordering::SeqCst) {
                    continue;
                }
                let cut = cut.lock().unwrap().clone();
                let hung = hung.lock().unwrap().clone();
                let rewrite = rewriting.lock().unwrap().clone();
                let front = Front { rewrite, oldest: oldest.load(Ordering::SeqCst) };
                let carried = carry(client, target.clone(), Arc::clone(&calls), Arc::clone(&stopping), hung, front);
                tokio::spawn(cut.run_until_cancelled_owned(carried));
            }
        }));
        proxy
    }

    pub fn host(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    /// Returns the request lines since the last call of this, without version and query.
    pub fn take_calls(&self) -> Vec<String> {
        let calls = self.take_targets().into_iter();
        calls.map(|(method, target)| format!("{method} {}", path_of(&target))).collect()
    }

    /// Returns methods and targets since the last call of this, as sent.
    pub fn take_targets(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    /// Replaces `from` with `to`, which has the same length, in the first 4 KiB of every call and of every answer to a
    /// GET.
    pub fn rewrite(&self, from: &str, to: &str) {
        assert_eq!(from.len(), to.len());
        self.rewriting.lock().unwrap().push((from.to_owned(), to.to_owned()));
    }

    /// From now on refuses calls of an API older than `1.oldest`, as newer engines do.
    pub fn refuse_before(&self, oldest: u32) {
        self.oldest.store(oldest, Ordering::SeqCst);
    }

    /// Closes every open connection.
    pub fn cut(&self) {
        let mut cut = self.cut.lock().unwrap();
        cut.cancel();
        *cut = CancellationToken::new();
    }

    /// Keeps every open connection open, without carrying anything any more.
    pub fn hang(&self) {
        let mut hung = self.hung.lock().unwrap();
        hung.cancel();
        *hung = CancellationToken::new();
    }

    /// Stops the call whose path has this end, after `passing` others, and notifies the caller.
    pub fn stop_at(&self, call: &str, passing: usize, moment: Moment) -> impl Future<Output = ()> + use<> {
        let (stopped, told) = oneshot::channel();
        *self.stopping.lock().unwrap() = Some(Stop { call: call.to_owned(), passing, moment, stopped });
        async { told.await.expect("the proxy lives") }
    }

    /// Whether new connections are closed at once.
    pub fn refuse(&self, refuse: bool) {
        self.refusing.store(refuse, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
        self.cut();
    }
}

/// A target without version and query.
fn path_of(target: &str) -> &str {
    let path = target.split('?').next().unwrap_or_default();
    match path.strip_prefix("/v1.").and_then(|rest| rest.find('/').map(|at| &rest[at..])) {
        Some(unversioned) => unversioned,
        None => path,
    }
}

/// What the proxy does to every call.
struct Front {
    rewrite: Vec<(String, String)>,
    oldest: u32,
}

impl Front {
    /// Returns the answer to a call of an API that is too old.
    fn refusal(&self, target: &str) -> Option<String> {
        let (version, _) = target.strip_prefix("/v1.")?.split_once('/')?;
        let asked: u32 = version.parse().ok()?;
        let text = format!(
            r#"{{"message":"client version 1.{asked} is too old. Minimum supported API version is 1.{}, please upgrade your client to a newer version"}}"#,
            self.oldest
        );
        let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close";
        (asked < self.oldest).then(|| format!("{head}\r\nContent-Length: {}\r\n\r\n{text}", text.len()))
    }
}

async fn carry(
    mut client: UnixStream,
    target: impl AsRef<Path>,
    calls: Calls,
    stopping: Stopping,
    hung: CancellationToken,
    front: Front,
) {
    let rewrite = &front.rewrite;
    let Ok(mut engine) = UnixStream::connect(target).await else { return };
    let mut head = vec![0; 4096];
    let Ok(count) = client.read(&mut head).await else { return };
    replace(&mut head[..count], rewrite);
    let text = String::from_utf8_lossy(&head[..count]).into_owned();
    let mut words = text.lines().next().unwrap_or_default().split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if let Some(refusal) = front.refusal(target) {
        let _ = client.write_all(refusal.as_bytes()).await;
        return;
    }
    let path = path_of(target);
    calls.lock().unwrap().push((method.to_owned(), target.to_owned()));
    let stop = {
        let mut stopping = stopping.lock().unwrap();
        match &mut *stopping {
            Some(stop) if path.ends_with(&stop.call) && stop.passing == 0 => stopping.take(),
            Some(stop) if path.ends_with(&stop.call) => {
                stop.passing -= 1;
                None
            }
            _ => None,
        }
    };
    if let Some(Stop { moment: Moment::BeforeTheEngine, .. }) = stop {
        stop.map(|stop| stop.stopped.send(()));
        return std::future::pending().await;
    }
    if engine.write_all(&head[..count]).await.is_err() {
        return;
    }
    if let Some(Stop { moment: Moment::InTheAnswer(length), stopped, .. }) = stop {
        let (answer, _ask) = engine.split();
        let _ = tokio::io::copy(&mut answer.take(length), &mut client).await;
        let _ = stopped.send(());
        return std::future::pending().await;
    }
    if let Some(Stop { stopped, .. }) = stop {
        // A body may follow its head.
        let (answer, mut ask) = engine.split();
        tokio::select! {
            _ = tokio::io::copy(&mut client, &mut ask) => {}
            _ = answer.readable() => {}
        }
        if answer.readable().await.is_err() {
            return;
        }
        let _ = stopped.send(());
        return std::future::pending().await;
    }
    if method == "GET" && !rewrite.is_empty() {
        let mut answer = vec![0; 4096];
        let Ok(count) = engine.read(&mut answer).await else { return };
        replace(&mut answer[..count], rewrite);
        if client.write_all(&answer[..count]).await.is_err() {
            return;
        }
    }
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut engine) => {}
        () = hung.cancelled() => std::future::pending().await,
    }
}

fn replace(bytes: &mut [u8], rewrite: &[(String, String)]) {
    for (from, to) in rewrite {
        while let Some(at) = bytes.windows(from.len()).position(|window| window == from.as_bytes()) {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
    }
}
