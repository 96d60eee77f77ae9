//! Connections to forges: checked when they are made, secret ever after, and what a repository is registered through.

use longshore_core::access::{Rights, Scope};
use longshore_forge::signature::sign;
use longshore_store::{connections, repos};
use serde_json::{Value, json};

use crate::{
    forge::{ACCOUNT, Forge, Kind, TOKEN},
    pages::{send_form, signed_in},
    sign_in::sign_in,
    world::{ADMIN, World},
};

async fn connect(world: &World, forge: &Forge, token: &str) -> (u16, Value) {
    let body = json!({ "kind": forge.kind.word(), "url": forge.url(), "token": token });
    let answer = world.post("/api/v1/connections", body).await;
    assert!(!answer.text().contains(token), "{}", answer.text());
    (answer.status, answer.json())
}

async fn register(world: &World, name: &str) -> (u16, Value) {
    let answer = world.post("/api/v1/repos", json!({ "name": name, "connection": "gitea" })).await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn a_connection_is_checked_when_it_is_made_and_its_token_never_comes_back() {
    let (world, forge) = (World::new().await, Forge::start(Kind::Gitea));
    let (status, made) = connect(&world, &forge, TOKEN).await;
    assert_eq!((status, &made["name"], &made["account"]), (201, &json!("gitea"), &json!(ACCOUNT)), "{made}");
    let id = made["id"].as_str().unwrap();
    for path in [
        "/api/v1/connections".to_owned(),
        format!("/api/v1/connections/{id}"),
        format!("/api/v1/connections/{id}/repos"),
    ] {
        let answer = world.get(&path).await;
        assert!(answer.status == 200 && !answer.text().contains(TOKEN), "{path}: {}", answer.text());
    }
    // Once more is another token for the same connection.
    assert_eq!(connect(&world, &forge, TOKEN).await.0, 200);
    assert_eq!(connections::list(&world.store).await.unwrap().len(), 1);
    for file in ["longshore.db", "longshore.db-wal"] {
        let bytes = std::fs::read(world.store.data_dir().join(file)).unwrap_or_default();
        assert!(!bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes()), "{file}");
    }
}

