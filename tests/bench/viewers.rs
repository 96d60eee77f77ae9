//! Measures opening, scrolling and searching a log of 1,000,000 lines in a real Chromium, and the load of 200 readers
//! that follow one job.

use std::time::Duration;

use serde_json::Value;

use super::{
    Figures, memory_mb, middle,
    support::{
        api::text,
        browser::Browser,
        engine,
        server::ADMIN_TOKEN,
        until,
        world::{World, job, one_step},
    },
};

/// How many readers follow one job.
const VIEWERS: usize = 200;

/// Returns a promise of the milliseconds from an action until every line in view is drawn.
fn drawn_after(what: &str) -> String {
    format!(
        "new Promise((done) => {{ const view = document.querySelector('.lines'), begin = performance.now(); {what}; \
         const look = () => {{ const {{ top, bottom }} = view.getBoundingClientRect(); \
         const missing = [...view.querySelectorAll('.block')].some((block) => block.classList.contains('empty') && \
         block.getBoundingClientRect().bottom > top && block.getBoundingClientRect().top < bottom); \
         if (missing || !view.querySelector('.l[id]')) requestAnimationFrame(look); else done(performance.now() - begin); }}; \
         requestAnimationFrame(() => requestAnimationFrame(look)); }})"
    )
}

pub fn long_log(figures: &mut Figures) {
    let world = World::start();
    let build = world.run(&one_step(
        "yes 'the same line, 1,000,000 times, until somebody looks for another one of them' | head -n 499999\n\
         echo 'a needle in the middle'\nyes 'and the same again, as long as it takes to make a million of them in all' | head -n 500000",
    ));
    let page = format!("{}/jobs/{}", world.server.url(), text(job(&build, "one"), "id"));
    let browser = Browser::start();
    browser.bearer(ADMIN_TOKEN);
    let mut first = Vec::new();
    for _ in 0..5 {
        browser.open("about:blank");
        browser.open(&page);
        // Polls; the few milliseconds of each poll are part of the result.
        let ready = "document.getElementById('log').dataset.ready === 'true' && !document.querySelector('.lines .empty') && performance.now()";
        first.push(until("the first window", || browser.eval(ready).as_f64()));
    }
    figures.insert("log_first_window_ms", middle(&mut first));

    let mut any = Vec::new();
    for n in 1..=40_u32 {
        // Places all over the log, unordered.
        let place = f64::from(n * 7919 % 1000) / 1000.0;
        let scroll = format!("view.scrollTop = view.scrollHeight * {place}");
        any.push(number(&browser.wait_for(&drawn_after(&scroll))));
    }
    any.sort_by(f64::total_cmp);
    figures.insert("log_any_line_ms", any[any.len() * 95 / 100]);

    let mut search = Vec::new();
    for word in ["NEEDLE in", "a needle", "needle", "the middle", "in the mid"] {
        let promise = format!(
            "new Promise((done) => {{ const form = document.querySelector('form.find'), result = document.querySelector('.result'); \
             form.elements.q.value = '{word}'; const begin = performance.now(); form.requestSubmit(); \
             const look = () => {{ const row = document.querySelector('.l.found'), now = result.textContent === '1 of 1' && row; \
             if (now) done(performance.now() - begin); else requestAnimationFrame(look); }}; \
             result.textContent = ''; look(); }})"
        );
        search.push(number(&browser.wait_for(&promise)));
        browser.wait_for(&drawn_after("view.scrollTop = 0"));
    }
    figures.insert("log_search_ms", middle(&mut search));

    for place in 0..500 {
        browser.wait_for(&drawn_after(&format!("view.scrollTop = view.scrollHeight * {place} / 500")));
    }
    figures.insert("browser_heap_mb", browser.heap() / f64::from(1 << 20));
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no time"))
}

/// Measures the memory and the reads of a server with one running job, for one reader and for many.
pub fn followers(figures: &mut Figures) {
    let world = World::start();
    let script = "while [ ! -f go ]; do sleep 0.05; done\n\
                  line='a line of a job that is followed by many'\n\
                  n=0; while [ $n -lt 100 ]; do for i in $(seq 20); do echo \"$line: $i\"; done; n=$((n+1)); usleep 50000; done";
    let reads = |viewers: usize| {
        let commit = world.git.push(&one_step(script));
        let build = text(&world.build_of(&commit), "id");
        let one = text(job(&world.api().get(&format!("/api/v1/builds/{build}")), "one"), "id");
        until("its step", || {
            let job = world.api().get(&format!("/api/v1/jobs/{one}"));
            (job["steps"][0]["status"] == "running").then_some(())
        });
        let container = until("its container", || {
            Some(engine::objects(&world.server.instance, &["job"])).filter(|found| found.len() == 1)
        });
        let before = memory_mb(world.server.pid(), "VmRSS:");
        let path = format!("/api/v1/jobs/{one}/log/lines/stream");
        let follow = || {
            let mut lines = 0;
            world.api().stream(&path, None, |(name, _, data)| {
                if name == "lines" {
                    let data: Value = serde_json::from_str(data).expect("JSON");
                    lines += data["lines"]
                        .as_array()
                        .map_or(0, |lines| lines.iter().filter(|l| l["stream"] == "stdout").count());
                }
                name == "end"
            });
            lines
        };
        let (mut most, mut read) = (0.0_f64, 0.0);
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..viewers).map(|_| scope.spawn(follow)).collect();
            // Opening the streams is not measured.
            std::thread::sleep(Duration::from_secs(2));
            let from = bytes_read(world.server.pid());
            engine::docker(&["exec", &container[0], "touch", "/longshore/workspace/go"]);
            while !all.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                most = most.max(memory_mb(world.server.pid(), "VmRSS:"));
                std::thread::sleep(Duration::from_millis(50));
            }
            read = bytes_read(world.server.pid()) - from;
            for one in all {
                assert_eq!(one.join().expect("it follows to the end"), 2_000, "every line");
            }
        });
        world.nothing_is_left();
        (most - before, read)
    };
    // The first reader costs more than the others.
    reads(1);
    let (_, alone) = reads(1);
    let (memory, many) = reads(VIEWERS);
    figures.insert("followers_200_rss_mb", memory.max(0.0));
    figures.insert("followers_200_read_ratio", many / alone);
}

/// Returns how many bytes the process has read from files.
fn bytes_read(pid: u32) -> f64 {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).expect("the server runs");
    let line = io.lines().find_map(|line| line.strip_prefix("rchar: ")).expect("the field");
    line.trim().parse::<f64>().expect("a number")
}
