//! Artifacts: which files are collected, how they arrive, and what a workspace may contain.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use longshore_agent_protocol::message::{AgentError, JobResult, JobSpec};
use longshore_agent_protocol::{
    ArtifactLimits, ArtifactSpec, ArtifactWindow, FromAgent, ToAgent, artifact::MESSAGE_COST,
};
use longshore_core::artifact::ArtifactKind;
use longshore_core::plan::{ArtifactWhen, ReportFormat};

use support::{Agent, Log, step};

const WIDE: u64 = 1 << 30;

fn files(name: &str, when: ArtifactWhen, paths: &[&str]) -> ArtifactSpec {
    let paths = paths.iter().map(|path| (*path).into()).collect();
    ArtifactSpec { kind: ArtifactKind::Files, name: name.into(), paths, when }
}

fn spec(agent: &Agent, script: &str, artifacts: Vec<ArtifactSpec>) -> JobSpec {
    JobSpec {
        artifacts,
        artifact_limits: Some(ArtifactLimits { file_bytes: 1 << 20, job_bytes: 2 << 20, files: 50 }),
        ..agent.spec(vec![step(script)])
    }
}

/// The files that arrived, by artifact and path, and those that were left out at the last moment.
#[derive(Debug, Default)]
struct Taken {
    whole: BTreeMap<(String, String), Vec<u8>>,
    left_out: Vec<String>,
    ended: Option<u32>,
    log: Log,
}

impl Taken {
    fn paths(&self, name: &str) -> Vec<&str> {
        self.whole.keys().filter(|(artifact, _)| artifact == name).map(|(_, path)| path.as_str()).collect()
    }

    fn noted(&self, part: &str) -> bool {
        self.log.notes.iter().any(|note| note.contains(part))
    }
}

/// Takes everything in one session, and acknowledges it.
fn take_all(agent: &mut Agent) -> Taken {
    agent.say(&ToAgent::TakeArtifacts(ArtifactWindow { file: 0, offset: 0, limit: WIDE }));
    let mut taken = Taken::default();
    let mut current = None;
    while taken.log.result.is_none() {
        match agent.next().unwrap().message {
            FromAgent::ArtifactFile(file) => current = Some((file, Vec::new())),
            FromAgent::ArtifactData(data) => current.as_mut().unwrap().1.extend_from_slice(&data),
            FromAgent::ArtifactFileEnd { whole } => {
                let (file, data) = current.take().unwrap();
                if whole {
                    assert_eq!(file.bytes, data.len() as u64);
                    taken.whole.insert((file.name, file.path), data);
                } else {
                    taken.left_out.push(file.path);
                }
            }
            FromAgent::ArtifactsEnd { files } => {
                taken.ended = Some(files);
                agent.say(&ToAgent::ArtifactsStored);
            }
            other => taken.log.take(other),
        }
    }
    taken
}

fn run(script: &str, artifacts: Vec<ArtifactSpec>) -> Taken {
    let mut agent = Agent::start();
    let spec = spec(&agent, script, artifacts);
    agent.begin_with(spec);
    let taken = take_all(&mut agent);
    agent.wait();
    taken
}

#[test]
fn globs_folders_and_exclusions_say_which_files_are_kept() {
    let script = "mkdir -p out/deep/er docs .git && echo a > out/a && echo b > out/deep/er/b.o && echo c > docs/c.html \
                  && echo d > app && chmod +x app && echo e > .git/config && mkdir out/empty";
    let taken = run(
        script,
        vec![
            files("tree", ArtifactWhen::Success, &["out/", "!**/*.o"]),
            files("pages", ArtifactWhen::Always, &["**/*.html", "app"]),
            files("all", ArtifactWhen::Success, &["."]),
            files("core", ArtifactWhen::Failure, &["app"]),
            files("none", ArtifactWhen::Success, &["nothing/*.here"]),
        ],
    );
    assert_eq!(taken.log.result, Some(JobResult::Success));
    assert_eq!(taken.paths("tree"), ["out/a"]);
    assert_eq!(taken.paths("pages"), ["app", "docs/c.html"]);
    assert_eq!(taken.paths("all"), ["app", "docs/c.html", "out/a", "out/deep/er/b.o"]);
    assert!(taken.paths("core").is_empty());
    assert_eq!(taken.whole[&("pages".to_owned(), "app".to_owned())], b"d\n");
    assert!(taken.noted("artifact `none`: no files match `nothing/*.here`"), "{:?}", taken.log.notes);
}

