//! Builders of jobs on a real engine, with a real BuildKit: `LONGSHORE_TEST_BUILDKIT` names an image of rootless
//! BuildKit that the engine has, such as `moby/buildkit:rootless`, and `LONGSHORE_TEST_BUILDX` one with a shell,
//! `docker` and its plugin `buildx`. Without them nothing is built.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::{
    api::text,
    engine,
    server::Server,
    until,
    world::{World, job},
};

/// What belongs to a job with Docker, and goes with it.
const KINDS: [&str; 7] = ["job", "volume", "guard", "builder", "inner", "step", "service"];
/// A static busybox is the whole of the images that are built here: no registry is asked for anything.
const BUSYBOX: &str = "longshore-test/busybox";

/// The images of BuildKit, and of its clients.
#[expect(clippy::print_stderr, reason = "whoever runs the test learns why it did nothing")]
fn images() -> Option<(String, String)> {
    let named = ["LONGSHORE_TEST_BUILDKIT", "LONGSHORE_TEST_BUILDX"].map(|name| std::env::var(name).ok());
    let [Some(builder), Some(clients)] = named else {
        eprintln!("skipped: LONGSHORE_TEST_BUILDKIT and LONGSHORE_TEST_BUILDX name no images");
        return None;
    };
    Some((builder, clients))
}

/// A server with a guard, which jobs of `main` may have builders from.
fn world(builder: &str) -> World {
    let settings = [("LONGSHORE_GUARD", "on"), ("LONGSHORE_BUILDKIT_IMAGE", builder)];
    let world = World::of(Server::start_with(engine::docker_host(), &settings));
    grant(&world, &json!({ "branches": ["main"], "buildkit": true }));
    world
}

fn grant(world: &World, grant: &Value) {
    let (status, repo) = world.api().patch(&format!("/api/v1/repos/{}", world.repo), &json!({ "docker": grant }));
    assert_eq!((status, &repo["docker"]), (200, grant), "{repo}");
}

fn log_of(world: &World, build: &Value) -> String {
    String::from_utf8_lossy(&world.api().raw_log(&text(job(build, "one"), "id"))).into_owned()
}

/// A job with Docker that has busybox's program beside its Dockerfile.
fn pipeline(clients: &str, more: &str, script: &str) -> String {
    let lines = script.lines().map(|line| format!("          {}\n", line.strip_prefix("        ").unwrap_or(line)));
    format!(
        "jobs:\n  one:\n    image: {clients}\n    docker: true\n    steps:\n      - run: |\n          set -e\n          docker create --name box {BUSYBOX} true\n          docker cp box:/bin/busybox busybox\n          docker rm box\n{}{more}",
        lines.collect::<String>()
    )
}

const DOCKERFILE: &str = r#"
        cat > Dockerfile <<'EOF'
        # Here-documents and mounts are BuildKit's.
        FROM scratch AS base
        COPY busybox /bin/busybox
        SHELL ["/bin/busybox", "sh", "-c"]
        RUN /bin/busybox mkdir -p /etc /proc && /bin/busybox cp /bin/busybox /bin/sh && /bin/busybox touch /file && /bin/busybox chown 33:42 /file
        RUN --mount=type=cache,target=/cache <<SCRIPT
        /bin/busybox cat /cache/mark 2>/dev/null || true
        /bin/busybox date +%s%N > /cache/mark
        /bin/busybox id -u
        /bin/busybox mount -t tmpfs none /etc && /bin/busybox echo MOUNTED || true
        /bin/busybox unshare -U /bin/busybox true && /bin/busybox echo UNSHARED || true
        SCRIPT
        RUN --mount=type=secret,id=token [ "$(/bin/busybox cat /run/secrets/token)" = hidden ] && [ ! -e /var/run/docker.sock ]
        CMD ["/bin/busybox", "stat", "-c", "owned by %u:%g", "/file"]
        EOF
        export TOKEN=hidden
        build() { docker buildx build --progress plain --secret id=token,env=TOKEN "$@" . 2>&1; }
"#;

