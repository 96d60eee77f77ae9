//! What people see, in a real browser: Chromium on the pages of a real server, whose builds run on the real engine.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::{
    api::text,
    browser::Browser,
    engine::{self, BUSYBOX},
    server::ADMIN_TOKEN,
    until,
    world::{World, job, one_step},
};

/// A browser that may see everything.
fn browser() -> Browser {
    let browser = Browser::start();
    browser.bearer(ADMIN_TOKEN);
    browser
}

fn url(world: &World, path: &str) -> String {
    format!("{}{path}", world.server.url())
}

/// Pushes a pipeline; its build and the id of its job `one`, as soon as they are there.
fn begin(world: &World, pipeline: &str) -> (String, String) {
    let commit = world.git.push(pipeline);
    let id = text(&world.build_of(&commit), "id");
    let build = world.api().get(&format!("/api/v1/builds/{id}"));
    let one = text(job(&build, "one"), "id");
    (id, one)
}

/// Runs a pipeline to its end.
fn ran(world: &World, pipeline: &str) -> (Value, String) {
    let build = world.run(pipeline);
    let one = text(job(&build, "one"), "id");
    (build, one)
}

/// Opens a job's page and waits until its log is there.
fn open_log(browser: &Browser, world: &World, job: &str, fragment: &str) {
    browser.open(&url(world, &format!("/jobs/{job}{fragment}")));
    browser.until("document.getElementById('log').dataset.ready === 'true'");
}

/// Whether a line is within what one sees of the log.
fn sees(n: u64) -> String {
    format!(
        "(() => {{ const row = document.getElementById('L{n}'), view = document.querySelector('.lines').getBoundingClientRect(); \
         if (!row || !row.textContent) return false; const {{ top, bottom }} = row.getBoundingClientRect(); \
         return top >= view.top - 1 && bottom <= view.bottom + 1 && bottom <= innerHeight + 1; }})()"
    )
}

#[test]
fn a_push_is_seen_turning_green_without_a_reload() {
    let world = World::start();
    let browser = browser();
    let (build, one) = begin(&world, &one_step("while [ ! -f go ]; do sleep 0.05; done; echo done"));
    browser.open(&url(&world, &format!("/builds/{build}")));
    browser.until("document.querySelector('h1 ~ .st, .titled .st').textContent.trim() === 'running'");
    browser.eval("window.same = true");
    let running_for = || browser.text(".facts span:has(.counts)");
    assert!(running_for().starts_with("running for "), "{}", running_for());
    let before = json!(running_for());
    browser.until(&format!("document.querySelector('.facts span:has(.counts)').textContent.trim() !== {before}"));
    browser.picture("build-running");
    let containers = until("the job's container", || {
        Some(engine::objects(&world.server.instance, &["job"])).filter(|found| found.len() == 1)
    });
    until("the step to begin", || {
        let job = world.api().get(&format!("/api/v1/jobs/{one}"));
        (job["steps"][0]["status"] == "running").then_some(())
    });
    engine::docker(&["exec", &containers[0], "touch", "/longshore/workspace/go"]);
    browser.until("document.querySelector('h1 ~ .st, .titled .st').textContent.trim() === 'success'");
    assert_eq!(browser.eval("window.same"), json!(true), "the page was loaded again");
    assert!(browser.text("title").contains("success"));
    assert!(browser.text(".facts").contains("took "));
    browser.picture("build-green");
}

