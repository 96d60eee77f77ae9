//! Jobs with Docker on a real engine, with real clients, unchanged: the guarded API and the engine's own socket.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "docker_jobs/leftovers.rs"]
mod leftovers;
mod support;

use std::{collections::BTreeSet, process::Command, time::Duration};

use serde_json::{Value, json};
use support::{
    api::text,
    engine::{self, BUSYBOX},
    polled, server, until,
    world::{World, job},
};

/// An image with clients, made by `scripts/images.sh`.
const CLIENTS: &str = "longshore-test/docker:latest";
/// The objects of a job with Docker, which go with it.
const KINDS: [&str; 6] = ["job", "volume", "guard", "inner", "step", "service"];

/// A job of one step, with Docker.
fn with_docker(docker: &str, script: &str) -> String {
    // As far as it is indented here: Python and compose files do not like that.
    let lines = script.lines().map(|line| line.strip_prefix("        ").unwrap_or(line));
    let script = lines.map(|line| format!("          {line}\n")).collect::<String>();
    format!(
        "jobs:\n  one:\n    image: {CLIENTS}\n    docker: {docker}\n    steps:\n      - run: |\n          set -e\n{script}"
    )
}

fn grant(world: &World, grant: &Value) {
    let (status, repo) = world.api().patch(&format!("/api/v1/repos/{}", world.repo), &json!({ "docker": grant }));
    assert_eq!((status, &repo["docker"]), (200, grant), "{repo}");
}

fn granted() -> World {
    let world = World::start();
    grant(&world, &json!({ "branches": ["main"] }));
    world
}

fn log_of(world: &World, build: &Value) -> String {
    String::from_utf8_lossy(&world.api().raw_log(&text(job(build, "one"), "id"))).into_owned()
}

/// Networks of jobs. The network of the instance stays.
fn networks(instance: &str) -> Vec<String> {
    let filter = format!("label=longshore.instance={instance}");
    engine::docker(&["network", "ls", "-q", "--filter", &filter, "--filter", "label=longshore.job"])
}

/// What names the first try of a job in what is made through its guard.
fn scope(instance: &str, job: &str) -> String {
    use sha2::Digest as _;
    hex::encode(&sha2::Sha256::digest(format!("{instance} {job} 1"))[..12])
}

/// Images that the guard of a job has named, and layers of its builds, on the engine.
fn images(instance: &str, job: &str) -> Vec<String> {
    let scope = scope(instance, job);
    let mut all = engine::docker(&["images", "-q", &format!("longshore-guard/{scope}")]);
    all.extend(engine::docker(&["images", "-q", "--filter", &format!("label=longshore.guard.scope={scope}")]));
    all
}

/// When a job with Docker is over, nothing of it is left but what its pod itself has; an engine under load may let go of
/// some of it later.
fn nothing_inner_is_left(world: &World) {
    let instance = &world.server.instance;
    until("what the job made to go", || {
        (engine::objects(instance, &["guard", "inner"]).is_empty() && networks(instance).is_empty()).then_some(())
    });
    world.nothing_is_left();
    let of_instance = engine::objects(instance, &KINDS);
    assert_eq!(of_instance, [""; 0]);
}

#[test]
fn what_a_job_was_refused_is_in_the_audit_log_and_the_first_time_stands_out() {
    let world = granted();
    let script = format!(
        "
        docker run --rm {BUSYBOX} true
        if docker run --rm --privileged {BUSYBOX} true; then exit 1; fi
        "
    );
    let build = world.run(&with_docker("true", &script));
    assert_eq!(build["status"], "success", "{}", log_of(&world, &build));
    nothing_inner_is_left(&world);
    let of = |action: &str| {
        let found = world.api().get(&format!("/api/v1/audit?repo={}&action={action}", world.repo));
        found["items"].as_array().unwrap().clone()
    };
    let used = of("docker.use");
    assert_eq!((used.len(), &used[0]["decision"]), (1, &json!("allowed")), "{used:?}");
    let refused = of("docker.request");
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!((&refused[0]["decision"], &refused[0]["job"]), (&json!("denied"), &job(&build, "one")["id"]));
    assert_eq!(refused[0]["object"], "POST containers/create", "{refused:?}");
    let reason = text(&refused[0], "reason");
    assert!(reason.starts_with("privileged: ") && reason.contains("Privileged"), "{reason}");
    assert!(text(&of("docker.end")[0], "reason").contains(" 1 refused"));

    let stands_out = || world.api().get("/api/v1/audit/anomalies")["items"].as_array().unwrap().clone();
    let first = until("the anomaly", || Some(stands_out()).filter(|found| !found.is_empty()));
    assert_eq!(
        (&first[0]["kind"], &first[0]["job"]),
        (&json!("first-refusal"), &job(&build, "one")["id"]),
        "{first:?}"
    );
    let (_, metrics) = world.api().get_text("/metrics");
    assert!(metrics.contains("longshore_anomalies_total{kind=\"first-refusal\"} 1"), "{metrics}");
    // It is no news any more.
    let build = world.run(&with_docker("true", &format!("{script}        # again\n")));
    assert_eq!(build["status"], "success");
    until("the second refusal", || (of("docker.request").len() == 2).then_some(()));
    assert_eq!(stands_out().len(), 1);
}

