//! Which jobs of a repository may have Docker.

use longshore_core::docker::{Docker, DockerGrant};
use longshore_store::{repos, tokens::Scope};
use serde_json::{Value, json};

use crate::{
    pages::{send_form, signed_in},
    sign_in::sign_in,
    world::{ADMIN, World},
};

#[tokio::test]
async fn docker_is_granted_by_the_api_and_on_the_page_and_to_nobody_at_first() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let address = format!("/api/v1/repos/{}", repo.id);
    assert_eq!(world.get(&address).await.json()["docker"], false);
    let set =
        async |grant: Value| world.call("PATCH", &address, Some(ADMIN), json!({ "docker": grant }).to_string()).await;
    for grant in [
        json!({ "branches": ["main", "release/*"] }),
        json!({ "branches": ["main"], "buildkit": true }),
        json!("raw"),
        json!(false),
    ] {
        assert_eq!(set(grant.clone()).await.json()["docker"], grant);
    }
    for (wrong, said) in [
        (json!(true), "false, {\"branches\": [...]} or \"raw\""),
        (json!("all"), "or \"raw\""),
        (json!({ "branches": ["[x"] }), "`branches`"),
        (json!({ "branches": ["main"], "tags": ["v*"] }), "tags"),
    ] {
        let refused = set(wrong.clone()).await;
        assert_eq!(refused.status, 400, "{wrong}");
        assert!(refused.error().contains(said), "{wrong}: {}", refused.error());
    }
    assert_eq!(set(json!({ "branches": ["main"] })).await.status, 200);
    let changed = world.call("PATCH", &address, Some(ADMIN), r#"{"public": true}"#).await.json();
    assert_eq!(changed["docker"], json!({ "branches": ["main"] }), "what is not named stays");

    let cookie = sign_in(&world, Scope::Admin).await;
    let settings = format!("/repos/{}/settings", repo.id);
    let (shown, csrf) = signed_in(&world, &settings, &cookie).await;
    let shown = shown.text();
    assert!(
        shown.contains("value=\"branches\" selected") && shown.contains("name=\"docker_branches\" value=\"main\""),
        "{shown}"
    );
    let kept = async || repos::get(&world.store, repo.id).await.unwrap().unwrap().docker;
    let send = async |grant: &str| {
        send_form(&world, &settings, &cookie, format!("csrf={csrf}&clone_url=&default_branch={grant}")).await
    };
    assert_eq!(send("&docker=branches&docker_branches=main+refs%2Ftags%2Fv*").await.status, 303);
    let granted =
        |buildkit| DockerGrant::Branches { branches: vec!["main".to_owned(), "refs/tags/v*".to_owned()], buildkit };
    assert_eq!(kept().await, granted(false));
    for wrong in ["&docker=branches&docker_branches=", "&docker=buildkit&docker_branches=", "&docker=all"] {
        assert_eq!(send(wrong).await.status, 400, "{wrong}");
    }
    assert_eq!(send("").await.status, 303);
    assert_eq!(kept().await, granted(false));
    assert_eq!(send("&docker=buildkit&docker_branches=main+refs%2Ftags%2Fv*").await.status, 303);
    assert_eq!(kept().await, granted(true));
    let (shown, _) = signed_in(&world, &settings, &cookie).await;
    assert!(shown.text().contains("value=\"buildkit\" selected"), "{}", shown.text());
    assert_eq!(send("&docker=raw").await.status, 303);
    assert_eq!(kept().await, DockerGrant::Raw);
}

#[tokio::test]
async fn who_administers_some_repositories_does_not_grant_them_docker() {
    let world = World::new().await;
    let repo = world.repo("one/app", "git", false).await;
    let rights = longshore_core::access::Rights::new(vec![Scope::Admin], Some(vec![repo.id]));
    let token = world.token_of(rights).await.secret;
    let address = format!("/api/v1/repos/{}", repo.id);
    let refused = world.call("PATCH", &address, Some(&token), r#"{"docker": "raw"}"#).await;
    assert_eq!(refused.status, 403, "through it jobs reach more than this repository");
    assert_eq!(world.call("PATCH", &address, Some(&token), r#"{"cancel_older": false}"#).await.status, 200);
    assert_eq!(world.get(&address).await.json()["docker"], false);
}

#[tokio::test]
async fn a_job_says_what_it_has_and_the_hosts_socket_is_red_wherever_the_job_is() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", true).await;
    let build = world
        .build_with(repo.id, |new| {
            let job = new.plan.jobs.remove(0);
            new.plan.jobs = [("none", Docker::None), ("guarded", Docker::Guarded), ("raw", Docker::Raw)]
                .map(|(key, docker)| {
                    let mut job = job.clone();
                    key.clone_into(&mut job.key);
                    key.clone_into(&mut job.name);
                    job.docker = docker;
                    job
                })
                .to_vec();
        })
        .await;
    let shown = world.get(&format!("/api/v1/builds/{}", build.id)).await.json();
    let of_jobs: Vec<&Value> = shown["jobs"].as_array().unwrap().iter().map(|job| &job["docker"]).collect();
    assert_eq!(of_jobs, [&json!(false), &json!(true), &json!("raw")]);
    let red = async |path: String| world.get(&path).await.text().matches("class=\"tag bad\"").count();
    assert_eq!(red(format!("/builds/{}", build.id)).await, 1);
    assert_eq!(red("/queue".to_owned()).await, 1);
    for (job, times) in shown["jobs"].as_array().unwrap().iter().zip([0, 0, 1]) {
        assert_eq!(red(format!("/jobs/{}", job["id"].as_str().unwrap())).await, times);
    }
}
