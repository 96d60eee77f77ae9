//! Joins the records of caches (`store`) with jobs (`executor`): computes the keys of a job's caches, chooses what it
//! begins with, and records what it saves. Called by the runner. The work beside jobs is in `cache_upkeep`.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use longshore_core::{
    CacheAccess, CacheId, CachePath, ErrorKind, Event, JobId, JobPlan, Outcome, RepoId, Template, Timestamp, cache,
    expression::{Context, Value, Values},
};
use longshore_executor::{CacheRecords, FoundCache, JobCache, JobCaches, names::VolumeName};
use longshore_store::{
    Store, StoreError, WriteTx,
    caches::{self, FoundEntry, Layers, RequestedCache, Saving, Use},
    repos::Repo,
};
use tokio::sync::{Notify, watch};

use crate::{checkouts::Sources, full_disk::retry_while_full, runner::Missing};

/// How long a job waits for entries of its repository that are being saved, and how long one that is saved waits for a
/// full disk. It takes milliseconds.
const SAVE_TIMEOUT: Duration = Duration::from_secs(20);

/// The caches of all jobs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Caches {
    /// Where the records are.
    store: Store,
    /// The repository of the records, if they are a working tree's and not the job's own repository's.
    repo: Option<RepoId>,
    /// What attempts which have ended are about to save.
    saving: Arc<watch::Sender<Vec<SavedKey>>>,
    /// Attempts that use nothing any more, which could not be recorded.
    ended: Arc<Mutex<Vec<(JobId, u32)>>>,
    /// Wakes the upkeep after something was saved, used or removed.
    pub(crate) changed: Arc<Notify>,
    /// How long a job that is about to begin waits for a full disk.
    patience: Duration,
}

/// A key of a scope of a repository.
#[derive(Clone, PartialEq, Eq)]
struct SavedKey {
    repo: RepoId,
    scope: String,
    key: String,
}

/// The attempt whose caches are prepared.
pub(crate) struct CacheRequest<'a> {
    pub(crate) repo: &'a Repo,
    pub(crate) event: &'a Event,
    pub(crate) plan: &'a JobPlan,
    pub(crate) known: &'a BTreeMap<String, Value>,
    pub(crate) job: JobId,
    pub(crate) attempt: u32,
    pub(crate) missing: Missing,
}

impl Caches {
    pub(crate) fn new(store: Store, repo: Option<RepoId>, patience: Duration) -> Self {
        let saving = Arc::new(watch::Sender::new(Vec::new()));
        Self { store, repo, saving, ended: Arc::default(), changed: Arc::default(), patience }
    }

    pub(crate) const fn store(&self) -> &Store {
        &self.store
    }

    fn ended(&self) -> MutexGuard<'_, Vec<(JobId, u32)>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records which attempts have ended, where that was not possible at once.
    pub(crate) async fn record_ended(&self) -> Result<(), StoreError> {
        let ended = self.ended().clone();
        if ended.is_empty() {
            return Ok(());
        }
        let mut tx = self.store.write().await?;
        for (job, attempt) in &ended {
            caches::end(&mut tx, *job, *attempt).await?;
        }
        tx.commit().await?;
        self.ended().retain(|one| !ended.contains(one));
        Ok(())
    }

