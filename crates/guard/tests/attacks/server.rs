//! The server's guard: what the executor asks for is let through, and nothing that would make code in the server's process more
//! than the executor.

use longshore_guard::job_guard::{entrypoint, scope};
use longshore_guard::{
    Check, Decision, EngineBody, Forward, Guard, Host, JobPolicy, Place, Policy, Rule, Socket, Table,
};
use serde_json::{Value, json};

use crate::world::*;

/// What an attack is called, and what it changes.
type Change<T> = (&'static str, fn(&mut T));

const POLICY: &str = r#"{"server":{"instance":"abc123"}}"#;
const LABELS: &str = r#"{"longshore.instance":"abc123","longshore.kind":"job"}"#;

/// Where the engine keeps volumes.
const VOLUMES: &str = "/var/lib/docker/volumes";

fn server() -> Guard {
    with(POLICY)
}

fn with(policy: &str) -> Guard {
    let host = Host { program: "0123456789ab".into(), socket: Some("/run/docker.sock".into()) };
    let mut guard = Guard::new(Policy::parse(policy).unwrap(), facts(41), Table::default()).on_host(host);
    let forward = ask(&guard, "POST", "/containers/create?name=longshore-sandbox-abc123-00ff", &sandbox("")).unwrap();
    guard.settle(&forward.effect, true, Some(OWN));
    guard
}

fn sandbox(host: &str) -> String {
    format!(
        r#"{{"Image":"longshore-agent:0123456789ab","Entrypoint":["/.longshore/longshore","sandbox"],"Cmd":[],"User":"65534:65534","Labels":{LABELS},
        "HostConfig":{{"NetworkMode":"longshore-abc123","AutoRemove":true,"Init":false,"Sysctls":{{"net.ipv6.conf.lo.disable_ipv6":"0"}},"ReadonlyRootfs":true,
        "CapDrop":["ALL"],"SecurityOpt":["no-new-privileges"],"PidsLimit":32,"Memory":67108864,"MemorySwap":67108864,"IpcMode":"private",
        "LogConfig":{{"Type":"none"}}{host}}}}}"#
    )
}

fn job(more: &str) -> String {
    format!(
        r#"{{"Image":"sha256:{IMAGE}","Entrypoint":["/.longshore/longshore","agent","--marker","00"],"Cmd":[],"User":"0","WorkingDir":"/","OpenStdin":true,
        "StdinOnce":false,"Tty":false,"Healthcheck":{{"Test":["NONE"]}},"Labels":{LABELS},"HostConfig":{{"NetworkMode":"container:{OWN}","Mounts":[
        {{"Type":"volume","Source":"longshore-agent-0123456789ab","Target":"/.longshore","ReadOnly":true,"VolumeOptions":{{"NoCopy":true,"Labels":{LABELS}}}}},
        {{"Type":"volume","Source":"longshore-job-abc-1","Target":"/longshore","VolumeOptions":{{"NoCopy":true,"Labels":{LABELS},"DriverConfig":{{"Name":"local","Options":{{"size":"1000"}}}}}}}}],
        "Tmpfs":{{"/longshore/secrets":"rw,noexec,nosuid,nodev,size=32m,mode=0711"}},"LogConfig":{{"Type":"none"}},"AutoRemove":false,"Init":false,"Privileged":false,
        "IpcMode":"private","CapDrop":["ALL"],"CapAdd":["CHOWN","SETUID"],"SecurityOpt":["no-new-privileges"],"PidsLimit":4096,"Memory":1000000,"MemorySwap":1000000,
        "StorageOpt":{{"size":"1000"}}{more}}}}}"#
    )
}

