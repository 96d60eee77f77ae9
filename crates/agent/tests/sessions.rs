//! Clients that connect, leave, die and compete; the spool; the checkout.

#![expect(clippy::unwrap_used, reason = "what the tests share belongs to the tests")]

mod support;

use bytes::Bytes;
use longshore_agent_protocol::message::{AgentError, FromAgent, JobEnd, JobResult, SandboxLeft};
use longshore_agent_protocol::spool::segment_name;
use longshore_agent_protocol::{FrameError, StepSpec, ToAgent, encode_from_agent, encode_marker};
use support::{Agent, Limits, Log, NONCE, eventually, step};

/// Returns a step that waits until the test creates a file.
fn gate(agent: &Agent) -> (StepSpec, std::path::PathBuf) {
    let file = agent.root.path().join("gate");
    (step(&format!("while [ ! -e {} ]; do sleep 0.01; done", file.display())), file)
}

fn is_output(message: &FromAgent) -> bool {
    matches!(message, FromAgent::Output { .. })
}

#[test]
fn a_client_that_dies_within_a_frame_loses_nothing_for_the_next_one() {
    let mut agent = Agent::start();
    let (gate, open) = gate(&agent);
    agent.acks = false;
    agent.begin(vec![step("echo one; echo two >&2"), gate, step("echo three")]);
    agent.until(is_output);
    let stored = agent.last_seq;
    // Half a cancel, then the client is gone.
    let half = agent.encoded(1, &ToAgent::Cancel);
    agent.write(&half[..half.len() - 3]);
    std::fs::write(open, "").unwrap();
    eventually("the job ends by itself", || {
        agent.read_spool(0).iter().any(|item| matches!(item.message, FromAgent::JobFinished { .. }))
    });
    let spooled = agent.read_spool(stored);
    agent.hello(stored);
    assert!(matches!(agent.next().unwrap().message, FromAgent::Ready { planned: true, .. }));
    for expected in spooled {
        let item = agent.next().unwrap();
        assert_eq!((item.seq, item.message), (expected.seq, expected.message));
    }
    agent.say(&ToAgent::Ack { seq: agent.last_seq });
    assert_eq!(agent.wait(), Some(0));
}

#[test]
fn a_whole_job_can_be_replayed_from_the_beginning_if_nothing_was_acknowledged() {
    let mut agent = Agent::start();
    agent.acks = false;
    agent.begin(vec![step("seq 1 300000"), step("echo end")]);
    let first = agent.finish();
    agent.hello(0);
    agent.acks = true;
    let second = agent.finish();
    assert_eq!(first.output, second.output);
    assert_eq!(first.result, second.result);
    assert_eq!(agent.wait(), Some(0));
}

#[test]
fn a_second_client_fences_the_first() {
    let mut agent = Agent::start();
    let (gate, open) = gate(&agent);
    agent.begin(vec![step("echo one"), gate, step("echo two")]);
    agent.until(is_output);
    let stored = agent.last_seq;
    agent.hello(stored);
    // The first client does not know that it is fenced. Its cancel and its acknowledgement are ignored.
    let old = [agent.encoded(1, &ToAgent::Cancel), agent.encoded(1, &ToAgent::Ack { seq: 1000 })].concat();
    agent.write(&old);
    std::fs::write(open, "").unwrap();
    let log = agent.finish();
    assert_eq!((log.stdout(2), log.result.clone()), ("two\n".into(), Some(JobResult::Success)));
}

#[test]
fn a_client_that_was_fenced_learns_it_from_the_stream() {
    let mut agent = Agent::start();
    let (gate, open) = gate(&agent);
    agent.begin(vec![step("echo one"), gate]);
    agent.until(is_output);
    // Another client opens a session unnoticed by ours.
    let mut other = Vec::new();
    encode_marker(NONCE, &mut other);
    let hello = ToAgent::Hello { version: longshore_agent_protocol::VERSION, last_seq: 0, nonce: [99; 16] };
    other.extend(agent.encoded(2, &hello));
    agent.write(&other);
    let error = loop {
        match agent.next() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error, FrameError::Superseded);
    std::fs::write(open, "").unwrap();
    agent.hello(0);
    agent.hello(0);
    assert_eq!(agent.finish().result, Some(JobResult::Success));
}

#[test]
fn bytes_that_are_no_frame_are_told_and_a_new_session_repairs_it() {
    let mut agent = Agent::start();
    agent.hello(0);
    agent.write(&[0xff; 40]);
    agent.until(|message| *message == FromAgent::Lost);
    agent.begin(vec![step("echo hello")]);
    assert_eq!(agent.finish().stdout(0), "hello\n");
}

