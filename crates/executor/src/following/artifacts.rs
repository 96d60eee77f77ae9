//! Takes the files that a job leaves from its agent, and passes them to their store.
//!
//! They travel over the job's link beside the log. The bytes under way are limited (`WINDOW`), so the reader of the
//! link never waits for the store, and a slow disk delays files only. One receiver serves all sessions of an attempt.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use longshore_agent_protocol::artifact::{MESSAGE_COST, WINDOW};
use longshore_agent_protocol::{AnnouncedFile, ArtifactWindow, ToAgent};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::AbortOnDropHandle;

/// Where the files that one attempt leaves are stored. Implemented by the program (`longshore`).
pub trait ArtifactStore: Send + Sync {
    /// Opens what this attempt has left so far. Called on a blocking thread.
    ///
    /// # Errors
    /// Those of the disk.
    fn open(&self) -> io::Result<Box<dyn ArtifactWriter>>;
}

/// Stores the files of an attempt, one after the other. Called on blocking threads, one call at a time.
///
/// An error of the kind [`io::ErrorKind::InvalidData`] means that the agent sends what it may not; all others are the
/// disk's, and end the job.
pub trait ArtifactWriter: Send {
    /// Returns how many files need not be sent again: they are stored, or left out.
    fn files(&self) -> u32;

    /// Returns whether all files are stored.
    fn is_complete(&self) -> bool;

    /// Begins the next file, and drops an unfinished one.
    ///
    /// # Errors
    /// See the trait.
    fn begin(&mut self, file: &AnnouncedFile) -> io::Result<()>;

    /// Appends bytes to the file.
    ///
    /// # Errors
    /// See the trait.
    fn write(&mut self, data: &[u8]) -> io::Result<()>;

    /// Ends the file. If it is not `whole`, it is left out.
    ///
    /// # Errors
    /// See the trait.
    fn end(&mut self, whole: bool) -> io::Result<()>;

    /// Makes all files durable: after this, they are the attempt's.
    ///
    /// # Errors
    /// See the trait.
    fn complete(&mut self, files: u32) -> io::Result<()>;
}

/// A message of the agent about its files.
#[derive(Debug)]
pub(crate) enum Piece {
    File(AnnouncedFile),
    Data(Bytes),
    FileEnd { whole: bool },
    End { files: u32 },
}

impl Piece {
    const fn cost(&self) -> u64 {
        let data = if let Self::Data(data) = self { data.len() as u64 } else { 0 };
        MESSAGE_COST + data
    }
}

enum Item {
    Piece(Piece),
    /// A session begins: asks how much the store has.
    Session(oneshot::Sender<Position>),
}

#[derive(Debug, Clone, Copy)]
struct Position {
    file: u32,
    offset: u64,
    complete: bool,
}

/// The files that were stored.
#[derive(Debug, Clone, Default)]
struct Taken {
    /// The bytes of the current session, counted like its limit.
    cost: u64,
    complete: bool,
    failed: Option<Failed>,
}

/// Why the files cannot be stored.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    pub(crate) kind: io::ErrorKind,
    pub(crate) message: String,
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self { kind: error.kind(), message: error.to_string() }
    }
}

/// Takes the files of one attempt.
pub(crate) struct ArtifactReceiver {
    items: mpsc::Sender<Item>,
    taken: watch::Receiver<Taken>,
    /// The current session: the limit, and the bytes that have arrived.
    allowed: AtomicU64,
    arrived: AtomicU64,
    _task: AbortOnDropHandle<()>,
}

impl ArtifactReceiver {
    pub(crate) fn new(store: Arc<dyn ArtifactStore>) -> Self {
        let most = usize::try_from(WINDOW / MESSAGE_COST).unwrap_or(usize::MAX);
        let (items, received) = mpsc::channel(most + 16);
        let (take, taken) = watch::channel(Taken::default());
        let task = tokio::spawn(store_all(store, received, take));
        Self {
            items,
            taken,
            allowed: AtomicU64::new(0),
            arrived: AtomicU64::new(0),
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Passes a message on. An error if the agent sends more than it may.
    pub(crate) fn receive(&self, piece: Piece) -> Result<(), String> {
        let arrived = self.arrived.fetch_add(piece.cost(), Ordering::Relaxed) + piece.cost();
        if arrived > self.allowed.load(Ordering::Relaxed) {
            return Err("it sends more files than it may".to_owned());
        }
        match self.items.try_send(Item::Piece(piece)) {
            // After a failure, which ends the session.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err("it sends more files than it may".to_owned()),
        }
    }

    /// Returns whether something that has arrived is not stored yet, so that the agent may have to wait for us.
    pub(crate) fn is_behind(&self) -> bool {
        self.taken.borrow().cost < self.arrived.load(Ordering::Relaxed)
    }
}

/// The messages to the agent about its files, in one session.
pub(crate) struct ArtifactWords<'a> {
    receiver: Option<&'a ArtifactReceiver>,
    sent: Sent,
    taken: Option<watch::Receiver<Taken>>,
}

/// What was last sent to the agent about its files.
enum Sent {
    Nothing,
    Asked(oneshot::Receiver<Position>),
    Window(u64),
    Stored,
}

impl<'a> ArtifactWords<'a> {
    /// Begins a session. Without a receiver there is nothing to say.
    pub(crate) fn new(receiver: Option<&'a ArtifactReceiver>) -> Self {
        if let Some(receiver) = receiver {
            receiver.allowed.store(0, Ordering::Relaxed);
            receiver.arrived.store(0, Ordering::Relaxed);
        }
        Self { receiver, sent: Sent::Nothing, taken: receiver.map(|receiver| receiver.taken.clone()) }
    }

