//! The log of a running job.

use serde_json::{Value, json};

use super::{begin, browser, go, logs::drawn, open_log, ran, sees, url};
use crate::support::{
    engine,
    world::{World, one_step},
};

/// A script that waits until it is told to go on.
const WAIT: &str = "while [ ! -f go ]; do sleep 0.05; done";

#[test]
fn what_is_selected_in_a_running_log_stays_selected_and_what_has_the_focus_keeps_it() {
    let world = World::start();
    let browser = browser();
    begin(&world, &one_step(&format!("seq 101 105; {WAIT}; seq 201 205; printf 'half a line'; sleep 600")));
    let build = world.api().get(&format!("/api/v1/repos/{}/builds", world.repo));
    let build = world.api().get(&format!("/api/v1/builds/{}", build["items"][0]["id"].as_str().unwrap()));
    let one = build["jobs"][0]["id"].as_str().unwrap().to_owned();
    open_log(&browser, &world, &one, "");
    let says = |words: &str| {
        format!("[...document.querySelectorAll('.lines .x')].some((line) => line.textContent === '{words}')")
    };
    browser.until(&says("105"));
    // Like on a page that was opened while the job was being prepared: it disappears with a refresh of the page.
    browser.eval(
        "document.getElementById('reason') \
         ?? document.getElementById('steps').insertAdjacentHTML('beforebegin', '<p id=\"reason\">Starting</p>\\n')",
    );
    browser.eval("document.body.setAttribute('data-row', [...document.querySelectorAll('.l')].find((row) => row.textContent.endsWith('103')).id)");
    let row = browser.eval("document.body.dataset.row");
    let row = row.as_str().unwrap();
    browser.eval(&format!("document.querySelector('#{row} .n').focus()"));
    browser.eval(&format!("getSelection().selectAllChildren(document.querySelector('#{row} .x'))"));
    browser.wait_for(
        "import(document.querySelector('script[src*=\"/assets/app.\"]').src).then(({ refresh }) => refresh())",
    );
    // The duration in the step's head keeps counting, and a line's time is relative to the step's start.
    browser.until("document.querySelector('#S1 .counts') !== null");
    let counted = browser.text("#S1 .counts");
    browser.until(&format!("document.querySelector('#S1 .counts').textContent !== '{counted}'"));
    go(&world);
    browser.until(&says("half a line"));
    browser.until("document.getElementById('reason') === null");
    assert_eq!(drawn(&browser, "getSelection().toString()"), json!("103"));
    assert_eq!(browser.eval("document.activeElement.parentElement.id"), json!(row));
    browser.eval(&format!(
        "document.querySelector('#{row} .x').dispatchEvent(new MouseEvent('mouseover', {{ bubbles: true }}))"
    ));
    let title = browser.eval(&format!("document.querySelector('#{row}').title"));
    assert!(title.as_str().unwrap().contains(" s into the step"), "{title}");
}

#[test]
fn a_step_that_begins_while_one_looks_tells_when_its_lines_came() {
    let world = World::start();
    let browser = browser();
    let pipeline = format!("{}      - run: echo 'of the second'; sleep 600\n", one_step(WAIT));
    let (_, one) = begin(&world, &pipeline);
    open_log(&browser, &world, &one, "");
    browser.until("document.querySelector('.steps .st.running') !== null");
    go(&world);
    browser.until("[...document.querySelectorAll('.l')].some((row) => row.textContent.endsWith('of the second'))");
    let title = browser.eval(
        "(() => { const row = [...document.querySelectorAll('.l')].find((row) => row.textContent.endsWith('of the second')); \
         row.dispatchEvent(new MouseEvent('mouseover', { bubbles: true })); return row.title; })()",
    );
    assert!(title.as_str().unwrap().contains(" s into the step"), "{title}");
}

