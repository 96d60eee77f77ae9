//! Volumes that are an overlay over other volumes.

use longshore_guard::Rule;
use serde_json::json;

use super::*;

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
