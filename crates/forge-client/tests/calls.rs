//! Every call to every forge, against one that keeps what it is told and refuses what the real ones refuse.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../../../tests/support/forge.rs"]
#[allow(dead_code, unreachable_pub, clippy::expect_used, reason = "others use the rest")]
mod forge;

use forge::{ACCOUNT, Forge, Kind, TOKEN};
use longshore_core::commit_status::CommitState;
use longshore_forge_client::{CallError, Connection, ForgeApi, Http, NewHook, NewStatus};

const COMMIT: &str = "1f0c2d3e4a5b6c7d8e9f00112233445566778899";

fn api(forge: &Forge) -> Box<dyn ForgeApi> {
    with_token(forge, TOKEN)
}

fn with_token(forge: &Forge, token: &str) -> Box<dyn ForgeApi> {
    let kind = forge.kind.word().parse().unwrap();
    Connection::new(kind, &forge.url(), token).unwrap().api(&Http::default())
}

fn status(state: CommitState) -> NewStatus {
    NewStatus {
        commit: COMMIT.to_owned(),
        context: "longshore/ci".to_owned(),
        state,
        description: "test (1.95): step `Unit tests` failed with exit code 101".to_owned(),
        target_url: "https://ci.example/builds/1".to_owned(),
        ref_name: Some("main".to_owned()),
    }
}

#[test]
fn a_repository_is_found_hooked_reported_to_and_let_go() {
    for kind in Kind::ALL {
        let forge = Forge::start(kind);
        let api = api(&forge);
        assert_eq!(api.check().unwrap().login, ACCOUNT, "{kind:?}");
        let listed = api.repos().unwrap();
        let repo = api.repo("team/app").unwrap();
        assert!(listed.contains(&repo) && listed.len() == 2, "{kind:?}: {listed:?}");
        assert!(repo.admin && repo.private && repo.default_branch.as_deref() == Some("main"), "{kind:?}: {repo:?}");

        let url = "https://ci.example/hooks/1";
        api.set_hook(&repo.id, NewHook { url, secret: "old-secret" }).unwrap();
        let hook = api.set_hook(&repo.id, NewHook { url, secret: "new-secret" }).unwrap();
        let hooks = forge.state().hooks.clone();
        let [only] = &hooks[..] else { panic!("{kind:?}: {hooks:?}") };
        assert!(only.body.to_string().contains("new-secret"), "{kind:?}: {}", only.body);
        if kind != Kind::Gitlab {
            assert_eq!(only.body["active"], true, "{kind:?}: a hook that never fires");
        }

        for state in CommitState::ALL {
            api.set_status(&repo.id, &status(state)).unwrap_or_else(|error| panic!("{kind:?} {state}: {error}"));
        }
        // Twice the same is no error.
        api.set_status(&repo.id, &status(CommitState::Running)).unwrap();
        api.set_status(&repo.id, &status(CommitState::Running)).unwrap();
        api.set_status(&repo.id, &status(CommitState::Skipped)).unwrap();
        let shown = forge.shown(COMMIT);
        let (state, description) = &shown["longshore/ci"];
        let success = if kind == Kind::Bitbucket { "SUCCESSFUL" } else { "success" };
        assert_eq!(
            (state.as_str(), description.as_str()),
            (success, status(CommitState::Success).description.as_str())
        );
        assert!(forge.state().statuses.iter().all(|one| one.target_url == "https://ci.example/builds/1"), "{kind:?}");

        api.remove_hook(&repo.id, &hook).unwrap();
        assert!(forge.state().hooks.is_empty(), "{kind:?}");
        // A webhook that is gone need not be removed.
        api.remove_hook(&repo.id, &hook).unwrap();
    }
}

#[test]
fn a_webhook_that_could_not_be_renewed_is_still_there() {
    for kind in Kind::ALL {
        let forge = Forge::start(kind);
        let api = api(&forge);
        let repo = api.repo("team/app").unwrap();
        let url = "https://ci.example/hooks/1";
        api.set_hook(&repo.id, NewHook { url, secret: "old-secret" }).unwrap();
        // The forge fails at each call in turn.
        for calls in 0.. {
            forge.state().fails_after = Some(calls);
            let renewed = api.set_hook(&repo.id, NewHook { url, secret: "new-secret" });
            forge.state().fails_after = None;
            let hooks = forge.state().hooks.clone();
            assert!(!hooks.is_empty(), "{kind:?}: none is left after call {calls}");
            if renewed.is_ok() {
                assert!(calls > 1 && hooks.len() == 1, "{kind:?}: {hooks:?}");
                assert!(hooks[0].body.to_string().contains("new-secret"), "{kind:?}");
                break;
            }
        }
    }
}

