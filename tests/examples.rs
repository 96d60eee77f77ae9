//! Runs the pipelines of `pipelines-examples/` on the real engine, so that what people copy works.
//!
//! One image made here replaces the public images: Debian, with programs named like those of the toolchains, which
//! print their arguments. Examples with keys that this version cannot run are tested by their frozen plans
//! (`crates/pipeline/tests/pipelines`).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::{
    collections::BTreeSet,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use support::{
    api::text,
    engine,
    server::Server,
    until, until_within,
    world::{World, job},
};

/// Examples that this version cannot run: they need services, images of steps or a Docker API.
const NOT_RUN: [&str; 3] = ["cargo-services", "docker-build", "plugins"];

/// The files of the repository, besides the examples.
const SCRIPTS: [&str; 5] = ["ci/prepare.sh", "ci/docs.sh", "test.sh", "deploy.sh", "rollback.sh"];

/// The programs of the toolchains. `gofmt -l` would list badly formatted files, so it prints nothing.
const STAND_INS: &str = "FROM longshore/debian:bookworm
RUN for tool in cargo rustup go npm pip pytest; do \\
      printf '#!/bin/sh\\necho \"%s $*\"\\n' $tool > /usr/local/bin/$tool; done; \\
    printf '#!/bin/sh\\n' > /usr/local/bin/gofmt; chmod 755 /usr/local/bin/*
";

/// Names of the image that replaces the others. Removes them when dropped.
struct Images {
    prefix: String,
    made: BTreeSet<String>,
}

impl Images {
    fn make() -> Self {
        let prefix = format!("longshore-test/examples-{:08x}", rand::random::<u32>());
        let context = tempfile::tempdir().unwrap();
        std::fs::write(context.path().join("Dockerfile"), STAND_INS).unwrap();
        let base = format!("{prefix}/base");
        engine::docker(&["build", "-q", "-t", &base, &context.path().display().to_string()]);
        Self { prefix, made: BTreeSet::from([base]) }
    }

    /// Returns the name that replaces `image`.
    fn stand_in(&mut self, image: &str) {
        let name = format!("{}/{image}", self.prefix);
        if self.made.insert(name.clone()) {
            engine::docker(&["tag", &format!("{}/base", self.prefix), &name]);
        }
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        let names: Vec<&str> = self.made.iter().map(String::as_str).collect();
        engine::docker(&[&["rmi", "-f"], names.as_slice()].concat());
    }
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines-examples")
}

/// Returns the examples to run, with replaced images, and the files that they need.
fn files(images: &mut Images) -> Vec<(String, String)> {
    let mut files =
        vec![("REVISION".to_owned(), "7\n".to_owned()), ("services/api/package.json".to_owned(), "{}".to_owned())];
    for script in SCRIPTS {
        files.push((script.to_owned(), "#!/bin/sh\necho \"$0 $*\"\n".to_owned()));
    }
    for image in ["3.12-slim", "3.13-slim", "3.13-alpine", "3.14-slim", "3.14-alpine", "3.15-rc-slim"] {
        images.stand_in(&format!("python:{image}"));
    }
    for entry in std::fs::read_dir(examples()).unwrap().chain(std::fs::read_dir(examples().join("ci")).unwrap()) {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.extension().is_none_or(|extension| extension != "yml") || NOT_RUN.contains(&name.as_str()) {
            continue;
        }
        let written = std::fs::read_to_string(&path).unwrap();
        let mut changed = String::new();
        for line in written.lines() {
            match line.split_once("image: ") {
                Some((before, image)) => {
                    let image = image.trim_start_matches('\'');
                    let end = image.find([' ', ',', '\'']).unwrap_or(image.len());
                    if let Some((name, _)) = image.split_once("${{") {
                        assert!(["python:", "rust:"].contains(&name), "an image that nobody stands in for: {image}");
                    } else {
                        images.stand_in(&image[..end]);
                    }
                    let at = line.len() - image.len();
                    assert!(before.len() <= at);
                    changed.push_str(&format!("{}{}/{image}\n", &line[..at], images.prefix));
                }
                None => changed.push_str(&format!("{line}\n")),
            }
        }
        let of_template = path.parent().unwrap().ends_with("ci");
        let folder = if of_template { "ci" } else { ".longshore" };
        if !of_template || name == "rust-test" {
            files.push((format!("{folder}/{name}.yml"), changed));
        }
    }
    images.stand_in("rust:1.94");
    files
}

fn statuses(build: &Value) -> Vec<(String, String)> {
    let jobs = build["jobs"].as_array().unwrap();
    let mut all: Vec<_> =
        jobs.iter().map(|job| (text(job, "key"), format!("{} {}", job["status"], job["reason"]))).collect();
    all.sort();
    all
}

fn log(world: &World, build: &Value, job_name: &str) -> String {
    String::from_utf8(world.api().raw_log(&text(job(build, job_name), "id"))).unwrap()
}

#[test]
fn every_example_that_this_version_can_run_is_green_on_the_engine() {
    let mut images = Images::make();
    let mut world = World::of(Server::start_with(engine::docker_host(), &[("LONGSHORE_LABELS", "zone=dmz")]));
    let git = &world.git;
    let files = files(&mut images);
    let written: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    git.commit("all examples", &written);
    for script in SCRIPTS {
        std::fs::set_permissions(git.work().join(script), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let commit = git.commit("scripts run", &[("services/api/index.js", "1\n")]);
    git.git(&["push", "-q", "origin", "HEAD:main"]);
    let id = text(&world.build_of(&commit), "id");
    let build = until_within(Duration::from_secs(900), "the push's end", || {
        let build = world.api().get(&format!("/api/v1/builds/{id}"));
        support::api::is_final(&build).then_some(build)
    });
    assert_eq!(build["status"], "success", "{:#?}\n{:#}", statuses(&build), build["diagnostics"]);
    let pipelines: BTreeSet<String> =
        build["jobs"].as_array().unwrap().iter().map(|job| text(job, "pipeline")).collect();
    let expected = [
        "anchors",
        "api",
        "artifacts",
        "beside",
        "crates",
        "fan-out",
        "go",
        "node",
        "outputs",
        "parts",
        "python",
        "retries",
        "rust",
    ];
    assert_eq!(pipelines, expected.map(str::to_owned).into());
    // Each example did what it shows.
    assert!(log(&world, &build, "test (3.14, slim, dev)").contains("pip install -e .[test,dev]"));
    assert!(
        log(&world, &build, "test (3.15-rc, slim, dev)").contains("running on 3.15-rc: 3."),
        "{:?}",
        statuses(&build)
    );
    assert_eq!(log(&world, &build, "build (api)"), "api 1.7\nflaky was failure\n");
    let beside = log(&world, &build, "check");
    assert!(beside.ends_with("npm test -- all\n") && beside.contains("npm run lint\n"), "{beside}");
    assert_eq!(log(&world, &build, "test-each (forge)"), "cargo test -p forge\n");
    assert_eq!(log(&world, &build, "test-api"), "cargo test -p api\ncargo test -p api --all-features\n");

    // The other examples do not start by a push.
    let others = ["release-on-tag", "by-hand", "deploy", "nightly", "pull-requests"]
        .map(|name| format!(".longshore/{name}.yml"));
    for (name, _) in files.iter().filter(|(name, _)| name.starts_with(".longshore/") && !others.contains(name)) {
        std::fs::remove_file(git.work().join(name)).unwrap();
    }
    git.commit("only these", &[]);
    git.git(&["push", "-q", "origin", "HEAD:main"]);

    // A tag starts only the release.
    git.git(&["tag", "v1.2.0"]);
    git.git(&["push", "-q", "origin", "v1.2.0"]);
    let tagged = until("the tag's build", || {
        let builds = world.api().get(&format!("/api/v1/repos/{}/builds?event=tag", world.repo));
        builds["items"].as_array()?.first().cloned()
    });
    let tagged = world.api().wait_for_build(&text(&tagged, "id"));
    assert_eq!(statuses(&tagged), [("release/publish".to_owned(), "\"success\" null".to_owned())]);

    // A manual start.
    let path = format!("/api/v1/repos/{}/builds", world.repo);
    for secret in ["DEPLOY_KEY", "REGISTRY_TOKEN"] {
        let path = format!("/api/v1/repos/{}/secrets/{secret}", world.repo);
        let (status, answer) = world.api().put(&path, &json!({ "value": format!("value of {secret}") }));
        assert!(status < 300, "{answer}");
    }
    let inputs = json!({ "target": "production", "version": "1.2.0", "replicas": "3" });
    let (status, started) = world.api().post(&path, &json!({ "ref": "main", "inputs": inputs }));
    assert_eq!(status, 201, "{started}");
    let id = text(&started, "id");
    let asks = until_within(Duration::from_secs(900), "the deployment to ask", || {
        let build = world.api().get(&format!("/api/v1/builds/{id}"));
        let deploy = job(&build, "deploy").clone();
        (deploy["reason"] == "awaiting approval: Deploy to production?").then_some(deploy)
    });
    let (status, _) = world.api().post(&format!("/api/v1/jobs/{}/approve", text(&asks, "id")), &json!({}));
    assert_eq!(status, 202);
    let started = world.api().wait_for_build(&id);
    assert_eq!(started["status"], "success", "{:?}", statuses(&started));
    assert_eq!(log(&world, &started, "reindex"), "started for main\n");
    assert_eq!(log(&world, &started, "deploy"), "./deploy.sh registry.example/app:1.2.0 --replicas 3\n");

    // A schedule that is due.
    world.server.stop();
    world.was_due_at("30 3 * * 1-5", 0);
    world.server.launch();
    let due = until("the build that was due", || {
        world.schedules().into_iter().find_map(|one| one["last_build"].as_str().map(str::to_owned))
    });
    let due = world.api().wait_for_build(&due);
    assert_eq!(due["status"], "success", "{:?}", statuses(&due));
    assert_eq!(log(&world, &due, "audit"), "cargo deny check\n");

    // A pull request.
    world.becomes_forgejos();
    world.git.git(&["checkout", "-q", "-b", "topic"]);
    let commit = world.git.commit("ask for it", &[("services/api/new.js", "1\n")]);
    world.git.git(&["push", "-q", "origin", "HEAD:refs/pull/1/head"]);
    let delivery = world.pull_request_called("api: one file more", "opened", &commit, false);
    let asked = until_within(Duration::from_secs(900), "the pull request's end", || {
        let build = world.api().get(&format!("/api/v1/builds/{}", delivery["builds"][0].as_str()?));
        support::api::is_final(&build).then_some(build)
    });
    assert_eq!(asked["status"], "success", "{:?}", statuses(&asked));
    assert!(log(&world, &asked, "size").contains("services/api/new.js"), "{asked}");
    world.nothing_is_left();
}
