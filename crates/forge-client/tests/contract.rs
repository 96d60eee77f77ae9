//! Every call is one that the forge takes, and what the forge of the tests answers is what the real one would, as far
//! as it goes: by the description that GitHub gives of its API, and Gitea of its own, and by a validator that is not
//! ours (`tests/contract`, fetched by `scripts/contract.sh`).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../../../tests/support/forge.rs"]
#[allow(dead_code, unreachable_pub, clippy::expect_used, reason = "others use the rest")]
mod forge;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use forge::{APP_ID, Forge, Kind, TOKEN};
use longshore_core::commit_status::CommitState;
use longshore_forge_client::{
    CheckAnnotation, CheckRun, Connection, ForgeApi, Grade, Http, Kind as ForgeKind, NewHook, NewStatus, app_token,
};
use serde_json::{Value, json};

const COMMIT: &str = "1f0c2d3e4a5b6c7d8e9f00112233445566778899";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/contract")
}

/// Makes every call that a connection can make.
fn call_everything(api: &dyn ForgeApi, forge: &Forge) {
    forge.state().exchanges = Some(Vec::new());
    api.check().unwrap();
    assert_eq!(api.repos().unwrap().len(), 2);
    let repo = api.repo("team/app").unwrap().id;
    let hook = NewHook { url: "https://ci.example/hooks/1", secret: "hook-secret" };
    api.set_hook(&repo, hook).unwrap();
    let made = api.set_hook(&repo, hook).unwrap();
    for state in CommitState::ALL {
        for target_url in ["https://ci.example/builds/1", ""] {
            let status = NewStatus {
                commit: COMMIT.to_owned(),
                context: "longshore/ci".to_owned(),
                state,
                description: "succeeded".to_owned(),
                target_url: target_url.to_owned(),
                ref_name: Some("main".to_owned()),
            };
            api.set_status(&repo, &status).unwrap();
        }
    }
    let comment = api.comment(&repo, 7, None, "<!-- longshore -->\nx").unwrap();
    api.comment(&repo, 7, Some(&comment), "y").unwrap();
    api.find_comment(&repo, 7, forge::ACCOUNT, "y").unwrap();
    api.set_app_hook(hook).unwrap();
    api.may_write(&repo, "ada").unwrap();
    call_checks(api, &repo);
    api.remove_hook(&repo, &made).unwrap();
}

/// Shows a check run in every state, and with more annotations than fit into a call.
fn call_checks(api: &dyn ForgeApi, repo: &str) {
    let mut check = CheckRun {
        id: None,
        may_be_there: true,
        commit: COMMIT.to_owned(),
        name: "longshore/ci (a, b)".to_owned(),
        state: CommitState::Pending,
        title: "queued".to_owned(),
        summary: "**Build 1**".to_owned(),
        details_url: "https://ci.example/builds/1".to_owned(),
        external_id: "build".to_owned(),
        annotations: Vec::new(),
    };
    let of_line = |line: u32, grade| CheckAnnotation {
        grade,
        path: "src/lib.rs".to_owned(),
        line,
        end_line: line + line % 2,
        column: Some(3),
        title: Some("t".repeat(300)),
        message: "broken".to_owned(),
    };
    for state in CommitState::ALL {
        check.state = state;
        check.id = api.show_check_run(repo, &check).unwrap();
    }
    let grades = [Grade::Notice, Grade::Warning, Grade::Failure];
    check.annotations = grades.iter().cycle().zip(1..=70).map(|(grade, line)| of_line(line, *grade)).collect();
    api.show_check_run(repo, &check).unwrap();
    check.id = None;
    api.show_check_run(repo, &check).unwrap();
}

/// Returns what a forge's description of its API says against the calls that were made.
fn problems(forge: &Forge, description: &Path) -> String {
    let exchanges = forge.state().exchanges.take().unwrap();
    assert!(exchanges.len() > 10, "{exchanges:?}");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/contract/check.mjs");
    let mut checking = Command::new("node")
        .arg(script)
        .args([&folder(), description])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node runs");
    let as_json = |one: &forge::Exchange| {
        json!({
            "method": one.method, "path": one.path, "query": one.query, "body": one.body, "status": one.status,
            "answer": one.answer,
        })
    };
    let text = exchanges.iter().map(as_json).collect::<Value>().to_string();
    checking.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let checked = checking.wait_with_output().unwrap();
    assert!(checked.status.success(), "the check itself failed");
    String::from_utf8(checked.stdout).unwrap().trim().to_owned()
}

fn github() -> PathBuf {
    let file = folder().join("node_modules/@octokit/openapi/generated/api.github.com.json");
    assert!(file.is_file(), "{}: scripts/contract.sh fetches it", file.display());
    file
}

#[test]
fn every_call_to_github_is_one_that_its_own_description_has() {
    let forge = Forge::start(Kind::Github);
    let api = Connection::new(ForgeKind::Github, &forge.url(), TOKEN).unwrap().api(&Http::default());
    call_everything(&*api, &forge);
    assert_eq!(problems(&forge, &github()), "");
}

#[test]
fn every_call_of_a_github_app_is_one_that_githubs_own_description_has() {
    let (forge, folder) = (Forge::start(Kind::Github), tempfile::tempdir().unwrap());
    let pem = forge.with_app(folder.path());
    forge.state().app.as_mut().unwrap().checks = true;
    let connection = Connection::new(ForgeKind::Github, &forge.url(), &app_token(APP_ID, &pem).unwrap()).unwrap();
    call_everything(&*connection.api(&Http::default()), &forge);
    assert!(forge.state().check_runs[0].annotations.len() == 70);
    assert_eq!(problems(&forge, &github()), "");
}

#[test]
fn every_call_to_gitea_is_one_that_its_own_description_has() {
    let description = folder().join("gitea.json");
    if !description.is_file() {
        // Without Go, it cannot be fetched.
        return;
    }
    let forge = Forge::start(Kind::Gitea);
    let api = Connection::new(ForgeKind::Gitea, &forge.url(), TOKEN).unwrap().api(&Http::default());
    call_everything(&*api, &forge);
    let said = problems(&forge, &description);
    // Asks for its rights with a body that no hook is made of.
    let wrong: Vec<&str> = said.lines().filter(|line| !line.contains("longshore-asks-for-its-rights")).collect();
    assert_eq!(wrong, Vec::<&str>::new());
}

#[test]
fn what_no_forge_takes_is_found() {
    let forge = Forge::start(Kind::Github);
    let exchange = |method: &str, path: &str, query: &str, body, answer| forge::Exchange {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        body,
        status: 201,
        answer,
    };
    let status = |body| exchange("POST", &format!("/repositories/41/statuses/{COMMIT}"), "", body, json!(null));
    let mut wrong = vec![
        status(json!({ "state": "running" })),
        status(json!({ "context": "x" })),
        exchange("PUT", "/repositories/41/hooks", "", json!({}), json!(null)),
        exchange("GET", "/user/repos", "size=3", json!(null), json!(null)),
    ];
    let answer = json!({ "id": "no number", "invented": 1 });
    wrong.push(exchange("POST", "/repositories/41/hooks", "", json!({}), answer));
    wrong.extend((0..6).map(|_| status(json!({ "state": "success" }))));
    forge.state().exchanges = Some(wrong);
    let said = problems(&forge, &github());
    for part in
        ["/state must be equal", "'state'", "no such call", "no parameter size", "invented", "/id must be integer"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(said.lines().count(), 6, "{said}");
}
