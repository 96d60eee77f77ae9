//! A fork's pull request as people see it: not as its repository's state, until somebody approves it and after.

use serde_json::json;

use super::{browser, every_page::looks_well, url};
use crate::support::{
    api::text,
    browser::Browser,
    engine::{self, BUSYBOX},
    server::Server,
    until,
    world::World,
};

/// Whether all of an element's text is shown.
fn is_whole(browser: &Browser, selector: &str) -> bool {
    let shown = browser.eval(&format!(
        "[...document.querySelectorAll('{selector}')].map((it) => it.scrollWidth <= it.clientWidth && it.scrollHeight <= it.clientHeight + 1)"
    ));
    let shown = shown.as_array().cloned().unwrap_or_default();
    !shown.is_empty() && shown.iter().all(|whole| *whole == json!(true))
}

#[test]
fn a_forks_pull_request_waits_for_approval_and_is_not_how_its_repository_stands() {
    let mut world = World::start();
    world.becomes_forgejos();
    let pipeline = format!(
        "on: [push, pull-request, manual]\njobs:\n  one: {{ image: {BUSYBOX}, steps: [run: '[ ! -e theirs ]'] }}\n  \
         two: {{ image: {BUSYBOX}, steps: [run: 'true'] }}\n"
    );
    world.git.push(&pipeline);
    let own = text(&world.start_build(), "id");
    assert_eq!(world.api().wait_for_build(&own)["status"], "success");
    let head = world.git.commit("from a fork", &[("theirs", "1")]);
    world.git.git(&["push", "-q", "origin", "HEAD:refs/pull/1/head"]);
    let delivery = world.pull_request_called("Faster <b>now</b> \u{202e}exe", "opened", &head, true);
    let build = delivery["builds"][0].as_str().unwrap().to_owned();

    let browser = browser();
    let home = format!("#repo-{} .st", world.repo);
    let at_home = |browser: &Browser| {
        browser.open(&url(&world, "/"));
        assert_eq!(browser.text(&home), "success");
    };
    at_home(&browser);
    assert!(browser.text("main").contains("awaiting approval"), "{}", browser.text("main"));
    looks_well(&browser, "fork-home");
    browser.open(&url(&world, &format!("/repos/{}", world.repo)));
    assert!(browser.text(&format!("#build-{build}")).contains("awaiting approval"));
    looks_well(&browser, "fork-builds");
    browser.open(&url(&world, &format!("/builds/{build}")));
    let shown = browser.text("main");
    for words in ["from a fork", "awaiting approval", "Approve all"] {
        assert!(shown.contains(words), "no `{words}` in {shown}");
    }
    assert!(!shown.contains('\u{202e}'), "{shown}");
    looks_well(&browser, "fork-build");
    // The sign is one line high, and stands in its line.
    browser.size(1280, 900);
    let height = browser.eval("document.querySelector('.facts .tag').getBoundingClientRect().height");
    assert!(height.as_f64().unwrap() <= 22.0, "{height}");
    browser.eval("(window.confirm = () => true, true)");
    browser.click("form[action$='/approve'] button");
    browser.until("document.querySelector('main .st').textContent === 'failure'");
    at_home(&browser);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn names_are_read_whole_where_long_ones_stand_beside_them() {
    let world = World::of(Server::start_with(engine::docker_host(), &[("LONGSHORE_CAPACITY", "1")]));
    let name = "platform-engineering/internal-developer-portal";
    let (long, _) = world.api().add_repo(name, &world.git.url());
    let jobs: String = (10..14)
        .map(|n| format!("  shard-{n}-of-the-tests: {{ image: {BUSYBOX}, steps: [run: sleep 600] }}\n"))
        .collect();
    world.git.push(&format!("on: [push, manual]\njobs:\n{jobs}"));
    let (status, build) = world.api().post(&format!("/api/v1/repos/{long}/builds"), &json!({ "ref": "main" }));
    assert_eq!(status, 201, "{build}");
    let browser = browser();
    for (width, height) in [(1280, 900), (360, 740)] {
        browser.size(width, height);
        browser.open(&url(&world, "/"));
        assert!(is_whole(&browser, &format!("#repo-{long} > .name")), "at {width}");
        browser.picture(&format!("long-name-{width}"));
        browser.open(&url(&world, "/queue"));
        browser.until("document.querySelectorAll('#waiting > li[id]').length >= 3");
        assert!(is_whole(&browser, "#waiting .name"), "at {width}");
        browser.picture(&format!("long-names-in-the-queue-{width}"));
        browser.assert_fits();
        browser.assert_accessible();
    }
    let builds = world.api().get("/api/v1/builds");
    for build in builds["items"].as_array().unwrap() {
        world.api().post(&format!("/api/v1/builds/{}/cancel", text(build, "id")), &json!({}));
    }
    until("no build to run", || {
        let builds = world.api().get("/api/v1/builds");
        builds["items"].as_array()?.iter().all(crate::support::api::is_final).then_some(())
    });
    world.nothing_is_left();
}
