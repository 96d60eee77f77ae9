//! `longshore serve`: the server.

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use longshore_api::{Api, ApiConfig, EngineProbe};
use longshore_core::{Slots, Timestamp};
use longshore_engine_docker::DockerOptions;
use longshore_executor::{ExecutorOptions, ImageRule, names::Instance};
use longshore_git::{Checkouts, Git, Mirrors};
use longshore_pipeline::image_rules::ImageRules;
use longshore_scheduler::{Logins, Pace, Planner, Scheduler};
use longshore_store::{Store, sealing, secrets, sessions};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sha2::{Digest as _, Sha256};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use super::{
    ExitError,
    admin::{admin_token, describe_admin_token, first_link},
};
use crate::{
    args::Serve,
    boot::Boot,
    checkouts::Sources,
    config::{Config, WhenGuarded, commented_defaults},
    guard_files,
    job_env::JobEnv,
    own_server, proxies,
    runner::JobDefaults,
    separation::{Separation, in_container, separate},
    supervisor::{self, Supervised},
    syslog,
};

/// The number of checkouts that are kept for further jobs of the same commit.
const CHECKOUT_CACHE_BYTES: u64 = 1 << 30;
/// A disk that is full for longer ends jobs. Until then the agents keep their output.
const DISK_PATIENCE: Duration = Duration::from_secs(6 * 60 * 60);
/// How long a checkout waits for space. Shorter than for logs, because nothing can be lost yet.
const CHECKOUT_PATIENCE: Duration = Duration::from_secs(5 * 60);
/// How long the tasks of the server may take after SIGTERM. Jobs keep running in any case.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(800);

