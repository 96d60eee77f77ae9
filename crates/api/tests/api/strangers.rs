//! Settings and answers about pull requests of strangers.

use longshore_core::{EventName, Status, Strangers, event::PullRequest};
use longshore_store::{builds::Build, jobs, repos, tokens::Scope};
use serde_json::json;

use crate::{
    pages::{send_form, signed_in},
    sign_in::sign_in,
    world::{ADMIN, World},
};

#[tokio::test]
async fn which_pull_requests_wait_is_set_by_the_api_and_on_the_page_and_all_do_at_first() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let address = format!("/api/v1/repos/{}", repo.id);
    let first = world.get(&address).await.json();
    assert_eq!((&first["strangers"], &first["cancel_older"]), (&json!("all"), &json!(true)));
    let set = async |body: serde_json::Value| world.call("PATCH", &address, Some(ADMIN), body.to_string()).await;
    let changed = set(json!({ "strangers": "first-time", "cancel_older": false })).await.json();
    assert_eq!((&changed["strangers"], &changed["cancel_older"]), (&json!("first-time"), &json!(false)));
    let wrong = set(json!({ "strangers": "some" })).await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.error().contains("write none, first-time or all"), "{}", wrong.error());
    assert_eq!(set(json!({ "public": true })).await.json()["strangers"], "first-time", "what is not named stays");
    let may_build = world.token(Scope::Build).await;
    let refused = world.call("PATCH", &address, Some(&may_build), json!({ "strangers": "none" }).to_string()).await;
    assert_eq!(refused.status, 403);

    let cookie = sign_in(&world, Scope::Admin).await;
    let settings = format!("/repos/{}/settings", repo.id);
    let (shown, csrf) = signed_in(&world, &settings, &cookie).await;
    assert!(shown.text().contains("value=\"first-time\" selected"), "{}", shown.text());
    let form = format!("csrf={csrf}&clone_url=&default_branch=&strangers=none&cancel_older=yes");
    assert_eq!(send_form(&world, &settings, &cookie, form).await.status, 303);
    let kept = repos::get(&world.store, repo.id).await.unwrap().unwrap();
    assert_eq!((kept.strangers, kept.cancel_older), (Strangers::None, true));
    let form = format!("csrf={csrf}&clone_url=&default_branch=&strangers=some");
    assert_eq!(send_form(&world, &settings, &cookie, form).await.status, 400);
}

/// Makes a build of a fork's pull request with three jobs that ask about its commit.
async fn asking(world: &World) -> Build {
    let repo = world.repo("o/r", "gitea", true).await;
    world
        .build_with(repo.id, |new| {
            new.event.name = EventName::PullRequest;
            new.event.pull_request = Some(PullRequest {
                title: "Sort faster".to_owned(),
                fork: true,
                ..PullRequest::opened(7, "quick", "main")
            });
            let job = new.plan.jobs.remove(0);
            new.plan.jobs = ["a", "b", "c"]
                .map(|key| {
                    let stranger = Some("the commit of a fork".to_owned());
                    longshore_core::JobPlan { key: key.to_owned(), name: key.to_owned(), stranger, ..job.clone() }
                })
                .to_vec();
        })
        .await
}

async fn statuses(world: &World, build: &Build) -> Vec<Status> {
    jobs::of_build(&world.store, build.id).await.unwrap().iter().map(|job| job.status).collect()
}

#[tokio::test]
async fn one_request_approves_all_jobs_of_a_build_and_another_finds_nothing_to_approve() {
    let world = World::with_dispatcher().await;
    let build = asking(&world).await;
    let shown = world.get(&format!("/api/v1/builds/{}", build.id)).await.json();
    assert_eq!(shown["jobs"][1]["reason"], "awaiting approval: the commit of a fork");
    let path = format!("/api/v1/builds/{}/approve", build.id);
    let nobody = "/api/v1/builds/0197c5a0-7d3e-7000-8000-000000000000/approve";
    for scope in [Scope::Read, Scope::Build] {
        let token = world.token(scope).await;
        assert_eq!(world.call("POST", &path, Some(&token), "").await.status, 403, "{scope}");
    }
    assert_eq!(world.call("POST", &path, None, "").await.status, 401);
    assert_eq!(statuses(&world, &build).await, [Status::Blocked; 3]);
    assert_eq!(world.post(nobody, json!({})).await.status, 404);
    let approved = world.post(&path, json!({})).await;
    assert_eq!((approved.status, &approved.json()["status"]), (202, &json!("queued")));
    assert_eq!(statuses(&world, &build).await, [Status::Queued; 3]);
    let again = world.post(&path, json!({})).await;
    assert_eq!(again.status, 409);
    assert!(again.error().contains("nothing to approve"), "{}", again.error());
}

#[tokio::test]
async fn the_page_of_a_build_approves_all_its_jobs_in_one_act() {
    let world = World::with_dispatcher().await;
    let build = asking(&world).await;
    let address = format!("/builds/{}", build.id);
    let builder = sign_in(&world, Scope::Build).await;
    assert!(!signed_in(&world, &address, &builder).await.0.text().contains("do-approve"), "not for those who may not");
    let cookie = sign_in(&world, Scope::Approve).await;
    let (shown, csrf) = signed_in(&world, &address, &cookie).await;
    assert!(shown.text().contains("id=\"do-approve\""), "{}", shown.text());
    assert_eq!(send_form(&world, &format!("{address}/approve"), &cookie, format!("csrf={csrf}")).await.status, 303);
    assert_eq!(statuses(&world, &build).await, [Status::Queued; 3]);
    assert!(!signed_in(&world, &address, &cookie).await.0.text().contains("do-approve"));
}