#[tokio::test]
async fn a_token_or_an_address_that_does_not_work_is_refused_with_what_is_wrong() {
    let (world, forge) = (World::new().await, Forge::start(Kind::Gitea));
    let refused = async |kind: &str, url: &str, token: &str| {
        let answer = world.post("/api/v1/connections", json!({ "kind": kind, "url": url, "token": token })).await;
        (answer.status, answer.error())
    };
    let (status, why) = refused("gitea", &forge.url(), "wrong-token-012345").await;
    assert!(status == 422 && why.contains("rejected the token") && !why.contains("wrong-token"), "{status} {why}");
    forge.state().scopes = vec!["read:user", "read:repository"];
    let (status, why) = refused("gitea", &forge.url(), TOKEN).await;
    assert!(status == 422 && why.contains("`repository: read and write`"), "{status} {why}");
    let (status, why) = refused("gitea", "http://127.0.0.1:1", TOKEN).await;
    assert!(status == 502 && why.contains("cannot be reached"), "{status} {why}");
    for (kind, url, token) in [
        ("svn", "https://forge.example", TOKEN),
        ("gitea", "forge.example", TOKEN),
        ("gitea", "https://a:b@forge.example", TOKEN),
        ("gitea", "https://forge.example", "a b"),
    ] {
        assert_eq!(refused(kind, url, token).await.0, 400, "{kind} {url}");
    }
    assert!(connections::list(&world.store).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_repository_comes_with_clone_address_branch_number_and_webhook_and_goes_with_them() {
    let (world, forge) = (World::new().await, Forge::start(Kind::Gitea));
    let (_, connection) = connect(&world, &forge, TOKEN).await;
    let (status, made) = register(&world, "team/app").await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(
        (&made["default_branch"], &made["forge_id"], &made["forge"]),
        (&json!("main"), &json!("41"), &json!("gitea"))
    );
    assert_eq!(made["clone_url"], format!("{}/team/app.git", forge.url()));
    let id = made["id"].as_str().unwrap();
    let repo = repos::get(&world.store, id.parse().unwrap()).await.unwrap().unwrap();
    assert!(repo.clone_url.contains(&format!("{ACCOUNT}:{TOKEN}@")), "clones need the token");

    let hooks = forge.state().hooks.clone();
    let [hook] = &hooks[..] else { panic!("{hooks:?}") };
    assert_eq!(hook.body["config"]["url"], format!("https://ci.example/hooks/{id}"));
    assert_eq!(hook.body["config"]["secret"], repo.hook_secret.expose().unwrap());

    let listed = world.get(&format!("/api/v1/connections/{}/repos", connection["id"].as_str().unwrap())).await.json();
    assert_eq!((&listed["items"][0]["repo"], &listed["items"][1]["repo"]), (&json!(id), &Value::Null), "{listed}");
    assert_eq!(register(&world, "team/app").await.0, 409);
    let used = world
        .call("DELETE", &format!("/api/v1/connections/{}", connection["id"].as_str().unwrap()), Some(ADMIN), "")
        .await;
    assert!(used.status == 409 && used.error().contains("team/app"), "{}", used.text());

    // A new secret goes to the forge.
    let renewed = world.post(&format!("/api/v1/repos/{id}/hook-secret"), json!({})).await;
    assert_eq!(renewed.status, 200, "{}", renewed.text());
    let hooks = forge.state().hooks.clone();
    let repo = repos::get(&world.store, id.parse().unwrap()).await.unwrap().unwrap();
    let (told, now) = (&hooks[0].body["config"]["secret"], repo.hook_secret.expose().unwrap());
    assert_eq!((hooks.len(), told.as_str()), (1, Some(now)));
    assert_ne!(&hook.body["config"]["secret"], told);
    // Anyone who knows the secret can report any push, so only the forge gets it.
    for answer in [&made, &renewed.json()] {
        assert!(answer.get("hook_secret").is_none() && !answer.to_string().contains(now), "{answer}");
    }

    assert_eq!(world.call("DELETE", &format!("/api/v1/repos/{id}"), Some(ADMIN), "").await.status, 204);
    assert!(forge.state().hooks.is_empty());
}

/// Returns the secret of the first webhook at the forge.
fn secret_at(forge: &Forge) -> String {
    forge.state().hooks[0].body["config"]["secret"].as_str().unwrap().to_owned()
}

/// Delivers a push to a repository, signed with this secret. Returns the answer's status.
async fn deliver(world: &World, repo: &str, secret: &str) -> u16 {
    let body = br#"{"ref":"refs/heads/gone","before":"","after":"0000000000000000000000000000000000000000"}"#;
    let signature = sign(longshore_forge::Forge::Gitea, body, secret.as_bytes());
    let headers = [("x-gitea-event", "push"), ("x-gitea-signature", signature.as_str())];
    crate::client::send(world.addr, "POST", &format!("/hooks/{repo}"), &headers, body.to_vec()).await.status
}

#[tokio::test]
async fn a_webhooks_secret_works_until_the_forge_has_the_new_one() {
    let (world, forge) = (World::new().await, Forge::start(Kind::Gitea));
    connect(&world, &forge, TOKEN).await;
    let (_, made) = register(&world, "team/app").await;
    let id = made["id"].as_str().unwrap();
    let path = format!("/api/v1/repos/{id}/hook-secret");
    let secret_at_forge = || secret_at(&forge);
    let delivered = async |secret: &str| deliver(&world, id, secret).await;
    let old = secret_at_forge();
    for _ in 0..2 {
        forge.state().down = true;
        assert_ne!(world.post(&path, json!({})).await.status, 200);
        forge.state().down = false;
        assert_eq!((secret_at_forge(), delivered(&old).await), (old.clone(), 202));
    }
    // The forge takes it, and fails before it has said so.
    forge.state().fails_after = Some(3);
    assert_ne!(world.post(&path, json!({})).await.status, 200);
    forge.state().fails_after = None;
    let told: Vec<String> = forge.state().hooks.iter().map(|hook| hook.body["config"]["secret"].to_string()).collect();
    for secret in &told {
        assert_eq!(delivered(secret.trim_matches('"')).await, 202, "{told:?}");
    }
    assert_eq!(world.post(&path, json!({})).await.status, 200);
    let (new, hooks) = (secret_at_forge(), forge.state().hooks.len());
    assert_eq!((hooks, delivered(&new).await, delivered(&old).await), (1, 202, 401));
}

#[tokio::test]
async fn a_former_webhook_secret_that_leaked_is_rejected_though_the_forge_refuses_the_new_one() {
    let (world, forge) = (World::new().await, Forge::start(Kind::Gitea));
    connect(&world, &forge, TOKEN).await;
    let (_, made) = register(&world, "team/app").await;
    let id = made["id"].as_str().unwrap();
    let (path, works) = (format!("/api/v1/repos/{id}"), "former_hook_secret_works");
    let secret_at_forge = || secret_at(&forge);
    let delivered = async |secret: &str| deliver(&world, id, secret).await;
    let old = secret_at_forge();
    let scopes = std::mem::replace(&mut forge.state().scopes, vec!["read:user", "read:repository"]);
    let refused = world.post(&format!("{path}/hook-secret"), json!({})).await;
    assert!(refused.text().contains("so the former one still works"), "{}", refused.text());
    assert_eq!((world.get(&path).await.json()[works].clone(), delivered(&old).await), (json!(true), 202));
    let former = format!("{path}/hook-secret/former");
    assert_eq!(world.call("DELETE", &former, Some(ADMIN), "").await.status, 204);
    assert_eq!((world.get(&path).await.json()[works].clone(), delivered(&old).await), (Value::Null, 401));
    // What the forge tells now is refused, which the repository shows, until the forge takes the new one.
    assert!(world.get(&path).await.json()["refused_hook"]["reason"].is_string());
    forge.state().scopes = scopes;
    assert_eq!(world.post(&format!("{path}/hook-secret"), json!({})).await.status, 200);
    assert_eq!((delivered(&secret_at_forge()).await, delivered(&old).await), (202, 401));
}

#[tokio::test]
async fn what_cannot_be_set_up_whole_is_not_registered() {
    let (world, forge) = (World::new().await, Forge::start(Kind::Gitea));
    connect(&world, &forge, TOKEN).await;
    let (status, answer) = register(&world, "team/nothing").await;
    assert!(status == 422 && answer.to_string().contains("repository `team/nothing`"), "{answer}");
    forge.state().repos[0].admin = false;
    let (status, answer) = register(&world, "team/app").await;
    assert!(status == 422 && answer.to_string().contains("is not an admin of"), "{answer}");
    for name in ["../team/app", "team/app?x", "team/..", ""] {
        assert_eq!(register(&world, name).await.0, 400, "{name}");
    }
    // The forge goes away before it has the webhook.
    forge.state().repos[0].admin = true;
    forge.state().scopes = vec!["read:user", "read:repository"];
    assert_eq!(register(&world, "team/app").await.0, 422);
    assert!(repos::by_name(&world.store, "team/app").await.unwrap().is_none());
    forge.state().scopes = vec!["read:user", "write:repository"];
    assert_eq!(register(&world, "team/app").await.0, 201);
}

#[tokio::test]
async fn a_registration_that_was_killed_before_its_webhook_goes_on_with_the_same_request() {
    let (world, forge) = (World::new().await, Forge::start(Kind::Gitea));
    let (_, connection) = connect(&world, &forge, TOKEN).await;
    // As a kill leaves it: stored, and the forge has been told or not.
    let repo = world.repo("team/app", "gitea", false).await;
    let mut tx = world.store.write().await.unwrap();
    let connection = connection["id"].as_str().unwrap().parse().unwrap();
    connections::attach(&mut tx, repo.id, connection, "41").await.unwrap();
    tx.commit().await.unwrap();
    let (status, made) = register(&world, "team/app").await;
    assert_eq!((status, made["id"].as_str().unwrap()), (201, repo.id.to_string().as_str()), "{made}");
    assert_eq!(forge.state().hooks.len(), 1);
}

#[tokio::test]
async fn another_token_reaches_the_clone_addresses_that_have_the_old_one() {
    let (world, forge) = (World::new().await, Forge::start(Kind::Gitea));
    connect(&world, &forge, TOKEN).await;
    let (_, made) = register(&world, "team/app").await;
    let (_, other) = register(&world, "team/other").await;
    let id = |repo: &Value| repo["id"].as_str().unwrap().parse().unwrap();
    let patch = json!({ "clone_url": "https://elsewhere.example/x.git" }).to_string();
    let path = format!("/api/v1/repos/{}", other["id"].as_str().unwrap());
    assert_eq!(world.call("PATCH", &path, Some(ADMIN), patch).await.status, 200);
    let mut tx = world.store.write().await.unwrap();
    let new = connections::NewConnection {
        name: None,
        kind: "gitea".to_owned(),
        url: forge.url(),
        account: "other".to_owned(),
        token: "another-token".to_owned(),
        clone_login: "other:another-token".to_owned(),
    };
    connections::set(&mut tx, &new, "x", longshore_core::Timestamp::now()).await.unwrap();
    tx.commit().await.unwrap();
    let address = async |repo: &Value| repos::get(&world.store, id(repo)).await.unwrap().unwrap().clone_url;
    assert!(address(&made).await.contains("other:another-token@"));
    // A repository that was pointed elsewhere gets no token of this forge.
    assert_eq!(address(&other).await, "https://elsewhere.example/x.git");
}

#[tokio::test]
async fn two_connections_to_one_forge_are_told_apart_by_name() {
    let (world, forge) = (World::new().await, Forge::start(Kind::Gitea));
    let add = async |name: Value| {
        let body = json!({ "kind": "gitea", "url": forge.url(), "token": TOKEN, "name": name });
        world.post("/api/v1/connections", body).await
    };
    assert_eq!(add(json!("one")).await.status, 201);
    assert_eq!(add(json!("two")).await.status, 201);
    assert_eq!(add(json!("one")).await.status, 200);
    assert_eq!(add(Value::Null).await.status, 409);
    assert_eq!(add(json!("-x")).await.status, 400);
    // A kind that two have says which is meant no more.
    assert_eq!(register(&world, "team/app").await.0, 400);
    let named = world.post("/api/v1/repos", json!({ "name": "team/app", "connection": "two" })).await;
    assert_eq!(named.status, 201, "{}", named.text());
}

#[tokio::test]
async fn an_administrator_of_one_repository_reaches_no_forge() {
    let (world, forge) = (World::new().await, Forge::start(Kind::Gitea));
    connect(&world, &forge, TOKEN).await;
    let own = world.repo("o/own", "git", false).await;
    let token = world.token_of(Rights::new(vec![Scope::Admin], Some(vec![own.id]))).await.secret;
    let calls = forge.state().calls;
    let body = json!({ "name": "team/app", "connection": "gitea" }).to_string();
    assert_eq!(world.call("POST", "/api/v1/repos", Some(&token), body).await.status, 403);
    assert_eq!(world.call("GET", "/api/v1/connections", Some(&token), "").await.status, 403);
    assert_eq!(forge.state().calls, calls);
}

#[tokio::test]
async fn a_repository_that_was_registered_by_hand_is_attached_with_webhook_and_token_and_keeps_its_secret() {
    let (world, forge) = (World::new().await, Forge::start(Kind::Gitea));
    connect(&world, &forge, TOKEN).await;
    let add = async |name: &str, clone_url: &str| {
        let made = world.post("/api/v1/repos", json!({ "name": name, "clone_url": clone_url })).await.json();
        made["id"].as_str().unwrap().to_owned()
    };
    let attach = async |id: &str, body: Value| {
        let answer = world.post(&format!("/api/v1/repos/{id}/connection"), body).await;
        (answer.status, answer.json())
    };
    let of_store = async |id: &str| repos::get(&world.store, id.parse().unwrap()).await.unwrap().unwrap();
    let app = add("app", &format!("{}/team/app.git", forge.url())).await;
    let secret = of_store(&app).await.hook_secret.expose().unwrap().to_owned();
    let (status, attached) = attach(&app, json!({ "connection": "gitea" })).await;
    assert_eq!(status, 200, "{attached}");
    assert_eq!((&attached["forge_id"], &attached["forge"]), (&json!("41"), &json!("gitea")), "{attached}");
    assert_eq!(attached["clone_url"], format!("{}/team/app.git", forge.url()));
    assert!(of_store(&app).await.clone_url.contains(&format!("{ACCOUNT}:{TOKEN}@")), "clones need the token");
    let hooks = forge.state().hooks.clone();
    let [hook] = &hooks[..] else { panic!("{hooks:?}") };
    assert_eq!(hook.body["config"]["url"], format!("https://ci.example/hooks/{app}"));
    assert_eq!(hook.body["config"]["secret"], secret, "deliveries that are under way stay good");
    for event in ["create", "release"] {
        assert!(hook.body["events"].as_array().unwrap().contains(&json!(event)), "{event}: {hook:?}");
    }
    assert_eq!(attach(&app, json!({ "connection": "gitea" })).await.0, 409);

    // Elsewhere the token is not sent; the name says which repository it is.
    let mirror = add("mirror", "https://mirror.example/x.git").await;
    let (status, why) = attach(&mirror, json!({ "connection": "gitea" })).await;
    assert!(status == 422 && why.to_string().contains("is cloned from https://mirror.example/x.git"), "{why}");
    let (status, taken) = attach(&mirror, json!({ "connection": "gitea", "name": "team/app" })).await;
    assert!(status == 409 && taken.to_string().contains("already registered"), "{taken}");
    assert_eq!(of_store(&mirror).await.connection, None);
    let (status, attached) = attach(&mirror, json!({ "connection": "gitea", "name": "team/other" })).await;
    assert_eq!((status, &attached["forge"]), (200, &json!("gitea")), "{attached}");
    assert_eq!(of_store(&mirror).await.clone_url, "https://mirror.example/x.git");
}

#[tokio::test]
async fn a_repository_that_cannot_be_attached_whole_stays_as_it_was() {
    let (world, forge) = (World::new().await, Forge::start(Kind::Gitea));
    connect(&world, &forge, TOKEN).await;
    let repo = world.repo("team/app", "git", false).await;
    let attach = async |body: Value| {
        let answer = world.post(&format!("/api/v1/repos/{}/connection", repo.id), body).await;
        (answer.status, answer.text().to_owned())
    };
    let body = json!({ "connection": "gitea", "name": "team/app" });
    for (body, expected) in [
        (json!({ "connection": "nowhere" }), 400),
        (json!({ "connection": "gitea", "name": "../x" }), 400),
        (json!({ "connection": "gitea", "name": "team/nothing" }), 422),
    ] {
        assert_eq!(attach(body.clone()).await.0, expected, "{body}");
    }
    forge.state().repos[0].admin = false;
    let (status, why) = attach(body.clone()).await;
    assert!(status == 422 && why.contains("is not an admin of"), "{why}");
    forge.state().repos[0].admin = true;
    forge.state().scopes = vec!["read:user", "read:repository"];
    assert_eq!(attach(body.clone()).await.0, 422);
    let before = repos::get(&world.store, repo.id).await.unwrap().unwrap();
    assert_eq!((before.connection, before.forge.as_str(), &before.clone_url), (None, "git", &repo.clone_url));
    forge.state().scopes = vec!["read:user", "write:repository"];
    assert_eq!(attach(body).await.0, 200);
}

#[tokio::test]
async fn the_settings_page_attaches_a_repository_and_says_why_not() {
    let (world, forge) = (World::new().await, Forge::start(Kind::Gitea));
    connect(&world, &forge, TOKEN).await;
    let repo = world.repo("team/app", "git", false).await;
    let (status, why) = register(&world, "team/app").await;
    assert!(status == 409 && why.to_string().contains("`longshore repo change team/app --name NAME`"), "{why}");
    let cookie = sign_in(&world, Scope::Admin).await;
    let settings = format!("/repos/{}/settings", repo.id);
    let (_, csrf) = signed_in(&world, &settings, &cookie).await;
    let send = async |name: &str| {
        let form = format!("csrf={csrf}&connection=gitea&name={name}");
        send_form(&world, &format!("/repos/{}/connection", repo.id), &cookie, form).await
    };
    let refused = send("team%2Fnothing").await;
    assert_eq!(refused.status, 422);
    for shown in ["Not connected: ", "value=\"team/nothing\"", "<option selected>gitea</option>"] {
        assert!(refused.text().contains(shown), "{shown}: {}", refused.text());
    }
    // A repository of that name at this forge may be another one.
    let elsewhere = send("").await;
    assert!(elsewhere.status == 422 && elsewhere.text().contains("is cloned from https://forge.example/r.git"));
    assert_eq!(repos::get(&world.store, repo.id).await.unwrap().unwrap().connection, None);
    assert_eq!(send("team%2Fapp").await.status, 303);
    let (shown, _) = signed_in(&world, &settings, &cookie).await;
    assert!(shown.text().contains("Connected through <bdi>gitea</bdi>"), "{}", shown.text());
}

#[tokio::test]
async fn what_is_cloned_over_ssh_from_the_forges_host_is_found_by_its_name() {
    let (world, forge) = (World::new().await, Forge::start(Kind::Gitea));
    connect(&world, &forge, TOKEN).await;
    let repo = world.repo("team/app", "gitea", false).await;
    let here = json!({ "clone_url": "git@127.0.0.1:team/app.git" });
    let path = format!("/api/v1/repos/{}", repo.id);
    assert_eq!(world.call("PATCH", &path, Some(ADMIN), here.to_string()).await.status, 200);
    let (status, why) = register(&world, "team/app").await;
    assert!(status == 409 && why.to_string().contains("`longshore repo connect team/app gitea`"), "{why}");
    assert_eq!(world.post(&format!("{path}/connection"), json!({ "connection": "gitea" })).await.status, 200);
}
