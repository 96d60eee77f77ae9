//! Defines every setting of `longshore serve`. `settings!` documents the entries. `config.rs` and `strangers.rs` check
//! and apply the values.
//!
//! After a change: `LONGSHORE_BLESS=1 cargo test -p longshore --bin longshore config`, which writes the README's table.

use std::path::PathBuf;

use super::definition::{Table, settings};

/// Returns every table in the order of the printed file.
pub(super) fn tables() -> [Table; 6] {
    [
        Settings::table(),
        RetentionSettings::table(),
        StrangerSettings::table(),
        CacheSettings::table(),
        DiskSettings::table(),
        S3Settings::table(),
    ]
}

settings! {
    Settings => Merged, "":

    /// Folder for all data: database, logs, mirrors, the first admin token.
    data: PathBuf ["DIR"] default(PathBuf::from(crate::DEFAULT_DATA));

    /// Address and port to listen on.
    listen: String ["ADDRESS"] default(crate::DEFAULT_LISTEN.to_owned());

    /// The Docker engine's socket.
    docker_host: String ["URL"] default(crate::DEFAULT_DOCKER_HOST.to_owned());

    /// Whether a process of its own, the guard, stands between the server and that socket: `on`, `off`, or `auto`,
    /// which is on where the two can be two users: in Longshore's image, started as root.
    guard: String ["WHEN"] default("auto".to_owned());

    /// Whether the guard gives the engine's own socket to jobs that say `docker: raw` and are granted it. Without a
    /// guard they have it anyway.
    guard_raw: bool ["BOOL"] default(false);

    /// The address that people and forges use; it stands in webhook addresses. It may have a path, such as
    /// `https://example.org/ci`, behind a proxy.
    url: String ["URL"] computed("`http://localhost` and the port of `listen`", "https://ci.example.org");

    /// Authorities of your own, as PEM: git hosts with certificates of theirs are trusted besides those that the system
    /// trusts. Jobs get those of this file, not of `SSL_CERT_FILE`, as a file that their programs trust. The command
    /// line takes it too, for a server behind such a certificate.
    ca_file: PathBuf ["FILE"] computed("what `SSL_CERT_FILE` names, if it is set", "/etc/longshore/ca.pem");

    /// The mail server that notifications are sent by: `smtps://USER:PASSWORD@HOST` (TLS),
    /// `smtp+starttls://USER:PASSWORD@HOST`, or `smtp://HOST` without TLS and password. Reserved signs in user and
    /// password are percent-encoded.
    #[arg(hide_env_values = true)]
    smtp_url: String ["URL"] computed("none: no e-mail is sent", "smtps://ci:password@mail.example.org");

    /// The mailbox that e-mail is from.
    smtp_from: String ["MAILBOX"] computed("`longshore@` and the host of `url`", "Longshore <ci@example.org>");

    /// Where the audit log is sent to besides the data folder: `udp://HOST:PORT`, or `unix:///dev/log`; a message of
    /// RFC 5424 for each record.
    audit_syslog: String ["ADDRESS"] computed("none: it is not sent", "udp://log.example.org:514");

    /// Other names that people reach the server by, such as `ci.lan, longshore.internal`. Pages and the API answer only
    /// to the name in `url`, to these, to IP addresses, to `localhost` and to names without a dot; webhooks, health
    /// checks and `/metrics` answer to any.
    hosts: String ["NAME,..."] computed("none", "ci.lan, longshore.internal");

    /// A token with every scope.
    #[arg(hide_env_values = true)]
    admin_token: String ["TOKEN"] computed("created at the first start, stored in the data folder as `admin-token`", "lsh_...");

    /// The key that secrets are encrypted with, 64 hexadecimal digits (`openssl rand -hex 32`).
    #[arg(hide_env_values = true)]
    secret_key: String ["KEY"] computed(
        "created at the first use, stored in the data folder as `secrets.key`",
        "0000000000000000000000000000000000000000000000000000000000000000"
    );

    /// Maximum number of concurrent jobs.
    capacity: usize ["N"] computed("the number of cores", 4);

    /// The images that jobs, services and steps may use: globs of their names, such as
    /// `debian:*, registry.example/team/**`, where a leading `!` excludes. A registry at an address of the engine's own
    /// host (`localhost`, 169.254.169.254, or a name that the server resolves to one) has to be named here, as in
    /// `**, localhost:5000/**`.
    images_allow: String ["GLOB,..."] computed("every image whose registry is not at an address of this host", "debian:*, registry.example/team/**");

    /// Registries that jobs with `docker: true` pull images from and push to, besides those that they have credentials
    /// for. Where `images_allow` is set, only those named here.
    docker_registries: String ["HOST,..."] computed("Docker Hub, ghcr.io, quay.io, gcr.io, registry.k8s.io, mcr.microsoft.com, public.ecr.aws, registry.gitlab.com", "docker.io, registry.example.org");

    /// What the images may take that a job with `docker: true` builds and pulls, in MiB; it gets no more beyond. 0 is
    /// no limit.
    docker_images_max_mib: u64 ["MIB"] default(20480);

    /// What the containers that a job with `docker: true` starts may write to the engine's disk, in MiB: their own files,
    /// all their volumes, and the job's workspace. Beyond it, the job ends with an error. 0 is no limit.
    docker_disk_max_mib: u64 ["MIB"] default(20480);

    /// The image of the builder that a job with `docker: true` has of its own where that is allowed
    /// (`longshore repo docker NAME --buildkit`): rootless BuildKit, such as `moby/buildkit:rootless`. Empty: no job
    /// has a builder, and BuildKit is refused.
    buildkit_image: String ["IMAGE"] computed("none: BuildKit is refused", "moby/buildkit:rootless");

    /// Maximum number of jobs in a build.
    max_jobs: usize ["N"] default(longshore_pipeline::limits::JOBS);

    /// Minutes between two checks of each repository for pushes that no webhook reported, starting when the server
    /// starts. 0 turns the checks off, except by hand: `longshore repo look`, or the button on a repository's
    /// deliveries page.
    look_minutes: u32 ["N"] default(60);

    /// When to pull images, unless a pipeline sets `pull`: `if-missing`, `always` or `never`.
    pull: String ["WHEN"] default("if-missing".to_owned());

    /// What jobs may ask for with `runs-on`, such as `disk=ssd, zone=dmz`, besides `arch` (amd64, arm64) and `os`
    /// (linux). A job that asks for anything else waits.
    labels: String ["KEY=VALUE,..."] computed("`arch` and `os` of the machine", "disk=ssd, zone=dmz");

    /// Number of network namespaces to keep ready for jobs.
    sandboxes: usize ["N"] computed("2, or the capacity where that is less", 2);

    /// The former name of `sandboxes`.
    berths: usize ["N"] renamed("sandboxes");

    /// What jobs may not reach: networks (`10.0.0.0/8`), addresses, `link-local` (where clouds answer with a machine's
    /// credentials) and `host` (the address at which a container finds the engine's host; its other addresses have to
    /// be named). Name servers (port 53) stay in reach. Empty: nothing is denied.
    denied_addresses: String ["NETWORK,..."] default(longshore_core::DeniedAddresses::DEFAULT.to_owned());

    /// The subnet of the jobs' network, such as `10.88.0.0/20`, and one for IPv6 (`10.88.0.0/20, fd00:88::/64`). An
    /// existing network keeps the one that it has.
    network_subnet: String ["SUBNET,..."] computed("one from the engine's address pools", "10.88.0.0/20");

    /// The range of the networks of jobs with Docker. Each such job has 256 addresses of it: one network of its own, and
    /// seven for networks that it makes. Empty, or used up: the engine's address pools, which are enough for about thirty
    /// networks.
    docker_subnet: String ["SUBNET"] default(longshore_guard::JobSubnets::DEFAULT.to_owned());

    /// Memory limit of each container of a job (its own, its services', those of steps with an image), in MiB; 32 or
    /// more.
    job_memory_mib: u64 ["MIB"] computed("nine tenths of the host's memory", 4096);

    /// Variables for every container of every job, `NAME=value`, one per line. They replace those of the image, and the
    /// pipeline's own replace them. Every job can read them, also a fork's pull request: do not put secrets there.
    #[arg(hide_env_values = true)]
    job_env: String ["NAME=VALUE"] computed("none", "GOPROXY=https://go.example.org");

    /// Maximum number of processes in each container of a job; 32 or more.
    job_pids: u64 ["N"] default(4096);

    /// Limits of each process in a job's containers, as `docker run --ulimit` takes them: `nofile` (open files),
    /// `core`, `memlock`, `msgqueue`, `rtprio`, `sigpending`, `stack`, each NAME=SOFT or NAME=SOFT:HARD.
    job_ulimits: String ["NAME=SOFT:HARD,..."] computed("the engine's", "nofile=1024:65536, core=0");

    /// Capabilities of the kernel that jobs may ask for with `capabilities`, beyond those that every job has: some of
    /// AUDIT_WRITE, IPC_LOCK, MKNOD, NET_RAW, SETFCAP, SYS_CHROOT, SYS_NICE. Those of pull requests from forks get
    /// none.
    job_capabilities: String ["NAME,..."] computed("none", "SYS_CHROOT, NET_RAW");

    /// Maximum size of a job's log, in MiB, with 27 bytes for each of its records; the job is stopped beyond it. 0 is
    /// no limit.
    job_log_mib: u64 ["MIB"] default(1024);

    /// Maximum size of a file in an artifact, in MiB. A larger one is not kept, and its job ends as an error.
    artifacts_file_mib: u64 ["MIB"] default(2048);

    /// Maximum size of all artifacts of a job, in MiB, before compression.
    artifacts_job_mib: u64 ["MIB"] default(5120);

    /// Maximum number of files in all artifacts of a job.
    artifacts_files: u32 ["N"] default(20000);

    /// What to log: error, warn, info, debug, or a filter such as `info,longshore_executor=debug`.
    log: String ["FILTER"] default("info".to_owned());

    /// Whether log lines are JSON.
    log_json: bool ["BOOL"] default(false);

    tables {
        retention: RetentionSettings => MergedRetention,
        strangers: StrangerSettings => MergedStrangers,
        cache: CacheSettings => MergedCaches,
        disk: DiskSettings => MergedDisk,
        s3: S3Settings => MergedS3,
    }
}

