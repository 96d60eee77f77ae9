//! Every route of the API and every page, against every kind of caller: who sees it, who may use it, and for whom it
//! does not exist.
//!
//! A route that is in no line of [`needs`] fails the first test.

mod narrow_tokens;
mod scene;

use longshore_core::access::{Rights, Scope};
use longshore_store::{repos, sessions};
use serde_json::Value;

pub(crate) use self::scene::Scene;
use crate::{auth::status_of, world::World};

/// What a route requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Nothing, and it reveals nothing about any repository.
    Nothing,
    /// Nothing; it lists what the caller may see.
    List,
    /// The right to see a repository.
    ToSee,
    /// The right to do something with a repository.
    With(Scope),
    /// A right on the server itself: a token for all repositories.
    Server(Scope),
    /// Any token.
    Oneself,
    /// The right to end somebody else's session.
    OthersSession,
    /// A signature, not a token.
    Signature,
    /// A ticket in the address, which those get who may see an artifact.
    Ticket,
}

/// Returns what a route requires, by its method and its address in the router.
fn needs(method: &str, path: &str) -> Needs {
    use Needs::{List, Nothing, Oneself, OthersSession, Server, Signature, Ticket, ToSee, With};
    use Scope::{Admin, Approve, Build, Read};
    match (method, path) {
        ("GET", "/healthz" | "/readyz" | "/openapi.json" | "/assets/{file}" | "/sign-in") => Nothing,
        // Refused because of its code: without one, nobody is signed in.
        ("POST", "/sign-in") => Nothing,
        ("POST", "/hooks/{repo}" | "/hooks/apps/{connection}") => Signature,
        ("GET", "/artifacts/{artifact}/view/{ticket}/{*path}") => Ticket,
        ("GET", "/" | "/queue" | "/cc.xml" | "/api/v1/repos" | "/api/v1/builds" | "/api/v1/events") => List,
        ("GET", "/metrics") => Server(Read),
        ("GET", "/settings" | "/repos/new" | "/api/v1/tokens" | "/api/v1/registries") => Server(Admin),
        (
            "GET",
            "/audit"
            | "/audit/guard"
            | "/api/v1/audit"
            | "/api/v1/audit/export"
            | "/api/v1/audit/guard"
            | "/api/v1/audit/anomalies",
        ) => Server(Admin),
        ("PUT" | "DELETE", "/api/v1/registries/{host}") => Server(Admin),
        ("GET" | "POST", "/api/v1/connections") => Server(Admin),
        ("GET" | "DELETE", "/api/v1/connections/{connection}") => Server(Admin),
        ("GET", "/api/v1/connections/{connection}/repos") => Server(Admin),
        ("GET" | "POST", "/connections") | ("GET", "/connections/{connection}") => Server(Admin),
        ("POST", "/repos/{repo}/connection" | "/api/v1/repos/{repo}/connection") => Server(Admin),
        ("POST", "/connections/{connection}/register" | "/connections/{connection}/remove") => Server(Admin),
        ("GET" | "POST", "/notifications" | "/api/v1/notifications") => Server(Admin),
        ("DELETE", "/api/v1/notifications/{notification}") => Server(Admin),
        ("POST", "/api/v1/notifications/{notification}/test") => Server(Admin),
        ("POST", "/notifications/{notification}/test" | "/notifications/{notification}/remove") => Server(Admin),
        ("GET" | "POST", "/repos/{repo}/notifications" | "/api/v1/repos/{repo}/notifications") => With(Admin),
        ("DELETE", "/api/v1/repos/{repo}/notifications/{notification}") => With(Admin),
        ("POST", "/api/v1/repos/{repo}/notifications/{notification}/test") => With(Admin),
        (
            "POST",
            "/repos/{repo}/notifications/{notification}/test" | "/repos/{repo}/notifications/{notification}/remove",
        ) => With(Admin),
        ("POST", "/repos/new" | "/api/v1/repos" | "/api/v1/tokens" | "/access/tokens") => Server(Admin),
        ("DELETE", "/api/v1/tokens/{token}") | ("POST", "/access/tokens/{token}/revoke") => Server(Admin),
        ("GET", "/access") | ("POST", "/sign-out" | "/api/v1/sign-in-links") => Oneself,
        ("POST", "/access/sessions/{session}/end") => OthersSession,
        (
            "GET",
            "/badges/{file}"
            | "/b/{place}"
            | "/repos/{repo}"
            | "/repos/{repo}/deliveries"
            | "/builds/{build}"
            | "/builds/{build}/tests"
            | "/builds/{build}/coverage"
            | "/builds/{build}/annotations"
            | "/tests/{test}"
            | "/jobs/{job}"
            | "/api/v1/repos/{repo}"
            | "/api/v1/repos/{repo}/deliveries"
            | "/api/v1/repos/{repo}/schedules"
            | "/api/v1/repos/{repo}/caches"
            | "/api/v1/repos/{repo}/builds"
            | "/api/v1/deliveries/{delivery}"
            | "/api/v1/builds/{build}"
            | "/api/v1/builds/{build}/events"
            | "/api/v1/builds/{build}/tests"
            | "/api/v1/builds/{build}/coverage"
            | "/api/v1/builds/{build}/annotations"
            | "/api/v1/tests/{test}/history"
            | "/api/v1/jobs/{job}"
            | "/api/v1/jobs/{job}/log"
            | "/api/v1/jobs/{job}/log/stream"
            | "/api/v1/jobs/{job}/log/lines"
            | "/api/v1/jobs/{job}/log/lines/stream"
            | "/api/v1/jobs/{job}/log/outline"
            | "/api/v1/jobs/{job}/log/search"
            | "/artifacts/{artifact}"
            | "/artifacts/{artifact}/open/{*path}"
            | "/api/v1/jobs/{job}/artifacts"
            | "/api/v1/jobs/{job}/artifacts/{name}"
            | "/api/v1/builds/{build}/artifacts"
            | "/api/v1/artifacts/{artifact}"
            | "/api/v1/artifacts/{artifact}/files"
            | "/api/v1/artifacts/{artifact}/files/{path}",
        ) => ToSee,
        ("GET", "/repos/{repo}/run") => With(Build),
        (
            "POST",
            "/repos/{repo}/run"
            | "/repos/{repo}/caches/{cache}/remove"
            | "/deliveries/{delivery}/redeliver"
            | "/repos/{repo}/look"
            | "/api/v1/repos/{repo}/look"
            | "/builds/{build}/cancel"
            | "/builds/{build}/rerun"
            | "/jobs/{job}/cancel"
            | "/jobs/{job}/rerun"
            | "/api/v1/repos/{repo}/builds"
            | "/api/v1/builds/{build}/cancel"
            | "/api/v1/builds/{build}/rerun"
            | "/api/v1/jobs/{job}/cancel"
            | "/api/v1/jobs/{job}/rerun",
        ) => With(Build),
        (
            "POST",
            "/builds/{build}/approve"
            | "/jobs/{job}/approve"
            | "/jobs/{job}/decline"
            | "/api/v1/builds/{build}/approve"
            | "/api/v1/jobs/{job}/approve"
            | "/api/v1/jobs/{job}/decline",
        ) => With(Approve),
        ("GET", "/repos/{repo}/settings" | "/api/v1/repos/{repo}/secrets" | "/api/v1/repos/{repo}/registries") => {
            With(Admin)
        }
        (
            "POST",
            "/repos/{repo}/settings"
            | "/repos/{repo}/hook-secret"
            | "/repos/{repo}/hook-secret/former/reject"
            | "/repos/{repo}/deploy-key"
            | "/repos/{repo}/deploy-key/remove"
            | "/repos/{repo}/secrets"
            | "/repos/{repo}/secrets/remove"
            | "/repos/{repo}/remove"
            | "/api/v1/repos/{repo}/hook-secret",
        ) => With(Admin),
        ("DELETE", "/api/v1/repos/{repo}/hook-secret/former") => With(Admin),
        ("DELETE", "/api/v1/repos/{repo}/caches/{cache}") => With(Build),
        ("PATCH" | "DELETE", "/api/v1/repos/{repo}") => With(Admin),
        ("GET" | "POST" | "DELETE", "/api/v1/repos/{repo}/deploy-key") => With(Admin),
        ("PUT" | "DELETE", "/api/v1/repos/{repo}/secrets/{name}") => With(Admin),
        ("PUT" | "DELETE", "/api/v1/repos/{repo}/registries/{host}") => With(Admin),
        _ => panic!("{method} {path} stands in no line of this table: what does it take?"),
    }
}

