//! What the pipeline language promises about steps: expressions, outputs, variables, tries, terminals, background
//! steps.

mod support;

use longshore_agent_protocol::StepSpec;
use longshore_agent_protocol::message::{AgentError, JobResult, StepStatus};
use longshore_core::expression::Value;
use longshore_core::plan::{Retry, RetryOn};
use support::{Agent, Log, always, run, run_with, step, template, when};

fn named(id: &str, run: &str) -> StepSpec {
    StepSpec { id: Some(id.to_owned()), ..step(run) }
}

fn filled(run: &str) -> StepSpec {
    StepSpec { run: template(run), ..step("") }
}

fn statuses(log: &Log) -> Vec<StepStatus> {
    log.steps.values().map(|step| step.status).collect()
}

#[test]
fn outputs_of_a_step_reach_the_steps_after_it_and_the_jobs_own() {
    let log = run_with(
        |spec| {
            spec.outputs.insert("version".into(), template("v${{ steps.meta.outputs.version }}"));
            spec.outputs.insert("nothing".into(), template("${{ steps.meta.outputs.other }}"));
        },
        vec![
            named(
                "meta",
                "echo version=1.2 >> $LONGSHORE_OUTPUT; printf 'text<<END\\na\\nb\\nEND\\n' >> $LONGSHORE_OUTPUT",
            ),
            StepSpec {
                env: [("VERSION".into(), template("${{ steps.meta.outputs.version }}"))].into(),
                ..filled("echo \"$VERSION ${{ steps.meta.outcome }}\"")
            },
            when("steps.meta.outputs.version == '1.2'", "echo runs"),
            when("steps.meta.outputs.version == '1.3'", "echo never"),
        ],
    );
    assert_eq!(log.result, Some(JobResult::Success));
    assert_eq!((log.stdout(1).as_str(), log.stdout(2).as_str()), ("1.2 success\n", "runs\n"));
    assert_eq!(log.steps[&3].status, StepStatus::Skipped);
    assert_eq!(log.steps[&0].outputs["text"], "a\nb");
    assert_eq!((log.outputs["version"].as_str(), log.outputs["nothing"].as_str()), ("v1.2", ""));
}

#[test]
fn variables_and_folders_that_a_step_adds_are_there_from_the_next_one_on() {
    let log = run_with(
        |spec| {
            spec.env.insert("JOB".into(), "job".into());
        },
        vec![
            step(
                "mkdir bin; printf '#!/bin/sh\\necho mine\\n' > bin/ls; chmod +x bin/ls; echo $PWD/bin >> $LONGSHORE_PATH
                 echo JOB=changed >> $LONGSHORE_ENV; echo NEW=new >> $LONGSHORE_ENV; echo [$NEW]; echo '# well' >> $LONGSHORE_SUMMARY",
            ),
            step("echo $JOB $NEW; ls"),
            when("env.NEW == 'new'", "echo seen"),
            StepSpec { env: [("NEW".into(), template("${{ env.NEW }}er"))].into(), ..step("echo $NEW") },
        ],
    );
    assert_eq!(log.stdout(0), "[]\n");
    assert_eq!(log.stdout(1), "changed new\nmine\n");
    assert_eq!((log.stdout(2).as_str(), log.stdout(3).as_str()), ("seen\n", "newer\n"));
    assert_eq!(log.steps[&0].summary, "# well\n");
}

#[test]
fn a_malformed_or_too_long_file_fails_the_step_with_words() {
    for (script, words) in [
        ("echo hello >> $LONGSHORE_OUTPUT", "LONGSHORE_OUTPUT, line 1, is neither"),
        ("echo LONGSHORE_X=1 >> $LONGSHORE_ENV", "may not be set"),
        ("echo bin >> $LONGSHORE_PATH", "not an absolute path"),
        ("head -c 70000 /dev/zero | tr '\\0' x > $LONGSHORE_OUTPUT", "more than 64 KiB"),
        ("rm $LONGSHORE_OUTPUT; ln -s /etc/passwd $LONGSHORE_OUTPUT", "LONGSHORE_OUTPUT cannot be read"),
    ] {
        let log = run(vec![step(script), step("echo never")]);
        assert_eq!(statuses(&log), [StepStatus::Failure, StepStatus::Skipped], "{script}");
        assert!(log.notes.iter().any(|note| note.contains(words)), "{script}: {:?}", log.notes);
    }
    let log = run(vec![step("rm $LONGSHORE_OUTPUT $LONGSHORE_ENV")]);
    assert_eq!(log.result, Some(JobResult::Success));
}

