//! Clients that go too far: what freezes a guard, what counts as probing, and what the budgets are. Each beside a
//! client that does not.

use std::io::{Read as _, Write as _};

use longshore_guard::{Conduct, Table};
use serde_json::json;

use crate::world::{BUSYBOX, World, engine};

/// How the client has behaved, as it is saved.
fn conduct(world: &World) -> Conduct {
    let table = std::fs::read(world.dir.path().join("table.json")).unwrap();
    serde_json::from_slice::<Table>(&table).unwrap().conduct().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_refusals_freeze_the_guard_which_says_why_and_a_few_do_not() {
    let world = World::with(true, &json!({ "refusals": 5 })).await;
    world.ok(&["run", "-d", "--name", "running", BUSYBOX, "sleep", "600"]);
    // A client that looks for missing objects, or waits for room, is not an attacker.
    for _ in 0..6 {
        world.refused(&["rm", "nosuch"], "foreign");
        world.refused(&["run", "--rm", "-m", "64g", BUSYBOX, "true"], "budget");
    }
    assert_eq!(world.ok(&["run", "--rm", BUSYBOX, "echo", "still"]), "still");
    // These have to come within a minute, which clients as programs do not promise on a busy machine.
    let create = |host: &str| {
        let body = format!(r#"{{"Image":"{BUSYBOX}","HostConfig":{host}}}"#);
        world.send_json("POST", "/containers/create", &body).0
    };
    for _ in 0..4 {
        assert_eq!(create(r#"{"Privileged":true}"#), 403);
    }
    assert_eq!(conduct(&world).frozen, None);
    assert_eq!(create(r#"{"Binds":["/etc:/etc"]}"#), 403);
    let frozen = conduct(&world).frozen.unwrap();
    assert!(frozen.contains("5 requests were refused") && frozen.contains("the rule host-path"), "{frozen}");
    assert_eq!(world.proxy.frozen().await, frozen);
    world.front.heard();
    for args in [&["ps"][..], &["version"], &["run", "--rm", BUSYBOX, "true"], &["rm", "-f", "running"]] {
        let refused = world.docker(args);
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success(), "{args:?}");
        assert!(text.contains("frozen") && text.contains("the rule host-path"), "{args:?}: {text}");
    }
    assert_eq!(world.front.heard(), Vec::<String>::new());
    let last = world.audit().pop().unwrap();
    assert_eq!((&last["decision"], &last["rule"]), (&json!("denied"), &json!("frozen")));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_that_never_were_the_clients_are_probes_and_its_own_former_ones_are_not() {
    let world = World::new(true).await;
    let gone = world.ok(&["run", "-d", "--rm", BUSYBOX, "true"]);
    world.ok(&["wait", &world.ok(&["run", "-d", BUSYBOX, "true"])]);
    let network = world.ok(&["network", "create", "gone"]);
    world.ok(&["network", "rm", "gone"]);
    let image = world.ok(&["image", "inspect", "-f", "{{.Id}}", BUSYBOX]);
    for reference in
        [&gone, &gone[..12], &network, &image, "web", "cafe", "0123456789", world.sandbox.as_ref().unwrap()]
    {
        world.docker(&["inspect", reference]);
    }
    assert_eq!(conduct(&world).probes.len(), 0, "{:?}", conduct(&world));
    let victim = engine(&["run", "-d", BUSYBOX, "sleep", "600"]);
    let unknown = "0123456789abcdef".repeat(4);
    // With the guard's own answer for what is not there.
    let answer = |reference: &str| {
        let refused = world.docker(&["container", "inspect", reference]);
        String::from_utf8_lossy(&refused.stderr).replace(reference, "X")
    };
    assert_eq!(answer(&victim), answer("nosuch"));
    assert_eq!(answer(&unknown[..12]), answer("nosuch"));
    assert!(!conduct(&world).is_probing());
    world.refused(&["container", "inspect", "longshore-anything"], "probe");
    assert!(conduct(&world).is_probing(), "{:?}", conduct(&world));
    engine(&["rm", "-f", &victim]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pulls_names_of_images_and_execs_have_budgets_and_what_is_over_is_given_back() {
    let world = World::with(true, &json!({ "pulls": 2, "images": 2, "execs": 2 })).await;
    for _ in 0..2 {
        let pulled = world.docker(&["pull", "registry.invalid/x"]);
        assert!(!String::from_utf8_lossy(&pulled.stderr).contains("budget"));
    }
    world.refused(&["pull", "registry.invalid/x"], "budget");
    let registries = conduct(&world).registries;
    assert!(registries.contains("registry.invalid") && registries.len() == 1, "{registries:?}");
    assert_eq!(world.audit().iter().filter(|entry| entry["object"] == "registry.invalid/x:latest").count(), 2);

    world.ok(&["tag", BUSYBOX, "a:1"]);
    world.ok(&["tag", BUSYBOX, "b:1"]);
    world.ok(&["tag", BUSYBOX, "b:1"]);
    world.refused(&["tag", BUSYBOX, "c:1"], "budget");
    world.ok(&["rmi", "a:1"]);
    world.ok(&["tag", BUSYBOX, "c:1"]);

    world.ok(&["run", "-d", "--name", "own", BUSYBOX, "sleep", "600"]);
    for _ in 0..5 {
        world.ok(&["exec", "own", "true"]);
    }
    world.ok(&["exec", "-d", "own", "sleep", "600"]);
    world.ok(&["exec", "-d", "own", "sleep", "600"]);
    world.refused(&["exec", "own", "true"], "budget");
    world.ok(&["restart", "-t", "0", "own"]);
    world.ok(&["exec", "own", "true"]);
    // Those that are not started yet count, since they may be.
    let create = |wanted: u16| {
        let mut stream = std::os::unix::net::UnixStream::connect(world.socket()).unwrap();
        let body = r#"{"Cmd":["true"]}"#;
        let head =
            "POST /containers/own/exec HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json";
        write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {wanted}")), "{answer}");
    };
    create(201);
    create(201);
    create(429);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_has_no_more_weight_than_others_and_a_few_unnamed_volumes() {
    let world = World::new(false).await;
    let volumes: Vec<String> = (0..17).map(|at| format!("type=volume,target=/v{at}")).collect();
    let mounts: Vec<&str> = volumes.iter().flat_map(|volume| ["--mount", volume]).collect();
    world.refused(&[&["run", "--rm"], &mounts[..], &[BUSYBOX, "true"]].concat(), "limit");
    world.ok(&[&["run", "--rm"], &mounts[..32], &[BUSYBOX, "true"]].concat());
    for (asked, has) in [("262144", "1024"), ("512", "512")] {
        let id = world.ok(&["create", "--cpu-shares", asked, BUSYBOX, "true"]);
        assert_eq!(engine(&["inspect", "-f", "{{.HostConfig.CpuShares}}", &id]), has);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn builds_take_turns() {
    let world = World::new(false).await;
    let contexts: Vec<String> = (0..2)
        .map(|at| {
            let dir = world.dir.path().join(format!("context-{at}"));
            std::fs::create_dir(&dir).unwrap();
            let run = "RUN read a b </proc/uptime; sleep 1; read c d </proc/uptime; echo $a $c > /times";
            std::fs::write(dir.join("Dockerfile"), format!("FROM {BUSYBOX}\n{run}\n")).unwrap();
            dir.display().to_string()
        })
        .collect();
    std::thread::scope(|scope| {
        for (at, context) in contexts.iter().enumerate() {
            let world = &world;
            scope.spawn(move || world.ok(&["build", "-t", &format!("turn:{at}"), context]));
        }
    });
    let mut times: Vec<Vec<f64>> = (0..2)
        .map(|at| world.ok(&["run", "--rm", &format!("turn:{at}"), "cat", "/times"]))
        .map(|text| text.split(' ').map(|time| time.parse().unwrap()).collect())
        .collect();
    times.sort_by(|one, other| one[0].total_cmp(&other[0]));
    assert!(times[0][1] <= times[1][0], "{times:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_build_runs_has_a_limit_of_processes() {
    let world = World::with(false, &json!({ "pids": 64, "pids_each": 32, "refusals": 1000 })).await;
    let dir = world.dir.path().join("context");
    std::fs::create_dir(&dir).unwrap();
    let context = dir.display().to_string();
    let limited =
        "until grep -qx 64 /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; do sleep 0.1; done";
    let build = |script: &str| {
        std::fs::write(dir.join("Dockerfile"), format!("FROM {BUSYBOX}\nRUN {limited}; {script}\n")).unwrap();
        let built = world.docker(&["build", &context]);
        let printed = format!("{}{}", String::from_utf8_lossy(&built.stdout), String::from_utf8_lossy(&built.stderr));
        (built.status.success(), printed)
    };
    let (is_built, printed) = build("for i in $(seq 100); do sleep 30 & done; echo grown");
    assert!(!is_built && printed.contains("fork") && !printed.contains("\ngrown"), "{printed}");
    let (is_built, printed) = build("for i in $(seq 40); do sleep 0.1 & done; wait; echo grown");
    assert!(is_built && printed.contains("\ngrown"), "{printed}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_whose_processes_cannot_be_limited_is_canceled() {
    let [more, some] = ["more", "some"].map(|tag| format!("longshore-test/labels-{:08x}:{tag}", rand::random::<u32>()));
    let world = World::having(false, &json!({ "images": [more, some] }), None).await;
    let dir = world.dir.path().join("context");
    std::fs::create_dir(&dir).unwrap();
    let context = dir.display().to_string();
    // The engine tells of a container with all of its labels. A build sets few, but a base image may have many.
    for (base, count) in [(&more, 60), (&some, 30)] {
        let container = engine(&["create", BUSYBOX, "true"]);
        let labels: Vec<String> = (0..count).map(|at| format!("LABEL l{at}={}", "x".repeat(10 << 10))).collect();
        let changes = labels.iter().flat_map(|label| ["--change", label]);
        engine(&["commit"].into_iter().chain(changes).chain([container.as_str(), base]).collect::<Vec<_>>());
        engine(&["rm", &container]);
    }
    std::fs::write(dir.join("Dockerfile"), format!("FROM {more}\nRUN sleep 600\n")).unwrap();
    let built = world.docker(&["build", &context]);
    let printed = String::from_utf8_lossy(&built.stderr).into_owned();
    assert!(!built.status.success() && printed.contains("the build is canceled"), "{printed}");
    let label = format!("label=longshore.guard.scope={}", world.scope);
    while !engine(&["ps", "-aq", "--filter", &label]).is_empty() {
        std::thread::yield_now();
    }
    // Nor is a container made of an image with such labels, which every list of containers would contain.
    std::fs::write(dir.join("Dockerfile"), format!("FROM {some}\nRUN true\n")).unwrap();
    world.ok(&["build", "-t", "labels", &context]);
    world.refused(&["run", "--rm", "labels", "true"], "limit");
    world.end().await;
    engine(&["rmi", &more, &some]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_goes_on_where_the_engine_fails_at_first_to_limit_what_it_runs() {
    let world = World::with(false, &json!({ "pids": 64, "pids_each": 32 })).await;
    let dir = world.dir.path().join("context");
    std::fs::create_dir(&dir).unwrap();
    // It ends when it is limited, and not before.
    let limited =
        "until grep -qx 64 /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; do sleep 0.1; done";
    std::fs::write(dir.join("Dockerfile"), format!("FROM {BUSYBOX}\nRUN {limited}\n")).unwrap();
    world.front.fail("/update", 3);
    world.ok(&["build", "-t", "limited", &dir.display().to_string()]);
    assert!(world.front.heard().iter().filter(|line| line.contains("/update")).count() > 3);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_take_what_the_job_may_have_and_those_that_are_removed_are_given_back() {
    let world = World::with(false, &json!({ "image_bytes": 3 << 20, "refusals": 1000 })).await;
    let dir = world.dir.path().join("context");
    std::fs::create_dir(&dir).unwrap();
    let context = dir.display().to_string();
    let build = |name: &str, steps: &str| {
        std::fs::write(dir.join("Dockerfile"), format!("FROM {BUSYBOX}\n{steps}\n")).unwrap();
        let built = world.docker(&["build", "-t", name, &context]);
        (built.status.success(), String::from_utf8_lossy(&built.stderr).into_owned())
    };
    let two_mib = "RUN dd if=/dev/urandom of=/x bs=1M count=2";
    assert!(build("a", two_mib).0);
    // Names take nothing, nor do images that start from others, beyond what they add.
    std::fs::write(dir.join("Dockerfile"), "FROM a\nRUN echo more > /y\n").unwrap();
    world.ok(&["build", "-t", "b", &context]);
    world.ok(&["tag", "a", "c"]);
    assert!(build("d", two_mib).0);
    world.refused(&["build", &context], "budget");
    world.ok(&["rmi", "d"]);
    // A build that takes too much on its way is canceled, and what it has left counts.
    let (is_built, printed) = build("e", &format!("{two_mib}\nRUN sleep 600"));
    assert!(!is_built && printed.contains("the build is canceled") && printed.contains("MiB"), "{printed}");
    world.refused(&["build", &context], "budget");
    world.refused(&["pull", "registry.invalid/x"], "budget");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_with_volumes_of_its_image_is_paused_while_files_are_copied() {
    let world = World::new(false).await;
    let dir = world.dir.path().join("context");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("Dockerfile"), format!("FROM {BUSYBOX}\nVOLUME /data\n")).unwrap();
    let context = dir.display().to_string();
    world.ok(&["build", "-t", "with-volume", &context]);
    let file = dir.join("Dockerfile").display().to_string();
    world.ok(&["run", "-d", "--name", "now", "with-volume", "sleep", "600"]);
    world.front.heard();
    world.ok(&["cp", &file, "now:/data/f"]);
    assert!(world.front.heard().iter().any(|line| line.contains("/pause ")), "it is paused meanwhile");
    world.ok(&["stop", "-t", "0", "now"]);
    world.ok(&["cp", &file, "now:/data/f"]);
    world.ok(&["run", "-d", "--name", "plain", BUSYBOX, "sleep", "600"]);
    world.ok(&["cp", &file, "plain:/f"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_cannot_take_another_label_and_stay_behind() {
    let world = World::new(false).await;
    let dir = world.dir.path().join("context");
    std::fs::create_dir(&dir).unwrap();
    let context = dir.display().to_string();
    for label in ["longshore.guard.scope=other", "\"longshore.guard.scope\"=other", "a=\"b c\" longshore.instance=x"] {
        std::fs::write(dir.join("Dockerfile"), format!("FROM {BUSYBOX}\nLABEL {label}\nRUN exit 1\n")).unwrap();
        world.refused(&["build", &context], "label");
    }
    std::fs::write(dir.join("Dockerfile"), format!("FROM {BUSYBOX}\nLABEL a=\"b c\" d=longshore.x\n")).unwrap();
    world.ok(&["build", "-t", "labelled", &context]);
    assert_eq!(world.ok(&["image", "inspect", "-f", "{{.Config.Labels.a}}", "labelled"]), "b c");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_holds_for_requests_at_the_same_moment() {
    let world = World::new(false).await;
    world.ok(&["run", "-d", "--name", "own", BUSYBOX, "sleep", "600"]);
    let made = |create: &(dyn Fn(usize) -> Vec<String> + Sync)| {
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..24)
                .map(|at| {
                    let (world, args) = (&world, create(at));
                    scope.spawn(move || {
                        world.docker(&args.iter().map(String::as_str).collect::<Vec<_>>()).status.success()
                    })
                })
                .collect();
            all.into_iter().filter_map(|thread| thread.join().ok()).filter(|made| *made).count()
        })
    };
    let named = |kind: &'static str| move |at: usize| vec![kind.to_owned(), "create".to_owned(), format!("n{at}")];
    assert_eq!((made(&named("network")), made(&named("volume"))), (4, 16));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_starts_or_joins_a_container_while_files_are_copied_into_it() {
    use std::io::{Read as _, Write as _};
    let world = World::new(false).await;
    world.ok(&["create", "--name", "later", "-v", "data:/data", BUSYBOX, "cat", "/data/f"]);
    let file = world.dir.path().join("f");
    std::fs::write(&file, "x".repeat(4096)).unwrap();
    let tar =
        std::process::Command::new("tar").arg("-C").arg(world.dir.path()).args(["-cf", "-", "f"]).output().unwrap();
    let mut copy = std::os::unix::net::UnixStream::connect(world.socket()).unwrap();
    let head = format!(
        "PUT /containers/later/archive?path=/data HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        tar.stdout.len()
    );
    copy.write_all(head.as_bytes()).unwrap();
    copy.write_all(&tar.stdout[..1024]).unwrap();
    let heard = || world.front.heard().into_iter().map(|line| line.split(' ').next().unwrap().to_owned());
    while !heard().any(|method| method == "PUT") {
        std::thread::yield_now();
    }
    // The engine would answer no question about the container meanwhile, so nobody asks any.
    let mut start = std::os::unix::net::UnixStream::connect(world.socket()).unwrap();
    let head = "POST /containers/later/start HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    start.write_all(head.as_bytes()).unwrap();
    let mut join = std::os::unix::net::UnixStream::connect(world.socket()).unwrap();
    let body = format!(r#"{{"Image":"{BUSYBOX}","HostConfig":{{"PidMode":"container:later"}}}}"#);
    let head = "POST /containers/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json";
    join.write_all(format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
    for _ in 0..5 {
        world.ok(&["version"]);
    }
    let heard = world.front.heard();
    assert!(!heard.iter().any(|line| line.contains("/start") || line.contains("/create")), "{heard:?}");
    copy.write_all(&tar.stdout[1024..]).unwrap();
    for (stream, status) in [(&mut copy, "200"), (&mut start, "204"), (&mut join, "201")] {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    assert_eq!((world.ok(&["wait", "later"]), world.ok(&["logs", "later"]).len()), ("0".to_owned(), 4096));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_has_so_many_streams_and_each_that_ends_makes_room() {
    const MOST: usize = 512;
    let world = World::new(false).await;
    for name in ["quiet", "other"] {
        world.ok(&["run", "-d", "--name", name, BUSYBOX, "sleep", "600"]);
    }
    let attach = |name: &str| {
        let mut stream = std::os::unix::net::UnixStream::connect(world.socket()).unwrap();
        let path = format!("/containers/{name}/attach?stream=1&stdout=1");
        write!(stream, "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n").unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (String::from_utf8(status.to_vec()).unwrap(), stream)
    };
    let mut open: Vec<_> = (0..MOST).map(|at| attach(if at == 0 { "other" } else { "quiet" })).collect();
    assert!(open.iter().all(|(status, _)| status == "HTTP/1.1 101"));
    assert_eq!(attach("quiet").0, "HTTP/1.1 429");
    world.ok(&["rm", "-f", "other"]);
    drop(open.swap_remove(0));
    let again = std::iter::from_fn(|| Some(attach("quiet"))).find(|(status, _)| status != "HTTP/1.1 429");
    assert_eq!(again.unwrap().0, "HTTP/1.1 101");
    world.ok(&["rm", "-f", "quiet"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_large_requests_are_read_at_a_time_and_small_ones_do_not_wait_for_them() {
    let world = World::new(false).await;
    let body = json!({ "Image": "nosuch", "Cmd": ["x".repeat(40 << 10)] }).to_string();
    let begin = |body: &str, length: usize| {
        let mut stream = std::os::unix::net::UnixStream::connect(world.socket()).unwrap();
        let head = "POST /containers/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json";
        write!(stream, "{head}\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        stream
    };
    let answer = |mut stream: std::os::unix::net::UnixStream| {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    // The guard asks for a body once it has a place for it.
    let reads = |mut stream: std::os::unix::net::UnixStream| {
        let mut asked = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
        stream.read_exact(&mut asked).unwrap();
        assert!(asked.starts_with(b"HTTP/1.1 100"));
        stream
    };
    let waiting: Vec<_> = (0..4).map(|_| reads(begin("", body.len()))).collect();
    let mut fifth = begin(&body, body.len());
    let small = r#"{"Image":"nosuch"}"#;
    for _ in 0..3 {
        assert!(answer(begin(small, small.len())).contains("HTTP/1.1 404"));
    }
    fifth.set_nonblocking(true).unwrap();
    assert_eq!(fifth.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    fifth.set_nonblocking(false).unwrap();
    for mut stream in waiting {
        stream.write_all(body.as_bytes()).unwrap();
        assert!(answer(stream).starts_with("HTTP/1.1 404"));
    }
    assert!(answer(fifth).contains("HTTP/1.1 404"));
    world.end().await;
}