/// Returns method and address of everything that is served.
pub(crate) fn routes() -> Vec<(String, String)> {
    let described: Value = serde_json::from_str(&longshore_api::openapi_json().unwrap()).unwrap();
    let mut all = Vec::new();
    for (path, operations) in described["paths"].as_object().unwrap() {
        all.extend(operations.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone())));
    }
    for (path, methods) in longshore_api::PAGES {
        all.extend(methods.iter().map(|method| (method.to_uppercase(), (*path).to_owned())));
    }
    assert!(all.len() > 70, "{}", all.len());
    all
}

/// Returns the status of the answer to a caller who sends what the route can read.
pub(crate) async fn asked(world: &World, method: &str, path: &str, address: &str, token: Option<&str>) -> u16 {
    let is_page = !path.starts_with("/api/");
    let body = match (method, path) {
        // Changing where it points requires more.
        ("POST", "/repos/{repo}/settings") => "default_branch=main",
        (_, path) if is_page && !path.starts_with("/hooks/") => {
            "name=TOKEN&value=12345678&clone_url=https%3A%2F%2Fforge.example%2Fx.git&forge=git&scope=read&code=x"
        }
        ("PUT", "/api/v1/repos/{repo}/secrets/{name}") => r#"{"value":"12345678"}"#,
        ("PUT", "/api/v1/registries/{host}" | "/api/v1/repos/{repo}/registries/{host}") => {
            r#"{"username":"ada","password":"12345678"}"#
        }
        ("POST", "/api/v1/notifications" | "/api/v1/repos/{repo}/notifications") => {
            r#"{"kind":"webhook","address":"https://example.org"}"#
        }
        ("POST", "/api/v1/tokens") => r#"{"name":"x","scopes":["read"]}"#,
        ("POST", "/api/v1/repos") => r#"{"name":"x","clone_url":"https://forge.example/x.git"}"#,
        _ => "{}",
    };
    status_of(world, method, address, token, if method == "GET" { "" } else { body }).await
}

