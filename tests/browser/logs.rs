//! The log of a job that has ended.

use serde_json::{Value, json};

use super::{begin, browser, open_log, ran, sees, url};
use crate::support::{
    browser::Browser,
    server::ADMIN_TOKEN,
    world::{World, one_step},
};

/// Returns the number of the first line that shows a text.
fn line_of(world: &World, job: &str, words: &str) -> u64 {
    let found = world.api().get(&format!("/api/v1/jobs/{job}/log/search?q={words}"));
    found["lines"][0].as_u64().unwrap()
}

/// Evaluates an expression after the page has drawn everything.
pub(super) fn drawn(browser: &Browser, expression: &str) -> Value {
    browser.wait_for(&format!(
        "(async () => {{ for (let at = 0; at < 4; at++) await new Promise(requestAnimationFrame); return {expression}; }})()"
    ))
}

/// Returns how far an element is below the top of its window.
fn top_of(browser: &Browser, selector: &str) -> f64 {
    drawn(browser, &format!("document.querySelector('{selector}')?.getBoundingClientRect().top ?? -1e6"))
        .as_f64()
        .unwrap()
}

#[test]
fn a_failing_job_opens_on_the_line_that_says_why() {
    let world = World::start();
    let browser = browser();
    let script = "echo '::group::Install'; seq 1 200; echo '::endgroup::'\nseq 1 3000\n\
                  printf '\\033[1;31merror: it broke\\033[0m at https://example.org/help\\n'; exit 3";
    let (build, one) = ran(&world, &one_step(script));
    assert_eq!(build["status"], "failure");
    open_log(&browser, &world, &one, "");
    // Longshore's own notes come first, so the line is found by its text.
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
    // `n` jumps to the line from anywhere, and the group is folded until then.
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
    // The line at the top of the view, and how much of it is above the top.
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
    // The bars of a phone's browser.
    browser.size(360, 680);
    browser.until("innerHeight === 680");
    assert_eq!(place(), before);
    browser.size(360, 740);
    browser.until("innerHeight === 740");
    assert_eq!(place(), before);
    // After rotation, lines wrap at other places.
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

    // Search.
    browser.press("/");
    browser.press("NEEDLE in\u{E007}");
    browser.until("document.querySelector('.result').textContent === '1 of 1'");
    browser.until(&sees(needle));
    browser.picture("log-million-search");

    // Scroll to three quarters, as with the scroll bar.
    browser.eval("document.querySelector('.lines').scrollTop = document.querySelector('.lines').scrollHeight * 0.75");
    let near = "[...document.querySelectorAll('.lines .l[id]')].some((row) => Math.abs(Number(row.id.slice(1)) - 750000) < 2000 && row.getBoundingClientRect().top > 0)";
    browser.until(near);
    assert!(
        browser.eval("document.querySelectorAll('.lines .l').length").as_u64().unwrap() < 3_000,
        "too much of it is in the page"
    );

    // Link to a range, by a click and a click with shift.
    open_log(&browser, &world, &one, "#L123456-L123460");
    browser.until(&sees(123_456));
    assert_eq!(browser.eval("document.querySelectorAll('.l.chosen').length"), json!(5));
    browser.click("#L123458 .n");
    assert_eq!(browser.eval("location.hash"), json!("#L123458"));
    browser.eval("document.querySelector('#L123462 .n').dispatchEvent(new MouseEvent('click', { bubbles: true, cancelable: true, shiftKey: true }))");
    assert_eq!(browser.eval("location.hash"), json!("#L123458-L123462"));
    for (n, range) in [(123_455, "#L123455-L123458"), (123_462, "#L123458-L123462")] {
        browser.eval(&format!("document.querySelector('#L{n} .n').dispatchEvent(new MouseEvent('click', {{ bubbles: true, cancelable: true, shiftKey: true }}))"));
        assert_eq!(browser.eval("location.hash"), json!(range));
    }

    // Jump to the end.
    browser.click("[data-do=end]");
    browser.until(&sees(total));

    // A screen with so many device pixels that the whole log exceeds the largest height of an element.
    drop(browser);
    let browser = Browser::start_at_scale(3);
    browser.bearer(ADMIN_TOKEN);
    assert_eq!(browser.eval("devicePixelRatio"), json!(3));
    for n in [900_000, total, 500_000, 1] {
        browser.open("about:blank");
        open_log(&browser, &world, &one, &format!("#L{n}"));
        browser.until(&sees(n));
    }
    browser.press("G");
    browser.until(&sees(total));
    browser.picture("log-million-end-small-pixels");
    for (part, n) in [(0.5, 500_000_i64), (0.9, 900_000), (0.1, 100_000), (1.0, total as i64), (0.0, 1)] {
        browser.eval(&format!("(() => {{ const view = document.querySelector('.lines'); view.scrollTop = (view.scrollHeight - view.clientHeight) * {part}; }})()"));
        browser.until(&format!(
            "[...document.querySelectorAll('.lines .l[id]')].some((row) => Math.abs(Number(row.id.slice(1)) - {n}) < 3000 && row.getBoundingClientRect().top > 0)"
        ));
    }
    // From both ends and in the middle, paging skips no line.
    browser.open("about:blank");
    open_log(&browser, &world, &one, "#L700000");
    browser.until(&sees(700_000));
    let read = browser.wait_for(
        "(async () => { const view = document.querySelector('.lines'); \
         const first = () => Number([...view.querySelectorAll('.l[id]')].find((row) => row.getBoundingClientRect().bottom > view.getBoundingClientRect().top + 1).id.slice(1)); \
         const seen = [first()], frame = () => new Promise(requestAnimationFrame); \
         for (const by of [190, 190, 190, -190, -190, -190, 380, -380]) { view.scrollTop += by; \
         for (let at = 0; at < 4 || view.querySelector('.empty'); at++) await frame(); seen.push(first()); } return seen.map((n) => n - seen[0]); })()",
    );
    assert_eq!(read, json!([0, 10, 20, 30, 20, 10, 0, 20, 0]));
}

