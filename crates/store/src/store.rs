//! Opens a data folder: lock, database, migrations, log files. A [`Store`] is a cheap handle that everyone clones.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use longshore_core::Slots;
use longshore_files::{FilesError, artifacts::Blobs, folder, lock, logs::Logs};
use sqlx::{
    Sqlite, SqlitePool, Transaction,
    pool::PoolOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::sync::{Mutex, Notify, broadcast, watch};

use crate::{
    Change, Feed, StoreError, WriteTx,
    audit::{self, Pending},
    changes,
    identity::{self, Identity},
    migrations,
    secrets::SecretKey,
    settings,
};

/// Connections that read at once; further readers wait. Each idle connection costs memory, so they are few and close
/// when unused.
const READ_CONNECTIONS: u32 = 4;
/// The same of `longshore run`: each reads the schema when it opens, which takes longer than to wait for another.
const READ_CONNECTIONS_OF_A_RUN: u32 = 2;
const READER_IDLE: Duration = Duration::from_secs(60);
/// The page cache of each connection, in KiB (SQLite's own default is 2,000).
const CACHE_KIB: &str = "-1000";
/// How long we wait for another program (a backup, a person with `sqlite3`); we never wait for ourselves.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a writer waits for its turn. A longer wait means that a transaction is stuck, which is our error.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(300);
/// How many changes a slow subscriber may be behind before it has to read everything again.
const CHANGES_BUFFERED: usize = 1024;

/// A data folder, opened: the database and the log files.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    data_dir: PathBuf,
    instance: String,
    copy_of: Option<String>,
    readers: SqlitePool,
    writer: SqlitePool,
    /// Held from BEGIN until the commit has been announced, so that cursors are announced in order.
    pub(crate) queue: Arc<Mutex<()>>,
    pub(crate) cursor: watch::Sender<u64>,
    pub(crate) changes: broadcast::Sender<Change>,
    /// Counts commits that added to the audit log.
    pub(crate) audited: watch::Sender<u64>,
    /// Wakes the outbox of commit statuses.
    pub(crate) commit_statuses_added: Notify,
    /// Wakes the outbox of notifications.
    pub(crate) notices_added: Notify,
    /// Wakes the outbox of comments.
    pub(crate) comments_added: Notify,
    pub(crate) logs: Logs,
    blobs: Blobs,
    /// The operator's key, if one was given.
    secret_key: OnceLock<SecretKey>,
    /// The labels of this server, if jobs may ask for labels.
    labels: OnceLock<BTreeMap<String, String>>,
    slots: OnceLock<Slots>,
    /// The address of its pages, if it has any.
    url: OnceLock<String>,
    /// `None` for a folder that several processes have open.
    _lock: Option<File>,
}

/// Whether a folder will be opened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FolderUse {
    Permanent,
    Temporary,
    /// Several processes at once have it open.
    Shared,
}

impl Store {
    /// Opens the data folder and creates what is missing. An error of [`StoreError::Files`] while another server has it
    /// open.
    pub async fn open(data_dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(data_dir, SqliteSynchronous::Normal, FolderUse::Permanent).await
    }

    /// Like [`open`](Self::open), for a folder that is thrown away afterwards (`longshore run`): nothing is forced to
    /// disk, and the key is in no file.
    pub async fn open_ephemeral(dir: &Path) -> Result<Self, StoreError> {
        let store = Self::open_with(dir, SqliteSynchronous::Off, FolderUse::Temporary).await?;
        store.use_secret_key(SecretKey::random());
        Ok(store)
    }

    /// Opens a folder that other processes may have open too: the records of what `longshore run` keeps between runs.
    /// Nothing in it is a job or a secret.
    pub async fn open_shared(dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(dir, SqliteSynchronous::Normal, FolderUse::Shared).await
    }

