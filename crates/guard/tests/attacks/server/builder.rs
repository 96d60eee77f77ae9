//! The builder of a job, which a server may start in one form.

use longshore_guard::{Forward, Guard, Rule, builder};
use serde_json::{Value, json};

use super::*;

/// The policy of a guard that was told an image for builders.
const WITH_BUILDER: &str = r#"{"server":{"instance":"abc123","builder":"moby/buildkit:rootless"}}"#;

/// What is refused, and why.
type Change = (Rule, &'static str, fn(&mut Value));

fn ask_builder(guard: &Guard, change: impl FnOnce(&mut Value)) -> Result<Forward, longshore_guard::Refusal> {
    let labels = json!({"longshore.instance":"abc123","longshore.kind":"builder"});
    let mut body = json!({
        "Image": "moby/buildkit:rootless", "Entrypoint": builder::entrypoint(), "Cmd": [], "User": "1000:1000", "Labels": labels,
        "HostConfig": {
            "NetworkMode": format!("container:{OWN}"), "CapDrop": ["ALL"], "CapAdd": ["SETGID", "SETUID"],
            "SecurityOpt": builder::security_options(), "AutoRemove": false, "Init": false, "IpcMode": "private", "Privileged": false,
            "PidsLimit": 2048, "Memory": 1000000, "MemorySwap": 1000000, "NanoCpus": 1000000000, "LogConfig": {"Type":"none"},
            "Mounts": [{"Type":"volume","Source":"longshore-builder-abc-1","Target":builder::STATE,"VolumeOptions":{"Labels":labels}}],
        },
    });
    change(&mut body);
    ask(guard, "POST", "/containers/create?name=longshore-abc-1-builder", &body.to_string())
}

#[test]
fn a_jobs_builder_is_made_in_one_form_only() {
    let guard = with(WITH_BUILDER);
    let made = ask_builder(&guard, |_| {}).unwrap();
    let body = json(&made.call);
    assert_eq!(body["Image"], "moby/buildkit:rootless");
    assert_eq!((&body["User"], &body["HostConfig"]["Privileged"]), (&json!("1000:1000"), &json!(false)));
    assert_eq!(body["HostConfig"]["SecurityOpt"], json!(builder::security_options()));
    assert_eq!(made.checks, [volume("longshore-builder-abc-1", None)]);

    let changes: Vec<Change> = vec![
        (Rule::Server, "another image", |body| body["Image"] = "evil".into()),
        (Rule::Server, "another tag", |body| body["Image"] = "moby/buildkit:latest".into()),
        (Rule::Server, "another command", |body| body["Entrypoint"] = json!(["sh"])),
        (Rule::Server, "a further word", |body| {
            body["Cmd"] = json!(["--allow-insecure-entitlement=security.insecure"])
        }),
        (Rule::Server, "root", |body| body["User"] = "0:0".into()),
        (Rule::Server, "the image's user", |body| body["User"] = "".into()),
        (Rule::Server, "a variable", |body| body["Env"] = json!(["A=b"])),
        (Rule::Server, "input", |body| body["OpenStdin"] = true.into()),
        (Rule::Server, "a probe", |body| body["Healthcheck"] = json!({"Test":["CMD","sh"]})),
        (Rule::Server, "a right", |body| body["HostConfig"]["CapAdd"] = json!(["SETGID", "SETUID", "SYS_ADMIN"])),
        (Rule::Server, "all rights", |body| body["HostConfig"]["CapDrop"] = json!([])),
        (Rule::Privileged, "privileges", |body| body["HostConfig"]["Privileged"] = true.into()),
        (Rule::SecurityOption, "every system call", |body| {
            body["HostConfig"]["SecurityOpt"] = json!(["apparmor=unconfined", "seccomp=unconfined"])
        }),
        (Rule::SecurityOption, "one system call more", |body| {
            let options = &mut body["HostConfig"]["SecurityOpt"];
            let calls = options[1].as_str().unwrap().replacen("\"accept\"", "\"accept\",\"bpf\"", 1);
            options[1] = calls.into();
        }),
        (Rule::SecurityOption, "an option more", |body| {
            body["HostConfig"]["SecurityOpt"].as_array_mut().unwrap().push("label=disable".into())
        }),
        (Rule::Server, "no options", |body| body["HostConfig"]["SecurityOpt"] = json!([])),
        (Rule::Server, "the network of the server", |body| {
            body["HostConfig"]["NetworkMode"] = "longshore-abc123".into()
        }),
        (Rule::Foreign, "another's network", |body| {
            body["HostConfig"]["NetworkMode"] = format!("container:{VICTIM}").into()
        }),
        (Rule::Namespace, "the host's processes", |body| body["HostConfig"]["PidMode"] = "host".into()),
        (Rule::Device, "a device", |body| {
            body["HostConfig"]["Devices"] = json!([{"PathOnHost":"/dev/fuse","PathInContainer":"/dev/fuse"}])
        }),
        (Rule::Server, "restarts", |body| body["HostConfig"]["RestartPolicy"] = json!({"Name":"always"})),
        (Rule::Server, "no limit of processes", |body| body["HostConfig"]["PidsLimit"] = 0.into()),
        (Rule::Server, "another volume", |body| {
            body["HostConfig"]["Mounts"][0]["Source"] = "longshore-job-abc-1".into()
        }),
        (Rule::Server, "another's volume", |body| body["HostConfig"]["Mounts"][0]["Source"] = "other-data".into()),
        (Rule::Server, "another place", |body| body["HostConfig"]["Mounts"][0]["Target"] = "/etc".into()),
        (Rule::Server, "a second mount", |body| {
            let mount = json!({"Type":"volume","Source":"longshore-job-abc-1","Target":"/w"});
            body["HostConfig"]["Mounts"].as_array_mut().unwrap().push(mount);
        }),
        (Rule::Server, "the engine's socket", |body| {
            body["HostConfig"]["Mounts"][0] =
                json!({"Type":"bind","Source":"/run/docker.sock","Target":"/var/run/docker.sock"})
        }),
        (Rule::Server, "another instance", |body| body["Labels"]["longshore.instance"] = "other".into()),
    ];
    for (rule, what, change) in changes {
        let refusal = ask_builder(&guard, change).expect_err(what);
        assert_eq!(refusal.rule, rule, "{what}: {refusal}");
    }
    // Nothing else has what a builder has.
    let body = job("").replace("[\"no-new-privileges\"]", &json!(builder::security_options()).to_string());
    refused(&guard, Rule::Server, "POST", "/containers/create?name=longshore-abc-1", &body);
    let raw = with(r#"{"server":{"instance":"abc123","builder":"moby/buildkit:rootless","raw":true}}"#);
    refused(&raw, Rule::Server, "POST", "/containers/create?name=longshore-abc-1", &body);
}

#[test]
fn a_guard_that_was_told_no_image_allows_no_builder_and_names_the_setting() {
    for policy in [POLICY, r#"{"server":{"instance":"abc123","builder":"registry.example/own:1"}}"#] {
        let refusal = ask_builder(&with(policy), |_| {}).unwrap_err();
        assert_eq!(refusal.rule, Rule::Server);
        assert!(refusal.reason.contains("LONGSHORE_BUILDKIT_IMAGE"), "{refusal}");
    }
}
