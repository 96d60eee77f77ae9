//! The description of the API matches what the server does.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{client::send, pages::page, world::World};

#[test]
fn the_committed_description_is_the_one_that_is_served() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let now = longshore_api::openapi_json().unwrap();
    if std::env::var_os("LONGSHORE_BLESS").is_some() {
        fs::write(&file, &now).unwrap();
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == now,
        "docs/openapi.json is not what is served: run this test with LONGSHORE_BLESS=1 and commit it"
    );
}

#[tokio::test]
async fn every_described_route_is_served_and_takes_no_other_method() {
    let world = World::new().await;
    let served = world.get("/openapi.json").await;
    assert_eq!(served.header("content-type"), "application/json");
    let described: Value = served.json();
    let paths = described["paths"].as_object().unwrap();
    assert!(paths.len() > 25);
    for (path, operations) in paths {
        let address =
            path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect::<Vec<_>>().join("/");
        for method in ["get", "post", "put", "patch", "delete"] {
            let answer = send(world.addr, &method.to_uppercase(), &address, &[("authorization", "Bearer x")], "").await;
            if operations.get(method).is_some() {
                assert_ne!(answer.status, 405, "{method} {path}");
                let nothing = answer.status == 404 && answer.error().contains("not found");
                assert!(!nothing, "{method} {path}");
            } else {
                assert_eq!(answer.status, 405, "{method} {path} is served and not described");
                assert!(!answer.header("allow").is_empty(), "{method} {path}");
                answer.error();
            }
        }
    }
}

#[tokio::test]
async fn an_unknown_address_is_a_json_404() {
    let world = World::new().await;
    for path in ["/nothing", "/api/v2/repos", "/api/v1/", "/hooks", "//"] {
        let answer = world.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.error().ends_with("; see /openapi.json"), "{path}");
    }
    let for_people = page(&world, "/nothing").await;
    assert_eq!(for_people.status, 404);
    assert!(for_people.text().contains("<p><bdi>There is nothing at this address.</bdi></p>"), "{}", for_people.text());
}
