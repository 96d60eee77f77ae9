//! The files of `pipelines-examples/`: their plans, and what is reported for them. After a change, `INSTA_UPDATE=always
//! cargo test -p longshore-pipeline` rewrites the snapshots; read each one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod limits;
mod properties;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use longshore_core::{BuildPlan, DueSchedule, Event, EventName, Severity, Timestamp, event::PullRequest};
use longshore_pipeline as pipeline;
use longshore_pipeline::{Planned, RepoFacts, SourceFile, TemplateFiles, report};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines-examples")
}

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml"))
        .collect();
    files.sort();
    files
}

fn source(path: &Path) -> SourceFile {
    let name = path.file_name().unwrap().to_string_lossy();
    SourceFile::from_bytes(format!(".longshore/{name}"), std::fs::read(path).unwrap())
}

fn event(name: EventName, git_ref: &str) -> Event {
    Event {
        before: Some("0a1b2c3d4e5f60718293a4b5c6d7e8f901234567".to_owned()),
        message: "Teach the parser about tabs\n\nAnd about spaces.\n".to_owned(),
        author: "Ada Example".to_owned(),
        author_email: "ada@example.org".to_owned(),
        sender: "ada".to_owned(),
        url: Some("https://forge.example/team/app/compare/0a1b2c...1f0c2d".to_owned()),
        default_branch: Some("main".to_owned()),
        ..Event::new(name, git_ref, "1f0c2d3e4a5b6c7d8e9f00112233445566778899")
    }
}

fn pull_request(action: &str) -> Event {
    Event {
        pull_request: Some(PullRequest {
            title: "Teach the parser".to_owned(),
            action: action.to_owned(),
            ..PullRequest::opened(7, "tabs", "main")
        }),
        ..event(EventName::PullRequest, "refs/pull/7/head")
    }
}

fn push() -> Event {
    event(EventName::Push, "refs/heads/main")
}

fn facts() -> RepoFacts {
    RepoFacts {
        name: "team/app".to_owned(),
        clone_url: "https://forge.example/team/app.git".to_owned(),
        forge: "forgejo".to_owned(),
        default_branch: Some("main".to_owned()),
        changed_files: None,
    }
}

/// Checks files with the templates of `pipelines-examples/`, which is the root of their repository.
fn check(files: &[SourceFile]) -> pipeline::Checked {
    let found = pipeline::wanted_templates(files).into_iter().map(|path| {
        let file = std::fs::read(examples().join(&path)).map(|bytes| SourceFile::from_bytes(path.clone(), bytes));
        (path, file.map_err(|_| "is not in the repository at this commit".to_owned()))
    });
    pipeline::check(files, &found.collect::<TemplateFiles>())
}

fn plan(files: &[SourceFile], event: &Event) -> Planned {
    check(files).plan(event, &facts())
}

fn built(files: &[SourceFile], event: &Event) -> BuildPlan {
    match plan(files, event) {
        Planned::Build(plan) => plan,
        Planned::Nothing(reasons) => panic!("nothing matches: {reasons:?}"),
        Planned::Broken(diagnostics) => panic!("{}", report::human(&diagnostics)),
        Planned::Refused(reason) => panic!("{reason}"),
    }
}

fn text(text: &str) -> Vec<SourceFile> {
    vec![SourceFile::new(".longshore.yml", text)]
}

/// The plan without the variables that are the same for every example; one example shows them.
fn without_shared_variables(mut plan: BuildPlan) -> BuildPlan {
    for job in &mut plan.jobs {
        job.env.retain(|name, _| !name.starts_with("CI"));
    }
    plan
}

fn with_settings(folder: &str, check: impl FnOnce()) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(examples().join("snapshots").join(folder));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(check);
}

#[test]
fn every_valid_example_has_no_finding_and_its_frozen_plan() {
    let files = yaml_files(&examples());
    assert!(files.len() >= 6, "only {} examples", files.len());
    for path in files {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let files = [source(&path)];
        assert_eq!(report::human(&check(&files).diagnostics), "", "{name}");
        let event = match name.as_str() {
            "release-on-tag" => event(EventName::Tag, "refs/tags/v1.2.0"),
            "by-hand" | "deploy" => event(EventName::Manual, "refs/heads/main"),
            "nightly" => {
                let (cron, timezone) = ("30 3 * * 1-5".to_owned(), "Europe/Madrid".to_owned());
                let schedule = Some(DueSchedule { cron, timezone, due_at: Timestamp::from_millis(0) });
                Event { schedule, ..event(EventName::Schedule, "refs/heads/main") }
            }
            "pull-requests" => pull_request("synchronize"),
            _ => push(),
        };
        let mut plan = built(&files, &event);
        if name == "release-on-tag" {
            // Everything except what changes with every release.
            for job in &mut plan.jobs {
                assert_eq!(job.env.remove("CI_SYSTEM_VERSION"), Some(env!("CARGO_PKG_VERSION").into()));
            }
        } else {
            plan = without_shared_variables(plan);
        }
        with_settings("plans", || insta::assert_json_snapshot!(name, plan));
    }
}