#[test]
fn an_output_that_would_show_a_secret_is_dropped_and_the_summary_is_masked() {
    let log = run_with(
        |spec| {
            spec.masks = vec!["s3cret-value".into()];
            spec.known.insert("secrets".into(), Value::map([("TOKEN", "s3cret-value")]));
            spec.env.insert("TOKEN".into(), template("${{ secrets.TOKEN }}"));
            spec.outputs.insert("all".into(), template("${{ secrets.TOKEN }}"));
        },
        vec![named(
            "a",
            "echo token=x-$TOKEN >> $LONGSHORE_OUTPUT; echo fine=1 >> $LONGSHORE_OUTPUT; echo see $TOKEN | tee $LONGSHORE_SUMMARY",
        )],
    );
    assert_eq!(log.stdout(0), "see ***\n");
    assert_eq!(log.steps[&0].summary, "see ***\n");
    assert_eq!(log.steps[&0].outputs.keys().collect::<Vec<_>>(), ["fine"]);
    assert!(log.outputs.is_empty());
    assert_eq!(log.notes.iter().filter(|note| note.contains("would reveal a secret")).count(), 2);
}

#[test]
fn a_secret_as_a_file_lies_outside_the_workspace_for_the_steps_user_alone() {
    let mut agent = Agent::start();
    let mut spec =
        agent.spec(vec![step("cat $KEY; stat -c %a $KEY; case $KEY in $PWD*) echo inside;; esac; echo $KEY > path")]);
    spec.secret_files.insert("KEY".into(), "line one\nline two\n".into());
    let workspace = agent.workspace();
    agent.begin_with(spec);
    let log = agent.finish();
    agent.wait();
    assert_eq!(log.stdout(0), "line one\nline two\n600\n");
    let path = std::fs::read_to_string(format!("{workspace}/path")).unwrap();
    assert!(!std::path::Path::new(path.trim()).exists(), "it is gone with the job");
}

#[test]
fn conditions_know_how_it_has_gone() {
    let log = run(vec![
        StepSpec { continue_on_error: true, ..named("first", "exit 3") },
        when("steps.first.outcome == 'failure' && steps.first.conclusion == 'success'", "echo 1"),
        step("exit 4"),
        when("success()", "echo never"),
        when("failure() && steps.first.outcome == 'failure'", "echo 2"),
        when("!cancelled()", "echo 3"),
        when("true", "echo never: only after success"),
        always("echo 4"),
    ]);
    assert_eq!(log.result, Some(JobResult::Failure { step: 2, exit_code: 4, out_of_memory: false }));
    let ran: String = (0..8).map(|step| log.stdout(step)).collect();
    assert_eq!(ran, "1\n2\n3\n4\n");
}

#[test]
fn an_expression_without_a_value_is_said_where_it_stands() {
    let broken = [("A".into(), template("${{ from-json(env.HOME_) }}"))].into();
    let log = run(vec![StepSpec { env: broken, ..step("echo never") }, step("echo never")]);
    assert_eq!(statuses(&log), [StepStatus::Error, StepStatus::Skipped]);
    assert!(log.notes[0].starts_with("`env`: `from-json`"), "{:?}", log.notes);
    let log = run_with(
        |spec| {
            spec.env.insert("A".into(), template("${{ needs.x.outputs.y }}"));
        },
        vec![step("echo never")],
    );
    assert!(
        matches!(&log.result, Some(JobResult::Error { kind: AgentError::Expression, message }) if message.contains("env: A"))
    );
}

#[test]
fn a_step_is_tried_again_after_the_ends_that_it_names() {
    let flaky = "echo try >> tries; [ $(wc -l < tries) -ge 3 ]";
    let retry = |max, on: &[RetryOn]| Some(Retry { max, on: on.to_vec() });
    let log = run(vec![StepSpec { retry: retry(2, &[RetryOn::Failure]), ..step(flaky) }]);
    assert_eq!((log.result.clone(), log.started.len()), (Some(JobResult::Success), 1));
    assert_eq!(
        log.notes,
        ["exited with code 1; retrying (attempt 2 of 3)", "exited with code 1; retrying (attempt 3 of 3)"]
    );
    let log = run(vec![StepSpec { retry: retry(1, &[RetryOn::Failure]), ..step(flaky) }]);
    assert_eq!(log.steps[&0].exit_code, Some(1));
    let log = run(vec![StepSpec { retry: retry(5, &[RetryOn::Timeout, RetryOn::Error]), ..step("exit 2") }]);
    assert_eq!((log.steps[&0].exit_code, log.notes.len()), (Some(2), 0));
    let slow = "echo try >> tries; [ $(wc -l < tries) -ge 2 ] || sleep 60";
    let log = run(vec![StepSpec { retry: retry(1, &[RetryOn::Timeout]), timeout_ms: Some(3_000), ..step(slow) }]);
    assert_eq!(
        (log.result.clone(), log.notes.as_slice()),
        (Some(JobResult::Success), &["timed out; retrying (attempt 2 of 2)".to_owned()][..])
    );
}