/// A caller, and what they have.
struct Somebody {
    name: String,
    token: Option<String>,
    scope: Option<Scope>,
    limited: bool,
}

impl Somebody {
    async fn all(world: &World, listed: repos::Repo) -> Vec<Self> {
        let mut all = vec![Self { name: "anonymous".to_owned(), token: None, scope: None, limited: false }];
        for scope in Scope::ALL {
            for limited in [false, true] {
                let rights = Rights::new(vec![scope], limited.then(|| vec![listed.id]));
                let token = Some(world.token_of(rights).await.secret);
                let name = format!("{scope}{}", if limited { " of one repository" } else { "" });
                all.push(Self { name, token, scope: Some(scope), limited });
            }
        }
        all
    }

    /// Returns the only status that the caller may be answered with, `None` if they are allowed.
    fn refusal(&self, needs: Needs, is_page: bool, is_get: bool, listed: bool, public: bool) -> Option<u16> {
        let sees = match self.scope {
            None => public,
            Some(_) => listed || !self.limited,
        };
        let has = |needed: Scope| self.scope.is_some_and(|scope| scope.includes(needed));
        // A page that is useless without a session redirects to the sign-in page.
        let nobody = if is_page && is_get { 303 } else { 401 };
        match needs {
            Needs::Nothing | Needs::List => None,
            Needs::ToSee => (!sees).then_some(404),
            Needs::With(_) if self.scope.is_none() => Some(401),
            Needs::With(needed) if !has(needed) => Some(403),
            Needs::With(_) => (!sees).then_some(404),
            Needs::Server(_) | Needs::Oneself if self.scope.is_none() => Some(nobody),
            Needs::Server(needed) => (!has(needed) || self.limited).then_some(403),
            Needs::Oneself => None,
            Needs::OthersSession if self.scope.is_none() => Some(401),
            Needs::OthersSession => (!has(Scope::Admin) || self.limited).then_some(404),
            Needs::Signature => Some(401),
            Needs::Ticket => Some(404),
        }
    }
}

