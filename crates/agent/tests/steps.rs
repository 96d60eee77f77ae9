//! What steps can rely on.

mod support;

use std::time::{Duration, Instant};

use longshore_agent_protocol::StepSpec;
use longshore_agent_protocol::message::{AgentError, JobResult, StepStatus};
use support::{Agent, always, is_alive, run, run_with, step, when};

fn failed(step: u16, exit_code: i32) -> Option<JobResult> {
    Some(JobResult::Failure { step, exit_code, out_of_memory: false })
}

#[test]
fn exit_codes_and_signals_are_told_apart() {
    let log = run(vec![
        step("echo out; echo err >&2; pwd"),
        StepSpec { continue_on_error: true, ..step("exit 7") },
        StepSpec { continue_on_error: true, ..step("kill -9 $$") },
        StepSpec { continue_on_error: true, ..step("false; echo not reached") },
        step("exit 3"),
        step("echo skipped"),
        when("failure()", "echo on failure"),
        always("echo always"),
    ]);
    assert_eq!(log.result, failed(4, 3));
    assert!(log.stdout(0).starts_with("out\n/") && log.stdout(0).ends_with("/longshore/workspace\n"));
    assert_eq!(log.stderr(0), "err\n");
    let ends: Vec<_> = log.steps.values().map(|step| (step.status, step.exit_code, step.signal)).collect();
    assert_eq!(
        ends,
        [
            (StepStatus::Success, Some(0), None),
            (StepStatus::Failure, Some(7), None),
            (StepStatus::Failure, Some(137), Some(9)),
            (StepStatus::Failure, Some(1), None),
            (StepStatus::Failure, Some(3), None),
            (StepStatus::Skipped, None, None),
            (StepStatus::Success, Some(0), None),
            (StepStatus::Success, Some(0), None),
        ]
    );
    assert_eq!((log.stdout(3), log.stdout(6), log.stdout(7)), ("".into(), "on failure\n".into(), "always\n".into()));
    assert_eq!(log.started, [0, 1, 2, 3, 4, 6, 7]);
    assert!(log.steps[&0].peak_memory_bytes > 100_000);
}

#[test]
fn time_and_memory_are_measured() {
    let log = run(vec![step("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"), step("sleep 0.2")]);
    assert!(log.steps[&0].cpu_ms > 20, "{:?}", log.steps[&0]);
    assert!(log.steps[&1].cpu_ms < 150 && log.steps[&1].wall_ms >= 200, "{:?}", log.steps[&1]);
}

#[test]
fn a_step_that_closes_its_stdout_early_still_gets_its_exit_code() {
    let log =
        run(vec![StepSpec { continue_on_error: true, ..step("exec >&- 2>&-; sleep 0.1; exit 9") }, step("echo next")]);
    assert_eq!(log.steps[&0].exit_code, Some(9));
    assert_eq!(log.stdout(1), "next\n");
}

#[test]
fn environment_directory_shell_and_stdin_are_as_planned() {
    let log = run_with(
        |spec| {
            spec.env.insert("JOB".into(), "job".into());
            spec.env.insert("BOTH".into(), "job".into());
            spec.steps[0].env.insert("BOTH".into(), "step".into());
            spec.steps[1].working_directory = Some("sub/dir".into());
            spec.steps[2].shell = "bash".into();
            spec.steps[3].shell = "cat -n".into();
        },
        vec![
            step("mkdir -p sub/dir; echo $JOB $BOTH $FROM_IMAGE $HOME $USER; cat; echo $?"),
            step("pwd"),
            StepSpec { continue_on_error: true, ..step("[[ a == a ]]; echo $BASH_VERSION | grep -q .; false | true") },
            step("hello"),
            step("ps -o pgid= -p $$ | tr -d ' '; echo $$; ls /proc/self/fd | wc -l"),
        ],
    );
    assert_eq!(log.stdout(0), "job step yes /root root\n0\n");
    assert!(log.stdout(1).ends_with("/workspace/sub/dir\n"));
    assert_eq!(log.steps[&2].exit_code, Some(1));
    assert_eq!(log.stdout(3), "     1\thello");
    let last = log.stdout(4);
    let lines: Vec<_> = last.lines().collect();
    assert_eq!(lines[0], lines[1], "a group of its own");
    assert_eq!(lines[2], "4", "nothing but the standard streams and the folder that is listed");
    assert_eq!(log.result, Some(JobResult::Success));
}

#[test]
fn a_step_runs_as_the_images_user_with_its_groups_and_home() {
    let log = run_with(
        |spec| spec.user = "daemon".into(),
        vec![step("id -u; id -g; echo $HOME $USER; touch mine && echo $CI")],
    );
    assert_eq!(log.result, Some(JobResult::Success), "{log:?}");
    assert_eq!(log.stdout(0), "1\n1\n/usr/sbin daemon\n\n");
    let log = run_with(|spec| spec.user = "1234:56".into(), vec![step("id -u; id -G; echo $HOME")]);
    assert_eq!(log.stdout(0), "1234\n56\n/\n");
}

#[test]
fn what_the_image_lacks_is_named() {
    let log = run_with(|spec| spec.user = "no-such-user".into(), vec![step("true")]);
    assert!(
        matches!(&log.result, Some(JobResult::Error { kind: AgentError::ImageUnusable, message }) if message.contains("no-such-user"))
    );
    let log = run(vec![StepSpec { shell: "no-such-shell -x".into(), ..step("true") }]);
    assert!(
        matches!(&log.result, Some(JobResult::Error { kind: AgentError::ImageUnusable, message }) if message.contains("`no-such-shell`")),
        "{log:?}"
    );
    assert_eq!(log.steps[&0].status, StepStatus::Error);
}

