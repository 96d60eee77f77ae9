//! The pages as a browser gets them: complete without scripts, and safe whatever outsiders wrote.

use longshore_core::{DueSchedule, EventName, Timestamp};
use longshore_store::{
    deliveries,
    schedules::{self, Fired, NewSchedule, ScheduleKey},
    tokens::Scope,
};

use crate::{
    client::{Answer, send},
    sign_in::sign_in,
    world::{ADMIN, World},
};

/// Asks as a browser does.
pub(crate) async fn page(world: &World, path: &str) -> Answer {
    let bearer = format!("Bearer {ADMIN}");
    send(world.addr, "GET", path, &[("authorization", &bearer), ("accept", "text/html,*/*")], "").await
}

/// Returns the value of the first attribute of this name.
pub(crate) fn attribute<'a>(text: &'a str, before: &str) -> &'a str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before} in {text}"));
    rest.split('"').next().unwrap()
}

#[tokio::test]
async fn assets_are_named_by_their_content_kept_for_ever_and_sent_compressed() {
    let world = World::new().await;
    let home = page(&world, "/").await;
    for (before, content_type) in [
        ("rel=\"stylesheet\" href=\"", "text/css; charset=utf-8"),
        ("script type=\"module\" src=\"", "text/javascript; charset=utf-8"),
        ("type=\"image/svg+xml\" href=\"", "image/svg+xml"),
    ] {
        let address = attribute(home.text(), before);
        let plain = send(world.addr, "GET", address, &[], "").await;
        assert_eq!((plain.status, plain.header("content-type")), (200, content_type), "{address}");
        assert_eq!(plain.header("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(plain.header("content-encoding"), "");
        let gzipped = send(world.addr, "GET", address, &[("accept-encoding", "br, gzip;q=0.8")], "").await;
        assert_eq!(gzipped.header("content-encoding"), "gzip");
        assert_eq!(gzipped.body[..2], [0x1f, 0x8b]);
        assert!(gzipped.body.len() < plain.body.len() || content_type.starts_with("image"), "{address}");
    }
    assert_eq!(send(world.addr, "GET", "/assets/app.0000000000.css", &[], "").await.status, 404);
}

#[tokio::test]
async fn a_pages_policy_allows_nothing_that_stands_in_it() {
    let world = World::new().await;
    let home = page(&world, "/").await;
    assert_eq!(
        home.header("content-security-policy"),
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
         frame-ancestors 'none'; base-uri 'none'"
    );
    assert_eq!(home.header("x-content-type-options"), "nosniff");
    assert_eq!(home.header("referrer-policy"), "same-origin");
    assert!(!home.text().contains(" style=") && !home.text().contains(" onclick="));
}

#[tokio::test]
async fn an_error_is_a_page_for_a_browser_and_json_for_a_program() {
    let world = World::new().await;
    for path in ["/builds/nothing", "/builds/01890000-0000-7000-8000-000000000000", "/nothing"] {
        let answer = page(&world, path).await;
        assert_eq!((answer.status, answer.header("content-type")), (404, "text/html; charset=utf-8"), "{path}");
        assert!(answer.text().contains("Page not found"), "{path}");
        world.get(path).await.error();
    }
    let api = page(&world, "/api/v1/builds/01890000-0000-7000-8000-000000000000").await;
    assert_eq!(api.header("content-type"), "application/json");
}

/// Asks with a session. Returns the page and its CSRF token.
pub(crate) async fn signed_in(world: &World, path: &str, cookie: &str) -> (Answer, String) {
    let answer = send(world.addr, "GET", path, &[("cookie", cookie), ("accept", "text/html")], "").await;
    let csrf = match answer.text().contains("name=\"csrf\"") {
        true => attribute(answer.text(), "name=\"csrf\" value=\"").to_owned(),
        false => String::new(),
    };
    (answer, csrf)
}

pub(crate) async fn send_form(world: &World, path: &str, cookie: &str, body: String) -> Answer {
    let form = ("content-type", "application/x-www-form-urlencoded");
    send(world.addr, "POST", path, &[("cookie", cookie), form, ("accept", "text/html")], body).await
}

#[tokio::test]
async fn an_empty_server_shows_three_steps_which_tick_off_as_they_happen() {
    let world = World::new().await;
    let ticked = async || page(&world, "/").await.text().matches("class=\"is-done\"").count();
    assert!(page(&world, "/").await.text().contains("Get started"));
    assert_eq!(ticked().await, 0);
    let repo = world.repo("o/r", "git", false).await;
    assert_eq!(ticked().await, 1);
    world.deliver(repo.id, "k").await;
    assert_eq!(ticked().await, 2);
    let build = world.build(repo.id, "main", &["one"]).await;
    assert_eq!(ticked().await, 3);
    assert_eq!(world.claim().await.claimed.build.id, build.id);
    // They reveal nothing private.
    let anybody = send(world.addr, "GET", "/", &[("accept", "text/html")], "").await;
    assert!(!anybody.text().contains("Get started") && !anybody.text().contains("o/r"));
    assert!(anybody.text().contains("No public repositories"));
}

#[tokio::test]
async fn every_repository_stands_on_the_first_page_with_its_last_builds() {
    let world = World::new().await;
    let repo = world.repo("team/app", "git", true).await;
    for _ in 0..23 {
        world.finished(repo.id, b"x").await;
    }
    for n in 0..25 {
        world.repo(&format!("other/r{n:02}"), "git", true).await;
    }
    let first = page(&world, "/").await;
    assert_eq!(first.text().matches("<li id=\"repo-").count(), 15);
    let next = attribute(first.text(), "<p class=\"pager\"><a href=\"").to_owned();
    let second = page(&world, &next).await;
    assert_eq!(second.text().matches("<li id=\"repo-").count(), 11);
    assert_eq!(second.text().matches("<path class=\"success\"").count(), 20, "the last twenty builds");
    let place = attribute(second.text(), "href=\"/b/");
    let bar = page(&world, &format!("/b/{place}")).await;
    assert_eq!(bar.status, 303);
    assert!(bar.header("location").starts_with("/builds/"));
    assert_eq!(attribute(second.text(), "<p class=\"pager\"><a href=\""), "/");
    let searched = page(&world, "/?q=other&after=other%2Fr03").await;
    assert_eq!(attribute(searched.text(), "<p class=\"pager\"><a href=\""), "/?q=other");
    let found = page(&world, "/?q=TEAM").await;
    assert_eq!(found.text().matches("<li id=\"repo-").count(), 1);
}

#[tokio::test]
async fn builds_are_filtered_by_the_address_and_paged_by_place() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    for n in 0..45 {
        world.build(repo.id, if n % 2 == 0 { "main" } else { "topic" }, &["one"]).await;
    }
    let rows = |answer: &Answer| answer.text().matches("<li id=\"build-").count();
    let first = page(&world, &format!("/repos/{}", repo.id)).await;
    assert_eq!(rows(&first), 30);
    assert!(first.text().contains("<title>queued: o/r</title>"));
    let older = attribute(first.text(), "<p class=\"pager\"><a href=\"").replace("&amp;", "&");
    assert_eq!(rows(&page(&world, &older).await), 15);
    assert_eq!(rows(&page(&world, &format!("/repos/{}?branch=topic", repo.id)).await), 22);
    // Paging keeps the filters, and the newest of filtered builds says nothing about the repository.
    let filtered = page(&world, &format!("/repos/{}?event=push&status=queued", repo.id)).await;
    assert!(filtered.text().contains("<title>o/r</title>"), "{}", filtered.text());
    let older = attribute(filtered.text(), "<p class=\"pager\"><a href=\"").replace("&amp;", "&");
    let older = page(&world, &older).await;
    assert_eq!(rows(&older), 15);
    let newest = attribute(older.text(), "<p class=\"pager\"><a href=\"").replace("&amp;", "&");
    assert_eq!(newest, format!("/repos/{}?event=push&status=queued", repo.id));
    assert_eq!(rows(&page(&world, &format!("/repos/{}?branch=&event=push&status=queued", repo.id)).await), 30);
    assert_eq!(rows(&page(&world, &format!("/repos/{}?status=success", repo.id)).await), 0);
    assert_eq!(page(&world, &format!("/repos/{}?status=nonsense", repo.id)).await.status, 400);
}

#[tokio::test]
async fn a_repositorys_page_says_when_its_schedules_are_due_and_what_they_became() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let path = format!("/repos/{}", repo.id);
    assert!(!page(&world, &path).await.text().contains("Schedules"));
    let key =
        ScheduleKey { cron: "0 3 * * *".to_owned(), timezone: "Europe/Madrid".to_owned(), branch: "main".to_owned() };
    let [due, next] = [1_767_319_200_000, 1_767_405_600_000].map(Timestamp::from_millis);
    let new = NewSchedule { pipelines: vec!["nightly".to_owned()], next_at: due };
    let mut tx = world.store.write().await.unwrap();
    schedules::replace(&mut tx, repo.id, &[(key, new)].into()).await.unwrap();
    tx.commit().await.unwrap();
    let text = page(&world, &path).await.text().to_owned();
    assert!(text.contains("<code>0 3 * * *</code> Europe/Madrid") && text.contains("<bdi>nightly</bdi>"), "{text}");
    assert!(text.contains("<time class=\"at\"") && text.contains(">2026-01-02 02:00:00 UTC</time>"), "{text}");

    let schedule = DueSchedule { cron: "0 3 * * *".to_owned(), timezone: "Europe/Madrid".to_owned(), due_at: due };
    let build = world
        .build_of_event(repo.id, |event| {
            event.name = EventName::Schedule;
            event.schedule = Some(schedule);
        })
        .await;
    let rows = schedules::of_repo(&world.store, repo.id).await.unwrap();
    let mut tx = world.store.write().await.unwrap();
    schedules::fired(&mut tx, &rows[0], due, Some(next), &Fired::Build(build.id)).await.unwrap();
    tx.commit().await.unwrap();
    let text = page(&world, &path).await.text().to_owned();
    assert!(text.contains(&format!("<td data-label=\"last\"><a href=\"/builds/{}\">#1</a>", build.id)), "{text}");
    assert!(text.contains(">2026-01-03 02:00:00 UTC</time>"), "{text}");
    assert!(text.contains("<span class=\"tag\">schedule</span> <bdi>main</bdi>"), "{text}");
    let text = page(&world, &format!("/builds/{}", build.id)).await.text().to_owned();
    assert!(text.contains("scheduled <code>0 3 * * *</code> Europe/Madrid"), "{text}");
}