#[test]
fn folding_leaves_what_one_reads_where_it_is() {
    let world = World::start();
    let browser = browser();
    let long = "head -c 3000 /dev/zero | tr '\\0' y; echo";
    let (_, one) = ran(
        &world,
        &one_step(&format!(
            "seq 1 150; echo '::group::first'; seq 1 60; echo '::endgroup::'; seq 1 50; {long}; {long}\n\
             echo '::group::second'; seq 1 40; echo '::endgroup::'; echo 'last of all'; seq 1 30"
        )),
    );
    let (first, second) = (line_of(&world, &one, "::group::first"), line_of(&world, &one, "::group::second"));
    for width in [1280, 360] {
        browser.size(width, 740);
        browser.open("about:blank");
        open_log(&browser, &world, &one, "");
        for group in [first, second] {
            browser.eval(&format!("location.hash = '#L{group}'"));
            browser.until(&sees(group));
            let row = format!("#L{group}");
            let before = top_of(&browser, &row);
            for open in ["true", "false", "true"] {
                browser.click(&format!("{row} .fold"));
                browser.until(&format!("document.querySelector('{row} .fold').ariaExpanded === '{open}'"));
                let after = top_of(&browser, &row);
                assert!((after - before).abs() < 2.0, "{width} px, line {group}, open {open}: {before} {after}");
                assert_eq!(browser.eval("document.activeElement.className"), json!("fold"));
            }
        }
        // The end of a search does not either.
        let search = |words: &str| {
            browser.eval("document.activeElement.blur()");
            browser.press("/");
            browser.press(words);
        };
        search("last of all\u{E007}");
        browser.until("document.querySelector('.result').textContent === '1 of 1'");
        let found = format!("#L{}", line_of(&world, &one, "last%20of%20all"));
        let before = top_of(&browser, &found);
        search("\u{E003}");
        browser.until("document.querySelector('.result').textContent === ''");
        assert!((top_of(&browser, &found) - before).abs() < 2.0, "{width} px");
        // A whole step, which contains the line in view.
        browser.eval("document.activeElement.blur()");
        browser.press("e");
        browser.until("document.querySelector('#S1 .fold').ariaExpanded === 'false'");
        let head = top_of(&browser, "#S1") - top_of(&browser, ".lines");
        assert!((-2.0..400.0).contains(&head), "{width} px: {head}");
    }
}