#[test]
fn a_job_builds_with_its_own_builder_and_loads_what_it_built() {
    let Some((builder, clients)) = images() else { return };
    let world = world(&builder);
    let script = format!(
        "{DOCKERFILE}
        build --load -t app:1 -t registry.example/team/app:1
        docker run --rm app:1
        echo AGAIN
        build --load -t again
        docker run --rm registry.example/team/app:1
        docker images
        if DOCKER_BUILDKIT=1 docker build -t app:2 . > refused 2>&1; then exit 1; fi
        tail -3 refused
        docker build -q -t app:3 - <<'EOF'
        FROM app:1
        CMD [\"/bin/busybox\", \"echo\", \"classic on top\"]
        EOF
        docker run --rm app:3
        "
    );
    let in_a_step = format!("      - image: {builder}\n        run: buildctl debug workers\n");
    let build = world.run(&pipeline(&clients, &in_a_step, &script));
    let log = log_of(&world, &build);
    assert_eq!(build["status"], "success", "{log}\n{build}");
    assert_eq!(log.matches("owned by 33:42").count(), 2, "{log}");
    let (first, again) = log.split_once("AGAIN").unwrap();
    assert_eq!((first.contains("CACHED"), again.contains("CACHED")), (false, true), "{log}");
    for line in ["registry.example/team/app", "LONGSHORE_BUILDKIT_IMAGE", "classic on top", "linux/amd64"] {
        assert!(log.contains(line), "{line:?} is not in\n{log}");
    }
    for line in ["\nMOUNTED", " MOUNTED\n", " UNSHARED\n", "longshore-guard/"] {
        assert!(!log.contains(line), "{line:?} is in\n{log}");
    }
    let of_instance = |kinds: &[&str]| engine::objects(&world.server.instance, kinds);
    world.nothing_is_left();
    assert_eq!(of_instance(&KINDS), [""; 0]);
    assert_eq!(engine::docker(&["images", "-q", "registry.example/team/app"]), [""; 0], "its names are its own");
}

#[test]
fn what_a_builder_has_cached_is_no_other_jobs() {
    let Some((builder, clients)) = images() else { return };
    let world = world(&builder);
    let script = format!("{DOCKERFILE}        build --output type=docker,dest=app.tar\n");
    for _ in 0..2 {
        let build = world.run(&pipeline(&clients, "", &script));
        let log = log_of(&world, &build);
        assert_eq!(build["status"], "success", "{log}");
        assert!(!log.contains("CACHED"), "{log}");
    }
    world.nothing_is_left();
}

/// Starts a job that waits. Returns its build and its builder.
fn waiting(world: &World, clients: &str) -> (String, String) {
    let script = "        echo here\n        while [ ! -e go ]; do sleep 0.1; done\n";
    let commit = world.git.push(&pipeline(clients, "", script));
    let build = text(&world.build_of(&commit), "id");
    until("the job to wait", || {
        let log = log_of(world, &world.api().get(&format!("/api/v1/builds/{build}")));
        log.contains("here").then_some(())
    });
    let builders = engine::objects(&world.server.instance, &["builder"]);
    assert_eq!(builders.len(), 1);
    (build, builders[0].clone())
}

#[test]
fn a_builder_goes_with_its_job_though_the_server_and_both_guards_were_killed() {
    let Some((builder, clients)) = images() else { return };
    let mut world = world(&builder);
    let (build, _) = waiting(&world, &clients);
    let instance = world.server.instance.clone();
    world.server.kill();
    for kind in ["guard", "job"] {
        for id in engine::objects(&instance, &[kind]) {
            engine::docker(&["kill", "--signal", "KILL", &id]);
        }
    }
    assert_eq!(engine::objects(&instance, &["builder"]).len(), 1);
    world.server.launch();
    let ended = world.api().wait_for_build(&build);
    assert_eq!(ended["status"], "error", "{ended}");
    assert_eq!(engine::objects(&instance, &["guard", "builder", "inner"]), [""; 0]);
    until("the engine to be clean", || engine::objects(&instance, &KINDS).is_empty().then_some(()));
}

#[test]
fn a_builder_is_nobodys_root_and_makes_no_network_of_its_own() {
    let Some((builder, clients)) = images() else { return };
    let world = world(&builder);
    let (build, container) = waiting(&world, &clients);
    let inside = |words: &[&str]| {
        let exec = [&["exec", &container][..], words].concat();
        std::process::Command::new("docker").args(["--host", &engine::docker_host()]).args(exec).output().unwrap()
    };
    assert!(inside(&["unshare", "--user", "true"]).status.success());
    for words in
        [&["unshare", "--user", "--net", "true"][..], &["unshare", "--user", "--map-root-user", "--net", "true"]]
    {
        assert!(!inside(words).status.success(), "{words:?}");
    }
    let status = String::from_utf8(inside(&["cat", "/proc/self/status"]).stdout).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    assert_eq!(
        (field("Uid:"), field("CapEff:")),
        (Some("1000\t1000\t1000\t1000"), Some("0000000000000000")),
        "{status}"
    );
    // SETGID and SETUID, and none else.
    assert_eq!((field("CapBnd:"), field("Seccomp:")), (Some("00000000000000c0"), Some("2")), "{status}");
    let mounts = engine::inspect(&container, "{{range .Mounts}}{{.Type}} {{.Destination}},{{end}}");
    assert_eq!(mounts.as_deref(), Some("volume /home/user/.local/share/buildkit,"));
    world.api().post(&format!("/api/v1/builds/{build}/cancel"), &json!({}));
    world.api().wait_for_build(&build);
    assert_eq!(engine::objects(&world.server.instance, &KINDS), [""; 0]);
}

#[test]
fn a_job_whose_repository_was_not_allowed_a_builder_has_none_and_is_told_what_to_do() {
    let Some((builder, clients)) = images() else { return };
    let world = world(&builder);
    grant(&world, &json!({ "branches": ["main"] }));
    let script = "
        test -z \"$BUILDKIT_HOST$BUILDX_BUILDER$BUILDX_CONFIG\"
        if DOCKER_BUILDKIT=1 docker build . > refused 2>&1; then exit 1; fi
        cat refused
    ";
    let build = world.run(&pipeline(&clients, "", script));
    let log = log_of(&world, &build);
    assert_eq!(build["status"], "success", "{log}");
    assert!(log.contains("longshore repo docker") && log.contains("DOCKER_BUILDKIT=0"), "{log}");
    assert_eq!(engine::objects(&world.server.instance, &["builder"]), [""; 0]);
}