settings! {
    /// Retention. Finished builds are deleted with their logs, oldest first, when any of these limits is exceeded. The
    /// newest build of a repository is always kept. Nothing else is deleted: no unfinished
    /// build, no repository, no mirror.
    RetentionSettings => MergedRetention, "retention":

    /// Days to keep finished builds. 0 is no limit.
    max_age_days: u32 ["N"] default(0);

    /// Number of builds to keep in each repository, and as many of pull requests from forks. 0 is no limit.
    max_builds_per_repo: u64 ["N"] default(0);

    /// Total size of all logs, in MiB: the repository with the most loses its oldest builds first, and its forks are
    /// counted by themselves. 0 is no limit.
    max_log_mib: u64 ["MIB"] default(0);

    /// Days to keep artifacts whose pipeline has no `expire-in`; never longer than their build. 0 is no limit.
    max_artifact_age_days: u32 ["N"] default(30);

    /// Size limit for all artifacts of a repository in MiB, before compression. Those of pull requests from forks are
    /// deleted first, then the oldest. 0 is no limit.
    max_artifact_mib_per_repo: u64 ["MIB"] default(20480);

    /// Days to keep processed webhook deliveries. 0 is no limit.
    max_delivery_age_days: u32 ["N"] default(90);

    /// Days to keep records of the audit log. 0 is no limit.
    max_audit_age_days: u32 ["N"] default(0);
}

