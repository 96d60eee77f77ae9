//! The audit log: every request that changes something is in it, with who sent it and what was decided.

use std::collections::BTreeSet;

use longshore_core::access::{Rights, Scope};
use longshore_store::audit;
use serde_json::{Value, json};

use crate::{
    access::{Scene, asked, routes},
    auth::status_of,
    world::{ADMIN, World},
};

async fn records(world: &World, query: &str) -> Vec<Value> {
    let answer = world.get(&format!("/api/v1/audit?{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn every_request_that_changes_something_is_recorded() {
    let world = World::with_dispatcher().await;
    let mut unnamed = Vec::new();
    for (index, (method, path)) in routes().into_iter().filter(|(method, _)| method != "GET").enumerate() {
        // Deliveries are records of their own.
        if path == "/hooks/{repo}" {
            assert_eq!(longshore_api::audit_action(&method, &path), None);
            continue;
        }
        let action = longshore_api::audit_action(&method, &path).unwrap();
        if action.contains('/') {
            unnamed.push(format!("{method} {path}"));
        }
        let scene = Scene::new(&world, &format!("r{index}"), false).await;
        let victim = world.token_of(Rights::new(vec![Scope::Read], None)).await.token.id.to_string();
        let session = "00000000-0000-7000-8000-000000000000".to_owned();
        let address = scene.address(&path, &[("{token}", victim), ("{session}", session)]);

        let reader = world.token_of(Rights::new(vec![Scope::Read], None)).await;
        let before = records(&world, "limit=1").await.first().map_or(0, |one| one["number"].as_i64().unwrap());
        let of_reader = asked(&world, &method, &path, &address, Some(&reader.secret)).await;
        let of_admin = asked(&world, &method, &path, &address, Some(ADMIN)).await;
        let new: Vec<Value> =
            records(&world, "").await.into_iter().filter(|one| one["number"].as_i64().unwrap() > before).collect();
        let what = format!("{method} {path}: {of_reader}, {of_admin}: {new:?}");
        assert_eq!(new.len(), 2, "{what}");
        for (one, status) in [(&new[1], of_reader), (&new[0], of_admin)] {
            assert_eq!(one["action"], action.as_str(), "{what}");
            let expected = match status {
                200..=399 => "allowed",
                401 | 403 => "denied",
                _ => "failed",
            };
            assert_eq!(one["decision"], expected, "{what}");
            if path.contains("{repo}") && expected != "failed" {
                assert_eq!(one["repo"]["name"], scene.repo.name.as_str(), "{what}");
            }
            if path.contains("{job}") || path.contains("{build}") {
                assert_eq!(one["repo"]["id"], scene.repo.id.to_string(), "{what}");
            }
        }
        assert_eq!(new[0]["actor"]["name"], "admin", "{what}");
    }
    assert!(unnamed.is_empty(), "`action` in src/audited.rs has no name for {unnamed:?}");
    audit::verify(world.store.data_dir()).await.unwrap();
}

#[tokio::test]
async fn a_record_has_the_names_of_fields_and_never_a_value() {
    let world = World::with_dispatcher().await;
    let repo = world.repo("app", "git", false).await;
    let value = "sesame-open-now";
    let secret = format!("/api/v1/repos/{}/secrets/DOOR", repo.id);
    assert_eq!(world.call("PUT", &secret, Some(ADMIN), json!({ "value": value }).to_string()).await.status, 201);
    let registry = json!({"username": "ada", "password": value}).to_string();
    world.call("PUT", "/api/v1/registries/registry.example", Some(ADMIN), registry).await;
    let patch = json!({"docker": "raw", "clone_url": format!("https://ada:{value}@forge.example/x.git")}).to_string();
    let patched = world.call("PATCH", &format!("/api/v1/repos/{}", repo.id), Some(ADMIN), patch).await;
    assert_eq!(patched.status, 200, "{}", patched.text());
    world.call("POST", "/sign-in", None, format!("code={value}")).await;

    let found = &records(&world, "action=secret.set").await[0];
    assert_eq!((&found["object"], &found["fields"]), (&json!("DOOR"), &json!(["value"])));
    assert_eq!(found["repo"], json!({"id": repo.id, "name": "app"}));
    let found = &records(&world, "action=registry").await[0];
    assert_eq!((&found["object"], &found["fields"]), (&json!("registry.example"), &json!(["password", "username"])));
    assert_eq!(records(&world, "action=repo.change").await[0]["fields"], json!(["clone_url", "docker"]));
    let refused = &records(&world, "action=session.open").await[0];
    assert_eq!((&refused["decision"], &refused["actor"]["via"]), (&json!("denied"), &json!("anonymous")));

    let exported = world.get("/api/v1/audit/export").await.text().to_owned();
    assert_eq!(exported.lines().count(), 4);
    assert!(!exported.contains(value), "{exported}");
    let after = world.get("/api/v1/audit/export?after=3").await.text().to_owned();
    assert_eq!(after.lines().collect::<Vec<_>>(), exported.lines().skip(3).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_approval_and_a_cancel_name_the_build_the_job_and_who() {
    let world = World::with_dispatcher().await;
    let repo = world.repo("app", "git", false).await;
    let waiting = world.build_of_jobs(repo.id, 1, |job| job.approval = Some("now?".to_owned())).await;
    let job = world.job_of(&waiting).await.id;
    let approver = world.token_of(Rights::new(vec![Scope::Approve], Some(vec![repo.id]))).await;
    let approve = format!("/api/v1/jobs/{job}/approve");
    assert_eq!(status_of(&world, "POST", &approve, Some(&approver.secret), "{}").await, 202);
    // Nothing waits any more.
    assert_eq!(status_of(&world, "POST", &approve, Some(&approver.secret), "{}").await, 409);
    assert_eq!(
        status_of(&world, "POST", &format!("/api/v1/builds/{}/cancel", waiting.id), Some(ADMIN), "{}").await,
        202
    );

    let all = records(&world, &format!("repo={}", repo.id)).await;
    let short: Vec<_> =
        all.iter().map(|one| (one["action"].as_str().unwrap(), one["decision"].as_str().unwrap())).collect();
    assert_eq!(short, [("build.cancel", "allowed"), ("job.approve", "failed"), ("job.approve", "allowed")]);
    assert_eq!(all[2]["actor"]["token"], approver.token.id.to_string());
    assert_eq!((&all[2]["build"], &all[2]["job"]), (&json!(waiting.id), &json!(job)));
}

#[tokio::test]
async fn a_flood_of_refusals_is_counted_and_does_not_fill_the_disk() {
    let world = World::new().await;
    for _ in 0..80 {
        assert_eq!(status_of(&world, "POST", "/api/v1/tokens", None, "{}").await, 401);
    }
    assert_eq!(records(&world, "limit=200").await.len(), 60);
    // Somebody who is known is still recorded.
    let reader = world.token_of(Rights::new(vec![Scope::Read], None)).await;
    assert_eq!(status_of(&world, "POST", "/api/v1/tokens", Some(&reader.secret), "{}").await, 403);
    assert_eq!(records(&world, "limit=200").await.len(), 61);
}

#[tokio::test]
async fn the_page_shows_who_did_what_and_finds_it() {
    let world = World::with_dispatcher().await;
    let repo = world.repo("team/app", "git", false).await;
    world.call("PUT", &format!("/api/v1/repos/{}/secrets/DOOR", repo.id), Some(ADMIN), r#"{"value":"12345678"}"#).await;
    let reader = world.token_of(Rights::new(vec![Scope::Read], None)).await;
    status_of(&world, "DELETE", &format!("/api/v1/repos/{}", repo.id), Some(&reader.secret), "").await;
    let shown = async |query: &str| {
        let text = world.get(&format!("/audit{query}")).await.text().to_owned();
        ["secret.set", "repo.remove"]
            .into_iter()
            .filter(|action| text.contains(&format!("<code>{action}</code>")))
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(shown("").await.len(), 2);
    assert_eq!(shown("?q=door").await, BTreeSet::from(["secret.set"]));
    assert_eq!(shown("?decision=denied&actor=&action=&repo=&q=").await, BTreeSet::from(["repo.remove"]));
    assert_eq!(shown("?repo=team/app&action=secret").await, BTreeSet::from(["secret.set"]));
    assert!(world.get("/audit?repo=none").await.text().contains("No repository is called"));
}

#[tokio::test]
async fn the_page_leads_to_no_repository_that_was_removed() {
    let world = World::with_dispatcher().await;
    let (kept, removed) = (world.repo("team/kept", "git", false).await, world.repo("team/gone", "git", false).await);
    for repo in [&kept, &removed] {
        let path = format!("/api/v1/repos/{}/secrets/DOOR", repo.id);
        world.call("PUT", &path, Some(ADMIN), r#"{"value":"12345678"}"#).await;
    }
    assert!(status_of(&world, "DELETE", &format!("/api/v1/repos/{}", removed.id), Some(ADMIN), "").await < 300);
    let page = world.get("/audit").await.text().to_owned();
    assert!(page.contains(&format!("href=\"/repos/{}\"", kept.id)), "{page}");
    assert!(page.contains("team/gone") && !page.contains(&format!("/repos/{}", removed.id)), "{page}");
}
