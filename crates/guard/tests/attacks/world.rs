//! A guard with a few objects of its own, and requests to it.

use longshore_guard::{
    BodyKind, Decision, EngineBody, EngineCall, EngineFacts, Forward, Guard, Head, Headers, Policy, Refusal, Request,
    Rule, Table,
};
use serde_json::Value;

pub(crate) const NET: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub(crate) const OWN_NET: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
pub(crate) const OWN: &str = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc";
pub(crate) const VICTIM: &str = "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd";
pub(crate) const EXEC: &str = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee";
pub(crate) const IMAGE: &str = "1111111111111111111111111111111111111111111111111111111111111111";
pub(crate) const NONCE: &str = "00112233445566778899aabbccddeeff";

pub(crate) const JOB: &str = r#"{"job":{
    "scope":"job1",
    "network":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "places":[{"path":"/longshore/workspace","volume":"longshore-job-1-workspace"}],
    "images":["busybox"],
    "registries":["docker.io","ghcr.io"],
    "push":["ghcr.io/us/*"],
    "build":true
}}"#;

pub(crate) fn facts(api: u32) -> EngineFacts {
    EngineFacts { api, version: "20.10.24".into(), os: "linux".into(), arch: "amd64".into(), nano_cpus: 8_000_000_000 }
}

/// A job's guard with a container `web` (and something mounted in it), an exec, a network, a volume and an image.
pub(crate) fn job(policy: &str, api: u32) -> Guard {
    let mut guard = Guard::new(Policy::parse(policy).unwrap(), facts(api), Table::default());
    guard.learn_image("docker.io/library/busybox:latest", &serde_json::json!({ "Id": IMAGE }));
    for (target, body, id) in [
        ("/containers/create?name=web", r#"{"Image":"busybox","HostConfig":{"Binds":["data:/data"]}}"#, OWN),
        ("/containers/web/exec", r#"{"Cmd":["true"]}"#, EXEC),
        ("/networks/create", r#"{"Name":"own-net"}"#, OWN_NET),
    ] {
        let forward = ask(&guard, "POST", target, body).unwrap_or_else(|refusal| panic!("{target}: {refusal}"));
        guard.settle(&forward.effect, true, Some(id));
    }
    guard
}

pub(crate) fn read(
    guard: &Guard,
    method: &str,
    target: &str,
    headers: Headers<'_>,
    body: &[u8],
) -> Result<Request, Refusal> {
    let head = Head::parse(method, target, headers, guard.engine().api)?;
    let body = if head.body_kind() == BodyKind::Tar { &[] } else { body };
    head.read(body)
}

pub(crate) fn decide(guard: &Guard, method: &str, target: &str, body: &str) -> Result<Decision, Refusal> {
    let headers = Headers { content_type: (!body.is_empty()).then_some("application/json"), ..Headers::default() };
    guard.judge(&read(guard, method, target, headers, body.as_bytes())?, NONCE)
}

/// The call to the engine.
pub(crate) fn ask(guard: &Guard, method: &str, target: &str, body: &str) -> Result<Forward, Refusal> {
    match decide(guard, method, target, body)? {
        Decision::Forward(forward) => Ok(*forward),
        Decision::Push(push) => Ok(Forward {
            call: push.push,
            reply: longshore_guard::Reply::Status,
            effect: longshore_guard::Effect::None,
            checks: Vec::new(),
            build: None,
        }),
        Decision::Answer(answer) => panic!("{method} {target} is answered by the guard: {answer:?}"),
        Decision::Prune(prune) => panic!("{method} {target} is a prune: {prune:?}"),
    }
}

pub(crate) fn json(call: &EngineCall) -> Value {
    match &call.body {
        EngineBody::Json(value) => value.clone(),
        other => panic!("{} has no JSON: {other:?}", call.path),
    }
}

/// The call is refused by this rule.
#[track_caller]
pub(crate) fn refused(guard: &Guard, rule: Rule, method: &str, target: &str, body: &str) {
    match decide(guard, method, target, body) {
        // What is somebody else's is not there, whether its name was found by accident or not.
        Err(refusal) if rule == Rule::Foreign && refusal.rule == Rule::Probe => {}
        Err(refusal) => assert_eq!(refusal.rule, rule, "{method} {target} {body}: {refusal}"),
        Ok(decision) => panic!("{method} {target} {body} is let through: {decision:?}"),
    }
}

/// A container is refused by this rule; `host` is its `HostConfig`.
#[track_caller]
pub(crate) fn host_refused(guard: &Guard, rule: Rule, host: &str) {
    refused(guard, rule, "POST", "/v1.41/containers/create", &create(host));
}

/// A container is let through; returns what the engine gets.
#[track_caller]
pub(crate) fn host_allowed(guard: &Guard, host: &str) -> Value {
    match ask(guard, "POST", "/v1.41/containers/create", &create(host)) {
        Ok(forward) => json(&forward.call),
        Err(refusal) => panic!("{host}: {refusal} ({})", refusal.rule),
    }
}

fn create(host: &str) -> String {
    format!(r#"{{"Image":"busybox","Cmd":["true"],"HostConfig":{host}}}"#)
}
