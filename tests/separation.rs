//! A server whose guard holds the engine's socket: code in the server's process has no more than the server, and either
//! process can go without the other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod support;

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use support::{
    api::{Api, text},
    engine,
    git_host::GitHost,
    server::{self, Server},
    until,
    world::{World, job, one_step},
};

/// Returns the processes that another one has started, as `id words`.
fn children(parent: u32) -> Vec<(u32, String)> {
    let ids = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    let child = |id: &str| {
        let words = std::fs::read(format!("/proc/{id}/cmdline")).ok()?;
        Some((id.parse().ok()?, String::from_utf8_lossy(&words).replace('\0', " ")))
    };
    ids.split_whitespace().filter_map(child).collect()
}

/// Waits for the child that runs this command and is another one than `before`.
fn child(parent: u32, command: &str, before: u32) -> u32 {
    until("the process", || {
        let found = children(parent).into_iter().find(|(id, words)| words.contains(command) && *id != before);
        found.map(|(id, _)| id)
    })
}

#[test]
fn a_running_job_does_not_notice_that_guard_or_server_start_anew() {
    let world = World::of(Server::start_with(engine::docker_host(), &[("LONGSHORE_GUARD", "on")]));
    let commit = world.git.push(&one_step("echo begun\nwhile [ ! -e /tmp/go ]; do sleep 0.1; done\necho over"));
    let build = world.build_of(&commit);
    let id = text(&build, "id");
    let one = text(job(&world.api().get(&format!("/api/v1/builds/{id}")), "one"), "id");
    until("the step's first line", || (world.api().raw_log(&one) == b"begun\n").then_some(()));

    let first = world.server.pid();
    for command in [" guard --server ", " serve --behind-guard "] {
        let before = child(first, command, 0);
        assert!(Command::new("kill").args(["-KILL", &before.to_string()]).status().unwrap().success());
        child(first, command, before);
    }
    until("the server's answer", || ureq::get(format!("{}/readyz", world.server.url())).call().ok());
    let container = engine::docker(&[
        "ps",
        "-q",
        "--filter",
        &format!("label=longshore.instance={}", world.server.instance),
        "--filter",
        "label=longshore.kind=job",
    ]);
    engine::docker(&["exec", &container[0], "touch", "/tmp/go"]);
    let build = world.api().wait_for_build(&id);
    assert_eq!(build["status"], "success", "{build}");
    assert_eq!(world.api().raw_log(&one), b"begun\nover\n");
    assert_eq!(world.api().get(&format!("/api/v1/builds/{id}"))["jobs"][0]["attempt"], 1);
    world.nothing_is_left();
}

/// The server as the README starts it, in a container, and a container beside it that is nobody's of Longshore.
struct Deployed {
    name: String,
    victim: String,
    port: u16,
}

const IMAGE: &str = "longshore/debian:bookworm";

fn socket() -> PathBuf {
    PathBuf::from(engine::docker_host().strip_prefix("unix://").unwrap())
}

fn group_of_socket() -> u32 {
    std::os::unix::fs::MetadataExt::gid(&std::fs::metadata(socket()).unwrap())
}

/// How the server's container is started.
enum Form<'a> {
    /// As root, with the engine's socket.
    Plain,
    /// As a user who may open it.
    User(&'a str),
    /// With the socket of a guard that is in a container of its own, as `docker/compose.yaml` has it.
    Behind,
}

