//! The outcomes of jobs on a real engine: failures of the user and errors of ours are told apart, with texts that help.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

mod support;

use std::time::Duration;

use bollard::query_parameters::{RemoveImageOptions, TagImageOptionsBuilder};
use longshore_core::{BuildId, ErrorKind, Outcome, StepStatus};
use longshore_executor::{AttemptId, DockerAccess, GuardedDocker, JobUpdate, Limits, Phase};
use support::proxy::Proxy;
use support::{BUSYBOX, BUSYBOX_USER, NO_SHELL, World, docker_host, eventually, job};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn the_only_line_of_a_job_is_in_the_log_although_the_job_ends_at_once() {
    let world = World::new().await;
    for _ in 0..5 {
        let ran = world.run(job(&["echo only"])).await;
        assert_eq!(ran.outcome, Outcome::Success);
        assert_eq!(ran.journal.stdout_text(), "only\n");
        assert!(ran.journal.is_closed(), "the outcome comes after the log is complete");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_code_comes_through_with_the_steps_name() {
    let world = World::new().await;
    let ran = world.run(job(&["true", "exit 7", "echo never"])).await;
    let Outcome::Failure { exit_code, step, out_of_memory } = ran.outcome else { panic!("{:?}", ran.outcome) };
    assert_eq!((exit_code, step.as_str(), out_of_memory), (7, "step 1", false));
    assert_eq!(ran.journal.stdout_text(), "");
    let statuses: Vec<_> = ran.journal.steps_finished().into_iter().map(|(_, result)| result.status).collect();
    assert_eq!(statuses, [StepStatus::Success, StepStatus::Failure, StepStatus::Skipped]);
    assert!(ran.updates.contains(&JobUpdate::Phase(Phase::Running)), "{:?}", ran.updates);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_jobs_of_a_build_get_the_same_image_although_its_tag_moves_meanwhile_and_the_next_build_the_new_one() {
    let world = World::new().await;
    let tag = |image| {
        let options = TagImageOptionsBuilder::new().repo("longshore-test/moving").tag(world.instance.as_str()).build();
        world.docker.tag_image(image, Some(options))
    };
    let of = |build| {
        let mut request = job(&["id -u"]);
        request.build = build;
        request.plan.image = format!("longshore-test/moving:{}", world.instance).into();
        request
    };
    let (before, after) = (BuildId::new(), BuildId::new());
    tag(BUSYBOX).await.unwrap();
    assert_eq!(world.run(of(before)).await.journal.stdout_text(), "0\n");
    tag(BUSYBOX_USER).await.unwrap();
    assert_eq!(world.run(of(before)).await.journal.stdout_text(), "0\n");
    assert_ne!(world.run(of(after)).await.journal.stdout_text(), "0\n");
    tag(BUSYBOX).await.unwrap();
    assert_eq!(world.run(of(BuildId::new())).await.journal.stdout_text(), "0\n", "at once, whatever others saw last");
    let moving = format!("longshore-test/moving:{}", world.instance);
    world.docker.remove_image(&moving, None::<RemoveImageOptions>, None).await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_stands_neither_in_the_log_nor_in_the_containers_configuration() {
    let world = World::new().await;
    let mut request = job(&["echo \"$TOKEN\"; echo ready; while [ ! -e go ]; do sleep 0.05; done"]);
    request.secrets.insert("TOKEN".to_owned(), "hunter2-very-secret".to_owned());
    let name = request.attempt_id().container_name().to_string();
    let cancel = CancellationToken::new();
    let running = world.run_until(request, cancel.clone());
    let looking = async {
        eventually("the container runs", async || {
            matches!(world.docker.inspect_container(&name, None).await, Ok(found) if found.state.as_ref().and_then(|s| s.running) == Some(true))
        })
        .await;
        let found = serde_json::to_string(&world.docker.inspect_container(&name, None).await.unwrap()).unwrap();
        cancel.cancel();
        found
    };
    let ((ran, _), inspected) = tokio::join!(running, looking);
    assert!(!inspected.contains("hunter2"), "{inspected}");
    assert!(!ran.journal.stdout_text().contains("hunter2"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_container_is_hardened() {
    let world = World::new().await;
    let script = "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null || true; id -u";
    let mut request = job(&[script]);
    request.plan.image = BUSYBOX_USER.into();
    request.limits.pids = 123;
    let ran = world.run(request).await;
    let text = ran.journal.stdout_text();
    assert!(text.contains("NoNewPrivs:\t1"), "{text}");
    assert!(text.contains("Seccomp:\t2"), "{text}");
    assert!(text.contains("CapEff:\t0000000000000000"), "a step of the image's user has no capabilities: {text}");
    assert!(text.contains("\n123\n"), "{text}");
    assert!(text.ends_with("1000\n"), "{text}");
    let bounding = text.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap();
    let bounding = u64::from_str_radix(bounding, 16).unwrap();
    for (name, bit) in [("NET_RAW", 13), ("SYS_CHROOT", 18), ("SYS_ADMIN", 21), ("MKNOD", 27), ("SETFCAP", 31)] {
        assert_eq!(bounding & (1 << bit), 0, "{name}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_image_is_an_error_that_names_it() {
    let world = World::new().await;
    let mut request = job(&["true"]);
    request.plan.image = "localhost:1/longshore-test/nowhere:1".into();
    let ran = world.run(request).await;
    let Outcome::Error { kind, message } = ran.outcome else { panic!("{:?}", ran.outcome) };
    assert_eq!(kind, ErrorKind::PullFailed, "nobody listens there: {message}");
    assert!(message.contains("localhost:1/longshore-test/nowhere:1"), "{message}");
    assert!(ran.journal.notes().contains("pulling"), "{}", ran.journal.notes());
    assert!(ran.journal.is_closed());

    let mut request = job(&["true"]);
    request.plan.image = "longshore-test/nowhere:1".into();
    request.pull = longshore_executor::PullPolicy::Never;
    let ran = world.run(request).await;
    assert!(matches!(ran.outcome, Outcome::Error { kind: ErrorKind::ImageMissing, .. }), "{:?}", ran.outcome);

    let mut request = job(&["true"]);
    request.plan.image = "No Such/Name".into();
    let ran = world.run(request).await;
    let Outcome::Error { kind: ErrorKind::ImageMissing, message } = ran.outcome else { panic!("{:?}", ran.outcome) };
    assert!(message.contains("No Such/Name"), "{message}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_a_shell_is_named() {
    let world = World::new().await;
    let mut request = job(&["echo hi"]);
    request.plan.image = NO_SHELL.into();
    let ran = world.run(request).await;
    let Outcome::Error { kind, message } = ran.outcome else { panic!("{:?}", ran.outcome) };
    assert_eq!(kind, ErrorKind::ImageUnusable);
    assert!(message.contains(NO_SHELL) && message.contains("sh"), "{message}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_cannot_start_says_what_to_do() {
    // A program of another architecture: an ELF header with a machine that this kernel does not know.
    let dir = tempfile::tempdir().unwrap();
    let foreign = dir.path().join("longshore");
    let mut elf = vec![0; 4096];
    elf[..20].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0xf7, 0x7f]);
    std::fs::write(&foreign, elf).unwrap();
    let world = World::with(|options| options.executable = foreign.clone()).await;
    let ran = world.run(job(&["true"])).await;
    let Outcome::Error { kind, message } = ran.outcome else { panic!("{:?}", ran.outcome) };
    assert_eq!(kind, ErrorKind::AgentFailed, "{message}");
    assert!(message.contains("architecture"), "{message}");
    world.engine.clean(&longshore_executor::CleanScope::Instance { agent: true }).await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_with_docker_is_refused_where_containerd_keeps_the_images_and_others_run() {
    let proxy = Proxy::before(&docker_host());
    // Of the same length, and a name of containerd's, by which such an engine is known.
    proxy.rewrite(r#""Native Overlay Diff","true""#, r#""io.containerd.snapshotter.""#);
    proxy.rewrite(r#""Native Overlay Diff","false""#, r#""io.containerd.snapshotter.v""#);
    let world = World::with(|options| options.docker_host = proxy.host()).await;
    assert_eq!(world.run(job(&["true"])).await.outcome, Outcome::Success);
    let mut request = job(&["true"]);
    request.docker = DockerAccess::Guarded(GuardedDocker::default());
    let ran = world.run(request).await;
    let Outcome::Error { message, .. } = &ran.outcome else { panic!("{:?}", ran.outcome) };
    assert!(message.contains("containerd's store") && message.contains("daemon.json"), "{message}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canceled_step_gets_a_term_and_its_last_words_are_kept() {
    let world = World::new().await;
    let cancel = CancellationToken::new();
    let request = job(&["trap 'echo bye; exit 0' TERM; echo up; while true; do sleep 0.02; done", "echo never"]);
    let journal = support::MemoryJournal::default();
    let (sender, mut receiver) = mpsc::channel(64);
    let running = world.engine.run_job(request, journal.open(), sender, cancel.clone());
    let canceling = async {
        eventually("the step is up", async || journal.stdout_text() == "up\n").await;
        cancel.cancel();
    };
    let drained = async { while receiver.recv().await.is_some() {} };
    let (outcome, (), ()) = tokio::join!(running, canceling, drained);
    assert_eq!(outcome, Outcome::Canceled);
    assert_eq!(journal.stdout_text(), "up\nbye\n");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_before_or_while_the_container_is_made_leaves_nothing() {
    let world = World::new().await;
    for delay_ms in [0, 5, 20, 60, 100] {
        let cancel = CancellationToken::new();
        let later = cancel.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            later.cancel();
        });
        let (ran, took) = world.run_until(job(&["sleep 600"]), cancel).await;
        assert_eq!(ran.outcome, Outcome::Canceled, "after {delay_ms} ms");
        assert!(took < Duration::from_secs(300), "{took:?}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_over_its_time_is_timed_out() {
    let world = World::new().await;
    let mut request = job(&["echo up; sleep 600"]);
    request.plan.timeout_ms = 5_000;
    let ran = world.run(request).await;
    assert_eq!(ran.outcome, Outcome::TimedOut { limit_ms: 5_000 });
    assert_eq!(ran.journal.stdout_text(), "up\n");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_removed_under_us_is_lost() {
    let world = World::new().await;
    let request = job(&["echo up; sleep 600"]);
    let name = request.attempt_id().container_name().to_string();
    let journal = support::MemoryJournal::default();
    let (sender, mut receiver) = mpsc::channel(64);
    let running = world.engine.run_job(request, journal.open(), sender, CancellationToken::new());
    let removing = async {
        eventually("the step is up", async || journal.stdout_text() == "up\n").await;
        world.take_away(&name).await;
    };
    let drained = async { while receiver.recv().await.is_some() {} };
    let (outcome, (), ()) = tokio::join!(running, removing, drained);
    assert!(matches!(outcome, Outcome::Error { kind: ErrorKind::Lost, .. }), "{outcome:?}");
    assert_eq!(journal.stdout_text(), "up\n", "what it said before is kept");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_killed_from_outside_is_lost_and_its_output_is_kept() {
    let world = World::new().await;
    let (outcome, journal) = support::run_and_kill(&world, job(&["echo up; sleep 600"])).await;
    assert!(matches!(outcome, Outcome::Error { kind: ErrorKind::Lost, .. }), "{outcome:?}");
    assert_eq!(journal.stdout_text(), "up\n");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fills_its_agents_spool_with_files_of_its_own_ends_all_the_same() {
    let world = World::new().await;
    let request = job(&["for i in 1 2 3 4; do truncate -s 15000G /longshore/spool/+$i; done; echo up; sleep 600"]);
    // A sparse file of sixty terabytes of zeros must not be read.
    let ran = tokio::time::timeout(std::time::Duration::from_secs(300), support::run_and_kill(&world, request)).await;
    let (outcome, _) = ran.unwrap();
    assert!(matches!(outcome, Outcome::Error { kind: ErrorKind::Lost, .. }), "{outcome:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_beginning_of_an_images_id_names_no_image() {
    let world = World::new().await;
    let id = world.docker.inspect_image(BUSYBOX).await.unwrap().id.unwrap();
    let mut request = job(&["echo it runs"]);
    // The engine itself finds the image by that.
    let beginning = &id["sha256:".len()..][..12];
    assert_eq!(world.docker.inspect_image(beginning).await.unwrap().id.unwrap(), id);
    request.plan.image = beginning.into();
    request.pull = longshore_executor::PullPolicy::Never;
    let ran = world.run(request).await;
    assert!(matches!(ran.outcome, Outcome::Error { kind: ErrorKind::ImageMissing, .. }), "{:?}", ran.outcome);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_prints_more_than_a_log_may_have_is_ended_and_what_fits_is_kept() {
    let world = World::new().await;
    let mut request = job(&["i=0; while true; do i=$((i+1)); echo line $i; done"]);
    request.limits.log = 1 << 20;
    let ran = world.run(request).await;
    assert!(matches!(ran.outcome, Outcome::Error { kind: ErrorKind::LogTooLong, .. }), "{:?}", ran.outcome);
    assert!(ran.journal.notes().contains("printed more than 1 MiB"), "{}", ran.journal.notes());
    let text = ran.journal.stdout_text();
    assert!(!text.is_empty() && text.len() < 1 << 20, "{}", text.len());
    assert!(text.lines().zip(1..).take(1000).all(|(line, i)| line == format!("line {i}")));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_stopped_from_outside_is_lost_and_not_canceled() {
    let world = World::new().await;
    let request = job(&["trap 'echo bye; exit 0' TERM; echo up; while true; do sleep 0.02; done"]);
    let name = request.attempt_id().container_name().to_string();
    let journal = support::MemoryJournal::default();
    let (sender, mut receiver) = mpsc::channel(64);
    let running = world.engine.run_job(request, journal.open(), sender, CancellationToken::new());
    let stopping = async {
        eventually("the step is up", async || journal.stdout_text() == "up\n").await;
        // An engine that stops does this to its containers.
        world.docker.stop_container(&name, None).await.unwrap();
    };
    let drained = async { while receiver.recv().await.is_some() {} };
    let (outcome, (), ()) = tokio::join!(running, stopping, drained);
    assert!(matches!(outcome, Outcome::Error { kind: ErrorKind::Lost, .. }), "{outcome:?}");
    assert_eq!(journal.stdout_text(), "up\nbye\n");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_over_its_memory_is_the_users_failure_and_names_limit_and_biggest_process() {
    let world = World::new().await;
    // busybox' tail keeps what it reads. The pause lets the agent see it while memory is short.
    let mut request = job(&[
        "(head -c 55000000 /dev/zero; sleep 1; head -c 1000000000 /dev/zero) | tail -n 1 >/dev/null; echo \"tail: $?\"; exit 9",
    ]);
    request.limits.memory = Some(64 << 20);
    let ran = world.run(request).await;
    let Outcome::Failure { out_of_memory, .. } = ran.outcome else {
        panic!("{:?}: {}", ran.outcome, ran.journal.notes())
    };
    assert!(out_of_memory, "{}", ran.journal.stdout_text());
    let notes = ran.journal.notes();
    assert!(notes.contains("may use 64 MiB; the largest process was `tail` with "), "{notes}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jobs_processes_end_before_its_agent_when_memory_runs_out() {
    let world = World::new().await;
    let ran = world.run(job(&["cat /proc/1/oom_score_adj /proc/self/oom_score_adj"])).await;
    let text = ran.journal.stdout_text();
    let scores: Vec<i32> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert!(scores[1] >= scores[0] + 500 || scores[1] == 1_000, "{text}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_in_the_container_costs_no_output_and_fails_what_filled_it() {
    let world = World::new().await;
    // Much more than there is room for: the spool is deleted as fast as it is acknowledged.
    let request = job(&["head -c 50000000 /dev/zero | tr '\\0' x"]);
    small_volume(&world, request.attempt_id()).await;
    let ran = world.run(request).await;
    assert_eq!(ran.outcome, Outcome::Success, "{}", ran.journal.notes());
    assert_eq!(ran.journal.stdout().len(), 50_000_000);

    // The last output of the step is in the log although nothing can be written any more, and its exit code is its own.
    let request = job(&["head -c 50000000 /dev/zero > fill || echo full; exit 3"]);
    small_volume(&world, request.attempt_id()).await;
    let ran = world.run(request).await;
    assert!(matches!(ran.outcome, Outcome::Failure { exit_code: 3, .. }), "{:?}", ran.outcome);
    assert_eq!(ran.journal.stdout_text(), "full\n");
    world.end().await;
}

/// The job's volume, made before the job: two megabytes in memory.
async fn small_volume(world: &World, attempt: AttemptId) {
    let request = bollard::models::VolumeCreateRequest {
        name: Some(attempt.volume_name().to_string()),
        driver: Some("local".to_owned()),
        driver_opts: Some(
            [("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=2m")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        ),
        labels: Some([("longshore.instance".to_owned(), world.instance.to_string())].into()),
        ..bollard::models::VolumeCreateRequest::default()
    };
    world.docker.create_volume(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_have_defaults_that_keep_the_host_alive() {
    let limits = Limits::default();
    assert_eq!(limits.pids, 4096);
    let world = World::new().await;
    let script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null || true; awk '/MemTotal/ {print $2 * 1024}' /proc/meminfo";
    let ran = world.run(job(&[script])).await;
    let numbers: Vec<f64> = ran.journal.stdout_text().split_whitespace().filter_map(|n| n.parse().ok()).collect();
    assert!(numbers.len() == 2 && numbers[0] < numbers[1] * 0.95, "{numbers:?}");
    world.end().await;
}