#[test]
fn a_job_uses_docker_as_on_the_host() {
    let world = granted();
    let script = format!(
        r#"
        test "$(docker version --format '{{{{.Server.Platform.Name}}}}')" = "Longshore guard"
        docker run --rm {BUSYBOX} echo hello from inside
        # The workspace, by its own path.
        echo of the job > made
        docker run --rm -v "$PWD:/src" {BUSYBOX} sh -c 'cat /src/made; echo of the container > /src/back'
        grep container back
        docker run --rm --mount "type=bind,source=$PWD,target=/src,readonly" -w /src {BUSYBOX} cat made
        printf 'FROM {BUSYBOX}\nCOPY made /made\nRUN cat /made > /again\nCMD ["cat", "/again"]\n' > Dockerfile
        docker build -q -t app:1 .
        docker run --rm app:1
        docker create --name copied app:1
        docker cp copied:/again again
        docker cp made copied:/new
        docker cp copied:/new new
        cmp made again && cmp made new
        # A published port answers on localhost, and its container by its name.
        docker run -d --name web -p 8080:8000 {BUSYBOX} sh -c 'mkdir /www; echo served > /www/x; echo ready; exec httpd -f -p 8000 -h /www'
        docker logs -f web > log &
        until grep -q ready log; do sleep 0.1; done
        for address in localhost:8080 web:8000; do
          python3 -c 'import sys,time,urllib.request
        for i in range(100):
            try: print("from", sys.argv[1], urllib.request.urlopen("http://" + sys.argv[1] + "/x").read().decode()); break
            except OSError: time.sleep(0.1)
        else: raise SystemExit("no answer")' "$address"
        done
        test "$(docker exec web cat /www/x)" = served
        script -qec 'docker exec -it web sh -c "tty && echo on a terminal"' /dev/null
        docker run --rm -v /var/run/docker.sock:/var/run/docker.sock {CLIENTS} docker ps --format 'seen from a container: {{{{.Names}}}}'
        docker volume create data
        docker run --rm -v data:/data {BUSYBOX} sh -c 'echo kept > /data/x'
        if docker run --rm --privileged {BUSYBOX} true; then exit 1; fi
        if docker run --rm -v /etc:/h {BUSYBOX} true; then exit 1; fi
        if docker run --rm -v /longshore/spool:/h {BUSYBOX} true; then exit 1; fi
        docker ps --format '{{{{.Names}}}} {{{{.Ports}}}}'
        "#
    );
    let build = world.run(&with_docker("true", &script));
    let log = log_of(&world, &build);
    assert_eq!(build["status"], "success", "{log}\n{build}");
    for line in [
        "hello from inside",
        "of the job",
        "from localhost:8080 served",
        "from web:8000 served",
        "on a terminal",
        "seen from a container: web",
        "HostConfig.Privileged may not be set",
        "/etc of the host may not be mounted: paths below /longshore/workspace and volumes may",
        "web 127.0.0.1:8080->8000/tcp",
    ] {
        assert!(log.contains(line), "{line:?} is not in\n{log}");
    }
    assert_eq!(job(&build, "one")["docker"], true);
    nothing_inner_is_left(&world);
    let one = text(job(&build, "one"), "id");
    until("its images to go, too", || images(&world.server.instance, &one).is_empty().then_some(()));
}

