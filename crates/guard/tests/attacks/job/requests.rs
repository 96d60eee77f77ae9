//! Requests that the engine could read differently than the guard.

use longshore_guard::{Headers, Rule};

use super::CREATE;
use crate::world::*;

#[test]
fn a_body_that_the_engine_reads_differently_is_refused() {
    let guard = job(JOB, 41);
    for body in [
        // Keys in another case, which the engine takes.
        r#"{"image":"busybox","cmd":["true"],"hostconfig":{"privileged":true,"binds":["/:/h"]}}"#,
        r#"{"Image":"busybox","HostConfig":{"privileged":true}}"#,
        r#"{"Image":"busybox","HostConfig":{"PRIVILEGED":true}}"#,
        // Repeated keys, whose objects the engine merges.
        r#"{"Image":"busybox","HostConfig":{"Binds":["/:/h"]},"HostConfig":{"Privileged":false}}"#,
        r#"{"Image":"busybox","HostConfig":null,"HOSTCONFIG":{"Privileged":true}}"#,
        r#"{"Image":"busybox","HostConfig":{"Privileged":false,"Privileged":true}}"#,
        // Letters that fold into ASCII.
        "{\"Image\":\"busybox\",\"Ho\u{17f}tConfig\":{\"Privileged\":true}}",
        "{\"Image\":\"busybox\",\"HostConfig\":{\"Network\u{212a}ode\":\"host\"}}",
        r#"{"Image":"busybox","Ho\u017ftConfig":{"Privileged":true}}"#,
        // A second value.
        r#"{"Image":"busybox"} {"HostConfig":{"Privileged":true}}"#,
        r#"{"Image":"busybox"}garbage"#,
        // Fields of the host outside of their object, and unknown ones.
        r#"{"Image":"busybox","Binds":["/:/h"]}"#,
        r#"{"Image":"busybox","HostConfig":{"BrandNew":true}}"#,
        r#"{"Image":"busybox","HostConfig":{"BrandNew":null}}"#,
        // Wrong types.
        r#"{"Image":"busybox","HostConfig":{"Memory":1e9}}"#,
        r#"{"Image":"busybox","HostConfig":{"Binds":"/:/h"}}"#,
        r#"["busybox"]"#,
        "",
    ] {
        refused(&guard, Rule::Body, "POST", CREATE, body);
    }
    // Escapes are decoded before keys are compared.
    refused(
        &guard,
        Rule::Privileged,
        "POST",
        CREATE,
        r#"{"Image":"busybox","Host\u0043onfig":{"Pri\u0076ileged":true}}"#,
    );
    assert!(
        ask(&guard, "POST", CREATE, "{\"Image\":\"busybox\",\"Host\\u0043onfig\":{\"Privileged\":false}}\n").is_ok()
    );
    let padded = format!(r#"{{"Image":"busybox","Env":["A={}"]}}"#, "x".repeat(3 << 20));
    assert!(ask(&guard, "POST", CREATE, &padded).is_ok(), "long bodies are read whole");
}

#[test]
fn forms_never_stand_for_a_query() {
    let guard = job(JOB, 41);
    for content_type in
        ["application/x-www-form-urlencoded", "Application/X-WWW-Form-URLEncoded; charset=x", "multipart/form-data"]
    {
        let headers = Headers { content_type: Some(content_type), ..Headers::default() };
        for (method, target) in [
            ("POST", "/images/busybox/tag?repo=ok&tag=1"),
            ("POST", "/containers/web/rename?name=ok"),
            ("POST", "/images/create?fromImage=busybox"),
            ("POST", "/build"),
            ("POST", CREATE),
            ("PUT", "/containers/web/archive?path=/"),
        ] {
            let refusal = read(&guard, method, target, headers, b"").unwrap_err();
            assert_eq!(refusal.rule, Rule::MediaType, "{method} {target}");
        }
    }
    refused(&guard, Rule::Body, "POST", "/containers/web/rename?name=ok", "name=evil");
    let renamed = ask(&guard, "POST", "/containers/web/rename?name=ok", "").unwrap();
    assert_eq!(renamed.call.path, format!("/containers/{OWN}/rename?name=longshore-guard-job1-ok"));
    // Docker's command line copies with this type.
    let headers = Headers { content_type: Some("text/plain"), ..Headers::default() };
    assert!(read(&guard, "PUT", "/containers/web/archive?path=%2F", headers, b"").is_ok());
    let encoded = Headers { content_encoding: Some("gzip"), ..Headers::default() };
    assert_eq!(read(&guard, "PUT", "/containers/web/archive?path=/", encoded, b"").unwrap_err().rule, Rule::MediaType);
}

#[test]
fn paths_versions_and_queries_have_one_spelling() {
    let guard = job(JOB, 41);
    for (method, target, rule) in [
        ("GET", "/images/..%2fcontainers/json", Rule::Syntax),
        ("GET", "//v1.41/containers/json", Rule::Syntax),
        ("GET", "/./containers/json", Rule::Syntax),
        ("GET", "/%2e%2e/containers/json", Rule::Syntax),
        ("GET", "/containers/json?all=1;filters=x", Rule::Syntax),
        ("GET", "/containers/json?all=1&all=0", Rule::Syntax),
        ("GET", "/containers/json?ALL=1", Rule::Syntax),
        ("GET", "/containers/json?all=maybe", Rule::Syntax),
        ("GET", "/containers/json?surprise=1", Rule::Syntax),
        ("GET", "/containers/json?filters={%22label%22:[%22x%22]}x", Rule::Body),
        ("POST", "/v1.18/containers/web/start", Rule::Version),
        ("GET", "/v1.99/containers/json", Rule::Version),
        ("GET", "/v1.42/containers/json", Rule::Version),
        ("get", "/containers/json", Rule::Route),
        ("OPTIONS", "/containers/json", Rule::Route),
        ("TRACE", "/containers/json", Rule::Route),
        ("PATCH", "/containers/json", Rule::Route),
        ("GET", "/containers/web/attach/ws", Rule::Route),
        ("POST", "/containers/web/copy", Rule::Route),
        ("POST", "/containers/web/checkpoints", Rule::Route),
        ("POST", "/commit", Rule::Route),
        ("GET", "/images/search", Rule::Route),
        ("POST", "/images/load?platform=linux", Rule::Syntax),
        ("GET", "/images/get", Rule::Route),
        ("GET", "/system/df", Rule::Route),
        ("GET", "/debug/pprof", Rule::Route),
        ("POST", "/session", Rule::Route),
        ("POST", "/grpc", Rule::Route),
        ("POST", "/build/prune", Rule::Route),
        ("POST", "/build/cancel", Rule::Route),
        ("POST", "/containers/prune", Rule::Route),
        ("POST", "/images/prune", Rule::Route),
        ("POST", "/volumes/prune", Rule::Route),
        ("POST", "/networks/prune", Rule::Route),
        ("PUT", "/volumes/data", Rule::Route),
        ("POST", "/swarm/init", Rule::Route),
        ("GET", "/services", Rule::Route),
        ("GET", "/secrets", Rule::Route),
        ("POST", "/plugins/pull", Rule::Route),
        ("GET", "/plugins/privileges", Rule::Route),
        ("GET", "/distribution/x/json", Rule::Route),
    ] {
        refused(&guard, rule, method, target, "");
    }
    // An old version started with another configuration. The start goes on in ours, and always empty.
    refused(&guard, Rule::Body, "POST", "/v1.41/containers/web/start", r#"{"Binds":["/:/h:ro"],"Privileged":true}"#);
    for target in ["/v1.41/containers/json", "/v1.32/containers/json", "/containers/json?all=True"] {
        assert!(ask(&guard, "GET", target, "").is_ok(), "{target}");
    }
    let list = ask(&guard, "GET", "/containers/json?filters=%7B%22label%22%3A%7B%22x%22%3Atrue%7D%7D", "").unwrap();
    assert_eq!(
        list.call.path,
        "/containers/json?filters=%7B%22label%22%3A%5B%22x%22%2C%22longshore.guard.scope%3Djob1%22%5D%7D"
    );
    let long = format!("/containers/json?filters={}", "x".repeat(1 << 20));
    refused(&guard, Rule::Limit, "GET", &long, "");
}