#[test]
fn every_colour_of_a_terminal_can_be_read_on_either_paper() {
    let world = World::start();
    let browser = browser();
    let script = "for n in $(seq 0 255); do printf '\\033[38;5;%sma%s\\033[0m \\033[48;5;%smb\\033[31mc\\033[0m \\033[7;38;5;%smd\\033[0m \\033[41;38;5;%sme\\033[0m\\n' $n $n $n $n $n; done\n\
                  printf '\\033[38;2;255;255;255mwhite\\033[48;2;250;250;250mon white\\033[0m\\033[38;2;0;0;0mblack\\033[48;2;9;9;9mon black\\033[0m\\n'\n\
                  echo 'last of all'";
    let (_, one) = ran(&world, &one_step(script));
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        open_log(&browser, &world, &one, "");
        browser.until("document.querySelector('.lines').textContent.includes('last of all')");
        let unreadable = drawn(
            &browser,
            "(() => { const parts = (colour) => colour.match(/[\\d.]+/g).map(Number); \
             const light = (colour) => parts(colour).slice(0, 3).map((part) => part / 255).map((part) => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4) \
             .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0.05); \
             const paper = (element) => { const { backgroundColor } = getComputedStyle(element); return parts(backgroundColor)[3] === 0 ? paper(element.parentElement) : backgroundColor; }; \
             const spans = [...document.querySelectorAll('.lines .x span')]; if (spans.length < 1000) return spans.length; \
             return spans.map((span) => [span.outerHTML, [light(getComputedStyle(span).color), light(paper(span))].sort((a, b) => b - a)]) \
             .filter(([, [most, least]]) => most / least < 4.45); })()",
        );
        assert_eq!(unreadable, json!([]), "{scheme}: {unreadable:#}");
        browser.picture(&format!("log-colours-{scheme}"));
    }
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
                  echo 'javascript:alert(1) http://\"onclick=x'\n\
                  printf '\\033[36m::group::na\\342\\200\\256med\\033[0m\\n'; echo in it; echo ::endgroup::\nexit 1";
    let (_, one) = ran(&world, &one_step(script));
    for scripted in [true, false] {
        browser.scripts(scripted);
        browser.open(&url(&world, &format!("/jobs/{one}")));
        if scripted {
            browser.until("document.getElementById('log').dataset.ready === 'true'");
            browser.until("document.querySelector('.l.group .fold')?.textContent === 'na\u{fffd}med'");
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
    let pipeline = format!("{}      - run: 'true'\n", one_step("seq 1 5000; echo needle; seq 5002 6000"));
    let (_, one) = ran(&world, &pipeline);
    browser.scripts(false);
    browser.open(&url(&world, &format!("/jobs/{one}")));
    assert!(browser.eval("document.querySelectorAll('.lines .l').length").as_u64().unwrap() >= 200);
    browser.click("noscript + *, .pager a:last-child");
    browser.until("document.querySelector('.lines').textContent.includes('6000')");
    browser.open(&url(&world, &format!("/jobs/{one}?q=needle")));
    browser.click(".hits a");
    browser.until("document.querySelector('.l:target .x').textContent === 'needle'");
    assert_eq!(browser.eval("document.querySelector('input[type=search][value=needle]') !== null"), json!(true));
    browser.picture("log-no-script");
    // A step without output begins after the last line; the lines before it are shown.
    browser.click("#step-2 .name");
    browser.until("document.querySelector('.lines').textContent.includes('6000')");
}

#[test]
fn a_job_of_many_long_steps_keeps_to_its_pages_budget() {
    let world = World::start();
    let steps = format!("      - run: \"echo {}\"\n", "<&'".repeat(300)).repeat(199);
    let (_, one) = begin(&world, &format!("{}{steps}", one_step("seq 1 1000; sleep 600")));
    let page = format!("/jobs/{one}");
    let until = crate::support::until("its lines", || {
        let (status, html) = world.api().get_text(&page);
        assert_eq!(status, 200);
        html.contains(">1000<").then_some(html)
    });
    assert!(until.contains("id=\"step-200\""));
    assert!(until.len() <= 60 << 10, "{}", until.len());
}

#[test]
fn a_long_script_is_shown_whole_when_one_asks_for_it_also_with_the_keyboard() {
    let world = World::start();
    let browser = browser();
    let script: Vec<String> = (1..=12).map(|n| format!("echo line-{n}")).collect();
    let (_, one) = ran(&world, &one_step(&script.join("\n")));
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        for (width, height) in [(1280, 900), (360, 740)] {
            browser.size(width, height);
            open_log(&browser, &world, &one, "");
            browser.until("document.querySelector('#S1 .more') !== null");
            assert!(browser.text("#S1 .script").ends_with("line-5"), "{}", browser.text("#S1 .script"));
            assert_eq!(browser.text("#S1 .more"), "Show 7 more lines of the script");
            browser.eval("document.querySelector('#S1 .more').focus()");
            browser.press("\u{E007}");
            browser.until("document.querySelector('#S1 .script').textContent.endsWith('line-12')");
            assert_eq!(browser.eval("document.activeElement.textContent"), json!("Show less of the script"));
            let clipped = "(({ scrollHeight, clientHeight }) => scrollHeight > clientHeight)(document.querySelector('#S1 .script'))";
            assert_eq!(browser.eval(clipped), json!(false));
            browser.assert_fits();
            browser.assert_accessible();
            browser.picture(&format!("script-{scheme}-{width}"));
        }
    }
}

