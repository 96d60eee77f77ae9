//! A running guard: its state, and the connections of its clients.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use longshore_guard::audit::Entry;
use longshore_guard::{EngineFacts, Guard, Host, Policy, Refusal, Request, Rule, Table};
use serde_json::Value;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit_file::AuditFile;
use crate::engine::Engine;
use crate::exec_start::ExecStarts;
use crate::handle::{Failure, refusal};
use crate::measured::Measured;
use crate::ports::Publisher;
use crate::still::Turns;
use crate::{Error, body, handle, host};

/// The most connections of clients at a time. Further ones wait.
const CONNECTIONS: usize = 128;
/// The most streams of a job in both directions at a time. Each is a connection to the engine, too.
const STREAMS: usize = 512;
/// The size from which on a body of JSON is a large one, in bytes, and the most of those at a time: what is made of one in
/// memory may take more than ten times as much.
const LARGE_BODY: usize = 32 << 10;
const LARGE_BODIES: usize = 4;
/// The time that a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest head of a request, in bytes.
const LONGEST_HEAD: usize = 128 << 10;

#[derive(Debug, Clone)]
pub struct Options {
    /// The engine's socket.
    pub socket: PathBuf,
    pub policy: Policy,
    /// The file that keeps the table of own objects over a restart.
    pub state: Option<PathBuf>,
    pub audit: Option<PathBuf>,
    /// The file that keeps the instance that a server has named, over a restart of its guard. Only the guard may write
    /// it.
    pub instance: Option<PathBuf>,
    /// The program that a server's guard imports into the engine: its own.
    pub program: PathBuf,
}

impl Options {
    /// Makes the options of a guard that keeps nothing beyond its end.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>, policy: Policy) -> Self {
        Self {
            socket: socket.into(),
            policy,
            state: None,
            audit: None,
            instance: None,
            program: PathBuf::from("/proc/self/exe"),
        }
    }
}

#[derive(Debug)]
pub struct Proxy {
    pub(crate) engine: Engine,
    guard: Mutex<Guard>,
    /// Held while something is created that has a budget: two at a time could both take the rest of it.
    pub(crate) creating: tokio::sync::Mutex<()>,
    pub(crate) turns: Turns,
    /// Held while an image is built: each build has what the job may have of memory and processors.
    pub(crate) building: Arc<tokio::sync::Mutex<()>>,
    /// Held while a job pulls an image.
    pub(crate) pulling: Arc<tokio::sync::Mutex<()>>,
    /// Held while images are measured.
    pub(crate) measured: tokio::sync::Mutex<Measured>,
    /// Held while an image has the name that it is pushed under.
    pub(crate) pushing: Arc<tokio::sync::Mutex<()>>,
    /// Why every request is refused.
    frozen: watch::Sender<Option<String>>,
    /// Why the job ends, each time that it was measured since it is over its budget of the disk.
    pub(crate) over_disk: watch::Sender<Option<String>>,
    audit: Option<Mutex<AuditFile>>,
    state: Option<PathBuf>,
    /// Whether the saved table lacks changes.
    is_unsaved: AtomicBool,
    instance: Option<PathBuf>,
    pub(crate) program: PathBuf,
    connections: Arc<Semaphore>,
    /// Cuts the connections of clients that there are now.
    clients: Mutex<CancellationToken>,
    /// Places for requests with large bodies. Further ones wait.
    large: Arc<Semaphore>,
    /// The streams of a job that may still be opened.
    streams: Arc<Semaphore>,
    pub(crate) exec_starts: ExecStarts,
    pub(crate) publisher: Publisher,
    /// Tasks that outlive their request: streams in both directions.
    pub(crate) tasks: TaskTracker,
}

