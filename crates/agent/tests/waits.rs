//! Steps that wait for steps in the background.

mod support;

use std::time::{Duration, Instant};

use longshore_agent_protocol::StepSpec;
use longshore_agent_protocol::message::{JobResult, StepStatus};
use support::{Log, always, run, step, template, when};

fn beside(id: &str, run: &str) -> StepSpec {
    StepSpec { id: Some(id.to_owned()), name: id.to_owned(), background: true, ..step(run) }
}

fn wait(steps: &[u16]) -> StepSpec {
    StepSpec { wait: steps.to_vec(), ..step("") }
}

fn statuses(log: &Log) -> Vec<StepStatus> {
    log.steps.values().map(|step| step.status).collect()
}

/// A script that waits for a file.
fn until(file: &str) -> String {
    format!("until [ -e {file} ]; do sleep 0.01; done")
}

#[test]
fn what_comes_behind_a_wait_sees_all_that_the_awaited_step_handed_on() {
    let log = run(vec![
        beside("bg", &format!("{}; echo v=1 >> $LONGSHORE_OUTPUT; echo E=2 >> $LONGSHORE_ENV", until("go"))),
        beside("other", "while :; do sleep 0.01; done"),
        step(": > go"),
        StepSpec { id: Some("w".to_owned()), ..wait(&[0]) },
        StepSpec {
            run: template("echo [$V][$E][${{ steps.bg.outcome }}][${{ steps.w.outcome }}][${{ steps.other.outcome }}]"),
            env: [("V".into(), template("${{ steps.bg.outputs.v }}"))].into(),
            ..step("")
        },
    ]);
    assert_eq!(log.result, Some(JobResult::Success), "{log:?}");
    assert_eq!(log.stdout(4), "[1][2][success][success][]\n");
    // The awaited step ends before the wait, and the other one with the job.
    let at = |step| log.finished.iter().position(|finished| *finished == step);
    assert!(at(0) < at(3) && log.finished.last() == Some(&1), "{:?}", log.finished);
}

#[test]
fn a_wait_fails_if_an_awaited_step_has_failed_and_says_which() {
    let log = run(vec![
        beside("good", "true"),
        beside("bad", "exit 5"),
        StepSpec { condition: always("").condition, ..wait(&[0, 1]) },
        step("echo never"),
        when("failure()", "echo seen"),
    ]);
    assert_eq!(log.result, Some(JobResult::Failure { step: 1, exit_code: 5, out_of_memory: false }));
    use StepStatus::{Failure, Skipped, Success};
    assert_eq!(statuses(&log), [Success, Failure, Failure, Skipped, Success]);
    assert_eq!(log.notes, ["failed: bad"]);
    let log =
        run(vec![StepSpec { continue_on_error: true, ..beside("bad", "exit 5") }, wait(&[0]), step("echo goes on")]);
    assert_eq!((log.result.clone(), statuses(&log)), (Some(JobResult::Success), vec![Failure, Success, Success]));
}

#[test]
fn nothing_is_waited_for_that_was_skipped_or_is_over() {
    let skipped = StepSpec { condition: when("1 == 2", "").condition, ..beside("skipped", "exec sleep 100") };
    let log = run(vec![skipped, beside("over", ": > over"), step(&until("over")), wait(&[0, 1]), step("echo end")]);
    assert_eq!((log.result.clone(), log.stdout(4).as_str()), (Some(JobResult::Success), "end\n"), "{log:?}");
}

#[test]
fn a_wait_ends_when_its_time_is_over_and_the_awaited_step_goes_on() {
    let begun = Instant::now();
    let log = run(vec![
        beside("bg", "trap 'echo ends; exit 0' TERM; : > up; while :; do sleep 0.01; done"),
        step(&until("up")),
        StepSpec { timeout_ms: Some(100), ..wait(&[0]) },
        always("echo after"),
    ]);
    assert_eq!(log.result, Some(JobResult::TimedOut { limit_ms: 100 }), "{log:?}");
    use StepStatus::{Success, TimedOut};
    assert_eq!(statuses(&log), [Success, Success, TimedOut, Success]);
    assert_eq!(log.stdout(0), "ends\n");
    assert!(begun.elapsed() < Duration::from_secs(250));
}
