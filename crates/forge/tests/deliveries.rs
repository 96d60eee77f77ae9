//! Recorded deliveries of real forges, and bodies that no forge sends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use http::{HeaderMap, HeaderName, HeaderValue};
use longshore_core::{EventName, Person};
use longshore_forge::{
    CommitId, DeliveryContents, Forge, Head, Hook, PayloadError, PushHook, delivery_key, payload, pull_request_key,
    push_key,
    signature::{SignatureError, verify},
};
use proptest::prelude::*;

const SECRET: &[u8] = b"it-is-only-a-test";

fn body(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/payloads/{name}.json", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn headers(name: &str) -> HeaderMap {
    let pairs: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&body(&format!("{name}.headers"))).unwrap();
    pairs
        .iter()
        .map(|(k, v)| (HeaderName::try_from(k).unwrap(), HeaderValue::try_from(v.as_str().unwrap()).unwrap()))
        .collect()
}

/// Parses a delivery of one event.
fn parse_event(forge: Forge, event: &str, body: &[u8]) -> Result<Hook, PayloadError> {
    payload::parse_event(forge, event, body).map(only)
}

/// Like [`parse_event`], with the event's name from the headers.
fn parse(forge: Forge, headers: &HeaderMap, body: &[u8]) -> Result<Hook, PayloadError> {
    payload::parse(forge, headers, body).map(only)
}

fn only(mut told: DeliveryContents) -> Hook {
    assert_eq!(told.hooks.len(), 1, "{told:?}");
    told.hooks.remove(0)
}

fn push(hook: Hook) -> PushHook {
    match hook {
        Hook::Push(push) => *push,
        other => panic!("no push: {other:?}"),
    }
}

#[test]
fn of_what_outsiders_write_no_more_is_kept_than_a_person_reads() {
    let mut delivery: serde_json::Value = serde_json::from_slice(&body("forgejo-push")).unwrap();
    let long = "é".repeat(1 << 20);
    delivery["sender"]["login"] = long.as_str().into();
    let hook = push(parse_event(Forge::Forgejo, "push", delivery.to_string().as_bytes()).unwrap());
    assert!(hook.sender.len() <= 1 << 10 && hook.sender.ends_with('…'), "{}", hook.sender.len());
    let mut delivery: serde_json::Value = serde_json::from_slice(&body("forgejo-pull-request")).unwrap();
    (delivery["pull_request"]["title"], delivery["action"]) = (long.as_str().into(), long.as_str().into());
    match parse_event(Forge::Forgejo, "pull_request", delivery.to_string().as_bytes()).unwrap() {
        Hook::PullRequest(request) => {
            assert!(request.title.ends_with('…') && request.title.len() <= 1 << 10, "{}", request.title.len());
            assert!(request.action.ends_with('…') && request.action.len() <= 1 << 10, "{}", request.action.len());
        }
        other => panic!("no pull request: {other:?}"),
    }
}

#[test]
fn every_recorded_delivery_carries_a_good_signature_and_a_key_of_its_own() {
    let mut keys = std::collections::BTreeSet::new();
    for name in [
        "forgejo-push",
        "forgejo-push-tag-push",
        "forgejo-push-tag-create",
        "forgejo-push-new-branch-push",
        "forgejo-push-new-branch-create",
        "forgejo-pull-request",
        "forgejo-pull-request-sync-pull_request",
        "forgejo-pull-request-sync-push",
        "forgejo-release",
    ] {
        let (headers, mut body) = (headers(name), body(name));
        for forge in [Forge::Forgejo, Forge::Gitea, Forge::Github] {
            assert_eq!(verify(forge, &headers, &body, SECRET), Ok(()), "{name} as {forge}");
        }
        assert!(keys.insert(delivery_key(Forge::Forgejo, &headers, &body)), "{name}");
        body.push(b'\n');
        let header = Forge::Forgejo.signature_header();
        assert_eq!(verify(Forge::Forgejo, &headers, &body, SECRET), Err(SignatureError::Mismatch { header }));
    }
}

#[test]
fn a_push_to_a_branch_tells_commit_sender_and_page() {
    let push = push(parse(Forge::Forgejo, &headers("forgejo-push"), &body("forgejo-push")).unwrap());
    assert_eq!(push.event, EventName::Push);
    assert_eq!(push.git_ref.as_str(), "refs/heads/main");
    assert_eq!(push.before.unwrap().as_str(), "0268d0aef15f0867c9ac7a72c7832b8a5feeefa1");
    assert_eq!(push.after.as_str(), "529910f68a5904a2808261b81da09cd160175913");
    assert_eq!(push.sender, "wpadmin");
    assert!(push.url.unwrap().starts_with("http://forge.example/wpadmin/harbour/compare/"));
    assert_eq!(push.default_branch.as_deref(), Some("main"));
}

