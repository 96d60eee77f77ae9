//! Browsers: how they sign in, what their cookie can do alone, and how they sign out.

use longshore_store::{sessions, tokens, tokens::Scope};
use serde_json::json;

use crate::{
    client::{Answer, send},
    pages::attribute,
    world::World,
};

/// Returns the path of a sign-in link that the holder of this token gets.
async fn link(world: &World, token: &str) -> String {
    let made = world.call("POST", "/api/v1/sign-in-links", Some(token), "").await;
    assert_eq!(made.status, 201, "{}", made.text());
    let url = made.json()["url"].as_str().unwrap().to_owned();
    url.strip_prefix("https://ci.example").unwrap().to_owned()
}

/// Follows a link and clicks on its page. Returns the cookie.
pub(crate) async fn sign_in(world: &World, scope: Scope) -> String {
    sign_in_with(world, &world.token(scope).await).await
}

pub(crate) async fn sign_in_with(world: &World, token: &str) -> String {
    let opened = click(world, &link(world, token).await, &[]).await;
    assert_eq!((opened.status, opened.header("location")), (303, "/"));
    opened.header("set-cookie").split(';').next().unwrap().to_owned()
}

/// Follows a link and sends the form of its page, as the click on its button does.
async fn click(world: &World, link: &str, headers: &[(&str, &str)]) -> Answer {
    let offered = send(world.addr, "GET", link, headers, "").await;
    assert_eq!((offered.status, offered.header("set-cookie")), (200, ""), "{}", offered.text());
    let field = |name: &str| attribute(offered.text(), &format!("name=\"{name}\" value=\"")).to_owned();
    let body = format!("code={}&next={}", field("code"), field("next").replace('&', "%26"));
    let mut all = vec![("content-type", "application/x-www-form-urlencoded"), ("origin", "https://ci.example")];
    all.extend_from_slice(headers);
    send(world.addr, "POST", "/sign-in", &all, body).await
}

async fn get(world: &World, path: &str, cookie: &str) -> Answer {
    send(world.addr, "GET", path, &[("cookie", cookie), ("accept", "text/html")], "").await
}

async fn form(world: &World, path: &str, cookie: &str, body: &str) -> Answer {
    let form = ("content-type", "application/x-www-form-urlencoded");
    send(world.addr, "POST", path, &[("cookie", cookie), form], body.to_owned()).await
}

#[tokio::test]
async fn a_link_opens_one_session_and_is_used_up() {
    let world = World::new().await;
    let token = world.token(Scope::Build).await;
    let link = link(&world, &token).await;
    // A preview of the link does not use it up.
    for method in ["HEAD", "GET"] {
        assert_eq!(send(world.addr, method, &link, &[], "").await.header("set-cookie"), "");
    }
    let opened = click(&world, &format!("{link}&next=/queue"), &[("user-agent", "Browser 1")]).await;
    assert_eq!((opened.status, opened.header("location")), (303, "/queue"));
    let cookie = opened.header("set-cookie");
    for part in
        ["; HttpOnly", "; SameSite=Lax", "; Secure", "; Path=/", "; Max-Age=2592000", "__Host-longshore_session="]
    {
        assert!(cookie.contains(part), "{cookie}");
    }
    let again = send(world.addr, "GET", &link, &[], "").await;
    assert_eq!((again.status, again.header("set-cookie")), (403, ""));
    assert!(again.text().contains("was already used"));

    let session = cookie.split(';').next().unwrap();
    let page = get(&world, "/access", session).await;
    assert!(page.text().contains("Browser 1") && page.text().contains("(this one)"), "{}", page.text());
    // Only hashes are kept.
    let secret = session.split_once('=').unwrap().1;
    let data = std::fs::read(world.store.data_dir().join("longshore.db-wal")).unwrap();
    assert!(!data.windows(secret.len()).any(|window| window == secret.as_bytes()));
}