#[test]
fn a_job_that_ends_alone_leaves_its_spool_on_the_volume() {
    let mut agent = Agent::start_with(Limits { patience_ms: 200, ..Limits::default() });
    agent.acks = false;
    agent.begin(vec![step("echo hello"), step("exit 4")]);
    assert_eq!(agent.wait(), Some(0));
    let mut log = Log::default();
    for item in agent.read_spool(0) {
        log.take(item.message);
    }
    assert_eq!(log.stdout(0), "hello\n");
    assert_eq!(log.result, Some(JobResult::Failure { step: 1, exit_code: 4, out_of_memory: false }));
}

#[test]
fn at_the_spools_limit_the_step_waits_and_nothing_is_lost() {
    let mut agent = Agent::start_with(Limits { spool: 4 << 20, ..Limits::default() });
    agent.acks = false;
    agent.begin(vec![step("yes 0123456789 | head -c 30000000; echo done > finished")]);
    let folder = agent.root.path().join("longshore/spool");
    let size = || -> u64 {
        let entries = std::fs::read_dir(&folder).into_iter().flatten();
        entries.filter_map(|entry| entry.ok()?.metadata().ok()).map(|found| found.len()).sum()
    };
    eventually("the spool is full", || size() >= 4 << 20);
    // Everything that fits has been sent: nothing moves any more.
    agent.until(is_output);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(size() < (4 << 20) + (256 << 10), "{}", size());
    assert!(!agent.root.path().join("longshore/workspace/finished").exists());
    agent.acks = true;
    agent.hello(0);
    let log = agent.finish();
    assert_eq!(log.output[&(0, false)].len(), 30_000_000);
    assert!(log.stdout(0).chars().filter(|byte| *byte != '\n').collect::<String>().starts_with("01234567890123456789"));
    assert_eq!(log.result, Some(JobResult::Success));
}

#[test]
fn a_spool_that_cannot_be_written_for_long_ends_the_job_as_disk_full() {
    let mut agent = Agent::start_with(Limits { disk_full_ms: 300, ..Limits::default() });
    agent.acks = false;
    // The open segment can still grow; the next one cannot be created.
    agent.begin(vec![step("rm -rf ../spool; yes | head -c 50000000"), step("echo no")]);
    let log = agent.finish();
    assert!(matches!(log.result, Some(JobResult::Error { kind: AgentError::DiskFull, .. })), "{:?}", log.result);
    let got = log.output[&(0, false)].len();
    assert!((7 << 20..50_000_000).contains(&got), "{got}");
    agent.say(&ToAgent::Ack { seq: agent.last_seq });
    assert_eq!(agent.wait(), Some(0));
}

#[test]
fn a_spool_that_can_be_written_again_loses_nothing() {
    let mut agent = Agent::start();
    agent.acks = false;
    let folder = agent.root.path().join("longshore/spool");
    agent.begin(vec![
        step("rm -rf ../spool; yes | dd bs=100 count=300000 iflag=fullblock status=none"),
        step("echo end"),
    ]);
    // Read until the spool is stuck: output that does not fit into the open segment cannot be written, is still sent,
    // and then nothing more comes. Frame sizes vary, so they are counted as they come.
    let mut log = Log::default();
    let (mut said, mut frame) = (0, Vec::new());
    while said < 8 << 20 {
        said += frame.len();
        let item = agent.next().unwrap();
        frame.clear();
        if item.seq > 0 {
            encode_from_agent(1, item.seq, &item.message, &mut frame).unwrap();
        }
        log.take(item.message);
    }
    std::fs::create_dir(&folder).unwrap();
    while log.result.is_none() {
        log.take(agent.next().unwrap().message);
    }
    assert_eq!((log.output[&(0, false)].len(), log.stdout(1)), (30_000_000, "end\n".into()));
    assert_eq!(log.result, Some(JobResult::Success));
    agent.say(&ToAgent::Ack { seq: agent.last_seq });
    assert_eq!(agent.wait(), Some(0));
}

#[test]
fn a_plan_that_cannot_be_read_and_a_foreign_version_are_errors_of_ours() {
    let mut agent = Agent::start();
    let mut bytes = Vec::new();
    encode_marker(NONCE, &mut bytes);
    bytes.extend(agent.encoded(1, &ToAgent::Hello { version: 99, last_seq: 0, nonce: [1; 16] }));
    agent.write(&bytes);
    eventually("the agent has refused", || !agent.read_spool(0).is_empty());
    agent.hello(0);
    agent.hello(0);
    let log = agent.finish();
    assert!(
        matches!(&log.result, Some(JobResult::Error { kind: AgentError::Protocol, message }) if message.contains("version 99")),
        "{log:?}"
    );
}