impl Deployed {
    fn start(form: &Form<'_>) -> Self {
        let name = format!("longshore-separation-{:08x}", rand::random::<u32>());
        let deployed = Self { victim: format!("{name}-victim"), name, port: server::free_port() };
        engine::docker(&[
            "run",
            "-d",
            "--name",
            &deployed.victim,
            "-v",
            &format!("{}:/data", deployed.victim),
            engine::BUSYBOX,
            "sleep",
            "3600",
        ]);
        let program = format!("{}:/usr/local/bin/longshore:ro", server::program().display());
        let (guard, group) = (deployed.guard(), group_of_socket());
        let socket = format!("{}:/var/run/docker.sock", socket().display());
        let confined = "--read-only --cap-drop ALL --security-opt no-new-privileges:true";
        if matches!(form, Form::Behind) {
            let folder = format!("{guard}:/run/longshore");
            engine::docker(&[
                "run",
                "--rm",
                "-v",
                &folder,
                IMAGE,
                "sh",
                "-c",
                "chown 8081:8080 /run/longshore; chmod 750 /run/longshore",
            ]);
            let words = "guard --server --listen /run/longshore/docker.sock --mode 660";
            let user = format!(
                "run -d --name {guard} --network none --user 8081:8080 --group-add {group} {confined} -v {program} -v {socket} -v {folder} {IMAGE} longshore {words}"
            );
            engine::docker(&user.split(' ').collect::<Vec<_>>());
        }
        let mut run = vec!["run".to_owned(), "-d".to_owned(), "--name".to_owned(), deployed.name.clone()];
        // It reaches a git host of this machine, and nothing else is different from the image: its user and its
        // folders.
        let own = match form {
            Form::Plain => format!("-v {socket}"),
            Form::User(user) => format!("-v {socket} --user {user} --group-add {group}"),
            Form::Behind => format!(
                "--user 8080:8080 {confined} --tmpfs /tmp:mode=1777 -v {guard}:/run/longshore:ro -e LONGSHORE_DOCKER_HOST=unix:///run/longshore/docker.sock"
            ),
        };
        run.extend(format!("--network host -v {program} {own}").split(' ').map(str::to_owned));
        for (key, value) in [
            ("LONGSHORE_LISTEN", format!("127.0.0.1:{}", deployed.port)),
            ("LONGSHORE_ADMIN_TOKEN", server::ADMIN_TOKEN.to_owned()),
            ("LONGSHORE_DISK_HIGH", "0".to_owned()),
            ("HOME", "/var/lib/longshore".to_owned()),
        ] {
            run.extend(["-e".to_owned(), format!("{key}={value}")]);
        }
        let script = "echo longshore:x:8080:8080::/var/lib/longshore:/usr/sbin/nologin >> /etc/passwd
            mkdir -p /var/lib/longshore && echo old > /var/lib/longshore/of-an-earlier-version
            exec longshore serve";
        let script = match form {
            Form::Plain => script,
            Form::User(_) | Form::Behind => "export LONGSHORE_DATA=/tmp/data; exec longshore serve",
        };
        run.extend([IMAGE, "sh", "-c", script].map(str::to_owned));
        engine::docker(&run.iter().map(String::as_str).collect::<Vec<_>>());
        until("the server's answer", || {
            assert_eq!(
                engine::inspect(&deployed.name, "{{.State.Running}}").as_deref(),
                Some("true"),
                "{}",
                deployed.log()
            );
            ureq::get(format!("{}/readyz", deployed.url())).call().ok()
        });
        deployed
    }

