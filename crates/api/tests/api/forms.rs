//! Refused forms keep what was typed and show what is wrong. A visitor who must sign in returns to the page afterwards.

use longshore_store::{repos, tokens::Scope};

use crate::{
    client::send,
    pages::{attribute, send_form, signed_in},
    sign_in::sign_in,
    world::World,
};

#[tokio::test]
async fn a_repository_that_cannot_be_registered_is_asked_for_again() {
    let world = World::new().await;
    let cookie = sign_in(&world, Scope::Admin).await;
    let (_, csrf) = signed_in(&world, "/repos/new", &cookie).await;
    let form = "name=team%2Fapp&clone_url=nonsense%3A%2F%2Fx&forge=github&default_branch=trunk&public=yes";
    let again = send_form(&world, "/repos/new", &cookie, format!("csrf={csrf}&{form}")).await;
    assert_eq!(again.status, 400);
    for typed in [
        "name=\"name\" value=\"team/app\"",
        "name=\"clone_url\" value=\"nonsense://x\"",
        "<option value=\"github\" selected>",
        "name=\"default_branch\" value=\"trunk\"",
        "value=\"yes\" checked",
        "role=\"alert\">Repository not registered: ",
    ] {
        assert!(again.text().contains(typed), "{typed}: {}", again.text());
    }
}

#[tokio::test]
async fn the_webhooks_page_names_the_events_as_the_forge_does() {
    let world = World::new().await;
    let cookie = sign_in(&world, Scope::Admin).await;
    let (_, csrf) = signed_in(&world, "/repos/new", &cookie).await;
    for (forge, event, others) in [
        ("gitea", "<b>Pull Request Synchronized</b>", "Modification"),
        ("forgejo", "<b>Synchronized</b>", "Pull Request Synchronized"),
    ] {
        let form =
            format!("csrf={csrf}&name=team%2F{forge}&clone_url=https%3A%2F%2Fforge.example%2Fr.git&forge={forge}");
        let page = send_form(&world, "/repos/new", &cookie, form).await;
        assert!(page.text().contains(event) && !page.text().contains(others), "{forge}: {}", page.text());
    }
}

#[tokio::test]
async fn what_is_wrong_in_a_repositorys_settings_stands_beside_what_was_typed() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let cookie = sign_in(&world, Scope::Admin).await;
    let settings = format!("/repos/{}/settings", repo.id);
    let (_, csrf) = signed_in(&world, &settings, &cookie).await;
    let form = format!("csrf={csrf}&clone_url=http%3A%2F%2Fx.example%2Fr&default_branch=a+b&public=yes");
    let again = send_form(&world, &settings, &cookie, form).await;
    assert_eq!(again.status, 400);
    for typed in ["value=\"http://x.example/r\"", "value=\"a b\"", "value=\"yes\" checked", "Settings not saved: "] {
        assert!(again.text().contains(typed), "{typed}: {}", again.text());
    }
    assert!(!repos::get(&world.store, repo.id).await.unwrap().unwrap().public);

    let secrets = format!("/repos/{}/secrets", repo.id);
    let again = send_form(&world, &secrets, &cookie, format!("csrf={csrf}&name=not+a+name&value=confidential")).await;
    assert_eq!(again.status, 400);
    assert!(
        again.text().contains("value=\"not a name\"") && again.text().contains("Secret not saved: "),
        "{}",
        again.text()
    );
    assert!(again.text().contains(". Enter its value again") && !again.text().contains("confidential"));

    let remove = format!("/repos/{}/remove", repo.id);
    let again = send_form(&world, &remove, &cookie, format!("csrf={csrf}&name=other")).await;
    assert_eq!(again.status, 400);
    assert!(
        again.text().contains("Repository not deleted: <bdi>the name does not match: the repository is o/r"),
        "{}",
        again.text()
    );
}