#[test]
fn compose_docker_py_and_testcontainers_work_in_a_job() {
    let world = granted();
    let script = format!(
        r#"
        cat > docker-compose.yml <<'EOF'
        version: '2.4'
        services:
          web:
            image: {BUSYBOX}
            command: sh -c 'cat /app/made > /www; mkdir -p /srv && cp /www /srv/x; exec httpd -f -p 8000 -h /srv'
            volumes: ['./:/app', 'data:/data']
            ports: ['8001:8000']
          client:
            image: {BUSYBOX}
            depends_on: [web]
            command: sh -c 'until wget -q -O - http://web:8000/x; do sleep 0.3; done'
        volumes:
          data: {{}}
        EOF
        echo composed > made
        docker-compose -p proj up -d
        docker-compose -p proj logs -f client
        python3 -c 'import urllib.request; print("published", urllib.request.urlopen("http://localhost:8001/x").read().decode())'
        docker-compose -p proj ps
        docker-compose -p proj down -v
        cat > test.py <<'EOF'
        import docker, time, urllib.request
        client = docker.from_env()
        print("docker-py", client.containers.run("{BUSYBOX}", ["echo", "py"], remove=True).decode())
        from testcontainers.core.container import DockerContainer
        from testcontainers.core.waiting_utils import wait_for_logs
        serve = "sh -c 'mkdir /www; echo contained > /www/x; echo ready; exec httpd -f -p 8000 -h /www'"
        with DockerContainer("{BUSYBOX}").with_command(serve).with_exposed_ports(8000) as container:
            wait_for_logs(container, "ready", timeout=600)
            address = "http://%s:%s/x" % (container.get_container_host_ip(), container.get_exposed_port(8000))
            for i in range(100):
                try:
                    print("testcontainers", urllib.request.urlopen(address).read().decode())
                    break
                except OSError:
                    time.sleep(0.1)
            else:
                raise SystemExit("no answer at " + address)
        assert client.containers.list(all=True) == []
        EOF
        python3 test.py
        "#
    );
    let build = world.run(&with_docker("true", &script));
    let log = log_of(&world, &build);
    assert_eq!(build["status"], "success", "{log}\n{build}");
    for line in ["composed", "published composed", "docker-py py", "testcontainers contained"] {
        assert!(log.contains(line), "{line:?} is not in\n{log}");
    }
    nothing_inner_is_left(&world);
}

