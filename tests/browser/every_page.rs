//! What holds of every page.

use super::{browser, ran, url};
use crate::support::{api::text, engine::BUSYBOX, server::Server, world::World};

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
        ("run", format!("/repos/{repo}/run")),
        ("register", "/repos/new".to_owned()),
        ("settings", "/settings".to_owned()),
        ("not-found", "/builds/nothing".to_owned()),
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
    let mut complaints = browser.complaints();
    complaints.retain(|complaint| !complaint.contains("/builds/nothing - Failed to load resource"));
    assert_eq!(complaints, Vec::<String>::new());
}

#[test]
fn the_first_visit_fits_a_phone_too() {
    let server = Server::start();
    let browser = browser();
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        for (width, height) in [(1280, 900), (360, 740)] {
            browser.size(width, height);
            browser.open(&server.url());
            assert!(browser.text("main").contains("Register a repository"), "{}", browser.text("main"));
            browser.assert_fits();
            browser.assert_accessible();
        }
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn what_is_shown_once_is_shown_well() {
    let server = Server::start();
    let browser = browser();
    let looks_well = |name: &str| {
        for scheme in ["light", "dark"] {
            browser.scheme(scheme);
            for (width, height) in [(1280, 900), (360, 740)] {
                browser.size(width, height);
                browser.assert_fits();
                browser.assert_accessible();
                browser.picture(&format!("{name}-{scheme}-{width}"));
            }
        }
    };
    for forge in ["forgejo", "github", "git"] {
        browser.open(&format!("{}/repos/new", server.url()));
        browser.eval(&format!(
            "(() => {{ const {{ name, clone_url, forge }} = document.querySelector('form.fields').elements; \
             name.value = 'team/{forge}'; clone_url.value = 'https://forge.example/team/{forge}.git'; forge.value = '{forge}'; }})()"
        ));
        browser.click("form.fields button.first");
        browser.until("document.getElementById('hook-secret') !== null");
        assert!(browser.text("h1").contains(&format!("team/{forge}")), "{}", browser.text("h1"));
        looks_well(&format!("webhook-{forge}"));
    }
    browser.open(&format!("{}/access", server.url()));
    browser.eval("document.querySelector('form.fields').elements.name.value = 'laptop'");
    browser.click("form.fields button.first");
    browser.until("document.querySelector('main').textContent.includes('lsh_')");
    looks_well("token");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
