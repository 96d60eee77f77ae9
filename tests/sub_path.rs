//! A server below a path, behind a real nginx that strips the path and one that keeps it. Used through the command
//! line, through a browser without scripts, and through a real browser.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::process::Command;

use support::{
    api::{Api, text},
    browser::Browser,
    engine,
    nginx::Nginx,
    server::{ADMIN_TOKEN, Server, program},
    until,
    world::{World, job},
};

/// A browser without scripts, which does not follow redirects by itself. It uses only addresses that are in pages.
struct Reader {
    agent: ureq::Agent,
    origin: String,
    cookie: String,
}

type Answer = ureq::http::Response<ureq::Body>;

impl Reader {
    fn new(url: &str) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build();
        Self { agent: config.into(), origin: url.strip_suffix("/ci").unwrap().to_owned(), cookie: String::new() }
    }

    fn get(&self, address: &str) -> Answer {
        let request = self.agent.get(format!("{}{address}", self.origin)).header("Accept", "text/html");
        request.header("Cookie", &self.cookie).call().unwrap()
    }

    fn page(&self, address: &str) -> String {
        let mut answer = self.get(address);
        assert_eq!(answer.status(), 200, "{address}");
        answer.body_mut().read_to_string().unwrap()
    }

    fn send(&self, address: &str, form: &[(&str, &str)]) -> Answer {
        let request = self.agent.post(format!("{}{address}", self.origin)).header("Accept", "text/html");
        let request = request.header("Cookie", &self.cookie).header("Origin", &self.origin);
        request.send_form(form.iter().copied()).unwrap()
    }
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// Returns the value of the attribute after `before`.
fn attribute<'a>(page: &'a str, before: &str) -> &'a str {
    let (_, rest) = page.split_once(before).unwrap_or_else(|| panic!("no {before} in {page}"));
    rest.split('"').next().unwrap()
}

#[test]
fn behind_nginx_at_a_path_people_programs_and_forges_reach_everything() {
    let Some(mut nginx) = Nginx::find() else { return };
    let [public, _] = nginx.urls();
    let server = Server::start_with(engine::docker_host(), &[("LONGSHORE_URL", &format!("{public}/"))]);
    nginx.start(server.port);
    let world = World::of(server);
    let repo = world.api().get(&format!("/api/v1/repos/{}", world.repo));
    let hook = text(&repo, "hook_url");
    assert_eq!(hook, format!("{public}/hooks/{}", world.repo));
    for url in nginx.urls() {
        // The forge's webhook, and the live log of a waiting job.
        world.git.hook(&hook.replace(&public, &url), &world.secret);
        let wait = "echo waits; until [ -e go ]; do sleep 0.05; done; echo went on; echo $CI_PIPELINE_URL";
        let commit = world.git.push(&format!(
            "# {url}\njobs:\n  one:\n    image: {}\n    steps:\n      - run: {wait}\n",
            engine::BUSYBOX
        ));
        let build = text(&world.build_of(&commit), "id");
        let api = Api::new(&url, Some(ADMIN_TOKEN));
        let one = text(job(&api.get(&format!("/api/v1/builds/{build}")), "one"), "id");
        let heard =
            api.stream(&format!("/api/v1/jobs/{one}/log/lines/stream"), None, |(_, _, data)| data.contains("waits"));
        assert!(!heard.is_empty(), "{url}");

        a_reader_signs_in_and_finds_its_way(&world, &public, &url, &build);

        let browser = Browser::start();
        browser.bearer(ADMIN_TOKEN);
        browser.open(&format!("{url}/jobs/{one}"));
        browser.until("document.getElementById('log').dataset.ready === 'true'");
        browser.until("document.getElementById('log').innerText.includes('waits')");
        go(&world);
        // The page follows the log's stream, and the build's events, which update its text.
        browser.until("document.getElementById('log').innerText.includes('went on')");
        browser.until("document.querySelector('.titled').textContent.includes('success')");
        assert_eq!(browser.complaints(), [""; 0], "{url}");
        drop(browser);
        let log = String::from_utf8(api.raw_log(&one)).unwrap();
        assert!(log.ends_with(&format!("went on\n{public}/builds/{build}\n")), "{log}");
        world.nothing_is_left();
    }
}

/// Signs in with a link that the command line printed, follows links, and signs out.
fn a_reader_signs_in_and_finds_its_way(world: &World, public: &str, url: &str, build: &str) {
    let printed = Command::new(program())
        .args(["token", "sign-in"])
        .env("LONGSHORE_URL", format!("{url}/"))
        .env("LONGSHORE_TOKEN", ADMIN_TOKEN)
        .env("LONGSHORE_DATA", world.server.data.path())
        .output()
        .unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let link =
        printed.split_whitespace().find_map(|word| word.strip_prefix(public)).unwrap_or_else(|| panic!("{printed}"));

    let mut reader = Reader::new(url);
    let asked = reader.get("/ci");
    assert!(header(&asked, "location").ends_with("/ci/"), "nginx leads to the path with its slash");
    let sent_away = reader.get("/ci/access");
    assert_eq!((sent_away.status().as_u16(), header(&sent_away, "location")), (303, "/ci/sign-in?next=/access"));
    let offered = reader.page(&format!("/ci{link}&next=/access"));
    let form = [
        ("code", attribute(&offered, "name=\"code\" value=\"")),
        ("next", attribute(&offered, "name=\"next\" value=\"")),
    ];
    let opened = reader.send(attribute(&offered, "id=\"offer\" method=\"post\" action=\""), &form);
    assert_eq!((opened.status().as_u16(), header(&opened, "location")), (303, "/ci/access"));
    let cookie = header(&opened, "set-cookie");
    assert!(cookie.contains("; Path=/ci; "), "{cookie}");
    cookie.split(';').next().unwrap().clone_into(&mut reader.cookie);

    let page = reader.page(header(&opened, "location"));
    for (before, content_type) in [
        ("rel=\"stylesheet\" href=\"", "text/css; charset=utf-8"),
        ("type=\"module\" src=\"", "text/javascript; charset=utf-8"),
        ("type=\"image/svg+xml\" href=\"", "image/svg+xml"),
    ] {
        let asset = reader.get(attribute(&page, before));
        assert_eq!((asset.status().as_u16(), header(&asset, "content-type")), (200, content_type), "{before}");
    }
    let home = reader.page(attribute(&page, "class=\"brand\" href=\""));
    let of_build = reader.page(attribute(&home, "class=\"name\" data-row href=\""));
    let stream = attribute(&of_build, "data-stream=\"").to_owned();
    assert_eq!(stream, format!("/ci/api/v1/builds/{build}/events"));
    let events = reader.get(&stream);
    assert_eq!((events.status().as_u16(), header(&events, "content-type")), (200, "text/event-stream; charset=utf-8"));
    drop(events);

    let out = reader.send("/ci/sign-out", &[("csrf", attribute(&home, "name=\"csrf\" value=\""))]);
    assert_eq!((out.status().as_u16(), header(&out, "location")), (303, "/ci/"));
    assert_eq!(reader.get("/ci/access").status(), 303);
}

/// Lets the running job go on.
fn go(world: &World) {
    let container = until("the job's container", || {
        Some(engine::objects(&world.server.instance, &["job"])).filter(|found| found.len() == 1)
    });
    let touched =
        Command::new("docker").args(["exec", &container[0], "touch", "/longshore/workspace/go"]).output().unwrap();
    assert!(touched.status.success(), "{touched:?}");
}
