//! No request that is let through, decoded as the engine decodes it, asks for anything forbidden.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::*;

/// Decodes JSON as Go does into a struct: with keys in any case, the two letters that fold to ASCII, and repeated
/// objects merged.
fn as_docker(value: &Value) -> Value {
    match value {
        Value::Object(entries) => {
            let mut merged: BTreeMap<String, Value> = BTreeMap::new();
            for (key, value) in entries {
                let key: String = key
                    .chars()
                    .map(|c| match c {
                        'ſ' => 's',
                        '\u{212a}' => 'k',
                        c => c.to_ascii_lowercase(),
                    })
                    .collect();
                let value = as_docker(value);
                match (merged.get_mut(&key), value) {
                    (Some(Value::Object(before)), Value::Object(more)) => before.extend(more),
                    (_, value) => {
                        merged.insert(key, value);
                    }
                }
            }
            Value::Object(merged.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(as_docker).collect()),
        other => other.clone(),
    }
}

/// Fields of a `HostConfig` that may only have their zero values.
const FORBIDDEN: [&str; 26] = [
    "privileged",
    "binds",
    "pidmode_host",
    "utsmode",
    "usernsmode",
    "cgroup",
    "cgroupparent",
    "devices",
    "devicecgrouprules",
    "devicerequests",
    "runtime",
    "groupadd",
    "volumedriver",
    "annotations",
    "capabilities",
    "maskedpaths",
    "readonlypaths",
    "publishallports",
    "blkioweight",
    "cpurealtimeruntime",
    "cpusetcpus",
    "oomkilldisable",
    "links",
    "containeridfile",
    "storageopt",
    "isolation",
];

fn check(body: &Value) {
    let body = as_docker(body);
    let host = &body["hostconfig"];
    for field in FORBIDDEN {
        let value = &host[field];
        assert!(matches!(value, Value::Null | Value::Bool(false)), "{field}: {value}");
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let networks = [NET.to_owned(), OWN_NET.to_owned(), "none".to_owned(), format!("container:{OWN}")];
    assert!(networks.contains(&text(&host["networkmode"])), "{}", host["networkmode"]);
    for mode in ["pidmode", "ipcmode"] {
        let mode = text(&host[mode]);
        assert!(["", "private", "shareable", "none", &format!("container:{OWN}")].contains(&mode.as_str()), "{mode}");
    }
    assert_eq!(host["securityopt"], json!(["no-new-privileges"]));
    for mount in host["mounts"].as_array().into_iter().flatten() {
        assert!(matches!(text(&mount["type"]).as_str(), "volume" | "tmpfs"), "{mount}");
        let source = text(&mount["source"]);
        assert!(
            source.is_empty() || source.starts_with("longshore-guard-job1-") || source == "longshore-job-1-workspace",
            "{source}"
        );
        assert!(mount["volumeoptions"]["driverconfig"].is_null() && mount["bindoptions"].is_null(), "{mount}");
    }
    for from in host["volumesfrom"].as_array().into_iter().flatten() {
        assert!(text(from).starts_with(OWN), "{from}");
    }
    for capability in host["capadd"].as_array().into_iter().flatten() {
        assert!(
            !["ALL", "SYS_ADMIN", "SYS_PTRACE", "NET_ADMIN", "NET_RAW", "MKNOD"].contains(&text(capability).as_str()),
            "{capability}"
        );
    }
    assert!(
        host["portbindings"].is_null()
            && host["memory"].as_i64().unwrap() > 0
            && host["pidslimit"].as_i64().unwrap() > 0
    );
    for network in
        body["networkingconfig"]["endpointsconfig"].as_object().into_iter().flat_map(|networks| networks.keys())
    {
        assert!([NET, OWN_NET].contains(&network.as_str()), "{network}");
    }
    assert_eq!(body["image"], format!("sha256:{IMAGE}"));
    assert_eq!(body["labels"]["longshore.guard.scope"], "job1");
}

/// Generates keys that mean something to the engine, in several spellings, with matching values.
fn pairs() -> impl Strategy<Value = (String, String)> {
    let key = prop::sample::select(vec![
        "Image",
        "Cmd",
        "HostConfig",
        "Privileged",
        "Binds",
        "Mounts",
        "NetworkMode",
        "PidMode",
        "IpcMode",
        "UTSMode",
        "CapAdd",
        "SecurityOpt",
        "Devices",
        "VolumesFrom",
        "NetworkingConfig",
        "EndpointsConfig",
        "Labels",
        "Memory",
        "PidsLimit",
        "CgroupParent",
        "Runtime",
        "PortBindings",
        "MaskedPaths",
        "Links",
        "Sysctls",
        "Tmpfs",
        "Volumes",
        "GroupAdd",
        "Ulimits",
    ]);
    let spelling = prop_oneof![8 => Just(0), 1 => Just(1), 1 => Just(2), 1 => Just(3)];
    let value = prop::sample::select(vec![
        r#""busybox""#,
        "true",
        "false",
        "null",
        "{}",
        "[]",
        "0",
        "1",
        "-1",
        r#""host""#,
        r#""none""#,
        r#""web""#,
        r#""own-net""#,
        r#""container:web""#,
        r#""container:victim""#,
        r#"["/:/h"]"#,
        r#"["data:/d"]"#,
        r#"["/longshore/workspace:/w"]"#,
        r#"["web"]"#,
        r#"["SYS_ADMIN"]"#,
        r#"["CHOWN"]"#,
        r#"["no-new-privileges"]"#,
        r#"["seccomp=unconfined"]"#,
        r#"{"own-net":{}}"#,
        r#"{"victim":{}}"#,
        r#"{"default":{}}"#,
        r#"{"a":"b"}"#,
        r#"{"/x":{}}"#,
        r#"{"/x":"size=1m"}"#,
        r#"[{"Type":"bind","Source":"/","Target":"/h"}]"#,
        r#"[{"Type":"volume","Source":"data","Target":"/h"}]"#,
        r#"[{"Type":"tmpfs","Target":"/h"}]"#,
        r#"{"80/tcp":[{"HostPort":"80"}]}"#,
        "1048576",
        "1e3",
    ]);
    (key, spelling, value).prop_map(|(key, spelling, value)| {
        let key = match spelling {
            0 => key.to_owned(),
            1 => key.to_lowercase(),
            2 => key.replace('s', "ſ"),
            _ => key.chars().map(|c| format!("\\u{:04x}", c as u32)).collect(),
        };
        (key, value.to_owned())
    })
}

fn object(pairs: &[(String, String)]) -> String {
    let inner: Vec<String> = pairs.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", inner.join(","))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn as_docker_decodes_it_asks_for_nothing_forbidden(
        top in prop::collection::vec(pairs(), 0..3),
        host in prop::collection::vec(pairs(), 0..5),
        networks in prop::collection::vec(pairs(), 0..2),
        twice in any::<bool>(),
    ) {
        let guard = job(JOB, 41);
        let mut all = vec![("Image".to_owned(), r#""busybox""#.to_owned())];
        all.extend(top);
        all.push(("HostConfig".to_owned(), object(&host)));
        if twice {
            all.push(("HostConfig".to_owned(), object(&networks)));
        } else if !networks.is_empty() {
            all.push(("NetworkingConfig".to_owned(), object(&networks)));
        }
        if let Ok(forward) = ask(&guard, "POST", "/containers/create", &object(&all)) {
            check(&json(&forward.call));
        }
    }

    #[test]
    fn no_path_makes_it_panic_or_goes_on_as_it_came(path in "/[ -~]{0,60}", method in "GET|POST|PUT|DELETE|HEAD") {
        let guard = job(JOB, 41);
        if let Ok(longshore_guard::Decision::Forward(forward)) = decide(&guard, &method, &path, "") {
            let path = forward.call.path.split('?').next().unwrap_or_default().to_owned();
            prop_assert!(path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/:._-@".contains(&b)), "{}", path);
        }
    }
}

/// The property above would also hold if nothing were let through.
#[test]
fn much_of_what_is_legitimate_is_let_through() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let guard = job(JOB, 41);
    let mut runner = TestRunner::deterministic();
    let let_through = (0..2000)
        .filter(|_| {
            let host = prop::collection::vec(pairs(), 0..3).new_tree(&mut runner).unwrap().current();
            let body = format!(r#"{{"Image":"busybox","HostConfig":{}}}"#, object(&host));
            ask(&guard, "POST", "/containers/create", &body).is_ok()
        })
        .count();
    assert!(let_through > 300, "{let_through}");
}
