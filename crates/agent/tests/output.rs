//! Output: any bytes, many bytes, masked bytes.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "what the tests share belongs to the tests")]

mod support;

use std::time::Instant;

use longshore_agent_protocol::message::{FromAgent, JobResult};
use support::{Agent, run, run_with, step};

#[test]
fn every_byte_value_arrives_as_it_was() {
    let log = run(vec![step(
        "i=0; while [ $i -lt 256 ]; do printf \"\\\\$(printf %03o $i)\"; i=$((i+1)); done; printf '\\377\\000' >&2",
    )]);
    assert_eq!(log.output[&(0, false)], (0..=255).collect::<Vec<u8>>());
    assert_eq!(log.output[&(0, true)], [255, 0]);
}

#[test]
fn a_line_of_ten_megabytes_arrives_whole() {
    let log = run(vec![step("head -c 10000000 /dev/zero | tr '\\0' x; echo")]);
    let line = &log.output[&(0, false)];
    assert_eq!(line.len(), 10_000_001);
    assert!(line[..10_000_000].iter().all(|byte| *byte == b'x'));
}

/// Returns the resident memory of a process, in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn hundred_megabytes(masks: Vec<String>) {
    let mut agent = Agent::start();
    let mut spec = agent.spec(vec![step(
        "yes 'a line of ordinary output, as compilers print it, number 0123456789' | head -c 100000000",
    )]);
    spec.masks = masks;
    agent.begin_with(spec);
    let pattern = b"a line of ordinary output, as compilers print it, number 0123456789\n";
    let (mut at, mut largest) = (0_usize, 0);
    let started = Instant::now();
    let result = loop {
        match agent.next().unwrap().message {
            FromAgent::Output { data, .. } => {
                let mut rest = &data[..];
                while !rest.is_empty() {
                    let place = at % pattern.len();
                    let count = rest.len().min(pattern.len() - place);
                    assert!(rest[..count] == pattern[place..place + count], "at {at}");
                    at += count;
                    rest = &rest[count..];
                }
                largest = largest.max(resident(agent.child.id()));
            }
            FromAgent::JobFinished { end, .. } => break end.result,
            _ => {}
        }
    };
    let speed = 100.0 / started.elapsed().as_secs_f64();
    println!("{speed:.0} MB/s, {largest} KiB at most");
    assert_eq!((at, result), (100_000_000, JobResult::Success));
    assert!(largest < 40_000, "{largest} KiB");
}

#[test]
fn a_hundred_megabytes_arrive_byte_for_byte_with_flat_memory() {
    hundred_megabytes(vec![]);
}

#[test]
fn a_hundred_megabytes_pass_the_masks_unchanged() {
    hundred_megabytes(vec!["a long secret of this job".into(), "another secret, longer than the other".into()]);
}

#[test]
fn secrets_never_leave_in_any_of_their_forms() {
    let log = run_with(
        |spec| {
            spec.masks = vec!["s3cr3t value/+".into()];
            spec.env.insert("SECRET".into(), "s3cr3t value/+".into());
        },
        vec![step(
            "echo \"$SECRET\"; printf 's3cr3t'; sleep 0.1; echo ' value/+!'; printf %s \"x$SECRET\" | base64; echo 's3cr3t%20value%2f%2b' >&2; printf 's3cr3t'",
        )],
    );
    assert_eq!(log.stderr(0), "***\n");
    let out = log.stdout(0);
    assert!(out.starts_with("***\n***!\n") && out.ends_with("\ns3cr3t"), "{out}");
    assert!(out.lines().nth(2).is_some_and(|line| line.contains("***") && line.len() < 12), "{out}");
}