#[test]
fn a_new_branch_has_no_before_on_any_forge() {
    let forgejo = parse(Forge::Gitea, &headers("forgejo-push-new-branch-push"), &body("forgejo-push-new-branch-push"));
    let github = parse_event(Forge::Github, "push", &body("github-push-new-branch"));
    for (hook, name) in [(forgejo, "refs/heads/feature/x"), (github, "refs/heads/master")] {
        let push = push(hook.unwrap());
        assert_eq!((push.git_ref.as_str(), push.before), (name, None));
    }
}

#[test]
fn a_pushed_tag_is_a_tag() {
    let push = push(parse(Forge::Forgejo, &headers("forgejo-push-tag-push"), &body("forgejo-push-tag-push")).unwrap());
    assert_eq!((push.event, push.git_ref.as_str(), push.before), (EventName::Tag, "refs/tags/v1.0", None));
}

#[test]
fn a_plain_remote_needs_three_fields_and_no_header() {
    let after = "a".repeat(40);
    let body = format!(r#"{{"ref":"refs/heads/main","before":"{}","after":"{after}"}}"#, "0".repeat(40));
    let push = push(parse(Forge::Git, &HeaderMap::new(), body.as_bytes()).unwrap());
    assert_eq!((push.after.as_str(), push.before, push.sender.as_str()), (after.as_str(), None, ""));
}

fn commit(request: &longshore_forge::PullRequestHook) -> &CommitId {
    match &request.head {
        Head::Commit(commit) => commit,
        other => panic!("no commit: {other:?}"),
    }
}

fn pull_request(forge: Forge, name: &str) -> longshore_forge::PullRequestHook {
    match parse_event(forge, "pull_request", &body(name)).unwrap() {
        Hook::PullRequest(hook) => *hook,
        other => panic!("no pull request: {other:?}"),
    }
}

#[test]
fn a_pull_request_tells_its_commit_its_branches_and_what_happened_in_one_set_of_words() {
    let opened = pull_request(Forge::Forgejo, "forgejo-pull-request");
    assert_eq!((opened.number, opened.action.as_str(), opened.fork), (1, "opened", false));
    assert_eq!(commit(&opened).as_str(), "b159f7a81ba224b10957bbda1a3f8726a37d1685");
    assert_eq!((opened.source.as_str(), opened.target.as_str()), ("refs/heads/feature/x", "refs/heads/main"));
    assert_eq!((opened.title.as_str(), opened.sender.as_str()), ("A change; $(id) `x`", "wpadmin"));
    assert_eq!(opened.url.as_deref(), Some("http://forge.example/wpadmin/harbour/pulls/1"));
    let updated = pull_request(Forge::Gitea, "forgejo-pull-request-sync-pull_request");
    assert_eq!((updated.action.as_str(), updated.default_branch.as_deref()), ("synchronize", Some("main")));
    assert_eq!(commit(&updated).as_str(), "ed321f5ecc163df81012f25587bcc15a40e470d9");
    let opened = pull_request(Forge::Github, "github-pull-request-opened");
    assert_eq!((opened.number, opened.target.as_str(), opened.fork), (2, "refs/heads/master", false));
    assert_eq!(pull_request(Forge::Github, "github-pull-request-synchronize").action, "synchronize");
}

#[test]
fn a_pull_request_of_another_repository_or_of_none_is_a_forks() {
    let mut event: serde_json::Value = serde_json::from_slice(&body("github-pull-request-opened")).unwrap();
    let parsed = |event: &serde_json::Value| parse_event(Forge::Github, "pull_request", event.to_string().as_bytes());
    event["pull_request"]["head"]["repo"]["id"] = 1.into();
    assert!(matches!(parsed(&event), Ok(Hook::PullRequest(hook)) if hook.fork));
    event["pull_request"]["head"]["repo"] = serde_json::Value::Null;
    assert!(matches!(parsed(&event), Ok(Hook::PullRequest(hook)) if hook.fork));
    event["pull_request"]["head"]["ref"] = "--upload-pack=x".into();
    assert!(matches!(parsed(&event), Ok(Hook::PullRequest(_))));
    event["pull_request"]["head"]["sha"] = "--upload-pack=x".into();
    assert!(matches!(parsed(&event), Err(PayloadError::Revision(_))));
    let git = parse_event(Forge::Git, "pull_request", &body("github-pull-request-opened"));
    assert!(matches!(git, Ok(Hook::Ignored { .. })));
}

#[test]
fn a_pull_request_that_stands_on_no_branch_is_a_forks() {
    // It was pushed to `refs/for/main`, for which read access is enough.
    for forge in [Forge::Gitea, Forge::Forgejo] {
        let parsed = parse_event(forge, "pull_request", &body("forgejo-pull-request-for-review"));
        assert!(matches!(parsed, Ok(Hook::PullRequest(hook)) if hook.fork));
    }
}

#[test]
fn what_starts_no_build_is_ignored_with_a_reason() {
    for (forge, event, name, word) in [
        (Forge::Github, "delete", "github-delete", "deleted"),
        (Forge::Github, "create", "github-create-tag", "`push`"),
        (Forge::Forgejo, "create", "forgejo-push-tag-create", "`push`"),
        (Forge::Github, "star", "github-delete", "only `push`, `pull_request`"),
    ] {
        match parse_event(forge, event, &body(name)).unwrap() {
            Hook::Ignored { event: named, reason } => {
                assert_eq!(named, event);
                assert!(reason.contains(word), "{event}: {reason}");
            }
            other => panic!("{event}: {other:?}"),
        }
    }
    assert_eq!(parse_event(Forge::Github, "ping", &body("github-ping")).unwrap(), Hook::Ping);
    let notes = format!(r#"{{"ref":"refs/notes/commits","after":"{}"}}"#, "a".repeat(40));
    assert!(matches!(parse_event(Forge::Git, "push", notes.as_bytes()), Ok(Hook::Ignored { .. })));
}

#[test]
fn a_body_that_no_forge_sends_is_a_clear_error() {
    let error = |body: &str| parse_event(Forge::Github, "push", body.as_bytes()).unwrap_err().to_string();
    let a = "a".repeat(40);
    assert!(error("{").contains("not a valid `push` event of github: EOF"));
    assert!(error("[1]").contains("invalid"));
    assert!(error(&"[".repeat(100_000)).contains("not a valid `push`"));
    assert!(error(&format!(r#"{{"sender":{{"x":{}"#, "[".repeat(100_000))).contains("not a valid `push`"));
    assert!(error(r#"{"ref":5}"#).contains("expected a string at line 1 column 8"));
    assert!(error("{}").contains("no `ref`"));
    assert!(error(r#"{"ref":"refs/heads/main"}"#).contains("no `after`"));
    assert!(error(r#"{"ref":"refs/heads/main","after":"HEAD"}"#).contains("is not a commit"));
    assert!(error(r#"{"ref":"main","after":"x"}"#).contains("not a ref that can be built"));
    assert!(error(&format!(r#"{{"ref":"refs/heads/a\u0000b","after":"{a}"}}"#)).contains("a\\0b"));
    let long = error(&format!(r#"{{"ref":"refs/heads/{}","after":"{a}"}}"#, "x".repeat(100 * 1024)));
    assert!(long.contains("too long") && long.len() < 200, "{long}");
    assert!(error("payload=%7B%7D").contains("application/json"));
    let no_event = parse(Forge::Gitea, &HeaderMap::new(), b"{}");
    assert!(matches!(no_event, Err(PayloadError::NoEvent { header: "x-gitea-event" })));
}

#[test]
fn control_characters_never_reach_a_row_or_an_environment() {
    let a = "a".repeat(40);
    let body = format!(
        r#"{{"ref":"refs/heads/main","after":"{a}","compare":"javascript:alert(1)","sender":{{"login":"e\u0000v\ne"}}}}"#
    );
    let push = push(parse_event(Forge::Github, "push", body.as_bytes()).unwrap());
    assert_eq!(push.sender, "e\u{fffd}v\u{fffd}e");
    assert_eq!(push.url, None);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, event in "push|ping|create|\\PC*") {
        for forge in Forge::ALL {
            let _ = parse_event(forge, &event, &bytes);
            let _ = delivery_key(forge, &HeaderMap::new(), &bytes);
        }
    }

    #[test]
    fn no_change_of_a_real_body_makes_it_panic(at in 0usize..6300, byte: u8, cut in 0usize..6400) {
        let mut bytes = body("forgejo-push");
        bytes[at] = byte;
        bytes.truncate(cut);
        if let Ok(Hook::Push(push)) = parse_event(Forge::Forgejo, "push", &bytes) {
            prop_assert!(push.git_ref.as_str().len() <= 1000);
            prop_assert!(!push.sender.contains(char::is_control));
        }
    }
}

#[test]
fn a_pull_request_tells_who_asks_for_it_by_the_forges_number_and_whether_it_was_merged() {
    let opened = pull_request(Forge::Forgejo, "forgejo-pull-request");
    assert_eq!(
        (opened.author, opened.merged),
        (Some(Person { id: Some(1), account: None, name: "wpadmin".to_owned() }), false)
    );
    assert!(pull_request(Forge::Github, "github-pull-request-opened").author.unwrap().id.is_some());
    let mut event: serde_json::Value = serde_json::from_slice(&body("forgejo-pull-request")).unwrap();
    let mut author = |user: serde_json::Value| {
        event["pull_request"]["user"] = user;
        match parse_event(Forge::Forgejo, "pull_request", event.to_string().as_bytes()) {
            Ok(Hook::PullRequest(hook)) => hook.author,
            other => panic!("no pull request: {other:?}"),
        }
    };
    let named = |id, name: &str| Some(Person { id, account: None, name: name.to_owned() });
    assert_eq!(author(serde_json::json!({ "login": "ada" })), named(None, "ada"));
    assert_eq!(author(serde_json::json!({ "id": "x", "login": "ada" })), named(None, "ada"));
    // A deleted person is replaced by a ghost, who stands for many.
    for nobody in [serde_json::json!({ "id": -1, "login": "Ghost" }), serde_json::json!({}), serde_json::Value::Null] {
        assert_eq!(author(nobody), None);
    }
    event["pull_request"]["merged"] = true.into();
    let merged = parse_event(Forge::Forgejo, "pull_request", event.to_string().as_bytes());
    assert!(matches!(merged, Ok(Hook::PullRequest(hook)) if hook.merged));
}

#[test]
fn the_deletion_of_a_ref_is_told_as_such() {
    match parse_event(Forge::Github, "push", &body("github-push")).unwrap() {
        Hook::Deleted { git_ref, from } => {
            assert_eq!(git_ref.as_str(), "refs/tags/simple-tag");
            assert_eq!(from.unwrap().as_str(), "6113728f27ae82c7b1a177c8d03f9e96e0adf246");
        }
        other => panic!("no deletion: {other:?}"),
    }
}

#[test]
fn what_is_told_under_two_ids_has_one_key_and_what_happens_again_has_another() {
    let told = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut delivery: serde_json::Value = serde_json::from_slice(&body("forgejo-push")).unwrap();
        change(&mut delivery);
        push_key(&push(parse_event(Forge::Forgejo, "push", delivery.to_string().as_bytes()).unwrap()))
    };
    let one = told(&|_| ());
    assert_eq!(told(&|delivery| delivery["repository"]["updated_at"] = "later".into()), one);
    // The repository was checked while the forge sent no webhooks for the pushes in between.
    assert_eq!(told(&|delivery| delivery["before"] = "1".repeat(40).into()), one);
    assert_ne!(told(&|delivery| delivery["after"] = "1".repeat(40).into()), one);
    assert_ne!(told(&|delivery| delivery["ref"] = "refs/heads/other".into()), one);
    let request = |name: &str| match parse_event(Forge::Forgejo, "pull_request", &body(name)).unwrap() {
        Hook::PullRequest(request) => pull_request_key(&request, commit(&request).as_str()),
        other => panic!("no pull request: {other:?}"),
    };
    assert_eq!(request("forgejo-pull-request"), request("forgejo-pull-request"));
    assert_ne!(request("forgejo-pull-request"), request("forgejo-pull-request-sync-pull_request"));
}

#[test]
fn a_delivery_says_which_repository_it_is_about_by_the_forges_number_and_by_name() {
    for (forge, event, name, id, full_name) in [
        (Forge::Forgejo, "push", "forgejo-push", "2", "wpadmin/harbour"),
        (Forge::Github, "pull_request", "github-pull-request-opened", "186853002", "Codertocat/Hello-World"),
    ] {
        let told = payload::parse_event(forge, event, &body(name)).unwrap().repository.unwrap();
        assert_eq!((told.id.as_deref(), told.full_name.as_deref()), (Some(id), Some(full_name)));
        assert!(told.is_at(&format!("https://elsewhere.example/{full_name}.git")), "{told:?}");
    }
    let plain = format!(r#"{{"ref":"refs/heads/main","after":"{}"}}"#, "a".repeat(40));
    assert_eq!(payload::parse_event(Forge::Git, "push", plain.as_bytes()).unwrap().repository, None);
}
