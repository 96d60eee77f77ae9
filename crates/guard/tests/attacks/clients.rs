//! Requests of real clients, as they were recorded in front of an engine: each of them is let through, and refused as
//! soon as it asks for what a job may not have. `docs/security.md` has the versions.

use longshore_guard::{BodyKind, Forward, Guard, Head, Headers, Refusal, Rule};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::world::*;

const CLIENTS: [(&str, &str); 5] = [
    ("dockerode", include_str!("clients/dockerode.json")),
    ("docker-java", include_str!("clients/docker-java.json")),
    ("testcontainers for Node", include_str!("clients/testcontainers-node.json")),
    ("testcontainers for Java", include_str!("clients/testcontainers-java.json")),
    ("testcontainers for Rust", include_str!("clients/testcontainers-rust.json")),
];

/// The policy of a job whose guard is in a pod, with its socket.
const POLICY: &str = r#"{"job":{
    "scope":"job1",
    "network":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "sandbox":"9999999999999999999999999999999999999999999999999999999999999999",
    "gateway":"172.18.0.2",
    "socket":{"paths":["/var/run/docker.sock"],"host":"/guards/job1/docker.sock"},
    "places":[{"path":"/longshore/workspace","volume":"longshore-job-1-workspace"}],
    "images":["busybox","longshore-test/*","testcontainers/ryuk*","built*"],
    "registries":["docker.io","registry.invalid"],
    "push":["registry.invalid/*"],
    "build":true
}}"#;

/// A recorded request. What has an id is `<container>`, `<exec>`, `<network>` or `<image>` in it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    method: String,
    target: String,
    content_type: Option<String>,
    registry_auth: Option<String>,
    registry_config: Option<String>,
    body: Option<Value>,
}

impl Recorded {
    fn is_for(&self, end: &str) -> bool {
        self.method == "POST" && self.target.split('?').next().is_some_and(|path| path.ends_with(end))
    }

    /// Whether the client asks for what no job may have: testcontainers' reaper for Java wants to be privileged.
    fn is_refused(&self) -> bool {
        self.body.as_ref().is_some_and(|body| body["HostConfig"]["Privileged"] == true)
    }

    fn judge(&self, guard: &Guard) -> Result<Option<Forward>, Refusal> {
        let headers = Headers {
            content_type: self.content_type.as_deref(),
            registry_auth: self.registry_auth.as_deref(),
            registry_config: self.registry_config.as_deref(),
            ..Headers::default()
        };
        let head = Head::parse(&self.method, &self.target, headers, guard.engine().api)?;
        let body = match head.body_kind() {
            BodyKind::Tar => String::new(),
            _ => self.body.as_ref().map(ToString::to_string).unwrap_or_default(),
        };
        let decision = guard.judge(&head.read(body.as_bytes())?, NONCE)?;
        Ok(match decision {
            longshore_guard::Decision::Forward(forward) => Some(*forward),
            _ => None,
        })
    }
}

fn recorded(text: &str) -> Vec<Recorded> {
    let names = [("<container>", OWN), ("<exec>", EXEC), ("<network>", OWN_NET), ("<image>", IMAGE)];
    let text = names.iter().fold(text.to_owned(), |text, (name, id)| text.replace(name, id));
    serde_json::from_str(&text).unwrap()
}

