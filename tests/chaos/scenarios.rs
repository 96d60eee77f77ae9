//! The scenarios: what runs, which faults happen meanwhile, and what must hold afterwards.

use std::{
    io::Write as _,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crate::{
    caches::caches,
    deliveries::{Client, insist, insist_after},
    docker::docker_jobs,
    faults::{Fault, fault},
    follower::{Seen, follow},
    generator::{Program, Shape, program},
    proxy::{Proxy, Trick},
    soak::soak,
    support::{
        api::is_final,
        engine,
        git_host::{GitHost, git},
        server::Server,
    },
    verdict::{Accepted, Verdict},
};

pub const NAMES: [&str; 10] = [
    "kills",
    "pods",
    "soak",
    "hooks",
    "engine-restarts",
    "engine-losses",
    "engine-full",
    "recovery",
    "caches",
    "docker",
];

/// The number of different pipelines of a scenario, each on its own branch.
const PROGRAMS: u64 = 10;
/// With so many unfinished builds, nobody pushes.
const UNFINISHED: usize = 8;
/// How long a scenario waits for a call to hold.
const MEETING: Duration = Duration::from_secs(4);

pub fn play(scenario: &str, seed: u64, count: u64) -> Verdict {
    match scenario {
        "kills" => kills(seed, count, Shape::Mixed),
        "pods" => kills(seed, count, Shape::Pods),
        "soak" => soak(seed, count),
        "hooks" => hooks(seed, count),
        "engine-restarts" => engine_restarts(seed, count),
        "engine-losses" => engine_losses(seed, count),
        "engine-full" => engine_full(seed, count),
        "recovery" => recovery(count),
        "caches" => caches(count),
        "docker" => docker_jobs(seed, count),
        _ => unreachable!("one of NAMES"),
    }
}

/// A server with a proxy for its engine, and a repository with a pipeline on each branch.
pub struct Stage {
    pub server: Server,
    proxy: Proxy,
    pub client: Client,
    git: GitHost,
    repo: String,
    secret: String,
    branches: Vec<(String, String, Program)>,
}

impl Stage {
    pub fn new(programs: Vec<Program>, capacity: u64) -> Self {
        let proxy = Proxy::before(&engine::docker_host());
        let capacity = capacity.to_string();
        // Each build has its delivery.
        let settings = [("LONGSHORE_CAPACITY", capacity.as_str()), ("LONGSHORE_LOOK_MINUTES", "0")];
        let server = Server::start_with(proxy.host(), &settings);
        let git = GitHost::start();
        let (repo, secret) = server.api().add_repo("team/chaos", &git.url());
        let mut branches = Vec::new();
        for (at, program) in programs.into_iter().enumerate() {
            let branch = format!("program-{at}");
            let commit = git.commit(&branch, &[(".longshore.yml", &program.pipeline)]);
            git.git(&["push", "-q", "origin", &format!("HEAD:{branch}")]);
            branches.push((branch, commit, program));
        }
        let client = Client::new(&server.url());
        Self { server, proxy, client, git, repo, secret, branches }
    }

    /// Pushes the commit of one branch after the other, each time as a new branch, until stopped, as one of several
    /// forges.
    fn pushing(&self, forge: usize, every: Duration, stop: &Arc<AtomicBool>) -> JoinHandle<Vec<Accepted>> {
        let (client, repo, secret) = (self.client.clone(), self.repo.clone(), self.secret.clone());
        let (branches, stop, bare) = (self.branches.clone(), Arc::clone(stop), self.git.bare());
        std::thread::spawn(move || {
            let mut accepted = Vec::new();
            for (at, (branch, commit, program)) in branches.iter().cycle().skip(forge * 4).enumerate() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let branch = format!("{branch}-{forge}-{at}");
                git(&bare, &["update-ref", &format!("refs/heads/{branch}"), commit]);
                let id = client.push(&repo, &secret, &branch, commit, &format!("delivery-{forge}-{at}"));
                accepted.push(Accepted { id, program: program.clone() });
                std::thread::sleep(every);
                // A live reader of a log waits for its job's turn.
                insist_after(&stop, "room in the queue", || {
                    let builds = client.json(&format!("/api/v1/repos/{repo}/builds?limit=20"));
                    let waiting = builds["items"].as_array()?.iter().filter(|build| !is_final(build)).count();
                    (waiting < UNFINISHED).then_some(())
                });
            }
            accepted
        })
    }

    /// Pushes the commit of a program as a new branch. Returns the delivery's id.
    pub fn push(&self, program: usize, branch: &str) -> String {
        let (name, commit, _) = &self.branches[program];
        let branch = format!("{name}-{branch}");
        git(&self.git.bare(), &["update-ref", &format!("refs/heads/{branch}"), commit]);
        self.client.push(&self.repo, &self.secret, &branch, commit, &branch)
    }

    fn restart(&mut self) {
        self.server.launch();
    }
}