#[test]
fn every_invalid_example_has_its_diagnostics() {
    let files = yaml_files(&examples().join("invalid"));
    assert!(files.len() >= 35, "only {} examples", files.len());
    for path in files {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let checked = check(&[source(&path)]);
        assert!(!checked.diagnostics.is_empty(), "{name} has no finding");
        assert_eq!(checked.has_errors(), checked.pipelines.is_empty(), "{name}");
        with_settings("diagnostics", || insta::assert_snapshot!(name, report::human(&checked.diagnostics)));
    }
}

/// Whoever copies a pipeline out of a document has one that works.
#[test]
fn every_whole_pipeline_in_a_document_lints() {
    let mut found = 0;
    for document in ["README.md", "docs/pipeline.md"] {
        let document = std::fs::read_to_string(examples().join("..").join(document)).unwrap();
        let blocks = document.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
        // What uses a template is shown together with it, as two files.
        for block in blocks.filter(|block| block.contains("jobs:\n") && !block.contains("use: ./")) {
            assert_eq!(report::human(&check(&text(block)).diagnostics), "", "{block}");
            found += 1;
        }
    }
    assert!(found >= 6, "only {found} pipelines");
}

/// Without an example, nobody would have seen where the finding points.
#[test]
fn every_code_that_a_single_file_can_have_is_shown_by_an_example_or_a_test_here() {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for path in yaml_files(&examples().join("invalid")) {
        seen.extend(check(&[source(&path)]).diagnostics.into_iter().map(|found| found.code));
    }
    // LS013 and LS058 are not reported any more, because the whole language is read, and runs.
    let elsewhere = [
        "LS001", "LS002", "LS013", "LS018", "LS036", "LS039", "LS040", "LS041", "LS046", "LS057", "LS058", "LS061",
        "LS062", "LS063", "LS064", "LS070",
    ];
    for code in pipeline::Code::ALL {
        let code = code.as_str();
        assert!(seen.contains(code) != elsewhere.contains(&code), "{code}");
    }
}

fn codes(files: &[SourceFile]) -> Vec<String> {
    check(files).diagnostics.into_iter().map(|found| found.code).collect()
}

#[test]
fn a_file_that_is_not_utf8_says_where() {
    let file = SourceFile::from_bytes("f.yml", b"name: ok\nenv: \xe9\n".to_vec());
    let found = check(&[file]).diagnostics;
    assert_eq!((found[0].code.as_str(), found[0].span.line, found[0].span.column), ("LS002", 2, 6));
}

#[test]
fn two_pipelines_of_one_name_are_refused() {
    let job = "jobs: { a: { image: x, steps: [{ run: a }] } }\n";
    let files =
        [SourceFile::new(".longshore/ci.yml", job), SourceFile::new(".longshore/b.yml", format!("name: ci\n{job}"))];
    let found = check(&files).diagnostics;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].code.as_str(), found[0].file.as_str()), ("LS018", ".longshore/b.yml"));
    assert_eq!((found[0].span.line, found[0].span.column, found[0].span.length), (1, 7, 2));
}

#[test]
fn an_error_in_any_file_stops_the_build_and_a_warning_does_not() {
    let good = SourceFile::new("a.yml", "jobs: { a: { image: x, steps: [{ run: a }] } }\n");
    let bad = SourceFile::new("b.yml", "jobs: {}\n");
    let warned = SourceFile::new(
        "c.yml",
        "jobs: { a: { image: x, steps: [{ run: a }] }, b: { image: x, needs: [a, a], steps: [{ run: a }] } }\n",
    );
    assert!(matches!(plan(&[good.clone(), bad], &push()), Planned::Broken(_)));
    let checked = check(&[good, warned]);
    assert!(checked.diagnostics.iter().all(|found| found.severity == Severity::Warning));
    assert!(matches!(checked.plan(&push(), &facts()), Planned::Build(_)));
}

fn reason(on: &str, event: &Event) -> Option<String> {
    let file = format!("on: {on}\njobs: {{ a: {{ image: x, steps: [{{ run: a }}] }} }}\n");
    match plan(&text(&file), event) {
        Planned::Build(_) => None,
        Planned::Nothing(reasons) => Some(reasons[0].reason.clone()),
        Planned::Refused(reason) => panic!("{reason}"),
        Planned::Broken(found) => panic!("{}", report::human(&found)),
    }
}

