//! Credentials for registries go in, and passwords never come out.

use longshore_core::access::{Rights, Scope};
use longshore_store::{registries, secrets};
use serde_json::json;

use crate::world::{ADMIN, World};

#[tokio::test]
async fn a_registrys_credentials_are_set_replaced_listed_and_removed_and_the_password_is_in_no_answer() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", true).await;
    for all in ["/api/v1/registries".to_owned(), format!("/api/v1/repos/{}/registries", repo.id)] {
        let one = format!("{all}/registry.example%3A5000");
        let put = async |password: &str| {
            let body = json!({ "username": "robot", "password": password }).to_string();
            world.call("PUT", &one, Some(ADMIN), body).await
        };
        let (first, second) = (put("first-value").await, put("second-value").await);
        assert_eq!((first.status, second.status), (201, 200));
        assert_eq!(first.json()["created_at"], second.json()["created_at"]);
        let listed = world.get(&all).await;
        let item = &listed.json()["items"][0];
        assert_eq!((&item["host"], &item["username"]), (&json!("registry.example:5000"), &json!("robot")));
        assert_eq!(item["updated_by"], "admin");
        for answer in [&first, &second, &listed] {
            assert!(!answer.text().contains("-value"), "{}", answer.text());
        }
        let opened = registries::open(&world.store, repo.id).await.unwrap();
        assert_eq!(opened[&"registry.example:5000".parse().unwrap()].expose(), "second-value");
        assert_eq!(world.call("DELETE", &one, Some(ADMIN), "").await.status, 204);
        assert_eq!(world.call("DELETE", &one, Some(ADMIN), "").await.status, 404);
    }
    assert!(registries::open(&world.store, repo.id).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_administrator_of_one_repository_sets_no_registry_for_all_and_none_of_another() {
    let world = World::new().await;
    let (own, other) = (world.repo("o/own", "git", false).await, world.repo("o/other", "git", true).await);
    let token = world.token_of(Rights::new(vec![Scope::Admin], Some(vec![own.id]))).await.secret;
    let body = json!({ "username": "robot", "password": "12345678" }).to_string();
    let put = async |path: String| world.call("PUT", &path, Some(&token), body.clone()).await.status;
    assert_eq!(put("/api/v1/registries/registry.example".to_owned()).await, 403);
    assert_eq!(put(format!("/api/v1/repos/{}/registries/registry.example", other.id)).await, 404);
    assert_eq!(put(format!("/api/v1/repos/{}/registries/registry.example", own.id)).await, 201);
    assert!(registries::open(&world.store, other.id).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_no_registry_or_no_credentials_is_refused_with_what_to_write() {
    let world = World::new().await;
    let put = async |host: &str, body: serde_json::Value| {
        world.call("PUT", &format!("/api/v1/registries/{host}"), Some(ADMIN), body.to_string()).await
    };
    let good = json!({ "username": "robot", "password": "12345678" });
    let refused = put("team", good.clone()).await;
    assert_eq!(refused.status, 400);
    assert!(refused.error().contains("registry.example:5000"), "{}", refused.error());
    for body in [
        json!({ "username": "", "password": "12345678" }),
        json!({ "username": "a:b", "password": "12345678" }),
        json!({ "username": "robot", "password": "" }),
        json!({ "username": "robot", "password": "x".repeat(17 << 10) }),
        json!({ "username": "robot" }),
    ] {
        let answer = put("registry.example", body).await;
        assert_eq!(answer.status, 400);
        assert!(!answer.text().contains("12345678"), "{}", answer.text());
    }
    assert_eq!(put("registry.example", good.clone()).await.status, 201);
    std::fs::remove_file(world.store.data_dir().join(secrets::KEY_FILE)).unwrap();
    assert_eq!(put("registry.example", good).await.status, 503);
}
