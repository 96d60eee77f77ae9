//! Artifacts, as people see them, and what a hostile page among them can do.

use super::{browser, every_page::looks_well, ran, url};
use crate::support::{api::text, browser::Browser, engine::BUSYBOX, world::World};

#[test]
fn artifacts_look_well_and_a_hostile_page_among_them_gets_nothing_of_the_reader() {
    let world = World::start();
    let browser = browser();
    let pipeline = format!(
        "jobs:
  one:
    image: {BUSYBOX}
    steps:
      - run: |
          mkdir -p html/{long} && echo x > html/{long}/{long}.txt && echo plain > html/notes.txt
          echo 'body {{ color: rgb(1, 2, 3) }}' > html/page.css
          cat > html/index.html <<'END'
          <!doctype html><html lang=en><title>page</title><link rel=stylesheet href=page.css><p id=said>nothing</p><script src=page.js></script></html>
          END
          cat > html/page.js <<'END'
          const tried = (name, work) => Promise.resolve().then(work).then(got => name + ': ' + got, () => name + ': refused');
          Promise.all([
            tried('origin', () => window.origin),
            tried('cookie', () => document.cookie),
            tried('storage', () => localStorage.length),
            tried('api', () => fetch('/api/v1/repos').then(answer => answer.text())),
            tried('settings', () => fetch('/settings', {{ credentials: 'include' }}).then(answer => answer.text())),
            tried('elsewhere', () => fetch('https://other.example/').then(() => 'sent')),
            tried('own', () => fetch('notes.txt').then(answer => answer.text())),
          ]).then(said => {{ document.getElementById('said').textContent = said.join('; '); document.title = 'done'; }});
          END
    artifacts:
      - {{ name: a-rather-long-name-of-a-report-{long}, paths: [html] }}
",
        long = "long-name-".repeat(9),
    );
    let (build, one) = ran(&world, &pipeline);
    let build = text(&build, "id");
    let all = world.api().get(&format!("/api/v1/builds/{build}/artifacts"));
    let id = text(&all["items"][0], "id");
    for (name, page) in [
        ("artifact", format!("/artifacts/{id}")),
        ("build-artifacts", format!("/builds/{build}")),
        ("job-artifacts", format!("/jobs/{one}")),
    ] {
        browser.open(&url(&world, &page));
        looks_well(&browser, name);
        // However long the name before them, the links behind it are whole.
        let cut = browser.eval(
            "[...document.querySelectorAll('.kept a:not(.name)')].filter((link) => { \
             const { right } = link.getBoundingClientRect(), row = link.closest('li').getBoundingClientRect(); \
             return right > row.right || link.scrollWidth > link.clientWidth + 1 && link.clientWidth > 0; }).length",
        );
        assert_eq!(cut, serde_json::json!(0), "{name}");
        assert_ne!(browser.eval("document.querySelectorAll('.kept a:not(.name)').length"), serde_json::json!(0));
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());

    browser.open(&url(&world, &format!("/artifacts/{id}/open/html/index.html")));
    browser.until("document.title === 'done'");
    // The address alone is the right to read: no header is sent with what the page asks for.
    let view = browser.eval("location.href");
    drop(browser);
    let browser = Browser::start();
    browser.open(view.as_str().unwrap());
    browser.until("document.title === 'done'");
    assert_eq!(
        browser.text("#said"),
        "origin: null; cookie: refused; storage: refused; api: refused; settings: refused; elsewhere: refused; own: plain"
    );
    assert_eq!(browser.eval("getComputedStyle(document.body).color"), "rgb(1, 2, 3)", "its own style is loaded");
}
