//! Cancel, timeouts, grace period.

#![expect(clippy::unwrap_used, reason = "what the tests share belongs to the tests")]

mod support;

use std::time::{Duration, Instant};

use longshore_agent_protocol::message::{FromAgent, JobResult, StepStatus};
use longshore_agent_protocol::{StepSpec, ToAgent};
use support::{Agent, Limits, Log, always, is_alive, run_with, step, when};

/// A grace that no machine is too slow for.
const LONG_MS: u64 = 30_000;

/// Starts the steps, waits for the first output, then cancels.
fn cancel(steps: Vec<StepSpec>, grace_ms: u64, limits: Limits) -> (Log, Duration) {
    let mut agent = Agent::start_with(limits);
    let mut spec = agent.spec(steps);
    spec.grace_ms = grace_ms;
    agent.begin_with(spec);
    let mut log = Log::default();
    for message in agent.until(|message| matches!(message, FromAgent::Output { .. })) {
        log.take(message);
    }
    let started = Instant::now();
    agent.say(&ToAgent::Cancel);
    while log.result.is_none() {
        log.take(agent.next().unwrap().message);
    }
    (log, started.elapsed())
}

#[test]
fn a_canceled_step_runs_its_trap_and_then_the_always_steps_run() {
    let (log, took) = cancel(
        vec![
            step("trap 'echo trapped; exit 5' TERM; echo ready; while :; do sleep 0.01; done"),
            step("echo never"),
            when("failure()", "echo never"),
            always("echo cleanup"),
        ],
        LONG_MS,
        Limits::default(),
    );
    assert_eq!(log.result, Some(JobResult::Canceled));
    assert_eq!((log.stdout(0), log.stdout(3)), ("ready\ntrapped\n".into(), "cleanup\n".into()));
    let ends: Vec<_> = log.steps.values().map(|step| (step.status, step.exit_code)).collect();
    assert_eq!(
        ends,
        [
            (StepStatus::Canceled, Some(5)),
            (StepStatus::Skipped, None),
            (StepStatus::Skipped, None),
            (StepStatus::Success, Some(0)),
        ]
    );
    assert!(took < Duration::from_millis(LONG_MS), "{took:?}");
}

#[test]
fn a_child_of_the_shell_gets_the_grace_too() {
    let (log, _) = cancel(
        vec![step(
            "sh -c 'trap \"sleep 0.3; echo tidy; exit\" TERM; echo ready; while :; do sleep 0.01; done'; echo no",
        )],
        LONG_MS,
        Limits::default(),
    );
    assert_eq!(log.stdout(0), "ready\ntidy\n");
}

#[test]
fn a_step_that_ignores_term_is_killed_after_the_grace() {
    let (log, took) = cancel(vec![step("trap '' TERM; echo $$; while :; do sleep 0.01; done")], 300, Limits::default());
    assert_eq!(log.steps[&0].signal, Some(9));
    assert!(!is_alive(&log.stdout(0)));
    assert!(took >= Duration::from_millis(300) && took < Duration::from_millis(LONG_MS), "{took:?}");
}

#[test]
fn a_process_that_honours_term_is_gone_at_once() {
    let (log, took) = cancel(vec![step("echo $$; exec sleep 100")], LONG_MS, Limits::default());
    assert!(took < Duration::from_millis(LONG_MS), "{took:?}");
    assert_eq!(log.steps[&0].signal, Some(15));
}

#[test]
fn always_steps_after_a_cancel_are_bounded() {
    let limits = Limits { aftermath_ms: 3_000, ..Limits::default() };
    let (log, took) =
        cancel(vec![step("echo x; exec sleep 100"), always("exec sleep 100"), always("echo no")], 100, limits);
    assert_eq!(log.result, Some(JobResult::Canceled));
    assert_eq!((log.steps[&1].status, log.steps[&2].status), (StepStatus::TimedOut, StepStatus::Skipped));
    assert!(took < Duration::from_millis(LONG_MS), "{took:?}");
}

#[test]
fn a_steps_timeout_and_the_jobs_are_told_apart() {
    let log = run_with(
        |spec| spec.steps[0].timeout_ms = Some(150),
        vec![step("echo x; exec sleep 100"), step("echo no"), always("echo always")],
    );
    assert_eq!(log.result, Some(JobResult::TimedOut { limit_ms: 150 }));
    assert_eq!((log.steps[&0].status, log.steps[&1].status), (StepStatus::TimedOut, StepStatus::Skipped));
    assert_eq!(log.stdout(2), "always\n");

    let log =
        run_with(|spec| spec.timeout_ms = 200, vec![step("exec sleep 100"), step("echo no"), always("echo always")]);
    assert_eq!(log.result, Some(JobResult::TimedOut { limit_ms: 200 }));
    assert_eq!(log.steps[&0].status, StepStatus::TimedOut);
    assert_eq!(log.stdout(2), "always\n");
}

#[test]
fn a_cancel_while_the_checkout_is_on_its_way_ends_the_job() {
    let mut agent = Agent::start();
    let mut spec = agent.spec(vec![step("echo no"), always("echo no")]);
    spec.checkout = true;
    agent.begin_with(spec);
    agent.say(&ToAgent::Cancel);
    let log = agent.finish();
    assert_eq!((log.result.clone(), log.output.len()), (Some(JobResult::Canceled), 0));
}
