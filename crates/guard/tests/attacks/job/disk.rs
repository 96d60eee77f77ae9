//! What a job's containers write to the engine's disk, and what is over the budget.

use longshore_guard::Rule;
use serde_json::json;

use super::CREATE;
use crate::world::*;

fn measured() -> longshore_guard::Guard {
    let more = r#""build":true,"budget":{"disk_bytes":1000},"disk":{"folder":"/all","containers":"/kept","volumes":["longshore-job-abc-1"]}"#;
    job(&JOB.replace(r#""build":true"#, more), 41)
}

#[test]
fn every_volume_that_a_job_can_fill_is_measured_and_its_containers_own_files() {
    let guard = measured();
    let unnamed = "f".repeat(64);
    let list = json!([
        {"Id": OWN, "SizeRw": 70, "Mounts": [
            {"Type": "volume", "Name": unnamed, "Source": "/x", "Destination": "/data"},
            {"Type": "bind", "Name": "bound", "Source": "/x", "Destination": "/b"},
            {"Type": "volume", "Name": "../../etc", "Source": "/x", "Destination": "/c"},
        ]},
        {"Id": "step of a build", "SizeRw": 30},
        {"Id": "unknown", "SizeRw": -1, "Mounts": null, "State": "running"},
        {"Id": "goes", "SizeRw": -1, "State": "removing"},
        {"Id": "empty"},
    ]);
    let found = guard.measured(&list);
    assert_eq!(found.container_bytes, 100);
    assert_eq!(found.containers, [OWN.to_owned()].into(), "what the engine keeps of it is measured too");
    assert_eq!(found.unmeasured, ["unknown".to_owned()].into(), "its files may be any number");
    let data = format!("longshore-guard-{}-data", guard.policy().client().trim_start_matches("job "));
    assert_eq!(found.volumes, [unnamed, data, "longshore-job-abc-1".to_owned()].into());
    // Its own alone, running or not, with their sizes.
    let path = guard.sizes_path().unwrap();
    assert!(
        path.starts_with("/containers/json?all=1&size=1&filters=") && path.contains("longshore.guard.scope"),
        "{path}"
    );
    assert_eq!(job(JOB, 41).sizes_path(), None, "a guard that sees no volumes measures nothing");
}

#[test]
fn over_the_budget_of_the_disk_everything_is_refused_and_ended() {
    let mut guard = measured();
    assert_eq!(guard.judge_disk_bytes(1000), None);
    assert!(guard.frozen().is_none() && ask(&guard, "POST", CREATE, r#"{"Image":"busybox"}"#).is_ok());
    let reason = guard.judge_disk_bytes(5 << 20).unwrap();
    assert!(reason.contains("takes 5 MiB") && reason.contains("LONGSHORE_DOCKER_DISK_MAX_MIB"), "{reason}");
    let refusal = guard.frozen().unwrap();
    assert_eq!((refusal.rule, refusal.reason), (Rule::Budget, reason));
    let list =
        json!([{"Id": OWN, "State": "running"}, {"Id": VICTIM, "State": "exited"}, {"Id": "x", "State": "running"}]);
    let kills: Vec<String> =
        guard.kills(&list).into_iter().map(|call| format!("{} {}", call.method, call.path)).collect();
    assert_eq!(kills, [format!("POST /containers/{OWN}/kill")]);
}
