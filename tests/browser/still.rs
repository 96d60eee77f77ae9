//! Rows that somebody points at stay where they are while builds start and end; and a name that is cut hides no link.

use serde_json::{Value, json};

use super::{begin, browser, go, open_log, ran, url};
use crate::support::{
    api::text,
    browser::Browser,
    engine::{self, BUSYBOX},
    server::Server,
    until,
    world::{World, job, one_step},
};

const WAIT: &str = "while [ ! -f go ]; do sleep 0.05; done; rm go";

/// Moves the pointer to the middle of an element. The page's clock stands still from then on: a pointer that rests holds
/// the rows for some seconds, and what a test waits for may take longer.
fn point_at(browser: &Browser, selector: &str) {
    browser.eval("(() => { const at = performance.now(); performance.now = () => at; })()");
    let middle = browser.eval(&format!(
        "(() => {{ const {{ left, top, width, height }} = document.querySelector('{selector}').getBoundingClientRect(); \
         return {{ x: left + width / 2, y: top + height / 2 }}; }})()"
    ));
    let (x, y) = (middle["x"].clone(), middle["y"].clone());
    browser.devtools("Input.dispatchMouseEvent", json!({ "type": "mouseMoved", "x": x, "y": y }));
    browser.until(&format!("document.querySelector('{selector}').matches(':hover')"));
}

/// Moves the pointer out of every list.
fn leave(browser: &Browser) {
    browser.devtools("Input.dispatchMouseEvent", json!({ "type": "mouseMoved", "x": 2, "y": 2 }));
}

/// Returns where each row of a list is.
fn places(browser: &Browser, list: &str) -> Value {
    browser.eval(&format!(
        "[...document.querySelectorAll('{list} > li')].map((row) => [row.id, row.getBoundingClientRect().top])"
    ))
}

