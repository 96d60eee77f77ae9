//! The pages in a real browser: Chromium shows a real server, whose builds run on the real engine.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod artifacts;
mod builds;
mod every_page;
mod glance;
mod live;
mod logs;
mod outsiders;
mod reports;
mod running_logs;
mod still;
#[path = "../support/mod.rs"]
mod support;

use serde_json::Value;
use support::{
    api::text,
    browser::Browser,
    engine,
    server::ADMIN_TOKEN,
    until,
    world::{World, job},
};

/// Opens a browser that may see everything.
fn browser() -> Browser {
    let browser = Browser::start();
    browser.bearer(ADMIN_TOKEN);
    browser
}

fn url(world: &World, path: &str) -> String {
    format!("{}{path}", world.server.url())
}

/// Pushes a pipeline. Returns its build and the id of its job `one`.
fn begin(world: &World, pipeline: &str) -> (String, String) {
    let commit = world.git.push(pipeline);
    let id = text(&world.build_of(&commit), "id");
    let build = world.api().get(&format!("/api/v1/builds/{id}"));
    let one = text(job(&build, "one"), "id");
    (id, one)
}

/// Lets the build's running job go on.
fn go(world: &World) {
    let container = until("the job's container", || {
        Some(engine::objects(&world.server.instance, &["job"])).filter(|found| found.len() == 1)
    });
    until("its workspace", || {
        let touched = std::process::Command::new("docker")
            .args(["exec", &container[0], "touch", "/longshore/workspace/go"])
            .output()
            .unwrap();
        touched.status.success().then_some(())
    });
}

/// Runs a pipeline to its end.
fn ran(world: &World, pipeline: &str) -> (Value, String) {
    let build = world.run(pipeline);
    let one = text(job(&build, "one"), "id");
    (build, one)
}

/// Opens a job's page and waits until its log is shown.
fn open_log(browser: &Browser, world: &World, job: &str, fragment: &str) {
    browser.open(&url(world, &format!("/jobs/{job}{fragment}")));
    browser.until("document.getElementById('log').dataset.ready === 'true'");
}

/// Returns whether a line is within the visible part of the log.
fn sees(n: u64) -> String {
    format!(
        "(() => {{ const row = document.getElementById('L{n}'), view = document.querySelector('.lines').getBoundingClientRect(); \
         if (!row || !row.textContent) return false; const {{ top, bottom }} = row.getBoundingClientRect(); \
         return top >= view.top - 1 && bottom <= view.bottom + 1 && bottom <= innerHeight + 1; }})()"
    )
}
