//! The guard of a job, which a server may start in one form.

use longshore_guard::job_guard::{ALL_CONTAINERS, ALL_VOLUMES, entrypoint, scope};
use longshore_guard::{Check, Disk, Forward, Guard, JobPolicy, Place, Policy, Rule, Socket};
use serde_json::{Value, json};

use super::*;

/// What an attack is called, and what it changes.
type Change<T> = (&'static str, fn(&mut T));

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
        load: false,
        subnets: vec!["198.18.0.32/27".into()],
        disk: Some(Disk {
            folder: ALL_VOLUMES.into(),
            containers: ALL_CONTAINERS.into(),
            volumes: vec!["longshore-job-abc-1".into()],
        }),
        ..*policy
    }
}

fn job_guard(policy: &JobPolicy, change: impl FnOnce(&mut Value)) -> String {
    let mut body = json!({
        "Image": "longshore-agent:0123456789ab", "Entrypoint": entrypoint(policy).unwrap(), "Cmd": [], "User": "0:0",
        "Labels": {"longshore.instance":"abc123","longshore.kind":"guard","longshore.job":"j","longshore.attempt":"1"},
        "HostConfig": {
            "NetworkMode": format!("container:{OWN}"), "CapDrop": ["ALL"], "CapAdd": ["DAC_READ_SEARCH", "NET_BIND_SERVICE"], "SecurityOpt": ["no-new-privileges"],
            "RestartPolicy": {"Name":"on-failure","MaximumRetryCount":10}, "AutoRemove": false, "Init": false, "IpcMode": "private",
            "PidsLimit": 256, "NanoCpus": 2000000000, "Memory": 1000000, "MemorySwap": 1000000, "LogConfig": {"Type":"none"},
            "Mounts": [
                {"Type":"volume","Source":"longshore-docker-abc-1","Target":"/longshore/docker"},
                {"Type":"bind","Source":"/what/the/server/sees.sock","Target":"/var/run/docker.sock"},
                {"Type":"bind","Source":"/what/the/server/says","Target":ALL_VOLUMES,"ReadOnly":true,"BindOptions":{"NonRecursive":true}},
                {"Type":"bind","Source":"/what/it/says","Target":ALL_CONTAINERS,"ReadOnly":true,"BindOptions":{"NonRecursive":true}},
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
    let guard = with(r#"{"server":{"instance":"abc123","docker_subnet":"198.18.0.0/15"}}"#);
    let made = ask_job_guard(&guard, &job_policy(), |_| {}).unwrap();
    // The path on the host is the guard's own word, not the server's.
    assert_eq!(
        json(&made.call)["HostConfig"]["Mounts"][1],
        json!({"Type":"bind","Source":"/run/docker.sock","Target":"/var/run/docker.sock"})
    );
    assert_eq!(
        json(&made.call)["HostConfig"]["Mounts"][2],
        json!({"Type":"bind","Source":VOLUMES,"Target":ALL_VOLUMES,"ReadOnly":true,"BindOptions":{"NonRecursive":true}})
    );
    let containers = format!("{}/containers", VOLUMES.strip_suffix("/volumes").unwrap());
    assert_eq!(
        json(&made.call)["HostConfig"]["Mounts"][3],
        json!({"Type":"bind","Source":containers,"Target":ALL_CONTAINERS,"ReadOnly":true,"BindOptions":{"NonRecursive":true}})
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
        ("a right", |body| body["HostConfig"]["CapAdd"] = json!(["DAC_READ_SEARCH", "NET_BIND_SERVICE", "CHOWN"])),
        ("memory over a folder", |body| body["HostConfig"]["Tmpfs"] = json!({"/longshore/secrets":""})),
        ("all volumes, to write", |body| drop(body["HostConfig"]["Mounts"][2]["ReadOnly"].take())),
        ("all volumes elsewhere", |body| body["HostConfig"]["Mounts"][2]["Target"] = "/v".into()),
        ("all containers, to write", |body| drop(body["HostConfig"]["Mounts"][3]["ReadOnly"].take())),
        ("no containers to measure", |body| drop(body["HostConfig"]["Mounts"].as_array_mut().unwrap().pop())),
        ("no volumes to measure", |body| body["HostConfig"]["Mounts"].as_array_mut().unwrap().truncate(2)),
        ("a further mount", |body| {
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
        ("others' addresses", |policy| policy.subnets.push("10.0.0.0/27".into())),
        ("more addresses than one network's", |policy| policy.subnets.push("198.18.0.0/24".into())),
        ("a group", |policy| policy.cgroup_parent = Some("/".into())),
        ("a path as its socket", |policy| policy.socket.as_mut().unwrap().host = "/".into()),
        ("another folder to measure", |policy| policy.disk.as_mut().unwrap().folder = "/".into()),
        ("another folder of containers", |policy| policy.disk.as_mut().unwrap().containers = "/".into()),
        ("another's volume to measure", |policy| policy.disk.as_mut().unwrap().volumes.push("other-data".into())),
        ("all volumes, and nothing to measure", |policy| policy.disk = None),
        ("another's volume", |policy| policy.places[0].volume = "other-data".into()),
        ("the agent's volume", |policy| policy.places[0].volume = "longshore-agent-0123456789ab".into()),
        ("the next agent's volume", |policy| {
            let place = Place { volume: "longshore-agent-ffffffffffff".into(), ..policy.places[0].clone() };
            policy.places.push(place);
        }),
        ("the agent's volume to measure", |policy| {
            policy.disk.as_mut().unwrap().volumes.push("longshore-agent-0123456789ab".into());
        }),
        ("the sockets of guards", |policy| policy.places[0].volume = "longshore-docker-abc-1".into()),
        ("what another job made", |policy| policy.places[0].volume = "longshore-guard-abc-data".into()),
    ];
    for (what, change) in policies {
        let mut policy = job_policy();
        change(&mut policy);
        let refusal = ask_job_guard(&guard, &policy, |_| {}).expect_err(what);
        assert_eq!(refusal.rule, Rule::Server, "{what}");
    }
    // A folder that is not its volume's is told from it by the engine's answer, and no folder of all volumes is found by
    // it.
    let mut policy = job_policy();
    policy.socket.as_mut().unwrap().host = "/etc/docker.sock".into();
    assert_eq!(ask_job_guard(&guard, &policy, |_| {}).unwrap_err().rule, Rule::Server);
    policy.disk = None;
    let without = |body: &mut Value| body["HostConfig"]["Mounts"].as_array_mut().unwrap().truncate(2);
    let asked = ask_job_guard(&guard, &policy, without).unwrap();
    assert_eq!(asked.checks[0], volume("longshore-docker-abc-1", Some("/etc")));
    let at_home = json!({"Driver":"local","Mountpoint":format!("{VOLUMES}/longshore-docker-abc-1/_data"),"Labels":{"longshore.instance":"abc123"}});
    assert!(asked.checks[0].judge(Some(&at_home)).is_err() && made.checks[0].judge(Some(&at_home)).is_ok());
}