#[test]
fn a_failed_job_leaves_what_is_kept_after_a_failure_and_its_reports() {
    let reports = ArtifactSpec {
        kind: ArtifactKind::Report(ReportFormat::Junit),
        name: "junit".into(),
        paths: vec!["*.xml".into()],
        when: ArtifactWhen::Always,
    };
    let all = vec![
        files("s", ArtifactWhen::Success, &["a"]),
        files("f", ArtifactWhen::Failure, &["a"]),
        files("e", ArtifactWhen::Always, &["a"]),
        reports,
    ];
    let taken = run("echo a > a; echo '<x/>' > junit.xml; exit 3", all);
    assert!(matches!(taken.log.result, Some(JobResult::Failure { exit_code: 3, .. })));
    let kept: Vec<&str> = taken.whole.keys().map(|(name, _)| name.as_str()).collect();
    assert_eq!(kept, ["e", "f", "junit"]);
}

#[test]
fn nothing_outside_the_workspace_is_read_and_nothing_but_files() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "secret").unwrap();
    let script = format!(
        "mkdir -p out/real && echo in > out/real/in && ln -s real/in out/inside && ln -s {0} out/outside && ln -s / out/root \
         && ln -s ../../.. out/up && ln -s real out/folder && ln -s loop out/loop && ln -s /proc/self/environ out/magic \
         && mkfifo out/pipe && echo slash > 'out/back\\slash' && printf x > \"$(printf 'out/\\377bad')\" \
         && printf y > \"$(printf 'out/new\\nline')\"",
        secret.path().display()
    );
    let taken = run(&script, vec![files("out", ArtifactWhen::Success, &["out/**"])]);
    assert_eq!(taken.log.result, Some(JobResult::Success), "{:?}", taken.log);
    assert_eq!(taken.paths("out"), ["out/inside", "out/real/in"]);
    assert_eq!(taken.whole[&("out".to_owned(), "out/inside".to_owned())], b"in\n");
    for named in [
        "out/outside",
        "out/root",
        "out/up",
        "out/folder",
        "out/loop",
        "out/magic",
        "out/pipe",
        "backslash",
        "not UTF-8",
    ] {
        assert!(taken.noted(named), "{named}: {:?}", taken.log.notes);
    }
}

#[test]
fn a_folder_that_becomes_a_link_while_it_is_collected_leads_nowhere() {
    let outside = tempfile::tempdir().unwrap();
    (0..20).for_each(|at| std::fs::write(outside.path().join(format!("f{at}")), "secret").unwrap());
    for _ in 0..8 {
        let mut agent = Agent::start();
        let script = "mkdir -p out/d && for i in $(seq 0 19); do echo own > out/d/f$i; done; touch out/ready";
        let spec = spec(&agent, script, vec![files("out", ArtifactWhen::Success, &["out/d/**"])]);
        let out = Path::new(&agent.workspace()).join("out");
        let (folder, beside, ready) = (out.join("d"), out.join("beside"), out.join("ready"));
        let is_over = std::sync::atomic::AtomicBool::new(false);
        let taken = std::thread::scope(|scope| {
            // A process of another container with the same workspace could do this.
            scope.spawn(|| {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    if ready.exists() && std::fs::rename(&folder, &beside).is_ok() {
                        std::os::unix::fs::symlink(outside.path(), &folder).unwrap();
                        std::thread::yield_now();
                        std::fs::remove_file(&folder).unwrap();
                        std::fs::rename(&beside, &folder).unwrap();
                    }
                }
            });
            agent.begin_with(spec);
            let taken = take_all(&mut agent);
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
            taken
        });
        agent.wait();
        assert!(taken.whole.values().all(|bytes| bytes == b"own\n"), "something outside the workspace was read");
    }
}

