//! How pages update, in front and in the background.

use serde_json::json;

use super::{begin, browser, go, open_log, url};
use crate::support::{
    api::{Api, text},
    browser::Browser,
    engine::{self, BUSYBOX},
    server::{ADMIN_TOKEN, Server},
    until,
    world::{World, job, one_step},
};

/// Counts the open streams of pages, and shortens their long timers.
fn watched(browser: &Browser) {
    let script = "(() => {
        const Real = EventSource, wait = setTimeout, again = setInterval, soon = (ms) => (ms >= 10000 ? ms / 50 : ms);
        window.streams = new Set();
        window.EventSource = class extends Real {
            constructor(address) { super(address); streams.add(this); }
            close() { streams.delete(this); super.close(); }
        };
        window.setTimeout = (then, ms) => wait(then, soon(ms));
        window.setInterval = (then, ms) => again(then, soon(ms));
    })()";
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script }));
}

/// Tells the page that its tab is hidden, or shown again.
fn hide(browser: &Browser, hidden: bool) {
    browser.eval(&format!(
        "(Object.defineProperty(document, 'hidden', {{ configurable: true, value: {hidden} }}), \
         document.dispatchEvent(new Event('visibilitychange')))"
    ));
}

fn streams(browser: &Browser, of: &str) -> serde_json::Value {
    browser.eval(&format!("[...streams].filter((one) => one.url.includes('{of}')).length"))
}

/// A job that runs until it is told to go on.
const WAITS: &str = "while [ ! -f go ]; do sleep 0.05; done; echo done";

fn runs(world: &World, job: &str) {
    until("the step to begin", || {
        let job = world.api().get(&format!("/api/v1/jobs/{job}"));
        (job["steps"][0]["status"] == "running").then_some(())
    });
}

#[test]
fn a_jobs_page_follows_what_becomes_of_it_before_and_after_its_steps() {
    let world = World::of(Server::start_with(engine::docker_host(), &[("LONGSHORE_CAPACITY", "1")]));
    let browser = browser();
    let pipeline = format!(
        "defaults: {{ image: {BUSYBOX} }}\njobs:\n  one: {{ steps: [{{ run: '{WAITS}' }}] }}\n  two: {{ approval: Shall it?, steps: [{{ run: 'true' }}] }}\n"
    );
    let (build, one) = begin(&world, &pipeline);
    let two = text(job(&world.api().get(&format!("/api/v1/builds/{build}")), "two"), "id");
    runs(&world, &one);
    open_log(&browser, &world, &two, "");
    assert_eq!(browser.text(".titled .st"), "waiting");
    assert!(browser.text("#reason").contains("Shall it?"));
    // No step runs yet, so updates come only from the build.
    world.api().post(&format!("/api/v1/jobs/{two}/approve"), &json!({}));
    browser.until("document.querySelector('.titled .st').textContent === 'queued'");
    assert!(browser.text("#approved").contains("Approved by"));
    world.api().post(&format!("/api/v1/jobs/{two}/cancel"), &json!({}));
    browser.until("document.querySelector('.titled .st').textContent === 'canceled'");
    assert_eq!(browser.eval("document.getElementById('do-rerun')"), json!(null));
    go(&world);
    browser.until("document.getElementById('do-rerun') !== null");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_tab_that_nobody_looks_at_holds_no_stream_and_its_title_stays_true() {
    let world = World::start();
    let browser = browser();
    watched(&browser);
    let (build, one) = begin(&world, &one_step(WAITS));
    runs(&world, &one);
    browser.open(&url(&world, &format!("/builds/{build}")));
    browser.until("document.title.startsWith('running')");
    assert_eq!(streams(&browser, "/events"), json!(1));
    hide(&browser, true);
    assert_eq!(streams(&browser, ""), json!(0));
    hide(&browser, false);
    assert_eq!(streams(&browser, "/events"), json!(1));
    hide(&browser, true);
    go(&world);
    browser.until(
        "document.title.startsWith('success') && document.getElementById('icon').href.includes('/assets/success.')",
    );
    hide(&browser, false);
    assert_eq!(streams(&browser, ""), json!(0), "it is over");

    // Changes in the background appear as soon as the page is shown, also on a job's page, which has the log's stream.
    let (build, one) = begin(&world, &format!("{}# again\n", one_step(WAITS)));
    runs(&world, &one);
    open_log(&browser, &world, &one, "");
    browser.until("[...streams].some((one) => one.url.includes('/lines/stream'))");
    hide(&browser, true);
    assert_eq!(streams(&browser, ""), json!(0));
    go(&world);
    assert_eq!(world.api().wait_for_build(&build)["status"], "success");
    browser.until("document.title.startsWith('success')");
    hide(&browser, false);
    browser.until(
        "document.querySelector('.titled .st').textContent === 'success' && document.querySelector('.counts') === null",
    );
    browser.until("[...document.querySelectorAll('.l .x')].some((line) => line.textContent === 'done')");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn however_many_tabs_are_open_the_next_one_opens() {
    let server = Server::start();
    let browser = browser();
    for _ in 0..8 {
        browser.open(&server.url());
        browser.until("document.title === 'Longshore'");
        browser.new_tab();
        browser.bearer(ADMIN_TOKEN);
    }
    browser.open(&server.url());
    browser.until("document.querySelector('h1') !== null");
}

#[test]
fn what_is_searched_as_one_types_is_what_was_typed_last() {
    let server = Server::start();
    for name in ["team/alpha", "team/beta"] {
        server.api().add_repo(name, "https://forge.example/r.git");
    }
    let browser = browser();
    browser.open(&server.url());
    browser.eval(
        "(() => { const real = fetch; window.asked = []; window.let_go = null;
            const gate = new Promise((done) => { window.let_go = done; });
            window.fetch = async (...all) => { asked.push(String(all[0])); await gate; return real(...all); };
            window.type = (text) => { const field = document.querySelector('[data-search]'); field.value = text; field.dispatchEvent(new Event('input')); };
        })()",
    );
    browser.eval("type('al')");
    browser.until("asked.length === 1");
    browser.eval("type('beta')");
    browser.until("location.search === '?q=beta'");
    browser.eval("let_go()");
    browser
        .until("[...document.querySelectorAll('#repos .name')].map((name) => name.textContent).join() === 'team/beta'");
    assert_eq!(browser.eval("asked.at(-1).endsWith('?q=beta')"), json!(true));
}