#[test]
fn a_line_that_has_not_ended_is_seen_and_a_silent_job_says_that_it_was_silent() {
    let world = World::start();
    let browser = browser();
    let pipeline = one_step(&format!("{WAIT}; rm go; printf Building...; {WAIT}"));
    let (_, one) = begin(&world, &pipeline);
    open_log(&browser, &world, &one, "");
    browser.until("document.querySelector('.lines').dataset.nothing === 'No output yet'");
    browser.until("document.querySelector('.steps .st.running') !== null");
    go(&world);
    browser.until("[...document.querySelectorAll('.lines .x')].some((line) => line.textContent === 'Building...' && line.offsetHeight > 0)");
    assert_eq!(browser.eval("document.querySelector('.lines').hasAttribute('data-nothing')"), json!(false));
    go(&world);
    browser.until("document.getElementById('log').dataset.over === 'true'");

    let (_, one) = begin(&world, &one_step(WAIT));
    open_log(&browser, &world, &one, "");
    browser.until("document.querySelector('.lines').dataset.nothing === 'No output yet'");
    browser.until("document.querySelector('.steps .st.running') !== null");
    go(&world);
    browser.until("document.querySelector('.lines').dataset.nothing === 'No output'");
}

#[test]
fn a_job_that_is_tried_again_shows_the_log_of_the_new_try() {
    let world = World::start();
    let browser = browser();
    let script = format!("cat /proc/sys/kernel/random/uuid; {WAIT}; exit 1");
    let pipeline = one_step(&script).replace("    steps:", "    retry: { max: 1, on: [failure] }\n    steps:");
    let (_, one) = begin(&world, &pipeline);
    open_log(&browser, &world, &one, "");
    let printed = "[...document.querySelectorAll('.l:not(.note) .x')].find((x) => /^[0-9a-f-]{36}$/.test(x.textContent))?.textContent";
    browser.until(&format!("{printed} !== undefined"));
    let first = browser.eval(printed);
    go(&world);
    let taken_over =
        "document.getElementById('log')?.dataset.attempt === '2' && document.getElementById('log').dataset.ready";
    browser.until(&format!("{taken_over} && {printed} !== undefined"));
    let second = browser.eval(printed);
    assert_ne!(first, second);
    let log = String::from_utf8(world.api().raw_log(&one)).unwrap();
    assert_eq!(log.trim_end(), second.as_str().unwrap());
    // The log of the first attempt is one click away.
    browser.click("#try-1 a");
    browser.until(&format!(
        "location.search === '?attempt=1' && document.getElementById('log')?.dataset.ready && {printed} !== undefined"
    ));
    assert_eq!(browser.eval(printed), first);
}

#[test]
fn what_could_not_be_fetched_comes_when_the_server_is_back() {
    let mut world = World::start();
    let browser = browser();
    let (_, one) = ran(&world, &one_step("seq 1 8000"));
    // The log itself.
    browser.devtools("Network.setBlockedURLs", json!({ "urls": ["*/log/outline?*"] }));
    browser.open(&url(&world, &format!("/jobs/{one}")));
    browser.until("!document.getElementById('offline').hidden");
    browser.devtools("Network.setBlockedURLs", json!({ "urls": [] }));
    browser
        .until("document.getElementById('log').dataset.ready === 'true' && document.getElementById('offline').hidden");
    // A part of it.
    browser.until(&sees(1));
    world.server.kill();
    browser.eval("location.hash = '#L4000'");
    browser.until("!document.getElementById('offline').hidden");
    assert_eq!(browser.eval("document.getElementById('L4000')"), Value::Null);
    world.server.launch();
    browser.until(&sees(4000));
    browser.until("document.getElementById('offline').hidden");
}