#[test]
fn a_row_that_one_points_at_stays_where_it_is_while_builds_start() {
    let world = World::of(Server::start_with(engine::docker_host(), &[("LONGSHORE_CAPACITY", "1")]));
    let browser = browser();
    let (first, _) = begin(&world, &one_step(WAIT));
    let (second, _) = begin(&world, &format!("{}# second\n", one_step(WAIT)));
    for (width, height) in [(1280, 900), (360, 740)] {
        browser.size(width, height);
        browser.open(&url(&world, &format!("/repos/{}", world.repo)));
        point_at(&browser, &format!("#build-{second} .name"));
        let before = places(&browser, "#builds");
        let (third, _) = begin(&world, &format!("{}# third {width}\n", one_step("true")));
        world.api().post(&format!("/api/v1/builds/{third}/cancel"), &json!({}));
        let row = format!("document.getElementById('build-{third}')");
        // The title is the newest build's: the page is up to date.
        browser.until("document.title.startsWith('canceled')");
        assert_eq!(places(&browser, "#builds"), before);
        assert_eq!(browser.eval(&row), Value::Null);
        leave(&browser);
        browser.until(&format!("{row} !== null && {row}.textContent.includes('canceled')"));
        browser.assert_accessible();
    }
    // The content of a row changes in place.
    point_at(&browser, &format!("#build-{first} .name"));
    let before = places(&browser, "#builds");
    assert!(browser.text(&format!("#build-{second} .st")).contains("queued"));
    go(&world);
    browser.until(&format!("document.querySelector('#build-{first} .st').textContent === 'success'"));
    browser.until(&format!("document.querySelector('#build-{second} .st').textContent === 'running'"));
    assert_eq!(places(&browser, "#builds"), before);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn the_queue_keeps_its_rows_in_place_while_one_points_at_them() {
    let world = World::of(Server::start_with(engine::docker_host(), &[("LONGSHORE_CAPACITY", "1")]));
    let browser = browser();
    let jobs: String = ["one", "two", "three", "four"]
        .iter()
        .map(|name| format!("  {name}: {{ image: {BUSYBOX}, steps: [run: '{WAIT}'] }}\n"))
        .collect();
    let (build, _) = begin(&world, &format!("jobs:\n{jobs}"));
    let all = world.api().get(&format!("/api/v1/builds/{build}"));
    let id = |name: &str| text(job(&all, name), "id");
    let runs = |name: &str| {
        until("the step to begin", || {
            let job = world.api().get(&format!("/api/v1/jobs/{}", id(name)));
            (job["steps"][0]["status"] == "running").then_some(())
        });
    };
    runs("one");
    browser.open(&url(&world, "/queue"));
    browser.until("document.querySelectorAll('#waiting > li[id]').length === 3");
    point_at(&browser, &format!("#job-{} .name", id("three")));
    let before = [places(&browser, "#running"), places(&browser, "#waiting")];
    go(&world);
    browser.until(&format!("document.querySelector('#job-{} .st').textContent === 'ended'", id("one")));
    browser.until(&format!("document.querySelector('#job-{} .st').textContent === 'running'", id("two")));
    assert_eq!([places(&browser, "#running"), places(&browser, "#waiting")], before);
    browser.assert_accessible();
    browser.picture("queue-held");
    leave(&browser);
    browser.until("document.querySelectorAll('#waiting > li[id]').length === 2");
    assert_eq!(browser.eval("document.querySelector('#running > li').id"), json!(format!("job-{}", id("two"))));
    assert_eq!(browser.complaints(), Vec::<String>::new());
    world.api().post(&format!("/api/v1/builds/{build}/cancel"), &json!({}));
    world.api().wait_for_build(&build);
}

#[test]
fn a_job_that_fails_pushes_no_row_away_that_one_points_at() {
    let world = World::of(Server::start_with(engine::docker_host(), &[("LONGSHORE_CAPACITY", "2")]));
    let browser = browser();
    let pipeline = format!(
        "defaults: {{ image: {BUSYBOX} }}\njobs:\n  one: {{ steps: [run: \"{WAIT}; seq 1 30; echo 'error: no'; exit 1\"] }}\n  \
         two: {{ steps: [run: 'sleep 600'] }}\n"
    );
    let (build, one) = begin(&world, &pipeline);
    let two = text(job(&world.api().get(&format!("/api/v1/builds/{build}")), "two"), "id");
    browser.open(&url(&world, &format!("/builds/{build}")));
    browser.until(&format!("document.querySelector('#job-{one} .st').textContent === 'running'"));
    point_at(&browser, &format!("#job-{two} .name"));
    let before = places(&browser, "#jobs");
    until("the step to begin", || {
        let job = world.api().get(&format!("/api/v1/jobs/{one}"));
        (job["steps"][0]["status"] == "running").then_some(())
    });
    for container in until("both containers", || {
        Some(engine::objects(&world.server.instance, &["job"])).filter(|found| found.len() == 2)
    }) {
        let _ = std::process::Command::new("docker")
            .args(["exec", &container, "touch", "/longshore/workspace/go"])
            .output()
            .unwrap();
    }
    browser.until(&format!("document.querySelector('#job-{one} .st').textContent === 'failure'"));
    assert_eq!(places(&browser, "#jobs"), before);
    leave(&browser);
    browser.until(&format!("document.querySelector('#tail-{one}') !== null"));
    world.api().post(&format!("/api/v1/builds/{build}/cancel"), &json!({}));
    world.api().wait_for_build(&build);
}

#[test]
fn a_job_that_has_printed_nothing_opens_at_its_head_and_its_first_lines_come_into_view() {
    let world = World::start();
    let browser = browser();
    let pipeline = format!(
        "defaults: {{ image: {BUSYBOX} }}\njobs:\n  one: {{ approval: Deploy to production?, steps: [run: 'seq 1 5; sleep 600'] }}\n"
    );
    let (build, one) = begin(&world, &pipeline);
    browser.size(360, 740);
    open_log(&browser, &world, &one, "");
    let shown = "(({ top, bottom }) => top >= 0 && bottom <= innerHeight)(document.querySelector('form[id^=approve-] button').getBoundingClientRect())";
    assert_eq!(browser.eval(shown), json!(true));
    browser.picture("job-waits-360");
    world.api().post(&format!("/api/v1/jobs/{one}/approve"), &json!({}));
    browser.until("[...document.querySelectorAll('.lines .x')].some((line) => line.textContent === '5' && line.getBoundingClientRect().bottom <= innerHeight)");
    world.api().post(&format!("/api/v1/builds/{build}/cancel"), &json!({}));
    world.api().wait_for_build(&build);
}

#[test]
fn a_long_duration_fits_its_column_wherever_it_stands() {
    let world = World::start();
    let browser = browser();
    let (build, _) = ran(&world, &one_step("true"));
    let build = text(&build, "id");
    for width in [1280, 360] {
        browser.size(width, 900);
        for path in ["/".to_owned(), format!("/repos/{}", world.repo), format!("/builds/{build}"), "/queue".to_owned()]
        {
            browser.open(&url(&world, &path));
            let over = browser.eval(
                "[...document.querySelectorAll('.num')].filter((num) => { if (num.textContent.trim()) num.textContent = '59 min 59 s'; \
                 return num.scrollWidth > num.clientWidth && num.clientWidth > 0; }).length",
            );
            assert_eq!(over, json!(0), "{path} at {width}");
            browser.assert_fits();
        }
    }
}