    async fn open_with(
        data_dir: &Path,
        synchronous: SqliteSynchronous,
        lasting: FolderUse,
    ) -> Result<Self, StoreError> {
        folder::make(data_dir).map_err(|source| StoreError::io(data_dir, source))?;
        let lock = match lasting {
            FolderUse::Permanent | FolderUse::Temporary => Some(lock::take(data_dir)?),
            FolderUse::Shared => None,
        };
        if data_dir.join(folder::RESTORE).exists() {
            return Err(FilesError::UnfinishedRestore(data_dir.to_owned()).into());
        }
        let database = folder::database(data_dir);
        folder::make_database_private(&database).map_err(|source| StoreError::io(&database, source))?;
        let options = SqliteConnectOptions::new()
            .filename(database)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .synchronous(synchronous)
            .pragma("cache_size", CACHE_KIB)
            .pragma("journal_size_limit", "16777216");
        let writer = PoolOptions::<Sqlite>::new()
            .max_connections(1)
            .acquire_timeout(QUEUE_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_with(options.clone().journal_mode(SqliteJournalMode::Wal))
            .await?;
        migrations::run(&writer).await?;
        let readers = PoolOptions::<Sqlite>::new()
            .max_connections(if matches!(lasting, FolderUse::Permanent) {
                READ_CONNECTIONS
            } else {
                READ_CONNECTIONS_OF_A_RUN
            })
            .acquire_timeout(QUEUE_TIMEOUT)
            .idle_timeout(READER_IDLE)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_lazy_with(options.read_only(true));
        let (identity, cursor) = {
            let mut conn = writer.acquire().await?;
            let identity = match lasting {
                FolderUse::Permanent => identity::settle(&mut conn, data_dir).await?,
                FolderUse::Temporary | FolderUse::Shared => {
                    Identity { instance: settings::instance(&mut conn).await?, copy_of: None }
                }
            };
            (identity, changes::last_cursor(&mut conn).await?)
        };
        Ok(Self {
            inner: Arc::new(Inner {
                logs: Logs::new(data_dir.join(folder::LOGS)),
                blobs: Blobs::new(data_dir, matches!(lasting, FolderUse::Permanent)),
                data_dir: data_dir.to_owned(),
                instance: identity.instance,
                copy_of: identity.copy_of,
                readers,
                writer,
                queue: Arc::new(Mutex::new(())),
                cursor: watch::Sender::new(cursor),
                changes: broadcast::Sender::new(CHANGES_BUFFERED),
                audited: watch::Sender::new(0),
                commit_statuses_added: Notify::new(),
                notices_added: Notify::new(),
                comments_added: Notify::new(),
                secret_key: OnceLock::new(),
                labels: OnceLock::new(),
                slots: OnceLock::new(),
                url: OnceLock::new(),
                _lock: lock,
            }),
        })
    }

    /// Begins a write transaction, after waiting for those that came before. Dropping it without [`WriteTx::commit`]
    /// undoes everything.
    pub async fn write(&self) -> Result<WriteTx, StoreError> {
        let turn = Arc::clone(&self.inner.queue).lock_owned().await;
        let tx = match self.begin().await {
            // SQLite ended the previous transaction by itself (it does so when the disk is full). sqlx does not notice
            // that and counts the transaction as open for ever. A new connection starts afresh.
            Err(sqlx::Error::InvalidSavePointStatement) => {
                self.inner.writer.acquire().await?.close().await?;
                self.begin().await?
            }
            begun => begun?,
        };
        let mut tx = WriteTx::new(tx, turn, self.clone());
        if let Some(pending) = Pending::carried() {
            // An object that the request removes is gone when the record is written.
            audit::locate(tx.conn(), &pending).await?;
        }
        Ok(tx)
    }

    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.inner.writer.begin_with("BEGIN IMMEDIATE").await
    }

