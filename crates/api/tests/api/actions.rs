//! Starting, canceling and rerunning builds and jobs.

use longshore_core::Outcome;
use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn a_build_and_a_job_are_cancelled_and_run_once_more() {
    let world = World::with_dispatcher().await;
    let repo = world.repo("o/r", "git", false).await;
    let build = world.build(repo.id, "main", &["step"]).await;
    let path = format!("/api/v1/builds/{}", build.id);
    assert_eq!(world.post(&format!("{path}/rerun"), json!({})).await.status, 409);
    let canceled = world.post(&format!("{path}/cancel"), json!({})).await;
    assert_eq!((canceled.status, &canceled.json()["status"]), (202, &json!("canceled")));
    assert_eq!(world.post(&format!("{path}/cancel"), json!({})).await.json()["status"], "canceled");
    let rerun = world.post(&format!("{path}/rerun"), json!({ "failed_only": true })).await;
    assert_eq!((rerun.status, &rerun.json()["number"], &rerun.json()["status"]), (202, &json!(2), &json!("queued")));

    let running = world.claim().await;
    let job = format!("/api/v1/jobs/{}", running.id);
    let canceling = world.post(&format!("{job}/cancel"), json!({})).await;
    assert_eq!((canceling.status, &canceling.json()["status"]), (202, &json!("canceling")));
    running.end(Outcome::Canceled).await;
    let again = world.call("POST", &format!("{job}/rerun"), Some(crate::world::ADMIN), "").await;
    assert_eq!((again.status, &again.json()["number"]), (202, &json!(3)));
    assert_eq!(world.post(&format!("{path}/rerun"), json!({ "all": true })).await.status, 400);
}

#[tokio::test]
async fn what_is_not_there_or_not_built_yet_is_said_by_name() {
    let world = World::with_dispatcher().await;
    let repo = world.repo("o/r", "git", false).await;
    let job = world.finished(repo.id, b"x").await;
    for verb in ["approve", "decline"] {
        let answer = world.post(&format!("/api/v1/jobs/{job}/{verb}"), json!({})).await;
        assert_eq!(answer.status, 409);
        assert!(answer.error().contains(&format!("nothing to {verb}")), "{}", answer.error());
    }
    let nobody = "0197c5a0-7d3e-7000-8000-000000000000";
    for path in [
        format!("/api/v1/builds/{nobody}/cancel"),
        format!("/api/v1/builds/{nobody}/rerun"),
        format!("/api/v1/jobs/{nobody}/cancel"),
        format!("/api/v1/jobs/{nobody}/rerun"),
        format!("/api/v1/jobs/{nobody}/approve"),
        format!("/api/v1/repos/{nobody}/builds"),
        "/api/v1/jobs/x/cancel".to_owned(),
    ] {
        let answer = world.post(&path, json!({})).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
    }
    let unusable = world.post(&format!("/api/v1/repos/{}/builds", repo.id), json!({ "ref": "--upload-pack=x" })).await;
    assert!(matches!(unusable.status, 422 | 502), "{}", unusable.text());
    assert!(!unusable.text().contains("hidden"), "{}", unusable.text());
}
