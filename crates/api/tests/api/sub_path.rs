//! A server whose public address has a path, behind a proxy that takes the path off and behind one that leaves it on.

use std::{collections::BTreeSet, fs, path::Path};

use longshore_core::{Outcome, Stream};

use crate::{
    access::Scene,
    client::{Answer, Events, send},
    pages::attribute,
    summaries, tries,
    world::{ADMIN, World},
};

const BASE: &str = "/ci";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

async fn world() -> World {
    World::reached_by("https://ci.example/ci/").await
}

/// Returns an address as each kind of proxy asks for it.
fn both(address: &str) -> [String; 2] {
    let routed = address.strip_prefix(BASE).unwrap_or_else(|| panic!("{address} does not begin with {BASE}"));
    let routed = if routed.starts_with('/') { routed.to_owned() } else { format!("/{routed}") };
    [address.to_owned(), routed]
}

async fn get(world: &World, address: &str, cookie: &str) -> Answer {
    send(world.addr, "GET", address, &[("cookie", cookie), ("accept", "text/html")], "").await
}

async fn post(world: &World, address: &str, cookie: &str, body: &str) -> Answer {
    let headers = [("cookie", cookie), FORM, ("accept", "text/html"), ("origin", "https://ci.example")];
    send(world.addr, "POST", address, &headers, body.to_owned()).await
}

/// Returns an administrator's cookie, as a browser sends it back.
async fn sign_in(world: &World) -> String {
    let opened = post(world, "/ci/sign-in", "", &format!("code={ADMIN}")).await;
    assert_eq!((opened.status, opened.header("location")), (303, "/ci/"));
    opened.header("set-cookie").split(';').next().unwrap().to_owned()
}

/// Everything in a page that leads somewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Lead {
    Get(String),
    Post(String),
    Stream(String),
}

/// Returns every attribute of every element: the element's name, the attribute's name, and its value.
fn attributes(html: &str) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for tag in html.split('<').skip(1).filter(|tag| tag.starts_with(|c: char| c.is_ascii_alphabetic())) {
        let (element, mut rest) = tag.split_at(tag.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(tag.len()));
        while let Some((before, behind)) = rest.split_once("=\"") {
            // Text follows the end of the tag.
            if before.contains('>') {
                break;
            }
            let name = before.rsplit(char::is_whitespace).next().unwrap();
            let (value, behind) = behind.split_once('"').unwrap();
            let value = value.replace("&amp;", "&").replace("&quot;", "\"").replace("&#39;", "'");
            found.push((element.to_owned(), name.to_owned(), value));
            rest = behind;
        }
    }
    found
}

/// Returns the addresses of this server that a page leads to. Each begins with the path, whatever attribute it is in.
fn leads(page: &str, html: &str) -> BTreeSet<Lead> {
    let all = attributes(html);
    let posts: BTreeSet<&str> = html
        .split("<form")
        .skip(1)
        .map(|form| form.split('>').next().unwrap())
        .filter(|form| form.contains("method=\"post\""))
        .map(|form| attribute(form, "action=\""))
        .collect();
    let mut leads = BTreeSet::new();
    for (element, name, value) in all {
        if value.starts_with('/') && name != "data-key" && (element.as_str(), name.as_str()) != ("input", "value") {
            let whole = value.starts_with("/ci/") || (name == "data-base" && value == BASE);
            assert!(whole, "{page}: <{element} {name}=\"{value}\"> does not lead below {BASE}");
        }
        let own = value.strip_prefix("https://ci.example");
        assert!(own.is_none_or(|path| path.starts_with("/ci")), "{page}: {value}");
        let address = value.split('#').next().unwrap().to_owned();
        match (name.as_str(), value.starts_with("/ci/")) {
            ("data-stream", true) => leads.insert(Lead::Stream(address)),
            ("action", true) if posts.contains(value.as_str()) => leads.insert(Lead::Post(address)),
            ("href" | "src" | "action", true) => leads.insert(Lead::Get(address)),
            ("href" | "src" | "action" | "data-stream", false) => {
                let elsewhere = ["#", "?", "http://", "https://"].iter().any(|start| value.starts_with(start));
                assert!(elsewhere, "{page}: <{element} {name}=\"{value}\"> depends on where the page is");
                false
            }
            _ => false,
        };
    }
    leads
}