#[test]
fn whoever_is_signed_out_is_told_so_and_no_more_is_asked() {
    let world = World::start();
    let browser = Browser::start();
    watched(&browser);
    let (status, made) = world.api().post("/api/v1/tokens", &json!({ "name": "reader", "scopes": ["read"] }));
    assert_eq!(status, 201, "{made}");
    let reader = Api::new(&world.server.url(), made["token"].as_str());
    let link = text(&reader.post("/api/v1/sign-in-links", &json!({})).1, "url");
    let path = link.split_once("/sign-in").unwrap().1;
    let (build, one) = begin(&world, &one_step(WAITS));
    runs(&world, &one);
    browser.open(&url(&world, &format!("/sign-in{path}&next=/builds/{build}")));
    browser.click("#offer button");
    browser.until("document.title.startsWith('running')");
    browser.eval("(() => { const real = fetch; window.asked = 0; window.fetch = (...all) => { asked++; return real(...all); }; })()");
    browser.wait_for("fetch('/sign-out', { method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: new URLSearchParams({ csrf: document.querySelector('.who [name=csrf]').value }) })");
    // The stream continues, but the server no longer answers with the page.
    world.api().post(&format!("/api/v1/builds/{build}/cancel"), &json!({}));
    browser.until("!document.getElementById('offline').hidden");
    assert!(browser.text("#offline").contains("You are signed out"), "{}", browser.text("#offline"));
    assert_eq!(streams(&browser, ""), json!(0));
    browser.assert_fits();
    browser.picture("signed-out");
    let asked = browser.eval("asked");
    hide(&browser, true);
    hide(&browser, false);
    assert_eq!((browser.eval("asked"), streams(&browser, "")), (asked, json!(0)));
}

#[test]
fn the_figures_of_a_long_step_count_on() {
    let world = World::start();
    let browser = browser();
    watched(&browser);
    let (build, one) = begin(&world, &one_step(WAITS));
    runs(&world, &one);
    browser.open(&url(&world, &format!("/builds/{build}")));
    browser.until("document.querySelector('#timeline[data-grows] .num .counts') !== null");
    let shown = json!(browser.text("#timeline .num"));
    browser.until(&format!("document.querySelector('#timeline .num').textContent !== {shown}"));
    // Values that only the server knows are refreshed from time to time.
    let cursor = browser.eval("document.getElementById('main').dataset.now");
    browser.until(&format!("document.getElementById('main').dataset.now !== {cursor}"));
    go(&world);
    browser.until("document.querySelector('#timeline .counts') === null");
}

#[test]
fn a_key_after_a_pair_is_a_key_of_its_own() {
    let server = Server::start();
    let browser = browser();
    browser.open(&server.url());
    browser.until("document.querySelector('a[data-key=n]') !== null");
    browser.eval("(window.clicked = [], document.addEventListener('click', (event) => { event.preventDefault(); clicked.push(event.target.dataset.key); }))");
    for keys in ["g", "q", "n", "g", "g", "n"] {
        browser.press(keys);
    }
    assert_eq!(browser.eval("clicked"), json!(["g q", "n", "n"]));
}
