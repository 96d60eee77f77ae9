//! Requests that the engine could read differently than the guard.

use longshore_guard::{Decision, Headers, Rule};
use serde_json::json;

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
    for content_type in [
        "application/x-www-form-urlencoded",
        "Application/X-WWW-Form-URLEncoded; charset=x",
        "multipart/form-data",
        "application/json,multipart/form-data",
    ] {
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
    // And bollard with two.
    let headers = Headers { content_type: Some("application/x-tar,application/json"), ..Headers::default() };
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
        ("POST", "/build/cancel", Rule::Route),
        ("POST", "/containers/prune?filters=%7B%22until%22%3A%5B%221h%22%5D%7D", Rule::Body),
        ("POST", "/plugins/prune", Rule::Route),
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

#[test]
fn what_dockerode_writes_twice_is_read_once() {
    let guard = job(JOB, 41);
    // It puts every field of the body into the query, lists as repeated parameters.
    let query = "name=db&Image=busybox&Cmd=sleep&Cmd=60&HostConfig=%7B%22Memory%22%3A8388608%7D";
    let body = r#"{"name":"db","Image":"busybox","Cmd":["sleep","60"],"HostConfig":{"Memory":8388608}}"#;
    let created = ask(&guard, "POST", &format!("/containers/create?{query}"), body).unwrap();
    assert_eq!(created.call.path, "/containers/create?name=longshore-guard-job1-db");
    assert!(ask(&guard, "POST", "/networks/create?Name=n&Internal=true", r#"{"Name":"n","Internal":true}"#).is_ok());
    assert!(ask(&guard, "POST", "/volumes/create?Name=v", r#"{"Name":"v"}"#).is_ok());
    // And the query into the body of requests that have none.
    let kill = ask(&guard, "POST", "/containers/web/kill?signal=TERM", r#"{"signal":"KILL"}"#).unwrap();
    assert_eq!(kill.call.path, format!("/containers/{OWN}/kill?signal=TERM"));
    let attach = "/containers/web/attach?stream=true&stdin=true&stdout=true&hijack=true";
    let body = r#"{"stream":true,"stdin":true,"stdout":true,"hijack":true}"#;
    assert!(ask(&guard, "POST", attach, body).is_ok());
    // Nothing else is in only one of them.
    for (rule, target, body) in [
        (Rule::Syntax, "/containers/create?name=db&HostConfig=x", r#"{"Image":"busybox"}"#),
        (Rule::Syntax, "/containers/create?name=db&name=web&Image=x", r#"{"Image":"busybox"}"#),
        (Rule::Syntax, "/containers/create?Image=x&Image=y", ""),
        (
            Rule::Privileged,
            "/containers/create?HostConfig=%7B%7D",
            r#"{"Image":"busybox","HostConfig":{"Privileged":true}}"#,
        ),
        (Rule::Body, "/containers/web/kill?signal=TERM", r#"{"signal":"TERM","Binds":["/:/h"]}"#),
        (Rule::Body, "/containers/web/start", r#"{"Binds":["/:/h"]}"#),
        (Rule::Syntax, "/containers/web/start?Binds=x", r#"{"Binds":["/:/h"]}"#),
        (Rule::Body, "/containers/web/kill?signal=TERM", r#"{"signal":"TERM"}{"signal":"KILL"}"#),
    ] {
        refused(&guard, rule, "POST", target, body);
    }
    // docker-java's spelling of one key.
    assert!(ask(&guard, "POST", "/networks/create", r#"{"Name":"n","enableIPv6":false}"#).is_ok());
    for body in [r#"{"Name":"n","enableIPv6":true}"#, r#"{"Name":"n","EnableIPv6":false,"enableIPv6":true}"#] {
        refused(&guard, Rule::Network, "POST", "/networks/create", body);
    }
}

#[test]
fn a_prune_takes_what_is_the_jobs_own_and_nothing_that_somebody_is_on() {
    let guard = job(JOB, 41);
    let list = |target: &str, listed: &serde_json::Value| match decide(&guard, "POST", target, "") {
        Ok(Decision::Prune(prune)) => (prune.list.clone(), guard.prunable(&prune, listed)),
        other => panic!("{target}: {other:?}"),
    };
    let listed = json!([{ "Id": OWN }, { "Id": VICTIM }, { "Id": OWN_NET }, { "Id": NET }]);
    let (path, containers) = list("/containers/prune?filters=%7B%22label%22%3A%5B%22a%22%5D%7D", &listed);
    assert!(path.contains("%22a%22%2C%22longshore.guard.scope%3Djob1%22") && path.contains("exited"), "{path}");
    assert_eq!(containers.iter().map(|(shown, _)| shown.as_str()).collect::<Vec<_>>(), [OWN]);
    assert_eq!(containers[0].1.call.path, format!("/containers/{OWN}?v=1"), "one that runs again stays");
    let (_, networks) = list("/networks/prune", &listed);
    assert_eq!(networks.iter().map(|(shown, _)| shown.as_str()).collect::<Vec<_>>(), ["own-net"]);
    let check = &networks[0].1.checks[0];
    assert!(check.judge(Some(&json!({ "Containers": {} }))).is_ok());
    assert!(check.judge(Some(&json!({ "Containers": { OWN: {} } }))).is_err());
    let volumes = json!({ "Volumes": [{ "Name": "longshore-guard-job1-data" }, { "Name": "data" }, { "Name": "longshore-guard-job2-data" }] });
    let (path, removed) = list("/volumes/prune", &volumes);
    assert!(path.contains("dangling"), "{path}");
    assert_eq!(removed.iter().map(|(shown, _)| shown.as_str()).collect::<Vec<_>>(), ["data"]);
    // Newer engines leave volumes with names, unless all are asked for.
    let newer = job(JOB, 45);
    for (target, count) in [("/volumes/prune", 0), ("/volumes/prune?filters=%7B%22all%22%3A%5B%221%22%5D%7D", 1)] {
        let Ok(Decision::Prune(prune)) = decide(&newer, "POST", target, "") else { panic!("{target}") };
        assert_eq!(newer.prunable(&prune, &volumes).len(), count, "{target}");
    }
    for target in ["/images/prune", "/build/prune"] {
        assert!(matches!(decide(&guard, "POST", target, ""), Ok(Decision::Answer(_))), "{target}");
    }
}
