//! Jobs with Docker, all at once: they succeed although the server is killed, its engine restarts and guards of other
//! jobs are killed; nothing of them is left, and nothing of others is touched.

use std::{collections::BTreeSet, process::Command, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::json;

use crate::{
    caches::Others,
    deliveries::settled,
    scenarios::restart_engine,
    support::{
        api::{is_final, text},
        engine::{self, BUSYBOX, docker},
        millis, now_ms,
        server::Server,
        world::World,
    },
    verdict::Verdict,
};

/// An image with Docker's client, made by `scripts/images.sh`.
const CLIENTS: &str = "longshore-test/docker:latest";
/// One guard is killed for so many jobs.
const JOBS_OF_A_KILL: u64 = 20;
/// The server is killed once for so many jobs, and three times more: it begins anew with all that have not started.
const JOBS_OF_A_RESTART: u64 = 5;

/// Runs `count` jobs with Docker at once.
pub fn docker_jobs(seed: u64, count: u64) -> Verdict {
    let capacity = count.to_string();
    let settings = [("LONGSHORE_CAPACITY", capacity.as_str()), ("LONGSHORE_LOOK_MINUTES", "0")];
    let mut world = World::of(Server::start_with(engine::docker_host(), &settings));
    let (status, repo) =
        world.api().patch(&format!("/api/v1/repos/{}", world.repo), &json!({ "docker": { "branches": ["main"] } }));
    assert_eq!(status, 200, "{repo}");
    let others = Others::make();
    let before = others.objects(&world.server.instance, false);
    let mut verdict = Verdict::default();
    let build = world.build_of(&world.git.push(&pipeline(count)));
    let path = format!("/api/v1/builds/{}", text(&build, "id"));
    let mut random = StdRng::seed_from_u64(seed);
    let (mut kills, mut without_guard) = (0, BTreeSet::new());
    // This engine makes its socket anew when it restarts, so that guards which run then keep one that is dead: the
    // clients of their jobs fail, as they would on the host.
    let mut restarted = 0;
    let ended = loop {
        std::thread::sleep(Duration::from_millis(random.random_range(1000..12_000)));
        let state = world.api().get(&path);
        if is_final(&state) {
            break state;
        }
        // Starts that are cut short leave nothing to the next ones, once it is removed.
        let list = ["ps", "--filter", "label=longshore.kind=sandbox"];
        let sandboxes = settled(|| of_jobs(&world.server.instance, &list).len(), |there| *there as u64 <= count);
        if sandboxes as u64 > count {
            verdict.wrong("sandboxes_too_many", format!("{sandboxes} sandboxes of {count} jobs"));
        }
        match random.random_range(0..4) {
            0 if (without_guard.len() as u64) < count / JOBS_OF_A_KILL => {
                without_guard.extend(kill_a_guard(&world.server.instance, &mut random));
            }
            1 if std::env::var_os("LONGSHORE_CHAOS_RESTART").is_some() => {
                verdict.add("engine_restarts", 1);
                restart_engine("yes");
                restarted = now_ms();
            }
            _ if kills < 3 + count / JOBS_OF_A_RESTART => {
                kills += 1;
                world.server.kill();
                world.server.launch();
            }
            _ => {}
        }
    };
    verdict.add("kills", kills);
    verdict.add("guards_killed", without_guard.len() as u64);
    for job in ended["jobs"].as_array().into_iter().flatten() {
        verdict.add("jobs", 1);
        let is_cut = job["status"] == "failure" && millis(&job["started_at"]) < restarted;
        if is_cut {
            verdict.add("clients_cut_by_the_engine", 1);
        }
        if job["status"] != "success" && !is_cut && !without_guard.contains(&text(job, "id")) {
            verdict.wrong("outcomes_wrong", job.to_string());
        }
    }
    for list in [&["network", "ls"][..], &["ps", "--all", "--filter", "label=longshore.kind=sandbox"]] {
        let left = settled(|| of_jobs(&world.server.instance, list), Vec::is_empty);
        if !left.is_empty() {
            verdict.wrong("objects_of_jobs_left", format!("{list:?}: {left:?}"));
        }
    }
    if others.objects(&world.server.instance, false) != before {
        verdict.wrong("others_touched", format!("{before:?} were there before"));
    }
    verdict.of_engine(&world.server.instance);
    verdict
}

/// Kills the guard of one of the jobs. Returns the job, if there was one.
fn kill_a_guard(instance: &str, random: &mut StdRng) -> Option<String> {
    let label = format!("label=longshore.instance={instance}");
    let format = "{{.ID}} {{.Label \"longshore.job\"}}";
    let guards = docker(&["ps", "--filter", &label, "--filter", "label=longshore.kind=guard", "--format", format]);
    let (id, job) = guards.choose(random)?.split_once(' ')?;
    // It may have ended since it was listed: then its job has ended too.
    let killed =
        Command::new("docker").args(["--host", &engine::docker_host(), "kill", id]).output().expect("docker runs");
    killed.status.success().then(|| job.to_owned())
}

/// Lists what belongs to single jobs. The network of the instance and the pool of sandboxes stay.
fn of_jobs(instance: &str, list: &[&str]) -> Vec<String> {
    let label = format!("label=longshore.instance={instance}");
    docker(&[list, &["-q", "--filter", &label, "--filter", "label=longshore.job"]].concat())
}

fn pipeline(count: u64) -> String {
    let job = |at: u64| {
        // An engine's own address pools are enough for about thirty networks, and each of these jobs has two.
        format!(
            "  job-{at}:\n    image: {CLIENTS}\n    docker: true\n    checkout: false\n    steps:\n      - run: |\n          \
             set -e\n          docker volume create kept\n          docker network create between\n          \
             docker run -d --name background --network between -v kept:/kept {BUSYBOX} sleep 1000\n          \
             test \"$(docker run --rm {BUSYBOX} echo {at})\" = {at}\n          sleep 5\n          docker exec background true\n"
        )
    };
    format!("jobs:\n{}", (0..count).map(job).collect::<String>())
}