#[test]
fn a_missing_working_directory_fails_the_step_with_a_note() {
    let log = run(vec![StepSpec { working_directory: Some("none".into()), ..step("true") }, always("echo still")]);
    assert!(log.notes[0].contains("none does not exist"), "{:?}", log.notes);
    assert_eq!(log.steps[&0].status, StepStatus::Failure);
    assert_eq!((log.result.clone(), log.stdout(1)), (failed(0, 126), "still\n".into()));
    let log = run(vec![StepSpec { working_directory: Some("../..".into()), ..step("true") }]);
    assert!(log.notes[0].contains("not inside the workspace"));
}

#[test]
fn output_of_background_children_is_neither_lost_nor_waited_for() {
    let started = Instant::now();
    let log = run(vec![
        step("(until [ -e second ]; do sleep 0.01; done; echo late; : >late; exec sleep 100) & echo early"),
        step(": >second; until [ -e late ]; do sleep 0.01; done; echo second"),
        step(
            "(trap 'echo ended; exit' TERM; echo ready; : >ready; while :; do sleep 0.01; done) &
            until [ -e ready ]; do sleep 0.01; done",
        ),
    ]);
    assert_eq!(log.stdout(0), "early\nlate\n");
    assert_eq!(log.stdout(1), "second\n");
    assert_eq!(log.stdout(2), "ready\nended\n");
    assert_eq!(log.result, Some(JobResult::Success));
    assert!(started.elapsed() < Duration::from_secs(90), "the job waited for its background child");
}

#[test]
fn a_background_child_that_ignores_term_in_its_own_session_is_killed_at_the_end() {
    let log = run_with(
        |spec| spec.grace_ms = 100,
        vec![step(
            "setsid sh -c 'trap \"\" TERM; echo $$; : >deaf; while :; do sleep 0.01; done' &
            until [ -e deaf ]; do sleep 0.01; done",
        )],
    );
    assert!(!is_alive(&log.stdout(0)), "{}", log.stdout(0));
    assert_eq!(log.result, Some(JobResult::Success));
}

#[test]
fn a_background_child_that_prints_for_ever_does_not_hold_the_job() {
    let log = run(vec![step("yes & sleep 0.05"), step("echo second")]);
    assert_eq!(log.result, Some(JobResult::Success));
    assert_eq!(log.stdout(1), "second\n");
}

#[test]
fn orphans_are_reaped() {
    let mut agent = Agent::start();
    agent.begin(vec![
        step("i=0; while [ $i -lt 50 ]; do (sh -c 'exit 1' & ) ; i=$((i+1)); done"),
        // This step is the agent's only child.
        step(
            "until [ \"$(ps -e -o ppid= | awk -v p=$PPID '$1 == p' | wc -l)\" = 1 ]; do sleep 0.05; done; echo reaped",
        ),
    ]);
    assert_eq!(agent.finish().stdout(1), "reaped\n");
}

#[test]
fn the_agent_cannot_be_looked_into_or_stopped_by_a_step() {
    let log = run_with(
        |spec| spec.user = "daemon".into(),
        vec![
            StepSpec { continue_on_error: true, ..step("ls /proc/$PPID/fd") },
            StepSpec { continue_on_error: true, ..step("cat /proc/$PPID/environ") },
            StepSpec { continue_on_error: true, ..step("ls ../spool") },
        ],
    );
    for number in 0..3 {
        assert_eq!(log.steps[&number].status, StepStatus::Failure, "{number}");
    }
    // The same as root: TERM from a process that has a pid in here has no effect.
    let log = run(vec![step("kill -TERM $PPID; kill -INT $PPID; sleep 0.1; echo alive")]);
    assert_eq!((log.stdout(0), log.result.clone()), ("alive\n".into(), Some(JobResult::Success)));
}

#[test]
fn the_next_step_starts_at_once() {
    let mut agent = Agent::start();
    agent.begin((0..200).map(|_| step(":")).collect());
    let mut ended = None;
    let mut gaps = Vec::new();
    loop {
        match agent.next().unwrap().message {
            longshore_agent_protocol::FromAgent::StepStarted { time_ms, .. } => {
                gaps.extend(ended.map(|at| time_ms - at))
            }
            longshore_agent_protocol::FromAgent::StepFinished { time_ms, .. } => ended = Some(time_ms),
            longshore_agent_protocol::FromAgent::JobFinished { .. } => break,
            _ => {}
        }
    }
    gaps.sort_unstable();
    // Whatever the agent waited for would be in every gap; on a busy machine many are longer.
    assert!(gaps[gaps.len() / 10] <= 3, "{gaps:?}");
}

#[test]
fn ten_thousand_steps_lose_no_byte_and_no_exit_code() {
    for _ in 0..50 {
        let log = run((0..200).map(|_| StepSpec { continue_on_error: true, ..step("printf x; exit 7") }).collect());
        assert_eq!(log.result, Some(JobResult::Success));
        for number in 0..200 {
            assert_eq!((log.stdout(number), log.steps[&number].exit_code), ("x".into(), Some(7)), "step {number}");
        }
    }
}
