//! Attacks of the kinds that the other files are about, in the forms in which they are known: each by its own rule,
//! beside what looks alike and is let through.

use longshore_guard::{Guard, Rule};

use crate::world::*;

#[test]
fn known_attacks_are_refused_by_the_rule_of_their_kind_and_what_looks_alike_is_not() {
    let guard = job(JOB, 41);
    for (rule, host) in [
        (Rule::Logging, r#"{"LogConfig":{"Type":"gelf","Config":{"gelf-address":"udp://127.0.0.1:1"}}}"#),
        (Rule::Logging, r#"{"LogConfig":{"Type":"awslogs","Config":{"awslogs-credentials-endpoint":"/x"}}}"#),
        (Rule::Logging, r#"{"LogConfig":{"Type":"splunk","Config":{"splunk-capath":"/etc/shadow"}}}"#),
        (Rule::Logging, r#"{"LogConfig":{"Type":"fluentd","Config":{}}}"#),
        (Rule::Logging, r#"{"LogConfig":{"Type":"json-file","Config":{"env-regex":".*"}}}"#),
        (Rule::Device, r#"{"DeviceRequests":[{"Driver":"nvidia","Count":-1,"Capabilities":[["gpu"]]}]}"#),
        (Rule::Runtime, r#"{"Runtime":"/usr/bin/env"}"#),
        (Rule::Runtime, r#"{"Annotations":{"io.katacontainers.config.hypervisor.path":"/x"}}"#),
        (Rule::Cgroup, r#"{"CgroupParent":"system.slice"}"#),
        (Rule::Cgroup, r#"{"CpusetCpus":"0"}"#),
        (Rule::Cgroup, r#"{"MemorySwappiness":0}"#),
        (Rule::Namespace, r#"{"NetworkMode":"container:"}"#),
        (Rule::Namespace, r#"{"PidMode":"container:"}"#),
        (Rule::Sysctl, r#"{"Sysctls":{"net.ipv4.ip_forward":"1"}}"#),
        (Rule::Hosts, r#"{"ExtraHosts":["a b:1.1.1.1"]}"#),
        (Rule::Hosts, r#"{"ExtraHosts":["x:host-gateway"]}"#),
        (Rule::Hosts, r#"{"Dns":["file:///etc/passwd"]}"#),
        (Rule::Hosts, r#"{"DnsSearch":["a\nnameserver 1.1.1.1"]}"#),
        (Rule::Mount, r#"{"Tmpfs":{"/proc":""}}"#),
        (Rule::Mount, r#"{"Tmpfs":{"/t":"nosuid,dev"}}"#),
    ] {
        host_refused(&guard, rule, host);
    }
    for host in [
        r#"{"LogConfig":{"Type":"local","Config":{"max-size":"1m"}}}"#,
        r#"{"DeviceRequests":[],"Annotations":{},"Runtime":"","CpusetCpus":"","MemorySwappiness":-1}"#,
        r#"{"NetworkMode":"container:web","PidMode":"container:web"}"#,
        r#"{"Sysctls":{"net.ipv4.ip_local_port_range":"1024 65535"},"ExtraHosts":["x:1.1.1.1"],"Dns":["1.1.1.1"],"DnsSearch":["a.b"]}"#,
        r#"{"Tmpfs":{"/t":"noexec,size=1m"}}"#,
    ] {
        host_allowed(&guard, host);
    }
    for (rule, method, target, body) in [
        (Rule::Volume, "POST", "/volumes/create", r#"{"Name":"v","DriverOpts":{"type":"cgroup2","device":"none"}}"#),
        (Rule::Volume, "POST", "/volumes/create", r#"{"Name":"v","DriverOpts":{"type":"devtmpfs","device":"none"}}"#),
        (Rule::Volume, "POST", "/volumes/create", r#"{"Name":"v","DriverOpts":{"type":"ext4","device":"/dev/sda1"}}"#),
        (Rule::Volume, "POST", "/volumes/create", r#"{"Name":"v","DriverOpts":{"type":"cifs","o":"addr=10.0.0.1"}}"#),
        (Rule::Volume, "POST", "/volumes/create", r#"{"Name":"v","DriverOpts":{"size":"1"}}"#),
        (Rule::Volume, "POST", "/volumes/create", r#"{"Name":"v","ClusterVolumeSpec":{"Group":"x"}}"#),
        (Rule::Route, "PUT", "/volumes/data", r#"{"Spec":{}}"#),
        (Rule::Network, "POST", "/networks/create", r#"{"Name":"n","IPAM":{"Config":[{"Subnet":"10.0.0.0/8"}]}}"#),
        (Rule::Network, "POST", "/networks/create", r#"{"Name":"n","IPAM":{"Driver":"dhcp"}}"#),
        (
            Rule::Network,
            "POST",
            "/networks/own-net/connect",
            r#"{"Container":"web","EndpointConfig":{"IPAMConfig":{"LinkLocalIPs":["169.254.169.254"]}}}"#,
        ),
        (Rule::Route, "GET", "/images/busybox/attestations", ""),
        (Rule::Route, "GET", "/images/busybox/get", ""),
        (Rule::Route, "GET", "/images/get", ""),
        // The beginning of an id that is not the job's own, down to one digit.
        (Rule::Foreign, "GET", "/containers/d/json", ""),
        (Rule::Foreign, "POST", "/containers/dd/kill", ""),
        (Rule::Foreign, "DELETE", "/networks/d", ""),
    ] {
        refused(&guard, rule, method, target, body);
    }
    for (method, target, body) in [
        ("GET", "/containers/c/json", ""),
        (
            "POST",
            "/networks/own-net/connect",
            r#"{"Container":"web","EndpointConfig":{"IPAMConfig":{"LinkLocalIPs":[]}}}"#,
        ),
        ("POST", "/networks/create", r#"{"Name":"n","IPAM":{"Driver":"default","Config":[]}}"#),
    ] {
        assert!(ask(&guard, method, target, body).is_ok(), "{method} {target} {body}");
    }
}

#[test]
fn no_container_takes_longer_to_stop_than_a_minute() {
    let guard = job(JOB, 41);
    let create = |guard: &Guard, more: &str| {
        let body = format!(r#"{{"Image":"busybox"{more}}}"#);
        json(&ask(guard, "POST", "/containers/create", &body).unwrap().call)["StopTimeout"].clone()
    };
    assert_eq!(create(&guard, r#","StopTimeout":1000000"#), 60);
    assert_eq!(create(&guard, r#","StopTimeout":5"#), 5);
    let stop = |seconds| ask(&guard, "POST", &format!("/containers/web/stop?t={seconds}"), "").unwrap().call.path;
    assert!(stop("1000000").ends_with("?t=60") && stop("5").ends_with("?t=5"));
}
