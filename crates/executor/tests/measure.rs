//! Figures, not guarantees: `cargo test -p longshore-executor --test measure -- --ignored --nocapture --test-threads=1`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

mod support;

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::{AttachContainerOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder};
use futures_util::StreamExt as _;
use longshore_core::{Outcome, Record};
use longshore_executor::{JobUpdate, Journal};
use support::{BUSYBOX, World, job};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// 1,000,000 lines of 96 bytes.
const LINES: &str = "yes 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123X | head -n 1000000";

struct FileJournal {
    file: File,
    buffer: Vec<u8>,
    last_seq: u64,
}

impl Journal for FileJournal {
    fn last_seq(&self) -> u64 {
        self.last_seq
    }

    fn milestones(&self) -> Vec<Record<'static>> {
        Vec::new()
    }

    fn append(&mut self, records: &[Record<'_>]) -> std::io::Result<()> {
        self.buffer.clear();
        for record in records {
            record.encode(&mut self.buffer);
            self.last_seq = self.last_seq.max(record.seq);
        }
        self.file.write_all(&self.buffer)
    }
}

async fn run_to_file(world: &World, script: &str) -> (Duration, u64) {
    let dir = tempfile::tempdir().unwrap();
    let file = File::create(dir.path().join("log")).unwrap();
    let size = file.try_clone().unwrap();
    let journal = FileJournal { file, buffer: Vec::new(), last_seq: 0 };
    let (sender, mut receiver) = mpsc::channel(64);
    let began = Instant::now();
    let running = world.engine.run_job(job(&[script]), Box::new(journal), sender, CancellationToken::new());
    let mut started = began;
    let drained = async {
        while let Some(update) = receiver.recv().await {
            if matches!(update, JobUpdate::StepStarted { .. }) {
                started = Instant::now();
            }
        }
    };
    let (outcome, ()) = tokio::join!(running, drained);
    assert_eq!(outcome, Outcome::Success);
    (started.elapsed(), size.metadata().unwrap().len())
}

fn rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn log_throughput_beside_docker_logs() {
    let world = World::with(|options| options.berths_ready = 1).await;
    world.run(job(&["true"])).await;
    for _ in 0..3 {
        let before = rss_kib();
        let (took, size) = run_to_file(&world, LINES).await;
        println!("ours: {} MB in {} ms, memory {} -> {} KiB", size / 1_000_000, took.as_millis(), before, rss_kib());
    }
    let body = ContainerCreateBody {
        image: Some(BUSYBOX.to_owned()),
        cmd: Some(vec!["sh".to_owned(), "-c".to_owned(), LINES.to_owned()]),
        host_config: Some(HostConfig { network_mode: Some("none".to_owned()), ..HostConfig::default() }),
        ..ContainerCreateBody::default()
    };
    let id = world.docker.create_container(None, body).await.unwrap().id;
    world.docker.start_container(&id, None).await.unwrap();
    let began = Instant::now();
    let options = LogsOptionsBuilder::new().stdout(true).follow(true).build();
    let mut logs = std::pin::pin!(world.docker.logs(&id, Some(options)));
    let mut size = 0;
    while let Some(Ok(part)) = logs.next().await {
        size += part.as_ref().len();
    }
    println!("docker logs -f: {} MB in {} ms", size / 1_000_000, began.elapsed().as_millis());
    world.docker.remove_container(&id, Some(RemoveContainerOptionsBuilder::new().force(true).build())).await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn claim_to_first_byte_beside_the_raw_engine() {
    let world = World::with(|options| options.berths_ready = 1).await;
    world.run(job(&["true"])).await;
    world.engine.settled().await;
    let mut ours = Vec::new();
    for _ in 0..15 {
        let journal = support::MemoryJournal::default();
        let (sender, mut receiver) = mpsc::channel(64);
        let began = Instant::now();
        let running =
            world.engine.run_job(job(&["echo x"]), support::boxed(&journal), sender, CancellationToken::new());
        let seen = async {
            loop {
                if !journal.stdout().is_empty() {
                    return began.elapsed();
                }
                tokio::time::sleep(Duration::from_micros(500)).await;
            }
        };
        let drained = async { while receiver.recv().await.is_some() {} };
        let (_, first, ()) = tokio::join!(running, seen, drained);
        ours.push(first);
        world.engine.settled().await;
    }
    let objects = world.engine.objects(Some(&world.instance)).await.unwrap();
    let berth = objects.containers.iter().find(|container| container.kind == "berth" && container.running).unwrap();
    let mut raw = Vec::new();
    for _ in 0..15 {
        let body = ContainerCreateBody {
            image: Some(BUSYBOX.to_owned()),
            cmd: Some(vec!["echo".to_owned(), "x".to_owned()]),
            host_config: Some(HostConfig {
                network_mode: Some(format!("container:{}", berth.id)),
                log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let began = Instant::now();
        let id = world.docker.create_container(None, body).await.unwrap().id;
        let options = AttachContainerOptionsBuilder::new().stream(true).stdout(true).build();
        let mut attached = world.docker.attach_container(&id, Some(options)).await.unwrap();
        world.docker.start_container(&id, None).await.unwrap();
        attached.output.next().await.unwrap().unwrap();
        raw.push(began.elapsed());
        world
            .docker
            .remove_container(&id, Some(RemoveContainerOptionsBuilder::new().force(true).build()))
            .await
            .unwrap();
    }
    ours.sort();
    raw.sort();
    let ratio = ours[7].as_secs_f64() / raw[7].as_secs_f64();
    println!("claim to first byte: {} ms; raw: {} ms; ratio {ratio:.2}", ours[7].as_millis(), raw[7].as_millis());
    world.end().await;
}
