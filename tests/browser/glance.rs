//! What people meet while they look: the newest lines, folds, questions before something ends, rings around what has
//! the focus, and a server that is away.

use serde_json::{Value, json};

use super::{begin, browser, go, open_log, ran, sees, url};
use crate::support::{
    api::text,
    browser::Browser,
    engine::BUSYBOX,
    server::ADMIN_TOKEN,
    world::{World, one_step},
};

const WAIT: &str = "while [ ! -f go ]; do sleep 0.05; done; rm go";

/// Returns whether an element is wholly within the window.
fn in_window(selector: &str) -> String {
    format!(
        "(() => {{ const found = document.querySelector('{selector}'); if (!found || found.hidden) return false; \
         const {{ top, bottom, height }} = found.getBoundingClientRect(); return height > 0 && top >= 0 && bottom <= innerHeight; }})()"
    )
}

fn total(world: &World, job: &str) -> u64 {
    world.api().get(&format!("/api/v1/jobs/{job}/log/lines?tail=1"))["total"].as_u64().unwrap()
}

/// Evaluates an expression once a line with these words is on the page.
fn has_line(words: &str) -> String {
    format!("[...document.querySelectorAll('.lines .x')].some((line) => line.textContent === '{words}')")
}

#[test]
fn the_newest_lines_of_a_running_job_and_what_counts_them_are_in_the_window() {
    let world = World::start();
    let browser = browser();
    let many: String = (0..30).map(|n| format!("      - run: echo later {n}\n")).collect();
    for (steps, (width, height)) in [("", (1280, 700)), (many.as_str(), (1280, 700)), ("", (360, 740))] {
        let script = format!("seq 1 120; {WAIT}; seq 121 240; {WAIT}; seq 241 260; {WAIT}");
        let (build, one) = begin(&world, &format!("{}{steps}#{width}\n", one_step(&script)));
        browser.size(width, height);
        open_log(&browser, &world, &one, "");
        browser.until(&has_line("120"));
        browser.until(&sees(total(&world, &one)));
        go(&world);
        browser.until(&has_line("240"));
        browser.until(&sees(total(&world, &one)));
        // A reader who scrolls up sees there that new lines have come.
        browser.eval("document.querySelector('.lines').scrollBy(0, -400)");
        browser.until(&in_window(".follow"));
        go(&world);
        browser.until("document.querySelector('.follow').textContent.startsWith('20 new lines')");
        assert_eq!(browser.eval(&in_window(".follow")), json!(true));
        browser.picture(&format!("new-lines-{width}-{}", steps.len()));
        browser.click(".follow");
        browser.until(&sees(total(&world, &one)));
        world.api().post(&format!("/api/v1/builds/{build}/cancel"), &json!({}));
        world.api().wait_for_build(&build);
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn all_steps_fold_wherever_in_the_log_one_is() {
    let world = World::start();
    let browser = browser();
    let pipeline = format!(
        "{}      - run: seq 2001 4000\n      - run: \"seq 4001 6000; echo 'error: at the end'; exit 1\"\n",
        one_step("seq 1 2000")
    );
    let (_, one) = ran(&world, &pipeline);
    let printed = "[...document.querySelectorAll('.lines .x')].filter((x) => /^[0-9]+$/.test(x.textContent)).length";
    let folded = format!("document.querySelectorAll('.lines .head').length === 3 && {printed} === 0");
    for (fragment, before) in [("#L2500", None), ("", Some("n")), ("?q=3333", None)] {
        open_log(&browser, &world, &one, fragment);
        browser.until(&format!("{printed} > 0"));
        if let Some(key) = before {
            browser.press(key);
        }
        if fragment.starts_with('?') {
            browser.until(&has_line("3333"));
        }
        browser.click("[data-do=fold]");
        browser.until(&folded);
        browser.click("[data-do=fold]");
        browser.until(&format!("{printed} > 0"));
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn the_key_that_cancels_asks_first() {
    let world = World::start();
    let browser = browser();
    let (build, one) = begin(&world, &one_step("sleep 600"));
    for path in [format!("/jobs/{one}"), format!("/builds/{build}")] {
        browser.open(&url(&world, &path));
        browser.until("document.querySelector('.titled .st').textContent === 'running'");
        browser.eval("(window.asked = [], window.confirm = (question) => { asked.push(question); return false; })");
        browser.press("c");
        browser.until("asked.length === 1");
        assert!(browser.eval("asked[0]").as_str().unwrap().starts_with("Cancel this "));
        assert_eq!(browser.text(".titled .st"), "running");
    }
    browser.eval("window.confirm = () => true");
    browser.press("c");
    assert_eq!(world.api().wait_for_build(&build)["status"], "canceled");
}

/// Returns the elements whose ring something cuts off, although they are wholly in view themselves.
fn cut_rings(browser: &Browser) -> Value {
    browser.press("\u{e004}"); // Tab
    browser.eval(
        "[...document.querySelectorAll('a[href],button,input,select,textarea,summary,[tabindex=\"0\"]')].filter((one) => {
            if (!one.getClientRects().length || one.closest('dialog')) return false;
            one.focus();
            const style = getComputedStyle(one);
            if (!one.matches(':focus-visible') || style.outlineStyle === 'none') return false;
            const out = parseFloat(style.outlineOffset) + parseFloat(style.outlineWidth);
            const { left, right, top, bottom } = one.getBoundingClientRect();
            for (let around = one.parentElement; around && around !== document.body; around = around.parentElement) {
                if (getComputedStyle(around).overflow === 'visible') continue;
                const box = around.getBoundingClientRect();
                const whole = left >= box.left && right <= box.right && top >= box.top && bottom <= box.bottom;
                if (whole && (left - out < box.left - 0.6 || right + out > box.right + 0.6 || top - out < box.top - 0.6 || bottom + out > box.bottom + 0.6)) return true;
            }
            return false;
        }).map((one) => one.outerHTML.slice(0, 150))",
    )
}

#[test]
fn rings_around_what_has_the_focus_are_whole() {
    let world = World::start();
    let browser = browser();
    let (build, one) = ran(&world, &one_step("echo 'error: no'; exit 1"));
    let (build, repo) = (text(&build, "id"), &world.repo);
    for width in [1280, 360] {
        browser.size(width, 900);
        for path in [
            "/".to_owned(),
            format!("/repos/{repo}"),
            format!("/repos/{repo}/deliveries"),
            format!("/repos/{repo}/settings"),
            format!("/builds/{build}"),
            format!("/jobs/{one}"),
            "/queue".to_owned(),
            "/access".to_owned(),
        ] {
            browser.open(&url(&world, &path));
            assert_eq!(cut_rings(&browser), json!([]), "{path} at {width}");
        }
    }
}

#[test]
fn a_failed_build_leads_to_the_first_error_of_each_job_and_its_log_is_centred_on_it() {
    let world = World::start();
    let browser = browser();
    let build = world.run(&format!(
        "defaults: {{ image: {BUSYBOX} }}\njobs:\n  lint: {{ steps: [{{ run: \"seq 1 300; echo 'error: unused name'; seq 1 300; exit 1\" }}] }}\n  \
         style: {{ continue-on-error: true, steps: [{{ run: \"echo 'error: too long'; exit 1\" }}] }}\n  \
         test: {{ steps: [{{ run: \"echo 'error: 1 is not 2'; exit 1\" }}] }}\n"
    ));
    let address = url(&world, &format!("/builds/{}", text(&build, "id")));
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        for width in [1280, 360] {
            browser.size(width, 1200);
            browser.open(&address);
            let errors = browser.text("#note");
            assert!(errors.contains("error: unused name") && errors.contains("error: 1 is not 2"), "{errors}");
            assert!(!errors.contains("too long"), "{errors}");
            browser.assert_fits();
            browser.assert_accessible();
            browser.picture(&format!("first-errors-{scheme}-{width}"));
        }
    }
    browser.size(1280, 900);
    let link = "document.querySelector('#note .errors a')";
    let line = browser.eval(&format!("Number({link}.hash.slice(2))")).as_u64().unwrap();
    let job = browser.eval(&format!("{link}.pathname.slice(6)"));
    open_log(&browser, &world, job.as_str().unwrap(), "");
    browser.until(&sees(line));
    let off = browser.eval(&format!(
        "(() => {{ const row = document.getElementById('L{line}').getBoundingClientRect(), view = document.querySelector('.lines').getBoundingClientRect(); \
         return Math.abs((row.top + row.bottom) / 2 - (view.top + view.bottom) / 2) / view.height; }})()"
    ));
    assert!(off.as_f64().unwrap() < 0.1, "{off}");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn whoever_looks_at_the_top_sees_that_the_server_is_away() {
    let mut world = World::start();
    let browser = browser();
    browser.bearer(ADMIN_TOKEN);
    begin(&world, &one_step("sleep 600"));
    browser.open(&url(&world, "/"));
    browser.until("document.querySelector('#busy') !== null");
    world.server.kill();
    browser.until(&in_window("#offline"));
    let middle = browser.eval("(() => { const { top, bottom } = document.getElementById('offline').getBoundingClientRect(); return (top + bottom) / 2; })()");
    assert!(middle.as_f64().unwrap() < 80.0, "{middle}");
    browser.picture("connection-lost");
    world.server.launch();
    browser.until("document.getElementById('offline').hidden");
}

#[test]
fn a_phone_shows_the_whole_name_of_every_job() {
    let world = World::start();
    let browser = browser();
    let pipeline = format!(
        "name: integration\njobs:\n  one: {{ image: '{BUSYBOX}', steps: [{{ run: 'true' }}] }}\n  shard:\n    image: {BUSYBOX}\n    matrix: {{ n: [the-first-of-all-parts-of-them, the-last-of-all-parts-of-them] }}\n    steps: [{{ run: 'true' }}]\n"
    );
    let (build, _) = ran(&world, &pipeline);
    browser.size(360, 740);
    browser.open(&url(&world, &format!("/builds/{}", text(&build, "id"))));
    let cut = "[...document.querySelectorAll('#timeline a, .jobs>li>.name')].filter((name) => name.scrollWidth > name.clientWidth).map((name) => name.textContent)";
    assert_eq!(browser.eval(cut), json!([]));
    assert!(
        browser.text("#timeline").contains("shard (the-last-of-all-parts-of-them)"),
        "{}",
        browser.text("#timeline")
    );
}

#[test]
fn the_queue_has_room_for_why_a_job_waits() {
    let world = World::start();
    let browser = browser();
    let question = "Has everybody heard that this goes into production?";
    let pipeline =
        format!("jobs:\n  one:\n    image: {BUSYBOX}\n    approval: {question}\n    steps: [{{ run: 'true' }}]\n");
    begin(&world, &pipeline);
    browser.size(1280, 900);
    browser.open(&url(&world, "/queue"));
    browser.until(&format!("document.querySelector('#waiting').textContent.includes('{question}')"));
    let cut =
        "[...document.querySelectorAll('#waiting .where')].filter((why) => why.scrollWidth > why.clientWidth).length";
    assert_eq!(browser.eval(cut), json!(0));
}