/// Kills the server at random moments while builds run.
fn kills(seed: u64, count: u64, shape: Shape) -> Verdict {
    let mut stage = Stage::new((0..PROGRAMS).map(|at| program(seed * 1000 + at, shape)).collect(), 4);
    let mut verdict = Verdict::default();
    let stop = Arc::default();
    let pushing = stage.pushing(0, Duration::from_millis(900), &stop);
    let readers = readers(&stage.client, &stage.repo, &stop);
    let (mut killed, mut at) = (0, 0);
    while killed < count {
        let fault = fault(seed, at);
        at += 1;
        if strike(&mut stage, &fault) {
            verdict.add("faults_met", 1);
        }
        if fault.kills() {
            killed += 1;
            stage.restart();
        }
        if at % 20 == 0 {
            println!("  {killed} of {count} kills; last: {}", fault.name());
        }
    }
    stop.store(true, Ordering::SeqCst);
    stage.proxy.honest();
    let accepted = pushing.join().expect("the forge");
    verdict.add("kills", killed);
    for accepted in &accepted {
        verdict.of_delivery(&stage.client, accepted);
    }
    count_builds(&mut verdict, &stage, accepted.len());
    for (job, seen) in readers.join().expect("the readers") {
        judge_reader(&mut verdict, &stage.client, &job, &seen);
    }
    verdict.of_engine(&stage.server.instance);
    verdict
}

/// Returns whether the fault happened as planned.
fn strike(stage: &mut Stage, fault: &Fault) -> bool {
    match fault {
        Fault::Kill { after } => {
            std::thread::sleep(*after);
            stage.server.kill();
            true
        }
        Fault::KillAt { call, trick } => {
            let met = stage.proxy.trick(*call, *trick).recv_timeout(MEETING).is_ok();
            stage.server.kill();
            stage.proxy.honest();
            met
        }
        Fault::KillInBoot { after } => {
            stage.server.kill();
            stage.server.begin();
            std::thread::sleep(*after);
            stage.server.kill();
            true
        }
        Fault::Cut { after } => {
            std::thread::sleep(*after);
            stage.proxy.cut();
            true
        }
        Fault::Hang { length } => {
            stage.proxy.freeze();
            std::thread::sleep(*length);
            stage.proxy.honest();
            true
        }
        Fault::Slow { length, delay } => {
            stage.proxy.slow(*delay);
            std::thread::sleep(*length);
            stage.proxy.honest();
            true
        }
        Fault::LoseAnswer { call } => {
            let met = stage.proxy.trick(*call, Trick::LoseAnswer).recv_timeout(MEETING).is_ok();
            stage.proxy.honest();
            met
        }
    }
}

/// Follows the first job of every fourth build from start to end.
fn readers(client: &Client, repo: &str, stop: &Arc<AtomicBool>) -> JoinHandle<Vec<(String, Seen)>> {
    let (client, repo, stop) = (client.clone(), repo.to_owned(), Arc::clone(stop));
    std::thread::spawn(move || {
        let mut reading: Vec<(String, JoinHandle<Seen>)> = Vec::new();
        while !stop.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(100));
            let Some(builds) = client.try_bytes(&format!("/api/v1/repos/{repo}/builds?limit=20")) else { continue };
            let builds: serde_json::Value = serde_json::from_slice(&builds).expect("JSON");
            for build in builds["items"].as_array().into_iter().flatten() {
                let Some(id) = build["id"].as_str().filter(|_| build["number"].as_u64().is_some_and(|n| n % 4 == 1))
                else {
                    continue;
                };
                let Some(whole) = client.try_bytes(&format!("/api/v1/builds/{id}")) else { continue };
                let whole: serde_json::Value = serde_json::from_slice(&whole).expect("JSON");
                let Some(job) = whole["jobs"][0]["id"].as_str().map(str::to_owned) else { continue };
                if reading.iter().all(|(known, _)| *known != job) {
                    let (client, of, stop) = (client.clone(), job.clone(), Arc::clone(&stop));
                    reading.push((job, std::thread::spawn(move || follow(&client, &of, &stop))));
                }
            }
        }
        reading.into_iter().map(|(job, reader)| (job, reader.join().expect("a reader"))).collect()
    })
}