    /// Returns a receiver of the newest cursor, which wakes for each change. A caller reads again what it shows, then
    /// waits again.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.inner.cursor.subscribe()
    }

    /// Returns a receiver that wakes when the audit log has more records.
    #[must_use]
    pub fn audited(&self) -> watch::Receiver<u64> {
        self.inner.audited.subscribe()
    }

    /// Returns a receiver of every change from now on, as it is committed. On `Lagged`, read again what is shown, or
    /// use a [`Feed`].
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.inner.changes.subscribe()
    }

    /// Waits until a transaction adds statuses to send to forges. Returns at once if one did so before anybody waited.
    /// For one caller.
    pub fn commit_statuses_added(&self) -> impl Future<Output = ()> + '_ {
        self.inner.commit_statuses_added.notified()
    }

    /// Like [`Self::commit_statuses_added`], for messages to people. For one caller.
    pub fn notices_added(&self) -> impl Future<Output = ()> + '_ {
        self.inner.notices_added.notified()
    }

    /// Like [`Self::commit_statuses_added`], for comments on pull requests. For one caller.
    pub fn comments_added(&self) -> impl Future<Output = ()> + '_ {
        self.inner.comments_added.notified()
    }

    /// Returns every change after `cursor` (a client's Last-Event-ID) and then those to come. Without a cursor, only
    /// those to come.
    #[must_use]
    pub fn feed(&self, after: Option<u64>) -> Feed {
        Feed::new(self.clone(), after)
    }

    #[must_use]
    pub fn logs(&self) -> &Logs {
        &self.inner.logs
    }

    /// Returns the bytes of artifacts.
    #[must_use]
    pub fn blobs(&self) -> &Blobs {
        &self.inner.blobs
    }

    /// Returns the instance's name on the engine: 12 hexadecimal digits, generated at the first start on this folder.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.inner.instance
    }

    /// Returns the instance that this folder is a copy of, if this is the first start on the copy.
    #[must_use]
    pub fn copy_of(&self) -> Option<&str> {
        self.inner.copy_of.as_deref()
    }

    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.inner.data_dir
    }

    /// Waits for running statements and closes the database. The lock is released with the last handle.
    pub async fn close(&self) {
        self.inner.readers.close().await;
        self.inner.writer.close().await;
    }

    /// Seals and opens secrets with this key instead of the one in the data folder. Only the first call has an effect.
    pub fn use_secret_key(&self, key: SecretKey) {
        self.inner.secret_key.get_or_init(|| key);
    }

    pub(crate) fn given_secret_key(&self) -> Option<SecretKey> {
        self.inner.secret_key.get().cloned()
    }

    /// Sets the server's labels: jobs whose `runs-on` asks for others wait. Only the first call has an effect. Without
    /// a call, every job may run.
    pub fn use_labels(&self, labels: BTreeMap<String, String>) {
        self.inner.labels.get_or_init(|| labels);
    }

    /// Sets the server's address, for `build.url`. Only the first call has an effect. Without a call, builds have no
    /// address.
    pub fn use_url(&self, url: String) {
        self.inner.url.get_or_init(|| url);
    }

    pub(crate) fn url(&self) -> &str {
        self.inner.url.get().map_or("", String::as_str)
    }

    pub(crate) fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.inner.labels.get()
    }

    /// Sets how many jobs may run at once. Only the first call has an effect. Without a call, any number may run.
    pub fn use_slots(&self, slots: Slots) {
        self.inner.slots.get_or_init(|| slots);
    }

    pub(crate) fn slots(&self) -> Slots {
        self.inner.slots.get().copied().unwrap_or(Slots::NO_LIMIT)
    }

    /// Returns the free bytes and all bytes of the disk with the data folder. `None` if the system does not say.
    #[must_use]
    pub fn disk(&self) -> Option<(u64, u64)> {
        let disk = rustix::fs::statvfs(&self.inner.data_dir).ok()?;
        Some((disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize))
    }

    pub(crate) fn writer(&self) -> &SqlitePool {
        &self.inner.writer
    }

    pub(crate) fn readers(&self) -> &SqlitePool {
        &self.inner.readers
    }
}