#[tokio::test]
async fn a_list_of_builds_says_what_started_each_that_no_push_did() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let list = format!("/repos/{}", repo.id);
    for (name, word) in [
        (EventName::Push, None),
        (EventName::Tag, Some("tag")),
        (EventName::Schedule, Some("schedule")),
        (EventName::Manual, Some("manual")),
    ] {
        let build = world.build_of_event(repo.id, |event| event.name = name).await;
        for path in [list.as_str(), "/"] {
            let answer = page(&world, path).await;
            let row = answer
                .text()
                .split("<li id=")
                .find(|row| row.contains(&format!("data-row href=\"/builds/{}\"", build.id)))
                .unwrap();
            let said = row.split_once("class=\"tag\">").map(|(_, rest)| rest.split('<').next().unwrap());
            assert_eq!(said, word, "{path}: {row}");
        }
    }
}

#[tokio::test]
async fn what_outsiders_wrote_is_shown_and_is_never_markup() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let nasty = "<script>alert(1)</script>\u{202e}evil\u{1b}[31m \"'><img src=x>";
    let long = "a".repeat(100_000);
    for words in [nasty, &long] {
        let build = world.build_saying(repo.id, words).await;
        let mut running = world.claim().await;
        running.print(0, longshore_core::Stream::Stdout, format!("{words}\u{fffd}\n").as_bytes());
        running.print(0, longshore_core::Stream::Stdout, b"\xff\xfe not UTF-8\n");
        let job = running.id;
        let failure = longshore_core::Outcome::Failure { exit_code: 1, step: words.to_owned(), out_of_memory: false };
        running.end(failure).await;
        for path in [
            "/".to_owned(),
            format!("/repos/{}", repo.id),
            format!("/builds/{}", build.id),
            format!("/jobs/{job}"),
            "/queue".to_owned(),
        ] {
            let answer = page(&world, &path).await;
            assert_eq!(answer.status, 200, "{path}");
            assert!(!answer.text().contains("<script>alert") && !answer.text().contains("<img src=x"), "{path}");
            assert!(!answer.text().contains(['\u{202e}', '\u{1b}']), "{path}");
            assert!(answer.body.len() < 60 << 10, "{path}: {} bytes", answer.body.len());
        }
    }
    let build = page(&world, &format!("/repos/{}", repo.id)).await;
    assert!(build.text().contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "it is shown");
}

