//! Recorded and documented deliveries of each forge, and what they are in one set of words.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use longshore_core::EventName;
use longshore_forge::{
    CommitId, DeliveryContents, Forge, Head, Hook, PullRequestHook, PullRequestState, payload::parse_event,
    pull_request_key,
};
use serde_json::{Value, json};

const A: &str = "95790bf891e76fee5e1747ab589903a6a1f80f22";
const B: &str = "da1560886d4f094c3e6c9ef40349f7d38b5d27d7";

fn body(name: &str) -> Value {
    let path = format!("{}/tests/payloads/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn parsed(forge: Forge, event: &str, body: &Value) -> DeliveryContents {
    parse_event(forge, event, body.to_string().as_bytes()).unwrap()
}

fn only(forge: Forge, event: &str, body: &Value) -> Hook {
    let mut hooks = parsed(forge, event, body).hooks;
    assert_eq!(hooks.len(), 1, "{hooks:?}");
    hooks.remove(0)
}

fn request(forge: Forge, event: &str, body: &Value) -> PullRequestHook {
    match only(forge, event, body) {
        Hook::PullRequest(request) => *request,
        other => panic!("no pull request: {other:?}"),
    }
}

fn id(commit: &str) -> CommitId {
    commit.parse().unwrap()
}

#[test]
fn one_delivery_of_bitbucket_tells_of_several_refs() {
    let told = parsed(Forge::Bitbucket, "repo:push", &body("bitbucket-push"));
    assert!(told.repository.unwrap().is_at("git@bitbucket.org:team/harbour.git"));
    let said: Vec<_> = told
        .hooks
        .iter()
        .map(|hook| match hook {
            Hook::Push(push) => (push.event.as_str(), push.git_ref.as_str(), push.before.clone(), Some(&push.after)),
            Hook::Deleted { git_ref, from } => ("deleted", git_ref.as_str(), from.clone(), None),
            other => panic!("{other:?}"),
        })
        .collect();
    let (a, b) = (id(A), id(B));
    assert_eq!(
        said,
        [
            ("push", "refs/heads/main", Some(a.clone()), Some(&b)),
            ("push", "refs/heads/feature/x", None, Some(&b)),
            ("tag", "refs/tags/v1.0", None, Some(&b)),
            ("deleted", "refs/heads/gone", Some(a), None),
        ]
    );
}

#[test]
fn gitlab_and_gogs_push_like_everybody() {
    for (forge, event, name, kind, git_ref) in [
        (Forge::Gitlab, "Push Hook", "gitlab-push", EventName::Push, "refs/heads/main"),
        (Forge::Gitlab, "Tag Push Hook", "gitlab-tag-push", EventName::Tag, "refs/tags/v1.0.0"),
        (Forge::Gogs, "push", "gogs-push", EventName::Push, "refs/heads/main"),
    ] {
        let told = parsed(forge, event, &body(name));
        let repository = told.repository.unwrap();
        assert!(repository.id.is_some() && repository.is_at("https://any.example/team/harbour"), "{repository:?}");
        match &told.hooks[..] {
            [Hook::Push(push)] => {
                assert_eq!((push.event, push.git_ref.as_str(), push.sender.as_str()), (kind, git_ref, "ada"));
                assert_eq!(push.default_branch.as_deref(), Some("main"));
            }
            other => panic!("{other:?}"),
        }
    }
    let mut deleted = body("gitlab-push");
    (deleted["after"], deleted["checkout_sha"]) = ("0".repeat(40).into(), Value::Null);
    assert!(matches!(only(Forge::Gitlab, "Push Hook", &deleted), Hook::Deleted { from: Some(_), .. }));
}

#[test]
fn a_push_option_that_a_forge_passes_on_says_that_nothing_is_built() {
    let skip = |forge, event, body: &Value| match only(forge, event, body) {
        Hook::Push(push) => push.skip,
        other => panic!("{other:?}"),
    };
    let mut gitlab = body("gitlab-push");
    assert_eq!(skip(Forge::Gitlab, "Push Hook", &gitlab), None);
    gitlab["push_options"] = json!({ "ci": { "skip": true } });
    assert_eq!(skip(Forge::Gitlab, "Push Hook", &gitlab), Some("ci.skip"));
    let plain = json!({ "ref": "refs/heads/main", "after": B, "push_options": ["LONGSHORE_SKIP"] });
    assert_eq!(skip(Forge::Git, "push", &plain), Some("LONGSHORE_SKIP"));
}

#[test]
fn a_merge_request_says_in_the_same_words_what_happened_to_it() {
    let opened = request(Forge::Gitlab, "Merge Request Hook", &body("gitlab-merge-request"));
    assert_eq!((opened.number, opened.action.as_str(), opened.fork), (7, "opened", false));
    assert_eq!((opened.head, opened.served_at.as_str()), (Head::Commit(id(B)), "refs/merge-requests/7/head"));
    assert_eq!(
        opened.state,
        PullRequestState { labels: Some(vec!["API".to_owned()]), draft: Some(true), ..PullRequestState::default() }
    );
    assert_eq!(opened.author.unwrap().key().as_deref(), Some("id 4"));
    let labels = |previous: &[&str], current: &[&str]| {
        let list = |names: &[&str]| names.iter().map(|name| json!({ "title": name })).collect::<Vec<_>>();
        json!({ "labels": { "previous": list(previous), "current": list(current) } })
    };
    let draft = |previous, current| json!({ "draft": { "previous": previous, "current": current } });
    for (action, oldrev, changes, word, merged) in [
        ("update", Some(A), json!({}), "synchronize", false),
        ("update", None, draft(true, false), "ready-for-review", false),
        ("update", None, draft(false, true), "converted-to-draft", false),
        ("update", None, labels(&["a"], &["a", "b"]), "labeled", false),
        ("update", None, labels(&["a", "b"], &["a"]), "unlabeled", false),
        ("update", None, json!({ "title": {} }), "edited", false),
        ("reopen", None, json!({}), "reopened", false),
        ("close", None, json!({}), "closed", false),
        ("merge", None, json!({}), "closed", true),
    ] {
        let mut event = body("gitlab-merge-request");
        event["object_attributes"]["action"] = action.into();
        event["object_attributes"]["oldrev"] = oldrev.map_or(Value::Null, Value::from);
        event["changes"] = changes;
        let told = request(Forge::Gitlab, "Merge Request Hook", &event);
        assert_eq!((told.action.as_str(), told.merged), (word, merged), "{event}");
    }
    let mut fork = body("gitlab-merge-request");
    fork["object_attributes"]["source_project_id"] = 15.into();
    assert!(request(Forge::Gitlab, "Merge Request Hook", &fork).fork);
    fork["object_attributes"]["action"] = "approved".into();
    assert!(matches!(only(Forge::Gitlab, "Merge Request Hook", &fork), Hook::Ignored { .. }));
}

#[test]
fn bitbucket_says_only_that_a_pull_request_changed_and_what_changed_is_seen_from_what_was_told_before() {
    let request_of = |event: &str| request(Forge::Bitbucket, event, &body("bitbucket-pull-request"));
    let created = request_of("pullrequest:created");
    assert_eq!((created.number, created.action.as_str(), created.fork), (1, "opened", false));
    assert_eq!((created.head, created.served_at.as_str()), (Head::Short(B[..12].to_owned()), "refs/heads/quay"));
    assert_eq!(created.author.unwrap().key().as_deref(), Some("account {6cb0e486-3c5a-41bb-b009-2142d2cbe5d7}"));
    for (event, merged) in [("pullrequest:fulfilled", true), ("pullrequest:rejected", false)] {
        assert_eq!((request_of(event).action.as_str(), request_of(event).merged), ("closed", merged));
    }
    let state = |draft| PullRequestState {
        draft: Some(draft),
        target: Some(created.target.as_str().to_owned()),
        ..PullRequestState::default()
    };
    for (before, last_head, word) in [
        (None, None, "synchronize"),
        (Some(state(true)), Some(A), "synchronize"),
        (Some(state(false)), Some(B), "converted-to-draft"),
        (Some(state(true)), Some(B), "edited"),
    ] {
        let mut updated = request_of("pullrequest:updated");
        updated.tell_apart(before.as_ref(), last_head, B);
        assert_eq!(updated.action, word);
    }
    let mut fork = body("bitbucket-pull-request");
    fork["pullrequest"]["source"]["repository"]["uuid"] = "{other}".into();
    assert!(request(Forge::Bitbucket, "pullrequest:created", &fork).fork);
    fork["pullrequest"]["source"]["repository"] = Value::Null;
    assert!(request(Forge::Bitbucket, "pullrequest:created", &fork).fork);
    fork["pullrequest"]["source"]["commit"]["hash"] = "--help".into();
    assert!(parse_event(Forge::Bitbucket, "pullrequest:created", fork.to_string().as_bytes()).is_err());
}

#[test]
fn a_pull_request_into_another_branch_is_like_one_with_another_commit_at_every_forge() {
    let edited = |forge, file| {
        let mut event = body(file);
        event["action"] = "edited".into();
        request(forge, "pull_request", &event)
    };
    let mut of_gitlab = body("gitlab-merge-request");
    of_gitlab["object_attributes"]["action"] = "update".into();
    of_gitlab["object_attributes"]["oldrev"] = Value::Null;
    for hook in [
        edited(Forge::Github, "github-pull-request-ready"),
        edited(Forge::Gitea, "forgejo-pull-request"),
        edited(Forge::Forgejo, "forgejo-pull-request"),
        request(Forge::Gitlab, "Merge Request Hook", &of_gitlab),
        request(Forge::Bitbucket, "pullrequest:updated", &body("bitbucket-pull-request")),
    ] {
        let then = |target: Option<&str>| PullRequestState {
            draft: hook.state.draft,
            target: target.map(str::to_owned),
            ..PullRequestState::default()
        };
        let word = |before: Option<PullRequestState>, action: &str| {
            let mut hook = PullRequestHook { action: action.to_owned(), ..hook.clone() };
            hook.tell_apart(before.as_ref(), Some(B), B);
            hook.action
        };
        let same = then(Some(hook.target.as_str()));
        assert_eq!(word(Some(same.clone()), &hook.action), "edited", "{hook:?}");
        for before in [then(Some("refs/heads/lax")), then(None)] {
            assert_eq!(word(Some(before), &hook.action), "synchronize", "{hook:?}");
        }
        // Where the delivery that told of it was lost, the next one tells.
        assert_eq!(word(Some(then(Some("refs/heads/lax"))), "labeled"), "synchronize");
        assert_eq!((word(Some(same), "labeled"), word(None, "labeled")), ("labeled".to_owned(), "labeled".to_owned()));
        assert_eq!(word(Some(then(Some("refs/heads/lax"))), "closed"), "closed");
    }
}

#[test]
fn a_draft_becomes_ready_by_its_title_where_forges_have_no_other_sign() {
    for forge in [Forge::Gitea, Forge::Forgejo] {
        for (from, title, word) in [
            ("WIP: widen the quay", "widen the quay", "ready-for-review"),
            ("widen the quay", "[wip] widen the quay", "converted-to-draft"),
            ("widen the quay", "widen it", "edited"),
            ("WIP: a", "WIP: b", "edited"),
        ] {
            let mut event = body("forgejo-pull-request");
            (event["action"], event["pull_request"]["title"]) = ("edited".into(), title.into());
            event["pull_request"].as_object_mut().unwrap().remove("draft");
            event["changes"] = json!({ "title": { "from": from } });
            assert_eq!(request(forge, "pull_request", &event).action, word, "{from} -> {title}");
        }
    }
    let ready = request(Forge::Forgejo, "pull_request", &body("forgejo-pull-request-ready"));
    assert_eq!((ready.action.as_str(), ready.state.draft), ("ready-for-review", Some(false)));
    let ready = request(Forge::Github, "pull_request", &body("github-pull-request-ready"));
    assert_eq!((ready.action.as_str(), ready.state.draft), ("ready-for-review", Some(false)));
}

#[test]
fn a_label_that_is_taken_away_is_told_from_one_that_is_added() {
    let now = |names: &[&str]| {
        let mut event = body("forgejo-pull-request");
        event["action"] = "label_updated".into();
        event["pull_request"]["labels"] = names.iter().map(|name| json!({ "name": name })).collect();
        request(Forge::Forgejo, "pull_request", &event)
    };
    let cleared = request(Forge::Forgejo, "pull_request_label", &body("forgejo-pull-request-labels-cleared"));
    assert_eq!((cleared.action.as_str(), cleared.state.labels), ("unlabeled", Some(Vec::new())));
    let before = |names: &[&str]| PullRequestState {
        labels: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        ..PullRequestState::default()
    };
    let head = id(B);
    for (then, names, word) in [
        (Some(before(&[])), &["a"][..], "labeled"),
        (Some(before(&["a", "b"])), &["a"], "unlabeled"),
        (Some(before(&["a"])), &["b"], "labeled"),
        (None, &["a"], "labeled"),
        (None, &[], "unlabeled"),
    ] {
        let mut changed = now(names);
        changed.tell_apart(then.as_ref(), None, head.as_str());
        assert_eq!(changed.action, word, "{then:?} {names:?}");
    }
    // The same label is added once more: another time.
    let mut again = now(&["a"]);
    again.tell_apart(None, None, head.as_str());
    let first = pull_request_key(&again, head.as_str());
    assert_eq!(pull_request_key(&again, head.as_str()), first);
    again.changed_at = "later".to_owned();
    assert_ne!(pull_request_key(&again, head.as_str()), first);
    let labeled = request(Forge::Github, "pull_request", &body("github-pull-request-labeled"));
    assert_eq!(labeled.action, "labeled");
    assert!(labeled.state.labels.is_some() && !labeled.changed_at.is_empty());
}

#[test]
fn a_branch_that_is_renamed_in_the_page_is_a_push_of_its_new_name() {
    let created = only(Forge::Forgejo, "create", &body("forgejo-push-new-branch-create"));
    let pushed = only(Forge::Forgejo, "push", &body("forgejo-push-new-branch-push"));
    let (Hook::Push(created), Hook::Push(pushed)) = (created, pushed) else { panic!("pushes") };
    // Where both arrive, they are one.
    assert_eq!(longshore_forge::push_key(&created), longshore_forge::push_key(&pushed));
}

#[test]
fn releases_and_merge_queues_are_events_of_their_own() {
    for (forge, event, name, action, tag) in [
        (Forge::Github, "release", "github-release", "published", "0.0.1"),
        (Forge::Forgejo, "release", "forgejo-release", "published", "v1.0"),
        (Forge::Gogs, "release", "gogs-release", "published", "v1.0"),
        (Forge::Gitlab, "Release Hook", "gitlab-release", "published", "v1.0.0"),
    ] {
        match only(forge, event, &body(name)) {
            Hook::Release(release) => {
                let found = (release.action.as_str(), release.tag.as_str().to_owned());
                assert_eq!(found, (action, format!("refs/tags/{tag}")), "{forge}");
            }
            other => panic!("{forge}: {other:?}"),
        }
    }
    let mut draft = body("github-release");
    draft["release"]["draft"] = true.into();
    assert!(matches!(only(Forge::Github, "release", &draft), Hook::Ignored { .. }));
    match only(Forge::Github, "merge_group", &body("github-merge-group")) {
        Hook::Push(group) => {
            assert_eq!(group.event, EventName::MergeGroup);
            assert!(group.git_ref.branch().unwrap().starts_with("gh-readonly-queue/main/pr-104-"));
            assert!(group.before.is_some());
        }
        other => panic!("{other:?}"),
    }
    let mut destroyed = body("github-merge-group");
    destroyed["action"] = "destroyed".into();
    assert!(matches!(only(Forge::Github, "merge_group", &destroyed), Hook::Ignored { .. }));
}

#[test]
fn a_pull_request_of_gogs_names_no_commit_and_that_of_another_repository_is_a_forks() {
    let opened = request(Forge::Gogs, "pull_request", &body("gogs-pull-request"));
    assert_eq!((opened.number, opened.head, opened.fork), (5, Head::Newest, false));
    assert_eq!((opened.source.as_str(), opened.target.as_str()), ("refs/heads/quay", "refs/heads/main"));
    let mut fork = body("gogs-pull-request");
    fork["pull_request"]["head_repo"]["id"] = 4.into();
    assert!(request(Forge::Gogs, "pull_request", &fork).fork);
}

#[test]
fn a_pull_request_names_the_fork_that_it_comes_from_and_none_of_the_repositorys_own_does() {
    let of = |forge: Forge, event: &str, file: &str, sides: [&str; 2], id: &str, name: &str| {
        let mut told = body(file);
        let from = request(forge, event, &told).from;
        assert_eq!(from, None, "{file} is of the repository itself");
        for (side, number, full_name) in [(sides[0], 4711, "eve/app"), (sides[1], 3, "team/app")] {
            let side = told.pointer_mut(side).unwrap();
            side[id] = if id == "uuid" { format!("{{{number}}}").into() } else { number.into() };
            side[name] = full_name.into();
        }
        let request = request(forge, event, &told);
        let from = request.from.map(|fork| (fork.name, fork.of));
        assert_eq!((request.fork, from), (true, Some(("eve/app".to_owned(), "team/app".to_owned()))), "{file}");
    };
    let sides = ["/pull_request/head/repo", "/pull_request/base/repo"];
    of(Forge::Github, "pull_request", "github-pull-request-opened", sides, "id", "full_name");
    of(Forge::Forgejo, "pull_request", "forgejo-pull-request", sides, "id", "full_name");
    let sides = ["/pull_request/head_repo", "/pull_request/base_repo"];
    of(Forge::Gogs, "pull_request", "gogs-pull-request", sides, "id", "full_name");
    let sides = ["/pullrequest/source/repository", "/pullrequest/destination/repository"];
    of(Forge::Bitbucket, "pullrequest:updated", "bitbucket-pull-request", sides, "uuid", "full_name");
    let mut told = body("gitlab-merge-request");
    let attributes = &mut told["object_attributes"];
    attributes["source_project_id"] = 4711.into();
    attributes["source"] = serde_json::json!({ "path_with_namespace": "eve/app" });
    attributes["target"] = serde_json::json!({ "path_with_namespace": "group/team/app" });
    let from = request(Forge::Gitlab, "Merge Request Hook", &told).from.map(|fork| (fork.name, fork.of));
    assert_eq!(from, Some(("eve/app".to_owned(), "group/team/app".to_owned())));
}