#[test]
fn a_log_is_read_with_the_keyboard_alone() {
    let world = World::start();
    let browser = browser();
    let (_, one) = ran(&world, &one_step("seq 1 2000; echo 'warning: odd'; seq 1 2000; echo 'error: bad'; seq 1 2000"));
    open_log(&browser, &world, &one, "");
    let line = |words: &str| line_of(&world, &one, words);
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
    // Everything clickable can be reached by keyboard: with Tab, and within the log with the arrow keys.
    let skipped = browser.eval("[...document.querySelectorAll('main button, main a, main input')].filter((e) => e.offsetParent && e.tabIndex < 0 && !e.closest('.lines .l, .lines .head')).length");
    assert_eq!(skipped, json!(0));
    let in_order = "new Set([...document.querySelectorAll('.lines .l :is(a[href], button), .lines .head button')].filter((e) => e.tabIndex === 0).map((e) => e.closest('.l, .head').id)).size";
    assert_eq!(drawn(&browser, in_order), json!(1));
    browser.eval("document.querySelector('.lines').focus()");
    browser.press("\u{E011}");
    browser.until(&sees(1));
    browser.press("\u{E004}");
    let focused = "document.activeElement.closest('.l, .head')?.id ?? document.activeElement.className";
    let line = || browser.eval(focused).as_str().and_then(|id| id.strip_prefix('L')?.parse::<u64>().ok()).unwrap_or(0);
    let n = crate::support::until("the arrows to come to line 300", || {
        browser.press("\u{E015}");
        (line() >= 300).then(line)
    });
    browser.until(&sees(n));
    browser.press("\u{E004}");
    assert_eq!(browser.eval("document.activeElement.closest('.lines')"), Value::Null, "Tab leaves the log");
    browser.press("\u{E008}\u{E004}\u{E008}");
    assert_eq!(line(), n);
}
