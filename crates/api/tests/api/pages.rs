//! The pages as a browser gets them: whole without a script, and safe whatever outsiders wrote.

use crate::{
    client::{Answer, send},
    world::{ADMIN, World},
};

/// As a browser asks.
pub(crate) async fn page(world: &World, path: &str) -> Answer {
    let bearer = format!("Bearer {ADMIN}");
    send(world.addr, "GET", path, &[("authorization", &bearer), ("accept", "text/html,*/*")], "").await
}

/// The value of the first attribute of that name.
pub(crate) fn attribute<'a>(text: &'a str, before: &str) -> &'a str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before} in {text}"));
    rest.split('"').next().unwrap()
}

#[tokio::test]
async fn assets_are_named_by_their_content_kept_for_ever_and_sent_compressed() {
    let world = World::new().await;
    let home = page(&world, "/").await;
    for (before, content_type) in [
        ("rel=\"stylesheet\" href=\"", "text/css; charset=utf-8"),
        ("script type=\"module\" src=\"", "text/javascript; charset=utf-8"),
        ("type=\"image/svg+xml\" href=\"", "image/svg+xml"),
    ] {
        let address = attribute(home.text(), before);
        let plain = send(world.addr, "GET", address, &[], "").await;
        assert_eq!((plain.status, plain.header("content-type")), (200, content_type), "{address}");
        assert_eq!(plain.header("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(plain.header("content-encoding"), "");
        let gzipped = send(world.addr, "GET", address, &[("accept-encoding", "br, gzip;q=0.8")], "").await;
        assert_eq!(gzipped.header("content-encoding"), "gzip");
        assert_eq!(gzipped.body[..2], [0x1f, 0x8b]);
        assert!(gzipped.body.len() < plain.body.len() || content_type.starts_with("image"), "{address}");
    }
    assert_eq!(send(world.addr, "GET", "/assets/app.0000000000.css", &[], "").await.status, 404);
}

#[tokio::test]
async fn a_pages_policy_allows_nothing_that_stands_in_it() {
    let world = World::new().await;
    let home = page(&world, "/").await;
    assert_eq!(
        home.header("content-security-policy"),
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
         frame-ancestors 'none'; base-uri 'none'"
    );
    assert_eq!(home.header("x-content-type-options"), "nosniff");
    assert_eq!(home.header("referrer-policy"), "same-origin");
    assert!(!home.text().contains(" style=") && !home.text().contains(" onclick="));
}

#[tokio::test]
async fn an_error_is_a_page_for_a_browser_and_json_for_a_program() {
    let world = World::new().await;
    for path in ["/builds/nothing", "/builds/01890000-0000-7000-8000-000000000000", "/nothing"] {
        let answer = page(&world, path).await;
        assert_eq!((answer.status, answer.header("content-type")), (404, "text/html; charset=utf-8"), "{path}");
        assert!(answer.text().contains("There is nothing here"), "{path}");
        world.get(path).await.error();
    }
    let api = page(&world, "/api/v1/builds/01890000-0000-7000-8000-000000000000").await;
    assert_eq!(api.header("content-type"), "application/json");
}