#[test]
fn whoever_was_signed_out_is_told_and_nothing_is_asked_again() {
    let mut world = World::start();
    let browser = browser();
    let (_, one) = begin(&world, &one_step("seq 1 20; sleep 600"));
    open_log(&browser, &world, &one, "");
    browser.until("document.querySelector('.lines').textContent.includes('20')");
    browser.devtools("Network.setExtraHTTPHeaders", json!({ "headers": {} }));
    world.server.kill();
    world.server.launch();
    browser.until("document.querySelector('#log [role=alert]') !== null");
    assert_eq!(
        browser.text("#log [role=alert]"),
        "You are signed out, or this job no longer exists. Reload to continue."
    );
    assert_eq!(browser.eval("document.getElementById('offline').hidden"), json!(true));
    browser.picture("log-signed-out");
}

#[test]
fn an_open_log_goes_on_over_the_servers_death_without_gap_or_doubled_line() {
    let mut world = World::start();
    let browser = browser();
    let (build, one) =
        begin(&world, &one_step("i=1; while [ $i -le 400 ]; do echo line $i; i=$((i+1)); sleep 0.02; done"));
    open_log(&browser, &world, &one, "");
    browser.until("[...document.querySelectorAll('.lines .x')].some((line) => line.textContent === 'line 40')");
    world.server.kill();
    world.server.launch();
    assert_eq!(world.api().wait_for_build(&build)["status"], "success");
    browser.until("document.getElementById('log').dataset.over === 'true'");
    browser.until("[...document.querySelectorAll('.lines .x')].some((line) => line.textContent === 'line 400')");
    // Reads everything, one screen at a time, on this page and not on a fresh one.
    let seen = browser.wait_for(
        "(async () => { const view = document.querySelector('.lines'), seen = new Map(); \
         for (let top = 0; top <= view.scrollHeight; top += 200) { view.scrollTop = top; \
         for (let at = 0; at < 4 || view.querySelector('.empty'); at++) await new Promise(requestAnimationFrame); \
         for (const row of view.querySelectorAll('.l[id]')) { \
         if (seen.has(row.id) && seen.get(row.id) !== row.querySelector('.x').textContent) return `changed: ${row.id}`; \
         seen.set(row.id, row.querySelector('.x').textContent); } \
         if (new Set([...view.querySelectorAll('.l[id]')].map((row) => row.id)).size !== view.querySelectorAll('.l[id]').length) return 'doubled'; } \
         return [...seen].sort((a, b) => a[0].slice(1) - b[0].slice(1)).map(([, line]) => line).filter((line) => line.startsWith('line ')); })()",
    );
    let expected: Vec<String> = (1..=400).map(|n| format!("line {n}")).collect();
    assert_eq!(seen, json!(expected));
}

#[test]
fn a_running_log_is_followed_while_one_is_at_its_end_and_counts_what_is_new_elsewhere() {
    let world = World::start();
    let browser = browser();
    let (build, one) = begin(
        &world,
        &one_step(
            "seq 1 500; while [ ! -f go ]; do sleep 0.05; done; seq 501 520; while [ ! -f on ]; do sleep 0.05; done",
        ),
    );
    open_log(&browser, &world, &one, "");
    browser.until("[...document.querySelectorAll('.lines .x')].some((line) => line.textContent === '500')");
    browser.until("(() => { const view = document.querySelector('.lines'); return view.scrollTop + view.clientHeight >= view.scrollHeight - 4; })()");
    browser.click("[data-do=top]");
    browser.until("!document.querySelector('.follow').hidden");
    let container = engine::objects(&world.server.instance, &["job"]).remove(0);
    engine::docker(&["exec", &container, "touch", "/longshore/workspace/go"]);
    browser.until("document.querySelector('.follow').textContent === '20 new lines ↓'");
    browser.click(".follow");
    browser.until("[...document.querySelectorAll('.lines .x')].some((line) => line.textContent === '520')");
    engine::docker(&["exec", &container, "touch", "/longshore/workspace/on"]);
    browser.until("document.querySelector('.titled .st').textContent.trim() === 'success'");
    assert_eq!(world.api().wait_for_build(&build)["status"], "success");
}