#[tokio::test]
async fn every_route_and_page_is_for_those_who_may_and_nothing_of_it_is_there_for_others() {
    let world = World::new().await;
    for (index, (method, path)) in routes().into_iter().enumerate() {
        let needs = needs(&method, &path);
        let listed = Scene::new(&world, &format!("listed/r{index}"), false).await;
        let hidden = Scene::new(&world, &format!("hidden/r{index}"), false).await;
        let public = Scene::new(&world, &format!("public/r{index}"), true).await;
        let callers = Somebody::all(&world, listed.repo.clone()).await;
        let victim = world.token_of(Rights::new(vec![Scope::Read], None)).await.token.id;
        let now = longshore_core::Timestamp::now();
        let mut tx = world.store.write().await.unwrap();
        let opener = sessions::Opener { name: "victim".to_owned(), token: Some(victim), until: None };
        let session = sessions::open(&mut tx, opener, "x", now).await.unwrap().session.id;
        tx.commit().await.unwrap();
        let asset = world.get("/").await.text().split("/assets/").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let more = [("{token}", victim.to_string()), ("{session}", session.to_string()), ("{file}", asset)];
        let is_page = !path.starts_with("/api/") && longshore_api::PAGES.iter().any(|(page, _)| *page == path);

        // Callers without the right come first: those with it change things.
        let mut allowed = Vec::new();
        for caller in &callers {
            for scene in [&listed, &hidden, &public] {
                let (is_listed, is_public) = (std::ptr::eq(scene, &listed), std::ptr::eq(scene, &public));
                let address = scene.address(&path, &more);
                match caller.refusal(needs, is_page, method == "GET", is_listed, is_public) {
                    Some(expected) => {
                        let answered = asked(&world, &method, &path, &address, caller.token.as_deref()).await;
                        assert_eq!(answered, expected, "{method} {path} by {} ({})", caller.name, scene.repo.name);
                    }
                    None => allowed.push((caller, address)),
                }
            }
        }
        let mut done = Vec::new();
        for (caller, address) in allowed {
            let answered = asked(&world, &method, &path, &address, caller.token.as_deref()).await;
            let what = format!("{method} {path} by {}: {answered}", caller.name);
            if needs == Needs::Nothing && method == "POST" {
                assert!(matches!(answered, 400 | 403), "{what}");
                continue;
            }
            assert!(!matches!(answered, 401 | 403 | 405 | 421 | 500), "{what}");
            // An object that one caller has removed is gone for the next.
            let first = !done.contains(&address);
            assert!(answered != 404 || !first && method != "GET", "{what}");
            if method == "GET" {
                let leads_on = matches!(path.as_str(), "/b/{place}" | "/artifacts/{artifact}/open/{*path}");
                assert!(answered == 200 || leads_on && answered == 303, "{what}");
            }
            done.push(address);
        }
        for bad in ["lsh_0000000000000000000000000000000000000000", "x", "the-administratoR"] {
            let answered = asked(&world, &method, &path, &hidden.address(&path, &more), Some(bad)).await;
            match needs {
                Needs::Nothing if method == "POST" => assert!(matches!(answered, 400 | 403), "{method} {path} {bad}"),
                // These look at no token; the sign-in page shows who has signed in.
                Needs::Nothing if path != "/sign-in" => assert_eq!(answered, 200, "{method} {path} {bad}"),
                _ => assert!(matches!(answered, 401 | 404), "{method} {path} {bad}: {answered}"),
            }
        }
    }
}
