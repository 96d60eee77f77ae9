//! The page of a build, from the push to its end, and the page that starts a build by hand.

use serde_json::json;

use super::{begin, browser, open_log, url};
use crate::support::{
    self,
    api::text,
    engine::{self, BUSYBOX},
    until,
    world::{World, job, one_step},
};

#[test]
fn a_push_is_seen_turning_green_without_a_reload() {
    let world = World::start();
    let browser = browser();
    let (build, one) = begin(&world, &one_step("while [ ! -f go ]; do sleep 0.05; done; echo done"));
    browser.open(&url(&world, &format!("/builds/{build}")));
    browser.until("document.querySelector('h1 ~ .st, .titled .st').textContent.trim() === 'running'");
    browser.eval("window.same = true");
    let running_for = || browser.text(".facts span:has(.counts)");
    assert!(running_for().starts_with("running "), "{}", running_for());
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
    // The critical path: whichever of `lint` and `test` ended last, then the job that needs both.
    let last = ["lint", "test"].into_iter().max_by_key(|name| text(job(&good, name), "finished_at")).unwrap();
    let marked =
        browser.eval("[...document.querySelectorAll('.timeline .critical bdi')].map((name) => name.textContent)");
    assert_eq!(marked, json!([last, "package"]));
    assert!(browser.text("#legend").contains("critical path"));
    browser.picture("readme-build");

    let errors = "#!/bin/sh\nfor file in quay sandbox crane tide buoy pilot; do echo \"   Compiling $file\"; done\n\
                  printf '\\033[1;31merror[E0308]\\033[0m: mismatched types\\n'\n\
                  printf '  \\033[34m-->\\033[0m src/sandbox.rs:42:17\\n   | let number: u32 = sandboxes.len();\\n'\n\
                  printf '   |                   \\033[31m^^^^^^^^^^^^ expected `u32`, found `usize`\\033[0m\\n'\nexit 101\n";
    let bad = push("Sandboxes are numbered from one", errors);
    assert_eq!(bad["status"], "failure", "{bad}");
    browser.open(&url(&world, &format!("/builds/{}", text(&bad, "id"))));
    assert!(browser.text("#note").contains("step Compile failed with exit code 101"), "{}", browser.text("#note"));
    assert!(browser.text(".tail").contains("src/sandbox.rs:42:17"));
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
    assert!(
        browser.text(".is-wrong .wrong").contains("count must be a number"),
        "{}",
        browser.text(".is-wrong .wrong")
    );
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
fn a_build_by_hand_of_a_given_commit_asks_for_what_that_commit_takes() {
    let world = World::start();
    let browser = browser();
    let takes = |inputs: &str| {
        format!(
            "on:\n  push:\n  manual:{inputs}\njobs:\n  one:\n    image: {BUSYBOX}\n    env:\n      SAID: '${{{{ inputs.name }}}}'\n    steps: [{{ run: echo \"$SAID\" }}]\n"
        )
    };
    let commit = world.git.push(&takes("\n    inputs:\n      name: { required: true }"));
    world.run(&takes("\n    inputs:\n      name: { default: nobody }\n      count: { type: number, default: 3 }"));
    browser.open(&url(&world, &format!("/repos/{}/run", world.repo)));
    browser.until("document.querySelector('[name=\"input.count\"]') !== null");
    browser.eval(&format!("document.querySelector('[name=commit]').value = '{commit}'"));
    browser.click("[name=look]");
    browser.until(&format!("document.getElementById('starts')?.textContent.includes('{}')", &commit[..10]));
    assert_eq!(browser.eval("document.querySelector('[name=\"input.count\"]')"), json!(null));
    assert_eq!(browser.eval("document.querySelector('[name=\"input.name\"]').required"), json!(true));
    browser.eval("document.querySelector('[name=\"input.name\"]').value = 'somebody'");
    browser.click("button.first");
    browser.until("location.pathname.startsWith('/builds/')");
    let id = browser.eval("location.pathname.slice(8)");
    let build = world.api().wait_for_build(id.as_str().unwrap());
    assert_eq!((text(&build, "commit"), text(&build, "status")), (commit, "success".to_owned()));
    for (width, height) in [(1280, 900), (360, 740)] {
        browser.size(width, height);
        browser.open(&url(&world, &format!("/repos/{}", world.repo)));
        assert!(browser.text("#builds").contains("manual"), "{}", browser.text("#builds"));
        browser.assert_fits();
        browser.assert_accessible();
        browser.picture(&format!("started-by-{width}"));
    }
}

#[test]
fn what_steps_say_of_themselves_tries_and_steps_in_the_background_are_shown_well() {
    let world = World::start();
    let browser = browser();
    let summary = "# Coverage\\n\\n| file | lines |\\n|---|---|\\n| src/quay.rs | **93** |\\n\\n> all in [one place](https://a.example/)\\n\\n\
                   - [x] lint\\n- [ ] bench `slow`\\n\\n<b>raw</b> ![plot](https://a.example/plot.png)\\n";
    let build = world.run(&format!(
        "jobs:\n  one:\n    image: {BUSYBOX}\n    retry: 1\n    steps:\n\
         \x20     - {{ name: Serve, background: true, run: \"until [ -e up ]; do sleep 0.01; done; echo 'error: bg dies'; touch gone; exit 9\" }}\n\
         \x20     - name: Measure\n        run: |\n          printf '{summary}' >> \"$LONGSHORE_SUMMARY\"\n\
         \x20         echo still fine; touch up\n          until [ -e gone ]; do sleep 0.01; done\n          seq 1 30\n",
    ));
    let one = text(job(&build, "one"), "id");
    let build = text(&build, "id");
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        for (width, height) in [(1280, 1400), (360, 1400)] {
            browser.size(width, height);
            for (name, path) in [
                ("build", format!("/builds/{build}")),
                ("job", format!("/jobs/{one}")),
                ("try", format!("/jobs/{one}?attempt=1")),
            ] {
                browser.open(&url(&world, &path));
                if name != "build" {
                    browser.until("document.getElementById('log').dataset.ready === 'true'");
                    browser.until("document.querySelector('.lines .of')?.textContent === 'Serve'");
                }
                if name != "try" {
                    assert_eq!(browser.text(".markdown h3"), "Coverage");
                }
                browser.eval("scrollTo(0, 0)");
                browser.assert_fits();
                browser.assert_accessible();
                browser.picture(&format!("said-{name}-{scheme}-{width}"));
            }
        }
    }
    browser.open(&url(&world, &format!("/builds/{build}")));
    assert!(browser.text(".tail").contains("bg dies") && !browser.text(".tail").contains("still fine"));
    let drawn = "[...document.querySelectorAll('.timeline .step')].map((part) => part.classList[1])";
    // The first attempt, then the steps of the second.
    assert_eq!(browser.eval(drawn), json!(["failure", "success", "failure"]));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_step_that_waits_says_for_what_and_nothing_is_said_to_have_used_what_nobody_measured() {
    let world = World::start();
    let browser = browser();
    let build = world.run(&format!(
        "jobs:\n  one:\n    image: {BUSYBOX}\n    services: {{ db: {{ image: {BUSYBOX}, command: [sleep, '1000'] }} }}\n    steps:\n\
         \x20     - {{ id: compile, background: true, run: 'until [ -e go ]; do sleep 0.01; done; echo done >> $LONGSHORE_SUMMARY; exit 3' }}\n\
         \x20     - run: touch go\n      - wait: [compile]\n        if: always()\n      - run: echo never\n",
    ));
    let one = text(job(&build, "one"), "id");
    open_log(&browser, &world, &one, "");
    let rows = browser.eval("[...document.querySelectorAll('#steps tbody tr')].map((row) => [...row.cells].map((cell) => cell.innerText.trim()))");
    let row = |name: &str| {
        let found = rows.as_array().unwrap().iter().find(|row| row[0].as_str().unwrap().starts_with(name));
        found.unwrap_or_else(|| panic!("no `{name}` in {rows}")).clone()
    };
    let waits = row("Wait for compile");
    assert_eq!((&waits[1], &waits[2], &waits[4], &waits[5]), (&json!("failure"), &json!("1"), &json!(""), &json!("")));
    let service = row("db");
    assert_eq!((&service[4], &service[5]), (&json!(""), &json!("")));
    assert_ne!(row("touch go")[5], "", "a step's peak memory");
    assert!(browser.text(".lines").contains("failed: until [ -e go ]"), "{}", browser.text(".lines"));
    assert_eq!(build["status"], "failure");
    super::every_page::looks_well(&browser, "waits");
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
    // The next build waits for it.
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
        "step Compile failed with exit code 3",
        "needs bad, which failed",
        "deploy awaiting approval: Deploy to production?",
        "was false",
        "in the same matrix failed",
        "(2 attempts)",
        "awaiting approval: Deploy to production?",
        "error: no such file",
    ];
    shots("ends", &id, &reasons);
    assert!(browser.text("title").starts_with("waiting: "), "{}", browser.text("title"));
    assert!(browser.eval("document.getElementById('icon').href").as_str().unwrap().contains("/assets/blocked."));
    // Warnings are below the jobs, folded.
    assert_eq!(
        browser.eval("(() => { const folded = document.getElementById('warnings'); return !folded.open && folded.getBoundingClientRect().top > document.getElementById('jobs').getBoundingClientRect().bottom; })()"),
        json!(true)
    );
    shots("waits-for-group", &group, &["waiting for #1 (concurrency group one-at-a-time)"]);
    // Shown once for the build, not for each of its jobs.
    assert_eq!(browser.text("main").matches("concurrency group").count(), 1);
    // What the whole build waits for is not the approval of one of its jobs.
    let facts = browser.text(".facts");
    assert!(facts.contains("waiting ") && !facts.contains("awaiting approval"), "{facts}");
    shots("broken", &broken, &["imagee", "inputs.unknown"]);
    // The place is visible on a phone, however far to the right it is in its line.
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
