//! Secrets go in and never come out.

use longshore_core::SecretName;
use longshore_store::{secrets, tokens::Scope};
use serde_json::json;

use crate::world::{ADMIN, World};

#[tokio::test]
async fn a_secret_is_set_replaced_listed_and_removed_and_its_value_is_in_no_answer() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", true).await;
    let all = format!("/api/v1/repos/{}/secrets", repo.id);
    let one = format!("{all}/NPM_TOKEN");
    let put = async |value: &str| world.call("PUT", &one, Some(ADMIN), json!({ "value": value }).to_string()).await;
    let (first, second) = (put("first-value").await, put("second-value").await);
    assert_eq!((first.status, second.status), (201, 200));
    assert_eq!(first.json()["created_at"], second.json()["created_at"]);
    let listed = world.get(&all).await;
    assert_eq!(listed.json()["items"][0]["name"], "NPM_TOKEN");
    assert_eq!(listed.json()["items"][0]["updated_by"], "admin");
    for answer in [&first, &second, &listed] {
        assert!(!answer.text().contains("-value"), "{}", answer.text());
    }
    let name: SecretName = "NPM_TOKEN".parse().unwrap();
    let opened = secrets::open(&world.store, repo.id, std::slice::from_ref(&name)).await.unwrap();
    assert_eq!(opened[&name].expose(), "second-value");
    assert_eq!(world.call("DELETE", &one, Some(ADMIN), "").await.status, 204);
    assert_eq!(world.call("DELETE", &one, Some(ADMIN), "").await.status, 404);
    assert_eq!(world.call("GET", &one, Some(ADMIN), "").await.status, 405);
}

#[tokio::test]
async fn only_an_administrator_sees_even_the_names_of_secrets() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", true).await;
    let token = world.token(Scope::Build).await;
    let all = format!("/api/v1/repos/{}/secrets", repo.id);
    let body = json!({ "value": "v" }).to_string();
    for (method, path) in [("GET", all.clone()), ("PUT", format!("{all}/A")), ("DELETE", format!("{all}/A"))] {
        assert_eq!(world.call(method, &path, Some(&token), body.clone()).await.status, 403, "{method}");
        assert_eq!(world.call(method, &path, None, body.clone()).await.status, 401, "{method}");
    }
}

#[tokio::test]
async fn a_bad_name_an_unusable_value_and_a_key_that_does_not_fit_are_told_apart() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let all = format!("/api/v1/repos/{}/secrets", repo.id);
    let put = async |name: &str, body: serde_json::Value| {
        world.call("PUT", &format!("{all}/{name}"), Some(ADMIN), body.to_string()).await
    };
    assert!(put("1st", json!({ "value": "v" })).await.error().contains("not starting with a digit"));
    for (body, status) in [
        (json!({ "value": "" }), 400),
        (json!({ "value": "x".repeat(49 << 10) }), 400),
        (json!({ "value": 1 }), 400),
        (json!({}), 400),
    ] {
        assert_eq!(put("A", body).await.status, status);
    }
    let nobody = "/api/v1/repos/0197c5a0-7d3e-7000-8000-000000000000/secrets";
    assert_eq!(world.get(nobody).await.status, 404);
    let there = world.call("PUT", &format!("{nobody}/A"), Some(ADMIN), json!({ "value": "v" }).to_string()).await;
    assert_eq!(there.status, 404);

    assert_eq!(put("A", json!({ "value": "v" })).await.status, 201);
    std::fs::remove_file(world.store.data_dir().join(secrets::KEY_FILE)).unwrap();
    let answer = put("A", json!({ "value": "v" })).await;
    assert_eq!(answer.status, 503);
    assert!(answer.error().contains("LONGSHORE_SECRET_KEY"), "{}", answer.error());
}

#[tokio::test]
async fn rules_are_set_listed_and_changed_without_the_value() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", true).await;
    let all = format!("/api/v1/repos/{}/secrets", repo.id);
    let put =
        async |body: serde_json::Value| world.call("PUT", &format!("{all}/TOKEN"), Some(ADMIN), body.to_string()).await;
    assert!(put(json!({ "branches": ["main"] })).await.error().contains("needs a value"));
    let rules = json!({ "value": "first-value", "branches": ["main", "release/*"], "events": ["push", "schedule"] });
    assert_eq!(put(rules).await.status, 201);
    let changed = put(json!({ "tags": ["v*"], "jobs": ["ci/deploy"] })).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let listed = world.get(&all).await.json()["items"][0].clone();
    assert_eq!(listed["branches"], json!(["main", "release/*"]));
    assert_eq!(listed["tags"], json!(["v*"]));
    assert_eq!(listed["events"], json!(["push", "schedule"]));
    assert_eq!(listed["jobs"], json!(["ci/deploy"]));
    // A new value removes no rule; an empty list does.
    assert_eq!(put(json!({ "value": "second-value" })).await.json()["branches"], json!(["main", "release/*"]));
    assert_eq!(put(json!({ "branches": [] })).await.json()["branches"], json!([]));
    let name: SecretName = "TOKEN".parse().unwrap();
    let opened = secrets::open(&world.store, repo.id, std::slice::from_ref(&name)).await.unwrap();
    assert_eq!(opened[&name].expose(), "second-value");
    for (body, said) in [
        (json!({ "branches": ["[a"] }), "branches"),
        (json!({ "jobs": [""] }), "jobs"),
        (json!({ "tags": ["v1\n"] }), "tags"),
        (json!({ "events": ["pushes"] }), "pushes"),
        (json!({ "branches": vec!["a"; 51] }), "more than 50"),
        (json!({ "people": ["me"] }), "people"),
    ] {
        let answer = put(body).await;
        assert!(answer.status == 400 && answer.error().contains(said), "{}", answer.text());
    }
}

#[tokio::test]
async fn whoever_sets_a_secret_is_told_what_logs_do_not_mask_of_it() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", true).await;
    let put = async |value: &str| {
        let path = format!("/api/v1/repos/{}/secrets/TOKEN", repo.id);
        world.call("PUT", &path, Some(ADMIN), json!({ "value": value }).to_string()).await.json()
    };
    assert_eq!(put("long enough").await.get("notes"), None);
    for (value, said) in [
        ("abc", "shorter than 4 bytes"),
        ("prod", "only as a separate word"),
        ("first line\nab\nlast line", "line 2 of the value"),
    ] {
        let answer = put(value).await;
        assert!(answer["notes"][0].as_str().unwrap().contains(said), "{answer}");
    }
}
