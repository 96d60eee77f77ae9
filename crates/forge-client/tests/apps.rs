//! GitHub reached as an App: its tokens are made when they are needed, and only then.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../../../tests/support/forge.rs"]
#[allow(dead_code, unreachable_pub, clippy::expect_used, reason = "others use the rest")]
mod forge;

use forge::{APP_ID, Forge, Kind};
use longshore_core::commit_status::CommitState;
use longshore_forge_client::{CallError, Connection, Http, Kind as ForgeKind, NewHook, NewStatus, app_token};

struct World {
    forge: Forge,
    connection: Connection,
    _folder: tempfile::TempDir,
}

fn world() -> World {
    let (forge, folder) = (Forge::start(Kind::Github), tempfile::tempdir().unwrap());
    let pem = forge.with_app(folder.path());
    let connection = Connection::new(ForgeKind::Github, &forge.url(), &app_token(APP_ID, &pem).unwrap()).unwrap();
    World { forge, connection, _folder: folder }
}

fn status(state: CommitState) -> NewStatus {
    NewStatus {
        commit: "1f0c2d3e4a5b6c7d8e9f00112233445566778899".to_owned(),
        context: "longshore/ci".to_owned(),
        state,
        description: "succeeded".to_owned(),
        target_url: "https://ci.example/builds/1".to_owned(),
        ref_name: Some("main".to_owned()),
    }
}

#[test]
fn an_app_finds_hooks_and_reports_to_a_repository_with_one_token() {
    let world = world();
    let http = Http::default();
    let api = world.connection.api(&http);
    assert_eq!(api.check().unwrap().login, "longshore-ci[bot]");
    assert_eq!(api.repos().unwrap().len(), 2);
    assert_eq!(api.suspended_by().unwrap(), ["asleep"]);
    let repo = api.repo("team/app").unwrap();
    assert!(repo.admin && repo.id == "41");
    let hook = api.set_hook(&repo.id, NewHook { url: "https://ci.example/hooks/1", secret: "x" }).unwrap();
    api.set_status(&repo.id, &status(CommitState::Running)).unwrap();
    api.set_status(&repo.id, &status(CommitState::Success)).unwrap();
    let comment = api.comment(&repo.id, 7, None, "<!-- longshore -->\nx").unwrap();
    assert_eq!(api.comment(&repo.id, 7, Some(&comment), "y").unwrap(), comment);
    api.remove_hook(&repo.id, &hook).unwrap();
    let login = world.connection.login_now(&http, "team/app").unwrap().unwrap();
    assert_eq!(login, "x-access-token:ghs_installation_1");
    let state = world.forge.state();
    assert!(state.refused.is_empty(), "{:?}", state.refused);
    assert_eq!(state.app.as_ref().unwrap().minted, 1);
    assert_eq!(state.statuses.last().unwrap().state, "success");
}

#[test]
fn a_token_is_made_anew_shortly_before_it_expires_and_when_it_is_taken_away() {
    let world = world();
    let http = Http::default();
    let api = world.connection.api(&http);
    let minted = || world.forge.state().app.as_ref().unwrap().minted;
    world.forge.state().app.as_mut().unwrap().seconds = 300;
    api.set_status("41", &status(CommitState::Running)).unwrap();
    // Five minutes are too few to rely on.
    world.forge.state().app.as_mut().unwrap().seconds = 3600;
    api.set_status("41", &status(CommitState::Success)).unwrap();
    assert_eq!(minted(), 2);
    world.forge.state().app.as_mut().unwrap().tokens.clear();
    api.set_status("41", &status(CommitState::Running)).unwrap();
    assert_eq!(minted(), 3);
    // Clones share what is known.
    world.connection.api(&http.clone()).set_status("41", &status(CommitState::Success)).unwrap();
    assert_eq!(minted(), 3);
}

#[test]
fn a_key_that_is_none_or_of_another_app_is_refused_without_quoting_it() {
    for (id, pem) in
        [("", "x"), ("47 11", "x"), (APP_ID, "s3cret"), (APP_ID, "-----BEGIN X-----\ns3cret\n-----END X-----")]
    {
        let error = app_token(id, pem).unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }
    let (world, other) = (world(), self::world());
    let stranger = Connection::new(ForgeKind::Github, &world.forge.url(), other.connection.expose_token()).unwrap();
    let error = stranger.api(&Http::default()).check().unwrap_err();
    assert!(matches!(error, CallError::BadToken { .. }), "{error}");
    assert!(!format!("{stranger:?}").contains("app-"));
}