#[test]
fn a_build_shows_at_a_glance_what_it_waited_for_and_why_it_failed() {
    let world = World::start();
    let browser = browser();
    let push = |message: &str, compile: &str| {
        let pipeline = format!(
            "defaults: {{ image: {BUSYBOX} }}\njobs:\n  lint: {{ steps: [{{ name: Lint, run: sleep 0.3 }}] }}\n  test:\n    steps:\n\
             \x20     - {{ name: Install, run: sleep 0.4 }}\n      - {{ name: Compile, run: sh compile.sh }}\n      - {{ name: Test, run: sleep 0.9 }}\n\
             \x20 package: {{ needs: [lint, test], steps: [{{ name: Pack, run: sleep 0.4 }}, {{ name: Upload, run: sleep 0.2 }}] }}\n"
        );
        let files = [(".longshore.yml", pipeline.as_str()), ("compile.sh", compile)];
        let commit = world.git.commit(message, &files);
        world.git.git(&["push", "-q", "origin", "HEAD:main"]);
        world.api().wait_for_build(&text(&world.build_of(&commit), "id"))
    };
    let good = push("Cranes wait for the wind to drop", "#!/bin/sh\nsleep 0.5\n");
    assert_eq!(good["status"], "success", "{good}");
    browser.size(1280, 620);
    browser.open(&url(&world, &format!("/builds/{}", text(&good, "id"))));
    // The build waited for whichever of the two ended last, and then for the one that needs both.
    let last = ["lint", "test"].into_iter().max_by_key(|name| text(job(&good, name), "finished_at")).unwrap();
    let marked =
        browser.eval("[...document.querySelectorAll('.timeline .critical bdi')].map((name) => name.textContent)");
    assert_eq!(marked, json!([last, "package"]));
    assert!(browser.text("#legend").contains("critical path"));
    browser.picture("readme-build");

    let errors = "#!/bin/sh\nfor file in quay berth crane tide buoy pilot; do echo \"   Compiling $file\"; done\n\
                  printf '\\033[1;31merror[E0308]\\033[0m: mismatched types\\n'\n\
                  printf '  \\033[34m-->\\033[0m src/berth.rs:42:17\\n   | let number: u32 = berths.len();\\n'\n\
                  printf '   |                   \\033[31m^^^^^^^^^^^^ expected `u32`, found `usize`\\033[0m\\n'\nexit 101\n";
    let bad = push("Berths are numbered from one", errors);
    assert_eq!(bad["status"], "failure", "{bad}");
    browser.open(&url(&world, &format!("/builds/{}", text(&bad, "id"))));
    assert!(browser.text("#note").contains("step `Compile` failed with exit code 101"), "{}", browser.text("#note"));
    assert!(browser.text(".tail").contains("src/berth.rs:42:17"));
    browser.size(360, 940);
    browser.assert_fits();
    browser.picture("readme-phone");
    browser.size(1280, 780);
    browser.scheme("dark");
    browser.open(&url(&world, &format!("/builds/{}", text(&bad, "id"))));
    browser.picture("readme-dark");
    browser.scheme("light");
    open_log(&browser, &world, &text(job(&bad, "test"), "id"), "");
    browser.until("document.querySelector('.lines').textContent.includes('expected `u32`')");
    browser.eval("scrollTo(0, 0)");
    browser.picture("readme-log");
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

#[test]
fn pages_fit_a_phone_in_either_scheme_and_break_no_rule_of_axe() {
    let world = World::start();
    let browser = browser();
    let pipeline = format!(
        "jobs:\n  one:\n    image: {BUSYBOX}\n    steps:\n      - run: printf '\\033[31mred \\033[32mgreen \\033[33myellow \\033[34mblue \\033[35mmagenta \\033[36mcyan \\033[90mgrey\\033[0m\\n'\n      - name: {}\n        run: \"seq 1 300; echo 'error: {}'; exit 1\"\n  two:\n    image: {BUSYBOX}\n    needs: [one]\n    steps: [{{ run: 'true' }}]\n",
        "a-very-long-name-".repeat(12),
        "long".repeat(80),
    );
    let (build, one) = ran(&world, &pipeline);
    let build = text(&build, "id");
    let repo = &world.repo;
    let pages = [
        ("home", "/".to_owned()),
        ("build", format!("/builds/{build}")),
        ("job", format!("/jobs/{one}")),
        ("repository", format!("/repos/{repo}")),
        ("deliveries", format!("/repos/{repo}/deliveries")),
        ("repository-settings", format!("/repos/{repo}/settings")),
        ("queue", "/queue".to_owned()),
        ("access", "/access".to_owned()),
        ("sign-in", "/sign-in".to_owned()),
    ];
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        for (width, height) in [(1280, 900), (360, 740)] {
            browser.size(width, height);
            for (name, page) in &pages {
                browser.open(&url(&world, page));
                if *name == "job" {
                    browser.until("document.getElementById('log').dataset.ready === 'true'");
                }
                browser.assert_fits();
                browser.assert_accessible();
                browser.picture(&format!("{name}-{scheme}-{width}"));
            }
        }
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_build_by_hand_has_a_field_for_every_input_and_what_is_wrong_beside_it() {
    let world = World::start();
    let browser = browser();
    let pipeline = format!(
        "on:\n  push:\n  manual:\n    inputs:\n      level: {{ type: choice, options: [patch, minor], default: minor, description: What to raise }}\n      \
         name: {{ required: true, description: Whose it is }}\n      count: {{ type: number, default: 3 }}\n      dry: {{ type: boolean, default: true }}\n\
         jobs:\n  one:\n    image: {BUSYBOX}\n    env:\n      SAID: '${{{{ inputs.level }}}} ${{{{ inputs.name }}}} ${{{{ inputs.count }}}} ${{{{ inputs.dry }}}}'\n    steps: [{{ run: echo \"$SAID\" }}]\n",
    );
    world.run(&pipeline);
    browser.open(&url(&world, &format!("/repos/{}/run", world.repo)));
    assert_eq!(browser.eval("document.querySelector('select').value"), json!("minor"));
    assert_eq!(browser.eval("document.querySelector('[type=checkbox]').checked"), json!(true));
    assert!(browser.text("#starts").contains("Starts longshore"), "{}", browser.text("#starts"));
    for (width, height) in [(1280, 900), (360, 740)] {
        browser.size(width, height);
        browser.assert_fits();
        browser.assert_accessible();
        browser.picture(&format!("run-light-{width}"));
    }
    browser.eval("document.querySelector('select').value = 'patch'");
    browser.eval("document.querySelector('[type=checkbox]').checked = false");
    browser.eval("document.querySelector('[name=\"input.name\"]').value = 'somebody <b>'");
    browser.eval("document.querySelector('[name=\"input.count\"]').value = 'many'");
    browser.click("button.first");
    browser.until("document.querySelector('.is-wrong .wrong') !== null");
    assert!(browser.text(".is-wrong .wrong").contains("`count` is a number"), "{}", browser.text(".is-wrong .wrong"));
    assert_eq!(browser.eval("document.querySelectorAll('.is-wrong').length"), json!(1));
    assert_eq!(browser.eval("document.querySelector('[name=\"input.name\"]').value"), json!("somebody <b>"), "kept");
    browser.assert_accessible();
    browser.picture("run-wrong-360");
    browser.eval("document.querySelector('[name=\"input.count\"]').value = '4'");
    browser.click("button.first");
    browser.until("location.pathname.startsWith('/builds/')");
    let id = browser.eval("location.pathname.slice(8)");
    let build = world.api().wait_for_build(id.as_str().unwrap());
    let log = world.api().raw_log(&text(job(&build, "one"), "id"));
    assert_eq!(String::from_utf8(log).unwrap(), "patch somebody <b> 4 false\n");
}

#[test]
fn whatever_becomes_of_a_job_its_builds_page_says_why() {
    let world = World::start();
    let browser = browser();
    let ends = format!(
        "defaults: {{ image: {BUSYBOX} }}\nconcurrency: one-at-a-time\njobs:\n\
         \x20 good: {{ steps: [{{ run: 'true' }}] }}\n\
         \x20 bad: {{ steps: [{{ name: Compile, run: \"seq 1 30; echo 'error: no such file'; exit 3\" }}] }}\n\
         \x20 after-bad: {{ needs: [bad], steps: [{{ run: 'true' }}] }}\n\
         \x20 never: {{ if: \"event.branch == 'other'\", steps: [{{ run: 'true' }}] }}\n\
         \x20 fast: {{ matrix: {{ n: ['1', '2', '3'], max-parallel: 1 }}, steps: [{{ run: exit 1 }}] }}\n\
         \x20 again: {{ retry: 1, steps: [{{ run: exit 5 }}] }}\n\
         \x20 deploy: {{ approval: Deploy to production?, steps: [{{ run: 'true' }}] }}\n",
    );
    let id = text(&world.build_of(&world.git.push(&ends)), "id");
    until("all jobs but the one that somebody is asked about", || {
        let build = world.api().get(&format!("/api/v1/builds/{id}"));
        let open = build["jobs"].as_array()?.iter().filter(|job| !support::api::is_final(job)).count();
        (open == 1).then_some(())
    });
    // The next one waits for it.
    let group = text(&world.build_of(&world.git.push(&format!("{ends}#\n"))), "id");
    let far = format!("{}${{{{ inputs.unknown }}}}", "a long way to go ".repeat(30));
    let broken = format!("jobs:\n  one:\n    imagee: busybox\n    steps:\n      - run: {far}\n");
    let broken = text(&world.build_of(&world.git.push(&broken)), "id");
    let shots = |name: &str, id: &str, words: &[&str]| {
        for scheme in ["light", "dark"] {
            browser.scheme(scheme);
            for (width, height) in [(1280, 1400), (360, 1400)] {
                browser.size(width, height);
                browser.open(&url(&world, &format!("/builds/{id}")));
                let page = browser.text("main");
                for word in words {
                    assert!(page.contains(word), "{name}: {word}: {page}");
                }
                browser.assert_fits();
                browser.assert_accessible();
                browser.picture(&format!("{name}-{scheme}-{width}"));
            }
        }
    };
    let reasons = [
        "step `Compile` failed with exit code 3",
        "`bad`, which it needs, failed",
        "deploy waits for approval: Deploy to production?",
        "does not hold",
        "of the same matrix, failed",
        "(2 tries)",
        "waits for approval: Deploy to production?",
        "error: no such file",
    ];
    shots("ends", &id, &reasons);
    assert!(browser.text("title").starts_with("waiting: "), "{}", browser.text("title"));
    assert!(browser.eval("document.getElementById('icon').href").as_str().unwrap().contains("/assets/blocked."));
    // Warnings stand below the jobs, folded.
    assert_eq!(
        browser.eval("(() => { const folded = document.getElementById('warnings'); return !folded.open && folded.getBoundingClientRect().top > document.getElementById('jobs').getBoundingClientRect().bottom; })()"),
        json!(true)
    );
    shots("waits-for-group", &group, &["waits for the group `one-at-a-time`, which build #1 has"]);
    shots("broken", &broken, &["imagee", "inputs.unknown"]);
    // However far to the right the place is in its line: it is seen on a phone.
    assert_eq!(
        browser.eval("[...document.querySelectorAll('.finding mark')].filter((mark) => { const { left, right } = mark.getBoundingClientRect(); return left >= 0 && right <= innerWidth; }).length"),
        browser.eval("document.querySelectorAll('.finding').length")
    );
    browser.open(&url(&world, &format!("/builds/{id}")));
    browser.click("form[id^=approve-] button");
    assert_eq!(world.api().wait_for_build(&id)["status"], "failure");
    browser.until("document.querySelector('form[id^=approve-]') === null");
    browser.until("document.querySelector('.titled .st').textContent.trim() === 'failure'");
    world.api().post(&format!("/api/v1/builds/{group}/cancel"), &json!({}));
    world.api().wait_for_build(&group);
    shots("canceled", &group, &["canceled"]);
}
