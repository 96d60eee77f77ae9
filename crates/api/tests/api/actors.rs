//! Builds and jobs say who did what.

use longshore_core::access::{Rights, Scope};
use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn who_started_canceled_and_reran_is_on_the_build() {
    let world = World::with_dispatcher().await;
    let repo = world.repo("o/r", "git", false).await;
    let pushed = world.build_of_event(repo.id, |event| event.sender = "octocat".to_owned()).await;
    let path = format!("/api/v1/builds/{}", pushed.id);
    let view = world.get(&path).await.json();
    assert_eq!((&view["started_by"]["name"], &view["started_by"]["via"]), (&json!("octocat"), &json!("event")));
    assert_eq!((&view["started_by"]["at"], &view["canceled_by"]), (&view["created_at"], &Value::Null));

    let ci = world.token_of(Rights::new(vec![Scope::Build], None)).await;
    let by_ci = async |path: String| world.call("POST", &path, Some(&ci.secret), "").await;
    assert_eq!(by_ci(format!("{path}/cancel")).await.status, 202);
    // A later caller has canceled nothing.
    assert_eq!(world.post(&format!("{path}/cancel"), json!({})).await.status, 202);
    let again = by_ci(format!("{path}/rerun")).await.json();
    let view = world.get(&path).await.json();
    assert_eq!((&view["canceled_by"]["name"], &view["canceled_by"]["via"]), (&json!("build"), &json!("token")));
    assert_eq!(view["canceled_by"]["token"], json!(ci.token.id));
    assert!(view["canceled_by"]["at"].as_str().unwrap() >= view["created_at"].as_str().unwrap());
    assert_eq!((&view["reruns"][0]["id"], &view["reruns"][0]["number"]), (&again["id"], &json!(2)));
    assert_eq!(view["reruns"][0]["by"]["name"], "build");
    let new = world.get(&format!("/api/v1/builds/{}", again["id"].as_str().unwrap())).await.json();
    assert_eq!((&new["started_by"]["name"], &new["rerun_of"]), (&json!("build"), &view["id"]));
    // Lists say the same.
    let listed = world.get("/api/v1/builds").await.json();
    assert_eq!(listed["items"][1]["canceled_by"], view["canceled_by"]);
    let page = world.get(&format!("/builds/{}", pushed.id)).await;
    for words in ["started by", "canceled by", "rerun as"] {
        assert!(page.text().contains(words), "{words}: {}", page.text());
    }

    let build = world.build_of_jobs(repo.id, 2, |_| {}).await;
    let job = world.job_of(&build).await;
    assert_eq!(by_ci(format!("/api/v1/jobs/{}/cancel", job.id)).await.status, 202);
    let view = world.get(&format!("/api/v1/builds/{}", build.id)).await.json();
    assert_eq!((&view["jobs"][0]["canceled_by"]["name"], &view["canceled_by"]), (&json!("build"), &Value::Null));
    assert_eq!(view["jobs"][1]["canceled_by"], Value::Null);
}