#[tokio::test]
async fn whatever_a_page_leads_to_is_below_the_path_and_answers_through_both_kinds_of_proxies() {
    let world = world().await;
    let cookie = sign_in(&world).await;
    let scene = Scene::new(&world, "team/app", true).await;
    // Everything that is shown only if it exists: a failed job with its last lines, a summary, two attempts, more
    // repositories and builds than a page holds.
    world.build(scene.repo.id, "main", &["one"]).await;
    let mut running = world.claim().await;
    running.print(0, Stream::Stdout, b"what went wrong\n");
    let (failed, failed_job) = (running.claimed.build.id, running.id);
    running.end(Outcome::Failure { exit_code: 1, step: "one".to_owned(), out_of_memory: false }).await;
    world.build(scene.repo.id, "main", &["measure"]).await;
    let running = world.claim().await;
    let summarized = running.claimed.build.id;
    summaries::ended(&world, running, "# Coverage").await;
    let tried = tries::tried_twice(&world, b"first\n", b"second\n").await;
    let rerun = world.build_with(scene.repo.id, |new| new.rerun_of = Some(failed)).await;
    for _ in 0..30 {
        world.build(scene.repo.id, "main", &["one"]).await;
    }
    for n in 0..50 {
        world.deliver(scene.repo.id, &format!("key-{n}")).await;
        world.repo(&format!("many/r{n:02}"), "git", false).await;
    }
    world.call("POST", "/api/v1/tokens", Some(ADMIN), r#"{"name":"x","scopes":["read"]}"#).await;
    let waiting = scene.address("/builds/{build}/approve", &[]).replace("/approve", "");
    let filtered = scene.address("/repos/{repo}?branch=main", &[]);
    let link = world.call("POST", "/api/v1/sign-in-links", Some(ADMIN), "").await.json();
    let link = link["url"].as_str().unwrap().strip_prefix("https://ci.example/ci").unwrap().to_owned();
    let more = [
        format!("/builds/{failed}"),
        format!("/builds/{summarized}"),
        format!("/builds/{}", rerun.id),
        format!("/jobs/{failed_job}?q=wrong"),
        format!("/jobs/{tried}"),
        waiting,
        filtered,
        link,
        "/?after=many%2Fr03".to_owned(),
        "/nothing".to_owned(),
    ];
    let gets =
        longshore_api::PAGES.iter().filter(|(page, methods)| methods.contains(&"get") && !page.contains("{file}"));
    let pages = gets.map(|(page, _)| scene.address(page, &[])).chain(more);

    let mut all = BTreeSet::new();
    for page in pages {
        for (cookie, who) in [(cookie.as_str(), "an administrator"), ("", "nobody")] {
            let [left_on, taken_off] = both(&format!("{BASE}{page}"));
            let (one, other) = (get(&world, &left_on, cookie).await, get(&world, &taken_off, cookie).await);
            assert_eq!(one.status, other.status, "{page} for {who}");
            assert_eq!(one.header("location"), other.header("location"), "{page} for {who}");
            match one.status {
                200 | 401 | 403 | 404 => {
                    let found = leads(&page, one.text());
                    assert!(found.len() > 5, "{page} for {who}: {found:?}");
                    assert_eq!(found, leads(&page, other.text()), "{page} for {who}");
                    assert!(one.text().contains("<html lang=\"en\" data-base=\"/ci\">"), "{page} for {who}");
                    all.extend(found);
                }
                303 => assert!(one.header("location").starts_with("/ci/"), "{page}: {}", one.header("location")),
                status => panic!("{page} for {who}: {status}"),
            }
        }
    }
    for lead in &all {
        match lead {
            Lead::Get(address) => {
                for address in both(address) {
                    let answer = get(&world, &address, &cookie).await;
                    assert!(matches!(answer.status, 200 | 303), "GET {address}: {}", answer.status);
                }
            }
            // Without a session nothing is done: a refusal shows that the route was found.
            Lead::Post(address) => {
                for address in both(address) {
                    let answer = post(&world, &address, "", "").await;
                    assert!(matches!(answer.status, 401 | 403), "POST {address}: {}", answer.status);
                }
            }
            Lead::Stream(address) => {
                for address in both(address) {
                    let events = Events::open(world.addr, &address, &[("cookie", &cookie)]).await;
                    assert_eq!(events.headers["content-type"], "text/event-stream; charset=utf-8", "{address}");
                }
            }
        }
    }
    // Every kind of address occurred.
    let has = |lead: &Lead, part: &str| match lead {
        Lead::Get(address) | Lead::Post(address) | Lead::Stream(address) => address.contains(part),
    };
    for part in [
        "/ci/assets/app.",
        "/ci/assets/log.",
        "/ci/b/",
        "/ci/badges/",
        "/ci/builds/",
        "/ci/jobs/",
        "/ci/repos/",
        "/ci/deliveries/",
        "/ci/queue",
        "/ci/access/sessions/",
        "/ci/access/tokens",
        "/ci/settings",
        "/ci/openapi.json",
        "/ci/sign-in?next=",
        "/ci/sign-out",
        "/ci/?after=",
        "&before=",
        "?attempt=1",
        "/approve",
        "/decline",
        "/rerun",
        "/cancel",
        "/redeliver",
        "/secrets/remove",
        "/ci/api/v1/events",
        "/events",
        "/log",
    ] {
        assert!(all.iter().any(|lead| has(lead, part)), "no page leads to {part}: {all:#?}");
    }
}

#[test]
fn no_template_and_no_script_writes_an_address_without_the_base_path() {
    fn files(dir: &Path, extension: &str, into: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path, extension, into);
            } else if path.extension().is_some_and(|found| found == extension) {
                into.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut templates = Vec::new();
    files(&crate_dir.join("templates"), "html", &mut templates);
    assert!(templates.len() > 20, "{}", templates.len());
    for (file, text) in &templates {
        for name in ["href", "src", "action", "formaction", "data-stream"] {
            for value in text.split(&format!(" {name}=\"")).skip(1) {
                // An address of a forge, or one relative to its own page.
                let other = ["#", "{{ url }}", "{{ step.address }}", "{{ log.found_address(", "{{ log.window_address("];
                let right = value.starts_with("{{ head.base }}") || other.iter().any(|start| value.starts_with(start));
                assert!(right, "{file}: {name}=\"{}", value.chars().take(60).collect::<String>());
            }
        }
    }
    let mut scripts = Vec::new();
    files(&crate_dir.join("assets"), "js", &mut scripts);
    assert!(scripts.len() > 2);
    for (file, text) in &scripts {
        // Found by its end.
        let text = text.replace("script[src*=\"/assets/app.\"]", "");
        for (page, _) in longshore_api::PAGES.iter().chain(&[("/api/v1", &[][..])]).filter(|(page, _)| page.len() > 1) {
            let start = page.split('{').next().unwrap();
            for quote in ['"', '\'', '`'] {
                assert!(!text.contains(&format!("{quote}{start}")), "{file} asks for {start}");
            }
        }
    }
}

#[tokio::test]
async fn a_session_is_bound_to_the_path_and_leads_back_to_where_one_was() {
    let world = world().await;
    for address in both("/ci/access") {
        let away = get(&world, &address, "").await;
        assert_eq!((away.status, away.header("location")), (303, "/ci/sign-in?next=/access"));
    }
    let shown = get(&world, "/ci/sign-in?next=/access", "").await;
    assert_eq!(attribute(shown.text(), "name=\"next\" value=\""), "/access");
    let opened = post(&world, "/ci/sign-in", "", &format!("code={ADMIN}&next=/access")).await;
    assert_eq!((opened.status, opened.header("location")), (303, "/ci/access"));
    let cookie = opened.header("set-cookie").to_owned();
    assert!(cookie.starts_with("__Secure-longshore_session="), "{cookie}");
    assert!(cookie.contains("; Path=/ci; ") && cookie.ends_with("; HttpOnly; SameSite=Lax; Secure"), "{cookie}");
    // A cookie under a name that another host of the domain can set is not accepted.
    let session = cookie.split(';').next().unwrap();
    for other in [session.replace("__Secure-", "__Host-"), session.replace("__Secure-", "")] {
        assert_eq!(get(&world, "/ci/access", &other).await.status, 303, "{other}");
    }
    let page = get(&world, "/ci/access", session).await;
    assert_eq!(page.status, 200);
    let csrf = attribute(page.text(), "name=\"csrf\" value=\"").to_owned();

    // A form sent without a session leads back to the page that contains it.
    let referer = [FORM, ("accept", "text/html"), ("referer", "https://ci.example/ci/queue?x=1")];
    let refused = send(world.addr, "POST", "/ci/sign-out", &referer, "").await;
    assert!(refused.text().contains("href=\"/ci/sign-in?next=%2Fqueue%3Fx%3D1\""), "{}", refused.text());

    assert_eq!(post(&world, "/ci/sign-out", session, "csrf=wrong").await.status, 403);
    let evil = [("cookie", session), FORM, ("origin", "https://evil.example")];
    assert_eq!(send(world.addr, "POST", "/ci/sign-in", &evil, format!("code={ADMIN}")).await.status, 403);
    let out = post(&world, "/ci/sign-out", session, &format!("csrf={csrf}")).await;
    assert_eq!((out.status, out.header("location")), (303, "/ci/"));
    let cleared = out.header("set-cookie");
    assert!(cleared.starts_with("__Secure-longshore_session=; Path=/ci; Max-Age=0"), "{cleared}");
}

#[tokio::test]
async fn over_plain_http_the_cookie_is_bound_to_the_path_too() {
    let world = World::reached_by("http://ci.example/a/b").await;
    let opened = post(&world, "/a/b/sign-in", "", &format!("code={ADMIN}")).await;
    // The form says that it was sent over TLS; the host is the same.
    assert_eq!((opened.status, opened.header("location")), (303, "/a/b/"));
    let cookie = opened.header("set-cookie");
    assert!(cookie.starts_with("longshore_session=") && cookie.contains("; Path=/a/b; "), "{cookie}");
    assert!(!cookie.contains("Secure"), "{cookie}");
}

#[tokio::test]
async fn what_programs_are_told_has_the_path_and_hosts_are_checked_below_it() {
    let world = world().await;
    let repo = world.repo("o/r", "git", true).await;
    let described = world.get("/ci/openapi.json").await.json();
    assert_eq!(described["servers"], serde_json::json!([{ "url": "/ci" }]));
    let plain: serde_json::Value = serde_json::from_str(&longshore_api::openapi_json().unwrap()).unwrap();
    assert_eq!(plain["servers"], serde_json::Value::Null);
    assert_eq!(described["paths"], plain["paths"]);

    let view = world.get(&format!("/ci/api/v1/repos/{}", repo.id)).await.json();
    assert_eq!(view["hook_url"], format!("https://ci.example/ci/hooks/{}", repo.id));
    for path in ["/ci/nothing", "/nothing", "/cities", "/ci/ci/queue", "/ci//queue"] {
        let answer = world.get(path).await;
        assert_eq!((answer.status, answer.error().as_str()), (404, "not found; see /ci/openapi.json"));
    }
    for host in ["evil.example", "ci.example.evil.example"] {
        for path in both("/ci/api/v1/repos") {
            let whole = format!("http://{host}{path}");
            assert_eq!(send(world.addr, "GET", &whole, &[], "").await.status, 421, "{whole}");
        }
        // Addresses that reveal nothing answer to any name, below the path too.
        for path in both("/ci/healthz") {
            assert_eq!(send(world.addr, "GET", &format!("http://{host}{path}"), &[], "").await.status, 200, "{path}");
        }
    }
}
