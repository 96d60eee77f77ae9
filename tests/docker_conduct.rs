//! Jobs with Docker that go too far, beside one that is only clumsy: what they and the administrators are told.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::{
    api::text,
    engine::{self, BUSYBOX},
    receiver::Receiver,
    server::Server,
    until,
    world::{World, job},
};

/// An image with clients, made by `scripts/images.sh`.
const CLIENTS: &str = "longshore-test/docker:latest";

fn granted() -> World {
    let world = World::start();
    let grant = json!({ "docker": { "branches": ["main"] } });
    assert_eq!(world.api().patch(&format!("/api/v1/repos/{}", world.repo), &grant).0, 200);
    world
}

fn with_docker(script: &str) -> String {
    let script = script.lines().map(|line| format!("          {}\n", line.trim())).collect::<String>();
    format!("jobs:\n  one:\n    image: {CLIENTS}\n    docker: true\n    steps:\n      - run: |\n{script}")
}

fn log_of(world: &World, build: &Value) -> String {
    world.api().get_text(&format!("/api/v1/jobs/{}/log", text(job(build, "one"), "id"))).1
}

fn anomalies(world: &World) -> Vec<(String, String)> {
    let found = world.api().get("/api/v1/audit/anomalies");
    let of = |one: &Value| (text(one, "kind"), text(one, "message"));
    found["items"].as_array().unwrap().iter().rev().map(of).collect()
}

#[test]
fn a_job_that_is_refused_all_the_time_is_frozen_and_a_clumsy_one_is_not() {
    let world = granted();
    let receiver = Receiver::start();
    let hook = json!({ "kind": "webhook", "address": receiver.url("/hook"), "on": ["anomaly"] });
    assert_eq!(world.api().post("/api/v1/notifications", &hook).0, 201);
    let clumsy = format!(
        "for i in 1 2 3; do docker run --privileged {BUSYBOX} true || true; done
        docker run -d --name left {BUSYBOX} sleep 600
        docker rm -f nosuch || true
        docker exec left echo still here"
    );
    let build = world.run(&with_docker(&clumsy));
    let log = log_of(&world, &build);
    assert_eq!(build["status"], "success", "{log}");
    assert!(log.contains("still here") && !log.contains("frozen"), "{log}");
    let kinds = || anomalies(&world).into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
    until("the first refusal", || (kinds() == ["first-refusal"]).then_some(()));

    // The output hides it, and the job goes on while the message is sent. One client sends them all: they have to come
    // within a minute, which as many programs do not promise on a busy machine.
    let hostile = format!(
        "docker run -d --name left {BUSYBOX} sleep 600
        python3 -c 'import docker; c = docker.APIClient(); [c.post(c._url(\"/containers/create\"), json={{\"Image\": \"{BUSYBOX}\", \"HostConfig\": {{\"Privileged\": True}}}}) for _ in range(40)]'
        docker ps > out 2>&1 && exit 9
        grep -q 'the rule privileged' out
        while [ ! -e go ]; do sleep 0.1; done"
    );
    let commit = world.git.push(&with_docker(&hostile));
    let build = text(&world.build_of(&commit), "id");
    let frozen = until("the anomaly", || anomalies(&world).into_iter().find(|(kind, _)| kind == "frozen"));
    assert!(frozen.1.contains("30 requests were refused") && frozen.1.contains("the rule privileged"), "{frozen:?}");
    let running = world.api().get(&format!("/api/v1/builds/{build}"));
    assert_eq!(job(&running, "one")["status"], "running", "it is told at once");
    until("its log says so", || log_of(&world, &running).contains("Docker API is frozen").then_some(()));
    let (status, _) = world.api().post(&format!("/api/v1/builds/{build}/cancel"), &json!({}));
    assert!((200..300).contains(&status), "{status}");
    world.api().wait_for_build(&build);
    until("everything to be gone", || {
        engine::objects(&world.server.instance, &["guard", "inner"]).is_empty().then_some(())
    });
    let found = world.api().get(&format!("/api/v1/audit?repo={}&action=docker.freeze", world.repo));
    assert_eq!(found["items"].as_array().unwrap().len(), 1, "{found}");
    let (_, metrics) = world.api().get_text("/metrics");
    assert!(metrics.contains("longshore_anomalies_total{kind=\"frozen\"} 1"), "{metrics}");
    let (_, page) = world.api().get_text("/audit");
    assert!(page.contains("frozen"), "{page}");
    let told =
        || receiver.messages().iter().map(|one| text(&one.body()["data"]["anomaly"], "kind")).collect::<Vec<_>>();
    until("the notifications", || told().contains(&"frozen".to_owned()).then_some(()));
    assert_eq!(told()[..2], ["first-refusal", "frozen"]);
}