#[test]
fn a_sparse_file_of_ten_terabytes_is_refused_without_being_read() {
    let script = "truncate -s 8T huge 2>/dev/null || truncate -s 1T huge; echo small > small";
    let taken = run(
        script,
        vec![files("big", ArtifactWhen::Success, &["huge", "small"]), files("ok", ArtifactWhen::Success, &["small"])],
    );
    let Some(JobResult::Error { kind: AgentError::ArtifactsFailed, message }) = &taken.log.result else {
        panic!("{:?}", taken.log)
    };
    assert!(message.contains("`huge`") && message.contains("artifacts_file_mib"), "{message}");
    assert!(taken.paths("big").is_empty(), "whole or not at all");
    assert_eq!(taken.paths("ok"), ["small"]);
}

#[test]
fn more_files_or_bytes_than_a_job_may_leave_are_refused_with_the_settings_name() {
    let script = "mkdir many && for i in $(seq 60); do : > many/$i; done; \
                  for i in 1 2 3; do head -c 900000 /dev/zero > part$i; done";
    let taken = run(script, vec![files("many", ArtifactWhen::Success, &["many"])]);
    assert!(taken.noted("artifacts_files"), "{:?}", taken.log.notes);
    assert!(matches!(taken.log.result, Some(JobResult::Error { .. })));
    let parts = (1..4).map(|at| files(&format!("p{at}"), ArtifactWhen::Success, &[&format!("part{at}")])).collect();
    let taken = run(script, parts);
    assert!(taken.noted("artifacts_job_mib"), "{:?}", taken.log.notes);
    assert_eq!(taken.whole.len(), 2, "those before it are kept");
}

