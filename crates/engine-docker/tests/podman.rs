//! Jobs run on Podman's socket. `scripts/podman.sh test` runs this; it needs a Podman, which most machines do not have.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

mod support;

use longshore_core::plan::Probe;
use longshore_core::{DeniedAddresses, Outcome, StepPlan};
use longshore_engine_docker::doctor;
use longshore_executor::{DockerAccess, GuardedDocker};
use support::{World, docker_host, job};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Podman's socket: scripts/podman.sh test"]
async fn jobs_run_on_podmans_socket_and_leave_nothing_there() {
    let world = World::new().await;
    let ran = world.run(job(&["echo out; echo err >&2", "exit 7"])).await;
    assert!(matches!(ran.outcome, Outcome::Failure { exit_code: 7, .. }), "{:?} {}", ran.outcome, ran.journal.notes());
    assert_eq!(ran.journal.stdout_text(), "out\n");
    let much = world.run(job(&["seq 1 400000"])).await;
    assert_eq!(much.outcome, Outcome::Success, "{}", much.journal.notes());
    let expected: String = (1..=400_000).map(|line| format!("{line}\n")).collect();
    assert!(much.journal.stdout_text() == expected, "not byte for byte");
    let mut terminal = job(&["test -t 1 && stty size"]);
    terminal.plan.steps[0].tty = true;
    assert_eq!(world.run(terminal).await.outcome, Outcome::Success);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Podman's socket: scripts/podman.sh test"]
async fn a_pod_on_podman_has_its_service_its_own_image_step_and_no_denied_address() {
    let denied = DeniedAddresses::parse_list(DeniedAddresses::DEFAULT).unwrap();
    let world = World::with(|options| options.denied = denied).await;
    let mut request = job(&[
        "until out=$(nc web 8080 </dev/null 2>&-) && [ -n \"$out\" ]; do sleep 0.1; done; echo $out",
        "nc -w 5 169.254.169.254 80 </dev/null 2>&1 || true",
    ]);
    request.plan.services =
        vec![support::shell_service("web", "while :; do echo hello | nc -l -p 8080; done", Probe::Tcp(8080), 30_000)];
    request.plan.steps.push(StepPlan { image: Some(support::BUSYBOX.into()), ..support::step("own", "echo own") });
    let ran = world.run(request).await;
    assert_eq!(ran.outcome, Outcome::Success, "{}", ran.journal.notes());
    assert_eq!((ran.journal.step_text(0), ran.journal.step_text(2)), ("hello\n".to_owned(), "own\n".to_owned()));
    assert!(ran.journal.step_text(1).contains("ermission denied"), "{}", ran.journal.step_text(1));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Podman's socket: scripts/podman.sh test"]
async fn a_job_on_podman_is_held_to_its_memory_and_has_no_powers() {
    let world = World::new().await;
    let mut request = job(&["tail /dev/zero"]);
    request.limits.memory = Some(64 << 20);
    let ran = world.run(request).await;
    assert!(matches!(ran.outcome, Outcome::Failure { .. }), "{:?}", ran.outcome);
    let ran = world.run(job(&["grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status"])).await;
    assert_eq!(ran.journal.stdout_text(), "NoNewPrivs:\t1\nSeccomp:\t2\n");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Podman's socket: scripts/podman.sh test"]
async fn a_server_that_dies_over_a_job_on_podman_finds_it_again() {
    let world = World::new().await;
    let (request, journal) = (job(&["echo up; sleep 2; echo done"]), support::MemoryJournal::default());
    support::run_and_die(&world, &request, &journal, "up").await;
    let outcome = support::adopt(&world, &request, &journal).await;
    assert_eq!((outcome, journal.stdout_text().as_str()), (Outcome::Success, "up\ndone\n"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Podman's socket: scripts/podman.sh test"]
async fn the_doctor_says_which_promises_podman_does_not_keep() {
    let world = World::new().await;
    let findings = doctor(world.options(docker_host()).docker()).await;
    println!("{findings:#?}");
    for finding in &findings {
        // Podman ignores enable_icc without saying so.
        assert_eq!(finding.is_error(), finding.name == "isolation", "{findings:#?}");
    }
    assert!(findings.iter().any(|finding| finding.name == "agent"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Podman's socket: scripts/podman.sh test"]
async fn a_job_with_docker_is_refused_on_podman_and_says_so() {
    let world = World::new().await;
    let mut request = job(&["true"]);
    request.docker = DockerAccess::Guarded(GuardedDocker::default());
    let ran = world.run(request).await;
    let said = format!("{:?} {}", ran.outcome, ran.journal.notes());
    assert!(said.contains("this engine is Podman") && said.contains("`docker: true` needs Docker's engine"), "{said}");
    world.end().await;
}
