//! Attacks by real clients, each beside a legitimate twin. No attack reaches the engine.

use crate::world::{BUSYBOX, World, copies_from_a_namespace_of_its_own, engine};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hosts_root_is_out_of_reach_and_the_twin_works() {
    let world = World::new(false).await;
    for (rule, options) in [
        ("privileged", &["--privileged"][..]),
        ("host-path", &["-v", "/:/h"]),
        ("host-path", &["-v", "/var/run/docker.sock:/s"]),
        ("host-path", &["--mount", "type=bind,source=/etc,target=/h"]),
        ("volume", &["--mount", "type=volume,target=/h,volume-opt=type=none,volume-opt=o=bind,volume-opt=device=/etc"]),
        ("namespace", &["--pid", "host"]),
        ("namespace", &["--network", "host"]),
        ("namespace", &["--uts", "host"]),
        ("namespace", &["--userns", "host"]),
        ("namespace", &["--ipc", "host"]),
        ("capability", &["--cap-add", "SYS_ADMIN"]),
        ("security-option", &["--security-opt", "seccomp=unconfined"]),
        ("device", &["--device", "/dev/mem"]),
        ("cgroup", &["--cgroup-parent", "/"]),
        ("runtime", &["--runtime", "io.containerd.runc.v2"]),
        ("sysctl", &["--sysctl", "kernel.msgmax=1"]),
        ("group", &["--group-add", "0"]),
        ("publish", &["-p", "8080:80"]),
        ("publish", &["-P"]),
        ("logging", &["--log-driver", "syslog"]),
        ("label", &["--label", "longshore.guard.scope=other"]),
        ("name", &["--name", "longshore-x"]),
    ] {
        world.refused(&[&["run", "--rm"], options, &[BUSYBOX, "true"]].concat(), rule);
    }
    world.refused(&["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", "device=/etc", "v"], "volume");
    world.refused(&["network", "create", "-d", "macvlan", "-o", "parent=eth0", "n"], "network");
    world.refused(&["network", "create", "--subnet", "169.254.169.0/24", "n"], "network");
    world.refused(&["swarm", "init"], "route");
    world.refused(&["commit", "x"], "route");
    assert_eq!(world.objects(), Vec::<String>::new(), "nothing was made");
    let twin = [
        "run",
        "--rm",
        "--cap-add",
        "CHOWN",
        "--security-opt",
        "no-new-privileges",
        "--ulimit",
        "nofile=64",
        "--name",
        "x",
        "-m",
        "16m",
        BUSYBOX,
        "sh",
        "-c",
        "ulimit -n",
    ];
    assert_eq!(world.ok(&twin), "64");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_of_others_are_untouched() {
    let world = World::new(true).await;
    let name = format!("victim-{}", world.scope);
    let victim = engine(&["run", "-d", "--name", &name, "-e", "TOKEN=hunter2", BUSYBOX, "sleep", "600"]);
    let before = engine(&["inspect", "-f", "{{.State.Pid}} {{.State.StartedAt}} {{.Name}}", &victim]);
    let container = format!("container:{victim}");
    let link = format!("{name}:x");
    for args in [
        &["container", "inspect", &victim][..],
        &["container", "inspect", &name],
        &["logs", &victim],
        &["exec", &victim, "env"],
        &["cp", &format!("{victim}:/etc/passwd"), "-"],
        &["kill", &victim],
        &["stop", &name],
        &["rename", &victim, "mine"],
        &["rm", &victim[..12]],
        &["rm", &name],
        &["export", &victim],
        &["update", "-m", "8m", &victim],
        &["run", "--rm", "--network", &container, BUSYBOX, "true"],
        &["run", "--rm", "--pid", &container, BUSYBOX, "cat", "/proc/1/environ"],
        &["run", "--rm", "--volumes-from", &victim, BUSYBOX, "true"],
        &["run", "--rm", "--link", &link, BUSYBOX, "env"],
    ] {
        world.refused(args, "foreign");
    }
    assert_eq!(world.ok(&["ps", "-aq"]), "");
    let after = engine(&["inspect", "-f", "{{.State.Pid}} {{.State.StartedAt}} {{.Name}}", &victim]);
    assert_eq!(after, before);
    // The same commands work on a container of the job's own.
    world.ok(&["run", "-d", "--name", "own", "-e", "TOKEN=mine", BUSYBOX, "sleep", "600"]);
    let seen = world.ok(&[
        "run",
        "--rm",
        "--pid",
        "container:own",
        "--network",
        "container:own",
        BUSYBOX,
        "sh",
        "-c",
        "tr '\\0' '\\n' </proc/1/environ",
    ]);
    assert!(seen.contains("TOKEN=mine"), "{seen}");
    engine(&["rm", "-f", &victim]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_jobs_share_no_names() {
    let (one, two) = (World::new(false).await, World::new(false).await);
    for (world, word) in [(&one, "one"), (&two, "two")] {
        world.ok(&["volume", "create", "data"]);
        world.ok(&["run", "--name", "db", "-v", "data:/data", BUSYBOX, "sh", "-c", &format!("echo {word} > /data/x")]);
        world.ok(&["tag", BUSYBOX, "app:test"]);
    }
    assert_eq!(one.ok(&["run", "--rm", "-v", "data:/data", BUSYBOX, "cat", "/data/x"]), "one");
    assert_eq!(two.ok(&["run", "--rm", "-v", "data:/data", BUSYBOX, "cat", "/data/x"]), "two");
    assert_eq!(one.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}", "app"]), "app:test");
    one.ok(&["rmi", "app:test"]);
    assert_eq!(two.ok(&["run", "--rm", "app:test", "echo", "still"]), "still");
    one.end().await;
    assert_eq!(two.ok(&["ps", "-a", "--format", "{{.Names}}"]), "db", "the end of one job is not the other's");
    two.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_stands_still_while_files_are_copied() {
    let world = World::new(false).await;
    let file = world.dir.path().join("f");
    std::fs::write(&file, "x").unwrap();
    let file = file.display().to_string();
    world.ok(&["create", "--name", "later", "-v", "data:/data", BUSYBOX, "cat", "/data/f"]);
    world.ok(&["cp", &file, "later:/data/f"]);
    assert_eq!(world.ok(&["start", "-a", "later"]), "x");
    world.ok(&["run", "-d", "--name", "with", "-v", "data:/data", BUSYBOX, "sleep", "600"]);
    let now = match copies_from_a_namespace_of_its_own() {
        true => ["run", "-d", "--name", "now", "-v", "data:/data", BUSYBOX, "sh", "-c", "sleep 600"].to_vec(),
        false => {
            world.refused(&["cp", &file, "with:/data/g"], "archive");
            world.refused(&["cp", "with:/etc/passwd", "-"], "archive");
            world.ok(&["stop", "-t", "0", "with"]);
            world.refused(&["cp", "with:/etc/passwd", "-"], "archive");
            ["run", "-d", "--name", "now", BUSYBOX, "sh", "-c", "mkdir /data; sleep 600"].to_vec()
        }
    };
    world.ok(&now);
    world.ok(&["exec", "now", "sh", "-c", "until [ -d /data ]; do sleep 0.1; done"]);
    world.front.heard();
    world.ok(&["cp", &file, "now:/data/g"]);
    let verbs = |heard: Vec<String>| -> Vec<String> {
        let verb =
            |line: String| line.split([' ', '?']).nth(1).and_then(|path| path.rsplit('/').next()).map(str::to_owned);
        heard.into_iter().filter_map(verb).filter(|verb| verb != "json").collect()
    };
    let each = ["pause", "archive", "unpause"];
    let paused = |heard: &[String]| heard.chunks(3).all(|three| three == each) && !heard.is_empty();
    let heard = verbs(world.front.heard());
    assert!(paused(&heard), "{heard:?}");
    world.ok(&["cp", "now:/data/g", &file]);
    let heard = verbs(world.front.heard());
    assert!(paused(&heard), "{heard:?}");
    assert_eq!(world.ok(&["exec", "now", "cat", "/data/g"]), "x", "and it runs on");
    // From and into the same container at once.
    let both = "docker cp now:/data - | docker cp - now:/tmp && docker exec now cat /tmp/data/g";
    let output = world.command("sh").args(["-c", both]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "x", "{}", String::from_utf8_lossy(&output.stderr));
    // A mount within another one could become a link to anywhere while the engine mounts it.
    let nested = ["create", "--name", "nested", "-v", "/longshore/workspace:/w", "-v", "more:/w/more", BUSYBOX, "true"];
    world.ok(&nested);
    world.refused(&["cp", &file, "nested:/tmp/f"], "archive");
    world.refused(&["cp", "nested:/etc/passwd", "-"], "archive");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_is_given_back_by_containers_that_remove_themselves() {
    let world = World::new(false).await;
    for _ in 0..18 {
        world.ok(&["run", "--rm", BUSYBOX, "true"]);
    }
    world.refused(&["run", "--rm", "-m", "5g", BUSYBOX, "true"], "budget");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_of_a_container_that_ended_are_copied_unless_others_may_still_reach_its_files() {
    let world = World::new(false).await;
    let into = world.dir.path().join("out").display().to_string();
    world.ok(&[
        "run",
        "--name",
        "results",
        "-v",
        "/cache",
        BUSYBOX,
        "sh",
        "-c",
        "echo made > /out; echo cached > /cache/f",
    ]);
    for (file, content) in [("/out", "made\n"), ("/cache/f", "cached\n")] {
        world.ok(&["cp", &format!("results:{file}"), &into]);
        assert_eq!(std::fs::read_to_string(&into).unwrap(), content);
    }
    for (name, share) in [("pid", "--pid"), ("net", "--network"), ("ipc", "--ipc"), ("volumes", "--volumes-from")] {
        world.ok(&["create", "--name", name, "--ipc", "shareable", BUSYBOX, "sleep", "600"]);
        world.ok(&["start", name]);
        let joined = if name == "volumes" { name.to_owned() } else { format!("container:{name}") };
        world.ok(&["run", "--rm", share, &joined, BUSYBOX, "true"]);
        world.ok(&["stop", "-t", "0", name]);
        match copies_from_a_namespace_of_its_own() {
            true => drop(world.ok(&["cp", &format!("{name}:/etc/passwd"), &into])),
            false => world.refused(&["cp", &format!("{name}:/etc/passwd"), &into], "archive"),
        }
        world.ok(&["rm", "-f", name]);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_goes_on_after_a_copy_also_if_the_engine_fails_at_first() {
    let world = World::new(false).await;
    world.ok(&["run", "-d", "--name", "now", BUSYBOX, "sleep", "600"]);
    world.front.heard();
    world.front.fail("/unpause", 3);
    world.ok(&["cp", "now:/etc/passwd", &world.dir.path().join("out").display().to_string()]);
    // The last of the requests is answered before the container's next copy pauses it again.
    world.ok(&["cp", "now:/etc/passwd", &world.dir.path().join("out").display().to_string()]);
    assert_eq!(world.ok(&["exec", "now", "echo", "runs on"]), "runs on");
    assert!(world.front.heard().iter().filter(|line| line.contains("/unpause")).count() > 3);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_processes_quotes_none_of_others_and_has_the_columns_that_a_client_chooses() {
    let world = World::new(true).await;
    world.ok(&["run", "-d", "--name", "own", BUSYBOX, "sleep", "600"]);
    for args in [&["top", "own"][..], &["top", "own", "aux"], &["top", "own", "-o", "pid,args"]] {
        assert!(world.ok(args).contains("sleep 600"), "{args:?}");
    }
    // With these, the engine says the arguments and the environment of other processes of its host in an error.
    world.refused(&["top", "own", "e", "k-start", "-C", "busybox", "-o", "args,uid,pid"], "syntax");
    world.front.fail("/top", 1);
    let failed = world.docker(&["top", "own"]);
    let text = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(text.contains("could not list") && !text.contains("the engine fails"), "{text}");
    world.ok(&["rm", "-f", "own"]);
    world.end().await;
}