#[test]
fn what_the_executor_asks_for_is_let_through() {
    let guard = server();
    let made = ask(&guard, "POST", "/v1.41/containers/create?name=longshore-abc-1", &job("")).unwrap();
    let body = json(&made.call);
    assert_eq!(body["HostConfig"]["NetworkMode"], format!("container:{OWN}"));
    assert_eq!(
        body["HostConfig"]["Mounts"][1]["VolumeOptions"]["DriverConfig"],
        json!({"Name":"local","Options":{"size":"1000"}})
    );
    assert_eq!((&body["User"], &body["Cmd"], &body["OpenStdin"]), (&json!("0"), &json!([]), &json!(true)));
    assert_eq!(body["HostConfig"]["Tmpfs"], json!({"/longshore/secrets":"rw,noexec,nosuid,nodev,size=32m,mode=0711"}));
    let labels = "filters=%7B%22label%22%3A%5B%22longshore.instance%3Dabc123%22%5D%7D";
    for (method, target, body) in [
        ("GET", "/info".to_owned(), ""),
        ("GET", format!("/containers/{OWN}/json"), ""),
        ("GET", "/containers/longshore-sandbox-abc123-00ff/json".to_owned(), ""),
        ("GET", "/distribution/node:22/json".to_owned(), ""),
        ("POST", format!("/containers/{OWN}/attach?stream=true&stdin=true&stdout=true&stderr=true"), ""),
        ("POST", format!("/containers/{OWN}/start"), ""),
        ("POST", format!("/containers/{OWN}/wait?condition=not-running"), ""),
        ("POST", format!("/containers/{OWN}/kill?signal=KILL"), ""),
        ("GET", format!("/containers/{OWN}/archive?path=/longshore/spool"), ""),
        ("DELETE", format!("/containers/{OWN}?force=true&v=true"), ""),
        ("GET", format!("/containers/json?all=true&{labels}"), ""),
        ("GET", format!("/volumes?{labels}"), ""),
        ("GET", "/volumes?filters=%7B%22name%22%3A%5B%22longshore-agent-%22%5D%7D".to_owned(), ""),
        ("GET", format!("/networks?{labels}"), ""),
        ("GET", "/images/json?filters=%7B%22reference%22%3A%5B%22longshore-agent%22%5D%7D".to_owned(), ""),
        ("GET", "/images/node:22/json".to_owned(), ""),
        ("POST", "/images/create?fromImage=node:22".to_owned(), ""),
        ("POST", "/images/create?fromSrc=-&changes=LABEL+longshore.agent%3D0123456789ab&changes=ENTRYPOINT+%5B%22%2F.longshore%2Flongshore%22%5D".to_owned(), ""),
        ("POST", "/images/create?fromSrc=-&changes=LABEL%20longshore.agent%3D0123456789ab%0ALABEL%20longshore.kind%3Dagent".to_owned(), ""),
        ("GET", "/networks".to_owned(), ""),
        ("DELETE", "/images/longshore-agent:0123456789ab".to_owned(), ""),
        ("GET", "/networks/longshore-abc123".to_owned(), ""),
        ("DELETE", "/networks/longshore-abc123".to_owned(), ""),
        ("GET", "/volumes/longshore-agent-0123456789ab".to_owned(), ""),
        ("DELETE", "/volumes/longshore-job-abc-1".to_owned(), ""),
    ] {
        assert!(ask(&guard, method, &target, body).is_ok(), "{method} {target}: {:?}", decide(&guard, method, &target, body));
    }
    // Another server's volume may have such a name: the engine is asked first.
    assert_eq!(made.checks, [volume("longshore-job-abc-1", None)]);
    assert_eq!(ask(&guard, "DELETE", "/volumes/longshore-job-abc-1", "").unwrap().checks, made.checks);
    assert!(!ask(&guard, "DELETE", "/networks/longshore-abc123", "").unwrap().checks.is_empty());
    assert!(matches!(ask(&guard, "DELETE", "/images/node:22", "").unwrap().checks[..], [Check::Replaceable { .. }]));
    let network = format!(
        r#"{{"Name":"longshore-abc123","Driver":"bridge","Options":{{"com.docker.network.bridge.enable_icc":"false"}},"Labels":{LABELS}}}"#
    );
    assert!(ask(&guard, "POST", "/networks/create", &network).is_ok());
    assert!(matches!(decide(&guard, "GET", "/version", ""), Ok(Decision::Answer(_))));
}