    /// Returns the next message for the agent, or why the files cannot be stored. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> Result<ToAgent, Failed> {
        let (Some(receiver), Some(taken)) = (self.receiver, &mut self.taken) else {
            return std::future::pending().await;
        };
        loop {
            match &mut self.sent {
                Sent::Nothing => {
                    let (answer, asked) = oneshot::channel();
                    match receiver.items.reserve().await {
                        Ok(permit) => permit.send(Item::Session(answer)),
                        Err(_) => return Err(failure(taken).await),
                    }
                    self.sent = Sent::Asked(asked);
                }
                Sent::Asked(asked) => {
                    let Ok(Position { file, offset, complete }) = asked.await else {
                        return Err(failure(taken).await);
                    };
                    if complete {
                        self.sent = Sent::Stored;
                        return Ok(ToAgent::ArtifactsStored);
                    }
                    receiver.allowed.store(WINDOW, Ordering::Relaxed);
                    self.sent = Sent::Window(WINDOW);
                    return Ok(ToAgent::TakeArtifacts(ArtifactWindow { file, offset, limit: WINDOW }));
                }
                Sent::Window(limit) => {
                    let now = taken.borrow_and_update().clone();
                    if let Some(failed) = now.failed {
                        return Err(failed);
                    }
                    if now.complete {
                        self.sent = Sent::Stored;
                        return Ok(ToAgent::ArtifactsStored);
                    }
                    let wider = now.cost + WINDOW;
                    if wider >= *limit + WINDOW / 4 {
                        *limit = wider;
                        receiver.allowed.store(wider, Ordering::Relaxed);
                        return Ok(ToAgent::ArtifactRoom { limit: wider });
                    }
                    if taken.changed().await.is_err() {
                        return Err(failure(taken).await);
                    }
                }
                Sent::Stored => return std::future::pending().await,
            }
        }
    }
}

/// Returns why the store has ended.
async fn failure(taken: &mut watch::Receiver<Taken>) -> Failed {
    let failed = taken.wait_for(|taken| taken.failed.is_some()).await.ok().and_then(|taken| taken.failed.clone());
    failed.unwrap_or_else(|| Failed::from(io::Error::other("the task that stores them broke off")))
}

/// Stores everything that arrives, until the attempt's end or an error.
async fn store_all(store: Arc<dyn ArtifactStore>, mut items: mpsc::Receiver<Item>, take: watch::Sender<Taken>) {
    let mut storing = Storing { store, writer: None, offset: 0 };
    let mut batch = Vec::new();
    while items.recv_many(&mut batch, 64).await > 0 {
        let pieces = std::mem::take(&mut batch);
        let shared = take.clone();
        let done = tokio::task::spawn_blocking(move || {
            let stored = pieces.into_iter().try_for_each(|item| storing.handle(item, &shared));
            (storing, stored)
        });
        let (returned, stored) = match done.await {
            Ok(done) => done,
            Err(error) => {
                take.send_modify(|taken| taken.failed = Some(io::Error::other(error).into()));
                return;
            }
        };
        storing = returned;
        if let Err(error) = stored {
            take.send_modify(|taken| taken.failed = Some(error.into()));
            return;
        }
    }
}

struct Storing {
    store: Arc<dyn ArtifactStore>,
    /// Opened by the first session.
    writer: Option<Box<dyn ArtifactWriter>>,
    /// Bytes of the unfinished file.
    offset: u64,
}