    /// The name of the guard's container and of the volume with its socket, where it has one.
    fn guard(&self) -> String {
        format!("{}-guard", self.name)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn log(&self) -> String {
        let output =
            Command::new("docker").args(["--host", &engine::docker_host(), "logs", &self.name]).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// Runs a program in the server's container.
    fn exec(&self, words: &[&str]) -> Output {
        Command::new("docker")
            .args(["--host", &engine::docker_host(), "exec", &self.name])
            .args(words)
            .output()
            .unwrap()
    }

    fn instance(&self) -> String {
        let log = self.log();
        let (_, rest) = log.split_once("instance=\"").unwrap_or_else(|| panic!("no instance in {log}"));
        rest.split('"').next().unwrap().to_owned()
    }

    /// Pushes a pipeline and waits for its build.
    fn run(&self, pipeline: &str) -> (serde_json::Value, Api) {
        let api = Api::new(&self.url(), Some(server::ADMIN_TOKEN));
        let git = GitHost::start();
        let (repo, secret) = api.add_repo(&format!("team/app-{:08x}", rand::random::<u32>()), &git.url());
        git.hook(&format!("{}/hooks/{repo}", self.url()), &secret);
        let commit = git.push(pipeline);
        let build = until("the build of a push", || {
            let builds = api.get(&format!("/api/v1/repos/{repo}/builds"));
            builds["items"].as_array()?.iter().find(|build| build["commit"] == commit).cloned()
        });
        (api.wait_for_build(&text(&build, "id")), api)
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        let log = self.log();
        if std::thread::panicking() {
            eprintln!("--- the server's log ---\n{log}");
        }
        let instance = log.contains("instance=\"").then(|| self.instance());
        for container in [&self.name, &self.victim, &self.guard()] {
            let _ =
                Command::new("docker").args(["--host", &engine::docker_host(), "rm", "-f", "-v", container]).output();
        }
        let _ = Command::new("docker")
            .args(["--host", &engine::docker_host(), "volume", "rm", &self.victim, &self.guard()])
            .output();
        if let Some(instance) = instance {
            engine::remove_all(&instance);
        }
    }
}

/// What code with the server's rights does: it has its user, its groups, its socket, and no other rights. Prints what
/// succeeds.
const ATTACKER: &str = r#"
import ctypes, http.client, json, os, socket, sys
instance, victim, guard = sys.argv[1], sys.argv[2], int(sys.argv[3])
done = []
def attempt(name, act):
    try:
        result = act()
    except OSError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return
    if result:
        done.append(name)
class Guard(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect("/run/longshore/docker.sock")
def ask(method, path, body=None):
    guard = Guard("docker", timeout=30)
    headers = {"Content-Type": "application/json"} if body is not None else {}
    guard.request(method, path, None if body is None else json.dumps(body), headers)
    answer = guard.getresponse()
    text = answer.read(100000)
    print(method, path, answer.status, text[:200], file=sys.stderr)
    return answer.status, text
def passes(method, path, body=None):
    return lambda: ask(method, path, body)[0] < 400
assert ask("GET", "/version")[0] == 200, "the guard answers"
def raw():
    socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).connect("/var/run/docker.sock")
    return True
attempt("open the engine's socket", raw)
for pid in [guard, 1]:
    attempt(f"kill {pid}", lambda: os.kill(pid, 9) or True)
    attempt(f"trace {pid}", lambda: ctypes.CDLL(None).ptrace(16, pid, 0, 0) == 0)
    for file in ["mem", "environ", "root/etc/passwd", "fd/0"]:
        attempt(f"open {file} of {pid}", lambda: open(f"/proc/{pid}/{file}", "rb") is not None)
attempt("become root", lambda: os.setuid(0) or True)
attempt("another socket in the guard's place", lambda: os.rename("/run/longshore/docker.sock", "/run/longshore/old") or True)
labels = {"longshore.instance": instance, "longshore.kind": "job"}
def container(**host):
    config = {"NetworkMode": "none", "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges"]} | host
    return {"Image": "longshore-test/busybox:latest", "Cmd": ["true"], "Labels": labels, "HostConfig": config}
create = "/containers/create?name=longshore-attack-1"
attempt("a privileged container", passes("POST", create, container(Privileged=True)))
attempt("the host's root", passes("POST", create, container(Binds=["/:/host"])))
attempt("the engine's socket in a container", passes("POST", create, container(Binds=["/var/run/docker.sock:/var/run/docker.sock"])))
attempt("another's volume", passes("POST", create, container(Mounts=[{"Type": "volume", "Source": victim, "Target": "/v"}])))
attempt("another's network namespace", passes("POST", create, container(NetworkMode="container:" + victim)))
attempt("the host's processes", passes("POST", create, container(PidMode="host")))
attempt("rights", passes("POST", create, container(CapAdd=["SYS_ADMIN"])))
attempt("a guard with a program of its own", passes("POST", "/containers/create?name=longshore-attack-1-guard", {
    "Image": "longshore-test/busybox:latest", "Cmd": ["sh"], "Labels": labels, "HostConfig": {
        "NetworkMode": "none", "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges"],
        "Mounts": [{"Type": "bind", "Source": "/var/run/docker.sock", "Target": "/var/run/docker.sock"}]}}))