    /// Chooses what a job's caches begin with. The caches of a job that runs already stay as they were chosen.
    pub(crate) async fn for_job(&self, request: &CacheRequest<'_>, sources: &Sources) -> Result<JobCaches, Outcome> {
        if request.plan.cache.is_empty() {
            return Ok(JobCaches::default());
        }
        let error = |message: String| Outcome::Error { kind: ErrorKind::Expression, message };
        let values = values(request.plan, request.known);
        let mut paths: Vec<Vec<CachePath>> = Vec::new();
        for cache in &request.plan.cache {
            let read = cache.paths.iter().map(|path| read_path(path, &values));
            paths.push(read.collect::<Result<_, _>>().map_err(error)?);
        }
        check_overlaps(&paths).map_err(error)?;
        let access = match self.repo {
            Some(_) => CacheAccess::of_working_tree(request.event),
            None => CacheAccess::of(request.event),
        };
        let repo = self.repo.unwrap_or(request.repo.id);
        let chosen = match request.missing {
            Missing::PassOver => caches::uses(&self.store, request.job, request.attempt).await,
            Missing::Refuse => {
                let keys = self.keys(request, sources, values).await.map_err(error)?;
                self.wait_for_saves(repo, &access.reads, &keys).await;
                let choose = || self.choose(request, repo, &access, &paths, &keys);
                let chosen = retry_while_full(request.job, "its caches to be chosen", self.patience, choose).await;
                // Without its records a job runs as if nothing were cached.
                chosen.or_else(|error| {
                    tracing::error!(job = %request.job, %error, "a job begins with empty caches");
                    let nothing =
                        |(position, (key, _)): (u16, &(String, _))| Use { position, key: key.clone(), found: None };
                    Ok((0..).zip(&keys).map(nothing).collect())
                })
            }
        };
        let chosen = chosen.unwrap_or_else(|error: StoreError| {
            tracing::error!(job = %request.job, %error, "could not use the records of a job's caches; it runs without them");
            Vec::new()
        });
        let wanted = request.plan.cache.iter().zip(paths).zip(chosen).map(|((cache, paths), one)| JobCache {
            found: one.found.and_then(found_cache),
            key: one.key,
            paths,
            shared: cache.shared,
            save: cache.save,
            may_save: access.saves.is_some(),
        });
        let wanted: Vec<JobCache> = wanted.collect();
        let saved = |scope: &String, cache: &JobCache| SavedKey { repo, scope: scope.clone(), key: cache.key.clone() };
        let is_new = |cache: &&JobCache| cache.found.as_ref().is_none_or(|found| found.key != cache.key);
        let records = Records {
            caches: self.clone(),
            saves: access
                .saves
                .iter()
                .flat_map(|scope| wanted.iter().filter(is_new).map(|cache| saved(scope, cache)))
                .collect(),
            job: request.job,
            attempt: request.attempt,
            is_ending: AtomicBool::new(false),
        };
        Ok(JobCaches { wanted, records: Some(Arc::new(records)) })
    }

    /// Computes the keys and their fallbacks.
    async fn keys(
        &self,
        request: &CacheRequest<'_>,
        sources: &Sources,
        values: Values,
    ) -> Result<Vec<(String, Vec<String>)>, String> {
        let mut asking = WithHashes { values, known: HashMap::new(), asked: RefCell::default() };
        let texts = || request.plan.cache.iter().flat_map(|cache| std::iter::once(&cache.key).chain(&cache.fallback));
        // The first round finds out which hashes are needed.
        for text in texts() {
            let _ = text.evaluate(&asking);
        }
        let asked = asking.asked.take();
        for patterns in asked {
            let hash = sources.hash_files(request.repo, request.event, &patterns).await?;
            asking.known.insert(patterns, hash);
        }
        let evaluate = |what: &str, text: &Template| {
            let text = text.evaluate(&asking).map_err(|error| format!("`{what}` of `cache`: {error}"))?;
            cache::check_key(&text).map_err(|why| format!("`{what}` of `cache`: {why}"))?;
            Ok::<_, String>(text)
        };
        request
            .plan
            .cache
            .iter()
            .map(|cache| {
                let fallback = cache.fallback.iter().map(|text| evaluate("fallback", text));
                Ok((evaluate("key", &cache.key)?, fallback.collect::<Result<_, _>>()?))
            })
            .collect()
    }

