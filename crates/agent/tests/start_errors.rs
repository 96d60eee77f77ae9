//! Why a step could not start, and who is at fault.

#![expect(clippy::unwrap_used, reason = "what the tests share belongs to the tests")]

#[path = "support/elf.rs"]
mod elf;
#[path = "../../../tests/support/executable.rs"]
mod executable;
mod support;

use elf::elf;
use longshore_agent_protocol::StepSpec;
use longshore_agent_protocol::message::{AgentError, JobResult, StepStatus};
use longshore_core::plan::{Retry, RetryOn};
use support::{Agent, Log, always, run, run_with, step};

fn failed(step: u16) -> Option<JobResult> {
    Some(JobResult::Failure { step, exit_code: 126, out_of_memory: false })
}

/// Runs one step with a broken program outside the workspace as its shell.
fn run_by(program: &[u8]) -> Log {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shell");
    executable::write(&path, program);
    let retry = Some(Retry { max: 2, on: vec![RetryOn::Failure, RetryOn::Error] });
    run(vec![StepSpec { shell: path.display().to_string(), retry, ..step("echo never") }, always("echo still")])
}

fn unusable(log: &Log) -> &str {
    match &log.result {
        Some(JobResult::Error { kind: AgentError::ImageUnusable, message }) => message,
        other => panic!("{other:?}, {:?}", log.notes),
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn an_image_for_another_machine_is_an_error_before_anything_runs() {
    let log = run_by(&elf(183, "/lib/ld-linux-aarch64.so.1"));
    let message = unusable(&log);
    assert!(message.contains("for arm64") && message.contains("runs amd64"), "{message}");
    assert_eq!((log.started.len(), log.notes.len()), (0, 0), "nothing began, and nothing was tried again");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_loader_that_the_image_does_not_have_is_named() {
    let log = run_by(&elf(62, "/lib/no-such-loader.so"));
    assert!(unusable(&log).contains("`/lib/no-such-loader.so`"));
    assert_eq!((log.steps[&0].status, log.notes.len()), (StepStatus::Error, 1), "{:?}", log.notes);
    let log = run_by(b"#!/no/such/interpreter\n");
    assert!(unusable(&log).contains("`/no/such/interpreter`"));
}

#[test]
fn what_may_not_be_run_is_told_from_what_is_not_there() {
    let log = run(vec![StepSpec { shell: "/etc/passwd".into(), ..step("") }]);
    assert!(unusable(&log).contains("`/etc/passwd` cannot be executed"), "{:?}", log.result);
    let log = run(vec![StepSpec { shell: "/etc/no-such-file".into(), ..step("") }]);
    assert!(unusable(&log).contains("has no `/etc/no-such-file`"), "{:?}", log.result);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_program_that_the_pipeline_has_made_itself_is_its_own_failure() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = folder.path().join("foreign");
    std::fs::write(&foreign, elf(183, "/lib/ld-linux-aarch64.so.1")).unwrap();
    let made = StepSpec { shell: "./tool".into(), ..step("") };
    let copied = step(&format!("cp {} tool; chmod +x tool", foreign.display()));
    let log = run(vec![copied, made.clone(), always("echo still")]);
    assert_eq!((log.result.clone(), log.stdout(2)), (failed(1), "still\n".into()), "{:?}", log.notes);
    assert_eq!((log.steps[&1].status, log.steps[&1].exit_code), (StepStatus::Failure, Some(126)));
    assert!(log.notes[0].contains("for arm64"), "{:?}", log.notes);
    let log = run(vec![step("echo '#!/no/such/interpreter' > tool; chmod +x tool"), made.clone()]);
    assert!(log.notes[0].contains("`/no/such/interpreter`"), "{:?}", log.notes);
    let log = run(vec![step("echo words > tool"), made]);
    assert_eq!(log.result, failed(1));
    assert!(log.notes[0].contains("cannot be executed"), "{:?}", log.notes);
}

#[test]
fn a_workspace_that_is_gone_is_the_step_before_its_doing() {
    for (gone, directory) in
        [("rm -rf \"$PWD\"", None), ("mv \"$PWD\" \"$PWD.old\"", None), ("rm -rf \"$PWD\"", Some("sub"))]
    {
        let next = StepSpec { working_directory: directory.map(Into::into), ..step("echo never") };
        let log = run(vec![step(gone), next]);
        assert_eq!(log.result, failed(1), "{gone}");
        assert!(log.notes[0].contains("the workspace is gone"), "{:?}", log.notes);
    }
}

#[test]
fn variables_that_are_too_long_for_the_kernel_are_named() {
    let log = run_with(
        |spec| {
            spec.env.insert("BIG".into(), "x".repeat(200_000).as_str().into());
        },
        vec![step("echo never")],
    );
    assert_eq!(log.result, failed(0));
    assert!(log.notes[0].contains("`BIG` has 200005 bytes") && log.notes[0].contains("128 KiB"), "{:?}", log.notes);
    let log = run_with(
        |spec| {
            for number in 0..80 {
                spec.env.insert(format!("MANY_{number}"), "x".repeat(120_000).as_str().into());
            }
        },
        vec![step("echo never")],
    );
    assert_eq!(log.result, failed(0));
    assert!(log.notes[0].contains("`MANY_") && log.notes[0].contains("together"), "{:?}", log.notes);
}

#[test]
fn git_works_in_the_workspace_for_whoever_a_step_runs_as() {
    if std::process::Command::new("git").arg("--version").output().is_err() || !is_root() {
        return;
    }
    let log = run_with(
        |spec| spec.user = "65534:65534".into(),
        vec![
            StepSpec { env: [("HOME".into(), "/tmp".into())].into(), ..step("git init -q .") },
            StepSpec { user: Some("0".into()), ..step("git status --short && echo fine") },
        ],
    );
    assert_eq!(log.stdout(1), "fine\n", "{}", log.stderr(1));
}

#[test]
fn secret_files_that_are_not_on_memory_are_said_to_be() {
    let mut agent = Agent::start();
    let mut spec = agent.spec(vec![step("cat $KEY")]);
    spec.secret_files.insert("KEY".into(), "text".into());
    agent.begin_with(spec);
    let log = agent.finish();
    agent.wait();
    assert_eq!(log.stdout(0), "text");
    assert!(log.notes[0].contains("secret files are on the engine's disk"), "{:?}", log.notes);
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}
