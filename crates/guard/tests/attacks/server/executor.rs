//! What the executor asks for, and what it never asks for.

use longshore_guard::{Check, Decision, EngineBody, Guard, Rule};
use serde_json::json;

use super::*;

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
    // An image's own volume goes with its container, and has the job's limit.
    let own = r#"{"Type":"volume","Target":"/data","VolumeOptions":{"DriverConfig":{"Name":"local","Options":{"size":"1000"}}}}"#;
    let with_own = job("").replacen("\"Mounts\":[", &format!("\"Mounts\":[{own},"), 1);
    let made_with_own = ask(&guard, "POST", "/v1.41/containers/create?name=longshore-abc-1", &with_own).unwrap();
    let mount = &json(&made_with_own.call)["HostConfig"]["Mounts"][0];
    assert_eq!(
        (&mount["Source"], &mount["VolumeOptions"]["DriverConfig"]["Options"]["size"]),
        (&json!(null), &json!("1000"))
    );
    let labels = "filters=%7B%22label%22%3A%5B%22longshore.instance%3Dabc123%22%5D%7D";
    for (method, target, body) in [
        ("GET", "/info".to_owned(), ""),
        ("GET", format!("/containers/{OWN}/json"), ""),
        ("GET", "/containers/longshore-sandbox-abc123-00ff/json".to_owned(), ""),
        ("GET", "/distribution/node:22/json".to_owned(), ""),
        ("POST", format!("/containers/{OWN}/attach?stream=true&stdin=true&stdout=true&stderr=true"), ""),
        ("POST", format!("/containers/{OWN}/start"), ""),
        ("POST", format!("/containers/{OWN}/wait?condition=not-running"), ""),
        ("POST", format!("/containers/{OWN}/kill?signal=KILL"), ""),
        ("GET", format!("/containers/{OWN}/archive?path=/etc/passwd"), ""),
        ("GET", format!("/containers/{OWN}/export"), ""),
        ("DELETE", format!("/containers/{OWN}?force=true&v=true"), ""),
        ("GET", format!("/containers/json?all=true&{labels}"), ""),
        ("GET", format!("/volumes?{labels}"), ""),
        ("GET", "/volumes?filters=%7B%22name%22%3A%5B%22longshore-agent-%22%5D%7D".to_owned(), ""),
        ("GET", format!("/networks?{labels}"), ""),
        ("GET", "/images/json?filters=%7B%22reference%22%3A%5B%22longshore-agent%22%5D%7D".to_owned(), ""),
        ("GET", "/images/node:22/json".to_owned(), ""),
        ("POST", "/images/create?fromImage=node:22".to_owned(), ""),
        ("POST", "/images/create?fromSrc=-&changes=LABEL+longshore.agent%3D0123456789ab&changes=ENTRYPOINT+%5B%22%2F.longshore%2Flongshore%22%5D".to_owned(), ""),
        ("POST", "/images/create?fromSrc=-&changes=LABEL%20longshore.agent%3D0123456789ab%0ALABEL%20longshore.kind%3Dagent".to_owned(), ""),
        ("GET", "/networks".to_owned(), ""),
        ("DELETE", "/images/longshore-agent:0123456789ab".to_owned(), ""),
        ("GET", "/networks/longshore-abc123".to_owned(), ""),
        ("DELETE", "/networks/longshore-abc123".to_owned(), ""),
        ("GET", "/volumes/longshore-agent-0123456789ab".to_owned(), ""),
        ("DELETE", "/volumes/longshore-job-abc-1".to_owned(), ""),
    ] {
        assert!(ask(&guard, method, &target, body).is_ok(), "{method} {target}: {:?}", decide(&guard, method, &target, body));
    }
    // Another server's volume may have such a name: the engine is asked first.
    assert_eq!(made.checks, [volume("longshore-job-abc-1", None)]);
    assert_eq!(ask(&guard, "DELETE", "/volumes/longshore-job-abc-1", "").unwrap().checks, made.checks);
    assert!(!ask(&guard, "DELETE", "/networks/longshore-abc123", "").unwrap().checks.is_empty());
    assert!(matches!(ask(&guard, "DELETE", "/images/node:22", "").unwrap().checks[..], [Check::Replaceable { .. }]));
    let network = format!(
        r#"{{"Name":"longshore-abc123","Driver":"bridge","Options":{{"com.docker.network.bridge.enable_icc":"false"}},"Labels":{LABELS}}}"#
    );
    assert!(ask(&guard, "POST", "/networks/create", &network).is_ok());
    assert!(matches!(decide(&guard, "GET", "/version", ""), Ok(Decision::Answer(_))));
}

