//! The server's guard: what the executor asks for is let through, and nothing that would make code in the server's process more
//! than the executor.

use longshore_guard::{Decision, Guard, Policy, Rule, Table};
use serde_json::json;

use crate::world::*;

const POLICY: &str = r#"{"server":{"instance":"abc123"}}"#;
const LABELS: &str = r#"{"longshore.instance":"abc123","longshore.kind":"job"}"#;

fn server() -> Guard {
    let mut guard = Guard::new(Policy::parse(POLICY).unwrap(), facts(41), Table::default());
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
        ("POST", "/images/create?fromSrc=-&changes=LABEL+longshore.agent%3D0123&changes=ENTRYPOINT+%5B%22%2F.longshore%2Flongshore%22%5D".to_owned(), ""),
        ("POST", "/images/create?fromSrc=-&changes=LABEL%20longshore.agent%3D0123%0ALABEL%20longshore.kind%3Dagent".to_owned(), ""),
        ("POST", format!("/images/sha256:{IMAGE}/tag?repo=longshore-agent&tag=0123456789ab"), ""),
        ("DELETE", "/images/longshore-agent:0123456789ab".to_owned(), ""),
        ("GET", "/networks/longshore-abc123".to_owned(), ""),
        ("DELETE", "/networks/longshore-abc123".to_owned(), ""),
        ("GET", "/volumes/longshore-agent-0123456789ab".to_owned(), ""),
        ("DELETE", "/volumes/longshore-job-abc-1".to_owned(), ""),
    ] {
        assert!(ask(&guard, method, &target, body).is_ok(), "{method} {target}: {:?}", decide(&guard, method, &target, body));
    }
    // Another server's volume may have such a name: the engine is asked first.
    assert_eq!(made.only_own.unwrap().volumes, ["longshore-job-abc-1"]);
    assert!(ask(&guard, "DELETE", "/volumes/longshore-job-abc-1", "").unwrap().only_own.is_some());
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
        (Rule::Server, "DELETE", "/images/node:22", ""),
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