#[test]
fn docker_is_for_nobody_whose_branch_was_not_granted_it() {
    let world = World::start();
    let pipeline = with_docker("true", "docker ps");
    let build = world.run(&pipeline);
    let refused = job(&build, "one");
    let why = text(refused, "reason");
    assert_eq!(refused["status"], "error", "{refused}");
    assert!(
        why.contains("`docker: true` is not granted to this repository") && why.contains("longshore repo docker"),
        "{why}"
    );

    let longshore = |args: &[&str]| {
        let output = Command::new(server::program())
            .args(args)
            .env("LONGSHORE_URL", world.server.url())
            .env("LONGSHORE_TOKEN", server::ADMIN_TOKEN)
            .output()
            .expect("the program runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = longshore(&["repo", "docker", "team/app", "--branch", "release/*"]);
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "team/app: jobs of release/* that ask for it get a guarded Docker API.\n")
    );
    let build = world.run(&with_docker("true", "docker ps -a"));
    let why = text(job(&build, "one"), "reason");
    assert!(why.contains("granted to builds of `release/*`, and this build is of the branch `main`"), "{why}");
    assert_eq!(longshore(&["repo", "docker", "team/app", "--branch", "main"]).0, Some(0));
    // Enough for a guarded one, and not for the engine's own.
    assert_eq!(world.run(&with_docker("true", "docker ps")).get("status"), Some(&json!("success")));
    let closed = with_docker("true", "docker ps").replace("docker: true", "docker: true\n    network: internal");
    let why = text(job(&world.run(&closed), "one"), "reason");
    assert!(why.contains("which `network: internal` does not restrict"), "{why}");
    let build = world.run(&with_docker("raw", "docker ps"));
    assert!(
        text(job(&build, "one"), "reason").contains("`docker: raw`, the engine's own socket, is not granted"),
        "{build}"
    );
    nothing_inner_is_left(&world);
}

#[test]
fn two_jobs_with_docker_do_not_see_each_other() {
    let world = granted();
    let script = format!(
        "docker run -d --name db -p 5432:5432 {BUSYBOX} sh -c \"mkdir /www; echo $WHO > /www/x; exec httpd -f -p 5432 -h /www\"\n\
         docker tag {BUSYBOX} of-$WHO:1\n\
         docker volume create of-$WHO\n\
         for network in one two; do docker network create $network; done\n\
         docker network inspect --format 'has {{{{range .IPAM.Config}}}}{{{{.Subnet}}}}{{{{end}}}}' bridge one two\n\
         touch ready\n\
         while [ \"$(docker ps -q | wc -l)\" != 1 ]; do sleep 0.1; done\n\
         for i in $(seq 50); do python3 -c 'import urllib.request; print(\"found\", urllib.request.urlopen(\"http://localhost:5432/x\").read().decode())' && break; sleep 0.1; done\n\
         docker ps -a --format 'sees {{{{.Names}}}}'\n\
         docker volume ls -q | sed 's/^/sees volume /'\n\
         docker images --format 'sees image {{{{.Repository}}}}' of-*\n\
         docker network ls --format 'sees network {{{{.Name}}}}'"
    );
    let indented: String = script.lines().map(|line| format!("          {line}\n")).collect();
    let one = |name: &str| {
        format!(
            "  {name}:\n    image: {CLIENTS}\n    docker: true\n    env: {{ WHO: {name} }}\n    steps:\n      - run: |\n          set -e\n{indented}"
        )
    };
    let build = world.run(&format!("jobs:\n{}{}", one("left"), one("right")));
    let mut subnets = BTreeSet::new();
    for (name, other) in [("left", "right"), ("right", "left")] {
        let log = String::from_utf8_lossy(&world.api().raw_log(&text(job(&build, name), "id"))).into_owned();
        assert_eq!(job(&build, name)["status"], "success", "{log}");
        for line in [
            format!("found {name}"),
            "sees db".to_owned(),
            format!("sees volume of-{name}"),
            format!("sees image of-{name}"),
            "sees network bridge".to_owned(),
        ] {
            assert!(log.contains(&line), "{line:?} is not in\n{log}");
        }
        assert!(!log.contains(other), "{name} sees the other one:\n{log}");
        // The engine's own address pools are not enough for many such jobs.
        let networks = log.lines().filter(|line| line.starts_with("has 198.1") && line.ends_with("/27"));
        let own: BTreeSet<String> = networks.map(str::to_owned).collect();
        assert_eq!(own.len(), 3, "{log}");
        assert!(subnets.is_disjoint(&own), "{subnets:?}, {own:?}");
        subnets.extend(own);
    }
    nothing_inner_is_left(&world);
}

#[test]
fn a_step_with_its_own_image_has_the_socket_and_a_service_has_not() {
    let world = granted();
    let pipeline = format!(
        "jobs:\n  one:\n    image: {BUSYBOX}\n    docker: true\n    services:\n      beside:\n        image: {BUSYBOX}\n        command: [sh, -c, 'ls -d /longshore/docker /var/run/docker.sock; echo looked; exec sleep 600']\n        ready: {{ exec: 'true' }}\n    steps:\n      - run: test -S /var/run/docker.sock && echo $DOCKER_HOST\n      - image: {CLIENTS}\n        run: docker run --rm -v \"$PWD:/src\" {BUSYBOX} echo by a step\n"
    );
    let build = world.run(&pipeline);
    let log = log_of(&world, &build);
    assert_eq!(build["status"], "success", "{log}\n{build}");
    assert!(log.contains("unix:///var/run/docker.sock\n") && log.contains("by a step\n"), "{log}");
    let (_, of_service) =
        world.api().get_text(&format!("/api/v1/jobs/{}/log?format=raw&step=beside", text(job(&build, "one"), "id")));
    assert!(of_service.contains("looked") && of_service.contains("No such file"), "{of_service}");
    nothing_inner_is_left(&world);
}

#[test]
fn the_hosts_socket_is_given_where_it_is_granted_and_named_in_red() {
    let world = World::start();
    grant(&world, &json!("raw"));
    let build = world.run(&with_docker("raw", "docker ps --no-trunc --format '{{.Names}}'"));
    let one = job(&build, "one");
    let log = log_of(&world, &build);
    assert_eq!((build["status"].as_str(), &one["docker"]), (Some("success"), &json!("raw")), "{log}");
    assert!(log.contains("longshore-"), "it sees its own container on the host: {log}");
    for page in [format!("/jobs/{}", text(one, "id")), format!("/builds/{}", text(&build, "id"))] {
        let (status, html) = world.api().get_text(&page);
        assert!(
            status == 200 && html.contains("<span class=\"tag bad\"") && html.contains("host's Docker"),
            "{page}: {html}"
        );
    }
    assert_eq!(engine::objects(&world.server.instance, &["guard", "inner"]), [""; 0]);
}

#[test]
fn a_run_on_the_users_own_engine_has_docker_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let instance = dir.path().file_name().unwrap().to_string_lossy().replace('.', "d").to_lowercase();
    let pipeline = with_docker(
        "true",
        &format!("docker run -d {BUSYBOX} sleep 600\ndocker run --rm -v \"$PWD:/src\" {BUSYBOX} ls /src"),
    );
    std::fs::write(dir.path().join(".longshore.yml"), pipeline).unwrap();
    let output = Command::new(server::program())
        .arg("run")
        .current_dir(dir.path())
        .env("LONGSHORE_DOCKER_HOST", engine::docker_host())
        .env("LONGSHORE_INSTANCE", &instance)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    // The engine goes on by itself with files that it is slow to delete.
    let left = polled(Duration::from_secs(600), || {
        (engine::objects(&instance, &KINDS).is_empty() && networks(&instance).is_empty()).then_some(())
    });
    engine::remove_all(&instance);
    assert_eq!(output.status.code(), Some(0), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(left.is_some(), "something is left: {printed}");
}
