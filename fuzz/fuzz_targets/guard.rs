//! Arbitrary requests into the guard. Whatever it lets through, decoded as Docker decodes it, has none of the fields that are
//! forbidden, and nothing of the client's path.

#![no_main]

use libfuzzer_sys::fuzz_target;
use longshore_guard::{
    BodyKind, Decision, EngineBody, EngineFacts, Guard, Head, Headers, Policy, Table, TarReader,
};
use serde_json::Value;

const POLICY: &str = r#"{"job":{"scope":"fuzz1","build":true,"registries":["docker.io"],
    "places":[{"path":"/w","volume":"workspace"}]}}"#;
const FORBIDDEN: [&str; 14] = [
    "binds",
    "devices",
    "devicecgrouprules",
    "devicerequests",
    "utsmode",
    "usernsmode",
    "cgroup",
    "runtime",
    "groupadd",
    "volumedriver",
    "annotations",
    "maskedpaths",
    "readonlypaths",
    "storageopt",
];

fuzz_target!(|input: (u8, &str, &[u8])| {
    let (choice, target, body) = input;
    let methods = ["GET", "HEAD", "POST", "PUT", "DELETE"];
    let method = methods[usize::from(choice) % methods.len()];
    let facts = EngineFacts { api: 45, version: String::new(), os: String::new(), arch: String::new(), nano_cpus: 1 };
    let mut guard = Guard::new(Policy::parse(POLICY).expect("a policy"), facts, Table::default());
    guard.learn_image("docker.io/library/a:latest", &serde_json::json!({ "Id": "1".repeat(64) }));
    for (method, target) in [(method, target), ("POST", "/containers/create"), ("POST", "/networks/create")] {
        let Ok(head) = Head::parse(method, target, Headers::default(), 45) else { continue };
        let body = if head.body_kind() == BodyKind::Json { body } else { &[] };
        let Ok(request) = head.read(body) else { continue };
        let Ok(Decision::Forward(forward)) = guard.judge(&request, "00112233445566778899aabbccddeeff") else {
            continue;
        };
        let path = forward.call.path.split('?').next().unwrap_or_default();
        assert!(path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/:._-@".contains(&b)), "{path}");
        if let EngineBody::Json(body) = &forward.call.body {
            let host = &body["HostConfig"];
            assert!(host["Privileged"].as_bool() != Some(true));
            for (key, value) in host.as_object().into_iter().flatten() {
                assert!(!FORBIDDEN.contains(&key.to_ascii_lowercase().as_str()), "{key}: {value}");
            }
            assert!(host["NetworkMode"] != Value::from("host") && host["PidMode"] != Value::from("host"));
        }
    }
    let mut reader = TarReader::context("Dockerfile");
    let mut out = Vec::new();
    for piece in body.chunks(usize::from(choice) + 1) {
        if reader.push(piece, &mut out).is_err() {
            return;
        }
    }
    assert!(out.len() <= body.len());
    if let Ok(text) = reader.dockerfile() {
        let head = Head::parse("POST", "/build", Headers::default(), 45).expect("a route");
        let request = head.read(&[]).expect("a build");
        if let Ok(Decision::Forward(forward)) = guard.judge(&request, "00112233445566778899aabbccddeeff") {
            let build = forward.build.expect("a context").build;
            if let Ok(written) = guard.dockerfile(&build, &text) {
                assert!(
                    written.lines().all(|line| !line.to_ascii_uppercase().starts_with("FROM ") || from_is_known(line)),
                    "{written}"
                );
            }
        }
    }
});

/// The one image that is known, nothing, or a stage before it.
fn from_is_known(line: &str) -> bool {
    let name = line.split_whitespace().nth(1).unwrap_or_default();
    name == "scratch" || name == format!("sha256:{}", "1".repeat(64)) || !name.contains([':', '/', '@'])
}