impl Storing {
    fn handle(&mut self, item: Item, take: &watch::Sender<Taken>) -> io::Result<()> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(self.store.open()?),
        };
        match item {
            Item::Session(answer) => {
                take.send_modify(|taken| taken.cost = 0);
                let complete = writer.is_complete();
                let _ = answer.send(Position { file: writer.files(), offset: self.offset, complete });
            }
            Item::Piece(piece) => {
                let cost = piece.cost();
                match piece {
                    Piece::File(file) => {
                        writer.begin(&file)?;
                        self.offset = 0;
                    }
                    Piece::Data(data) => {
                        writer.write(&data)?;
                        self.offset += data.len() as u64;
                    }
                    Piece::FileEnd { whole } => {
                        writer.end(whole)?;
                        self.offset = 0;
                    }
                    Piece::End { files } => writer.complete(files)?,
                }
                let complete = writer.is_complete();
                take.send_modify(|taken| {
                    taken.cost += cost;
                    taken.complete = complete;
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// Files in memory, behind a gate that a test opens.
    #[derive(Default)]
    struct Shelf {
        stored: Mutex<Vec<(String, Vec<u8>, bool)>>,
        complete: Mutex<bool>,
        gate: Mutex<()>,
    }

    struct OnShelf(Arc<Shelf>, Vec<u8>, String);

    impl ArtifactStore for Arc<Shelf> {
        fn open(&self) -> io::Result<Box<dyn ArtifactWriter>> {
            Ok(Box::new(OnShelf(Arc::clone(self), Vec::new(), String::new())))
        }
    }

    impl ArtifactWriter for OnShelf {
        fn files(&self) -> u32 {
            u32::try_from(self.0.stored.lock().unwrap().len()).unwrap()
        }

        fn is_complete(&self) -> bool {
            *self.0.complete.lock().unwrap()
        }

        fn begin(&mut self, file: &AnnouncedFile) -> io::Result<()> {
            (self.1, self.2) = (Vec::new(), file.path.clone());
            Ok(())
        }

        fn write(&mut self, data: &[u8]) -> io::Result<()> {
            let _open = self.0.gate.lock().unwrap_or_else(PoisonError::into_inner);
            self.1.extend_from_slice(data);
            Ok(())
        }

        fn end(&mut self, whole: bool) -> io::Result<()> {
            self.0.stored.lock().unwrap().push((self.2.clone(), std::mem::take(&mut self.1), whole));
            Ok(())
        }

        fn complete(&mut self, _files: u32) -> io::Result<()> {
            *self.0.complete.lock().unwrap() = true;
            Ok(())
        }
    }

    fn file(path: &str, bytes: u64) -> Piece {
        let (name, path) = ("a".to_owned(), path.to_owned());
        Piece::File(AnnouncedFile { artifact: 0, name, path, bytes, executable: false })
    }

    fn window(message: &ToAgent) -> (u32, u64) {
        let ToAgent::TakeArtifacts(window) = message else { panic!("{message:?}") };
        (window.file, window.offset)
    }

    #[tokio::test]
    async fn a_session_continues_at_the_byte_at_which_the_last_one_was_cut() {
        let shelf = Arc::new(Shelf::default());
        let receiver = ArtifactReceiver::new(Arc::new(Arc::clone(&shelf)));
        let mut words = ArtifactWords::new(Some(&receiver));
        assert_eq!(window(&words.next().await.unwrap()), (0, 0));
        for piece in [file("x", 3), Piece::Data(Bytes::from_static(b"abc")), Piece::FileEnd { whole: true }] {
            receiver.receive(piece).unwrap();
        }
        receiver.receive(file("y", 6)).unwrap();
        receiver.receive(Piece::Data(Bytes::from_static(b"one"))).unwrap();
        let mut words = ArtifactWords::new(Some(&receiver));
        assert_eq!(window(&words.next().await.unwrap()), (1, 3));
        for piece in [Piece::Data(Bytes::from_static(b"two")), Piece::FileEnd { whole: true }, Piece::End { files: 2 }]
        {
            receiver.receive(piece).unwrap();
        }
        assert_eq!(words.next().await.unwrap(), ToAgent::ArtifactsStored);
        let mut words = ArtifactWords::new(Some(&receiver));
        assert_eq!(words.next().await.unwrap(), ToAgent::ArtifactsStored, "a later session is told so too");
        let stored = shelf.stored.lock().unwrap().clone();
        assert_eq!(stored, [("x".into(), b"abc".to_vec(), true), ("y".into(), b"onetwo".to_vec(), true)]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_slow_disk_stops_the_agents_files_and_never_the_reader_of_its_link() {
        let shelf = Arc::new(Shelf::default());
        let receiver = ArtifactReceiver::new(Arc::new(Arc::clone(&shelf)));
        let mut words = ArtifactWords::new(Some(&receiver));
        words.next().await.unwrap();
        let closed = Arc::clone(&shelf);
        let (shut, is_shut) = std::sync::mpsc::channel();
        let (open, opened) = std::sync::mpsc::channel::<()>();
        let keeper = std::thread::spawn(move || {
            let _shut = closed.gate.lock();
            shut.send(()).unwrap();
            opened.recv().unwrap();
        });
        is_shut.recv().unwrap();
        receiver.receive(file("x", WINDOW)).unwrap();
        let chunk = Bytes::from(vec![7; 1 << 16]);
        let mut sent = 0;
        while (sent + 1) * (chunk.len() as u64 + MESSAGE_COST) + MESSAGE_COST <= WINDOW {
            receiver.receive(Piece::Data(chunk.clone())).unwrap();
            sent += 1;
        }
        assert!(receiver.is_behind());
        assert!(receiver.receive(Piece::Data(chunk)).is_err(), "the agent may not send more");
        open.send(()).unwrap();
        keeper.join().unwrap();
        let mut limit = WINDOW;
        while limit < WINDOW * 3 / 2 {
            let ToAgent::ArtifactRoom { limit: wider } = words.next().await.unwrap() else { panic!() };
            assert!(wider > limit);
            limit = wider;
        }
    }
}