#[test]
fn without_a_plan_and_without_a_client_the_agent_ends() {
    let mut agent = Agent::start_with(Limits { patience_ms: 10, ..Limits::default() });
    agent.close_stdin();
    assert_eq!(agent.wait(), Some(0));
}

fn tar() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, data) in [("a", vec![b'a'; 3000]), ("dir/b", vec![b'b'; 200_000])] {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &data[..]).unwrap();
    }
    tar.into_inner().unwrap()
}

#[test]
fn a_checkout_goes_on_after_a_reconnect_from_what_was_received() {
    let mut agent = Agent::start();
    let tar = tar();
    let mut spec = agent.spec(vec![step("cat a dir/b | wc -c; stat -c %U dir dir/b")]);
    spec.checkout = true;
    spec.user = "daemon".into();
    agent.begin_with(spec.clone());
    agent.say(&ToAgent::Checkout { offset: 0, data: Bytes::copy_from_slice(&tar[..2500]) });
    let half = agent.encoded(1, &ToAgent::Checkout { offset: 2500, data: Bytes::copy_from_slice(&tar[2500..9000]) });
    agent.write(&half[..4000]);
    agent.hello(0);
    let ready = agent.until(|message| matches!(message, FromAgent::Ready { .. }));
    assert!(matches!(ready[0], FromAgent::Ready { planned: true, checkout_received: 2500, .. }), "{ready:?}");
    // Sent again from an earlier offset, and beyond the received bytes.
    agent.say(&ToAgent::Plan(Box::new(spec)));
    agent.say(&ToAgent::Checkout { offset: 1000, data: Bytes::copy_from_slice(&tar[1000..50_000]) });
    agent.say(&ToAgent::Checkout { offset: 60_000, data: Bytes::copy_from_slice(&tar[60_000..]) });
    agent.until(|message| *message == FromAgent::Lost);
    agent.say(&ToAgent::Checkout { offset: 50_000, data: Bytes::copy_from_slice(&tar[50_000..]) });
    agent.say(&ToAgent::CheckoutEnd { length: tar.len() as u64 });
    let log = agent.finish();
    assert_eq!(log.stdout(0), "203000\ndaemon\ndaemon\n");
}

#[test]
fn a_checkout_that_cannot_be_unpacked_is_an_error_of_ours() {
    let mut agent = Agent::start();
    let mut spec = agent.spec(vec![step("echo no")]);
    spec.checkout = true;
    agent.begin_with(spec);
    agent.say(&ToAgent::Checkout { offset: 0, data: Bytes::from_static(&[b'x'; 2000]) });
    agent.say(&ToAgent::CheckoutEnd { length: 2000 });
    let log = agent.finish();
    assert!(matches!(log.result, Some(JobResult::Error { kind: AgentError::CheckoutFailed, .. })), "{log:?}");
}

#[test]
fn an_end_that_a_step_has_written_into_the_spool_is_not_told() {
    let mut agent = Agent::start();
    let (gate, open) = gate(&agent);
    agent.acks = false;
    // More than the agent keeps in memory, so it reads the beginning from its file.
    agent.begin(vec![step("head -c 7000000 /dev/zero"), gate]);
    agent.until(|message| matches!(message, FromAgent::StepStarted { step: 1, .. }));
    let stored = agent.last_seq;
    let sandbox = SandboxLeft { is_restored: true, reason: String::new() };
    let end = JobEnd { sandbox, ..JobResult::Success.into() };
    let mut forged = Vec::new();
    encode_from_agent(1, 1, &FromAgent::JobFinished { time_ms: 0, end }, &mut forged).unwrap();
    let path = agent.root.path().join("longshore/spool").join(segment_name(1));
    let file = std::fs::File::options().write(true).open(path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &forged, 0).unwrap();
    agent.hello(0);
    let said = agent.until(|message| matches!(message, FromAgent::Lost | FromAgent::JobFinished { .. }));
    assert!(matches!(said[..], [FromAgent::Ready { .. }, FromAgent::Lost]), "{said:?}");
    // Messages from memory follow, up to the agent's own end of the job.
    std::fs::write(open, "").unwrap();
    agent.hello(stored);
    let said = agent.until(|message| matches!(message, FromAgent::JobFinished { .. }));
    assert!(matches!(said.last(), Some(FromAgent::JobFinished { end, .. }) if !end.sandbox.is_restored));
    agent.say(&ToAgent::Ack { seq: agent.last_seq });
    assert_eq!(agent.wait(), Some(0));
}
