//! Networks: only the job's own, and none that reaches the host's.

use longshore_guard::{Decision, Guard, Local, Rule};
use serde_json::json;

use super::CREATE;
use crate::world::*;

#[test]
fn networks_are_the_jobs_own() {
    let guard = job(JOB, 41);
    for (rule, host) in [
        (Rule::Foreign, r#"{"NetworkMode":"victim-net"}"#),
        (Rule::Foreign, r#"{"NetworkMode":"container:longshore"}"#),
        (Rule::Foreign, r#"{"Links":["victim:x"]}"#),
        (Rule::Publish, r#"{"PortBindings":{"22/tcp":[{"HostIp":"","HostPort":"22"}]}}"#),
        (Rule::Publish, r#"{"PortBindings":{"80/tcp":[{"HostIp":"::","HostPort":""}]}}"#),
        (Rule::Publish, r#"{"PublishAllPorts":true}"#),
        (Rule::Hosts, r#"{"ExtraHosts":["host.docker.internal:host-gateway"]}"#),
        (Rule::Hosts, r#"{"ExtraHosts":["a:b"]}"#),
        (Rule::Hosts, r#"{"Dns":["x"]}"#),
    ] {
        host_refused(&guard, rule, host);
    }
    for (rule, rest) in [
        // What is in EndpointsConfig is joined, whatever NetworkMode says.
        (
            Rule::Foreign,
            r#""HostConfig":{"NetworkMode":"none"},"NetworkingConfig":{"EndpointsConfig":{"victim-net":{}}}"#,
        ),
        (Rule::Foreign, r#""NetworkingConfig":{"EndpointsConfig":{"victim-net":{}}}"#),
        (Rule::Network, r#""HostConfig":{"NetworkMode":"none"},"NetworkingConfig":{"EndpointsConfig":{"own-net":{}}}"#),
        (
            Rule::Network,
            r#""HostConfig":{"NetworkMode":"default"},"NetworkingConfig":{"EndpointsConfig":{"own-net":{}}}"#,
        ),
        (
            Rule::Network,
            r#""HostConfig":{"NetworkMode":"container:web"},"NetworkingConfig":{"EndpointsConfig":{"own-net":{}}}"#,
        ),
        (
            Rule::Network,
            r#""NetworkingConfig":{"EndpointsConfig":{"default":{"IPAMConfig":{"IPv4Address":"172.17.0.1"}}}}"#,
        ),
        (Rule::Network, r#""NetworkingConfig":{"EndpointsConfig":{"default":{"MacAddress":"02:42:ac:11:00:02"}}}"#),
        (Rule::Network, r#""NetworkingConfig":{"EndpointsConfig":{"default":{"DriverOpts":{"a":"b"}}}}"#),
        (Rule::Foreign, r#""NetworkingConfig":{"EndpointsConfig":{"default":{"Links":["victim:x"]}}}"#),
        (Rule::Network, r#""MacAddress":"02:42:ac:11:00:02""#),
    ] {
        refused(&guard, rule, "POST", CREATE, &format!(r#"{{"Image":"busybox",{rest}}}"#));
    }
    let create = |rest: &str| {
        let body = format!(r#"{{"Image":"busybox",{rest}}}"#);
        json(&ask(&guard, "POST", "/containers/create?name=db", &body).unwrap_or_else(|r| panic!("{rest}: {r}")).call)
    };
    let on_default = create(
        r#""HostConfig":{"NetworkMode":"default"},"NetworkingConfig":{"EndpointsConfig":{"default":{"Aliases":null,"GwPriority":0,"DNSNames":null}}}"#,
    );
    assert_eq!(on_default["HostConfig"]["NetworkMode"], NET);
    assert_eq!(on_default["NetworkingConfig"]["EndpointsConfig"], json!({ NET: { "Aliases": ["db"] } }));
    let on_own = create(
        r#""HostConfig":{"NetworkMode":"own-net","Links":["web:w"]},"NetworkingConfig":{"EndpointsConfig":{"own-net":{"Aliases":["database"],"IPAMConfig":{"IPv4Address":"172.30.0.9"}}}}"#,
    );
    assert_eq!(
        on_own["NetworkingConfig"]["EndpointsConfig"],
        json!({ OWN_NET: { "Aliases": ["database", "db"], "Links": [format!("{OWN}:w")], "IPAMConfig": {"IPv4Address": "172.30.0.9"} } })
    );
    assert_eq!(
        create(r#""HostConfig":{"NetworkMode":"none"},"NetworkingConfig":{"EndpointsConfig":{"none":{}}}"#)["HostConfig"]
            ["NetworkMode"],
        "none"
    );
    assert_eq!(
        create(r#""HostConfig":{"NetworkMode":"container:web"}"#)["HostConfig"]["NetworkMode"],
        format!("container:{OWN}")
    );
    let in_sandbox = format!("\"sandbox\":\"{VICTIM}\",\"gateway\":\"172.30.0.2\",\"build\"");
    let sandboxed = job(&JOB.replacen("\"build\"", &in_sandbox, 1), 41);
    let body = host_allowed(
        &sandboxed,
        r#"{"PortBindings":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}]},"PublishAllPorts":true,"ExtraHosts":["h:host-gateway"]}"#,
    );
    let host = &body["HostConfig"];
    assert!(host["PortBindings"].is_null() && host["PublishAllPorts"].is_null(), "the host publishes nothing: {host}");
    assert_eq!(host["ExtraHosts"], json!(["h:172.30.0.2"]));
    for ports in [r#"{"53/sctp":[{}]}"#, r#"{"80-90/tcp":[{}]}"#, r#"{"80/tcp":[{"HostPort":"9-8"}]}"#] {
        host_refused(&sandboxed, Rule::Publish, &format!(r#"{{"PortBindings":{ports}}}"#));
    }
    host_refused(&sandboxed, Rule::Publish, r#"{"NetworkMode":"container:web","PortBindings":{"80/tcp":[{}]}}"#);
    let body =
        host_allowed(&sandboxed, r#"{"PortBindings":{"53/tcp":[{"HostPort":"53"}],"53/udp":[{"HostPort":"53"}]}}"#);
    assert!(body["HostConfig"]["PortBindings"].is_null(), "the host publishes nothing: {body}");
}

#[test]
fn networks_that_reach_the_hosts_are_not_made() {
    let guard = job(JOB, 41);
    for (rule, body) in [
        (Rule::Network, r#"{"Name":"n","Driver":"macvlan","Options":{"parent":"eth0"}}"#),
        (Rule::Network, r#"{"Name":"n","Driver":"ipvlan"}"#),
        (Rule::Network, r#"{"Name":"n","Driver":"host"}"#),
        (Rule::Network, r#"{"Name":"n","Driver":"overlay"}"#),
        (Rule::Network, r#"{"Name":"n","Options":{"com.docker.network.bridge.name":"docker0"}}"#),
        (Rule::Network, r#"{"Name":"n","Options":{"com.docker.network.bridge.host_binding_ipv4":"0.0.0.0"}}"#),
        (Rule::Network, r#"{"Name":"n","Options":{"com.docker.network.bridge.gateway_mode_ipv4":"nat-unprotected"}}"#),
        (Rule::Network, r#"{"Name":"n","Options":{"com.docker.network.bridge.trusted_host_interfaces":"eth0"}}"#),
        (Rule::Network, r#"{"Name":"n","Options":{"com.docker.network.container_iface_prefix":"x"}}"#),
        (Rule::Network, r#"{"Name":"n","IPAM":{"Config":[{"Subnet":"169.254.169.0/24"}]}}"#),
        (Rule::Network, r#"{"Name":"n","IPAM":{"Driver":"evil"}}"#),
        (Rule::Network, r#"{"Name":"n","Ingress":true}"#),
        (Rule::Network, r#"{"Name":"n","ConfigOnly":true}"#),
        (Rule::Network, r#"{"Name":"n","ConfigFrom":{"Network":"x"}}"#),
        (Rule::Network, r#"{"Name":"n","Scope":"swarm"}"#),
        (Rule::Name, r#"{"Name":"longshore-x"}"#),
        (Rule::Name, &format!(r#"{{"Name":"{VICTIM}"}}"#)),
        (Rule::Label, r#"{"Name":"n","Labels":{"longshore.instance":"x"}}"#),
    ] {
        refused(&guard, rule, "POST", "/networks/create", body);
    }
    for (method, target, body) in [
        ("GET", "/networks/victim", ""),
        ("GET", "/networks/host", ""),
        ("DELETE", "/networks/victim", ""),
        ("DELETE", "/networks/bridge", ""),
        ("DELETE", &format!("/networks/{NET}"), ""),
        ("POST", "/networks/victim/connect", r#"{"Container":"web"}"#),
        ("POST", "/networks/own-net/connect", r#"{"Container":"victim"}"#),
        ("POST", "/networks/bridge/disconnect", r#"{"Container":"victim","Force":true}"#),
    ] {
        refused(&guard, Rule::Foreign, method, target, body);
    }
    // What the command line sends for `docker network create n`.
    let made = ask(
        &guard,
        "POST",
        "/networks/create",
        r#"{"Driver":"bridge","Scope":"","IPAM":{"Driver":"default","Options":{},"Config":[]},"Internal":false,"Attachable":false,"Ingress":false,"ConfigOnly":false,"ConfigFrom":null,"Options":{"com.docker.network.driver.mtu":"1400"},"Labels":{},"Name":"n","CheckDuplicate":true,"EnableIPv6":false}"#,
    )
    .unwrap();
    assert_eq!(json(&made.call)["Name"], "longshore-guard-job1-n");
    assert!(matches!(
        decide(&guard, "POST", "/networks/create", r#"{"Name":"own-net"}"#),
        Ok(Decision::Answer(Local::Json { status: 409, .. }))
    ));
    let connected = ask(
        &guard,
        "POST",
        "/networks/own-net/connect",
        r#"{"Container":"web","EndpointConfig":{"IPAMConfig":{},"Links":null,"Aliases":["w"],"DriverOpts":{}}}"#,
    )
    .unwrap();
    assert_eq!(json(&connected.call), json!({"Container": OWN, "EndpointConfig": {"Aliases": ["w", "web"]}}));
    assert_eq!(ask(&guard, "GET", "/networks/bridge", "").unwrap().call.path, format!("/networks/{NET}"));
}

#[test]
fn networks_of_a_job_have_its_subnets_and_give_them_back() {
    let policy =
        JOB.replacen(r#""scope":"job1","#, r#""scope":"job1","subnets":["198.18.0.32/27","198.18.0.64/27"],"#, 1);
    // It has made a network already.
    let mut guard = job(&policy, 41);
    let create = |guard: &Guard| ask(guard, "POST", "/networks/create", r#"{"Name":"n"}"#).unwrap();
    let second = create(&guard);
    assert_eq!(json(&second.call)["IPAM"]["Config"], json!([{"Subnet":"198.18.0.64/27"}]));
    guard.settle(&second.effect, true, Some(VICTIM));
    let other = r#"{"Name":"other"}"#;
    let third = ask(&guard, "POST", "/networks/create", other).unwrap();
    assert_eq!(json(&third.call)["IPAM"], json!(null), "the engine chooses");
    let removed = ask(&guard, "DELETE", "/networks/own-net", "").unwrap();
    guard.settle(&removed.effect, true, None);
    let again = ask(&guard, "POST", "/networks/create", other).unwrap();
    assert_eq!(json(&again.call)["IPAM"]["Config"], json!([{"Subnet":"198.18.0.32/27"}]));
    refused(
        &guard,
        Rule::Network,
        "POST",
        "/networks/create",
        r#"{"Name":"m","IPAM":{"Config":[{"Subnet":"198.18.0.32/27"}]}}"#,
    );
}