#[test]
fn code_in_the_servers_process_is_no_more_than_the_executor() {
    let guard = server();
    for (rule, name, body) in [
        (Rule::Privileged, "longshore-abc-1", job(r#","Privileged":true"#).replacen("\"Privileged\":false,", "", 1)),
        (Rule::Server, "longshore-abc-1", job(r#","Binds":["/:/h"]"#)),
        (Rule::Server, "longshore-abc-1", job(r#","Binds":["other-data:/h"]"#)),
        (Rule::Server, "longshore-abc-1", job(r#","VolumesFrom":["victim"]"#)),
        (Rule::Namespace, "longshore-abc-1", job(r#","PidMode":"host""#)),
        (Rule::Server, "longshore-abc-1", job("").replace("\"CHOWN\"", "\"SYS_ADMIN\"")),
        (Rule::Server, "longshore-abc-1", job("").replace("\"SecurityOpt\":[\"no-new-privileges\"],", "")),
        (Rule::Server, "longshore-abc-1", job("").replace("\"CapDrop\":[\"ALL\"],", "")),
        (Rule::Server, "other", job("")),
        (Rule::Server, "longshore-guard-job1-x", job("")),
        (Rule::Server, "longshore-abc-1", job("").replace("abc123", "other")),
        (Rule::Server, "longshore-abc-1", job("").replace(&format!("container:{OWN}"), "default")),
        (Rule::Foreign, "longshore-abc-1", job("").replace(OWN, VICTIM)),
        (
            Rule::Volume,
            "longshore-abc-1",
            job("").replace("\"size\":\"1000\"}}}", "\"type\":\"none\",\"device\":\"/\",\"o\":\"bind\"}}}"),
        ),
        (Rule::Server, "longshore-abc-1", job(r#","PortBindings":{"80/tcp":[{"HostPort":"80"}]}"#)),
        (Rule::Server, "longshore-sandbox-abc123-01", sandbox("").replace("lo.disable_ipv6", "all.disable_ipv6")),
        // Rights over a network namespace are for our own program alone.
        (Rule::Server, "longshore-abc-1", job("").replace("\"CHOWN\"", "\"NET_ADMIN\"")),
        (Rule::Server, "longshore-sandbox-abc123-01", fenced().replace("longshore-agent:", "evil:")),
        (Rule::Server, "longshore-sandbox-abc123-01", fenced().replace("\"sandbox\"", "\"agent\"")),
        // Nobody writes where others have the agent, or a guard's socket.
        (Rule::Server, "longshore-abc-1", job("").replacen(r#""ReadOnly":true,"#, "", 1)),
        (Rule::Server, "longshore-abc-1", job("").replacen(r#""NoCopy":true,"#, "", 1)),
        (Rule::Server, "longshore-abc-1", job("").replace("longshore-job-abc-1", "longshore-docker-abc-1")),
        (Rule::Server, "longshore-agent-0123456789ab-00ff", filling().replace("--version", "tool")),
        (
            Rule::Server,
            "longshore-agent-0123456789ab-00ff",
            filling().replace("agent:0123456789ab", "agent:ffffffffffff"),
        ),
        // The engine's own socket, where nobody has allowed it.
        (Rule::Server, "longshore-abc-1", job(r#","Binds":["/run/docker.sock:/var/run/docker.sock"]"#)),
    ] {
        refused(&guard, rule, "POST", &format!("/containers/create?name={name}"), &body);
    }
    for (rule, method, target, body) in [
        (Rule::Foreign, "GET", "/containers/victim/json", ""),
        (Rule::Foreign, "POST", "/containers/victim/exec", r#"{"Cmd":["id"]}"#),
        (Rule::Server, "POST", &format!("/containers/{OWN}/exec")[..], r#"{"Cmd":["id"]}"#),
        (Rule::Server, "PUT", &format!("/containers/{OWN}/archive?path=/")[..], ""),
        (Rule::Server, "POST", &format!("/containers/{OWN}/update")[..], r#"{"Memory":1}"#),
        (Rule::Server, "POST", "/build", ""),
        (Rule::Server, "GET", "/containers/json?all=1", ""),
        (Rule::Server, "GET", "/volumes", ""),
        (Rule::Server, "GET", "/images/json", ""),
        (Rule::Server, "GET", "/events", ""),
        (Rule::Server, "GET", "/volumes/other-data", ""),
        (Rule::Server, "DELETE", "/volumes/other-data", ""),
        (Rule::Server, "DELETE", "/images/node:22?force=1", ""),
        (Rule::Server, "GET", "/images/json?filters=%7B%22reference%22%3A%5B%22node%22%5D%7D", ""),
        (Rule::Server, "POST", "/images/create?fromImage=longshore-agent&tag=0123456789ab", ""),
        (Rule::Server, "POST", &format!("/images/sha256:{IMAGE}/tag?repo=longshore-agent&tag=0123456789ab")[..], ""),
        (Rule::Server, "POST", "/images/create?fromSrc=-&changes=LABEL+longshore.agent%3Dffffffffffff", ""),
        (
            Rule::Server,
            "POST",
            "/volumes/create",
            r#"{"Name":"longshore-agent-0123456789ab","Labels":{"longshore.instance":"abc123"}}"#,
        ),
        (
            Rule::Server,
            "POST",
            "/networks/create",
            r#"{"Name":"longshore-abc123","Labels":{"longshore.instance":"abc123"},"Options":{"com.docker.network.bridge.enable_icc":"false"},"IPAM":{"Config":[{"Subnet":"169.254.169.0/24"}]}}"#,
        ),
        (Rule::Server, "POST", "/volumes/create", r#"{"Name":"other","Labels":{"longshore.instance":"abc123"}}"#),
        (Rule::Server, "POST", "/networks/create", r#"{"Name":"other","Labels":{"longshore.instance":"abc123"}}"#),
        (Rule::Server, "POST", "/images/node/tag?repo=alpine", ""),
        (Rule::Server, "POST", "/images/create?fromSrc=-&changes=ENTRYPOINT+%5B%22sh%22%5D", ""),
        (Rule::Server, "POST", "/images/create?fromSrc=-&changes=LABEL%20longshore.a%3Db%0AENTRYPOINT%20sh", ""),
        (Rule::Server, "POST", "/images/node/push", ""),
    ] {
        refused(&guard, rule, method, target, body);
    }
}

fn fenced() -> String {
    sandbox(r#","CapAdd":["NET_ADMIN","SETGID","SETUID"]"#)
}

fn filling() -> String {
    format!(
        r#"{{"Image":"longshore-agent:0123456789ab","Entrypoint":["/.longshore/longshore","--version"],"Cmd":[],"Labels":{LABELS},"HostConfig":{{
        "NetworkMode":"none","CapDrop":["ALL"],"SecurityOpt":["no-new-privileges"],"Mounts":[{{"Type":"volume","Source":"longshore-agent-0123456789ab",
        "Target":"/.longshore","VolumeOptions":{{"NoCopy":false,"Labels":{LABELS}}}}}]}}}}"#
    )
}

fn volume(name: &str, place: Option<&str>) -> Check {
    let instances = vec!["abc123".to_owned(), "doctor".to_owned()];
    Check::Volume { name: name.to_owned(), instances, place: place.map(str::to_owned) }
}

#[test]
fn our_own_program_alone_has_more_rights_than_a_job() {
    let mut guard = server();
    let create = |guard: &Guard, body: &str| {
        ask(guard, "POST", "/containers/create?name=longshore-sandbox-abc123-01", body).map(|asked| json(&asked.call))
    };
    let made = create(&guard, &fenced()).unwrap();
    assert_eq!(made["HostConfig"]["CapAdd"], json!(["NET_ADMIN", "SETGID", "SETUID"]));
    assert!(create(&guard, &filling()).is_ok());
    // What the client sends in an import is thrown away; only what the guard has imported gets the agent's name.
    let import = "/images/create?fromSrc=-&changes=LABEL+longshore.agent%3D0123456789ab";
    assert_eq!(ask(&guard, "POST", import, "").unwrap().call.body, EngineBody::Program);
    let tag = format!("/images/sha256:{IMAGE}/tag?repo=longshore-agent&tag=0123456789ab");
    refused(&guard, Rule::Server, "POST", &tag, "");
    guard.settle_import(&json!({ "status": format!("sha256:{IMAGE}") }));
    assert!(ask(&guard, "POST", &tag, "").is_ok());
}

#[test]
fn layers_are_the_folders_of_own_volumes() {
    let guard = server();
    let create = |options: &str| {
        let labels = r#"{"longshore.instance":"abc123"}"#;
        let body =
            format!(r#"{{"Name":"longshore-job-abc-1","Driver":"local","Labels":{labels},"DriverOpts":{options}}}"#);
        ask(&guard, "POST", "/volumes/create", &body)
    };
    let overlay = |layers: &str| create(&format!(r#"{{"type":"overlay","device":"overlay","o":"{layers}"}}"#));
    let place = |name: &str| format!("{VOLUMES}/{name}/_data");
    let [lower, upper, work] =
        ["longshore-cache-a", "longshore-job-abc-1-upper", "longshore-job-abc-1-work"].map(|name| (name, place(name)));
    let layers = format!("lowerdir={}:{},upperdir={},workdir={}", lower.1, lower.1, upper.1, work.1);
    let made = overlay(&layers).unwrap();
    assert_eq!(json(&made.call)["DriverOpts"], json!({"type":"overlay","device":"overlay","o":layers}));
    let mut checks = [&lower, &lower, &upper, &work].map(|(name, place)| volume(name, Some(place))).to_vec();
    // The engine answers with the volume of that name if there is one, which may be another server's.
    checks.push(volume("longshore-job-abc-1", None));
    assert_eq!(made.checks, checks);
    assert!(overlay(&format!("lowerdir={}", lower.1)).is_ok() && create(r#"{"size":"1000"}"#).is_ok());
    for layers in [
        "lowerdir=/etc:/usr".to_owned(),
        "lowerdir=/longshore-cache-a/_data/../../etc".to_owned(),
        format!("lowerdir={},upperdir=/etc,workdir={}", lower.1, work.1),
        format!("lowerdir={},upperdir={}", lower.1, upper.1),
        format!("lowerdir={},upperdir={},workdir={},metacopy=on", lower.1, upper.1, work.1),
        format!("upperdir={},lowerdir={},workdir={}", upper.1, lower.1, work.1),
        format!("lowerdir={}", place("other")),
        // What others run, and where their guards listen.
        format!("lowerdir={},upperdir={},workdir={}", lower.1, place("longshore-agent-0123456789ab"), work.1),
        format!("lowerdir={}", place("longshore-docker-abc-1")),
        format!("lowerdir={}", place("longshore-guard-abc-data")),
    ] {
        assert_eq!(overlay(&layers).unwrap_err().rule, Rule::Volume, "{layers}");
    }
    for options in [
        r#"{"type":"none","o":"bind","device":"/"}"#,
        r#"{"size":"1","device":"/etc"}"#,
        r#"{"size":"1,x"}"#,
        r#"{"o":"lowerdir=/x/longshore-a/_data"}"#,
    ] {
        assert_eq!(create(options).unwrap_err().rule, Rule::Volume, "{options}");
    }
}

/// The policy of a job's guard, as the executor writes it.
fn job_policy() -> JobPolicy {
    let written = format!(r#"{{"job":{{"scope":"{}"}}}}"#, scope("abc123", "j", "1"));
    let Policy::Job(policy) = Policy::parse(&written).unwrap() else { unreachable!() };
    JobPolicy {
        sandbox: Some(OWN.into()),
        network: Some(OWN_NET.into()),
        labels: [("longshore.instance".to_owned(), "abc123".to_owned())].into(),
        socket: Some(Socket {
            paths: vec!["/var/run/docker.sock".into()],
            host: format!("{VOLUMES}/longshore-docker-abc-1/_data/docker.sock"),
        }),
        places: vec![Place {
            path: "/longshore/workspace".into(),
            volume: "longshore-job-abc-1".into(),
            folder: String::new(),
        }],
        build: true,
        ..*policy
    }
}

fn job_guard(policy: &JobPolicy, change: impl FnOnce(&mut Value)) -> String {
    let mut body = json!({
        "Image": "longshore-agent:0123456789ab", "Entrypoint": entrypoint(policy).unwrap(), "Cmd": [], "User": "0:0",
        "Labels": {"longshore.instance":"abc123","longshore.kind":"guard","longshore.job":"j","longshore.attempt":"1"},
        "HostConfig": {
            "NetworkMode": format!("container:{OWN}"), "CapDrop": ["ALL"], "CapAdd": ["NET_BIND_SERVICE"], "SecurityOpt": ["no-new-privileges"],
            "RestartPolicy": {"Name":"on-failure","MaximumRetryCount":10}, "AutoRemove": false, "Init": false, "IpcMode": "private",
            "PidsLimit": 256, "Memory": 1000000, "MemorySwap": 1000000, "LogConfig": {"Type":"none"},
            "Mounts": [
                {"Type":"volume","Source":"longshore-docker-abc-1","Target":"/longshore/docker"},
                {"Type":"bind","Source":"/what/the/server/sees.sock","Target":"/var/run/docker.sock"},
            ],
        },
    });
    change(&mut body);
    body.to_string()
}

fn ask_job_guard(
    guard: &Guard,
    policy: &JobPolicy,
    change: impl FnOnce(&mut Value),
) -> Result<Forward, longshore_guard::Refusal> {
    ask(guard, "POST", "/containers/create?name=longshore-abc-1-guard", &job_guard(policy, change))
}

#[test]
fn a_jobs_guard_gets_the_engines_socket_in_one_form_only() {
    let guard = server();
    let made = ask_job_guard(&guard, &job_policy(), |_| {}).unwrap();
    // The path on the host is the guard's own word, not the server's.
    assert_eq!(
        json(&made.call)["HostConfig"]["Mounts"][1],
        json!({"Type":"bind","Source":"/run/docker.sock","Target":"/var/run/docker.sock"})
    );
    let checks = [
        volume("longshore-docker-abc-1", Some(&format!("{VOLUMES}/longshore-docker-abc-1/_data"))),
        volume("longshore-job-abc-1", None),
        Check::Network { reference: OWN_NET.into(), instances: vec!["abc123".into(), "doctor".into()] },
    ];
    assert_eq!(made.checks, checks);

    let changes: Vec<Change<Value>> = vec![
        ("another program", |body| body["Image"] = "evil".into()),
        ("an older program", |body| body["Image"] = "longshore-agent:ffffffffffff".into()),
        ("another command", |body| body["Entrypoint"][1] = "agent".into()),
        ("a further word", |body| body["Cmd"] = json!(["--remove-on-exit"])),
        ("another socket", |body| body["Entrypoint"][3] = "/x".into()),
        ("a server's policy", |body| {
            let last = body["Entrypoint"].as_array().unwrap().len() - 1;
            body["Entrypoint"][last] = r#"{"server":{"instance":"abc123"}}"#.into();
        }),
        ("a probe", |body| body["Healthcheck"] = json!({"Test":["CMD","/.longshore/longshore","guard"]})),
        ("a variable", |body| body["Env"] = json!(["A=b"])),
        ("input", |body| body["OpenStdin"] = true.into()),
        ("another folder", |body| body["WorkingDir"] = "/longshore/docker".into()),
        ("another user", |body| body["User"] = "1000".into()),
        ("a right", |body| body["HostConfig"]["CapAdd"] = json!(["NET_BIND_SERVICE", "CHOWN"])),
        ("memory over a folder", |body| body["HostConfig"]["Tmpfs"] = json!({"/longshore/secrets":""})),
        ("a third mount", |body| {
            let mount = json!({"Type":"volume","Source":"longshore-job-abc-1","Target":"/w"});
            body["HostConfig"]["Mounts"].as_array_mut().unwrap().push(mount);
        }),
        ("the socket where its volume is", |body| {
            body["HostConfig"]["Mounts"][1]["Target"] = "/longshore/docker".into()
        }),
        ("another volume", |body| body["HostConfig"]["Mounts"][0]["Source"] = "longshore-job-abc-1".into()),
        ("another network", |body| body["HostConfig"]["NetworkMode"] = "none".into()),
        ("another job", |body| body["Labels"]["longshore.job"] = "k".into()),
    ];
    for (what, change) in changes {
        let refusal = ask_job_guard(&guard, &job_policy(), change).expect_err(what);
        assert_eq!(refusal.rule, Rule::Server, "{what}");
    }
    let policies: Vec<Change<JobPolicy>> = vec![
        ("another scope", |policy| policy.scope = scope("other", "j", "1")),
        ("another sandbox", |policy| policy.sandbox = Some(VICTIM.into())),
        ("no sandbox", |policy| policy.sandbox = None),
        ("another instance", |policy| drop(policy.labels.insert("longshore.instance".into(), "other".into()))),
        ("others' labels", |policy| drop(policy.labels.insert("com.example".into(), "x".into()))),
        ("rights", |policy| policy.capabilities.push("SYS_ADMIN".into())),
        ("a group", |policy| policy.cgroup_parent = Some("/".into())),
        ("a path as its socket", |policy| policy.socket.as_mut().unwrap().host = "/".into()),
        ("another's volume", |policy| policy.places[0].volume = "other-data".into()),
        ("the sockets of guards", |policy| policy.places[0].volume = "longshore-docker-abc-1".into()),
        ("what another job made", |policy| policy.places[0].volume = "longshore-guard-abc-data".into()),
    ];
    for (what, change) in policies {
        let mut policy = job_policy();
        change(&mut policy);
        let refusal = ask_job_guard(&guard, &policy, |_| {}).expect_err(what);
        assert_eq!(refusal.rule, Rule::Server, "{what}");
    }
    // A folder that is not its volume's is told from it by the engine's answer.
    let mut policy = job_policy();
    policy.socket.as_mut().unwrap().host = "/etc/docker.sock".into();
    let asked = ask_job_guard(&guard, &policy, |_| {}).unwrap();
    assert_eq!(asked.checks[0], volume("longshore-docker-abc-1", Some("/etc")));
    let at_home = json!({"Driver":"local","Mountpoint":format!("{VOLUMES}/longshore-docker-abc-1/_data"),"Labels":{"longshore.instance":"abc123"}});
    assert!(asked.checks[0].judge(Some(&at_home)).is_err() && made.checks[0].judge(Some(&at_home)).is_ok());
}

#[test]
fn the_engines_own_socket_is_given_where_the_guard_was_told_to() {
    let body = job(r#","Binds":["/seen/by/the/server.sock:/var/run/docker.sock"]"#);
    let guard = with(r#"{"server":{"instance":"abc123","raw":true}}"#);
    let made = ask(&guard, "POST", "/containers/create?name=longshore-abc-1", &body).unwrap();
    assert_eq!(json(&made.call)["HostConfig"]["Mounts"][0]["Source"], "/run/docker.sock");
    let elsewhere = body.replace(":/var/run/docker.sock", ":/x");
    refused(&guard, Rule::Server, "POST", "/containers/create?name=longshore-abc-1", &elsewhere);
}

#[test]
fn a_job_has_the_capabilities_that_the_guard_was_told_of_and_no_others() {
    let path = "/containers/create?name=longshore-abc-1";
    let with_rights =
        |names: &str| job("").replace(r#""CapAdd":["CHOWN","SETUID"]"#, &format!(r#""CapAdd":["CHOWN",{names}]"#));
    let guard = with(r#"{"server":{"instance":"abc123","capabilities":["SYS_CHROOT"]}}"#);
    assert!(ask(&guard, "POST", path, &with_rights(r#""SYS_CHROOT""#)).is_ok());
    refused(&guard, Rule::Server, "POST", path, &with_rights(r#""SYS_CHROOT","NET_RAW""#));
    refused(&server(), Rule::Server, "POST", path, &with_rights(r#""SYS_CHROOT""#));
}

#[test]
fn a_guard_that_was_told_no_instance_serves_the_first_that_is_named() {
    let list = |instance: &str| {
        format!("/containers/json?all=1&filters=%7B%22label%22%3A%5B%22longshore.instance%3D{instance}%22%5D%7D")
    };
    let mut guard = Guard::new(Policy::parse(r#"{"server":{}}"#).unwrap(), facts(41), Table::default());
    let learn = |guard: &mut Guard, instance: &str| {
        let request = read(guard, "GET", &list(instance), longshore_guard::Headers::default(), b"").unwrap();
        guard.learn_instance(&request);
        guard.policy().client()
    };
    assert_eq!(learn(&mut guard, "doctor"), "server ");
    assert_eq!(learn(&mut guard, "abc123"), "server abc123");
    assert_eq!(learn(&mut guard, "other"), "server abc123");
    let network = r#"{"Name":"longshore-other","Labels":{"longshore.instance":"other"},"Options":{"com.docker.network.bridge.enable_icc":"false"}}"#;
    refused(&guard, Rule::Server, "POST", "/networks/create", network);
}

#[test]
fn a_guard_that_starts_anew_knows_the_servers_containers_by_name_and_label() {
    let mut guard = Guard::new(Policy::parse(POLICY).unwrap(), facts(41), Table::default());
    let path = format!("/containers/{OWN}/json");
    let request =
        |guard: &Guard, target: &str| read(guard, "GET", target, longshore_guard::Headers::default(), b"").unwrap();
    assert_eq!(guard.unknown_containers(&request(&guard, &path)), [OWN]);
    let container =
        |name: &str, instance: &str| json!({"Id":OWN,"Name":name,"Config":{"Labels":{"longshore.instance":instance}}});
    for (name, instance) in [("/longshore-abc-1", "other"), ("/web", "abc123"), ("/longshore", "abc123")] {
        guard.learn_container(OWN, Some(&container(name, instance)));
        refused(&guard, Rule::Foreign, "GET", &path, "");
    }
    guard.learn_container(OWN, Some(&container("/longshore-abc-1", "abc123")));
    assert!(ask(&guard, "GET", &path, "").is_ok() && guard.unknown_containers(&request(&guard, &path)).is_empty());
    // A name is asked for each time: it may be another's by now. The start of an id is never asked for.
    let by_name = request(&guard, "/containers/longshore-abc-1/json");
    assert_eq!(guard.unknown_containers(&by_name), ["longshore-abc-1"]);
    guard.learn_container("longshore-abc-1", Some(&container("/longshore-abc-1", "other")));
    refused(&guard, Rule::Foreign, "GET", "/containers/longshore-abc-1/json", "");
    for foreign in ["victim", "dddd", "longshore"] {
        let unknown = guard.unknown_containers(&request(&guard, &format!("/containers/{foreign}/json")));
        assert!(foreign == "longshore" || unknown.is_empty(), "{foreign}");
    }
}

#[test]
fn lists_show_a_server_its_own_objects_and_nothing_of_others() {
    let guard = server();
    let rewritten = |target: &str, answer: Value| {
        let asked = ask(&guard, "GET", target, "").unwrap();
        let longshore_guard::Reply::Json(shape) = asked.reply else { panic!("{target}") };
        guard.rewrite(&shape, answer).unwrap()
    };
    let [own, other] = ["abc123", "other"].map(|instance| json!({"longshore.instance":instance}));
    let labels = "filters=%7B%22label%22%3A%5B%22longshore.instance%22%5D%7D";
    let containers = json!([
        {"Names":["/longshore-a-1"],"Labels":own}, {"Names":["/longshore-b-1"],"Labels":other}, {"Names":["/web"],"Labels":own}
    ]);
    assert_eq!(rewritten(&format!("/containers/json?all=1&{labels}"), containers).as_array().unwrap().len(), 1);
    let volumes = json!({"Volumes":[
        {"Name":"longshore-job-a-1","Labels":own}, {"Name":"longshore-job-b-1","Labels":other}, {"Name":"longshore-agent-0123456789ab","Labels":other}
    ]});
    let shown = rewritten(&format!("/volumes?{labels}"), volumes);
    assert_eq!(
        shown["Volumes"],
        json!([{"Name":"longshore-job-a-1","Labels":own}, {"Name":"longshore-agent-0123456789ab","Labels":{}}])
    );
    let networks = json!([{"Name":"lan","Id":"1","IPAM":{"Config":[{"Subnet":"10.0.0.0/8","Gateway":"10.0.0.1"}]},"Containers":{"x":{}}}]);
    assert_eq!(rewritten("/networks", networks), json!([{"IPAM":{"Config":[{"Gateway":"10.0.0.1"}]}}]));
    let image = json!({"Id":"sha256:1","Config":{"Labels":{"longshore.instance":"other","maintainer":"x"}}});
    assert_eq!(
        rewritten("/images/node/json", image)["Config"]["Labels"],
        json!({"longshore.instance":"","maintainer":"x"})
    );
}