settings! {
    /// Limits for jobs of pull requests from forks, approved or not.
    StrangerSettings => MergedStrangers, "strangers":

    /// Maximum number of concurrent jobs of pull requests from forks. 0 lets none run.
    capacity: usize ["N"] computed("half the capacity, at least 1", 1);

    /// Processors of such a job, such as 1.5. 0 is no limit.
    job_cpus: f64 ["N"] default(1.0);

    /// Memory limit of such a job, in MiB. 0 is no limit of its own.
    job_memory_mib: u64 ["MIB"] default(2048);

    /// Maximum number of processes of such a job.
    job_pids: u64 ["N"] default(1024);

    /// What such a job's container, its workspace and each of its caches may take of the disk, in MiB, where the
    /// engine's storage can limit that (overlay2 on xfs with project quotas, btrfs, zfs). 0 is no limit.
    job_disk_mib: u64 ["MIB"] default(10240);

    /// Timeout of such a job in minutes, whatever its pipeline says. 0 is no limit.
    job_minutes: u64 ["N"] default(30);

    /// Maximum size of such a job's log, in MiB; the job is stopped beyond it. 0 is no limit of its own.
    job_log_mib: u64 ["MIB"] default(64);

    /// Maximum size of all artifacts of such a job, in MiB, before compression. 0 is no limit of its own.
    artifacts_job_mib: u64 ["MIB"] default(1024);
}

