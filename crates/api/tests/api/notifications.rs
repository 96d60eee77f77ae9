//! Notifications: added, listed, tried and removed by the API and the pages, and what nobody gets to see of them.

use longshore_core::access::{Rights, Scope};
use serde_json::{Value, json};

use crate::{
    pages::{send_form, signed_in},
    receiver::Receiver,
    sign_in::sign_in,
    world::World,
};

const SECRET: &str = "/services/T0/B0/s3cret-path";

async fn add(world: &World, path: &str, body: Value) -> Value {
    let answer = world.post(path, body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn a_notification_is_tried_and_its_address_never_comes_back() {
    let (world, receiver) = (World::new().await, Receiver::start());
    let repo = world.repo("team/app", "git", false).await.id;
    for path in ["/api/v1/notifications".to_owned(), format!("/api/v1/repos/{repo}/notifications")] {
        let new =
            json!({ "kind": "slack", "address": receiver.url(SECRET), "name": "ops", "on": ["fixed", "failure"] });
        let added = add(&world, &path, new).await;
        assert_eq!((&added["name"], &added["on"]), (&json!("ops"), &json!(["failure", "fixed"])), "{added}");
        assert!(added.get("signing_key").is_none());
        let id = added["id"].as_str().unwrap();
        let tried = world.post(&format!("{path}/{id}/test"), json!({})).await;
        assert_eq!(tried.status, 204, "{}", tried.text());
        let arrived = receiver.taken().pop().unwrap();
        assert!(arrived.path == SECRET && arrived.body()["text"].as_str().unwrap().contains("test"), "{arrived:?}");
        receiver.answer(403, "", "no_service s3cret-path");
        let refused = world.post(&format!("{path}/{id}/test"), json!({})).await;
        assert!(refused.status == 422 && refused.error().contains("no_service"), "{}", refused.text());
        receiver.answer(200, "", "ok");
        let list = world.get(&path).await;
        assert_eq!(list.json()["items"].as_array().unwrap().len(), 1);
        for answer in [&list, &refused] {
            assert!(!answer.text().contains("s3cret-path"), "{}", answer.text());
        }
        assert_eq!(world.call("DELETE", &format!("{path}/{id}"), Some(crate::world::ADMIN), "").await.status, 204);
        assert_eq!(world.post(&format!("{path}/{id}/test"), json!({})).await.status, 404);
    }
    for file in ["longshore.db", "longshore.db-wal"] {
        let bytes = std::fs::read(world.store.data_dir().join(file)).unwrap_or_default();
        assert!(!bytes.windows(11).any(|window| window == b"s3cret-path"), "{file}");
    }
}

#[tokio::test]
async fn the_key_of_a_webhook_is_shown_once() {
    let (world, receiver) = (World::new().await, Receiver::start());
    let added = add(&world, "/api/v1/notifications", json!({ "kind": "webhook", "address": receiver.url("/") })).await;
    assert!(added["signing_key"].as_str().unwrap().starts_with("whsec_"), "{added}");
    assert_eq!(added["on"], json!(["failure", "fixed", "approval", "anomaly"]));
    assert!(!world.get("/api/v1/notifications").await.text().contains("whsec_"));
}

#[tokio::test]
async fn a_repositorys_administrator_names_no_address_of_the_servers_own_network() {
    let (world, receiver) = (World::new().await, Receiver::start());
    let repo = world.repo("team/app", "git", false).await.id;
    let rights = Rights::new(vec![Scope::Admin], Some(vec![repo]));
    let token = world.token_of(rights).await.secret;
    let path = format!("/api/v1/repos/{repo}/notifications");
    let post = async |path: &str, body: Value| world.call("POST", path, Some(&token), body.to_string()).await;
    for address in [receiver.url("/"), "http://169.254.169.254/".to_owned(), "http://localhost:1/".to_owned()] {
        let answer = post(&path, json!({ "kind": "webhook", "address": address })).await;
        assert!(answer.status == 422 && answer.error().contains("own network"), "{address}: {}", answer.text());
    }
    // A name that leads there is found out when something is sent.
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let address = format!("http://{}:{}/", name.trim(), receiver.port);
    let added = post(&path, json!({ "kind": "webhook", "address": address })).await;
    assert_eq!(added.status, 201, "{}", added.text());
    let test = format!("{path}/{}/test", added.json()["id"].as_str().unwrap());
    let answer = post(&test, json!({})).await;
    assert!(answer.status == 422 && answer.error().contains("own network"), "{}", answer.text());
    assert!(receiver.state().received.is_empty());
}

#[tokio::test]
async fn what_cannot_be_told_is_refused_with_what_is_wrong() {
    let world = World::new().await;
    for (body, status, says) in [
        (json!({ "kind": "irc", "address": "x" }), 400, "`irc` is not a kind"),
        (json!({ "kind": "slack", "address": "hooks.slack.com/x" }), 400, "incoming webhook"),
        (
            json!({ "kind": "webhook", "address": "https://a.example", "on": [] }),
            400,
            "failure, fixed, approval, anomaly",
        ),
        (json!({ "kind": "webhook", "address": "https://a.example", "on": ["success"] }), 400, "`success`"),
        (json!({ "kind": "webhook", "address": "https://a.example", "branches": ["["] }), 400, "branches"),
        (json!({ "kind": "email", "address": "a@example.org" }), 422, "LONGSHORE_SMTP_URL"),
    ] {
        let answer = world.post("/api/v1/notifications", body.clone()).await;
        assert!(
            answer.status == status && answer.error().contains(says),
            "{body}: {} {}",
            answer.status,
            answer.text()
        );
    }
}

#[tokio::test]
async fn the_pages_add_try_and_remove_notifications() {
    let (world, receiver) = (World::new().await, Receiver::start());
    let repo = world.repo("team/app", "git", false).await.id;
    let cookie = sign_in(&world, Scope::Admin).await;
    for path in ["/notifications".to_owned(), format!("/repos/{repo}/notifications")] {
        let (_, csrf) = signed_in(&world, &path, &cookie).await;
        let send = async |path: &str, form: &str| send_form(&world, path, &cookie, format!("csrf={csrf}&{form}")).await;
        let address = receiver.url(SECRET).replace(':', "%3A").replace('/', "%2F");
        let form = format!("kind=webhook&name=hook&address={address}&failure=yes&branches=main");
        let added = send(&path, &form).await;
        assert!(added.status == 200 && added.text().contains("whsec_"), "{} {}", added.status, added.text());
        let (page, _) = signed_in(&world, &path, &cookie).await;
        assert!(!page.text().contains("whsec_") && !page.text().contains("s3cret"), "{}", page.text());
        let id = page.text().split("id=\"notification-").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let tried = send(&format!("{path}/{id}/test"), "").await;
        assert!(tried.text().contains("has arrived"), "{}", tried.text());
        let removed = send(&format!("{path}/{id}/remove"), "").await;
        assert_eq!(removed.status, 303);
        assert!(signed_in(&world, &path, &cookie).await.0.text().contains("No notifications yet"));
        let refused = send(&path, "kind=slack&address=x&failure=yes").await;
        assert!(refused.status == 400 && refused.text().contains("Notification not added"), "{}", refused.text());
    }
    assert_eq!(receiver.taken().len(), 2);
}