    async fn choose(
        &self,
        request: &CacheRequest<'_>,
        repo: RepoId,
        access: &CacheAccess,
        paths: &[Vec<CachePath>],
        keys: &[(String, Vec<String>)],
    ) -> Result<Vec<Use>, StoreError> {
        let requested: Vec<RequestedCache> = keys
            .iter()
            .zip(paths)
            .zip(&request.plan.cache)
            .map(|(((key, fallback), paths), cache)| RequestedCache {
                key: key.clone(),
                fallback: fallback.clone(),
                paths: paths.iter().map(ToString::to_string).collect(),
                shared: cache.shared.then(|| new_shared(paths.len())),
            })
            .collect();
        let mut tx = self.store.write().await?;
        let uses =
            caches::begin(&mut tx, repo, (request.job, request.attempt), access, &requested, Timestamp::now()).await?;
        tx.commit().await?;
        Ok(uses)
    }

    /// Waits while what the job wants is being saved by one that has ended: often the one that it needs.
    async fn wait_for_saves(&self, repo: RepoId, scopes: &[String], keys: &[(String, Vec<String>)]) {
        let has_key = |saved: &str| {
            keys.iter().any(|(key, fallback)| key == saved || fallback.iter().any(|prefix| saved.starts_with(prefix)))
        };
        let is_wanted = |saved: &SavedKey| saved.repo == repo && scopes.contains(&saved.scope) && has_key(&saved.key);
        let mut saving = self.saving.subscribe();
        let done = saving.wait_for(|saving| !saving.iter().any(is_wanted));
        let _ = tokio::time::timeout(SAVE_TIMEOUT, done).await;
    }
}

/// New names for the volumes of a shared cache.
fn new_shared(paths: usize) -> Layers {
    let volume = |_| format!("longshore-shared-{}", CacheId::new().short());
    (0..paths).map(|path| vec![volume(path)]).collect()
}

fn found_cache(found: FoundEntry) -> Option<FoundCache> {
    let volume = |name: String| VolumeName::new(name).ok();
    let layers = found.layers.into_iter().map(|path| path.into_iter().map(volume).collect());
    Some(FoundCache { layers: layers.collect::<Option<_>>()?, key: found.key, owner: found.owner, bytes: found.bytes })
}

/// Returns the values that keys may be made of: everything that is known before the job starts, except secrets and what
/// is made of them.
fn values(plan: &JobPlan, known: &BTreeMap<String, Value>) -> Values {
    let mut contexts = plan.known.clone();
    contexts
        .extend(known.iter().filter(|(name, _)| *name != "secrets").map(|(name, value)| (name.clone(), value.clone())));
    let mut values = Values { contexts, progress: None };
    let env: BTreeMap<String, String> =
        plan.env.iter().filter_map(|(name, text)| Some((name.clone(), text.evaluate(&values).ok()?))).collect();
    values.contexts.insert("env".to_owned(), Value::map(env));
    values
}

fn read_path(path: &Template, values: &Values) -> Result<CachePath, String> {
    let text = path.evaluate(values).map_err(|error| format!("`path` of `cache`: {error}"))?;
    CachePath::parse(&text).map_err(|why| format!("`path` of `cache`: `{text}`: {why}"))
}

fn check_overlaps(paths: &[Vec<CachePath>]) -> Result<(), String> {
    let all: Vec<&CachePath> = paths.iter().flatten().collect();
    let clash = all.iter().enumerate().find_map(|(at, path)| {
        let other = all[..at].iter().find(|other| other.overlaps(path))?;
        Some(format!("`cache`: of `{path}` and `{other}`, one is inside the other: remove one of them"))
    });
    clash.map_or(Ok(()), Err)
}

/// Values with hashes of files. A hash that is not known is noted, and empty.
struct WithHashes {
    values: Values,
    known: HashMap<Vec<String>, Result<String, String>>,
    asked: RefCell<BTreeSet<Vec<String>>>,
}

impl Context for WithHashes {
    fn context(&self, name: &str) -> Option<&Value> {
        self.values.context(name)
    }

    fn hash_files(&self, patterns: &[String]) -> Option<Result<String, String>> {
        Some(self.known.get(patterns).cloned().unwrap_or_else(|| {
            self.asked.borrow_mut().insert(patterns.to_vec());
            Ok(String::new())
        }))
    }

    fn has_files(&self) -> bool {
        true
    }
}