#[tokio::test]
async fn a_repository_is_registered_changed_and_removed_with_forms() {
    let world = World::new().await;
    let cookie = sign_in(&world, Scope::Admin).await;
    let (new, csrf) = signed_in(&world, "/repos/new", &cookie).await;
    assert_eq!(new.status, 200);
    let fields = "name=team%2Fapp&clone_url=https%3A%2F%2Fme%3Ahidden%40forge.example%2Fr.git&forge=forgejo";
    assert_eq!(send_form(&world, "/repos/new", &cookie, fields.to_owned()).await.status, 403, "without a token");
    let made = send_form(&world, "/repos/new", &cookie, format!("csrf={csrf}&{fields}")).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let secret = attribute(made.text(), "id=\"hook-secret\">").split('<').next().unwrap().to_owned();
    assert!(made.text().contains("https://ci.example/hooks/") && made.text().contains("Forgejo"));
    let taken = send_form(&world, "/repos/new", &cookie, format!("csrf={csrf}&{fields}")).await;
    assert_eq!((taken.status, taken.header("content-type")), (409, "text/html; charset=utf-8"));

    let repo = longshore_store::repos::by_name(&world.store, "team/app").await.unwrap().unwrap();
    let settings = format!("/repos/{}/settings", repo.id);
    let (shown, _) = signed_in(&world, &settings, &cookie).await;
    assert!(!shown.text().contains(&secret) && !shown.text().contains("hidden@"), "shown once, and never");
    let form = format!("csrf={csrf}&clone_url=&default_branch=trunk&public=yes");
    assert_eq!(send_form(&world, &settings, &cookie, form).await.status, 303);
    let changed = longshore_store::repos::get(&world.store, repo.id).await.unwrap().unwrap();
    assert_eq!((changed.public, changed.default_branch.as_deref()), (true, Some("trunk")));
    assert_eq!(changed.clone_url, repo.clone_url);

    let remove = format!("/repos/{}/remove", repo.id);
    assert_eq!(send_form(&world, &remove, &cookie, format!("csrf={csrf}&name=other")).await.status, 400);
    assert_eq!(send_form(&world, &remove, &cookie, format!("csrf={csrf}&name=team/app")).await.status, 303);
    assert!(longshore_store::repos::get(&world.store, repo.id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_delivery_is_taken_in_once_more_as_one_of_its_own() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let id = world.deliver(repo.id, "k").await;
    let cookie = sign_in(&world, Scope::Build).await;
    let (listed, csrf) = signed_in(&world, &format!("/repos/{}/deliveries", repo.id), &cookie).await;
    assert!(listed.text().contains("pending"));
    let redeliver = format!("/deliveries/{id}/redeliver");
    let pending = send_form(&world, &redeliver, &cookie, format!("csrf={csrf}")).await;
    assert_eq!(pending.status, 409);
    let mut tx = world.store.write().await.unwrap();
    let end = deliveries::DeliveryEnd::Ignored { reason: "a ping".to_owned() };
    deliveries::finish(&mut tx, id, &end, longshore_core::Timestamp::now()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(send_form(&world, &redeliver, &cookie, format!("csrf={csrf}")).await.status, 303);
    let all = deliveries::list(&world.store, repo.id, None, 10).await.unwrap().items;
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].status, deliveries::DeliveryStatus::Pending);
    let (listed, _) = signed_in(&world, &format!("/repos/{}/deliveries", repo.id), &cookie).await;
    assert!(listed.text().contains("a ping") && listed.text().contains("ignored"));
    // A caller who may only read is refused.
    let reader = sign_in(&world, Scope::Read).await;
    let (page, csrf) = signed_in(&world, "/access", &reader).await;
    assert_eq!(page.status, 200);
    assert_eq!(send_form(&world, &redeliver, &reader, format!("csrf={csrf}")).await.status, 403);
}

#[tokio::test]
async fn pages_of_one_repository_are_for_those_who_may() {
    let world = World::new().await;
    let repo = world.repo("secret/r", "git", false).await;
    let build = world.build(repo.id, "main", &["one"]).await;
    let reader = sign_in(&world, Scope::Read).await;
    for below in ["", "/deliveries", "/run", "/settings"] {
        let path = format!("/repos/{}{below}", repo.id);
        let anybody = send(world.addr, "GET", &path, &[("accept", "text/html")], "").await;
        // A route that requires a scope says so before it looks for the repository.
        assert_eq!(anybody.status, if matches!(below, "/run" | "/settings") { 401 } else { 404 }, "{path}");
        let (read, _) = signed_in(&world, &path, &reader).await;
        assert_eq!(read.status, if matches!(below, "/run" | "/settings") { 403 } else { 200 }, "{path}");
    }
    let (read, csrf) = signed_in(&world, &format!("/builds/{}", build.id), &reader).await;
    assert!(!read.text().contains("Cancel"));
    let cancel = format!("/builds/{}/cancel", build.id);
    assert_eq!(send_form(&world, &cancel, &reader, format!("csrf={csrf}")).await.status, 403);
    for path in ["/repos/new", "/settings", "/access"] {
        let anybody = send(world.addr, "GET", path, &[("accept", "text/html")], "").await;
        assert_eq!((anybody.status, anybody.header("location")), (303, format!("/sign-in?next={path}").as_str()));
    }
}

#[tokio::test]
async fn the_queue_counts_what_it_does_not_list() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", true).await;
    world.build_of_jobs(repo.id, 130, |_| {}).await;
    for _ in 0..65 {
        world.claim().await;
    }
    let queue = page(&world, "/queue").await;
    let text = queue.text();
    assert!(
        text.contains("<title>Queue: 65 running, 65 waiting</title>") && text.contains("<dd>65 of 2</dd>"),
        "{text}"
    );
    assert_eq!((text.matches("<li id=\"job-").count(), text.matches("Only the first 60 are shown.").count()), (120, 2));
    let anybody = send(world.addr, "GET", "/queue", &[("accept", "text/html")], "").await;
    assert_eq!(anybody.text().matches("Only the first 60 are shown.").count(), 2);
}