#[test]
fn the_network_of_a_job_with_docker_has_addresses_of_the_range_for_these() {
    let network = |subnet: &str| {
        format!(
            r#"{{"Name":"longshore-docker-abc-1-00ff","Driver":"bridge","Labels":{LABELS},"IPAM":{{"Config":[{{"Subnet":"{subnet}"}}]}}}}"#
        )
    };
    let guard = with(r#"{"server":{"instance":"abc123","docker_subnet":"198.18.0.0/15"}}"#);
    let made = ask(&guard, "POST", "/networks/create", &network("198.19.7.0/27")).unwrap();
    assert_eq!(json(&made.call)["IPAM"], json!({"Config":[{"Subnet":"198.19.7.0/27"}]}));
    for subnet in ["198.18.0.0/15", "198.20.0.0/27", "169.254.169.0/27", "192.168.1.0/27", "198.18.0.1/27"] {
        let refusal = ask(&guard, "POST", "/networks/create", &network(subnet)).unwrap_err();
        assert!(refusal.reason.contains("the same LONGSHORE_DOCKER_SUBNET as the server"), "{subnet}: {refusal}");
    }
    refused(&server(), Rule::Server, "POST", "/networks/create", &network("198.19.7.0/27"));
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
        // Rights over a network namespace are for our own program alone.
        (Rule::Server, "longshore-abc-1", job("").replace("\"CHOWN\"", "\"NET_ADMIN\"")),
        (Rule::Server, "longshore-sandbox-abc123-01", fenced().replace("longshore-agent:", "evil:")),
        (Rule::Server, "longshore-sandbox-abc123-01", fenced().replace("\"sandbox\"", "\"agent\"")),
        // Nobody writes where others have the agent, or a guard's socket.
        (Rule::Server, "longshore-abc-1", job("").replacen(r#""ReadOnly":true,"#, "", 1)),
        (Rule::Server, "longshore-abc-1", job("").replacen(r#""NoCopy":true,"#, "", 1)),
        (Rule::Server, "longshore-abc-1", job("").replace("longshore-job-abc-1", "longshore-docker-abc-1")),
        (Rule::Server, "longshore-agent-0123456789ab-00ff", filling().replace("--version", "tool")),
        (
            Rule::Server,
            "longshore-agent-0123456789ab-00ff",
            filling().replace("agent:0123456789ab", "agent:ffffffffffff"),
        ),
        (Rule::Server, "longshore-agent-0123456789ab-00ff", with_probe(&filling())),
        (
            Rule::Server,
            "longshore-agent-0123456789ab-00ff",
            filling().replacen("\"Mounts\":[", r#""Mounts":[{"Type":"volume","Source":"longshore-job-abc-1","Target":"/x","VolumeOptions":{"NoCopy":true}},"#, 1),
        ),
        (Rule::Server, "longshore-sandbox-abc123-01", with_probe(&fenced())),
        (Rule::Server, "longshore-sandbox-abc123-01", fenced().replacen("\"Cmd\":[]", r#""Cmd":["x"]"#, 1)),
        (Rule::Server, "longshore-sandbox-abc123-01", fenced().replacen("\"Cmd\":[]", r#""Env":["A=b"]"#, 1)),
        (Rule::Server, "longshore-abc-1", with_probe(&fenced()).replace("agent:0123456789ab", "agent:ffffffffffff")),
        // The engine's own socket, where nobody has allowed it.
        (Rule::Server, "longshore-abc-1", job(r#","Binds":["/run/docker.sock:/var/run/docker.sock"]"#)),
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
        (Rule::Server, "DELETE", "/images/node:22?force=1", ""),
        (Rule::Server, "GET", "/images/json?filters=%7B%22reference%22%3A%5B%22node%22%5D%7D", ""),
        (Rule::Server, "POST", "/images/create?fromImage=longshore-agent&tag=0123456789ab", ""),
        (Rule::Server, "POST", &format!("/images/sha256:{IMAGE}/tag?repo=longshore-agent&tag=0123456789ab")[..], ""),
        (Rule::Server, "POST", "/images/create?fromSrc=-&changes=LABEL+longshore.agent%3Dffffffffffff", ""),
        (
            Rule::Server,
            "POST",
            "/volumes/create",
            r#"{"Name":"longshore-agent-0123456789ab","Labels":{"longshore.instance":"abc123"}}"#,
        ),
        (
            Rule::Server,
            "POST",
            "/networks/create",
            r#"{"Name":"longshore-abc123","Labels":{"longshore.instance":"abc123"},"Options":{"com.docker.network.bridge.enable_icc":"false"},"IPAM":{"Config":[{"Subnet":"169.254.169.0/24"}]}}"#,
        ),
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

fn fenced() -> String {
    sandbox(r#","CapAdd":["NET_ADMIN","SETGID","SETUID"]"#)
}

fn with_probe(body: &str) -> String {
    body.replacen("\"Cmd\":[]", r#""Cmd":[],"Healthcheck":{"Test":["CMD","/x/other"],"Interval":1000000}"#, 1)
}

fn filling() -> String {
    format!(
        r#"{{"Image":"longshore-agent:0123456789ab","Entrypoint":["/.longshore/longshore","--version"],"Cmd":[],"Labels":{LABELS},"HostConfig":{{
        "NetworkMode":"none","CapDrop":["ALL"],"SecurityOpt":["no-new-privileges"],"Mounts":[{{"Type":"volume","Source":"longshore-agent-0123456789ab",
        "Target":"/.longshore","VolumeOptions":{{"NoCopy":false,"Labels":{LABELS}}}}}]}}}}"#
    )
}

#[test]
fn our_own_program_alone_has_more_rights_than_a_job() {
    let mut guard = server();
    let create = |guard: &Guard, body: &str| {
        ask(guard, "POST", "/containers/create?name=longshore-sandbox-abc123-01", body).map(|asked| json(&asked.call))
    };
    let made = create(&guard, &fenced()).unwrap();
    assert_eq!(made["HostConfig"]["CapAdd"], json!(["NET_ADMIN", "SETGID", "SETUID"]));
    assert!(create(&guard, &filling()).is_ok());
    // What the client sends in an import is thrown away; only what the guard has imported gets the agent's name.
    let import = "/images/create?fromSrc=-&changes=LABEL+longshore.agent%3D0123456789ab";
    assert_eq!(ask(&guard, "POST", import, "").unwrap().call.body, EngineBody::Program);
    let tag = format!("/images/sha256:{IMAGE}/tag?repo=longshore-agent&tag=0123456789ab");
    refused(&guard, Rule::Server, "POST", &tag, "");
    guard.settle_import(&json!({ "status": format!("sha256:{IMAGE}") }));
    assert!(ask(&guard, "POST", &tag, "").is_ok());
}

#[test]
fn the_engines_own_socket_is_given_where_the_guard_was_told_to() {
    let body = job(r#","Binds":["/seen/by/the/server.sock:/var/run/docker.sock"]"#);
    let guard = with(r#"{"server":{"instance":"abc123","raw":true}}"#);
    let made = ask(&guard, "POST", "/containers/create?name=longshore-abc-1", &body).unwrap();
    assert_eq!(json(&made.call)["HostConfig"]["Mounts"][0]["Source"], "/run/docker.sock");
    let elsewhere = body.replace(":/var/run/docker.sock", ":/x");
    refused(&guard, Rule::Server, "POST", "/containers/create?name=longshore-abc-1", &elsewhere);
}

#[test]
fn a_job_has_the_capabilities_that_the_guard_was_told_of_and_no_others() {
    let path = "/containers/create?name=longshore-abc-1";
    let with_rights =
        |names: &str| job("").replace(r#""CapAdd":["CHOWN","SETUID"]"#, &format!(r#""CapAdd":["CHOWN",{names}]"#));
    let guard = with(r#"{"server":{"instance":"abc123","capabilities":["SYS_CHROOT"]}}"#);
    assert!(ask(&guard, "POST", path, &with_rights(r#""SYS_CHROOT""#)).is_ok());
    refused(&guard, Rule::Server, "POST", path, &with_rights(r#""SYS_CHROOT","NET_RAW""#));
    refused(&server(), Rule::Server, "POST", path, &with_rights(r#""SYS_CHROOT""#));
}

#[test]
fn files_are_read_of_containers_in_which_nobody_changes_paths_meanwhile() {
    let guard = server();
    let read = ask(&guard, "GET", &format!("/containers/{OWN}/export"), "").unwrap();
    let [check] = &read.checks[..] else { panic!("{:?}", read.checks) };
    let container = |running: bool, image: &str, entrypoint: &str| {
        let entrypoint = ["/.longshore/longshore", entrypoint];
        json!({ "State": { "Running": running }, "Config": { "Image": image, "Entrypoint": entrypoint } })
    };
    for (found, is_read) in [
        (container(false, "node:22", "agent"), true),
        (container(true, "longshore-agent:0123456789ab", "guard"), true),
        (container(true, "longshore-agent:0123456789ab", "agent"), false),
        (container(true, "node:22", "guard"), false),
        (json!({}), false),
    ] {
        assert_eq!(check.judge(Some(&found)).is_ok(), is_read, "{found}");
    }
    assert!(check.judge(None).is_ok(), "the engine says that it is gone");
}

#[test]
fn the_name_that_a_killed_push_has_left_is_removed_and_that_of_an_image_made_here_is_not() {
    let guard = server();
    let removal = ask(&guard, "DELETE", "/images/us/app:1", "").unwrap();
    let [check] = &removal.checks[..] else { panic!("{:?}", removal.checks) };
    let digest = hex::encode(&<sha2::Sha256 as sha2::Digest>::digest("docker.io/us/app:1")[..16]);
    let found = |mark: &str| json!({ "RepoTags": ["us/app:1", mark], "RepoDigests": [], "Config": { "Labels": null } });
    assert!(check.judge(Some(&found(&format!("longshore-guard/job1:push-{digest}")))).is_ok());
    for other in ["longshore-guard/job1:push-00".to_owned(), format!("longshore-guard/job1:{digest}")] {
        assert!(check.judge(Some(&found(&other))).is_err(), "{other}");
    }
}

#[test]
fn a_volume_is_filled_from_an_image_only_where_the_guard_knows_that_nobody_has_been_in_it() {
    let mut guard = server();
    let path = "/containers/create?name=longshore-abc-1";
    let with_cache = |options: &str| {
        let cache = format!(
            r#"{{"Type":"volume","Source":"longshore-cache-abc-1-0-0","Target":"/c","VolumeOptions":{{{options}}}}}"#
        );
        job("").replacen("\"Mounts\":[", &format!("\"Mounts\":[{cache},"), 1)
    };
    assert!(ask(&guard, "POST", path, &with_cache(r#""NoCopy":true"#)).is_ok());
    refused(&guard, Rule::Server, "POST", path, &with_cache(""));
    refused(&guard, Rule::Server, "POST", path, &with_cache(r#""NoCopy":false"#));
    let volume = |name: &str, options: &str| {
        format!(r#"{{"Name":"longshore-cache-abc-1-0-{name}","Labels":{LABELS},"DriverOpts":{options}}}"#)
    };
    let made = ask(&guard, "POST", "/volumes/create", &volume("0", "{}")).unwrap();
    guard.note_new_volume(&made.effect);
    let created = ask(&guard, "POST", path, &with_cache("")).unwrap();
    guard.begin_volumes(&created.effect);
    refused(&guard, Rule::Server, "POST", path, &with_cache(""));
    guard.settle(&created.effect, true, Some(VICTIM));
    assert!(ask(&guard, "POST", path, &with_cache("")).is_ok(), "it was created and has not started");
    // Whoever makes an overlay of it is in it as well.
    let layers = |folder: &str| format!("{VOLUMES}/longshore-cache-abc-1-0-{folder}/_data");
    let over = format!(r#"{{"type":"overlay","device":"overlay","o":"lowerdir={}"}}"#, layers("0"));
    let overlay = ask(&guard, "POST", "/volumes/create", &volume("view", &over)).unwrap();
    let mut other = server();
    other.note_new_volume(&made.effect);
    other.begin_volumes(&overlay.effect);
    refused(&other, Rule::Server, "POST", path, &with_cache(""));
    let start = ask(&guard, "POST", &format!("/containers/{VICTIM}/start"), "").unwrap();
    guard.enter(&guard.entered(&start.effect)).unwrap();
    refused(&guard, Rule::Server, "POST", path, &with_cache(""));
}

#[test]
fn an_engine_that_mounts_volumes_on_the_host_is_asked_for_no_archive_where_others_may_be_in_one() {
    let host = || Host { program: "0123456789ab".into(), socket: None };
    let guard = |api: u32| {
        let mut guard = Guard::new(Policy::parse(POLICY).unwrap(), facts(api), Table::default()).on_host(host());
        for (id, name) in
            [(OWN, "longshore-abc-1"), (VICTIM, "longshore-abc-1-guard"), (EXEC, "longshore-guard-job1-x-guard")]
        {
            let labels = json!({ "longshore.instance": "abc123" });
            guard.learn_container(
                id,
                Some(&json!({ "Id": id, "Name": format!("/{name}"), "Config": { "Labels": labels } })),
            );
        }
        guard
    };
    let checks = |guard: &Guard, id: &str, what: &str| {
        ask(guard, "GET", &format!("/containers/{id}/{what}"), "").map(|asked| asked.checks)
    };
    let [still, unshared] = [Check::Still { container: OWN.into() }, Check::Unshared { container: OWN.into() }];
    let (older, newer) = (guard(42), guard(43));
    assert_eq!(checks(&older, OWN, "archive?path=/longshore/spool").unwrap(), [still.clone(), unshared.clone()]);
    assert_eq!(checks(&older, OWN, "export").unwrap(), std::slice::from_ref(&still));
    assert_eq!(checks(&newer, OWN, "archive?path=/longshore/spool").unwrap(), [still]);
    refused(&newer, Rule::Server, "GET", &format!("/containers/{OWN}/export"), "");
    let new = json!({ "Type": "volume", "Name": IMAGE, "RW": true });
    for (mounts, is_read) in [
        (json!([]), true),
        (json!([new]), true),
        (json!([new, { "Type": "volume", "Name": "longshore-job-abc-1" }]), false),
        (json!([{ "Type": "volume", "Name": "longshore-agent-0123456789ab", "RW": false }]), false),
        (json!([{ "Type": "bind", "Source": "/run/docker.sock" }]), false),
        (json!(null), false),
    ] {
        let found = json!({ "Mounts": mounts, "HostsPath": "", "State": { "Status": "created" } });
        assert_eq!(unshared.judge(Some(&found)).is_ok(), is_read, "{mounts}");
        // Others may have been handed a folder of one that was started.
        let ended = json!({ "Mounts": mounts, "HostsPath": "/hosts", "State": { "Status": "exited" } });
        assert!(unshared.judge(Some(&ended)).is_err(), "{mounts}");
    }
    for guard in [&older, &newer] {
        // A guard's own files are its alone. It has all volumes of the engine, too, which are not for the server.
        for path in ["/table.json", "/audit.jsonl"] {
            let checks = checks(guard, VICTIM, &format!("archive?path={path}")).unwrap();
            assert_eq!(checks, [Check::Still { container: VICTIM.into() }]);
        }
        for path in [
            "/longshore/all-volumes",
            "/longshore/all-volumes/other/_data/key",
            "/longshore/all-containers",
            "/",
            "/table.jsonl",
        ] {
            refused(guard, Rule::Server, "GET", &format!("/containers/{VICTIM}/archive?path={path}"), "");
        }
        // What a job has started may be called like a guard.
        for what in ["archive?path=/table.json", "archive?path=/etc", "export"] {
            refused(guard, Rule::Server, "GET", &format!("/containers/{EXEC}/{what}"), "");
        }
        // Its own guard alone starts it: it may be copying files meanwhile.
        for what in ["start", "attach?stream=1&stdout=1"] {
            refused(guard, Rule::Server, "POST", &format!("/containers/{EXEC}/{what}"), "");
            assert!(ask(guard, "POST", &format!("/containers/{VICTIM}/{what}"), "").is_ok(), "{what}");
        }
        for what in ["kill", "wait"] {
            assert!(ask(guard, "POST", &format!("/containers/{EXEC}/{what}"), "").is_ok(), "{what}");
        }
    }
}