fn judge_reader(verdict: &mut Verdict, client: &Client, job: &str, seen: &Seen) {
    verdict.add("live_readers", 1);
    verdict.add("live_readers_resumed", u64::from(seen.resumed));
    let log = client.bytes(&format!("/api/v1/jobs/{job}/log?format=raw"));
    if seen.text != String::from_utf8_lossy(&log) {
        verdict
            .wrong("live_readers_wrong", format!("the reader of {job} saw {} bytes of {}", seen.text.len(), log.len()));
    }
}

/// Restarts the server during a stream of webhooks: every 202 is one build. Most are of a pipeline without jobs to run.
fn hooks(seed: u64, count: u64) -> Verdict {
    let broken = Program { pipeline: "jobs: {}\n".to_owned(), jobs: Vec::new() };
    let mut programs = vec![broken; 19];
    programs.push(program(seed, Shape::Mixed));
    let mut stage = Stage::new(programs, 4);
    let mut verdict = Verdict::default();
    let stop = Arc::default();
    // Five forges, four times a second each.
    let pushing: Vec<_> = (0..5).map(|forge| stage.pushing(forge, Duration::from_millis(200), &stop)).collect();
    for at in 0..count {
        std::thread::sleep(Duration::from_millis(150 + 37 * (at % 11)));
        if at % 2 == 0 {
            stage.server.kill();
        } else {
            stage.server.stop();
        }
        stage.restart();
        if at % 20 == 19 {
            println!("  {} of {count} restarts", at + 1);
        }
    }
    verdict.add("restarts", count);
    stop.store(true, Ordering::SeqCst);
    let accepted: Vec<_> = pushing.into_iter().flat_map(|forge| forge.join().expect("the forge")).collect();
    for accepted in &accepted {
        verdict.of_delivery(&stage.client, accepted);
    }
    count_builds(&mut verdict, &stage, accepted.len());
    verdict.of_engine(&stage.server.instance);
    verdict
}

/// Checks that there are as many builds as deliveries, numbered without a gap.
fn count_builds(verdict: &mut Verdict, stage: &Stage, deliveries: usize) {
    let builds = stage.client.json(&format!("/api/v1/repos/{}/builds?limit=1", stage.repo));
    let newest = builds["items"][0]["number"].as_u64().unwrap_or_default();
    let told_twice = verdict.figures.get("told_twice").copied().unwrap_or_default();
    if newest + told_twice != deliveries as u64 {
        verdict.wrong("builds_too_many", format!("{newest} builds of {deliveries} deliveries"));
    }
}

/// Restarts the engine with the command `LONGSHORE_CHAOS_RESTART`; the engine keeps running jobs alive.
fn engine_restarts(seed: u64, count: u64) -> Verdict {
    let stage = Stage::new((0..PROGRAMS).map(|at| program(seed * 1000 + at, Shape::Mixed)).collect(), 4);
    let mut verdict = Verdict::default();
    let stop = Arc::default();
    let pushing = stage.pushing(0, Duration::from_millis(1500), &stop);
    for at in 0..count {
        std::thread::sleep(Duration::from_millis(1500 + 137 * (at % 7)));
        restart_engine("yes");
    }
    verdict.add("engine_restarts", count);
    stop.store(true, Ordering::SeqCst);
    for accepted in pushing.join().expect("the forge") {
        verdict.of_delivery(&stage.client, &accepted);
    }
    verdict.of_engine(&stage.server.instance);
    verdict
}

/// Restarts the engine together with its containers: running jobs are lost, and retried if they ask for it.
fn engine_losses(seed: u64, count: u64) -> Verdict {
    restart_engine("no");
    let verdict = tried_again(seed, count, "engine_restarts", || restart_engine("no"));
    restart_engine("yes");
    verdict
}