settings! {
    /// What jobs keep for the next ones (`cache` in pipelines), on the engine's disk.
    CacheSettings => MergedCaches, "cache":

    /// What the caches of all repositories together may take, in MiB, with the workspaces that are kept for other jobs.
    /// Those that were used longest ago go, and none that a running job uses. 0 is no limit.
    max_mib: u64 ["MIB"] default(20480);
}

settings! {
    /// Room on the engine's disk.
    DiskSettings => MergedDisk, "disk":

    /// Once this many percent of the engine's disk are taken, of its bytes or of its inodes, jobs that should start
    /// wait, and caches, workspaces and images that this server pulled go, those that were used longest ago first.
    /// Nothing of others is removed, and nothing that is in use. 0 turns it off.
    high: u64 ["PERCENT"] default(90);

    /// They go until at most this many percent are taken.
    low: u64 ["PERCENT"] default(80);
}

settings! {
    /// An S3-compatible object store for the files of artifacts, instead of the data folder.
    S3Settings => MergedS3, "s3":

    /// The store's address. Artifacts arrive in the data folder as ever, and are moved there when their job is over.
    endpoint: String ["URL"] computed("none: artifacts stay in the data folder", "https://s3.eu-west-1.amazonaws.com");

    /// The bucket. It has to be there, and Longshore needs the rights to put, get and delete objects in it
    /// and to abandon uploads (`s3:AbortMultipartUpload`), and no others.
    bucket: String ["NAME"] computed("none", "ci-artifacts");

    /// What the keys of all objects begin with.
    prefix: String ["TEXT"] default("longshore".to_owned());

    /// The region, which is part of signatures. Stores that have none take any.
    region: String ["NAME"] default("us-east-1".to_owned());

    /// The ID of the access key.
    access_key: String ["KEY"] computed("none", "AKIAIOSFODNN7EXAMPLE");

    /// The secret access key.
    #[arg(hide_env_values = true)]
    secret_key: String ["KEY"] computed("none", "wJalrXUtnFEMI");

    /// Whether the bucket stands in the path of an address (`https://host/bucket`), as most stores of one's own want
    /// it, and not in front of the host (`https://bucket.host`).
    path_style: bool ["BOOL"] default(true);
}