attempt("a volume over the host", passes("POST", "/volumes/create", {"Name": "longshore-job-attack-1", "Labels": labels,
    "DriverOpts": {"type": "none", "o": "bind", "device": "/"}}))
attempt("an overlay over the host", passes("POST", "/volumes/create", {"Name": "longshore-job-attack-1", "Labels": labels,
    "DriverOpts": {"type": "overlay", "device": "overlay", "o": "lowerdir=/etc:/usr"}}))
attempt("look at another's volume", passes("GET", "/volumes/" + victim))
attempt("remove another's volume", passes("DELETE", "/volumes/" + victim))
for verb, path in [("GET", "json"), ("POST", "kill"), ("GET", "archive?path=/"), ("GET", "logs?stdout=1"), ("POST", "attach?stream=1&stdout=1")]:
    attempt(f"{path} of another's container", passes(verb, f"/containers/{victim}/{path}"))
attempt("a command in another's container", passes("POST", f"/containers/{victim}/exec", {"Cmd": ["id"]}))
attempt("another program as the agent", passes("POST", "/images/longshore-test/busybox:latest/tag?repo=longshore-agent&tag=0123456789ab"))
attempt("a name of others", passes("POST", "/images/longshore-test/busybox:latest/tag?repo=alpine&tag=latest"))
attempt("build", passes("POST", "/build"))
attempt("see others' containers", lambda: victim.encode() in ask("GET", "/containers/json?all=1&filters=%7B%22label%22%3A%5B%22longshore.instance%22%5D%7D")[1])
print(json.dumps(done))
"#;

#[test]
fn code_in_the_servers_process_has_no_more_than_the_server() {
    let deployed = Deployed::start(&Form::Plain);
    // The server's own requests work, also a job's guard and layered volumes.
    let (build, api) = deployed.run(&one_step("echo a normal build"));
    assert_eq!(build["status"], "success", "{build}");
    assert_eq!(api.raw_log(&text(job(&build, "one"), "id")), b"a normal build\n");
    let log = deployed.log();
    assert!(log.contains("the data folder was root's and is the server's now"), "{log}");
    assert!(!log.contains("holds the engine's socket"), "{log}");
    let owner = deployed.exec(&["stat", "-c", "%u", "/var/lib/longshore/of-an-earlier-version"]);
    assert_eq!(owner.stdout, b"8080\n");

    let snapshot = || {
        engine::docker(&[
            "ps",
            "-a",
            "--no-trunc",
            "--format",
            "{{.ID}} {{.Names}} {{.Image}}",
            "--filter",
            &format!("name={}", deployed.name),
        ])
    };
    let before = snapshot();
    let guard = deployed.exec(&[
        "sh",
        "-c",
        "for p in /proc/[0-9]*; do grep -qsz '^--server$' $p/cmdline && echo ${p#/proc/}; done",
    ]);
    let guard = String::from_utf8_lossy(&guard.stdout).trim().to_owned();
    assert!(guard.parse::<u32>().is_ok(), "{guard:?}");
    let instance = deployed.instance();
    let rights = [
        "setpriv",
        "--reuid",
        "8080",
        "--regid",
        "8080",
        "--clear-groups",
        "--no-new-privs",
        "--bounding-set=-all",
        "--inh-caps=-all",
    ];
    let attack = ["python3", "-c", ATTACKER, &instance, &deployed.victim, &guard];
    let attacked = deployed.exec(&[&rights[..], &attack].concat());
    let told = String::from_utf8_lossy(&attacked.stderr);
    assert_eq!(String::from_utf8_lossy(&attacked.stdout), "[]\n", "{told}");
    assert!(attacked.status.success(), "{told}");
    assert_eq!(snapshot(), before);
    assert_eq!(engine::inspect(&deployed.victim, "{{.State.Running}}").as_deref(), Some("true"));
    assert_eq!(engine::docker(&["ps", "-aq", "--filter", "name=longshore-attack-1"]), [""; 0]);

    let doctor = deployed.exec(&["longshore", "doctor"]);
    let said = String::from_utf8_lossy(&doctor.stdout);
    let line = said.lines().find(|line| line.contains("socket-rights")).unwrap_or_else(|| panic!("{said}"));
    let (may, may_not) = line.split_once(", and not by ").expect("both");
    assert!(
        line.starts_with("ok")
            && may.contains("the guard")
            && may_not.contains("the server")
            && !may.contains("the server"),
        "{said}"
    );
}