#[test]
fn a_terminal_is_one_for_all_three_streams_and_its_newlines_are_plain() {
    let log = run(vec![StepSpec {
        tty: true,
        ..step("[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo yes; echo err >&2; stty size")
    }]);
    assert_eq!(log.result, Some(JobResult::Success), "{log:?}");
    assert_eq!((log.stdout(0).as_str(), log.stderr(0).as_str()), ("yes\nerr\n40 120\n", ""));
    let log = run(vec![step("[ -t 1 ] || echo no")]);
    assert_eq!(log.stdout(0), "no\n");
}

#[test]
fn a_background_step_runs_beside_the_others_and_ends_with_them() {
    let service = "trap 'echo ends; exit 0' TERM; touch up; while :; do sleep 0.01; done";
    let log = run(vec![
        StepSpec { background: true, ..step(service) },
        step("while [ ! -e up ]; do sleep 0.01; done; echo up"),
    ]);
    assert_eq!(log.result, Some(JobResult::Success));
    assert_eq!((log.stdout(0).as_str(), log.stdout(1).as_str()), ("ends\n", "up\n"));
    assert_eq!(log.steps[&0].status, StepStatus::Success);
    let log = run(vec![
        StepSpec { background: true, ..step("echo $$ > pid; exit 5") },
        step("until [ -s pid ]; do sleep 0.01; done; while kill -0 \"$(cat pid)\" 2>/dev/null; do sleep 0.01; done"),
        step("echo never"),
    ]);
    assert_eq!(log.result, Some(JobResult::Failure { step: 0, exit_code: 5, out_of_memory: false }));
    assert_eq!(log.steps[&2].status, StepStatus::Skipped);
}

#[test]
fn the_end_of_a_background_step_is_told_when_it_comes_and_not_with_the_step_beside_it() {
    let beside = "until [ -s pid ]; do sleep 0.01; done; while kill -0 \"$(cat pid)\" 2>/dev/null; do sleep 0.01; done";
    let log = run(vec![StepSpec { background: true, ..step("echo $$ > pid; exit 5") }, step(beside)]);
    assert_eq!(log.finished, [0, 1]);
    assert_eq!(log.result, Some(JobResult::Failure { step: 0, exit_code: 5, out_of_memory: false }));
}

/// A script that waits until the file `$1` exists.
const UNTIL: &str = "until [ -e $1 ]; do sleep 0.01; done";

fn until(file: &str) -> String {
    UNTIL.replace("$1", file)
}

fn beside(id: &str, run: &str) -> StepSpec {
    StepSpec { background: true, ..named(id, run) }
}

#[test]
fn a_background_step_that_has_ended_hands_on_what_any_other_does() {
    let told = "mkdir bin; printf '#!/bin/sh\necho mine\n' > bin/ls; chmod +x bin/ls; echo $PWD/bin >> $LONGSHORE_PATH
                echo v=1 >> $LONGSHORE_OUTPUT; echo E=1 >> $LONGSHORE_ENV; echo '# well' >> $LONGSHORE_SUMMARY; echo $$ > pid";
    let gone = "until [ -s pid ]; do sleep 0.01; done; while kill -0 \"$(cat pid)\" 2>/dev/null; do sleep 0.01; done";
    let log = run_with(
        |spec| {
            spec.outputs.insert("v".into(), template("${{ steps.bg.outputs.v }}"));
            spec.outputs.insert("late".into(), template("${{ steps.late.outputs.v }}-${{ steps.late.outcome }}"));
        },
        vec![
            beside("late", "trap 'echo v=2 >> $LONGSHORE_OUTPUT; exit 3' TERM; : > up; while :; do sleep 0.01; done"),
            beside("bg", told),
            step(&format!("{gone}; {}", until("up"))),
            StepSpec {
                env: [("V".into(), template("${{ steps.bg.outputs.v }}"))].into(),
                ..filled("echo \"[$V][$E][${{ steps.bg.outcome }}][${{ steps.late.outcome }}]\"; ls")
            },
        ],
    );
    assert_eq!(log.result, Some(JobResult::Success), "{log:?}");
    assert_eq!(log.stdout(3), "[1][1][success][]\nmine\n");
    assert_eq!((log.steps[&1].summary.as_str(), log.steps[&1].outputs["v"].as_str()), ("# well\n", "1"));
    // A step that ends with the job passes its values on too, and its exit after TERM is no failure.
    assert_eq!((log.outputs["v"].as_str(), log.outputs["late"].as_str()), ("1", "2-success"));
    assert_eq!((log.steps[&0].status, log.steps[&0].exit_code), (StepStatus::Success, None));
}

