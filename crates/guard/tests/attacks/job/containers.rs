//! The settings of containers, their limits, and what is done inside them.

use longshore_guard::{Check, Rule};
use serde_json::json;

use super::CREATE;
use crate::world::*;

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
fn files_are_copied_while_nobody_can_swap_a_path_for_a_link() {
    for (api, alone) in [(41, true), (43, false)] {
        for method in ["PUT", "HEAD", "GET"] {
            let copied = ask(&job(JOB, api), method, "/containers/web/archive?path=/data/.", "").unwrap();
            assert_eq!(copied.checks, [Check::Still { container: OWN.to_owned(), alone }], "{method}");
        }
    }
    let guard = job(JOB, 41);
    refused(&guard, Rule::Archive, "GET", "/containers/web/archive?path=../../etc", "");
    refused(&guard, Rule::Archive, "PUT", "/containers/web/archive?path=", "");
}
