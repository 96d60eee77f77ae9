//! Guarantees of every page.

use std::path::Path;

use serde_json::json;

use super::{browser, ran, url};
use crate::support::{
    api::{Api, text},
    browser::Browser,
    engine::BUSYBOX,
    forge::{Forge, Kind, TOKEN},
    server::Server,
    sshd::Sshd,
    world::World,
};

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
    let forge = Forge::start(Kind::Gitea);
    let new = json!({ "kind": "gitea", "url": forge.url(), "token": TOKEN });
    let (status, connection) = world.api().post("/api/v1/connections", &new);
    assert_eq!(status, 201, "{connection}");
    let new =
        json!({ "kind": "webhook", "address": "http://localhost:1/a-long-way", "name": "a-long-name-".repeat(8) });
    let (status, notification) = world.api().post("/api/v1/notifications", &new);
    assert_eq!(status, 201, "{notification}");
    let stranger = Api::new(&world.server.url(), None);
    for _ in 0..20 {
        assert_eq!(stranger.post("/api/v1/tokens", &json!({ "name": "x", "scopes": ["admin"] })).0, 401);
    }
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
        ("connections", "/connections".to_owned()),
        ("connection", format!("/connections/{}", text(&connection, "id"))),
        ("notifications", "/notifications".to_owned()),
        ("audit", "/audit".to_owned()),
        ("audit-guard", "/audit/guard".to_owned()),
        ("repository-notifications", format!("/repos/{repo}/notifications")),
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
                browser.eval("document.querySelectorAll('main details').forEach((part) => { part.open = true; })");
                browser.assert_fits();
                browser.whole_picture(&format!("{name}-{scheme}-{width}"), width, height);
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

/// Checks a page in both colour schemes and at both widths.
pub(crate) fn looks_well(browser: &Browser, name: &str) {
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        for (width, height) in [(1280, 900), (360, 740)] {
            browser.size(width, height);
            browser.assert_fits();
            browser.assert_accessible();
            browser.whole_picture(&format!("{name}-{scheme}-{width}"), width, height);
        }
    }
}

#[test]
fn a_form_that_is_not_taken_says_why_and_keeps_what_was_typed() {
    let server = Server::start();
    let (repo, _) = server.api().add_repo("team/app", "https://forge.example/r.git");
    let browser = browser();
    for (name, page, form, fields) in [
        (
            "register",
            "/repos/new".to_owned(),
            "/repos/new".to_owned(),
            "{name: 'team/app', clone_url: 'https://forge.example/other.git'}",
        ),
        ("token", "/access".to_owned(), "/access/tokens".to_owned(), "{name: 'laptop', days: '0'}"),
        (
            "secret",
            format!("/repos/{repo}/settings"),
            format!("/repos/{repo}/secrets"),
            "{name: 'DEPLOY KEY', value: 'x'}",
        ),
        ("remove", format!("/repos/{repo}/settings"), format!("/repos/{repo}/remove"), "{name: 'team'}"),
    ] {
        browser.open(&format!("{}{page}", server.url()));
        let form = format!("document.querySelector('form[action=\"{form}\"]')");
        browser.eval(&format!(
            "(() => {{ const form = {form}; form.noValidate = true; for (const [name, value] of Object.entries({fields})) form.elements[name].value = value; form.requestSubmit(); }})()"
        ));
        browser.until("document.querySelector('.note.bad[role=alert]') !== null");
        if name != "remove" {
            assert_eq!(browser.eval(&format!("{form}.elements.name.value === {fields}.name")), json!(true), "{name}");
        }
        // It is visible without scrolling.
        browser.until("(({ top, bottom }) => top >= 0 && bottom <= innerHeight)(document.querySelector('.note.bad[role=alert]').getBoundingClientRect())");
        looks_well(&browser, &format!("refused-{name}"));
    }
    browser.open(&format!("{}/repos/{repo}", server.url()));
    browser.click("#badge summary");
    looks_well(&browser, "badge");
}

#[test]
fn a_deploy_key_and_the_keys_of_its_host_are_shown_well() {
    let Some(sshd) = Sshd::start() else { return };
    let server = Server::start();
    let (repo, _) = server.api().add_repo("team/app", &sshd.url(Path::new("/srv/app.git")));
    let browser = browser();
    browser.open(&format!("{}/repos/{repo}/settings", server.url()));
    browser.click("form[action$='/deploy-key'] button");
    browser.until("document.getElementById('deploy-key') !== null");
    assert!(browser.text("#deploy-key").starts_with("ssh-ed25519 "), "{}", browser.text("#deploy-key"));
    assert!(browser.text("main").contains("SHA256:"), "{}", browser.text("main"));
    browser.eval("document.getElementById('deploy-key').scrollIntoView()");
    looks_well(&browser, "deploy-key");
}

#[test]
fn what_is_shown_once_is_shown_well() {
    let server = Server::start();
    let browser = browser();
    for forge in ["forgejo", "github", "git"] {
        browser.open(&format!("{}/repos/new", server.url()));
        browser.eval(&format!(
            "(() => {{ const {{ name, clone_url, forge }} = document.querySelector('form.fields').elements; \
             name.value = 'team/{forge}'; clone_url.value = 'https://forge.example/team/{forge}.git'; forge.value = '{forge}'; }})()"
        ));
        browser.click("form.fields button.first");
        browser.until("document.getElementById('hook-secret') !== null");
        assert!(browser.text("h1").contains(&format!("team/{forge}")), "{}", browser.text("h1"));
        looks_well(&browser, &format!("webhook-{forge}"));
    }
    browser.open(&format!("{}/access", server.url()));
    browser.eval("document.querySelector('form.fields').elements.name.value = 'laptop'");
    browser.click("form.fields [name=scope][value=read]");
    browser.click("form.fields button.first");
    browser.until("document.querySelector('main').textContent.includes('lsh_')");
    looks_well(&browser, "token");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
