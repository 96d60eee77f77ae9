//! Docker in a job, through its guard, against the same client on the engine itself.

use serde_json::json;

use crate::Figures;
use crate::support::{
    api::text,
    engine::{self, BUSYBOX},
    world::{World, job},
};

/// An image with clients, made by `scripts/images.sh`.
const CLIENTS: &str = "longshore-test/docker:latest";
/// Containers that are run one after the other.
const RUNS: u32 = 20;
/// Copies and builds, one after the other.
const COPIES: u32 = 5;
/// MiB that are copied and sent as a context.
const MIB: f64 = 128.0;

/// Prints what each took, in nanoseconds. A job's containers are on a network of the job, which costs the engine more
/// than its default one: `network` has containers run on such a network as well.
fn script(network: bool) -> String {
    let on_network = match network {
        true => format!(
            "net=bench-net-$$-$(date +%s)\n\
             docker network create $net > /dev/null\n\
             for i in $(seq {RUNS}); do took own docker run --rm --network $net {BUSYBOX} true; done\n\
             docker network rm $net > /dev/null\n"
        ),
        false => String::new(),
    };
    format!(
        "set -e\n\
         export DOCKER_BUILDKIT=0\n\
         took() {{ what=$1; shift; from=$(date +%s%N); \"$@\" > /dev/null 2>&1; echo \"took $what $(($(date +%s%N) - from))\"; }}\n\
         docker run --rm {BUSYBOX} true\n\
         for i in $(seq {RUNS}); do took run docker run --rm {BUSYBOX} true; done\n\
         mkdir context\n\
         head -c {} /dev/urandom > context/big\n\
         printf 'FROM {BUSYBOX}\\nCOPY big /big\\n' > context/Dockerfile\n\
         name=bench-$$-$(date +%s)\n\
         docker create --name $name {BUSYBOX} true > /dev/null\n\
         for i in $(seq {COPIES}); do took cp docker cp context/big $name:/big; done\n\
         for i in $(seq {COPIES}); do took build docker build -t $name context; docker rmi $name > /dev/null; done\n\
         docker rm $name > /dev/null\n\
         {on_network}",
        MIB * 1024.0 * 1024.0
    )
}

fn median(log: &str, name: &str) -> f64 {
    let start = format!("took {name} ");
    let mut all: Vec<f64> = log.lines().filter_map(|line| line.strip_prefix(&start)?.trim().parse().ok()).collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

pub fn docker(figures: &mut Figures) {
    let world = World::start();
    let address = format!("/api/v1/repos/{}", world.repo);
    assert_eq!(world.api().patch(&address, &json!({ "docker": { "branches": ["main"] } })).0, 200);
    let socket = engine::docker_host().trim_start_matches("unix://").to_owned();
    let mount = format!("{socket}:/var/run/docker.sock");
    let raw =
        || engine::docker(&["run", "--rm", "-v", &mount, "-w", "/tmp", CLIENTS, "sh", "-c", &script(true)]).join("\n");
    // Before and after, so that a load that grows or shrinks counts for both.
    let mut of_engine = raw();
    let step: String = script(false).lines().map(|line| format!("          {line}\n")).collect();
    let build = world
        .run(&format!("jobs:\n  one:\n    image: {CLIENTS}\n    docker: true\n    steps:\n      - run: |\n{step}"));
    let guarded = String::from_utf8_lossy(&world.api().raw_log(&text(job(&build, "one"), "id"))).into_owned();
    assert_eq!(build["status"], "success", "{guarded}");
    of_engine.push('\n');
    of_engine.push_str(&raw());
    let rate = |log: &str, name: &str| MIB * 1.048_576 / (median(log, name) / 1e9);
    figures.insert("guard_run_ms", median(&guarded, "run") / 1e6);
    figures.insert("guard_raw_run_ms", median(&of_engine, "run") / 1e6);
    figures.insert("guard_overhead_ratio", median(&guarded, "run") / median(&of_engine, "run"));
    figures.insert("guard_own_network_ratio", median(&guarded, "run") / median(&of_engine, "own"));
    figures.insert("guard_cp_mb_per_s", rate(&guarded, "cp"));
    figures.insert("guard_cp_ratio", rate(&guarded, "cp") / rate(&of_engine, "cp"));
    figures.insert("guard_build_mb_per_s", rate(&guarded, "build"));
    figures.insert("guard_build_ratio", rate(&guarded, "build") / rate(&of_engine, "build"));
}