#[test]
fn on_decides_what_starts_a_pipeline_and_says_why_not() {
    let branch = |name: &str| event(EventName::Push, &format!("refs/heads/{name}"));
    let tag = event(EventName::Tag, "refs/tags/v1");
    let manual = event(EventName::Manual, "refs/heads/main");
    assert_eq!(reason("push", &branch("x")), None);
    assert_eq!(reason("push", &tag), None);
    assert_eq!(reason("[push, manual]", &manual), None);
    assert_eq!(reason("{ manual: }", &manual), None);
    assert_eq!(reason("{ push: { branches: 'release/**' } }", &branch("release/1/x")), None);
    assert_eq!(reason("{ push: { branches: [main], tags: ['v*'] } }", &tag), None);
    for (on, event, expected) in [
        ("push", &manual, "no `manual`"),
        ("{ manual: {} }", &branch("main"), "no `push`"),
        ("{ push: { branches: [main] } }", &branch("x"), "the branch `x` does not match its patterns: main"),
        ("{ push: { branches: [main] } }", &tag, "and this is not a branch"),
        ("{ push: { tags: ['v*'] } }", &branch("v1"), "and this is not a tag"),
        ("{ push: { tags: ['x*'] } }", &tag, "the tag `v1` does not match"),
        ("{ push: { branches: ['**', '!wip/**'] } }", &branch("wip/a"), "the branch `wip/a` does not match"),
    ] {
        let reason = reason(on, event).unwrap_or_default();
        assert!(reason.contains(expected), "{on}: {reason}");
    }
    // Without `on`: pushes, pull requests and manual starts.
    let file = text("jobs: { a: { image: x, steps: [{ run: a }] } }\n");
    assert!(matches!(plan(&file, &branch("any")), Planned::Build(_)));
    assert!(matches!(plan(&file, &manual), Planned::Build(_)));
    assert!(matches!(plan(&file, &pull_request("opened")), Planned::Build(_)));
    assert!(matches!(plan(&file, &pull_request("closed")), Planned::Nothing(_)));
    assert!(matches!(plan(&file, &event(EventName::Schedule, "refs/heads/main")), Planned::Nothing(_)));
    assert!(matches!(plan(&[], &manual), Planned::Nothing(reasons) if reasons.is_empty()));
}

#[test]
fn outsiders_texts_reach_only_variables() {
    let mut event = push();
    event.message = "${{ matrix.x }} $(reboot) \0 ".to_owned() + &"é".repeat(100_000);
    event.git_ref = "refs/heads/--upload-pack=x".to_owned();
    let plan = built(&text("jobs: { a: { image: x, steps: [{ run: echo hi }] } }\n"), &event);
    let job = &plan.jobs[0];
    assert_eq!(job.steps[0].run, Some("echo hi".into()));
    assert_eq!(job.env["CI_COMMIT_BRANCH"], "--upload-pack=x".into());
    assert!(job.env["CI_COMMIT_MESSAGE"].as_known().unwrap().starts_with("${{ matrix.x }} $(reboot)  é"));
    assert!(job.env["CI_COMMIT_MESSAGE"].len() <= 16 * 1024);
}

#[test]
fn yaml_1_2_keeps_words_and_numbers_as_they_are_written() {
    let plan = built(
        &text(
            "env: { A: no, B: on, C: 1.10, D: 0x1F, E: true, F: ~, G: '', H: 1e3, I: 007 }\njobs: { on: { image: x, steps: [{ run: a }] } }\n",
        ),
        &push(),
    );
    let env = &plan.jobs[0].env;
    let values: Vec<&str> = "ABCDEFGHI".chars().map(|name| env[&name.to_string()].as_known().unwrap()).collect();
    assert_eq!(values, ["no", "on", "1.10", "0x1F", "true", "", "", "1e3", "007"]);
    assert_eq!(plan.jobs[0].name, "on");
}

#[test]
fn formats_for_programs_are_what_they_promise() {
    let found = check(&text("jobs: { a: { imgae: x, steps: [{ run: a }] } }\n")).diagnostics;
    let json: serde_json::Value = serde_json::from_str(&report::json(&found)).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 1);
    assert_eq!(
        json[0],
        serde_json::json!({
            "file": ".longshore.yml", "line": 1, "column": 14, "code": "LS012", "severity": "error",
            "message": "unknown key `imgae` in a job", "help": "did you mean `image`?",
        })
    );
    assert_eq!(report::json(&[]).trim(), "[]");
    let sarif: serde_json::Value = serde_json::from_str(&report::sarif(&found)).unwrap();
    let run = &sarif["runs"][0];
    let region = &run["results"][0]["locations"][0]["physicalLocation"]["region"];
    assert_eq!(
        (region["startLine"].as_u64(), region["startColumn"].as_u64(), region["endColumn"].as_u64()),
        (Some(1), Some(14), Some(19))
    );
    let index = run["results"][0]["ruleIndex"].as_u64().unwrap() as usize;
    assert_eq!(run["tool"]["driver"]["rules"][index]["id"], "LS012");
}