#[tokio::test]
async fn a_pasted_link_or_token_signs_in_and_another_sites_form_does_not() {
    let world = World::new().await;
    let token = world.token(Scope::Read).await;
    let link = format!("https://ci.example{}", link(&world, &token).await).replace(':', "%3A").replace('?', "%3F");
    for pasted in [link.as_str(), token.as_str()] {
        let opened = form(&world, "/sign-in", "", &format!("code={pasted}")).await;
        assert_eq!(opened.status, 303, "{}", opened.text());
        assert!(opened.header("set-cookie").starts_with("__Host-longshore_session="));
    }
    assert_eq!(form(&world, "/sign-in", "", "code=nonsense").await.status, 403);
    let origin = [("origin", "https://evil.example"), ("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(send(world.addr, "POST", "/sign-in", &origin, format!("code={token}")).await.status, 403);
}

#[tokio::test]
async fn a_cookie_reads_and_writes_only_with_its_sessions_token() {
    let world = World::with_dispatcher().await;
    let repo = world.repo("secret/repo", "git", false).await;
    let build = world.build(repo.id, "main", &["one"]).await;
    let cookie = sign_in(&world, Scope::Build).await;
    let address = format!("/api/v1/builds/{}", build.id);
    assert_eq!(get(&world, &address, &cookie).await.status, 200);
    assert_eq!(get(&world, &format!("/builds/{}", build.id), &cookie).await.status, 200);
    assert_eq!(get(&world, "/api/v1/tokens", &cookie).await.status, 403, "the session has its token's scope");

    let home = get(&world, "/", &cookie).await;
    let csrf = attribute(home.text(), "name=\"csrf\" value=\"").to_owned();
    let cancel = format!("{address}/cancel");
    for headers in [vec![("cookie", cookie.as_str())], vec![("cookie", cookie.as_str()), ("x-csrf-token", "wrong")]] {
        assert_eq!(send(world.addr, "POST", &cancel, &headers, "").await.status, 403);
    }
    let right = [("cookie", cookie.as_str()), ("x-csrf-token", csrf.as_str())];
    assert_eq!(send(world.addr, "POST", &cancel, &right, "").await.status, 202);

    // Forms.
    assert_eq!(form(&world, "/sign-out", &cookie, "").await.status, 403);
    assert_eq!(form(&world, "/sign-out", &cookie, "csrf=wrong").await.status, 403);
    let other = sign_in(&world, Scope::Build).await;
    assert_eq!(form(&world, "/sign-out", &other, &format!("csrf={csrf}")).await.status, 403, "another session's");
    let out = form(&world, "/sign-out", &cookie, &format!("csrf={csrf}")).await;
    assert_eq!(out.status, 303);
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(get(&world, &address, &cookie).await.status, 404, "the session is over");
    assert_eq!(form(&world, "/sign-out", &cookie, &format!("csrf={csrf}")).await.status, 401);
}

#[tokio::test]
async fn a_session_ends_with_its_token_and_by_whoever_may_end_it() {
    let world = World::new().await;
    let admin = sign_in(&world, Scope::Admin).await;
    let (one, two) = (sign_in(&world, Scope::Read).await, sign_in(&world, Scope::Read).await);
    let csrf_of = async |cookie: &str| {
        let page = get(&world, "/access", cookie).await;
        attribute(page.text(), "name=\"csrf\" value=\"").to_owned()
    };
    let now = longshore_core::Timestamp::now();
    let all = sessions::list(&world.store, now).await.unwrap();
    assert_eq!(all.len(), 3);
    // `two` may end its own session, and not that of another token.
    let (newest, middle) = (all[0].clone(), all[1].clone());
    let csrf = csrf_of(&two).await;
    let end = |session: &sessions::Session| format!("/access/sessions/{}/end", session.id);
    assert_eq!(form(&world, &end(&middle), &two, &format!("csrf={csrf}")).await.status, 404);
    assert!(!get(&world, "/access", &two).await.text().contains(&middle.id.to_string()));
    assert_eq!(form(&world, &end(&newest), &two, &format!("csrf={csrf}")).await.status, 303);
    assert_eq!(get(&world, "/access", &two).await.status, 303, "it is signed out");
    // The administrator may end any session.
    let csrf = csrf_of(&admin).await;
    let revoke = format!("/access/tokens/{}/revoke", middle.token.unwrap());
    assert_eq!(form(&world, &revoke, &admin, &format!("csrf={csrf}")).await.status, 303);
    assert_eq!(get(&world, "/access", &one).await.status, 303, "its token was revoked");
    assert_eq!(sessions::list(&world.store, now).await.unwrap().len(), 1);
    // No session outlives its time.
    let later = longshore_core::Timestamp::from_millis(now.as_millis() + sessions::SESSION_LIFETIME_MS + 60_000);
    assert!(sessions::list(&world.store, later).await.unwrap().is_empty());
    let secret = admin.split_once('=').unwrap().1;
    assert!(sessions::verify(&world.store, secret, now).await.unwrap().is_some());
    assert!(sessions::verify(&world.store, secret, later).await.unwrap().is_none());
}

#[tokio::test]
async fn a_token_made_on_the_page_is_shown_once_and_works() {
    let world = World::new().await;
    let admin = sign_in(&world, Scope::Admin).await;
    let page = get(&world, "/access", &admin).await;
    let csrf = attribute(page.text(), "name=\"csrf\" value=\"");
    let made = form(&world, "/access/tokens", &admin, &format!("csrf={csrf}&name=ci+bot&scope=build&days=7")).await;
    assert_eq!(made.status, 200);
    let secret = attribute(made.text(), "<code id=\"made\">").split('<').next().unwrap().to_owned();
    let token = tokens::verify(&world.store, &secret, longshore_core::Timestamp::now()).await.unwrap().unwrap();
    assert_eq!((token.name.as_str(), token.rights.scopes()), ("ci bot", [Scope::Build].as_slice()));
    assert!(token.expires_at.is_some());
    assert!(!get(&world, "/access", &admin).await.text().contains(&secret));
    let refused = form(&world, "/access/tokens", &admin, &format!("csrf={csrf}&name=x&scope=root")).await;
    assert_eq!(refused.status, 400);
}

#[tokio::test]
async fn what_is_private_looks_like_what_is_missing() {
    let world = World::new().await;
    let repo = world.repo("secret/repo", "git", false).await;
    let build = world.build(repo.id, "main", &["one"]).await;
    let job = world.job_of(&build).await;
    let nowhere = "01890000-0000-7000-8000-000000000000";
    for (kind, id) in [("builds", build.id.to_string()), ("jobs", job.id.to_string())] {
        let hidden = get(&world, &format!("/{kind}/{id}"), "__Host-longshore_session=stale").await;
        let missing = get(&world, &format!("/{kind}/{nowhere}"), "").await;
        assert_eq!(hidden.status, 404);
        let alike = |answer: &Answer, id: &str| {
            let text = answer.text().to_owned();
            let now = attribute(&text, "data-now=\"").to_owned();
            text.replace(&now, "").replace(id, "")
        };
        assert_eq!(alike(&hidden, &id), alike(&missing, nowhere));
    }
    assert_eq!(world.post("/api/v1/tokens", json!({ "name": "x", "scopes": ["read"] })).await.status, 201);
}

#[tokio::test]
async fn a_link_that_another_site_opens_replaces_nobodys_session() {
    let world = World::new().await;
    let (victim, attacker) = (sign_in(&world, Scope::Build).await, world.token(Scope::Read).await);
    let link = link(&world, &attacker).await;
    let followed = send(world.addr, "GET", &link, &[("cookie", &victim), ("sec-fetch-site", "cross-site")], "").await;
    assert_eq!((followed.status, followed.header("set-cookie")), (200, ""));
    assert!(
        followed.text().contains("Sign in as read") && followed.text().contains("You are currently signed in as <b>")
    );
    // The form, sent by another site's page.
    let code = link.split_once("code=").unwrap().1;
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "https://evil.ci.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let headers = [(name, value), ("cookie", &victim), ("content-type", "application/x-www-form-urlencoded")];
        let sent = send(world.addr, "POST", "/sign-in", &headers, format!("code={code}")).await;
        assert_eq!((sent.status, sent.header("set-cookie")), (403, ""), "{name}: {value}");
    }
    assert_eq!(get(&world, "/access", &victim).await.status, 200);
    let opened = click(&world, &link, &[("cookie", &victim), ("sec-fetch-site", "same-origin")]).await;
    assert_eq!(opened.status, 303, "nothing of that has used it up");
}

#[tokio::test]
async fn a_cookie_that_another_host_of_the_domain_can_set_is_no_session() {
    let world = World::new().await;
    let cookie = sign_in(&world, Scope::Read).await;
    let secret = cookie.strip_prefix("__Host-longshore_session=").unwrap();
    assert_eq!(get(&world, "/access", &cookie).await.status, 200);
    assert_eq!(get(&world, "/access", &format!("longshore_session={secret}")).await.status, 303);
}

#[tokio::test]
async fn a_session_has_the_rights_of_its_token() {
    let world = World::with_dispatcher().await;
    let (listed, other) = (world.repo("one/listed", "git", false).await, world.repo("two/other", "git", false).await);
    let rights = longshore_core::access::Rights::new(vec![Scope::Approve], Some(vec![listed.id]));
    let token = world.token_of(rights).await;
    let cookie = sign_in_with(&world, &token.secret).await;
    let home = get(&world, "/", &cookie).await;
    assert!(home.text().contains("one/listed") && !home.text().contains("two/other"));
    assert_eq!(get(&world, &format!("/repos/{}", listed.id), &cookie).await.status, 200);
    assert_eq!(get(&world, &format!("/repos/{}", other.id), &cookie).await.status, 404);
    let build = world.build_of_jobs(listed.id, 1, |job| job.approval = Some("now?".to_owned())).await;
    let job = world.job_of(&build).await;
    let csrf = attribute(home.text(), "name=\"csrf\" value=\"").to_owned();
    let cancel = form(&world, &format!("/builds/{}/cancel", build.id), &cookie, &format!("csrf={csrf}")).await;
    assert_eq!(cancel.status, 403);
    let page = get(&world, &format!("/builds/{}", build.id), &cookie).await;
    assert!(page.text().contains("Approve</button>") && !page.text().contains(">Cancel</button>"));
    let approved = form(&world, &format!("/jobs/{}/approve", job.id), &cookie, &format!("csrf={csrf}")).await;
    assert_eq!(approved.status, 303);
    let view = world.get(&format!("/api/v1/jobs/{}", job.id)).await.json();
    assert_eq!(view["approved_by"]["via"], "session");
    assert_eq!(view["approved_by"]["token"], token.token.id.to_string());
    // A link that the session makes belongs to the same token.
    assert_eq!(get(&world, "/api/v1/tokens", &cookie).await.status, 403);
}