#[tokio::test]
async fn a_badge_to_copy_stands_on_its_repositorys_page() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", true).await;
    let anybody = send(world.addr, "GET", &format!("/repos/{}", repo.id), &[("accept", "text/html")], "").await;
    let markdown = format!("[![build](https://ci.example/badges/{0}.svg)](https://ci.example/repos/{0})", repo.id);
    assert!(anybody.text().contains(&markdown), "{}", anybody.text());
}

#[tokio::test]
async fn what_is_over_is_not_followed() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let build = world.build(repo.id, "main", &["one"]).await;
    let job = world.job_of(&build).await.id;
    let pages = [format!("/builds/{}", build.id), format!("/jobs/{job}")];
    for address in &pages {
        let answer = page(&world, address).await;
        assert_eq!(attribute(answer.text(), "data-stream=\""), format!("/api/v1/builds/{}/events", build.id));
    }
    assert_eq!(attribute(page(&world, &pages[1]).await.text(), "data-job=\""), job.to_string());
    world.claim().await.end(longshore_core::Outcome::Success).await;
    for address in &pages {
        assert!(!page(&world, address).await.text().contains("data-stream"), "{address}");
    }
}

#[tokio::test]
async fn a_page_says_what_it_follows_and_from_where() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let build = world.build(repo.id, "main", &["one"]).await;
    for (path, stream) in [
        ("/".to_owned(), "/api/v1/events".to_owned()),
        (format!("/repos/{}", repo.id), "/api/v1/events".to_owned()),
        (format!("/builds/{}", build.id), format!("/api/v1/builds/{}/events", build.id)),
    ] {
        let answer = page(&world, &path).await;
        assert_eq!(attribute(answer.text(), "data-stream=\""), stream);
        let cursor = attribute(answer.text(), "data-cursor=\"").to_owned();
        assert_eq!(cursor, world.store.watch().borrow().to_string());
        // Changes after the page was read arrive, those of deliveries and repositories too.
        let mut events = world.stream(&format!("{stream}?last_event_id={cursor}"), None).await;
        world.deliver(repo.id, &format!("key {path}")).await;
        let running = world.build(repo.id, "main", &["one"]).await;
        match stream == "/api/v1/events" {
            true => {
                assert_eq!(events.next().await.unwrap().name, "delivery");
                assert_eq!(events.next().await.unwrap().json()["id"], running.id.to_string());
            }
            false => drop(running),
        }
    }
}
