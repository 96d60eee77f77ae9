//! Objects of others, and names that could stand for them.

use longshore_guard::Rule;
use serde_json::json;

use super::CREATE;
use crate::world::*;

#[test]
fn objects_of_others_are_not_there() {
    let guard = job(JOB, 41);
    for reference in ["longshore", "victim", VICTIM, &VICTIM[..12], "d", "%64"] {
        for (method, rest, body) in [
            ("GET", "/json", ""),
            ("GET", "/logs?stdout=1", ""),
            ("GET", "/top", ""),
            ("GET", "/archive?path=/root", ""),
            ("HEAD", "/archive?path=/root", ""),
            ("PUT", "/archive?path=/root", ""),
            ("GET", "/export", ""),
            ("GET", "/changes", ""),
            ("GET", "/stats", ""),
            ("POST", "/exec", r#"{"Cmd":["id"]}"#),
            ("POST", "/attach?stream=1", ""),
            ("POST", "/update", r#"{"Memory":1}"#),
            ("POST", "/start", ""),
            ("POST", "/stop", ""),
            ("POST", "/kill", ""),
            ("POST", "/wait", ""),
            ("POST", "/rename?name=x", ""),
            ("DELETE", "?force=1", ""),
        ] {
            refused(&guard, Rule::Foreign, method, &format!("/containers/{reference}{rest}"), body);
        }
    }
    refused(&guard, Rule::Syntax, "GET", "/containers/%2Fweb/json", "");
    for (method, target, body) in [
        ("POST", format!("/exec/{VICTIM}/start"), "{}"),
        ("GET", format!("/exec/{}/json", &EXEC[..12]), ""),
        ("POST", format!("/exec/{VICTIM}/resize?h=1&w=1"), ""),
        ("GET", "/images/secret/json".to_owned(), ""),
        ("GET", format!("/images/sha256:{VICTIM}/json"), ""),
        ("GET", "/images/secret/history".to_owned(), ""),
        ("DELETE", "/images/secret?force=1".to_owned(), ""),
        ("DELETE", format!("/images/sha256:{VICTIM}"), ""),
        ("POST", "/images/secret/tag?repo=mine".to_owned(), ""),
    ] {
        refused(&guard, Rule::Foreign, method, &target, body);
    }
    // An image that another client pulled is not there to start from either.
    refused(&guard, Rule::Foreign, "POST", CREATE, r#"{"Image":"registry.example.com/private:1"}"#);
    // Own ones are, by name, by id, and by the start of an id; and go on by the whole id alone.
    for reference in ["web", OWN, &OWN[..12], "c"] {
        let inspected = ask(&guard, "GET", &format!("/containers/{reference}/json"), "").unwrap();
        assert_eq!(inspected.call.path, format!("/containers/{OWN}/json"));
    }
    assert_eq!(
        ask(&guard, "POST", &format!("/exec/{EXEC}/start"), r#"{"Detach":false,"Tty":false}"#).unwrap().call.path,
        format!("/exec/{EXEC}/start")
    );
}

#[test]
fn no_name_can_stand_for_anothers() {
    let guard = job(JOB, 41);
    let short = &VICTIM[..12];
    for name in [short, VICTIM, "longshore", "longshore-job-1", "LONGSHORE-x", "a%2Fb", "%00", "-f"] {
        let refusal = decide(&guard, "POST", &format!("{CREATE}?name={name}"), r#"{"Image":"busybox"}"#).unwrap_err();
        assert!(matches!(refusal.rule, Rule::Name | Rule::Syntax), "{name}: {refusal}");
        let refusal = decide(&guard, "POST", &format!("/containers/web/rename?name={name}"), "").unwrap_err();
        assert!(matches!(refusal.rule, Rule::Name | Rule::Syntax), "{name}: {refusal}");
    }
    for labels in
        [r#"{"longshore.guard.scope":"job2"}"#, r#"{"longshore.instance":"x"}"#, r#"{"LONGSHORE.kind":"job"}"#]
    {
        refused(&guard, Rule::Label, "POST", CREATE, &format!(r#"{{"Image":"busybox","Labels":{labels}}}"#));
    }
    let made = ask(
        &guard,
        "POST",
        "/containers/create?name=8f2a_web_1",
        r#"{"Image":"busybox","Labels":{"com.docker.compose.project":"p"}}"#,
    )
    .unwrap();
    assert!(made.call.path.ends_with("?name=longshore-guard-job1-8f2a_web_1"), "{}", made.call.path);
    assert_eq!(
        json(&made.call)["Labels"],
        json!({"com.docker.compose.project":"p","longshore.guard.scope":"job1","longshore.guard.name":"8f2a_web_1"})
    );
}

#[test]
fn a_reason_cannot_forge_a_line_of_a_log() {
    let guard = job(JOB, 41);
    let refusal =
        decide(&guard, "GET", "/containers/json?filters=%7B%22a%5Cn%5Cu202e%5Cu001b%5B31m%22%3A%5B%5D%7D", "")
            .unwrap_err();
    assert!(!refusal.reason.contains(|c: char| c.is_control() || c == '\u{202e}'), "{refusal:?}");
    assert!(refusal.body().starts_with(r#"{"message":"longshore guard: "#));
    let secret = decide(&guard, "POST", CREATE, r#"{"Image":"busybox","Env":["TOKEN=hunter2",1]}"#).unwrap_err();
    assert!(!secret.reason.contains("hunter2"), "{secret}");
}
