//! Mounts and volumes: the workspace and the job's own volumes, and nothing of the host.

use longshore_guard::{Forward, Guard, Headers, Policy, Rule};
use serde_json::json;

use crate::world::*;

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
fn an_anonymous_volume_goes_to_a_container_with_the_same_mounts_and_stays_anonymous() {
    let mut guard = job(JOB, 41);
    let (volume, other) = ("5".repeat(64), "6".repeat(64));
    let mounted =
        |name: &str, target: &str| json!({ "Type": "volume", "Name": name, "Destination": target, "RW": true });
    let named = mounted("longshore-guard-job1-data", "/data");
    let victims = json!({ "Id": VICTIM, "Mounts": [mounted(&other, "/anon")] });
    let own = |mounts: &[serde_json::Value]| json!({ "Id": OWN, "Mounts": mounts });
    let list = |of_own: &[serde_json::Value]| [own(of_own), victims.clone()];
    let asked = |volume: &str, target: &str| {
        format!(
            r#"{{"Mounts":[{{"Type":"volume","Source":"{volume}","Target":"{target}"}}],"Binds":["data:/data:ro"]}}"#
        )
    };
    // Nothing is known of it.
    host_refused(&guard, Rule::Name, &asked(&volume, "/anon"));
    guard.learn_anonymous_volumes(&list(&[mounted(&volume, "/anon"), named.clone()]));
    let body = host_allowed(&guard, &asked(&volume, "/anon"));
    assert_eq!(body["HostConfig"]["VolumesFrom"], json!([format!("{OWN}:rw")]));
    let mounts = body["HostConfig"]["Mounts"].as_array().unwrap();
    assert_eq!((mounts.len(), &mounts[0]["Target"]), (1, &json!("/data")), "not by its name: {body}");
    // A container that the client does not have is not the client's, whatever the list says.
    host_refused(&guard, Rule::Name, &asked(&other, "/anon"));
    host_refused(&guard, Rule::Volume, &asked(&volume, "/elsewhere"));
    host_refused(&guard, Rule::Volume, &format!(r#"{{"Binds":["{volume}:/anon:ro","data:/data"]}}"#));
    // The other volume would come along.
    host_refused(&guard, Rule::Volume, &format!(r#"{{"Binds":["{volume}:/anon"]}}"#));
    let memory = json!({ "Type": "tmpfs", "Destination": "/data", "RW": true });
    guard.learn_anonymous_volumes(&list(&[mounted(&volume, "/anon"), memory]));
    host_refused(&guard, Rule::Volume, &asked(&volume, "/anon"));
    guard.learn_anonymous_volumes(&list(&[named]));
    host_refused(&guard, Rule::Name, &asked(&volume, "/anon"));
}

#[test]
fn a_volume_is_filled_from_an_image_only_while_nobody_has_been_in_it() {
    let mut guard = job(JOB, 41);
    let create = |guard: &Guard, host: &str| {
        let body = format!(r#"{{"Image":"busybox","HostConfig":{host}}}"#);
        ask(guard, "POST", "/containers/create", &body).unwrap()
    };
    let is_filled =
        |forward: &Forward| json(&forward.call)["HostConfig"]["Mounts"][0]["VolumeOptions"].get("NoCopy").is_none();
    let binds = r#"{"Binds":["data:/data"]}"#;
    let made = create(&guard, binds);
    assert!(is_filled(&made), "`web` has it and has not started");
    assert!(!is_filled(&create(&guard, r#"{"Binds":["data:/data:nocopy"]}"#)), "as it was asked for");
    assert!(is_filled(&create(&guard, r#"{"Mounts":[{"Type":"volume","Source":"other","Target":"/o"}]}"#)));

    // Meanwhile nobody gets in, and a guard that was killed does not know whether the engine is done.
    guard.begin_volumes(&made.effect);
    let table = serde_json::to_string(&guard.table).unwrap();
    let start = ask(&guard, "POST", "/containers/web/start", "").unwrap();
    let copy = ask(&guard, "PUT", "/containers/web/archive?path=/", "").unwrap();
    let mut again = Guard::new(Policy::parse(JOB).unwrap(), facts(41), serde_json::from_str(&table).unwrap());
    for guard in [&mut guard, &mut again] {
        assert!(!is_filled(&create(guard, binds)));
        for effect in [&start.effect, &copy.effect] {
            let entered = guard.entered(effect);
            assert_eq!(entered.iter().collect::<Vec<_>>(), ["data"]);
            assert_eq!(guard.enter(&entered).unwrap_err().rule, Rule::Volume);
        }
    }
    guard.settle(&made.effect, false, None);
    assert!(is_filled(&create(&guard, binds)), "the engine has answered");
    guard.enter(&guard.entered(&start.effect)).unwrap();
    assert!(guard.entered(&copy.effect).is_empty(), "it is noted once");
    assert!(!is_filled(&create(&guard, binds)));

    // Who has the volumes of another container is in them, too.
    let mut guard = job(JOB, 41);
    let from = create(&guard, r#"{"VolumesFrom":["web"]}"#);
    guard.settle(&from.effect, true, Some(VICTIM));
    let start = ask(&guard, "POST", &format!("/containers/{VICTIM}/start"), "").unwrap();
    guard.enter(&guard.entered(&start.effect)).unwrap();
    assert!(!is_filled(&create(&guard, binds)));
    let removed = ask(&guard, "DELETE", "/volumes/data", "").unwrap();
    guard.settle(&removed.effect, true, None);
    assert!(is_filled(&create(&guard, binds)), "it is another one by now");
}

#[test]
fn a_volume_is_not_made_anew_before_the_guard_knows_that_it_was_removed() {
    let guard = job(JOB, 41);
    let data = ["data".to_owned()].into();
    // The answer to the removal would make the guard forget who is in the new one by then.
    assert_eq!(guard.held_by(&ask(&guard, "DELETE", "/volumes/data", "").unwrap().effect), data);
    for mount in [r#""Binds":["data:/x:nocopy"]"#, r#""Mounts":[{"Type":"volume","Source":"data","Target":"/x"}]"#] {
        let body = format!(r#"{{"Image":"busybox","HostConfig":{{{mount}}}}}"#);
        let headers = Headers { content_type: Some("application/json"), ..Headers::default() };
        let create = read(&guard, "POST", "/containers/create", headers, body.as_bytes()).unwrap();
        assert_eq!(guard.may_be_filled(&create), data, "{mount}");
    }
}