#[tokio::test]
async fn a_default_branch_is_given_back_to_the_forge() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let cookie = sign_in(&world, Scope::Admin).await;
    let settings = format!("/repos/{}/settings", repo.id);
    let (_, csrf) = signed_in(&world, &settings, &cookie).await;
    let branch = async || repos::get(&world.store, repo.id).await.unwrap().unwrap().default_branch;
    for (given, kept) in [("trunk", Some("trunk")), ("", None)] {
        let form = format!("csrf={csrf}&clone_url=&default_branch={given}");
        assert_eq!(send_form(&world, &settings, &cookie, form).await.status, 303);
        assert_eq!(branch().await.as_deref(), kept);
    }
    let address = format!("/api/v1/repos/{}", repo.id);
    for (body, kept) in [
        ("{\"default_branch\": \"trunk\"}", Some("trunk")),
        ("{\"public\": true}", Some("trunk")),
        ("{\"default_branch\": \"\"}", None),
    ] {
        assert_eq!(world.call("PATCH", &address, Some(crate::world::ADMIN), body).await.status, 200, "{body}");
        assert_eq!(branch().await.as_deref(), kept, "{body}");
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_made_is_asked_for_again() {
    let world = World::new().await;
    let cookie = sign_in(&world, Scope::Admin).await;
    let (_, csrf) = signed_in(&world, "/access", &cookie).await;
    let form = format!("csrf={csrf}&name=laptop&scope=build&days=many");
    let again = send_form(&world, "/access/tokens", &cookie, form).await;
    assert_eq!(again.status, 400);
    for typed in ["value=\"laptop\"", "value=\"build\" checked", "value=\"many\"", "Token not created: "] {
        assert!(again.text().contains(typed), "{typed}: {}", again.text());
    }
}

#[tokio::test]
async fn inputs_that_are_none_are_said_in_the_form() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let cookie = sign_in(&world, Scope::Build).await;
    let run = format!("/repos/{}/run", repo.id);
    let (_, csrf) = signed_in(&world, &run, &cookie).await;
    let form = format!("csrf={csrf}&ref=topic&commit=&inputs=one%3D1%0Atwo");
    let again = send_form(&world, &run, &cookie, form).await;
    assert_eq!(again.status, 400);
    for typed in
        ["value=\"topic\"", "one=1\ntwo</textarea>", "Build not started: ", "<code>name=value</code>, one per line"]
    {
        assert!(again.text().contains(typed), "{typed}: {}", again.text());
    }
}

#[tokio::test]
async fn whoever_has_to_sign_in_comes_back_to_where_they_were() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let build = world.build(repo.id, "main", &["one"]).await;
    let address = format!("/builds/{}", build.id);
    let hidden = send(world.addr, "GET", &address, &[("accept", "text/html")], "").await;
    let sign_in_at = format!("/sign-in?next=%2Fbuilds%2F{}", build.id);
    assert_eq!(hidden.text().matches(&format!("href=\"{sign_in_at}\"")).count(), 2, "{}", hidden.text());
    let shown = send(world.addr, "GET", &sign_in_at, &[("accept", "text/html")], "").await;
    assert_eq!(attribute(shown.text(), "name=\"next\" value=\""), address);

    // A form of a session that has ended: the message does not mention headers.
    let headers = [
        ("cookie", "longshore_session=over"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("accept", "text/html"),
        ("referer", &format!("https://ci.example{address}")),
    ];
    let ended = send(world.addr, "POST", &format!("{address}/cancel"), &headers, "csrf=old").await;
    assert_eq!(ended.status, 401);
    assert!(ended.text().contains("Sign-in required") && !ended.text().contains("Bearer"), "{}", ended.text());
    assert!(ended.text().contains(&format!("href=\"{sign_in_at}\"")), "{}", ended.text());
}

#[tokio::test]
async fn a_secrets_rules_are_shown_and_set_with_its_form_and_its_masks_are_spoken_of() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let cookie = sign_in(&world, Scope::Admin).await;
    let settings = format!("/repos/{}/settings", repo.id);
    let secrets = format!("/repos/{}/secrets", repo.id);
    let (shown, csrf) = signed_in(&world, &settings, &cookie).await;
    assert!(shown.text().contains("name=\"branches\""), "{}", shown.text());
    let send =
        async |fields: &str| send_form(&world, &secrets, &cookie, format!("csrf={csrf}&name=TOKEN&{fields}")).await;
    assert_eq!(send("value=long+enough&branches=main+release%2F%7Ba%2Cb%7D&events=push%2Ctag&jobs=").await.status, 303);
    let said = async || signed_in(&world, &settings, &cookie).await.0.text().to_owned();
    assert!(said().await.contains("branches: main, release/{a,b}; events: push, tag"), "{}", said().await);
    // Neither a new value nor a further rule removes the existing rules.
    assert_eq!(send("value=another+value").await.status, 303);
    assert_eq!(send("value=&tags=v*").await.status, 303);
    assert!(said().await.contains("branches: main, release/{a,b}; tags: v*; events: push, tag"), "{}", said().await);
    assert_eq!(send("value=&jobs=deploy&no_rules=yes").await.status, 303);
    assert!(said().await.contains(">jobs: deploy</td>"), "{}", said().await);
    let again = send("value=&events=pushes&branches=main").await;
    assert_eq!(again.status, 400);
    assert!(
        again.text().contains("unknown event <code>pushes</code>")
            && again.text().contains("name=\"branches\" value=\"main\"")
    );
    let noted = send("value=prod").await;
    assert_eq!(noted.status, 200);
    assert!(noted.text().contains("only as a separate word"), "{}", noted.text());
}