#[test]
fn a_background_step_ends_when_its_time_is_over() {
    let log = run(vec![
        StepSpec {
            timeout_ms: Some(2_000),
            ..beside("bg", "echo $$ > pid; echo v=1 >> $LONGSHORE_OUTPUT; exec sleep 100")
        },
        step("until [ -s pid ]; do sleep 0.01; done; while kill -0 \"$(cat pid)\" 2>/dev/null; do sleep 0.01; done"),
        StepSpec {
            run: template("echo ${{ steps.bg.outcome }} $V"),
            env: [("V".into(), template("${{ steps.bg.outputs.v }}"))].into(),
            ..always("")
        },
    ]);
    assert_eq!(log.result, Some(JobResult::TimedOut { limit_ms: 2_000 }), "{log:?}");
    assert_eq!((log.steps[&0].status, log.stdout(2).as_str()), (StepStatus::TimedOut, "timed-out 1\n"));
    assert!(log.steps[&0].wall_ms < 90_000);
    // Its clock runs beside a step that waits for nothing too.
    let log = run(vec![
        StepSpec {
            timeout_ms: Some(2_000),
            continue_on_error: true,
            ..beside("bg", "trap ': > ended; exit' TERM; while :; do sleep 0.01; done")
        },
        step(&until("ended")),
    ]);
    assert_eq!((log.result.clone(), log.steps[&0].status), (Some(JobResult::Success), StepStatus::TimedOut));
}

#[test]
fn a_background_step_is_tried_again_and_its_last_try_counts() {
    let retry = |on: &[RetryOn]| Some(Retry { max: 2, on: on.to_vec() });
    let flaky = "echo try >> tries; [ $(wc -l < tries) -ge 3 ] && : > third";
    let log = run(vec![StepSpec { retry: retry(&[RetryOn::Failure]), ..beside("bg", flaky) }, step(&until("third"))]);
    assert_eq!((log.result.clone(), log.started.as_slice()), (Some(JobResult::Success), &[0, 1][..]), "{log:?}");
    assert_eq!(
        log.notes,
        ["exited with code 1; retrying (attempt 2 of 3)", "exited with code 1; retrying (attempt 3 of 3)"]
    );
    let never = "echo try >> tries; [ $(wc -l < tries) -ge 3 ] && echo $$ > pid; exit 4";
    let gone = "until [ -s pid ]; do sleep 0.01; done; while kill -0 \"$(cat pid)\" 2>/dev/null; do sleep 0.01; done";
    let log = run(vec![StepSpec { retry: retry(&[RetryOn::Failure]), ..beside("bg", never) }, step(gone)]);
    assert_eq!(log.result, Some(JobResult::Failure { step: 0, exit_code: 4, out_of_memory: false }));
    assert_eq!(log.steps[&0].exit_code, Some(4));
    let slow = "echo try >> tries; [ $(wc -l < tries) -ge 2 ] && : > second && exit 0; exec sleep 60";
    let again = StepSpec { timeout_ms: Some(2_000), retry: retry(&[RetryOn::Timeout]), ..beside("bg", slow) };
    let log = run(vec![again, step(&until("second"))]);
    assert_eq!(log.result, Some(JobResult::Success), "{log:?}");
}

#[test]
fn a_file_that_cannot_be_read_fails_a_step_in_the_background_too() {
    for script in ["echo broken > $LONGSHORE_OUTPUT; : > up", "echo broken > $LONGSHORE_OUTPUT; : > up; exec sleep 100"]
    {
        let log = run(vec![beside("bg", script), step(&until("up"))]);
        assert_eq!(log.result, Some(JobResult::Failure { step: 0, exit_code: 1, out_of_memory: false }), "{script}");
        assert!(log.notes.iter().any(|note| note.contains("LONGSHORE_OUTPUT, line 1")), "{:?}", log.notes);
    }
}

#[test]
fn a_background_step_that_cannot_start_fails_the_job_as_any_other() {
    let lost = StepSpec { working_directory: Some("none".into()), ..beside("bg", "true") };
    let log = run(vec![lost, when("failure() && steps.bg.outcome == 'failure'", "echo seen")]);
    assert_eq!(log.result, Some(JobResult::Failure { step: 0, exit_code: 126, out_of_memory: false }));
    assert_eq!(log.stdout(1), "seen\n");
}