impl Proxy {
    /// Asks the engine for its version, and reads the saved table.
    ///
    /// # Errors
    /// If the engine cannot be reached or is too old, or a file cannot be used.
    pub async fn connect(options: Options) -> Result<Arc<Self>, Error> {
        let Options { socket, mut policy, state, audit, instance, program } = options;
        if let (Policy::Server(server), Some(path)) = (&mut policy, &instance)
            && let Ok(known) = std::fs::read_to_string(path)
        {
            server.learn(&known);
        }
        let mut engine = Engine { socket: socket.clone(), api: None };
        let version = match engine.get("/version").await {
            Ok(Some(version)) => version,
            Ok(None) => return Err(Error::NotAnEngine { socket, reason: "it knows no /version".to_owned() }),
            Err(reason) => return Err(Error::Away { socket, reason }),
        };
        let info = engine.get("/info").await.map_err(|reason| Error::Away { socket: socket.clone(), reason })?;
        let facts = EngineFacts::read(&version, &info.unwrap_or_default())
            .map_err(|reason| Error::NotAnEngine { socket: socket.clone(), reason })?;
        engine.api = Some(facts.api);
        let host = match &policy {
            Policy::Server(_) => {
                host::look(&engine, &program).await.map_err(|reason| Error::Away { socket, reason })?
            }
            Policy::Job(_) => Host::default(),
        };
        let table = state.as_deref().map(read_table).transpose()?.unwrap_or_default();
        let audit = audit.as_deref().map(AuditFile::open).transpose()?.map(Mutex::new);
        Ok(Arc::new(Self {
            engine,
            exec_starts: ExecStarts::of(&policy),
            frozen: watch::channel(table.conduct().frozen.clone()).0,
            over_disk: watch::channel(None).0,
            guard: Mutex::new(Guard::new(policy, facts, table).on_host(host)),
            creating: tokio::sync::Mutex::default(),
            turns: Turns::default(),
            building: Arc::default(),
            pulling: Arc::default(),
            measured: tokio::sync::Mutex::default(),
            pushing: Arc::default(),
            audit,
            state,
            is_unsaved: AtomicBool::new(false),
            instance,
            program,
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
            clients: Mutex::default(),
            large: Arc::new(Semaphore::new(LARGE_BODIES)),
            streams: Arc::new(Semaphore::new(STREAMS)),
            publisher: Publisher::default(),
            tasks: TaskTracker::new(),
        }))
    }