pub(crate) fn run(args: Serve) -> super::Result {
    if args.print_config {
        std::io::stdout().write_all(commented_defaults().as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut config = args.settings.resolve(args.config.as_deref())?;
    start_log(&config.log, config.log_json)?;
    let mut unguarded = None;
    if let Some(socket) = &args.behind_guard {
        supervisor::end_with_parent()?;
        config.docker_host = format!("unix://{}", socket.display());
    } else {
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        match guarded(&config, args.config)? {
            Guarded::By(supervised) => return supervised.run(),
            Guarded::Not(reason) => unguarded = reason,
        }
    }
    let runtime = super::runtime()?;
    let ended = runtime.block_on(serve(config, unguarded, args.behind_guard));
    // A blocking call that hangs does not keep the process alive.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ended
}

/// The process that opens the engine's socket.
enum Guarded {
    /// A guard beside this server.
    By(Box<Supervised>),
    /// This server. Where that could be otherwise, the reason why it is not.
    Not(Option<String>),
}

fn guarded(config: &Config, file: Option<PathBuf>) -> anyhow::Result<Guarded> {
    let socket = config.docker_host.strip_prefix("unix://").map(PathBuf::from);
    let is_wanted = config.guard != WhenGuarded::Off;
    let Some(socket) = socket.filter(|_| is_wanted && (config.guard == WhenGuarded::On || in_container())) else {
        return Ok(Guarded::Not(None));
    };
    let authorities =
        ["LONGSHORE_CA_FILE", "SSL_CERT_FILE"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    let files: Vec<PathBuf> = file.into_iter().chain(authorities).filter(|file| !file.as_os_str().is_empty()).collect();
    let mut words = Vec::new();
    if config.guard_raw {
        words.push("--raw".to_owned());
    }
    if let Some(image) = &config.docker.builder {
        words.extend(["--buildkit-image".to_owned(), image.to_string()]);
    }
    if !config.limits.capabilities.is_empty() {
        words.extend(["--capabilities".to_owned(), config.limits.capabilities.join(",")]);
    }
    if !config.subnets.is_empty() {
        let subnets = config.subnets.iter().map(ToString::to_string).collect::<Vec<_>>();
        words.extend(["--subnets".to_owned(), subnets.join(",")]);
    }
    let docker_subnet = config.docker_subnet.map(|range| range.to_string()).unwrap_or_default();
    words.extend(["--docker-subnet".to_owned(), docker_subnet]);
    let supervised = |separation: Option<Separation>, folder| {
        Guarded::By(Box::new(Supervised { socket: socket.clone(), separation, folder, guard: words.clone() }))
    };
    match (separate(config, &socket, &files), config.guard) {
        (Ok(separation), _) => {
            let folder = separation.folder.clone();
            Ok(supervised(Some(separation), folder))
        }
        (Err(reason), WhenGuarded::On) => {
            tracing::warn!("server and guard are one user, and not kept apart: {reason}");
            let folder = tempfile::Builder::new().prefix("longshore-guard-").tempdir()?.keep();
            Ok(supervised(None, folder))
        }
        (Err(reason), WhenGuarded::Auto | WhenGuarded::Off) => Ok(Guarded::Not(Some(reason))),
    }
}

async fn serve(config: Config, unguarded: Option<String>, guard: Option<PathBuf>) -> super::Result {
    use_all_descriptors();
    let shutdown = CancellationToken::new();
    let tasks = TaskTracker::new();
    let store = open_store(&config).await?;
    let admin_token = admin_token(&config)?;
    prepare_secrets(&store).await;

    let (proxies, warnings) = proxies::of_environment();
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let docker = docker_options(&config, &store, &proxies)?;
    let Clients { git, forges, notifications } = Clients::new(&config)?;
    let mirrors = Arc::new(Mirrors::new(git, config.data.join("mirrors")));
    let checkouts = Arc::new(Checkouts::open(config.data.join("checkouts"), CHECKOUT_CACHE_BYTES)?);

    let (order, orders) = mpsc::channel(256);
    let (report, reports) = mpsc::channel(1024);
    let logins = Logins { store: store.clone(), http: forges.clone() };
    let planner = Planner { mirrors: Arc::clone(&mirrors), most_jobs: config.max_jobs, logins: logins.clone() };
    if let Err(error) = longshore_store::sweep_artifacts(&store).await {
        tracing::warn!(%error, "unfinished leftovers of earlier jobs stay until the next start");
    }
    let pace = Pace { capacity: config.capacity, check_every: config.check_every };
    let scheduler = Scheduler::start(store.clone(), planner, pace, order, reports, &tasks, &shutdown);
    let sources = Sources::Mirrors { mirrors, checkouts, logins, patience: CHECKOUT_PATIENCE };
    let boot = Boot {
        store: store.clone(),
        sources,
        job_defaults: Arc::new(job_defaults(&config, proxies)),
        reports: report,
        tasks: tasks.clone(),
        cache_budget: config.cache_budget,
        disk: config.disk,
        unguarded,
        guard,
    };
    let jobs = tasks.spawn(boot.run(docker, executor_options(&config), orders, shutdown.clone()));
    spawn_senders(&config, &store, &forges, &notifications, &tasks, &shutdown);
    spawn_upkeep(&config, &store, &tasks, &shutdown);

    let listener = TcpListener::bind(&config.listen)
        .await
        .map_err(|error| ExitError::new(1, format!("cannot listen on {}: {error}", config.listen)))?;
    let api = Api { store: store.clone(), scheduler, config: api_config(&config, &admin_token, forges, notifications) };
    announce(&config, &store, &admin_token, &listener).await?;
    let served = tasks.spawn(longshore_api::serve(listener, api, shutdown.clone()));

    let refused = tokio::select! {
        requested = shutdown_requested() => { requested?; None }
        ended = jobs => ended?.err(),
    };
    tracing::info!("stopping; jobs keep running, and the next start continues them");
    own_server::retract(&config.data);
    shutdown.cancel();
    tasks.close();
    let _ = tokio::time::timeout(SHUTDOWN_GRACE, async {
        let _ = served.await;
        tasks.wait().await;
        store.close().await;
    })
    .await;
    match refused {
        Some(error) => Err(ExitError::new(1, error.to_string()).into()),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn api_config(
    config: &Config,
    admin_token: &str,
    forges: longshore_forge_client::Http,
    notifications: longshore_notification::Sender,
) -> ApiConfig {
    ApiConfig {
        public_url: config.url.clone(),
        more_hosts: config.hosts.clone(),
        admin_token_hash: Some(Sha256::digest(admin_token.as_bytes()).into()),
        capacity: config.capacity,
        version: env!("CARGO_PKG_VERSION"),
        started_at: Timestamp::now(),
        engine: EngineProbe::new(socket_check(&config.docker_host)),
        forges,
        guard_log: guard_files::AUDIT_LOG.into(),
        notifications,
    }
}

/// Lets commands on this machine find the server, and prints a link to sign in if nobody has signed in yet.
async fn announce(config: &Config, store: &Store, admin_token: &str, listener: &TcpListener) -> anyhow::Result<()> {
    let mut tx = store.write().await?;
    sessions::set_admin_token(&mut tx, admin_token).await?;
    tx.commit().await?;
    if let Some(link) = first_link(store, &config.url).await? {
        let mut err = std::io::stderr().lock();
        writeln!(err, "To sign in, open this link in a browser (works once, within ten minutes):\n\n    {link}\n")?;
        writeln!(err, "`longshore token sign-in` prints a new link. {}\n", describe_admin_token(config))?;
    }
    own_server::announce(&config.data, listener.local_addr()?, config.url.as_str())?;
    let instance = store.instance();
    tracing::info!(listen = config.listen, url = config.url.as_str(), capacity = config.capacity, instance, "ready");
    Ok(())
}

/// Opens the data folder, and tells the store what the settings say about it.
async fn open_store(config: &Config) -> anyhow::Result<Store> {
    let store = Store::open(&config.data).await.map_err(|error| ExitError::new(1, error.to_string()))?;
    // The folder's lock is this server's from here on, and nobody listens yet.
    own_server::retract(&config.data);
    if let Some(other) = store.copy_of() {
        tracing::warn!(
            instance = store.instance(),
            "this data folder is a copy of that of instance {other}: this server now has its own ID and does not touch what that one has on the engine"
        );
    }
    if let Some(key) = config.secret_key.clone() {
        store.use_secret_key(key);
    }
    store.use_labels(config.labels.clone());
    store.use_slots(Slots { all: config.capacity, strangers: config.strangers.capacity });
    store.use_url(config.url.to_string());
    store.blobs().use_patience(DISK_PATIENCE);
    if let Some(object_store) = config.object_store.clone() {
        store.blobs().use_object_store(object_store, store.instance());
    }
    Ok(store)
}

/// Checks the key of the secrets, and encrypts what an older version stored without it. The server starts in any case.
async fn prepare_secrets(store: &Store) {
    if let Err(error) = secrets::check_key(store).await {
        // Jobs without secrets run anyway; the others end with an error that says this.
        tracing::error!(%error, "secrets cannot be used");
    } else if let Err(error) = sealing::seal(store).await {
        tracing::error!(%error, "not everything that an older version stored unencrypted is encrypted yet; the next start tries again");
    }
}

fn docker_options(config: &Config, store: &Store, proxies: &BTreeMap<String, String>) -> anyhow::Result<DockerOptions> {
    let instance = Instance::new(store.instance()).map_err(|error| ExitError::new(1, error.to_string()))?;
    Ok(DockerOptions {
        subnets: config.subnets.clone(),
        docker_subnet: config.docker_subnet,
        denied: config.denied.clone(),
        allowed: proxies::listening_at(proxies.iter().chain(&config.job_env)),
        ..DockerOptions::new(config.docker_host.clone(), instance)
    })
}

fn executor_options(config: &Config) -> ExecutorOptions {
    ExecutorOptions {
        sandboxes_ready: config.sandboxes,
        sandbox_limit: config.sandboxes.max(config.capacity) + 2,
        ..ExecutorOptions::default()
    }
}

/// The clients for git hosts, forges and addresses of notifications, which all know the operator's authorities.
struct Clients {
    git: Git,
    forges: longshore_forge_client::Http,
    notifications: longshore_notification::Sender,
}

impl Clients {
    fn new(config: &Config) -> anyhow::Result<Self> {
        let Some(ca_certificates) = &config.ca_certificates else {
            let tls = ureq::tls::TlsConfig::default();
            return Ok(Self {
                git: Git::default(),
                forges: longshore_forge_client::Http::default(),
                notifications: longshore_notification::Sender::new(tls, config.mail.clone()),
            });
        };
        Ok(Self {
            git: Git::default().with_ca_file(ca_certificates.write(&config.data)?).with_tls(ca_certificates.tls()?),
            forges: longshore_forge_client::Http::new(ca_certificates.tls()?),
            notifications: longshore_notification::Sender::new(ca_certificates.tls()?, config.mail.clone()),
        })
    }
}

fn job_defaults(config: &Config, proxies: BTreeMap<String, String>) -> JobDefaults {
    let for_jobs = config.ca_certificates.as_ref().map(|certificates| certificates.for_jobs().to_owned());
    JobDefaults {
        job_env: JobEnv::new(proxies, config.job_env.clone(), for_jobs.unwrap_or_default()),
        limits: config.limits.clone(),
        limits_of_strangers: config.strangers.limits.clone(),
        pull: config.pull,
        docker: config.docker.clone(),
        images: Some(image_rule(config.images.clone())),
        url: config.url.to_string(),
        disk_patience: DISK_PATIENCE,
        artifact_age: config.artifact_age,
        ..JobDefaults::default()
    }
}

/// Starts the tasks that send what the store owes to forges, to people and to a syslog.
fn spawn_senders(
    config: &Config,
    store: &Store,
    forges: &longshore_forge_client::Http,
    notifications: &longshore_notification::Sender,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) {
    let (store, url) = (|| store.clone(), || config.url.to_string());
    let statuses = longshore_outbox::Statuses { store: store(), http: forges.clone(), url: url() };
    tasks.spawn(statuses.run(shutdown.clone()));
    let comments = longshore_outbox::Comments { store: store(), http: forges.clone(), url: url() };
    tasks.spawn(comments.run(shutdown.clone()));
    let notices = longshore_outbox::Notices { store: store(), sender: notifications.clone(), url: url() };
    tasks.spawn(notices.run(shutdown.clone()));
    if let Some(syslog) = config.audit_syslog.clone() {
        tasks.spawn(syslog::run(store(), syslog, shutdown.clone()));
    }
}

/// Starts the tasks that maintain what is stored: anomalies, retention, packed logs, and the object store.
fn spawn_upkeep(config: &Config, store: &Store, tasks: &TaskTracker, shutdown: &CancellationToken) {
    if config.object_store.is_some() {
        tasks.spawn(crate::offload::run(store.blobs().clone(), shutdown.clone()));
    }
    tasks.spawn(longshore_store::anomalies::run(store.clone(), shutdown.clone()));
    tasks.spawn(longshore_store::retention::run(store.clone(), config.retention, shutdown.clone()));
    let standing = {
        let store = store.clone();
        move |job| {
            let store = store.clone();
            async move { longshore_store::logs::standing(&store, job).await }
        }
    };
    tasks.spawn(longshore_files::logs::pack::run(store.logs().clone(), standing, shutdown.clone()));
}

/// Returns the rule that the executor asks about every image.
fn image_rule(rules: ImageRules) -> ImageRule {
    Arc::new(move |image, addresses| rules.check(image, addresses))
}

/// Raises the limit for open files. Connections and logs are open files, and engines start containers with a soft limit
/// of 1024, though more are allowed.
pub(super) fn use_all_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "at most {} files can be open at once", limit.current.unwrap_or(u64::MAX));
    }
}

async fn shutdown_requested() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Returns a check whether something listens on the engine's socket. It makes no request, so it may be called at any
/// time.
fn socket_check(docker_host: &str) -> impl Fn() -> Option<String> + Send + Sync + 'static {
    let path = docker_host.strip_prefix("unix://").unwrap_or(docker_host).to_owned();
    move || match std::os::unix::net::UnixStream::connect(&path) {
        Ok(_) => None,
        Err(error) => {
            let of_guard = std::fs::read_to_string(guard_files::trouble_file(path.as_ref()));
            Some(of_guard.unwrap_or_else(|_| format!("no response at {path}: {error}")))
        }
    }
}

pub(super) fn start_log(log: &str, json: bool) -> anyhow::Result<()> {
    // bollard logs request bodies, which contain plans, at debug. It stays at info, whatever the setting.
    let filter = EnvFilter::try_new(format!("{log},bollard=info"))
        .with_context(|| format!("log = `{log}` is not a filter: write error, warn, info or debug"))?;
    let colors = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colors);
    let registry = tracing_subscriber::registry().with(filter);
    if json {
        registry.with(lines.json()).try_init()?
    } else {
        registry.with(lines).try_init()?
    }
    Ok(())
}