fn guard() -> Guard {
    let mut guard = job(POLICY, 41);
    for image in
        ["longshore-test/busybox:latest", "library/built:1", "testcontainers/ryuk:0.12.0", "testcontainers/ryuk:0.14.0"]
    {
        guard.learn_image(&format!("docker.io/{image}"), &json!({ "Id": IMAGE }));
    }
    for (target, body) in [
        ("/volumes/create", r#"{"Name":"data"}"#),
        ("/images/busybox/tag?repo=dode/x&tag=1", ""),
        ("/images/busybox/tag?repo=djtag/x&tag=1", ""),
        ("/images/busybox/tag?repo=registry.invalid/x&tag=1", ""),
        ("/images/busybox/tag?repo=registry.invalid/a/b&tag=1", ""),
    ] {
        let forward = ask(&guard, "POST", target, body).unwrap();
        guard.settle(&forward.effect, true, None);
    }
    guard
}

#[test]
fn what_real_clients_send_is_let_through() {
    let guard = guard();
    for (client, text) in CLIENTS {
        for request in recorded(text) {
            let judged = request.judge(&guard);
            match (&judged, request.is_refused()) {
                (Ok(_), false) => {}
                (Err(refusal), true) => {
                    assert_eq!(refusal.rule, Rule::Privileged, "{client}: {request:?}");
                    assert!(refusal.reason.contains("TESTCONTAINERS_RYUK_DISABLED=true"), "{refusal}");
                }
                // What is newer than the engine has, clients ask for once and then go on with less.
                (Err(refusal), _) if refusal.rule == Rule::Version && request.target.ends_with("/_ping") => {}
                // Of images that are not there, the engine says the same.
                (Err(refusal), _) if refusal.rule == Rule::Foreign && request.target.contains("nothing") => {}
                _ => panic!("{client}: {request:?}: {judged:?}"),
            }
        }
    }
}

/// Settings of a container that no job may have, each with a value and the rule that refuses it.
fn forbidden() -> Vec<(&'static str, Value, Rule)> {
    vec![
        ("/VolumesFrom", json!(["other"]), Rule::Volume),
        ("/PortSpecs", json!(["80:80"]), Rule::Publish),
        ("/MacAddress", json!("02:42:ac:11:00:02"), Rule::Network),
        ("/HostConfig/VolumesFrom", json!(["other"]), Rule::Foreign),
        ("/HostConfig/Binds", json!(["/:/host"]), Rule::HostPath),
        ("/HostConfig/Mounts", json!([{ "Type": "bind", "Source": "/etc", "Target": "/e" }]), Rule::HostPath),
        ("/HostConfig/Privileged", json!(true), Rule::Privileged),
        ("/HostConfig/PidMode", json!("host"), Rule::Namespace),
        ("/HostConfig/IpcMode", json!("host"), Rule::Namespace),
        ("/HostConfig/UTSMode", json!("host"), Rule::Namespace),
        ("/HostConfig/UsernsMode", json!("host"), Rule::Namespace),
        ("/HostConfig/NetworkMode", json!("host"), Rule::Namespace),
        ("/HostConfig/CgroupnsMode", json!("host"), Rule::Namespace),
        ("/HostConfig/Cgroup", json!("container:x"), Rule::Cgroup),
        ("/HostConfig/CgroupParent", json!("/"), Rule::Cgroup),
        ("/HostConfig/OomKillDisable", json!(true), Rule::Cgroup),
        ("/HostConfig/OomScoreAdj", json!(-1000), Rule::Cgroup),
        ("/HostConfig/KernelMemory", json!(1), Rule::Cgroup),
        ("/HostConfig/MemorySwappiness", json!(60), Rule::Cgroup),
        ("/HostConfig/BlkioWeight", json!(1000), Rule::Cgroup),
        ("/HostConfig/CpusetCpus", json!("0"), Rule::Cgroup),
        ("/HostConfig/CapAdd", json!(["SYS_ADMIN"]), Rule::Capability),
        ("/HostConfig/Devices", json!([{ "PathOnHost": "/dev/sda" }]), Rule::Device),
        ("/HostConfig/DeviceCgroupRules", json!(["b *:* rwm"]), Rule::Device),
        ("/HostConfig/DeviceRequests", json!([{ "Driver": "cdi" }]), Rule::Device),
        ("/HostConfig/ContainerIDFile", json!("/x"), Rule::HostPath),
        ("/HostConfig/GroupAdd", json!(["999"]), Rule::Group),
        ("/HostConfig/Runtime", json!("a.b.c"), Rule::Runtime),
        ("/HostConfig/Isolation", json!("hyperv"), Rule::Runtime),
        ("/HostConfig/LxcConf", json!([{ "Key": "a" }]), Rule::Runtime),
        ("/HostConfig/SecurityOpt", json!(["seccomp=unconfined"]), Rule::SecurityOption),
        ("/HostConfig/Sysctls", json!({ "kernel.core_pattern": "|/x" }), Rule::Sysctl),
        ("/HostConfig/StorageOpt", json!({ "size": "1T" }), Rule::Storage),
        ("/HostConfig/DiskQuota", json!(1), Rule::Storage),
        ("/HostConfig/VolumeDriver", json!("sshfs"), Rule::Volume),
        ("/HostConfig/LogConfig", json!({ "Type": "syslog", "Config": {} }), Rule::Logging),
        ("/HostConfig/Links", json!(["victim:x"]), Rule::Foreign),
        ("/HostConfig/MaskedPaths", json!([]), Rule::MaskedPath),
        ("/HostConfig/NewField", json!(null), Rule::Body),
        ("/NewField", json!(null), Rule::Body),
    ]
}

/// The body with another value at this place, which may be new in it.
fn with(body: &Value, place: &str, value: &Value) -> Value {
    let mut body = body.clone();
    let (parent, key) = place.rsplit_once('/').unwrap();
    match body.pointer_mut(parent) {
        Some(Value::Object(parent)) => _ = parent.insert(key.to_owned(), value.clone()),
        _ => body[&parent[1..]] = json!({ key: value }),
    }
    body
}

#[test]
fn what_a_job_may_not_have_is_refused_in_the_words_of_every_client() {
    let guard = guard();
    let refused = |request: &Recorded, rule: Rule| match request.judge(&guard) {
        // What is somebody else's is not there, whether its name was found by accident or not.
        Err(refusal) if rule == Rule::Foreign && refusal.rule == Rule::Probe => {}
        Err(refusal) => assert_eq!(refusal.rule, rule, "{request:?}: {refusal}"),
        Ok(forward) => panic!("{request:?} is let through: {forward:?}"),
    };
    for (client, text) in CLIENTS {
        let requests = recorded(text);
        let of = |end: &str| {
            let found: Vec<_> = requests.iter().filter(|one| one.is_for(end) && !one.is_refused()).cloned().collect();
            assert!(!found.is_empty(), "{client} has no request for {end}");
            found.into_iter().map(|one| (one.body.clone().unwrap_or_default(), one)).collect::<Vec<_>>()
        };
        let changed = |request: &Recorded, body: Value| Recorded { body: Some(body), ..request.clone() };
        for (body, request) in of("/containers/create") {
            for (place, value, rule) in forbidden() {
                refused(&changed(&request, with(&body, place, &value)), rule);
            }
        }
        for (body, request) in of("/networks/create") {
            for (place, value, rule) in [
                ("/Driver", json!("macvlan"), Rule::Network),
                ("/Options", json!({ "com.docker.network.bridge.name": "docker0" }), Rule::Network),
                ("/IPAM", json!({ "Config": [{ "Subnet": "169.254.169.0/24" }] }), Rule::Network),
                ("/ConfigFrom", json!({ "Network": "other" }), Rule::Network),
                ("/Labels", json!({ "longshore.guard.scope": "job2" }), Rule::Label),
                ("/Name", json!("longshore-job-2"), Rule::Name),
                ("/NewField", json!(null), Rule::Body),
            ] {
                refused(&changed(&request, with(&body, place, &value)), rule);
            }
        }
        for (body, request) in of("/exec") {
            refused(&changed(&request, with(&body, "/Privileged", &json!(true))), Rule::Privileged);
            refused(&changed(&request, with(&body, "/NewField", &json!(null))), Rule::Body);
            let foreign = request.target.replace(OWN, VICTIM);
            refused(&Recorded { target: foreign, ..request }, Rule::Foreign);
        }
        for (body, request) in of("/start").into_iter().filter(|(_, request)| request.target.contains("/exec/")) {
            refused(&changed(&request, with(&body, "/NewField", &json!(null))), Rule::Body);
        }
    }
}

#[test]
fn what_clients_write_in_their_own_ways_means_nothing_else_by_that() {
    let guard = guard();
    // docker-java writes an endpoint twice, and encodes the slashes in the names of images.
    let connect = format!("/networks/{OWN_NET}/connect");
    let body = |second: &str| {
        format!(r#"{{"Container":"{OWN}","EndpointConfig":{{"Aliases":["a"]}},"containerConfig":{second}}}"#)
    };
    assert!(ask(&guard, "POST", &connect, &body(r#"{"Aliases":["a"],"Links":null}"#)).is_ok());
    refused(&guard, Rule::Network, "POST", &connect, &body(r#"{"Aliases":["b"]}"#));
    refused(&guard, Rule::Network, "POST", &connect, &body(r#"{"Aliases":["a"],"MacAddress":"02:42:ac:11:00:02"}"#));
    for target in ["/images/longshore-test%2Fbusybox:latest/json", "/images/longshore-test/busybox:latest/json"] {
        let inspected = ask(&guard, "GET", target, "").unwrap();
        assert_eq!(inspected.call.path, format!("/images/sha256:{IMAGE}/json"));
    }
    for (rule, target) in [
        (Rule::Syntax, "/images/longshore-test%2F..%2Fbusybox/json"),
        (Rule::Syntax, "/images/longshore-test%2F%2Fbusybox/json"),
        (Rule::Syntax, "/images/%2Fbusybox/json"),
        (Rule::Syntax, "/images/longshore-test%252Fbusybox/json"),
        (Rule::Route, "/images%2Fbusybox/json"),
        (Rule::Route, "/images/busybox%2Fjson"),
        (Rule::Route, "/containers/web%2Fjson"),
        (Rule::Route, "/containers/a%2Fweb/json"),
        (Rule::Version, "/v1.41%2Fcontainers/json"),
        (Rule::Foreign, "/images/other%2Fsecret/json"),
    ] {
        refused(&guard, rule, "GET", target, "");
    }
    // testcontainers for Node names networks by a few digits. It is the name of one of its own, and no id of another.
    let made = ask(&guard, "POST", "/networks/create", &format!(r#"{{"Name":"{}"}}"#, &VICTIM[..12])).unwrap();
    assert_eq!(json(&made.call)["Name"], format!("longshore-guard-job1-{}", &VICTIM[..12]));
    refused(&guard, Rule::Name, "POST", "/networks/create", &format!(r#"{{"Name":"{VICTIM}"}}"#));
    refused(&guard, Rule::Foreign, "GET", &format!("/networks/{}", &VICTIM[..12]), "");
    // Without credentials, docker-modem writes an empty parameter. What older ones wrote there is not read.
    for empty_or_not in ["", "%7B%22password%22%3A%22p%22%7D"] {
        let target = format!("/images/create?authconfig={empty_or_not}&fromImage=busybox&tag=1");
        let pulled = ask(&guard, "POST", &target, "").unwrap();
        assert!(!pulled.call.path.contains("auth") && !pulled.call.path.contains("password"), "{}", pulled.call.path);
    }
    for (rule, method, target) in [
        (Rule::Image, "POST", "/images/create?fromImage=busybox&registry=registry.example.com"),
        (Rule::Image, "GET", "/images/busybox/json?platform=%7B%22os%22%3A%22windows%22%7D"),
        (Rule::Image, "DELETE", "/images/busybox?platforms=%5B%22linux%2Farm64%22%5D"),
        (Rule::Syntax, "GET", "/images/busybox/json?authconfig="),
    ] {
        refused(&guard, rule, method, target, "");
    }
    assert!(ask(&guard, "GET", "/images/busybox/json?manifests=false&platform=", "").is_ok());
}