    /// Listens on a socket with the permissions `mode`.
    ///
    /// # Errors
    /// If somebody listens there already, or the path cannot be used.
    pub async fn listen(path: &Path, mode: u32) -> Result<UnixListener, Error> {
        let unusable = |reason: String| Error::Listen { path: path.to_owned(), reason };
        if path.exists() {
            if UnixStream::connect(path).await.is_ok() {
                return Err(unusable("somebody listens there already".to_owned()));
            }
            std::fs::remove_file(path).map_err(|error| unusable(error.to_string()))?;
        }
        // The socket is renamed into place once it has its permissions: clients that are refused once may not try
        // again.
        let new = path.with_extension("new");
        let _ = std::fs::remove_file(&new);
        let listener = UnixListener::bind(&new).map_err(|error| unusable(error.to_string()))?;
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&new, permissions).map_err(|error| unusable(error.to_string()))?;
        std::fs::rename(&new, path).map_err(|error| unusable(error.to_string()))?;
        Ok(listener)
    }

    /// Serves clients until `stop`, and then cuts their connections.
    pub async fn serve(self: Arc<Self>, listener: UnixListener, stop: CancellationToken) {
        if self.guard().sandbox().is_some() {
            let follow = Arc::clone(&self).follow_containers();
            self.tasks.spawn(self.publisher.stop.clone().run_until_cancelled_owned(follow));
        }
        self.cut_clients(&stop);
        let watch = Arc::clone(&self).watch_disk(stop.clone());
        self.tasks.spawn(stop.clone().run_until_cancelled_owned(watch));
        loop {
            let Ok(place) = Arc::clone(&self.connections).acquire_owned().await else { break };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a client's connection could not be accepted");
                    // Most likely there is no free file descriptor. Some will become free.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (proxy, stop) = (Arc::clone(&self), self.clients().clone());
            self.tasks.spawn(async move {
                tokio::select! {
                    () = proxy.talk(stream, stop.clone()) => {}
                    () = stop.cancelled() => {}
                }
                drop(place);
            });
        }
        self.publisher.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Cuts the connections of clients, with what they read. Those that follow are cut with `stop`.
    pub(crate) fn cut_clients(&self, stop: &CancellationToken) {
        std::mem::replace(&mut *self.clients(), stop.child_token()).cancel();
    }

    fn clients(&self) -> MutexGuard<'_, CancellationToken> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn talk(self: Arc<Self>, stream: UnixStream, stop: CancellationToken) {
        let service = service_fn(move |request| {
            let (proxy, stop) = (Arc::clone(&self), stop.clone());
            async move { Ok::<_, Infallible>(handle::handle(&proxy, request, stop).await) }
        });
        let connection = http1::Builder::new()
            // Clients that have sent everything may close their side and read on.
            .half_close(true)
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(LONGEST_HEAD)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a client's connection broke");
        }
    }

    /// Reads a body of JSON. A large one has a place until its request is answered.
    pub(crate) async fn read_json(&self, body: Incoming) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Refusal> {
        let may_be_large = body.size_hint().upper().is_none_or(|most| most > LARGE_BODY as u64);
        let place = if may_be_large { Arc::clone(&self.large).acquire_owned().await.ok() } else { None };
        let bytes = body::read_request(body).await?;
        let is_large = bytes.len() > LARGE_BODY;
        Ok((bytes, place.filter(|_| is_large)))
    }

    /// Takes a place for a stream in both directions. A server has as many as it has jobs.
    pub(crate) fn place_for_stream(&self) -> Result<Option<OwnedSemaphorePermit>, Refusal> {
        if self.guard().label().is_none() {
            return Ok(None);
        }
        let taken = |_| refusal(Rule::Budget, &format!("the job has {STREAMS} streams open, its most"));
        Arc::clone(&self.streams).try_acquire_owned().map(Some).map_err(taken)
    }

    pub(crate) fn guard(&self) -> MutexGuard<'_, Guard> {
        // No code panics half way through a change while it holds this lock.
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the instance that a server names first, also for a guard that is started again.
    pub(crate) fn learn_instance(&self, request: &Request) {
        let mut guard = self.guard();
        if let (Some(learned), Some(path)) = (guard.learn_instance(request), &self.instance)
            && let Err(error) = std::fs::write(path, learned)
        {
            tracing::error!(%error, path = %path.display(), "the server's instance could not be saved");
        }
    }

    /// Changes the table and saves it.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Guard) -> T) -> T {
        let mut guard = self.guard();
        let before = self.state.as_ref().map(|_| guard.table.clone());
        let result = change(&mut guard);
        if let (Some(path), Some(before)) = (&self.state, before)
            && before != guard.table
        {
            let saved = write_table(path, &guard.table);
            self.is_unsaved.store(saved.is_err(), Ordering::Relaxed);
            if let Err(error) = saved {
                // Objects that the saved table lacks are found by their label when everything is removed.
                tracing::error!(%error, path = %path.display(), "the table of own objects could not be saved");
            }
        }
        result
    }

    /// Makes sure that the table is saved, for what a guard has to know that is started again: who may be in a volume.
    pub(crate) fn saved(&self) -> Result<(), Failure> {
        let guard = self.guard();
        let Some(path) = self.state.as_ref().filter(|_| self.is_unsaved.load(Ordering::Relaxed)) else { return Ok(()) };
        write_table(path, &guard.table)
            .map_err(|error| Failure::engine(format!("the table of own objects cannot be saved: {error}")))?;
        self.is_unsaved.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Notes that a request was refused, which may freeze the client.
    pub(crate) fn note_refusal(&self, refusal: &Refusal, call: &str, at_ms: u64) {
        // Requests for what is not there are frequent and harmless: they are saved with the next change.
        let note = |guard: &mut Guard| guard.note_refusal(refusal, call, at_ms);
        let frozen = match refusal.rule {
            Rule::Foreign | Rule::Frozen => note(&mut self.guard()),
            _ => self.change(note),
        };
        if let Some(reason) = frozen {
            tracing::warn!(reason, "a client is refused everything");
            self.frozen.send_replace(Some(reason));
        }
    }

    /// Waits until every request is refused, and returns why.
    pub async fn frozen(&self) -> String {
        match self.frozen.subscribe().wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Returns a receiver of the reason why the job has to end, because what it writes is over its budget of the disk. The
    /// reason is sent again and again.
    #[must_use]
    pub fn over_disk(&self) -> watch::Receiver<Option<String>> {
        self.over_disk.subscribe()
    }

    /// Writes an entry to the audit log.
    pub(crate) fn record(&self, entry: Entry) -> std::io::Result<()> {
        match &self.audit {
            Some(audit) => audit.lock().unwrap_or_else(PoisonError::into_inner).append(entry),
            None => Ok(()),
        }
    }

    /// Writes what waits for the audit log. No request is carried out while something does.
    pub(crate) fn record_waiting(&self) -> std::io::Result<()> {
        match &self.audit {
            Some(audit) => audit.lock().unwrap_or_else(PoisonError::into_inner).write_waiting(),
            None => Ok(()),
        }
    }

    /// Removes containers from the table that no longer exist on the engine, and notes which execs have ended.
    pub(crate) async fn forget_gone(&self) -> Result<(), String> {
        let asked = self.guard().table.container_ids();
        let Some(label) = self.guard().label() else { return Ok(()) };
        let exist: BTreeSet<String> =
            self.list_by_label("/containers/json?all=1&", &label, "Id").await?.into_iter().collect();
        self.change(|guard| guard.table.keep_containers(&asked, &exist));
        let open = self.guard().table.open_execs();
        for id in open {
            let exec = self.engine.get(&format!("/exec/{id}/json")).await?;
            // One that was never started may still be.
            if exec.is_none_or(|exec| exec["Running"] == false && exec["ExitCode"].is_number()) {
                self.change(|guard| guard.table.end_exec(&id));
            }
        }
        Ok(())
    }

    /// Returns the containers with the client's label, as the engine lists them.
    pub(crate) async fn own_containers(&self) -> Result<Vec<Value>, String> {
        let Some(label) = self.guard().label() else { return Ok(Vec::new()) };
        self.listed_by_label("/containers/json?all=1&", &label).await
    }

    /// Returns the ids or names of the objects with a label.
    pub(crate) async fn list_by_label(&self, list: &str, label: &str, key: &str) -> Result<Vec<String>, String> {
        let items = self.listed_by_label(list, label).await?;
        Ok(items.iter().filter_map(|item| item.get(key)?.as_str().map(str::to_owned)).collect())
    }

    async fn listed_by_label(&self, list: &str, label: &str) -> Result<Vec<Value>, String> {
        // The label consists of our own characters, of which only this one has to be encoded.
        let label = label.replace('=', "%3D");
        let path = format!("{list}filters=%7B%22label%22%3A%5B%22{label}%22%5D%7D");
        let answer = self.engine.get(&path).await?.unwrap_or_default();
        Ok(match answer {
            Value::Object(mut volumes) => volumes.get_mut("Volumes").and_then(Value::as_array_mut).map(std::mem::take),
            Value::Array(items) => Some(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        }
        .unwrap_or_default())
    }
}

fn read_table(path: &Path) -> Result<Table, Error> {
    let unusable = |reason: String| Error::File { path: path.to_owned(), reason };
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| unusable(error.to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Table::default()),
        Err(error) => Err(unusable(error.to_string())),
    }
}

fn write_table(path: &Path, table: &Table) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    std::fs::write(&beside, serde_json::to_vec(table)?)?;
    std::fs::rename(&beside, path)
}