#[test]
fn a_client_that_dies_in_the_middle_is_followed_by_one_that_continues_at_its_byte() {
    let mut agent = Agent::start();
    let script = "head -c 700000 /dev/urandom > a; head -c 300000 /dev/urandom > b; echo end > c";
    let spec = spec(&agent, script, vec![files("x", ArtifactWhen::Success, &["a", "b", "c"])]);
    agent.begin_with(spec);
    let chunk = 128 << 10;
    let mut got: Vec<Vec<u8>> = vec![Vec::new()];
    let mut ends = 0;
    // Each client takes a little, and goes.
    for client in 0.. {
        if client > 0 {
            agent.hello(agent.last_seq);
        }
        let offset = got.last().map_or(0, |data| data.len() as u64);
        let file = u32::try_from(ends).unwrap();
        let limit = 3 * (MESSAGE_COST + chunk);
        agent.say(&ToAgent::TakeArtifacts(ArtifactWindow { file, offset, limit }));
        let mut cost = 0;
        let mut over = false;
        while cost + MESSAGE_COST + chunk <= limit && !over {
            match agent.next().unwrap().message {
                FromAgent::ArtifactFile(_) => cost += MESSAGE_COST,
                FromAgent::ArtifactData(data) => {
                    cost += MESSAGE_COST + data.len() as u64;
                    got.last_mut().unwrap().extend_from_slice(&data);
                }
                FromAgent::ArtifactFileEnd { whole } => {
                    assert!(whole);
                    cost += MESSAGE_COST;
                    ends += 1;
                    got.push(Vec::new());
                }
                FromAgent::ArtifactsEnd { files } => {
                    assert_eq!(files, 3);
                    over = true;
                }
                FromAgent::JobFinished { .. } => panic!("the job ended before its files were stored"),
                _ => {}
            }
        }
        if over {
            break;
        }
    }
    agent.say(&ToAgent::ArtifactsStored);
    agent.until(|message| matches!(message, FromAgent::JobFinished { .. }));
    for (at, name) in ["a", "b", "c"].iter().enumerate() {
        assert_eq!(got[at], std::fs::read(Path::new(&agent.workspace()).join(name)).unwrap(), "{name}");
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_left_out_and_said() {
    let mut agent = Agent::start();
    let spec =
        spec(&agent, "head -c 700000 /dev/zero > a; echo b > b", vec![files("x", ArtifactWhen::Success, &["a", "b"])]);
    agent.begin_with(spec);
    agent.say(&ToAgent::TakeArtifacts(ArtifactWindow { file: 0, offset: 0, limit: 400_000 }));
    agent.until(|message| matches!(message, FromAgent::ArtifactData(_)));
    std::fs::write(Path::new(&agent.workspace()).join("a"), "shorter").unwrap();
    agent.say(&ToAgent::ArtifactRoom { limit: WIDE });
    let mut ends = Vec::new();
    let mut notes = Vec::new();
    loop {
        match agent.next().unwrap().message {
            FromAgent::ArtifactFileEnd { whole } => ends.push(whole),
            FromAgent::ArtifactsEnd { .. } => agent.say(&ToAgent::ArtifactsStored),
            FromAgent::Note { text, .. } => notes.push(text),
            FromAgent::JobFinished { end, .. } => {
                assert_eq!(end.result, JobResult::Success);
                break;
            }
            _ => {}
        }
    }
    assert_eq!(ends, [false, true]);
    assert!(notes.iter().any(|note| note.contains("`a` changed while it was being read")), "{notes:?}");
}

#[test]
fn the_log_goes_before_files_that_wait_for_the_same_client() {
    let mut agent = Agent::start();
    agent.acks = false;
    let script = "head -c 900000 /dev/zero > a; seq 20000";
    let spec = spec(&agent, script, vec![files("x", ArtifactWhen::Success, &["a"])]);
    agent.begin_with(spec);
    agent.until(|message| matches!(message, FromAgent::StepFinished { .. }));
    // A client that has nothing yet gets everything that was printed, and then the files.
    agent.hello(0);
    agent.say(&ToAgent::TakeArtifacts(ArtifactWindow { file: 0, offset: 0, limit: WIDE }));
    let said = agent.until(|message| matches!(message, FromAgent::ArtifactFile(_)));
    assert!(said.iter().any(|message| matches!(message, FromAgent::StepFinished { .. })));
    agent.until(|message| matches!(message, FromAgent::ArtifactsEnd { .. }));
    agent.say(&ToAgent::ArtifactsStored);
    agent.until(|message| matches!(message, FromAgent::JobFinished { .. }));
}

#[test]
fn a_cancel_ends_the_hand_over_and_keeps_nothing() {
    let mut agent = Agent::start();
    let spec = spec(&agent, "echo a > a", vec![files("x", ArtifactWhen::Success, &["a"])]);
    agent.begin_with(spec);
    agent.until(|message| matches!(message, FromAgent::StepFinished { .. }));
    agent.say(&ToAgent::Cancel);
    let said = agent.until(|message| matches!(message, FromAgent::JobFinished { .. }));
    assert!(matches!(said.last(), Some(FromAgent::JobFinished { end, .. }) if end.result == JobResult::Canceled));
}

#[test]
fn a_workspace_of_non_utf8_names_is_walked() {
    let mut agent = Agent::start();
    let folder = Path::new(&agent.workspace()).join(std::ffi::OsStr::from_bytes(b"d\xff"));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("x"), "x").unwrap();
    let spec = spec(&agent, "echo a > a", vec![files("x", ArtifactWhen::Success, &["**"])]);
    agent.begin_with(spec);
    let taken = take_all(&mut agent);
    assert_eq!(taken.paths("x"), ["a"]);
    assert!(taken.noted("not UTF-8"));
}