#[test]
fn probing_and_a_registry_that_was_never_used_stand_out() {
    let world = granted();
    let victim = engine::docker(&["run", "-d", BUSYBOX, "sleep", "600"]).remove(0);
    let usual = format!("docker run --rm {BUSYBOX} true");
    let build = world.run(&with_docker(&usual));
    assert_eq!(build["status"], "success", "{}", log_of(&world, &build));
    let script = format!(
        "docker run --rm {BUSYBOX} true
        docker exec {victim} env && exit 1
        docker inspect 0123456789abcdef0123456789abcdef longshore-server && exit 1
        docker pull ghcr.io/nobody/nothing:1 && exit 1
        true"
    );
    let build = world.run(&with_docker(&script));
    engine::docker(&["rm", "-f", &victim]);
    assert_eq!(build["status"], "success", "{}", log_of(&world, &build));
    // `docker inspect` asks for plugins too, which is refused.
    until("all three", || (anomalies(&world).len() == 3).then_some(()));
    let mut found = anomalies(&world);
    found.sort();
    assert_eq!(found[0].0, "first-refusal", "{found:?}");
    assert!(found[1].0 == "new-registry" && found[1].1.contains("ghcr.io"), "{found:?}");
    assert!(found[2].0 == "probing" && found[2].1.contains(&victim), "{found:?}");
    // The same once more is no news.
    assert_eq!(world.run(&with_docker(&format!("{script}\n# again")))["status"], "success");
    let ended = || world.api().get(&format!("/api/v1/audit?repo={}&action=docker.end", world.repo));
    until("the third log", || (ended()["items"].as_array().unwrap().len() == 3).then_some(()));
    assert_eq!(anomalies(&world).iter().filter(|(kind, _)| kind == "new-registry").count(), 1);
}

/// `LONGSHORE_TEST_DOCKER_JOBS=100 cargo test --test docker_conduct -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes of a whole machine"]
#[allow(clippy::print_stdout, reason = "figures for who runs it")]
fn many_jobs_with_docker_at_once_all_end_well_and_leave_nothing() {
    let jobs: usize = std::env::var("LONGSHORE_TEST_DOCKER_JOBS").map_or(20, |jobs| jobs.parse().unwrap());
    let capacity = jobs.to_string();
    let server = Server::start_with(engine::docker_host(), &[("LONGSHORE_CAPACITY", &capacity)]);
    let world = World::of(server);
    let grant = json!({ "docker": { "branches": ["main"] } });
    assert_eq!(world.api().patch(&format!("/api/v1/repos/{}", world.repo), &grant).0, 200);
    let numbers = (0..jobs).map(|at| at.to_string()).collect::<Vec<_>>().join(", ");
    let pipeline = format!(
        "jobs:\n  many:\n    image: {CLIENTS}\n    docker: true\n    matrix: {{ n: [{numbers}] }}\n    resources: {{ memory: 256MiB }}\n    steps:\n      - run: |\n          set -e\n          docker run -d --name left -v data:/data {BUSYBOX} sleep 600\n          docker exec left sh -c 'echo of ${{{{ matrix.n }}}} > /data/x'\n          test \"$(docker run --rm -v data:/data {BUSYBOX} cat /data/x)\" = \"of ${{{{ matrix.n }}}}\"\n          test \"$(docker ps -aq | wc -l)\" = 1\n"
    );
    let begun = std::time::Instant::now();
    let build = world.run(&pipeline);
    let took = begun.elapsed();
    let all = build["jobs"].as_array().unwrap();
    let of = |status: &str| all.iter().filter(|job| job["status"] == status).count();
    println!("{} of {jobs} jobs succeeded in {took:?}", of("success"));
    for job in all.iter().filter(|job| job["status"] != "success").take(5) {
        println!(
            "{} {}: {}",
            job["name"],
            job["status"],
            String::from_utf8_lossy(&world.api().raw_log(&text(job, "id")))
        );
    }
    assert_eq!(of("success"), jobs, "{build}");
    let instance = &world.server.instance;
    let kinds = ["job", "volume", "guard", "inner", "step", "service"];
    support::until_within(std::time::Duration::from_secs(600), "nothing to be left", || {
        engine::objects(instance, &kinds).is_empty().then_some(())
    });
    println!("nothing was left after {:?}", begun.elapsed());
    assert_eq!(anomalies(&world), []);
}