/// A change of the records of an attempt's caches, which are named by their place in its plan.
enum Change {
    Owner(u32),
    Lost(usize),
    Save(usize, Layers),
    End,
}

/// The records of one attempt's caches.
struct Records {
    caches: Caches,
    /// The keys that it saves if its job is green.
    saves: Vec<SavedKey>,
    job: JobId,
    attempt: u32,
    /// It counts among those that are about to save.
    is_ending: AtomicBool,
}

impl Records {
    /// Carries out one change. One that fails costs an entry, and no job. Returns whether it is done.
    async fn write(&self, change: Change, patience: Duration, without: &str) -> bool {
        let patience = patience.min(self.caches.patience);
        let written = retry_while_full(self.job, "the records of its caches", patience, || async {
            let mut tx = self.caches.store.write().await?;
            self.carry_out(&mut tx, &change).await?;
            tx.commit().await.map(drop)
        });
        written.await.inspect_err(|error| tracing::error!(job = %self.job, %error, "{without}")).is_ok()
    }

    async fn carry_out(&self, tx: &mut WriteTx, change: &Change) -> Result<(), StoreError> {
        let (job, attempt) = (self.job, self.attempt);
        match change {
            Change::Owner(uid) => caches::set_owner(tx, job, attempt, *uid).await,
            Change::Lost(cache) => caches::lost(tx, job, attempt, position(*cache)).await,
            Change::Save(cache, layers) => {
                match caches::save(tx, (job, attempt), position(*cache), layers, Timestamp::now()).await? {
                    Saving::Saved(id) => tracing::debug!(%job, cache = %id, "saved"),
                    Saving::NotNeeded => tracing::debug!(%job, "another job has saved this key"),
                }
                Ok(())
            }
            Change::End => caches::end(tx, job, attempt).await,
        }
    }

    fn no_longer_ending(&self) {
        if self.is_ending.swap(false, Ordering::Relaxed) {
            self.caches.saving.send_modify(|saving| {
                for key in &self.saves {
                    if let Some(at) = saving.iter().position(|one| one == key) {
                        saving.swap_remove(at);
                    }
                }
            });
        }
    }
}

impl CacheRecords for Records {
    fn owner(&self, uid: u32) -> BoxFuture<'_, ()> {
        let written = self.write(Change::Owner(uid), SAVE_TIMEOUT, "the user of a cache is not recorded");
        Box::pin(written.map(drop))
    }

    fn lost(&self, cache: usize) -> BoxFuture<'_, ()> {
        let written = self.write(Change::Lost(cache), SAVE_TIMEOUT, "a cache whose volumes are gone is still listed");
        Box::pin(written.map(drop))
    }

    fn ending(&self) {
        if !self.is_ending.swap(true, Ordering::Relaxed) {
            self.caches.saving.send_modify(|saving| saving.extend(self.saves.iter().cloned()));
        }
    }

    fn save(&self, cache: usize, layers: Vec<Vec<VolumeName>>) -> BoxFuture<'_, ()> {
        let layers: Layers = layers.iter().map(|path| path.iter().map(ToString::to_string).collect()).collect();
        let without = "a cache is not saved: the next job begins with an older one";
        Box::pin(self.write(Change::Save(cache, layers), SAVE_TIMEOUT, without).map(drop))
    }

    fn ended(&self, own: Vec<VolumeName>) -> BoxFuture<'_, Option<Vec<VolumeName>>> {
        Box::pin(async move {
            let without = "what a job's caches began with counts as used for now";
            if !self.write(Change::End, Duration::ZERO, without).await {
                self.caches.ended().push((self.job, self.attempt));
            }
            self.no_longer_ending();
            self.caches.changed.notify_one();
            let owned = caches::owned(&self.caches.store).await.ok()?;
            Some(own.into_iter().filter(|name| !owned.volumes.contains(name.as_str())).collect())
        })
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        self.no_longer_ending();
    }
}

fn position(cache: usize) -> u16 {
    u16::try_from(cache).unwrap_or(u16::MAX)
}