/// Fills the engine's disk for a while: jobs that should start wait, and running jobs may fail and are retried if they
/// ask for it. `LONGSHORE_CHAOS_DISK` is a folder on that disk, which must be small and separate.
fn engine_full(seed: u64, count: u64) -> Verdict {
    let folder = std::env::var("LONGSHORE_CHAOS_DISK").expect("a folder on the engine's disk");
    let file = std::path::Path::new(&folder).join("filled-by-chaos");
    tried_again(seed, count, "engine_disk_full", || {
        let mut filler = std::fs::File::create(&file).expect("a file on the engine's disk");
        let until = std::time::Instant::now() + Duration::from_secs(3);
        while std::time::Instant::now() < until {
            // Takes what becomes free meanwhile too.
            if filler.write_all(&[0; 1 << 16]).is_err() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        std::fs::remove_file(&file).expect("the room again");
    })
}

/// Runs jobs that are retried after an error, during a fault that may end them.
fn tried_again(seed: u64, count: u64, figure: &'static str, mut fault: impl FnMut()) -> Verdict {
    let program = |at| {
        let mut program = program(seed * 1000 + at, Shape::Mixed);
        program.pipeline = program.pipeline.replace("    steps:", "    retry: { max: 10, on: [error] }\n    steps:");
        program
    };
    let stage = Stage::new((0..PROGRAMS).map(program).collect(), 4);
    let mut verdict = Verdict::default();
    let stop = Arc::default();
    let pushing = stage.pushing(0, Duration::from_millis(1500), &stop);
    for at in 0..count {
        std::thread::sleep(Duration::from_millis(2500 + 137 * (at % 7)));
        fault();
    }
    verdict.add(figure, count);
    stop.store(true, Ordering::SeqCst);
    for accepted in pushing.join().expect("the forge") {
        verdict.of_delivery(&stage.client, &accepted);
    }
    verdict.of_engine(&stage.server.instance);
    verdict
}

/// Runs the command that restarts the engine under test. Its argument says whether containers survive the restart.
pub fn restart_engine(live_restore: &str) {
    let restart = std::env::var("LONGSHORE_CHAOS_RESTART").expect("the command that restarts the engine under test");
    let status = Command::new("sh").args(["-c", &restart]).env("LIVE_RESTORE", live_restore).status().expect("sh runs");
    assert!(status.success(), "{restart}: {status}");
}

/// Kills the server under `count` running jobs, and measures the time from the next start until every log continues.
fn recovery(count: u64) -> Verdict {
    let ticking = |at: u64| {
        let image = engine::BUSYBOX;
        format!(
            "  job-{at}:\n    image: {image}\n    checkout: false\n    steps:\n      - run: while true; do echo tick; sleep 0.1; done\n"
        )
    };
    let pipeline = format!("jobs:\n{}", (0..count).map(ticking).collect::<String>());
    let mut stage = Stage::new(vec![Program { pipeline, jobs: Vec::new() }], count);
    let mut verdict = Verdict::default();
    let (branch, commit, _) = stage.branches[0].clone();
    stage.client.push(&stage.repo, &stage.secret, &branch, &commit, "one");
    let build = insist("the build", || {
        let builds = stage.client.json(&format!("/api/v1/repos/{}/builds", stage.repo));
        builds["items"][0]["id"].as_str().map(str::to_owned)
    });
    let client = stage.client.clone();
    let jobs: Vec<String> = insist("every job to run", || {
        let jobs = client.json(&format!("/api/v1/builds/{build}"))["jobs"].as_array()?.clone();
        let ids: Option<Vec<String>> = jobs.iter().map(|job| job["id"].as_str().map(str::to_owned)).collect();
        ids.filter(|ids| ids.iter().all(|id| length(&client, id) > 0))
    });
    stage.server.kill();
    // Meanwhile the agents keep their output in their spools.
    std::thread::sleep(Duration::from_secs(1));
    let begun = std::time::Instant::now();
    stage.server.launch();
    let known: Vec<usize> = jobs.iter().map(|job| length(&client, job)).collect();
    insist("every log to flow", || {
        jobs.iter().zip(&known).all(|(job, known)| length(&client, job) > *known).then_some(())
    });
    verdict.add("running_jobs", count);
    verdict.add("recovery_ms", u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
    let (status, _) = stage.server.api().post(&format!("/api/v1/builds/{build}/cancel"), &serde_json::json!({}));
    assert_eq!(status, 202);
    insist("the canceled build's end", || {
        (client.json(&format!("/api/v1/builds/{build}"))["status"] == "canceled").then_some(())
    });
    verdict.of_engine(&stage.server.instance);
    verdict
}

fn length(client: &Client, job: &str) -> usize {
    client.try_bytes(&format!("/api/v1/jobs/{job}/log?format=raw")).map_or(0, |log| log.len())
}
