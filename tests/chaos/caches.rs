//! Many builds with a unique cache each: they succeed, the disk stays below its high mark, and nothing of others is
//! touched.
//!
//! On an engine with a disk of its own (`LONGSHORE_CHAOS_DISK` is a folder on it) the marks keep the room; on one that
//! others use too, the budget of caches does.

use std::{
    collections::{BTreeSet, VecDeque},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use serde_json::Value;

use crate::{
    support::{
        api::{is_final, text},
        engine::{self, docker},
        server::Server,
        until,
        world::World,
    },
    verdict::Verdict,
};

/// The bytes that each build caches.
const BYTES: u64 = 2_000_000;
const HIGH: u64 = 70;
const LOW: u64 = 60;
/// How far above the mark jobs may get that run when it is reached: they end, and what they save goes.
const RUNNING: u64 = 5;
/// The budget where the disk is not the test's own, in MiB.
const BUDGET: u64 = 12;
/// Builds that are not over at a time.
const UNFINISHED: usize = 6;

/// Objects of somebody else on the engine.
pub struct Others {
    name: String,
}

impl Others {
    pub fn make() -> Self {
        let name = format!("longshore-chaos-others-{:08x}", rand::random::<u32>());
        docker(&["volume", "create", &name]);
        docker(&["tag", engine::BUSYBOX, &format!("{name}:1")]);
        let mount = format!("{name}:/v");
        docker(&["run", "-d", "--name", &name, "-v", &mount, &format!("{name}:1"), "sleep", "100000"]);
        docker(&["create", "--name", &format!("{name}-stopped"), &format!("{name}:1"), "true"]);
        Self { name }
    }

    /// Lists all images, volumes and containers that are not of this instance; where others work too, only our own of
    /// them.
    pub fn objects(&self, instance: &str, all: bool) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (list, format) in [
            (&["images"][..], "{{.Repository}}:{{.Tag}}"),
            (&["volume", "ls"], "{{.Name}}"),
            (&["ps", "-a"], "{{.Names}}"),
        ] {
            let of = |filter: &[&str]| -> BTreeSet<String> {
                docker(&[list, &["--format", format], filter].concat()).into_iter().collect()
            };
            let label = format!("label=longshore.instance={instance}");
            let own = of(&["--filter", &label]);
            found.extend(of(&[]).difference(&own).filter(|name| all || name.contains(&self.name)).cloned());
        }
        found
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        docker(&["rm", "-f", &self.name, &format!("{}-stopped", self.name)]);
        docker(&["volume", "rm", &self.name]);
        docker(&["rmi", &format!("{}:1", self.name)]);
    }
}

/// Watches the disk until told to stop. Returns the most percent that were taken.
fn watch(folder: PathBuf, stop: Arc<AtomicBool>) -> JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut most = 0;
        while !stop.load(Ordering::SeqCst) {
            let disk = rustix::fs::statvfs(&folder).expect("the disk's size");
            most = most.max(100 - disk.f_bavail * 100 / disk.f_blocks.max(1));
            std::thread::sleep(Duration::from_millis(100));
        }
        most
    })
}

pub fn caches(count: u64) -> Verdict {
    let disk = std::env::var_os("LONGSHORE_CHAOS_DISK").map(PathBuf::from);
    let (high, low) = if disk.is_some() { (HIGH, LOW) } else { (0, 0) };
    let budget = if disk.is_some() { 1 << 20 } else { BUDGET };
    let settings = [
        ("LONGSHORE_CAPACITY", "4".to_owned()),
        ("LONGSHORE_DISK_HIGH", high.to_string()),
        ("LONGSHORE_DISK_LOW", low.to_string()),
        ("LONGSHORE_CACHE_MAX_MIB", budget.to_string()),
    ];
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let others = Others::make();
    let world = World::of(Server::start_with(engine::docker_host(), &settings));
    let mut verdict = Verdict::default();
    let pipeline = format!(
        "on: manual\njobs:\n  one:\n    image: {}\n    cache: [{{ path: c, key: 'k-${{{{ build.number }}}}' }}]\n    steps: [{{ run: 'head -c {BYTES} /dev/urandom > c/x' }}]\n",
        engine::BUSYBOX
    );
    world.git.push(&pipeline);
    // The agent's image, which all instances share, is there after the first build.
    end(&world, &world.start_build(), &mut verdict);
    let is_alone = disk.is_some();
    let before = others.objects(&world.server.instance, is_alone);
    let stop = Arc::<AtomicBool>::default();
    let watching = disk.map(|folder| watch(folder, Arc::clone(&stop)));
    let mut unfinished = VecDeque::new();
    for _ in 1..count {
        if unfinished.len() == UNFINISHED {
            let first: Value = unfinished.pop_front().expect("the oldest");
            end(&world, &first, &mut verdict);
        }
        unfinished.push_back(world.start_build());
    }
    for build in unfinished {
        end(&world, &build, &mut verdict);
    }
    let kept = settle(&world, budget);
    stop.store(true, Ordering::SeqCst);
    if let Some(watching) = watching {
        let most = watching.join().expect("watched");
        verdict.add("disk_high_percent", high);
        verdict.add("disk_most_percent", most);
        if most > high + RUNNING {
            verdict.wrong("above_the_high_mark", format!("{most}% of the disk were taken, and the mark is {high}%"));
        }
    }
    let after = others.objects(&world.server.instance, is_alone);
    verdict.add("caches_saved", count);
    verdict.add("caches_kept", kept);
    verdict.add("others_before", before.len() as u64);
    verdict.add("others_after", after.len() as u64);
    if before != after {
        verdict.wrong("others_touched", format!("{:?}", before.symmetric_difference(&after).collect::<Vec<_>>()));
    }
    if kept >= count {
        verdict.wrong("nothing_went", format!("{kept} of {count} caches are kept"));
    }
    verdict.of_engine(&world.server.instance);
    verdict
}

/// Waits for a build's end, which is a success.
fn end(world: &World, build: &Value, verdict: &mut Verdict) {
    let path = format!("/api/v1/builds/{}", text(build, "id"));
    let build = until("a build's end", || Some(world.api().get(&path)).filter(is_final));
    verdict.add("builds", 1);
    if build["status"] != "success" {
        verdict.wrong("builds_wrong", build.to_string());
    }
}

/// Waits until what is kept is within the budget, and each entry's layer is on the engine and nothing else. Returns
/// their number.
fn settle(world: &World, budget: u64) -> u64 {
    until("the caches to be within their budget", || {
        let caches = world.api().get(&format!("/api/v1/repos/{}/caches", world.repo));
        let bytes: Option<Vec<u64>> = caches["items"].as_array()?.iter().map(|cache| cache["bytes"].as_u64()).collect();
        let (kept, bytes) = (bytes.as_ref()?.len() as u64, bytes?.into_iter().sum::<u64>());
        let there = engine::objects(&world.server.instance, &["cache"]).len() as u64;
        (there == kept && bytes <= budget << 20).then_some(kept)
    })
}