#[test]
fn a_token_that_lacks_a_right_is_refused_with_its_name() {
    for (kind, scopes, says) in [
        (Kind::Github, &["read:org"][..], "`repo`"),
        (Kind::Gitea, &["write:repository"][..], "`user: read`"),
        (Kind::Gitea, &["read:user", "read:repository"][..], "`repository: read and write`"),
        (Kind::Forgejo, &["read:user"][..], "`repository: read and write`"),
        (Kind::Gitlab, &["read_api"][..], "`api`"),
    ] {
        let forge = Forge::start(kind);
        forge.state().scopes = scopes.to_vec();
        let error = api(&forge).check().unwrap_err();
        assert!(matches!(error, CallError::MissingRight { .. }), "{kind:?}: {error:?}");
        assert!(error.to_string().contains(says), "{kind:?}: {error}");
    }
    for kind in Kind::ALL {
        let forge = Forge::start(kind);
        let error = with_token(&forge, "wrong-token-0123456789").check().unwrap_err();
        assert!(matches!(error, CallError::BadToken { .. }) && !error.may_pass(), "{kind:?}: {error:?}");
        assert!(!error.to_string().contains("wrong-token"), "{error}");
    }
}

#[test]
fn a_forge_that_is_down_or_busy_is_one_to_ask_again() {
    for kind in Kind::ALL {
        let forge = Forge::start(kind);
        let api = api(&forge);
        let id = api.repo("team/app").unwrap().id;
        forge.state().down = true;
        let down = api.set_status(&id, &status(CommitState::Running)).unwrap_err();
        assert!(matches!(down, CallError::Unavailable { .. }) && down.may_pass(), "{kind:?}: {down:?}");
        forge.state().down = false;
        forge.state().limited = 1;
        let limited = api.set_status(&id, &status(CommitState::Running)).unwrap_err();
        assert_eq!(limited.wait().map(|wait| wait.as_secs()), Some(1), "{kind:?}: {limited:?}");
        api.set_status(&id, &status(CommitState::Running)).unwrap();
    }
    let nobody = Connection::new(longshore_forge_client::Kind::Gitea, "http://127.0.0.1:1", TOKEN).unwrap();
    let error = nobody.api(&Http::default()).check().unwrap_err();
    assert!(matches!(error, CallError::Unreachable { .. }) && error.may_pass(), "{error:?}");
}

#[test]
fn a_renamed_repository_is_found_by_its_number_and_one_that_took_its_name_gets_nothing() {
    for kind in Kind::ALL {
        let forge = Forge::start(kind);
        let api = api(&forge);
        let id = api.repo("team/app").unwrap().id;
        forge.rename(41, "other/name");
        api.set_status(&id, &status(CommitState::Running)).unwrap();
        forge.rename(42, "team/app");
        api.set_status(&id, &status(CommitState::Success)).unwrap();
        let repos: Vec<u64> = forge.state().statuses.iter().map(|one| one.repo).collect();
        assert_eq!(repos, [41, 41], "{kind:?}");
    }
}

#[test]
fn a_commit_that_the_forge_does_not_have_is_not_tried_for_days() {
    for kind in Kind::ALL {
        let forge = Forge::start(kind);
        forge.state().commits = vec!["0".repeat(40)];
        let api = api(&forge);
        let error = api.set_status(&api.repo("team/app").unwrap().id, &status(CommitState::Running)).unwrap_err();
        assert!(!error.may_pass(), "{kind:?}: {error:?}");
    }
}

#[test]
fn every_page_of_a_long_list_is_read() {
    for kind in Kind::ALL {
        let forge = Forge::start(kind);
        let more = (1000..1120).map(|id| forge::Repo { id, name: format!("team/r{id}"), admin: true });
        forge.state().repos.extend(more);
        assert_eq!(api(&forge).repos().unwrap().len(), 122, "{kind:?}");
    }
}

#[test]
fn what_is_no_forge_is_said_to_be_none() {
    let forge = Forge::start(Kind::Gitea);
    let wrong =
        Connection::new(longshore_forge_client::Kind::Gitlab, &format!("{}/api/v1", forge.url()), TOKEN).unwrap();
    assert!(!wrong.api(&Http::default()).check().unwrap_err().may_pass());
}

#[test]
fn a_redirect_takes_the_token_nowhere() {
    let forge = Forge::start(Kind::Gitea);
    forge.rename(41, "other/name");
    let calls = forge.state().calls;
    let error = api(&forge).repo("team/app").unwrap_err();
    assert!(error.to_string().contains("not followed"), "{error}");
    assert_eq!(forge.state().calls, calls + 1);
}
