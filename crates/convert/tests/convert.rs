//! `longshore convert`: what pipelines of other systems become, that the result always lints, and that it does the same
//! work. After a change, `INSTA_UPDATE=always cargo test -p longshore-convert --test convert` rewrites the snapshots;
//! read each one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

use longshore_convert as convert;
use longshore_convert::{ConvertError, Converted, Language};
use longshore_core::{BuildPlan, Event, EventName};
use longshore_pipeline as pipeline;
use longshore_pipeline::{Planned, RepoFacts, SourceFile, TemplateFiles, report};
use proptest::prelude::*;

const LANGUAGES: [(&str, Language); 4] = [
    ("woodpecker", Language::Woodpecker),
    ("drone", Language::Drone),
    ("gitlab", Language::GitLab),
    ("github", Language::GitHub),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/convert")
}

fn sources(language: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder().join(language)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn source(path: &Path) -> SourceFile {
    SourceFile::from_bytes(path.file_name().unwrap().to_string_lossy(), std::fs::read(path).unwrap())
}

fn converted(language: Language, text: &str) -> Converted {
    convert::convert(language, &SourceFile::new("source.yml", text), ".longshore.yml").unwrap()
}

fn findings(text: &str) -> String {
    let files = [SourceFile::new(".longshore.yml", text)];
    let checked = pipeline::check(&files, &TemplateFiles::new());
    if checked.has_errors() { report::human(&checked.diagnostics) } else { String::new() }
}

fn event(name: EventName, git_ref: &str) -> Event {
    Event {
        message: "Change it".to_owned(),
        author: "Ada".to_owned(),
        author_email: "ada@example.org".to_owned(),
        sender: "ada".to_owned(),
        default_branch: Some("main".to_owned()),
        ..Event::new(name, git_ref, "1f0c2d3e4a5b6c7d8e9f00112233445566778899")
    }
}

fn plan(text: &str, event: &Event) -> BuildPlan {
    let checked = pipeline::check(&[SourceFile::new(".longshore.yml", text)], &TemplateFiles::new());
    match checked.plan(event, &RepoFacts { name: "team/app".to_owned(), ..RepoFacts::default() }) {
        Planned::Build(plan) => plan,
        other => panic!("{other:?}\n{text}"),
    }
}

#[test]
fn every_example_becomes_what_its_snapshot_shows_and_lints() {
    for (name, language) in LANGUAGES {
        let files = sources(name);
        assert!(files.len() >= 2, "only {} files of {name}", files.len());
        for path in files {
            let converted = convert::convert(language, &source(&path), ".longshore.yml").unwrap();
            assert_eq!(findings(&converted.text), "", "{}", path.display());
            let mut settings = insta::Settings::clone_current();
            settings.set_snapshot_path(folder().join("snapshots"));
            settings.set_prepend_module_to_snapshot(false);
            settings.set_omit_expression(true);
            let name = format!("{name}-{}", path.file_stem().unwrap().to_string_lossy());
            settings.bind(|| insta::assert_snapshot!(name, converted.text));
        }
    }
}

/// Every key at any depth of a source must appear in the result: as a key, as a value, or in a comment.
#[test]
fn what_is_left_is_named_with_its_line() {
    for (name, language) in LANGUAGES {
        for path in sources(name) {
            let file = source(&path);
            let converted = convert::convert(language, &file, ".longshore.yml").unwrap();
            for note in &converted.left_out {
                let line = file.text.lines().nth(note.line as usize - 1).unwrap_or_default();
                assert!(!line.trim().is_empty(), "{}: {note:?} points at nothing", path.display());
                let comment = format!("# not carried over: line {}, `", note.line);
                assert!(converted.text.contains(&comment), "{}: {note:?} is not in the result", path.display());
            }
        }
    }
}

#[test]
fn a_files_system_is_told_by_its_name_or_its_keys() {
    let guess = |path: &str, text: &str| convert::guess(&SourceFile::new(path, text));
    assert_eq!(guess("a/.woodpecker.yml", ""), Some(Language::Woodpecker));
    assert_eq!(guess("a/.woodpecker/test.yaml", ""), Some(Language::Woodpecker));
    assert_eq!(guess(".drone.yml", ""), Some(Language::Drone));
    assert_eq!(guess(".gitlab-ci.yml", ""), Some(Language::GitLab));
    assert_eq!(guess("x/.github/workflows/ci.yml", ""), Some(Language::GitHub));
    assert_eq!(guess("-", "kind: pipeline\nsteps: []\n"), Some(Language::Drone));
    assert_eq!(guess("-", "on: push\njobs: {}\n"), Some(Language::GitHub));
    assert_eq!(guess("-", "steps: []\n"), Some(Language::Woodpecker));
    assert_eq!(guess("-", "test: { script: [make] }\n"), Some(Language::GitLab));
    assert_eq!(guess("-", "a: b\n"), None);
    assert_eq!(guess("-", "["), None);
}

#[test]
fn what_cannot_be_read_says_where() {
    let error = convert::convert(Language::GitLab, &SourceFile::new("f.yml", "a: [\n"), ".longshore.yml").unwrap_err();
    let ConvertError::Unreadable(diagnostics) = error else { panic!("{error}") };
    assert_eq!((diagnostics[0].code.as_str(), diagnostics[0].span.line), ("LS004", 1));
    for (_, language) in LANGUAGES {
        for text in ["", "# nothing\n", "a", "- a\n", "a: 1\n", "jobs: 1\nsteps: 1\n"] {
            let file = SourceFile::new("f.yml", text);
            match convert::convert(language, &file, ".longshore.yml") {
                Ok(converted) => assert_eq!(findings(&converted.text), "", "{language:?} {text:?}"),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    }
}

/// The work of each step of a plan, without the variables that every step has.
fn work(plan: &BuildPlan) -> Vec<(String, String, Vec<String>)> {
    plan.jobs
        .iter()
        .map(|job| {
            let image = job.image.as_known().unwrap_or("?").to_owned();
            let steps = job.steps.iter().map(|step| {
                let run = step.run.as_ref().map(|run| run.shown()).unwrap_or_default();
                let beside = step.image.as_ref().map(|image| format!("[{}] ", image.shown())).unwrap_or_default();
                let env: Vec<String> = step
                    .env
                    .iter()
                    .filter(|(name, _)| !name.starts_with("CI"))
                    .map(|(name, value)| format!("{name}={} ", value.shown()))
                    .collect();
                format!("{beside}{}{}", env.concat(), run.trim())
            });
            (job.name.clone(), image, steps.collect())
        })
        .collect()
}

#[test]
fn a_workflow_of_woodpecker_runs_the_same_commands_in_the_same_order_with_the_same_variables() {
    let text = "steps:\n- { name: a, image: alpine:3, commands: [one, two], environment: { A: '1' } }\n\
                - { name: c, image: node:24, commands: [four], depends_on: [b] }\n\
                - { name: b, image: alpine:3, commands: [three], depends_on: [a] }\n";
    let plan = plan(&converted(Language::Woodpecker, text).text, &event(EventName::Push, "refs/heads/main"));
    let steps = ["A=1 one\ntwo", "three", "[node:24] four"].map(str::to_owned).to_vec();
    assert_eq!(work(&plan), [("build".to_owned(), "alpine:3".to_owned(), steps)]);
}

#[test]
fn pipelines_of_drone_are_jobs_that_wait_for_each_other() {
    let text = "kind: pipeline\nname: a\nsteps: [{ name: x, image: alpine:3, commands: [one] }]\n---\n\
                kind: pipeline\nname: b\ndepends_on: [a]\nsteps: [{ name: y, image: alpine:3, commands: [two] }]\n";
    let plan = plan(&converted(Language::Drone, text).text, &event(EventName::Push, "refs/heads/main"));
    assert_eq!(plan.jobs.iter().map(|job| job.needs.len()).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(plan.jobs[1].needs[0].job, "a");
}

#[test]
fn jobs_of_gitlab_wait_for_the_stages_before_theirs_and_run_one_script() {
    let text = "stages: [one, two]\nvariables: { A: x }\ndefault: { image: alpine:3, before_script: [first] }\n\
                c: { stage: two, script: [third, fourth] }\na: { stage: one, script: [second], variables: { B: $A-y } }\n\
                b: { stage: one, script: second, only: [tags] }\n";
    let plan = plan(&converted(Language::GitLab, text).text, &event(EventName::Push, "refs/heads/main"));
    let job = |name: &str| plan.jobs.iter().find(|job| job.name == name).unwrap();
    assert_eq!(work(&plan)[2].2, ["first\nthird\nfourth"]);
    assert_eq!(work(&plan)[0].2, ["first\nsecond"]);
    assert_eq!(job("a").env["A"].shown(), "x");
    assert_eq!(job("a").env["B"].shown(), "x-y");
    assert_eq!(job("c").needs.iter().map(|need| need.job.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    // `b` does not run for a branch. In the source's language, a job that needs it then does not wait.
    assert_eq!(job("b").condition.as_ref().unwrap().source(), "event.name == 'tag'");
    assert_eq!(job("c").condition.as_ref().unwrap().source(), "!failure() && !cancelled()");
}

#[test]
fn defaults_of_gitlab_that_mean_nothing_here_are_left_with_their_lines() {
    let text = "default:\n  image: alpine:3\n  interruptible: true\n  tags: [docker]\n  hooks: { pre_get_sources_script: [a] }\n\
                test: { script: [make], tags: [own] }\n";
    let gitlab = converted(Language::GitLab, text);
    let left: Vec<_> = gitlab.left_out.iter().map(|note| (note.line, note.what.as_str())).collect();
    assert_eq!(left, [(3, "interruptible"), (4, "tags"), (5, "hooks"), (6, "tags")]);
    for (line, what) in left {
        assert!(gitlab.text.contains(&format!("# not carried over: line {line}, `{what}`")), "{}", gitlab.text);
    }
}

#[test]
fn a_workflow_of_github_runs_the_same_scripts_in_the_same_order_with_the_same_variables() {
    let text = "on: push\nenv: { A: '1' }\njobs:\n  a:\n    runs-on: ubuntu-latest\n    env: { B: '${{ github.sha }}' }\n    steps:\n    \
                - uses: actions/checkout@v4\n    - run: one\n      env: { C: x }\n    - run: two ${{ github.ref_name }}\n  \
                b:\n    needs: a\n    container: node:24\n    steps: [{ run: three }]\n";
    let plan = plan(&converted(Language::GitHub, text).text, &event(EventName::Push, "refs/heads/main"));
    let steps = ["C=x one", "GITHUB_REF_NAME=main two ${GITHUB_REF_NAME}"].map(str::to_owned).to_vec();
    assert_eq!(work(&plan)[0], ("a".to_owned(), "debian:bookworm-slim".to_owned(), steps));
    assert_eq!(work(&plan)[1], ("b".to_owned(), "node:24".to_owned(), vec!["three".to_owned()]));
    assert_eq!(
        (plan.jobs[0].env["A"].shown().as_str(), plan.jobs[0].env["B"].shown().as_str()),
        ("1", "1f0c2d3e4a5b6c7d8e9f00112233445566778899")
    );
    assert_eq!(plan.jobs[1].needs[0].job, "a");
    assert!(plan.jobs[0].checkout.is_some());
    assert!(plan.jobs[1].checkout.is_none(), "nothing checks out there");
}

#[test]
fn a_condition_that_cannot_be_said_never_makes_more_run() {
    let text = "steps: [{ name: deploy, image: alpine:3, commands: [./deploy], when: { evaluate: 'len(X) > 2' } }]\n";
    let text = converted(Language::Woodpecker, text).text;
    assert!(text.contains("if: 'false'"), "{text}");
}

/// Words that mean something in one of the languages, and some that mean nothing in any.
fn word() -> impl Strategy<Value = String> {
    let known: Vec<&'static str> = "steps jobs stages image script commands when rules if only except needs depends_on matrix parallel include exclude services \
        variables environment env secrets from_secret settings with uses run name on push pull_request branches tags paths schedule cron workflow_dispatch \
        inputs runs-on container strategy default extends before_script after_script cache artifacts reports junit timeout timeout-minutes retry max allow_failure \
        continue-on-error kind pipeline trigger event branch status failure success always never manual outputs id shell working-directory concurrency group \
        defaults workflow stage build test deploy .hidden trigger clone depth labels platform node true false null 1 1.10 main v* refs/tags/** $CI_COMMIT_TAG \
        ${{matrix.os}} ${{github.ref}} ${{secrets.X}} ${CI_COMMIT_SHA} $X == 'a' ubuntu-latest windows-latest actions/checkout@v4 actions/cache@v4 \
        actions/upload-artifact@v4 docker:dind merge_requests /^v.*$/ !reference path key fetch-depth node-version default required type choice options \
        '' a/b ../x a:b {{ }} ${{ }} \u{e9} \u{0}"
        .split_whitespace()
        .collect();
    prop_oneof![8 => proptest::sample::select(known).prop_map(str::to_owned), 1 => "[ -~]{0,12}"]
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        6 => word().prop_map(serde_json::Value::from),
        1 => any::<bool>().prop_map(serde_json::Value::from),
        1 => (0..100).prop_map(serde_json::Value::from),
        1 => Just(serde_json::Value::Null),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            2 => proptest::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
            3 => proptest::collection::btree_map(word(), inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Something that resembles a file of one of the languages, down to the level where any value is allowed.
fn file() -> impl Strategy<Value = serde_json::Value> {
    let job = || proptest::collection::btree_map(word(), value(), 0..8);
    prop_oneof![
        proptest::collection::btree_map(word(), value(), 0..8).prop_map(|map| serde_json::json!(map)),
        (job(), value(), job()).prop_map(|(mut step, image, mut file)| {
            step.insert("image".to_owned(), image);
            step.entry("commands".to_owned()).or_insert_with(|| serde_json::json!(["make"]));
            file.insert("steps".to_owned(), serde_json::json!([step, { "image": "alpine:3", "commands": ["true"] }]));
            serde_json::json!(file)
        }),
        (job(), job(), job()).prop_map(|(mut a, b, mut file)| {
            a.entry("script".to_owned()).or_insert_with(|| serde_json::json!(["make"]));
            file.insert("test".to_owned(), serde_json::json!(a));
            file.insert("other".to_owned(), serde_json::json!(b));
            serde_json::json!(file)
        }),
        (job(), job(), value(), job()).prop_map(|(step, mut job, on, mut file)| {
            job.insert(
                "steps".to_owned(),
                serde_json::json!([step, { "run": "make ${{ github.sha }} ${{ github.head_ref }}" }]),
            );
            job.entry("runs-on".to_owned()).or_insert_with(|| serde_json::json!("ubuntu-latest"));
            file.insert(
                "jobs".to_owned(),
                serde_json::json!({ "a": job, "b": { "needs": "a", "runs-on": "x", "steps": [{ "run": "true" }] } }),
            );
            file.insert("on".to_owned(), on);
            serde_json::json!(file)
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// JSON is YAML: any mapping is converted without a panic, and the result lints.
    #[test]
    fn any_mapping_becomes_a_pipeline_that_lints(file in file()) {
        let text = file.to_string();
        for (_, language) in LANGUAGES {
            let source = SourceFile::new("source.yml", text.as_str());
            if let Ok(converted) = convert::convert(language, &source, ".longshore.yml") {
                prop_assert_eq!(findings(&converted.text), "", "{:?} {}\n{}", language, text, converted.text);
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "(?s).{0,200}") {
        for (_, language) in LANGUAGES {
            let source = SourceFile::new("source.yml", text.as_str());
            let _ = convert::guess(&source);
            if let Ok(converted) = convert::convert(language, &source, ".longshore.yml") {
                prop_assert_eq!(findings(&converted.text), "");
            }
        }
    }
}

#[test]
fn what_others_write_never_becomes_script_of_the_result() {
    let workflow = r#"
on: { push: , workflow_dispatch: { inputs: { free: { type: string }, one: { type: choice, options: [a, b] } } } }
jobs:
  build:
    runs-on: ubuntu-latest
    outputs: { v: '${{ steps.x.outputs.y }}' }
    steps:
      - { id: x, run: 'echo y=1 >> $GITHUB_OUTPUT' }
      - run: echo ${{ github.head_ref }} "${{ steps.x.outputs.y }}" '${{ inputs.free }}' ${{ inputs.one }} ${{ steps.x.outcome }}
      - run: |
          cat <<END
          it's ${{ inputs.free }}
          END
      - run: |
          cat <<'END'
          ${{ inputs.free }}
          END
      - run: bash -c "echo ${{ inputs.free }}"
      - run: print("${{ inputs.free }}")
        shell: python
      - run: make
        working-directory: ${{ inputs.free }}
  image:
    needs: [build]
    runs-on: ubuntu-latest
    container: 'tool:${{ needs.build.outputs.v }}'
    steps: [{ run: 'make ${{ needs.build.outputs.v }}' }]
"#;
    let converted = converted(Language::GitHub, workflow);
    assert_eq!(findings(&converted.text), "", "{}", converted.text);
    let plan = plan(&converted.text, &event(EventName::Push, "refs/heads/main"));
    assert!(plan.jobs.iter().all(|job| job.foreign_in_scripts().is_none()));
    let runs = plan.jobs[0].steps.iter().map(|step| step.run.as_ref().unwrap().shown());
    // Steps that fail stand in for the lost ones.
    let (lost, runs): (Vec<String>, Vec<String>) = runs.partition(|run| run.ends_with("exit 1\n"));
    assert_eq!(lost.len(), 4);
    assert_eq!(
        runs,
        [
            "echo y=1 >> $LONGSHORE_OUTPUT",
            "echo ${GITHUB_HEAD_REF} \"${STEPS_X_OUTPUTS_Y}\" ''\"${INPUTS_FREE}\"''  ${{ steps.x.outcome }}",
            "cat <<END\nit's ${INPUTS_FREE}\nEND\n",
        ],
        "{}",
        converted.text
    );
    assert_eq!(plan.jobs[1].steps[0].run.as_ref().unwrap().shown(), "make ${NEEDS_BUILD_OUTPUTS_V}");
    // The quoted here document, `bash -c`, Python, the folder and the image.
    assert_eq!(converted.left_out.len(), 5, "{}", converted.text);
}
