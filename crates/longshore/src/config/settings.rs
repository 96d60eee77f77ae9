//! Defines every setting of `longshore serve`. `settings!` documents the entries. `config.rs` and `strangers.rs` check
//! and apply the values.
//!
//! After a change: `LONGSHORE_BLESS=1 cargo test -p longshore --bin longshore config`, which writes the README's table.

use std::path::PathBuf;

use super::definition::{Table, settings};

/// Returns every table in the order of the printed file.
pub(super) fn tables() -> [Table; 3] {
    [Settings::table(), RetentionSettings::table(), StrangerSettings::table()]
}

settings! {
    Settings => Merged, "":

    /// Where everything is kept: database, logs, mirrors, the first token.
    data: PathBuf ["DIR"] default(PathBuf::from(crate::DEFAULT_DATA));

    /// Address and port to listen on.
    listen: String ["ADDRESS"] default(crate::DEFAULT_LISTEN.to_owned());

    /// The engine's socket.
    docker_host: String ["URL"] default(crate::DEFAULT_DOCKER_HOST.to_owned());

    /// The address that people and forges use; it stands in webhook addresses. It may have a path, such as
    /// `https://example.org/ci`, behind a proxy.
    url: String ["URL"] computed("`http://localhost` and the port of `listen`", "https://ci.example.org");

    /// Authorities of your own, as PEM: git hosts with certificates of theirs are trusted besides those that the system
    /// trusts. Jobs get those of this file, not of `SSL_CERT_FILE`, as a file that their programs trust. The command line
    /// takes it too, for a server behind such a certificate.
    ca_file: PathBuf ["FILE"] computed("what `SSL_CERT_FILE` names, if it is set", "/etc/longshore/ca.pem");

    /// Other names that people reach the server by, such as `ci.lan, longshore.internal`. Pages and the API answer only
    /// to the name in `url`, to these, to IP addresses, to `localhost` and to names without a dot; webhooks, health
    /// checks and `/metrics` answer to any.
    hosts: String ["NAME,..."] computed("none", "ci.lan, longshore.internal");

    /// A token with every scope.
    #[arg(hide_env_values = true)]
    admin_token: String ["TOKEN"] computed("made at the first start, kept in the data folder as `admin-token`", "lsh_...");

    /// The key that secrets are sealed with, 64 hexadecimal digits (`openssl rand -hex 32`).
    #[arg(hide_env_values = true)]
    secret_key: String ["KEY"] computed(
        "made at the first use, kept in the data folder as `secrets.key`",
        "0000000000000000000000000000000000000000000000000000000000000000"
    );

    /// Jobs that run at once.
    capacity: usize ["N"] computed("the number of cores", 4);

    /// The images that jobs, services and steps may use: globs of their names, such as `debian:*, registry.example/team/**`, where a
    /// leading `!` excludes. A registry at an address of the engine's own host (`localhost`, 169.254.169.254) has to be named here, as
    /// in `**, localhost:5000/**`.
    images_allow: String ["GLOB,..."] computed("every image whose registry is not at an address of this host", "debian:*, registry.example/team/**");

    /// Jobs that a build may have, after the matrix.
    max_jobs: usize ["N"] default(longshore_pipeline::limits::JOBS);

    /// When registries are asked for images, where a pipeline does not say so with `pull`: `if-missing`, `always` or `never`.
    pull: String ["WHEN"] default("if-missing".to_owned());

    /// What jobs may ask for with `runs-on`, such as `disk=ssd, zone=dmz`, besides `arch` (amd64, arm64) and `os`
    /// (linux). A job that asks for anything else waits.
    labels: String ["KEY=VALUE,..."] computed("`arch` and `os` of the machine", "disk=ssd, zone=dmz");

    /// Network namespaces kept ready for jobs to come.
    sandboxes: usize ["N"] computed("2, or the capacity where that is less", 2);

    /// The former name of `sandboxes`.
    berths: usize ["N"] renamed("sandboxes");

    /// Memory limit of a job, in MiB; 32 or more.
    job_memory_mib: u64 ["MIB"] computed("nine tenths of the host's memory", 4096);

    /// Variables for every container of every job, `NAME=value`, one a line. They replace those of the image, and the
    /// pipeline's own replace them. Every job can read them, also a fork's pull request: they are no place for secrets.
    #[arg(hide_env_values = true)]
    job_env: String ["NAME=VALUE"] computed("none", "GOPROXY=https://go.example.org");

    /// Processes that a job may have at once; 32 or more.
    job_pids: u64 ["N"] default(4096);

    /// What a job may print, in MiB; it is ended at more. 0 is no limit.
    job_log_mib: u64 ["MIB"] default(1024);

    /// What to log: error, warn, info, debug, or a filter such as `info,longshore_executor=debug`.
    log: String ["FILTER"] default("info".to_owned());

    /// Whether log lines are JSON.
    log_json: bool ["BOOL"] default(false);

    tables {
        retention: RetentionSettings => MergedRetention,
        strangers: StrangerSettings => MergedStrangers,
    }
}

settings! {
    /// What is kept. A build that is over goes, oldest first, with its logs, when it is over any of these limits. The
    /// newest build of a repository is kept whatever its age and size. Nothing else is touched: no build that is not
    /// over, no repository, no mirror.
    RetentionSettings => MergedRetention, "retention":

    /// Days that a build is kept after its end. The newest of each repository stays. 0 is no limit.
    max_age_days: u32 ["N"] default(0);

    /// The newest builds of each repository that are kept. 0 is no limit.
    max_builds_per_repo: u64 ["N"] default(0);

    /// What all logs together may take, in MiB; builds go with their logs, oldest first. 0 is no limit.
    max_log_mib: u64 ["MIB"] default(0);

    /// Days that a webhook's delivery is kept after it became a build or was found to ask for none. 0 is no limit.
    max_delivery_age_days: u32 ["N"] default(90);
}

settings! {
    /// What jobs of pull requests from forks get, approved or not; never more than any job gets.
    StrangerSettings => MergedStrangers, "strangers":

    /// Jobs of forks' pull requests that run at once. 0 lets none run.
    capacity: usize ["N"] computed("half the capacity, at least 1", 1);

    /// Processors of such a job, such as 1.5. 0 is no limit.
    job_cpus: f64 ["N"] default(1.0);

    /// Memory limit of such a job, in MiB. 0 is no limit of its own.
    job_memory_mib: u64 ["MIB"] default(2048);

    /// Processes that such a job may have at once.
    job_pids: u64 ["N"] default(1024);

    /// What such a job's container and its workspace may take of the disk each, in MiB, where the engine's storage can
    /// limit that (overlay2 on xfs with project quotas, btrfs, zfs). 0 is no limit.
    job_disk_mib: u64 ["MIB"] default(10240);

    /// Minutes that such a job may take, whatever its pipeline says. 0 is no limit.
    job_minutes: u64 ["N"] default(30);

    /// What such a job may print, in MiB; it is ended at more. 0 is no limit of its own.
    job_log_mib: u64 ["MIB"] default(64);
}