#[test]
fn the_guards_log_is_read_by_the_server_and_written_by_the_guard_alone() {
    let deployed = Deployed::start(&Form::Plain);
    let (build, api) = deployed.run(&one_step("true"));
    assert_eq!(build["status"], "success", "{build}");
    let rights =
        ["setpriv", "--reuid", "8080", "--regid", "8080", "--clear-groups", "--no-new-privs", "--bounding-set=-all"];
    let as_server = |words: &[&str]| deployed.exec(&[&rights[..], words].concat());
    let log = "/var/log/longshore/guard.jsonl";
    for script in [
        format!("echo x >> {log}"),
        format!("rm {log}"),
        format!("mv {log} {log}.gone"),
        "touch /var/log/longshore/x".to_owned(),
        "mv /var/log/longshore /var/log/gone".to_owned(),
        format!("chmod 666 {log}"),
    ] {
        let tried = as_server(&["sh", "-c", &script]);
        assert!(!tried.status.success(), "{script} succeeded");
    }
    // Requests of a program with the server's rights are in the log, and the server shows them.
    let ask = "import http.client, socket\nc = http.client.HTTPConnection('docker')\nc.sock = socket.socket(socket.AF_UNIX)\n\
               c.sock.connect('/run/longshore/docker.sock')\nc.request('POST', '/containers/victim/exec', '{}', {'Content-Type': 'application/json'})\n\
               print(c.getresponse().status)";
    let asked = as_server(&["python3", "-c", ask]);
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let denied = api.get("/api/v1/audit/guard?decision=denied&q=exec");
    assert_eq!(denied["items"][0]["method"], "POST", "{denied}");
    let created = api.get("/api/v1/audit/guard?q=containers/create");
    assert_eq!(created["items"][0]["decision"], "allowed", "{created}");
    let verified = as_server(&["longshore", "audit", "verify"]);
    let said = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success(), "{said}{}", String::from_utf8_lossy(&verified.stderr));
    assert!(said.contains("server: ok: ") && said.contains("guard: ok: "), "{said}");
}

#[test]
fn a_server_that_cannot_be_kept_apart_from_the_socket_starts_as_before_and_says_so() {
    let deployed = Deployed::start(&Form::User("8080:8080"));
    let log = until("the warning", || {
        let log = deployed.log();
        log.contains("holds the engine's socket").then_some(log)
    });
    assert!(log.contains("was not started as root"), "{log}");
    let (build, _) = deployed.run(&one_step("true"));
    assert_eq!(build["status"], "success", "{build}");
}

#[test]
fn server_and_guard_work_in_two_containers_and_the_guards_restart_costs_nothing() {
    let deployed = Deployed::start(&Form::Behind);
    for restarts in [false, true] {
        if restarts {
            engine::docker(&["restart", "-t", "2", &deployed.guard()]);
        }
        let (build, _) = deployed.run(&one_step("echo behind"));
        assert_eq!(build["status"], "success", "{build}");
    }
    assert!(!deployed.log().contains("holds the engine's socket"), "{}", deployed.log());
    let doctor = deployed.exec(&["longshore", "doctor"]);
    let said = String::from_utf8_lossy(&doctor.stdout);
    assert!(said.contains("ok   guard ") && !said.contains("FAIL") && !said.contains("socket-rights"), "{said}");
}