#[test]
fn a_variable_that_no_program_could_be_given_is_named_by_the_step_that_writes_it() {
    let log = run(vec![
        step("echo OK=1 >> $LONGSHORE_ENV; echo \"BIG=$(head -c 200000 /dev/zero | tr '\\0' x)\" >> $LONGSHORE_ENV"),
        step("echo never"),
    ]);
    assert_eq!(log.result, Some(JobResult::Failure { step: 0, exit_code: 1, out_of_memory: false }));
    assert!(log.notes[0].contains("`BIG`") && log.notes[0].contains("128 KiB"), "{:?}", log.notes);
    // Beyond the file's limit, too.
    let log =
        run(vec![step("printf 'BIG<<E\\n%s\\nE\\n' \"$(head -c 400000 /dev/zero | tr '\\0' x)\" >> $LONGSHORE_ENV")]);
    assert!(log.notes[0].contains("`BIG`") && log.notes[0].contains("400000"), "{:?}", log.notes);
    let log = run(vec![step("head -c 3000000 /dev/zero | tr '\\0' x >> $LONGSHORE_ENV")]);
    assert_eq!(log.steps[&0].status, StepStatus::Failure);
    // The longest possible variable.
    let log = run(vec![
        step("echo \"BIG=$(head -c 131067 /dev/zero | tr '\\0' x)\" >> $LONGSHORE_ENV"),
        step("echo ${#BIG}"),
    ]);
    assert_eq!((log.result.clone(), log.stdout(1).as_str()), (Some(JobResult::Success), "131067\n"), "{:?}", log.notes);
    // Folders before PATH become part of one variable.
    let many = "i=0; while [ $i -lt 100 ]; do printf '/%01000d\\n' 0; i=$((i+1)); done >> $LONGSHORE_PATH";
    let log = run(vec![step(many), step("echo never")]);
    assert_eq!(log.result, Some(JobResult::Failure { step: 0, exit_code: 1, out_of_memory: false }));
    assert!(log.notes[0].contains("LONGSHORE_PATH"), "{:?}", log.notes);
}

#[test]
fn a_hash_of_files_is_known_between_steps() {
    let log = run(vec![
        step("echo 1 > Cargo.lock"),
        filled("echo ${{ hash-files('Cargo.lock') }}"),
        step("echo 2 > Cargo.lock"),
        filled("echo ${{ hash-files('Cargo.lock') }}"),
        filled("echo '[${{ hash-files('none') }}]'"),
    ]);
    assert_eq!(log.stdout(1).trim().len(), 64);
    assert_ne!(log.stdout(1), log.stdout(3));
    assert_eq!(log.stdout(4), "[]\n");
}

#[test]
fn a_step_runs_as_the_user_it_names() {
    let log = run(vec![StepSpec { user: Some("no-such-user".into()), ..step("echo never") }]);
    assert_eq!(log.steps[&0].status, StepStatus::Error);
    assert!(log.notes[0].contains("no user `no-such-user`"), "{:?}", log.notes);
    if !is_root() {
        return;
    }
    let log = run(vec![StepSpec { user: Some("65534:65534".into()), ..step("id -u; echo a=1 >> $LONGSHORE_OUTPUT") }]);
    assert_eq!((log.stdout(0).as_str(), log.steps[&0].outputs["a"].as_str()), ("65534\n", "1"));
    let opened = step("echo out > /dev/stdout; echo err > /dev/stderr");
    let log = run(vec![StepSpec { user: Some("65534:65534".into()), ..opened }]);
    assert_eq!((log.stdout(0).as_str(), log.steps[&0].status), ("out\n", StepStatus::Success));
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

#[test]
fn what_the_pipelines_author_did_not_write_never_becomes_script() {
    for hostile in
        ["${{ steps.first.outputs.x }}", "${{ env.X }}", "${{ format('{0}', needs.a.outputs.x) }}", "${{ inputs.x }}"]
    {
        let log = run(vec![
            named("first", "echo 'x=$(touch hit)' >> $LONGSHORE_OUTPUT; echo 'X=$(touch hit)' >> $LONGSHORE_ENV"),
            filled(&format!("echo {hostile}")),
            StepSpec { working_directory: Some(template(hostile)), ..step("echo never") },
            always("test ! -e hit && echo safe"),
        ]);
        assert_eq!(log.steps[&1].status, StepStatus::Error, "{hostile}");
        assert!(log.notes[0].contains("did not write"), "{:?}", log.notes);
        assert_eq!(log.stdout(3), "safe\n");
    }
}
