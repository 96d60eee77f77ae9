//! Attacks on a job's guard, each with its legitimate twin.

use longshore_guard::{Check, Decision, Headers, Local, Rule};
use serde_json::json;

use crate::world::*;

const CREATE: &str = "/v1.41/containers/create";

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
    let padded = format!(r#"{{"Image":"busybox","Cmd":["{}"]}}"#, "x".repeat(3 << 20));
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
        ("POST", "/images/load", Rule::Route),
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

#[test]
fn nothing_of_the_host_is_mounted_and_the_workspace_is() {
    let guard = job(JOB, 41);
    for (rule, host) in [
        (Rule::HostPath, r#"{"Binds":["/:/h"]}"#),
        (Rule::HostPath, r#"{"Binds":["/etc/../:/h"]}"#),
        (Rule::HostPath, r#"{"Binds":["/var/run/docker.sock:/var/run/docker.sock"]}"#),
        (Rule::HostPath, r#"{"Binds":["/longshore/workspace/../x:/h"]}"#),
        (Rule::HostPath, r#"{"Binds":["/longshore/workspacex:/h"]}"#),
        (Rule::HostPath, r#"{"Mounts":[{"Type":"bind","Source":"/","Target":"/h"}]}"#),
        (Rule::HostPath, r#"{"Mounts":[{"Type":"bind","Source":"relative","Target":"/h"}]}"#),
        (Rule::Mount, r#"{"Mounts":[{"Type":"npipe","Source":"/","Target":"/h"}]}"#),
        (Rule::Mount, r#"{"Mounts":[{"Type":"image","Source":"busybox","Target":"/h"}]}"#),
        (Rule::Mount, r#"{"Mounts":[{"Type":"cluster","Source":"x","Target":"/h"}]}"#),
        (Rule::Mount, r#"{"Mounts":[{"Type":"BIND","Source":"/","Target":"/h"}]}"#),
        (
            Rule::Volume,
            r#"{"Mounts":[{"Type":"volume","Target":"/v","VolumeOptions":{"DriverConfig":{"Name":"local","Options":{"type":"none","o":"bind","device":"/etc"}}}}]}"#,
        ),
        (
            Rule::Volume,
            r#"{"Mounts":[{"Type":"volume","Source":"x","Target":"/v","VolumeOptions":{"DriverConfig":{"Name":"local","Options":{"type":"overlay","o":"lowerdir=/etc:/usr","device":"overlay"}}}}]}"#,
        ),
        (
            Rule::Volume,
            r#"{"Mounts":[{"Type":"volume","Source":"x","Target":"/v","VolumeOptions":{"DriverConfig":{"Name":"sshfs"}}}]}"#,
        ),
        (
            Rule::Volume,
            r#"{"Mounts":[{"Type":"volume","Source":"data","Target":"/v","VolumeOptions":{"Subpath":"../other"}}]}"#,
        ),
        (
            Rule::Volume,
            r#"{"Mounts":[{"Type":"volume","Source":"data","Target":"/v","VolumeOptions":{"Subpath":"a/../../b"}}]}"#,
        ),
        (
            Rule::Volume,
            r#"{"Mounts":[{"Type":"volume","Source":"data","Target":"/v","VolumeOptions":{"Subpath":"/etc"}}]}"#,
        ),
        (
            Rule::Mount,
            r#"{"Mounts":[{"Type":"bind","Source":"/longshore/workspace","Target":"/h","BindOptions":{"Propagation":"rshared"}}]}"#,
        ),
        (Rule::Mount, r#"{"Binds":["/longshore/workspace:/h:rshared"]}"#),
        (Rule::Mount, r#"{"Binds":["data:/proc"]}"#),
        (Rule::Volume, r#"{"VolumeDriver":"sshfs"}"#),
        (Rule::Name, r#"{"Binds":["longshore-job-2-1:/x"]}"#),
        (Rule::Name, r#"{"Mounts":[{"Type":"volume","Source":"longshore-data","Target":"/x"}]}"#),
        (Rule::Name, r#"{"Binds":["0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef:/x"]}"#),
        (Rule::Mount, r#"{"Tmpfs":{"/t":"size=1g,suid"}}"#),
        (Rule::Mount, r#"{"Mounts":[{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"Options":[["suid"]]}}]}"#),
        (Rule::Foreign, r#"{"VolumesFrom":["longshore"]}"#),
        (Rule::Foreign, &format!(r#"{{"VolumesFrom":["{VICTIM}"]}}"#)),
        (Rule::HostPath, r#"{"ContainerIDFile":"/x"}"#),
        (Rule::Storage, r#"{"StorageOpt":{"size":"1T"}}"#),
        (Rule::Storage, r#"{"StorageOpt":{"x":"1T"}}"#),
    ] {
        host_refused(&guard, rule, host);
    }
    let body = host_allowed(
        &guard,
        r#"{"Binds":["/longshore/workspace:/src:ro","data:/data"],"VolumesFrom":["web:ro"],"Tmpfs":{"/t":"size=8m"}}"#,
    );
    let mounts = &body["HostConfig"]["Mounts"];
    assert_eq!(
        mounts[0],
        json!({"Type":"volume","Source":"longshore-job-1-workspace","Target":"/src","ReadOnly":true,"VolumeOptions":{"NoCopy":true}})
    );
    assert_eq!(
        (&mounts[1]["Source"], &mounts[1]["VolumeOptions"]["Labels"]["longshore.guard.scope"]),
        (&json!("longshore-guard-job1-data"), &json!("job1"))
    );
    assert_eq!(body["HostConfig"]["VolumesFrom"], json!([format!("{OWN}:ro")]));
    assert_eq!(body["HostConfig"]["Tmpfs"], json!({"/t":"size=8m,nosuid,nodev"}));
    assert!(body["HostConfig"].get("Binds").is_none());
    // A folder of the workspace, where the engine can, and a reason where it cannot.
    host_refused(&guard, Rule::HostPath, r#"{"Binds":["/longshore/workspace/sub:/src"]}"#);
    let newer = job(JOB, 45);
    let body =
        host_allowed(&newer, r#"{"Mounts":[{"Type":"bind","Source":"/longshore/workspace/sub/","Target":"/src"}]}"#);
    assert_eq!(body["HostConfig"]["Mounts"][0]["VolumeOptions"]["Subpath"], "sub");
}

#[test]
fn volumes_have_no_options_that_mount_what_is_no_volume() {
    let guard = job(JOB, 41);
    for (rule, body) in [
        (Rule::Volume, r#"{"Name":"v","DriverOpts":{"type":"none","o":"bind","device":"/etc"}}"#),
        (Rule::Volume, r#"{"Name":"v","DriverOpts":{"type":"none","o":"rbind","device":"/"}}"#),
        (
            Rule::Volume,
            r#"{"Name":"v","Driver":"local","DriverOpts":{"type":"overlay","o":"lowerdir=/etc:/usr","device":"overlay"}}"#,
        ),
        (Rule::Volume, r#"{"Name":"v","DriverOpts":{"type":"sysfs","device":"sysfs"}}"#),
        (Rule::Volume, r#"{"Name":"v","DriverOpts":{"type":"nfs","o":"addr=127.0.0.1","device":":/"}}"#),
        (Rule::Volume, r#"{"Name":"v","Driver":"sshfs"}"#),
        (Rule::Body, r#"{"Name":"v","driveropts":{"type":"none"}}"#),
        (Rule::Name, r#"{"Name":"longshore-job-2"}"#),
        (Rule::Name, r#"{"Name":"../../x"}"#),
        (Rule::Label, r#"{"Name":"v","Labels":{"longshore.guard.scope":"job2"}}"#),
        (Rule::Label, r#"{"Name":"v","Labels":{"Longshore.Instance":"x"}}"#),
    ] {
        refused(&guard, rule, "POST", "/volumes/create", body);
    }
    for (method, target) in
        [("GET", "/volumes/victim"), ("DELETE", "/volumes/longshore-job-2"), ("DELETE", "/volumes/victim?force=1")]
    {
        refused(&guard, Rule::Foreign, method, target, "");
    }
    let made =
        ask(&guard, "POST", "/volumes/create", r#"{"Name":"v","Driver":"local","DriverOpts":{},"Labels":{"a":"b"}}"#)
            .unwrap();
    assert_eq!(json(&made.call)["Name"], "longshore-guard-job1-v");
    let removed = ask(&guard, "DELETE", "/volumes/data", "").unwrap();
    assert_eq!(removed.call.path, "/volumes/longshore-guard-job1-data");
}

#[test]
fn a_container_is_confined_whatever_it_asks_for() {
    let guard = job(JOB, 41);
    for (rule, host) in [
        (Rule::Privileged, r#"{"Privileged":true}"#),
        (Rule::Namespace, r#"{"PidMode":"host"}"#),
        (Rule::Foreign, &format!(r#"{{"PidMode":"container:{VICTIM}"}}"#)),
        (Rule::Namespace, r#"{"UTSMode":"host"}"#),
        (Rule::Namespace, r#"{"UsernsMode":"host"}"#),
        (Rule::Namespace, r#"{"IpcMode":"host"}"#),
        (Rule::Foreign, r#"{"IpcMode":"container:longshore"}"#),
        (Rule::Namespace, r#"{"CgroupnsMode":"host"}"#),
        (Rule::Namespace, r#"{"NetworkMode":"host"}"#),
        (Rule::Namespace, r#"{"NetworkMode":"ns:/proc/1/ns/net"}"#),
        (Rule::Cgroup, r#"{"Cgroup":"container:x"}"#),
        (Rule::Cgroup, r#"{"CgroupParent":"/"}"#),
        (Rule::Cgroup, r#"{"CgroupParent":"system.slice"}"#),
        (Rule::SecurityOption, r#"{"SecurityOpt":["seccomp=unconfined"]}"#),
        (Rule::SecurityOption, r#"{"SecurityOpt":["seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}"]}"#),
        (Rule::SecurityOption, r#"{"SecurityOpt":["apparmor:unconfined"]}"#),
        (Rule::SecurityOption, r#"{"SecurityOpt":["label=disable"]}"#),
        (Rule::SecurityOption, r#"{"SecurityOpt":["no-new-privileges=false"]}"#),
        (Rule::SecurityOption, r#"{"SecurityOpt":["writable-cgroups=true"]}"#),
        (Rule::SecurityOption, r#"{"SecurityOpt":["no-new-privileges","systempaths=unconfined"]}"#),
        (Rule::MaskedPath, r#"{"MaskedPaths":[]}"#),
        (Rule::MaskedPath, r#"{"ReadonlyPaths":[]}"#),
        (Rule::MaskedPath, r#"{"MaskedPaths":["/x"]}"#),
        (Rule::Runtime, r#"{"Runtime":"io.containerd.runc.v2"}"#),
        (Rule::Runtime, r#"{"Runtime":"/usr/bin/evil"}"#),
        (Rule::Runtime, r#"{"Isolation":"hyperv"}"#),
        (Rule::Runtime, r#"{"Annotations":{"a":"b"}}"#),
        (Rule::Sysctl, r#"{"Sysctls":{"kernel.core_pattern":"|/x"}}"#),
        (Rule::Sysctl, r#"{"Sysctls":{"kernel.shmmax":"1"}}"#),
        (Rule::Ulimit, r#"{"Ulimits":[{"Name":"memlock","Soft":-1,"Hard":-1}]}"#),
        (Rule::Ulimit, r#"{"Ulimits":[{"Name":"nofile","Soft":-1,"Hard":-1}]}"#),
        (Rule::Cgroup, r#"{"CpuRealtimeRuntime":1000}"#),
        (Rule::Group, r#"{"GroupAdd":["998"]}"#),
        (Rule::Capability, r#"{"CapAdd":["SYS_ADMIN"]}"#),
        (Rule::Capability, r#"{"CapAdd":["cap_sys_admin"]}"#),
        (Rule::Capability, r#"{"CapAdd":["ALL"]}"#),
        (Rule::Capability, r#"{"CapAdd":["NET_RAW"]}"#),
        (Rule::Capability, r#"{"Capabilities":["SYS_ADMIN"]}"#),
        (
            Rule::Device,
            r#"{"Devices":[{"PathOnHost":"/dev/sda","PathInContainer":"/dev/x","CgroupPermissions":"rwm"}]}"#,
        ),
        (Rule::Device, r#"{"DeviceCgroupRules":["b *:* rwm"]}"#),
        (Rule::Device, r#"{"DeviceRequests":[{"Driver":"cdi","DeviceIDs":["x"]}]}"#),
        (Rule::Device, r#"{"DeviceRequests":[{"Count":-1,"Capabilities":[["gpu"]]}]}"#),
        (Rule::Cgroup, r#"{"OomKillDisable":true}"#),
        (Rule::Cgroup, r#"{"OomScoreAdj":-1000}"#),
        (Rule::Cgroup, r#"{"MemorySwappiness":0}"#),
        (Rule::Cgroup, r#"{"BlkioWeight":10}"#),
        (Rule::Cgroup, r#"{"CpusetCpus":"0"}"#),
        (Rule::Logging, r#"{"LogConfig":{"Type":"syslog","Config":{"syslog-address":"tcp://127.0.0.1:1"}}}"#),
        (Rule::Logging, r#"{"LogConfig":{"Type":"journald"}}"#),
        (Rule::Logging, r#"{"LogConfig":{"Type":"json-file","Config":{"tag":"x"}}}"#),
    ] {
        host_refused(&guard, rule, host);
    }
    // Docker's command line sends every field, and means nothing by it.
    let body = host_allowed(
        &guard,
        r#"{"Binds":null,"ContainerIDFile":"","LogConfig":{"Type":"","Config":{}},"NetworkMode":"default","PortBindings":{},
        "RestartPolicy":{"Name":"always","MaximumRetryCount":0},"AutoRemove":true,"VolumeDriver":"","VolumesFrom":null,"ConsoleSize":[0,0],
        "CapAdd":["CHOWN"],"CapDrop":["kill"],"CgroupnsMode":"","Dns":[],"DnsOptions":[],"DnsSearch":[],"ExtraHosts":null,"GroupAdd":null,
        "IpcMode":"container:web","Cgroup":"","Links":null,"OomScoreAdj":0,"PidMode":"container:web","Privileged":false,"PublishAllPorts":false,
        "ReadonlyRootfs":false,"SecurityOpt":["no-new-privileges:true"],"UTSMode":"","UsernsMode":"","ShmSize":0,"Isolation":"","CpuShares":0,
        "Memory":0,"NanoCpus":0,"CgroupParent":"","BlkioWeight":0,"BlkioWeightDevice":[],"BlkioDeviceReadBps":[],"BlkioDeviceWriteBps":[],
        "BlkioDeviceReadIOps":[],"BlkioDeviceWriteIOps":[],"CpuPeriod":0,"CpuQuota":0,"CpuRealtimePeriod":0,"CpuRealtimeRuntime":0,
        "CpusetCpus":"","CpusetMems":"","Devices":[],"DeviceCgroupRules":null,"DeviceRequests":null,"MemoryReservation":0,"MemorySwap":0,
        "MemorySwappiness":-1,"OomKillDisable":false,"PidsLimit":0,"Ulimits":[{"Name":"nofile","Soft":1024,"Hard":2048}],"CpuCount":0,
        "CpuPercent":0,"IOMaximumIOps":0,"IOMaximumBandwidth":0,"MaskedPaths":null,"ReadonlyPaths":null,
        "Sysctls":{"net.core.somaxconn":"1024"}}"#,
    );
    let host = &body["HostConfig"];
    assert_eq!(host["SecurityOpt"], json!(["no-new-privileges"]));
    assert_eq!(host["CapDrop"], json!(["KILL", "NET_RAW", "MKNOD", "AUDIT_WRITE"]));
    assert_eq!(
        host["RestartPolicy"],
        json!({"Name":"on-failure","MaximumRetryCount":10}),
        "nothing outlives the job by itself"
    );
    assert_eq!(
        (&host["PidMode"], &host["IpcMode"]),
        (&json!(format!("container:{OWN}")), &json!(format!("container:{OWN}")))
    );
    assert_eq!(
        (&host["Memory"], &host["MemorySwap"], &host["PidsLimit"]),
        (&json!(256 << 20), &json!(256 << 20), &json!(512))
    );
    assert_eq!((&host["Privileged"], &host["OomScoreAdj"]), (&json!(false), &json!(500)));
    assert_eq!(host["LogConfig"], json!({"Type":"json-file","Config":{"max-size":"10m","max-file":"2"}}));
}

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
    for ports in [r#"{"53/udp":[{}]}"#, r#"{"80-90/tcp":[{}]}"#, r#"{"80/tcp":[{"HostPort":"9-8"}]}"#] {
        host_refused(&sandboxed, Rule::Publish, &format!(r#"{{"PortBindings":{ports}}}"#));
    }
    host_refused(&sandboxed, Rule::Publish, r#"{"NetworkMode":"container:web","PortBindings":{"80/tcp":[{}]}}"#);
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
fn an_exec_has_no_more_than_its_container() {
    let guard = job(JOB, 41);
    let exec = "/containers/web/exec";
    refused(&guard, Rule::Privileged, "POST", exec, r#"{"Cmd":["id"],"Privileged":true}"#);
    refused(&guard, Rule::Body, "POST", exec, r#"{"cmd":["id"],"privileged":true}"#);
    refused(&guard, Rule::Body, "POST", exec, r#"{"Cmd":["id"],"Privileged":false,"Privileged":true}"#);
    // docker-py's, with a key that only it sends.
    let made = ask(&guard, "POST", exec, r#"{"Container":"web","User":"","Privileged":false,"Tty":false,"AttachStdin":false,"AttachStdout":true,"AttachStderr":true,"Cmd":["id"],"Env":null}"#).unwrap();
    assert_eq!(
        json(&made.call),
        json!({"AttachStdin":false,"AttachStdout":true,"AttachStderr":true,"Tty":false,"Privileged":false,"Cmd":["id"]})
    );
}

#[test]
fn limits_only_become_smaller_and_the_budget_is_the_jobs() {
    let mut guard = job(JOB, 41);
    let update = "/containers/web/update";
    for (rule, body) in [
        (Rule::Budget, r#"{"Memory":1099511627776}"#),
        (Rule::Budget, r#"{"Memory":-1}"#),
        (Rule::Budget, r#"{"PidsLimit":-1}"#),
        (Rule::Budget, r#"{"NanoCpus":64000000000}"#),
        (Rule::Cgroup, r#"{"CpusetCpus":"0"}"#),
        (Rule::Cgroup, r#"{"Devices":[{"PathOnHost":"/dev/sda"}]}"#),
        (Rule::Body, r#"{"restartpolicy":{"Name":"always"}}"#),
    ] {
        refused(&guard, rule, "POST", update, body);
    }
    let updated = ask(&guard, "POST", update, r#"{"Memory":67108864,"RestartPolicy":{"Name":"always"}}"#).unwrap();
    assert_eq!(
        json(&updated.call),
        json!({"Memory":67108864,"MemorySwap":67108864,"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":10}})
    );
    for host in [
        r#"{"Memory":1099511627776}"#,
        r#"{"NanoCpus":99000000000}"#,
        r#"{"CpuQuota":9900000,"CpuPeriod":100000}"#,
        r#"{"PidsLimit":100000}"#,
        r#"{"ShmSize":1000000000000}"#,
        r#"{"MemoryReservation":1099511627776}"#,
    ] {
        host_refused(&guard, Rule::Budget, host);
    }
    assert_eq!(host_allowed(&guard, r#"{"CpuQuota":50000,"CpuPeriod":100000}"#)["HostConfig"]["NanoCpus"], 500_000_000);
    // Unlimited is what the job has, and not more.
    assert_eq!(host_allowed(&guard, r#"{"PidsLimit":-1,"MemorySwap":-1}"#)["HostConfig"]["PidsLimit"], 512);
    for at in 0..15 {
        let target = format!("{CREATE}?name=c-{at}");
        let forward = ask(&guard, "POST", &target, r#"{"Image":"busybox","HostConfig":{"Memory":8388608}}"#).unwrap();
        guard.settle(&forward.effect, true, Some(&format!("{at:064x}")));
    }
    host_refused(&guard, Rule::Budget, "{}");
    let removed = ask(&guard, "DELETE", &format!("/containers/{:064x}?force=1", 3), "").unwrap();
    assert!(removed.call.path.contains("v=1"), "anonymous volumes go too");
    guard.settle(&removed.effect, true, None);
    host_allowed(&guard, "{}");
}

#[test]
fn images_of_others_are_neither_taken_nor_replaced() {
    let guard = job(JOB, 41);
    // A tag is the job's own, whatever it is called: the engine's image of that name stays.
    let tagged = ask(&guard, "POST", "/images/busybox/tag?repo=alpine&tag=latest", "").unwrap();
    assert!(
        tagged.call.path.starts_with(&format!("/images/sha256:{IMAGE}/tag?repo=longshore-guard%2Fjob1&tag=")),
        "{}",
        tagged.call.path
    );
    for (rule, method, target) in [
        (Rule::Registry, "POST", "/images/create?fromImage=127.0.0.1:5000%2Ffoo"),
        (Rule::Registry, "POST", "/images/create?fromImage=169.254.169.254%2Ffoo"),
        (Rule::Registry, "POST", "/images/create?fromSrc=http%3A%2F%2F127.0.0.1%3A1%2F"),
        (Rule::Image, "POST", "/images/create?fromSrc=-"),
        (Rule::Image, "POST", "/images/create?fromSrc=-&repo=alpine"),
        (Rule::Image, "POST", "/images/create?fromImage=alpine&changes=ENV+x"),
        (Rule::Registry, "POST", "/images/busybox/push?tag=latest"),
        (Rule::Registry, "POST", "/images/evil.example.com/busybox/push?tag=latest"),
        (Rule::Foreign, "POST", "/images/ghcr.io/us/not-ours/push?tag=latest"),
    ] {
        refused(&guard, rule, method, target, "");
    }
    for server in ["http://127.0.0.1:5000", "evil.example.com", "https://169.254.169.254/v2/"] {
        refused(
            &guard,
            Rule::Registry,
            "POST",
            "/auth",
            &format!(r#"{{"username":"a","password":"b","serveraddress":"{server}"}}"#),
        );
    }
    let login = decide(
        &guard,
        "POST",
        "/auth",
        r#"{"username":"a","password":"b","serveraddress":"https://index.docker.io/v1/"}"#,
    );
    assert!(
        matches!(login, Ok(Decision::Answer(Local::Json { status: 200, .. }))),
        "the registry is not asked from the host"
    );
    let pulled = ask(&guard, "POST", "/images/create?fromImage=ghcr.io%2Fa%2Fb&tag=1", "").unwrap();
    assert_eq!(pulled.call.path, "/images/create?fromImage=ghcr.io%2Fa%2Fb&tag=1");
    // An image that is everybody's loses only the job's name for it.
    let removed = decide(&guard, "DELETE", "/images/busybox", "").unwrap();
    assert!(matches!(removed, Decision::Answer(Local::Json { status: 200, .. })), "{removed:?}");
}

#[test]
fn no_push_gives_the_engine_an_image_by_a_name_of_ours_or_of_dockers_own_library() {
    let mut guard = job(&JOB.replace("ghcr.io/us/*", "docker.io/*"), 41);
    for repository in ["longshore-agent", "longshore", "alpine", "me%2Ftool"] {
        let target = format!("/images/busybox/tag?repo={repository}&tag=0123456789ab");
        let tagged = ask(&guard, "POST", &target, "").unwrap();
        guard.settle(&tagged.effect, true, None);
    }
    for name in ["longshore-agent", "docker.io/library/longshore-agent", "longshore", "alpine"] {
        refused(&guard, Rule::Registry, "POST", &format!("/images/{name}/push?tag=0123456789ab"), "");
    }
    assert!(ask(&guard, "POST", "/images/me/tool/push?tag=0123456789ab", "").is_ok());
}

#[test]
fn builds_reach_neither_the_host_nor_what_others_built() {
    let guard = job(JOB, 41);
    for query in [
        "remote=http%3A%2F%2F127.0.0.1%2F",
        "version=2",
        "outputs=%5B%7B%22Type%22%3A%22local%22%7D%5D",
        "session=x",
        "securityopt=%5B%22seccomp%3Dunconfined%22%5D",
        "cgroupparent=%2F",
        "extrahosts=a%3A127.0.0.1",
        "cpusetcpus=0",
        "squash=1",
        "dockerfile=..%2F..%2Fx",
        "dockerfile=%2Fetc%2Fpasswd",
        "target=a%0Ab",
        "isolation=hyperv",
    ] {
        refused(&guard, Rule::Build, "POST", &format!("/build?{query}"), "");
    }
    for (rule, query) in [
        (Rule::Foreign, "networkmode=host"),
        (Rule::Foreign, "networkmode=victim-net"),
        (Rule::Foreign, &format!("networkmode=container:{VICTIM}")[..]),
        (Rule::Label, "labels=%7B%22longshore.guard.scope%22%3A%22job2%22%7D"),
        (Rule::Image, "t=a%20b"),
        (Rule::Body, "buildargs=%7B%22a%22%3A1%7D"),
        (Rule::Syntax, "dockerfile=a&dockerfile=b"),
        (Rule::Syntax, "pulll=1"),
    ] {
        refused(&guard, rule, "POST", &format!("/build?{query}"), "");
    }
    let off = job(&JOB.replace("\"build\":true", "\"build\":false"), 41);
    refused(&off, Rule::Build, "POST", "/build", "");
    // What the command line and docker-py send.
    let built = ask(&guard, "POST", "/v1.41/build?dockerfile=Dockerfile&t=alpine%3Alatest&t=x&version=1&rm=1&cachefrom=%5B%22victim%22%5D&buildargs=%7B%22A%22%3A%22b%22%2C%22C%22%3Anull%7D&q=False&nocache=False&pull=False&forcerm=True&ulimits=null", "").unwrap();
    let path = &built.call.path;
    assert!(path.starts_with(&format!("/build?dockerfile=.longshore-{NONCE}&t=longshore-guard%2Fjob1%3A")), "{path}");
    for part in [
        "&nocache=1",
        "&forcerm=1",
        &format!("&networkmode={NET}"),
        "&cpuquota=400000",
        "&buildargs=%7B%22A%22%3A%22b%22%7D",
        "&version=1",
    ] {
        assert!(path.contains(part), "{part}: {path}");
    }
    assert!(!path.contains("cachefrom") && !path.contains("alpine"), "{path}");
    let context = built.build.unwrap();
    assert!(guard.dockerfile(&context.build, "FROM secret:1").is_err());
    assert_eq!(
        guard.dockerfile(&context.build, "FROM busybox").unwrap(),
        format!("FROM sha256:{IMAGE}\nLABEL longshore.guard.scope=job1\n"),
        "what is left of a build is found"
    );
}

#[test]
fn archives_go_into_a_container_that_can_swap_no_link_meanwhile() {
    let guard = job(JOB, 41);
    for (method, target) in [("PUT", "/containers/web/archive?path=/"), ("HEAD", "/containers/web/archive?path=/data")]
    {
        let stopped = [Check::Stopped { container: OWN.to_owned() }];
        assert_eq!(ask(&guard, method, target, "").unwrap().checks, stopped, "{method}");
    }
    refused(&guard, Rule::Archive, "GET", "/containers/web/archive?path=../../etc", "");
    refused(&guard, Rule::Archive, "PUT", "/containers/web/archive?path=", "");
    assert_eq!(ask(&guard, "GET", "/containers/web/archive?path=/data/.", "").unwrap().checks, []);
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
