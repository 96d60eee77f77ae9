//! The settings of containers, their limits, and what is done inside them.

use longshore_guard::{Effect, Guard, Reply, Rule};
use serde_json::{Value, json};

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
    let state = |state: &str, mounts: &[&str]| {
        let mounts: Vec<Value> = mounts.iter().map(|path| json!({ "Destination": path })).collect();
        let hosts = if state == "created" { "" } else { "/var/lib/docker/hosts" };
        let running = matches!(state, "running" | "paused");
        json!({ "HostsPath": hosts, "Mounts": mounts,
            "State": { "Status": state, "Running": running, "Paused": state == "paused" } })
    };
    // On engines that mount in a namespace of their own, a container stands still, and no mount is within another one.
    let guard = job(JOB, 43);
    for method in ["PUT", "HEAD", "GET"] {
        let copied = ask(&guard, method, "/containers/web/archive?path=/data/.", "").unwrap();
        assert_eq!(copied.effect, Effect::FilesCopied { id: OWN.to_owned() }, "{method}");
    }
    for (container, pauses) in [
        (state("running", &["/a", "/ab", "/b/c"]), true),
        (state("paused", &["/a"]), false),
        (state("exited", &["/a"]), false),
        (state("running", &[]), true),
        (json!({}), true),
    ] {
        assert_eq!(guard.judge_copy(OWN, &container), Ok(pauses), "{container}");
    }
    for mounts in [&["/a", "/a/b"][..], &["/a/b/c", "/x", "/a"], &["/etc"], &["/"]] {
        assert!(guard.judge_copy(OWN, &state("exited", mounts)).is_err(), "{mounts:?}");
    }
    refused(&guard, Rule::Archive, "GET", "/containers/web/archive?path=../../etc", "");
    refused(&guard, Rule::Archive, "PUT", "/containers/web/archive?path=", "");
}

