//! Everyday use by real clients.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Command;

use crate::world::{BUSYBOX, World, engine, engine_socket};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_runs_execs_copies_and_follows() {
    let world = World::new(false).await;
    assert_eq!(world.ok(&["run", "--rm", BUSYBOX, "echo", "hello"]), "hello");
    assert_eq!(world.ok_with_input(&["run", "-i", "--rm", BUSYBOX, "cat"], b"through and back"), "through and back");
    assert_eq!(world.docker(&["run", "--rm", BUSYBOX, "sh", "-c", "exit 7"]).status.code(), Some(7));
    // The workspace, at another path.
    world.ok(&["run", "--rm", "-v", "/longshore/workspace:/src", BUSYBOX, "sh", "-c", "echo made > /src/file"]);
    let seen = world.ok(&[
        "run",
        "--rm",
        "--mount",
        "type=bind,source=/longshore/workspace,target=/w,readonly",
        BUSYBOX,
        "cat",
        "/w/file",
    ]);
    assert_eq!(seen, "made");
    let on_host = engine(&["run", "--rm", "-v", &format!("{}:/w", world.volume), BUSYBOX, "cat", "/w/file"]);
    assert_eq!(on_host, "made");

    let id = world.ok(&[
        "run",
        "-d",
        "--name",
        "db",
        "--label",
        "a=b",
        BUSYBOX,
        "sh",
        "-c",
        "echo started; trap 'exit 0' TERM; while :; do sleep 0.1; done",
    ]);
    assert_eq!(world.ok(&["exec", "db", "echo", "inside"]), "inside");
    assert_eq!(world.ok_with_input(&["exec", "-i", "db", "cat"], b"exec's input"), "exec's input");
    assert_eq!(world.docker(&["exec", "db", "sh", "-c", "exit 3"]).status.code(), Some(3));
    assert_eq!(world.ok(&["ps", "--format", "{{.Names}} {{.Image}}"]), format!("db {BUSYBOX}"));
    assert_eq!(world.ok(&["ps", "-q", "--no-trunc", "--filter", "name=db", "--filter", "label=a=b"]), id);
    assert_eq!(
        world.ok(&["inspect", "-f", "{{.Name}} {{.Config.Image}} {{.LogPath}}|{{.Config.Labels}}", &id[..12]]),
        format!("/db {BUSYBOX} |map[a:b]")
    );
    assert_eq!(world.ok(&["logs", "db"]), "started");
    assert!(world.ok(&["top", "db"]).contains("sleep") || world.ok(&["top", "db"]).contains("sh"));
    let file = world.dir.path().join("copied");
    std::fs::write(&file, "copied in").unwrap();
    world.ok(&["cp", &file.display().to_string(), "db:/tmp/copied"]);
    assert_eq!(world.ok(&["exec", "db", "cat", "/tmp/copied"]), "copied in");
    std::fs::remove_file(&file).unwrap();
    world.ok(&["cp", "db:/tmp/copied", &file.display().to_string()]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "copied in");
    world.ok(&["rename", "db", "database"]);
    let mut follower = world.command("docker").args(["logs", "-f", "database"]).spawn().unwrap();
    world.ok(&["stop", "-t", "60", "database"]);
    assert!(follower.wait().unwrap().success(), "a follower ends with its container");
    assert_eq!(world.ok(&["wait", "database"]), "0");
    // Attach to a container before it starts.
    world.ok(&["create", "-i", "--name", "attached", BUSYBOX, "sh", "-c", "read line; echo got $line"]);
    assert_eq!(world.ok_with_input(&["start", "-ai", "attached"], b"this\n"), "got this\n");
    world.ok(&["rm", "database", "attached"]);
    assert_eq!(world.ok(&["ps", "-aq"]), "");
    world.ok(&["volume", "create", "data"]);
    world.ok(&["run", "--rm", "-v", "data:/data", BUSYBOX, "sh", "-c", "echo kept > /data/x"]);
    assert_eq!(world.ok(&["run", "--rm", "-v", "data:/data", BUSYBOX, "cat", "/data/x"]), "kept");
    assert_eq!(world.ok(&["volume", "ls", "-q"]), "data");
    assert!(!world.ok(&["volume", "inspect", "data"]).contains("/var/lib"));
    world.ok(&["volume", "rm", "data"]);
    assert!(world.ok(&["info", "--format", "{{.ServerVersion}}"]).starts_with(|c: char| c.is_ascii_digit()));
    assert_eq!(world.objects(), Vec::<String>::new(), "a client that tidies up leaves nothing to the guard");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_of_a_job_find_each_other_by_name() {
    let world = World::new(true).await;
    world.ok(&["network", "create", "own"]);
    let serve = "mkdir /www; echo served > /www/x; exec httpd -f -p 8000 -h /www";
    world.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "own",
        "--network-alias",
        "alias",
        BUSYBOX,
        "sh",
        "-c",
        serve,
    ]);
    world.ok(&["run", "-d", "--name", "other", BUSYBOX, "sh", "-c", serve]);
    for (network, name) in [("own", "web"), ("own", "alias"), ("bridge", "other")] {
        let get = format!("until wget -q -O - http://{name}:8000/x; do sleep 0.3; done");
        assert_eq!(world.ok(&["run", "--rm", "--network", network, BUSYBOX, "sh", "-c", &get]), "served", "{name}");
    }
    // Whoever looks for published ports at the gateway goes on to `localhost`.
    for network in ["bridge", "own"] {
        assert_eq!(world.ok(&["network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", network]), "");
    }
    world.ok(&["network", "connect", "own", "other"]);
    let networks =
        world.ok(&["inspect", "-f", "{{range $name, $end := .NetworkSettings.Networks}}{{$name}} {{end}}", "other"]);
    assert_eq!(networks, "bridge own");
    world.ok(&["network", "disconnect", "own", "other"]);
    let shared = world.ok(&[
        "run",
        "--rm",
        "--network",
        "container:web",
        BUSYBOX,
        "wget",
        "-q",
        "-O",
        "-",
        "http://127.0.0.1:8000/x",
    ]);
    assert_eq!(shared, "served");
    let listed = world.ok(&["network", "ls", "--format", "{{.Name}}"]);
    assert_eq!(listed, "bridge\nown", "no network of anybody else");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compose_brings_services_up_and_down() {
    if Command::new("docker-compose").arg("version").output().is_err() {
        eprintln!("docker-compose is not installed");
        return;
    }
    let world = World::new(true).await;
    let file = world.dir.path().join("docker-compose.yml");
    std::fs::write(
        &file,
        format!(
            "version: '2.4'\nservices:\n  web:\n    image: {BUSYBOX}\n    command: sh -c 'mkdir /www; echo composed > /www/x; exec httpd -f -p 8000 -h /www'\n    volumes: ['data:/data', '/anon']\n  client:\n    image: {BUSYBOX}\n    depends_on: [web]\n    command: sh -c 'until wget -q -O - http://web:8000/x; do sleep 0.3; done'\nvolumes:\n  data: {{}}\n"
        ),
    )
    .unwrap();
    let compose = |args: &[&str]| {
        let output = world.command("docker-compose").args(["-p", "proj", "-f"]).arg(&file).args(args).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "docker-compose {args:?}: {text}");
        text
    };
    let up = compose(&["up", "--no-color", "--exit-code-from", "client"]);
    assert!(up.contains("composed"), "{up}");
    let listed = compose(&["ps", "-a"]);
    assert!(listed.contains("proj_web_1") || listed.contains("proj-web-1"), "{listed}");
    // A container that is made anew keeps what its anonymous volume has.
    let volume = |name: &str| {
        let format = "{{range .Mounts}}{{if eq .Destination \"/anon\"}}{{.Name}}{{end}}{{end}}";
        world.ok(&["inspect", "-f", format, name])
    };
    let web = || world.ok(&["ps", "-aq", "--filter", "label=com.docker.compose.service=web"]);
    let (first, kept) = (web(), volume(&web()));
    std::fs::write(&file, std::fs::read_to_string(&file).unwrap().replace("/www/x; exec", "/www/x;  exec")).unwrap();
    compose(&["up", "--no-start"]);
    assert_ne!(web(), first);
    assert_eq!(volume(&web()), kept);
    compose(&["down", "-v"]);
    let there = engine(&["volume", "ls", "-q", "--filter", &format!("name={kept}")]);
    assert_eq!((kept.len(), there.as_str()), (64, ""), "it goes with its last container");
    assert_eq!(world.objects(), Vec::<String>::new());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_library_for_python_works() {
    let has_it =
        |python: &&str| Command::new(python).args(["-c", "import docker"]).output().is_ok_and(|o| o.status.success());
    let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(has_it) else {
        eprintln!("docker-py is not installed");
        return;
    };
    let world = World::new(true).await;
    let script = format!(
        r#"
import docker, io, tarfile
client = docker.from_env()
assert client.ping()
assert client.containers.run("{BUSYBOX}", ["echo", "py"], remove=True) == b"py\n"
c = client.containers.run("{BUSYBOX}", ["sleep", "60"], detach=True, name="py", mem_limit="32m", environment={{"A": "b"}}, init=True)
code, out = c.exec_run(["sh", "-c", "echo $A"])
assert (code, out) == (0, b"b\n"), (code, out)
data = io.BytesIO()
with tarfile.open(fileobj=data, mode="w") as tar:
    info = tarfile.TarInfo("file"); info.size = 3
    tar.addfile(info, io.BytesIO(b"abc"))
assert c.put_archive("/tmp", data.getvalue())
bits, stat = c.get_archive("/tmp/file")
assert stat["name"] == "file", stat
assert [x.name for x in client.containers.list()] == ["py"]
assert client.api.inspect_container("py")["HostConfig"]["Memory"] == 32 << 20
n = client.networks.create("pynet", driver="bridge", check_duplicate=True)
n.connect(c, aliases=["p"])
n.disconnect(c)
n.remove()
v = client.volumes.create("pyvol", labels={{"x": "y"}})
assert [x.name for x in client.volumes.list()] == ["pyvol"]
v.remove()
image, lines = client.images.build(fileobj=io.BytesIO(b"FROM {BUSYBOX}\nENV B=c\n"), tag="py:1", rm=True)
assert client.containers.run("py:1", ["sh", "-c", "echo $B"], remove=True) == b"c\n"
client.images.remove("py:1")
try:
    client.containers.run("{BUSYBOX}", ["true"], privileged=True)
    raise SystemExit("privileged was let through")
except docker.errors.APIError as error:
    assert error.response.status_code == 403, error
c.remove(force=True)
"#
    );
    let output = world.command(python).args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(world.objects(), Vec::<String>::new());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_those_of_own_objects() {
    let world = World::new(false).await;
    world.ok(&["create", "--name", "mine", BUSYBOX, "true"]);
    let theirs = engine(&["create", BUSYBOX, "true"]);
    engine(&["start", "-a", &theirs]);
    // The engine tells of a container with all of its labels, which nothing limits for others.
    let long = format!("long-{}", world.scope);
    let labels = serde_json::json!({ "Image": BUSYBOX, "Labels": { "long": "x".repeat(5 << 20) } }).to_string();
    let mut stream = UnixStream::connect(engine_socket()).unwrap();
    let head = format!("POST /containers/create?name={long} HTTP/1.0\r\nContent-Type: application/json\r\n");
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{labels}", labels.len()).as_bytes()).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
    world.ok(&["start", "-a", "mine"]);
    engine(&["rm", "-f", &theirs, &long]);
    let until = world.ok(&["run", "--rm", BUSYBOX, "date", "+%s"]).parse::<u64>().unwrap() + 1;
    let events = world.ok(&[
        "events",
        "--since",
        &(until - 3600).to_string(),
        "--until",
        &until.to_string(),
        "--format",
        "{{.Type}} {{.Action}} {{.Actor.ID}} {{.Actor.Attributes.name}}",
    ]);
    assert!(events.contains(" mine") && events.contains("container start"), "{events}");
    assert!(!events.contains(&theirs), "{events}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prune_takes_what_the_job_does_not_use_and_nothing_of_others() {
    let world = World::new(true).await;
    let theirs = engine(&["create", BUSYBOX, "true"]);
    let volume = engine(&["volume", "create", &format!("longshore-test-theirs-{}", world.scope)]);
    world.ok(&["network", "create", "used"]);
    world.ok(&["network", "create", "unused"]);
    world.ok(&["run", "-d", "--name", "running", "--network", "used", "-v", "kept:/kept", BUSYBOX, "sleep", "600"]);
    world.ok(&["create", "--name", "ended", BUSYBOX, "true"]);
    world.ok(&["volume", "create", "old"]);
    world.ok(&["system", "prune", "-f"]);
    assert_eq!(world.ok(&["ps", "-a", "--format", "{{.Names}}"]), "running");
    assert_eq!(world.ok(&["network", "ls", "--format", "{{.Name}}"]), "bridge\nused");
    world.ok(&["volume", "prune", "-f"]);
    assert!(world.ok(&["volume", "ls", "-q"]).starts_with("kept"));
    engine(&["rm", &theirs]);
    engine(&["volume", "rm", &volume]);
    world.end().await;
}
