//! A job's log.

use serde_json::json;

use super::{begin, browser, open_log, ran, sees, url};
use crate::support::{
    engine,
    world::{World, one_step},
};

#[test]
fn a_failing_job_opens_on_the_line_that_says_why() {
    let world = World::start();
    let browser = browser();
    let script = "echo '::group::Install'; seq 1 200; echo '::endgroup::'\nseq 1 3000\n\
                  printf '\\033[1;31merror: it broke\\033[0m at https://example.org/help\\n'; exit 3";
    let (build, one) = ran(&world, &one_step(script));
    assert_eq!(build["status"], "failure");
    open_log(&browser, &world, &one, "");
    // Notes of ours come first: the line is found by what it says.
    let lines = world.api().get(&format!("/api/v1/jobs/{one}/log/lines?tail=1"));
    let last = lines["total"].as_u64().unwrap();
    browser.until(&sees(last));
    let row = browser.text(&format!("#L{last}"));
    assert!(row.contains("error: it broke at https://example.org/help"), "{row}");
    assert_eq!(
        browser.eval(&format!("document.querySelector('#L{last} a[href^=https]').rel")),
        json!("noopener noreferrer nofollow")
    );
    assert!(browser.eval(&format!("document.querySelector('#L{last} .f-1, #L{last} .bold') !== null")) == json!(true));
    assert_eq!(browser.text(".marks .count"), "1 error");
    browser.picture("log-failing");
    // `n` comes to it from anywhere, and the group is folded until somebody asks.
    browser.click("[data-do=top]");
    browser.until("document.querySelector('.l.group') !== null");
    assert_eq!(browser.eval("document.querySelector('.l.group .fold').ariaExpanded"), json!("false"));
    browser.click(".l.group .fold");
    browser.until("document.querySelector('.l.group .fold').ariaExpanded === 'true' && document.querySelector('.l.group').nextElementSibling.querySelector('.x').textContent === '1'");
    browser.eval("document.activeElement.blur()");
    browser.press("n");
    browser.until(&sees(last));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn what_one_reads_stays_when_the_window_changes_its_size() {
    let world = World::start();
    let browser = browser();
    let (_, one) = ran(
        &world,
        &one_step("seq 1 40; head -c 6000 /dev/zero | tr '\\0' y; echo; echo 'error: behind a long line'; exit 1"),
    );
    let last = world.api().get(&format!("/api/v1/jobs/{one}/log/lines?tail=1"))["total"].as_u64().unwrap();
    browser.size(360, 740);
    open_log(&browser, &world, &one, "");
    browser.until(&sees(last));
    // What stands at the top of the view: which line, and how much of it is above.
    let place = || {
        let found = browser.wait_for(
            "(async () => { for (let at = 0; at < 4; at++) await new Promise(requestAnimationFrame); \
             const edge = document.querySelector('.lines').getBoundingClientRect().top; \
             const row = [...document.querySelectorAll('.lines .l[id]')].find((row) => row.getBoundingClientRect().bottom > edge); \
             const { top, height } = row.getBoundingClientRect(); return [row.id, (edge - top) / height]; })()",
        );
        (found[0].as_str().unwrap().to_owned(), found[1].as_f64().unwrap())
    };
    let before = place();
    assert_eq!(before.0, format!("L{}", last - 1), "the long line does not reach over the view");
    assert!(before.1 > 0.3, "{before:?}");
    // A phone's own bars.
    browser.size(360, 680);
    browser.until("innerHeight === 680");
    assert_eq!(place(), before);
    browser.size(360, 740);
    browser.until("innerHeight === 740");
    assert_eq!(place(), before);
    // Turned on its side, lines are broken elsewhere.
    browser.size(740, 360);
    browser.until("innerWidth === 740");
    let turned = place();
    assert!(turned.0 == before.0 && (turned.1 - before.1).abs() < 0.1, "{before:?} {turned:?}");
}

#[test]
fn a_log_of_a_million_lines_opens_is_searched_scrolled_and_linked() {
    let world = World::start();
    let browser = browser();
    let script = "yes 'the same line, 1,000,000 times, until somebody looks for another one of them' | head -n 499999\n\
                  echo 'a needle in the middle'\nyes 'and the same again, as long as it takes to make a million of them in all' | head -n 500000";
    let (build, one) = ran(&world, &one_step(script));
    assert_eq!(build["status"], "success", "{build}");
    let total = world.api().get(&format!("/api/v1/jobs/{one}/log/lines?tail=1"))["total"].as_u64().unwrap();
    assert!(total >= 1_000_000);
    let notes = total - 1_000_000;
    let needle = notes + 500_000;
    open_log(&browser, &world, &one, "");
    browser.until(&sees(1));

    // Searched.
    browser.press("/");
    browser.press("NEEDLE in\u{E007}");
    browser.until("document.querySelector('.result').textContent === '1 of 1'");
    browser.until(&sees(needle));
    browser.picture("log-million-search");

    // Scrolled to three quarters, as with the bar.
    browser.eval("document.querySelector('.lines').scrollTop = document.querySelector('.lines').scrollHeight * 0.75");
    let near = "[...document.querySelectorAll('.lines .l[id]')].some((row) => Math.abs(Number(row.id.slice(1)) - 750000) < 2000 && row.getBoundingClientRect().top > 0)";
    browser.until(near);
    assert!(
        browser.eval("document.querySelectorAll('.lines .l').length").as_u64().unwrap() < 3_000,
        "too much of it is in the page"
    );

    // Linked, as a range, by a click and a click with shift.
    open_log(&browser, &world, &one, "#L123456-L123460");
    browser.until(&sees(123_456));
    assert_eq!(browser.eval("document.querySelectorAll('.l.chosen').length"), json!(5));
    browser.click("#L123458 .n");
    assert_eq!(browser.eval("location.hash"), json!("#L123458"));
    browser.eval("document.querySelector('#L123462 .n').dispatchEvent(new MouseEvent('click', { bubbles: true, cancelable: true, shiftKey: true }))");
    assert_eq!(browser.eval("location.hash"), json!("#L123458-L123462"));

    // To the end.
    browser.click("[data-do=end]");
    browser.until(&sees(total));
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
    // Everything, a screen at a time: the page as it is, not as a fresh one would be.
    let seen = browser.wait_for(
        "(async () => { const view = document.querySelector('.lines'), seen = new Map(); \
         for (let top = 0; top <= view.scrollHeight; top += 200) { view.scrollTop = top; \
         await new Promise((next) => setTimeout(next, 60)); \
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

#[test]
fn whatever_a_job_prints_stays_text() {
    let world = World::start();
    let browser = browser();
    let script = "printf '<script>document.title=1</script><img src=x onerror=document.title=2>\\n'\n\
                  printf '\\033]0;title\\007\\033[2Jafter \\342\\200\\256 turned \\001\\377 bytes\\n'\n\
                  printf '\\033[38;2;200;30;30mtrue\\033[38;5;27m256\\033[7mback\\033[0m\\n'\n\
                  printf 'step 1\\rstep 2\\rstep 3\\n'\n\
                  head -c 100000 /dev/zero | tr '\\0' x; echo\n\
                  echo 'javascript:alert(1) http://\"onclick=x'\nexit 1";
    let (_, one) = ran(&world, &one_step(script));
    for scripted in [true, false] {
        browser.scripts(scripted);
        browser.open(&url(&world, &format!("/jobs/{one}")));
        if scripted {
            browser.until("document.getElementById('log').dataset.ready === 'true'");
        }
        let shown = |words: &str| {
            browser.until(&format!("document.querySelector('.lines').textContent.includes({})", json!(words)))
        };
        shown("<script>document.title=1</script><img src=x onerror=document.title=2>");
        shown("after \u{fffd} turned ");
        shown("true256back");
        shown("step 3");
        assert_eq!(
            browser.eval("document.querySelectorAll('main img, .lines script, .lines [onclick]').length"),
            json!(0)
        );
        let redrawn = "[...document.querySelectorAll('.lines .x')].some((line) => line.textContent.includes('step 2'))";
        assert_eq!(browser.eval(redrawn), json!(false));
        assert!(!browser.text("title").starts_with(['1', '2']));
        browser.assert_fits();
        browser.picture(if scripted { "log-hostile" } else { "log-hostile-no-script" });
    }
    browser.scripts(true);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn without_a_script_a_log_is_read_in_parts_and_searched() {
    let world = World::start();
    let browser = browser();
    let (_, one) = ran(&world, &one_step("seq 1 5000; echo needle; seq 5002 6000"));
    browser.scripts(false);
    browser.open(&url(&world, &format!("/jobs/{one}")));
    assert!(browser.eval("document.querySelectorAll('.lines .l').length").as_u64().unwrap() >= 200);
    browser.click("noscript + *, .pager a:last-child");
    browser.until("document.querySelector('.lines').textContent.includes('6000')");
    browser.open(&url(&world, &format!("/jobs/{one}?q=needle")));
    browser.click(".hits a");
    browser.until("document.querySelector('.l:target .x').textContent === 'needle'");
    browser.picture("log-no-script");
}

#[test]
fn a_log_is_read_with_the_keyboard_alone() {
    let world = World::start();
    let browser = browser();
    let (_, one) = ran(&world, &one_step("seq 1 2000; echo 'warning: odd'; seq 1 2000; echo 'error: bad'; seq 1 2000"));
    open_log(&browser, &world, &one, "");
    let line = |words: &str| {
        let found = world.api().get(&format!("/api/v1/jobs/{one}/log/search?q={words}"));
        found["lines"][0].as_u64().unwrap()
    };
    browser.press("n");
    browser.until(&sees(line("warning:")));
    browser.press("n");
    browser.until(&sees(line("error:")));
    browser.press("p");
    browser.until(&sees(line("warning:")));
    browser.press("w");
    assert_eq!(browser.eval("document.querySelector('[data-do=wrap]').ariaPressed"), json!("true"));
    browser.press("G");
    let total = world.api().get(&format!("/api/v1/jobs/{one}/log/lines?tail=1"))["total"].as_u64().unwrap();
    browser.until(&sees(total));
    browser.press("?");
    browser.until("document.getElementById('keys').open");
    assert!(browser.text("#keys").contains("Next error or warning"));
    browser.press("\u{E00C}");
    // Everything that can be clicked can be come to.
    let reached = browser.eval("[...document.querySelectorAll('main button, main a, main input')].filter((e) => e.offsetParent && e.tabIndex < 0).length");
    assert_eq!(reached, json!(0));
}