#[test]
fn on_an_old_engine_files_are_copied_where_nobody_else_ever_had_a_way_in() {
    let mut guard = job(JOB, 41);
    let (ended, failed) = (
        json!({ "HostsPath": "/x", "Mounts": [], "State": { "Status": "exited", "Running": false } }),
        json!({ "HostsPath": "/x", "Mounts": [], "State": { "Status": "created", "Running": false } }),
    );
    let created = |mounts: usize| {
        let mounts = vec![json!({ "Destination": "/a" }); mounts];
        json!({ "HostsPath": "", "Mounts": mounts, "State": { "Status": "created", "Running": false } })
    };
    let mut at = 0;
    let mut make = |guard: &mut Guard, host: &str| -> String {
        at += 1;
        let body = format!(r#"{{"Image":"busybox","HostConfig":{host}}}"#);
        let made = ask(guard, "POST", &format!("/containers/create?name=made{at}"), &body).unwrap();
        guard.settle(&made.effect, true, Some(&format!("{at:064x}")));
        format!("{at:064x}")
    };
    // Others reach the files of those that they share a volume, a folder or a namespace with, also after their end.
    for host in [
        r#"{"Binds":["data:/data"]}"#,
        r#"{"Binds":["/longshore/workspace:/w"]}"#,
        r#"{"PidMode":"container:web"}"#,
        r#"{"IpcMode":"container:web"}"#,
        r#"{"NetworkMode":"container:web"}"#,
        r#"{"VolumesFrom":["web"]}"#,
    ] {
        let id = make(&mut guard, host);
        for container in [&ended, &failed, &created(2)] {
            assert_eq!(guard.judge_copy(&id, container).unwrap_err().rule, Rule::Archive, "{host} {container}");
        }
        // Nobody has been in one that was never started.
        assert_eq!(guard.judge_copy(&id, &created(1)), Ok(false), "{host}");
    }
    for join in ["PidMode", "IpcMode", "NetworkMode", "VolumesFrom"] {
        let alone = make(&mut guard, r#"{"Mounts":[{"Type":"volume","Target":"/v"}],"Tmpfs":{"/t":""}}"#);
        assert_eq!(guard.judge_copy(&alone, &ended), Ok(false), "its own volumes are reached by nobody else");
        let host = match join {
            "VolumesFrom" => format!(r#"{{"VolumesFrom":["{alone}"]}}"#),
            join => format!(r#"{{"{join}":"container:{alone}"}}"#),
        };
        let joining = make(&mut guard, &host);
        let removed = ask(&guard, "DELETE", &format!("/containers/{joining}"), "").unwrap();
        guard.settle(&removed.effect, true, None);
        assert!(guard.judge_copy(&alone, &ended).is_err(), "{join} leaves a way in, also when it is over");
        let update = ask(&guard, "POST", &format!("/containers/{alone}/update"), r#"{"Memory":67108864}"#).unwrap();
        guard.settle(&update.effect, true, None);
        assert!(guard.judge_copy(&alone, &ended).is_err(), "{join}");
        let removed = ask(&guard, "DELETE", &format!("/containers/{alone}"), "").unwrap();
        guard.settle(&removed.effect, true, None);
    }
    let new = make(&mut guard, "{}");
    assert!(guard.judge_copy(&new, &created(0)).is_ok());
}

#[test]
fn labels_are_never_longer_than_anybody_who_reads_them_expects() {
    let mut guard = job(JOB, 41);
    let long = "x".repeat(17 << 10);
    for (target, body) in [
        (CREATE, format!(r#"{{"Image":"busybox","Labels":{{"a":"{long}","b":"{long}"}}}}"#)),
        ("/networks/create", format!(r#"{{"Name":"n","Labels":{{"a":"{long}","b":"{long}"}}}}"#)),
        ("/volumes/create", format!(r#"{{"Name":"v","Labels":{{"a":"{long}","b":"{long}"}}}}"#)),
    ] {
        refused(&guard, Rule::Limit, "POST", target, &body);
        assert!(ask(&guard, "POST", target, &body.replacen(&long, "y", 1)).is_ok(), "{target}");
    }
    // As JSON, some characters are longer.
    for (character, fits) in [("x", true), ("\\u0001", false), ("\\u2028", false), ("\\\"", false)] {
        let body = format!(r#"{{"Image":"busybox","Labels":{{"a":"{}"}}}}"#, character.repeat(20 << 10));
        assert_eq!(decide(&guard, "POST", CREATE, &body).is_ok(), fits, "{character}");
    }
    // An image has its labels from a build, which expands them.
    let image = json!({ "Id": "2".repeat(64), "Config": { "Labels": { "a": "x".repeat(300 << 10) } } });
    guard.learn_image("docker.io/library/busybox:2", &image);
    refused(&guard, Rule::Limit, "POST", CREATE, r#"{"Image":"busybox:2"}"#);
}

#[test]
fn what_jobs_start_keeps_the_engines_lists_short() {
    let mut guard = job(JOB, 41);
    let text = |kib: usize| "x".repeat(kib << 10);
    let mounts: Vec<Value> =
        (0..30).map(|at| json!({ "Type": "tmpfs", "Target": format!("/{at}{}", text(3)) })).collect();
    let ports: serde_json::Map<String, Value> = (1..2000).map(|port| (format!("{port}/tcp"), json!({}))).collect();
    for long in [
        json!({ "Cmd": [text(65)] }),
        json!({ "Cmd": vec!["x"; 3000] }),
        json!({ "Cmd": ["\u{2028}".repeat(11 << 10)] }),
        json!({ "Cmd": [text(33)], "Entrypoint": [text(33)] }),
        json!({ "ExposedPorts": ports }),
        json!({ "HostConfig": { "Mounts": mounts } }),
    ] {
        let mut body = long;
        body["Image"] = json!("busybox");
        refused(&guard, Rule::Limit, "POST", CREATE, &body.to_string());
    }
    let own = json!({ "Image": "busybox", "Cmd": ["sh", "-c", text(30)], "Env": [format!("A={}", text(100))] });
    assert!(decide(&guard, "POST", CREATE, &own.to_string()).is_ok(), "variables are in no list");
    // What an image has is in the list with each of its containers.
    for (at, config) in [
        json!({ "Cmd": [text(65)] }),
        json!({ "Entrypoint": [text(65)] }),
        json!({ "ExposedPorts": ports }),
        json!({ "Labels": { "a": text(65) } }),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("docker.io/library/long:{at}");
        guard.learn_image(&name, &json!({ "Id": format!("{at:064}"), "Config": config }));
        refused(&guard, Rule::Limit, "POST", CREATE, &format!(r#"{{"Image":"long:{at}"}}"#));
    }
    let large = json!({ "Id": "5".repeat(64), "Config": { "Labels": { "a": text(60) } } });
    guard.learn_image("docker.io/library/large:1", &large);
    let body = json!({ "Image": "large:1", "Cmd": [text(60)], "HostConfig": { "Memory": 8 << 20 } }).to_string();
    let made = (0..15).filter(|at| match ask(&guard, "POST", &format!("{CREATE}?name=made{at}"), &body) {
        Ok(forward) => {
            guard.settle(&forward.effect, true, Some(&format!("{at:064x}")));
            true
        }
        Err(refusal) => {
            assert_eq!(refusal.rule, Rule::Budget);
            false
        }
    });
    assert_eq!(made.count(), 8);
}

#[test]
fn a_container_keeps_its_share_of_the_budget_whatever_the_order_of_the_engines_answers() {
    let policy = JOB.replace(r#""build":true"#, r#""build":true,"budget":{"containers":2}"#);
    let mut guard = job(&policy, 41);
    let rename = ask(&guard, "POST", "/containers/web/rename?name=other", "").unwrap();
    let create = ask(&guard, "POST", "/containers/create?name=web", r#"{"Image":"busybox"}"#).unwrap();
    // The engine has renamed the one before it created the other.
    guard.settle(&create.effect, true, Some(VICTIM));
    guard.settle(&rename.effect, true, None);
    refused(&guard, Rule::Budget, "POST", "/containers/create?name=more", r#"{"Image":"busybox"}"#);
    for (name, id) in [("other", OWN), ("web", VICTIM)] {
        let inspect = ask(&guard, "GET", &format!("/containers/{name}/json"), "").unwrap();
        assert_eq!(inspect.call.path, format!("/containers/{id}/json"));
    }
}

#[test]
fn a_container_that_was_paused_for_a_copy_is_as_healthy_as_its_last_probe_found_it() {
    let guard = job(JOB, 41);
    let forward = ask(&guard, "GET", "/containers/web/json", "").unwrap();
    let Reply::Json(shape) = &forward.reply else { panic!("{forward:?}") };
    let shown = |running: bool, status: &str, streak: u32, codes: &[i64]| {
        let log: Vec<Value> = codes.iter().map(|code| json!({ "ExitCode": code })).collect();
        let health = json!({ "Status": status, "FailingStreak": streak, "Log": log });
        let state = json!({ "Running": running, "Health": health });
        let answer = guard.rewrite(shape, json!({ "Id": OWN, "State": state })).unwrap();
        answer["State"]["Health"]["Status"].as_str().unwrap().to_owned()
    };
    // What the engine says from the pause to the next probe.
    assert_eq!(shown(true, "unhealthy", 0, &[1, 0]), "healthy");
    assert_eq!(shown(true, "unhealthy", 0, &[]), "starting");
    // What it says otherwise stays.
    assert_eq!(shown(true, "unhealthy", 3, &[0, 1, 1, 1]), "unhealthy");
    assert_eq!(shown(false, "unhealthy", 0, &[0]), "unhealthy");
    assert_eq!(shown(true, "healthy", 0, &[0]), "healthy");
}

#[test]
fn the_guard_does_not_read_what_is_as_large_as_a_job_likes() {
    let guard = job(JOB, 41);
    for (what, reply) in [
        ("top", Reply::Processes),
        ("changes", Reply::Stream),
        ("export", Reply::Stream),
        ("logs?stdout=1", Reply::Stream),
    ] {
        assert_eq!(ask(&guard, "GET", &format!("/containers/web/{what}"), "").unwrap().reply, reply, "{what}");
    }
}

#[test]
fn a_list_of_processes_chooses_columns_after_the_id_and_no_process_of_others() {
    let guard = job(JOB, 41);
    let top = |args: &str| ask(&guard, "GET", &format!("/containers/web/top?ps_args={}", args.replace(' ', "%20")), "");
    for (args, passed) in [
        ("", "/top"),
        ("aux", "/top?ps_args=aux"),
        ("-ef", "/top?ps_args=-ef"),
        ("-o pid,comm,args", "/top?ps_args=-o%20pid%2Ccomm%2Cargs"),
        ("-eo pid,user", "/top?ps_args=-o%20pid%2Cuser"),
        ("-opid", "/top?ps_args=-o%20pid"),
    ] {
        assert!(top(args).unwrap().call.path.ends_with(passed), "{args}: {}", top(args).unwrap().call.path);
    }
    for args in [
        "e",
        "auxe",
        "auxf",
        "aux e",
        "e k-start -C busybox -o args,uid,uid,pid",
        "-N k-rss -C nosuch -o args,pid",
        "-o",
        "-o args,pid",
        "-o comm",
        "-o pid,environ",
        "-o pid,args=PID",
        "-o pid,",
        "-o pid e",
        "-o pid -o args",
        "-C busybox",
        "-p1",
        "-q 1",
        "-eo",
    ] {
        assert_eq!(top(args).unwrap_err().rule, Rule::Syntax, "{args}");
    }
}
