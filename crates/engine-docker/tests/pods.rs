//! Services, and steps with an image of their own: containers beside the job's own, in one network and on one
//! workspace.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_core::plan::{Probe, Retry, RetryOn};
use longshore_core::{ErrorKind, Outcome, StepPlan, StepStatus};
use longshore_executor::engine::{MemberId, PodSecret};
use longshore_executor::{JobRequest, JobUpdate};
use support::images::{BUSYBOX, TOOL};
use support::{World, adopt, eventually, job, let_go, run_and_die, service, shell_service, step};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

fn own(image: &str, run: Option<&str>) -> StepPlan {
    StepPlan {
        id: Some("own".to_owned()),
        name: "own".to_owned(),
        run: run.map(Into::into),
        shell: "sh".to_owned(),
        image: Some(image.into()),
        ..StepPlan::default()
    }
}

fn after(run: &str, condition: &str) -> StepPlan {
    StepPlan {
        condition: Some(longshore_core::expression::Expression::parse(condition).unwrap()),
        ..step("after", run)
    }
}

const LISTENS: &str = "echo listening; while :; do echo hello | nc -l -p 8080; done";

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_reached_by_its_name_and_at_localhost_once_it_is_ready_and_its_output_is_in_the_log() {
    let world = World::new().await;
    let mut request = job(&[
        "ask() { until out=$(nc \"$1\" \"$2\" </dev/null 2>&-) && [ -n \"$out\" ]; do sleep 0.02; done; echo $out; }; ask web 8080; ask localhost 7777; ask tool 7777",
    ]);
    request.plan.services = vec![
        shell_service("web", &format!("sleep 0.5; {LISTENS}"), Probe::Tcp(8080), 300_000),
        service("tool", TOOL, &["serve"]),
    ];
    let ran = world.run(request).await;
    assert_eq!(ran.outcome, Outcome::Success, "{}", ran.journal.notes());
    assert_eq!(ran.journal.step_text(0), "hello\nserved\nserved\n");
    assert_eq!(ran.journal.step_text(0x8000), "listening\n");
    assert_eq!(ran.journal.step_text(0x8001), "tool serve as app in /home/app with blue  \n");
    assert!(ran.journal.notes().contains("ready after"), "{}", ran.journal.notes());
    let mut ready: Vec<u16> = Vec::new();
    let mut images: Vec<(Option<u16>, &str)> = Vec::new();
    for update in &ran.updates {
        match update {
            JobUpdate::ServiceReady { step, .. } => ready.push(*step),
            JobUpdate::Image { step, image } => images.push((*step, &image.name)),
            _ => {}
        }
    }
    ready.sort_unstable();
    images.sort_unstable();
    assert_eq!(ready, [0x8000, 0x8001]);
    assert_eq!(images, [(None, BUSYBOX), (Some(0x8000), BUSYBOX), (Some(0x8001), TOOL)]);
    let ends = ran.updates.iter().filter_map(|update| match update {
        JobUpdate::StepFinished { step, result, .. } => Some((*step, result.status)),
        _ => None,
    });
    let mut ends: Vec<_> = ends.collect();
    ends.sort_unstable_by_key(|(step, _)| *step);
    assert_eq!(ends, [0, 0x8000, 0x8001].map(|step| (step, StepStatus::Success)));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_asked_by_a_command_or_by_http_is_waited_for_until_it_says_yes() {
    let world = World::new().await;
    let mut request = job(&[
        "cat /proc/uptime >/dev/null; until out=$(nc localhost 9000 </dev/null 2>&-) && [ -n \"$out\" ]; do sleep 0.02; done; echo $out",
    ]);
    let http = "(sleep 0.3; printf 'HTTP/1.0 503 no\\r\\n\\r\\n' | nc -l -p 9000; while :; do printf 'HTTP/1.0 200 OK\\r\\n\\r\\n' | nc -l -p 9000; done)";
    request.plan.services = vec![
        shell_service(
            "file",
            "sleep 0.4; touch /tmp/made; sleep 100",
            Probe::Exec("test -e /tmp/made".to_owned()),
            300_000,
        ),
        shell_service("http", http, Probe::Http(":9000/healthz".to_owned()), 300_000),
    ];
    let ran = world.run(request).await;
    assert_eq!(ran.outcome, Outcome::Success, "{}", ran.journal.notes());
    assert!(ran.journal.step_text(0).starts_with("HTTP/1.0 200"), "{}", ran.journal.step_text(0));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_ends_early_fails_the_job_with_its_last_line_and_steps_that_ask_for_it_still_run() {
    let world = World::new().await;
    let mut request = job(&["while :; do sleep 0.1; done"]);
    request.plan.services = vec![shell_service(
        "db",
        "echo 'no space for the cluster' >&2; sleep 0.3; exit 7",
        Probe::Exec("true".to_owned()),
        300_000,
    )];
    request.plan.steps.push(step("not asked for", "echo no"));
    request.plan.steps.push(after("echo failed", "failure()"));
    let ran = world.run(request).await;
    let Outcome::Error { kind: ErrorKind::ServiceFailed, message } = &ran.outcome else { panic!("{:?}", ran.outcome) };
    assert_eq!(message, "the service `db` exited with code 7: no space for the cluster");
    assert_eq!((ran.journal.step_text(1), ran.journal.step_text(2)), (String::new(), "failed\n".to_owned()));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_not_ready_in_time_or_cannot_run_fails_the_job_before_its_first_step() {
    let world = World::new().await;
    let late = shell_service("late", "echo 'still starting'; sleep 100", Probe::Tcp(9), 5_000);
    let absent = service("absent", BUSYBOX, &["no-such-program"]);
    let no_image = service("none", "longshore-test/no-such-image:1", &[]);
    for (service, why) in [
        (late, "the service `late` was not ready within 5.0 s: still starting"),
        (absent, "the service `absent` cannot run: the image has no program `no-such-program`"),
        (no_image, "the service `none` could not start: "),
    ] {
        let mut request = job(&["echo begun"]);
        request.plan.services = vec![service];
        let ran = world.run(request).await;
        let Outcome::Error { kind: ErrorKind::ServiceFailed, message } = &ran.outcome else {
            panic!("{:?}", ran.outcome)
        };
        assert!(message.starts_with(why), "{message}");
        assert_eq!(ran.journal.step_text(0), "");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_with_an_image_of_its_own_shares_the_workspace_and_passes_values_on_like_any_other() {
    let world = World::new().await;
    let mut request = job(&["echo one > file; echo A=b >> \"$LONGSHORE_ENV\"; chmod 777 ."]);
    let script = "cat file; echo \"$A $COLOR\"; id -un; pwd; echo two > mine; echo out=1 >> \"$LONGSHORE_OUTPUT\"; \
                  echo C=d >> \"$LONGSHORE_ENV\"; echo /opt/bin >> \"$LONGSHORE_PATH\"; echo '# said' >> \"$LONGSHORE_SUMMARY\"";
    request.plan.steps.push(own(TOOL, Some(script)));
    request.plan.steps.push(StepPlan {
        env: BTreeMap::from([("OUT".to_owned(), template("steps.own.outputs.out"))]),
        ..step("last", "cat mine; echo \"$C $OUT ${PATH%%:*}\"; hostname -i >/dev/null; wc -c < /etc/hosts >/dev/null")
    });
    let ran = world.run(request).await;
    assert_eq!(ran.outcome, Outcome::Success, "{}", ran.journal.notes());
    assert_eq!(ran.journal.step_text(1), "one\nb blue\napp\n/longshore/workspace\n");
    assert_eq!(ran.journal.step_text(2), "two\nd 1 /opt/bin\n");
    world.end().await;
}

fn template(source: &str) -> longshore_core::Template {
    use longshore_core::template::Part;
    let expression = longshore_core::expression::Expression::parse(source).unwrap();
    longshore_core::Template::new([Part::Expression(expression)])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_runs_its_images_program_as_its_maker_meant_it_with_its_settings() {
    let world = World::new().await;
    let mut request = job(&["true"]);
    let with = BTreeMap::from([("repo-name".to_owned(), "a/b".into()), ("tags".to_owned(), "1,2".into())]);
    request.plan.steps = vec![
        StepPlan { with, ..own(TOOL, None) },
        StepPlan { command: vec!["given".into(), "args".into()], id: None, ..own(TOOL, None) },
        StepPlan { entrypoint: vec!["/bin/echo".into()], id: None, ..own(TOOL, None) },
        StepPlan { user: Some("0".to_owned()), id: None, ..own(TOOL, Some("id -un")) },
        StepPlan {
            env: BTreeMap::from([("SAID".to_owned(), template("steps.own.outputs.said"))]),
            ..step("s", "echo $SAID")
        },
    ];
    let ran = world.run(request).await;
    assert_eq!(ran.outcome, Outcome::Success, "{}", ran.journal.notes());
    let said = |at| ran.journal.step_text(at);
    assert_eq!(said(0), "tool by default as app in /longshore/workspace with blue a/b 1,2\n");
    assert_eq!(said(1), "tool given args as app in /longshore/workspace with blue  \n");
    assert_eq!((said(2), said(3), said(4)), ("\n".to_owned(), "root\n".to_owned(), "by\n".to_owned()));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_with_an_image_of_its_own_fails_is_tried_again_runs_out_of_time_and_says_what_its_image_lacks() {
    let world = World::new().await;
    let mut request = job(&["true"]);
    let retry = Some(Retry { max: 1, on: vec![RetryOn::Failure] });
    let lenient = |step: StepPlan| StepPlan { continue_on_error: true, id: None, ..step };
    request.plan.steps = vec![
        // Each try has a container of its own: the file of the first one is not there.
        lenient(StepPlan {
            retry,
            ..own(BUSYBOX, Some("test ! -e /tmp/tried || echo again; touch /tmp/tried; exit 4"))
        }),
        lenient(StepPlan { timeout_ms: Some(300), ..own(BUSYBOX, Some("echo waits; while :; do sleep 0.1; done")) }),
        lenient(own(support::images::NO_SHELL, Some("true"))),
        lenient(own("longshore-test/no-such-image:1", Some("true"))),
        own(TOOL, None),
    ];
    request.plan.steps[4].command = vec!["fail".into(), "9".into()];
    let ran = world.run(request).await;
    assert_eq!(ran.outcome, Outcome::Failure { exit_code: 9, step: "own".to_owned(), out_of_memory: false });
    let results: BTreeMap<u16, (StepStatus, Option<i32>)> = ran
        .updates
        .iter()
        .filter_map(|update| match update {
            JobUpdate::StepFinished { step, result, .. } => Some((*step, (result.status, result.exit_code))),
            _ => None,
        })
        .collect();
    assert_eq!(results[&0], (StepStatus::Failure, Some(4)));
    assert_eq!(ran.journal.step_text(0), "");
    assert_eq!(results[&1].0, StepStatus::TimedOut);
    assert_eq!((results[&2].0, results[&3].0), (StepStatus::Error, StepStatus::Error));
    let notes = ran.journal.notes();
    assert!(notes.contains("exited with code 4; retrying (attempt 2 of 2)"), "{notes}");
    assert!(notes.contains("the image has no `/bin/sh`"), "{notes}");
    assert!(notes.contains("the step's container could not start: "), "{notes}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_process_of_a_job_can_take_the_place_of_a_step_with_an_image_of_its_own() {
    let world = World::new().await;
    // What every process of a container can read: the command line of its agent, and the sockets of its network.
    let look = "tr '\\0' ' ' </proc/1/cmdline; echo; grep -o 'longshore-pod-[0-9a-f]*' /proc/net/unix | head -n 1";
    let mut request = job(&[look]);
    request.plan.steps.push(own(BUSYBOX, Some("tr '\\0' ' ' </proc/1/cmdline")));
    let ran = world.run(request).await;
    assert_eq!(ran.outcome, Outcome::Success, "{}", ran.journal.notes());
    let marker = |text: &str| {
        let digits = text.split_once("--marker ").unwrap().1.split_whitespace().next().unwrap().to_owned();
        let mut nonce = [0; 16];
        hex::decode_to_slice(digits, &mut nonce).unwrap();
        nonce
    };
    let (of_job, of_step) = (ran.journal.step_text(0), ran.journal.step_text(1));
    let derived = PodSecret(marker(&of_job));
    assert!(of_job.contains("longshore-pod-"), "{of_job}");
    assert!(!of_job.contains(&derived.conductor_address()), "{of_job}");
    assert_ne!(marker(&of_step), derived.member_key(MemberId::Step(1, 1)));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_ends_every_container_of_the_pod_and_always_steps_still_run() {
    let world = World::new().await;
    let mut request = job(&["true"]);
    request.plan.services = vec![shell_service("web", LISTENS, Probe::Tcp(8080), 300_000)];
    request.plan.steps = vec![
        StepPlan { background: true, id: None, ..own(BUSYBOX, Some("echo beside; while :; do sleep 0.1; done")) },
        own(BUSYBOX, Some("trap 'echo told; exit 0' TERM; echo up; while :; do sleep 0.1; done")),
        StepPlan { image: Some(BUSYBOX.into()), ..after("echo last", "always()") },
    ];
    let (cancel, journal) = (CancellationToken::new(), support::MemoryJournal::default());
    let (sender, mut receiver) = mpsc::channel(64);
    let running = world.engine.run_job(request, journal.open(), sender, cancel.clone());
    let canceling = async {
        eventually("the steps are up", async || journal.step_text(1) == "up\n" && journal.step_text(0) == "beside\n")
            .await;
        cancel.cancel();
    };
    let drained = async { while receiver.recv().await.is_some() {} };
    let (outcome, (), ()) = tokio::join!(running, canceling, drained);
    assert_eq!(outcome, Outcome::Canceled, "{}", journal.notes());
    let told = journal.step_text(1);
    // The shell may add that its `sleep` was terminated.
    assert!(told.starts_with("up\n") && told.contains("told\n"), "{told}");
    assert_eq!(journal.step_text(2), "last\n");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_reaches_services_and_steps_with_images_of_their_own_and_is_masked_there() {
    let world = World::new().await;
    let mut request = job(&["true"]);
    request.secrets = BTreeMap::from([("TOKEN".to_owned(), "s3cret-value".to_owned())]);
    request.secret_files = BTreeMap::from([("KEY".to_owned(), "key-of-the-house".to_owned())]);
    request.known =
        BTreeMap::from([("secrets".to_owned(), longshore_core::expression::Value::map([("TOKEN", "s3cret-value")]))]);
    let mut db = shell_service(
        "db",
        "echo \"db has $PASSWORD\"; touch /tmp/said; sleep 100",
        Probe::Exec("test -e /tmp/said".to_owned()),
        300_000,
    );
    db.env = BTreeMap::from([("PASSWORD".to_owned(), template("secrets.TOKEN"))]);
    request.plan.services = vec![db];
    request.plan.steps =
        vec![own(BUSYBOX, Some("echo \"step has $TOKEN\"; wc -c < \"$KEY\"; cat \"$KEY\"; sleep 0.3"))];
    let ran = world.run(request).await;
    assert_eq!(ran.outcome, Outcome::Success, "{}", ran.journal.notes());
    assert_eq!(ran.journal.step_text(0x8000), "db has ***\n");
    assert_eq!(ran.journal.step_text(0), "step has ***\n16\n***");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_outlives_the_server_and_whoever_adopts_it_gets_every_byte_once() {
    let world = World::new().await;
    let count = "i=0; while [ $i -lt 400 ]; do echo $i; i=$((i+1)); sleep 0.005; done";
    let mut request = job(&["true"]);
    let serve = format!("{count}; sleep 100");
    request.plan.services = vec![shell_service("web", &serve, Probe::Exec("true".to_owned()), 300_000)];
    // It does not end before all processes have died that the test kills.
    let gated = count.replace("sleep 0.005", "sleep 0.005; until [ $i -lt 350 ] || [ -e go ]; do sleep 0.02; done");
    request.plan.steps = vec![own(BUSYBOX, Some(&gated)), StepPlan { id: None, ..own(TOOL, None) }];
    let journal = support::MemoryJournal::default();
    for until in ["20\n", "40\n", "60\n"] {
        if until == "20\n" {
            run_and_die(&world, &request, &journal, until).await;
        } else {
            adopt_and_die(&world, &request, &journal, until).await;
        }
    }
    let_go(&world, &request).await;
    let outcome = adopt(&world, &request, &journal).await;
    assert_eq!(outcome, Outcome::Success, "{}", journal.notes());
    let counted: String = (0..400).map(|n| format!("{n}\n")).collect();
    assert_eq!(journal.step_text(0), counted);
    assert!(counted.starts_with(&journal.step_text(0x8000)) && journal.step_text(0x8000).len() > 1000);
    assert_eq!(journal.step_text(1), "tool by default as app in /longshore/workspace with blue  \n");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_container_is_stopped_from_outside_does_not_succeed() {
    let world = World::new().await;
    let mut request = job(&["true"]);
    request.plan.steps = vec![
        own(BUSYBOX, Some("echo up; while :; do sleep 0.1; done")),
        step("not run", "echo no"),
        after("echo seen", "failure()"),
    ];
    let name = request.attempt_id().member_name("step-0-1".parse().unwrap()).to_string();
    let journal = support::MemoryJournal::default();
    let (sender, mut receiver) = mpsc::channel(64);
    let running = world.engine.run_job(request, journal.open(), sender, CancellationToken::new());
    let stopping = async {
        eventually("the step is up", async || journal.step_text(0) == "up\n").await;
        let term = bollard::query_parameters::KillContainerOptionsBuilder::new().signal("TERM").build();
        world.docker.kill_container(&name, Some(term)).await.unwrap();
    };
    let drained = async { while receiver.recv().await.is_some() {} };
    let (outcome, (), ()) = tokio::join!(running, stopping, drained);
    let Outcome::Error { kind: ErrorKind::ContainerFailed, message } = outcome else { panic!("{outcome:?}") };
    assert!(message.contains("step `own`: the step's container was stopped from outside"), "{message}");
    assert_eq!((journal.step_text(1), journal.step_text(2)), (String::new(), "seen\n".to_owned()));
    world.end().await;
}

/// Adopts a job, and drops that in the middle.
async fn adopt_and_die(world: &World, request: &JobRequest, journal: &support::MemoryJournal, until: &str) {
    tokio::select! {
        outcome = adopt(world, request, journal) => panic!("{outcome:?}"),
        () = eventually("more of the log", async || journal.step_text(0).contains(until)) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_is_used_again_after_a_pod_and_has_none_of_its_names() {
    let world = World::new().await;
    let mut request = job(&["grep -c web /etc/hosts || true; hostname"]);
    request.plan.services = vec![shell_service("web", LISTENS, Probe::Tcp(8080), 300_000)];
    request.plan.steps.push(StepPlan { id: None, ..own(BUSYBOX, Some("grep -c web /etc/hosts || true; hostname")) });
    let first = world.run(request).await;
    assert_eq!(first.outcome, Outcome::Success, "{}", first.journal.notes());
    world.engine.settled().await;
    let second = world
        .run(job(&["grep -c web /etc/hosts || true; hostname; nc localhost 8080 </dev/null 2>&- || echo closed"]))
        .await;
    let host = first.journal.step_text(0);
    let host = host.strip_prefix("1\n").unwrap();
    assert_eq!(first.journal.step_text(1), format!("1\n{host}"));
    assert_eq!(second.journal.step_text(0), format!("0\n{host}closed\n"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_killed_from_outside_fails_the_job_at_once() {
    let world = World::new().await;
    let mut request = job(&["echo up; while :; do sleep 0.1; done"]);
    request.plan.services = vec![shell_service("web", LISTENS, Probe::Tcp(8080), 300_000)];
    let name = request.attempt_id().member_name("service-0".parse().unwrap()).to_string();
    let journal = support::MemoryJournal::default();
    let (sender, mut receiver) = mpsc::channel(64);
    let running = world.engine.run_job(request, journal.open(), sender, CancellationToken::new());
    let killing = async {
        eventually("the step is up", async || journal.step_text(0) == "up\n").await;
        world.docker.kill_container(&name, None::<bollard::query_parameters::KillContainerOptions>).await.unwrap();
        Instant::now()
    };
    let drained = async { while receiver.recv().await.is_some() {} };
    let (outcome, killed, ()) = tokio::join!(running, killing, drained);
    assert!(killed.elapsed() < Duration::from_secs(300));
    let Outcome::Error { kind: ErrorKind::ServiceFailed, message } = outcome else { panic!("{outcome:?}") };
    assert!(message.contains("`web` ended: its container ran out of memory, or was stopped from outside"), "{message}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_speaks_only_its_newer_apis_runs_a_whole_pod() {
    let proxy = support::proxy::Proxy::before(&support::docker_host());
    let world = World::with(|options| options.docker_host = proxy.host()).await;
    // Docker 29 speaks 1.44 and newer; 20.10, whose only one is 1.41, stands for an engine that just fits.
    let newest = world.docker.version().await.unwrap().api_version.unwrap();
    let newest: u32 = newest.strip_prefix("1.").unwrap().parse().unwrap();
    let oldest = newest.min(44);
    proxy.refuse_before(oldest);
    let too_old = tokio::net::UnixStream::connect(proxy.host().strip_prefix("unix://").unwrap()).await.unwrap();
    assert!(ask(too_old, &format!("/v1.{}/info", oldest - 1)).await.contains("is too old"));
    let mut request = job(&["echo up"]);
    request.plan.services = vec![shell_service("web", LISTENS, Probe::Tcp(8080), 300_000)];
    request.plan.steps.push(own(BUSYBOX, Some("echo own")));
    let ran = world.run(request).await;
    assert_eq!(ran.outcome, Outcome::Success, "{}", ran.journal.notes());
    assert_eq!((ran.journal.step_text(0), ran.journal.step_text(1)), ("up\n".to_owned(), "own\n".to_owned()));
    world.end().await;
}

async fn ask(mut engine: tokio::net::UnixStream, target: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    engine.write_all(format!("GET {target} HTTP/1.1\r\nHost: docker\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let count = engine.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..count]).into_owned()
}
