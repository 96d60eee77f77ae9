//! GitLab CI.

use super::{Language::GitLab, converted, has, has_not, left_out};

#[test]
fn scripts_run_in_bash_with_pipefail_where_the_image_has_it() {
    has(GitLab, "a: { image: 'rust:1', script: ['make | tee log', 'echo -e x'] }\n", &["shell: bash"]);
    for image in ["alpine:3", "node:24-alpine", "docker:27", "busybox"] {
        let text = format!("a: {{ image: '{image}', script: ['make | tee log'] }}\n");
        has(GitLab, &text, &["shell: sh", "set -o pipefail"]);
        has_not(GitLab, &text, &["shell: bash"]);
        has_not(GitLab, &text.replace("make | tee log", "make || true"), &["pipefail"]);
    }
}

#[test]
fn a_reference_to_nothing_takes_only_itself_away() {
    let text = "a:\n  image: alpine:3\n  before_script:\n  - one\n  - !reference [.gone, before_script]\n  - two\n  script: [three]\n";
    assert_eq!(left_out(GitLab, text), [(5, "!reference [.gone, before_script]".to_owned())]);
    has(GitLab, text, &["one", "two", "three"]);
}

#[test]
fn references_count_outside_of_jobs_and_a_rule_that_is_not_understood_lets_nothing_through() {
    let workflow = |rules: &str| {
        format!(
            ".on: {{ rules: [{{ if: '$CI_COMMIT_TAG' }}] }}\nworkflow: {{ rules: [{rules}] }}\na: {{ image: 'rust:1', script: [make] }}\n"
        )
    };
    has(GitLab, &workflow("!reference [.on, rules]"), &["if: event.name == 'tag'"]);
    has(GitLab, &workflow("!reference [.gone, rules], { when: always }"), &["if: 'false'"]);
    has(GitLab, &workflow("{ unknown: 1 }, { when: always }"), &["if: 'false'"]);
    let before = ".b: { before_script: [one] }\ndefault: { before_script: [!reference [.b, before_script]] }\na: { image: 'rust:1', script: [two] }\n";
    has(GitLab, before, &["one", "two"]);
    // Rules before the one that is not understood still count.
    let job = "a: { image: 'rust:1', script: [make], rules: [{ if: '$CI_COMMIT_TAG' }, !reference [.gone, rules], { when: always }] }\n";
    has(GitLab, job, &["if: event.name == 'tag'"]);
}

#[test]
fn the_last_of_two_equal_keys_counts_and_the_first_is_named() {
    let text = "a:\n  image: alpine:3\n  script: [old]\n  script: [new]\nb: { image: 'rust:1', script: [gone] }\nb: { image: 'rust:1', script: [kept] }\n";
    has(GitLab, text, &["run: new", "run: kept"]);
    has_not(GitLab, text, &["run: old", "run: gone"]);
    assert_eq!(left_out(GitLab, text), [(3, "script".to_owned()), (5, "b".to_owned())]);
}

#[test]
fn a_job_that_extends_what_is_elsewhere_runs_only_by_rules_of_its_own() {
    let job = |more: &str| format!("a: {{ extends: .gone, image: 'rust:1', script: [make]{more} }}\n");
    has(GitLab, &job(""), &["if: 'false'"]);
    has(GitLab, &job(", only: [tags]"), &["if: event.name == 'tag'"]);
    has(GitLab, &job(", rules: [{ if: '$CI_COMMIT_TAG' }]"), &["if: event.name == 'tag'"]);
}

#[test]
fn a_job_that_needs_one_that_is_elsewhere_never_runs() {
    let job = |need: &str| format!("a: {{ image: 'rust:1', script: [make], needs: [{need}] }}\n");
    has(GitLab, &job("gone"), &["if: 'false'"]);
    has_not(GitLab, &job("{ job: gone, optional: true }"), &["'false'"]);
}

#[test]
fn the_branch_is_not_set_in_merge_requests_and_names_in_small_letters_are_variables() {
    let text = "a:\n  image: debian:12\n  rules: [{ if: $CI_PIPELINE_SOURCE == \"merge_request_event\" }]\n  \
                script: ['echo \"$CI_COMMIT_BRANCH\"', './to \"$Where\" \"$where_else\"']\n  variables: { B: 'x-$CI_COMMIT_BRANCH' }\n";
    let branch = "event.name != 'pull-request' && event.branch || ''";
    has(GitLab, text, &[&format!("CI_COMMIT_BRANCH: ${{{{ {branch} }}}}"), &format!("B: x-${{{{ {branch} }}}}")]);
    assert!(
        converted(GitLab, text).text.contains("does not set `Where` and `where_else`"),
        "{}",
        converted(GitLab, text).text
    );
    has_not(GitLab, "a: { image: 'rust:1', script: ['echo $CI_COMMIT_BRANCH'] }\n", &["CI_COMMIT_BRANCH:"]);
}

#[test]
fn a_job_may_fail_only_if_every_rule_says_so() {
    let job = |rules: &str, more: &str| format!("a: {{ image: 'rust:1', script: [make], rules: [{rules}]{more} }}\n");
    let mixed = job("{ if: $CI_COMMIT_TAG, allow_failure: true }, { when: on_success }", "");
    has_not(GitLab, &mixed, &["continue-on-error"]);
    assert!(left_out(GitLab, &mixed).iter().any(|(_, what)| what == "allow_failure"));
    has(GitLab, &job("{ if: $CI_COMMIT_TAG, allow_failure: true }", ""), &["continue-on-error: true"]);
    // A rule wins over the job.
    has_not(
        GitLab,
        &job("{ if: $CI_COMMIT_TAG, allow_failure: false }", ", allow_failure: true"),
        &["continue-on-error: true"],
    );
}

#[test]
fn variables_of_rules_have_the_value_of_the_first_rule_that_fits() {
    let text = "a:\n  image: debian:12\n  script: ['./to $WHERE']\n  variables: { WHERE: test }\n  rules:\n  \
                - { if: $CI_COMMIT_TAG, variables: { WHERE: live } }\n  - { if: $CI_COMMIT_BRANCH == \"main\", variables: { WHERE: next } }\n  - { when: on_success }\n";
    has(GitLab, text, &["WHERE: ${{ event.name == 'tag' && 'live' || event.branch == 'main' && 'next' || 'test' }}"]);
    assert!(left_out(GitLab, text).is_empty(), "{:?}", left_out(GitLab, text));
}

#[test]
fn what_is_delayed_waits_for_somebody() {
    has(GitLab, "a: { image: 'rust:1', script: [make], when: delayed, start_in: 1 hour }\n", &["approval: Run a?"]);
}

#[test]
fn a_filter_that_is_not_known_lets_nothing_through() {
    has(GitLab, "a: { image: 'rust:1', script: [make], only: { kubernetes: active } }\n", &["if: 'false'"]);
    has(GitLab, "a: { image: 'rust:1', script: [make], except: { kubernetes: active } }\n", &["if: 'false'"]);
}

#[test]
fn a_hidden_job_that_nothing_uses_is_left() {
    let text = ".used: { before_script: [one] }\n.anchored: &a { image: 'rust:1' }\n.left: { script: [two] }\n\
                b: { <<: *a, extends: .used, script: [three] }\n";
    assert_eq!(left_out(GitLab, text), [(3, ".left".to_owned())]);
}

#[test]
fn a_cache_has_the_key_that_it_had_or_is_left() {
    let job = |key: &str| {
        format!("build app: {{ image: 'rust:1', script: [make], cache: {{ key: '{key}', paths: [x] }} }}\n")
    };
    has(GitLab, &job("of-$CI_JOB_NAME"), &["key: of-build app"]);
    has_not(GitLab, &job("of-$ELSEWHERE"), &["cache:"]);
    assert_eq!(left_out(GitLab, &job("of-$ELSEWHERE")), [(1, "key".to_owned())]);
}

/// Converts a file of a repository with these other files.
fn within(text: &str, files: &[(&str, &str)]) -> longshore_convert::Converted {
    let file = longshore_pipeline::SourceFile::new(".gitlab-ci.yml", text);
    let read = |path: &str| files.iter().find(|(known, _)| *known == path).map(|(_, text)| (*text).to_owned());
    longshore_convert::convert_within(GitLab, &file, ".longshore.yml", &read).unwrap()
}

#[test]
fn included_files_of_the_repository_are_merged_and_the_file_itself_wins() {
    let text = "include: [{ local: /ci/base.yml }, ci/more.yml]\nstages: [one, two]\nb: { stage: two, extends: .rust, script: [make] }\na: { script: [own] }\n";
    let files = [
        ("ci/base.yml", "include: ci/deep.yml\n.rust: { image: 'rust:1', rules: [{ if: $CI_COMMIT_TAG }] }\n"),
        ("ci/deep.yml", "c: { stage: one, image: 'alpine:3', script: [deep] }\n"),
        ("ci/more.yml", "a: { stage: one, image: 'alpine:3', script: [theirs] }\n"),
    ];
    let made = within(text, &files);
    for line in ["image: rust:1", "event.name == 'tag'", "run: own", "run: deep"] {
        assert!(made.text.contains(line), "no `{line}` in\n{}", made.text);
    }
    assert!(!made.text.contains("theirs") && made.left_out.is_empty(), "{}", made.text);
    // An error in an included file has the line that includes it.
    let made = within("a: { image: 'alpine:3', script: [x] }\ninclude: x.yml\n", &[("x.yml", "a: { unknown: 1 }\n")]);
    assert_eq!(made.left_out.iter().map(|note| note.line).collect::<Vec<_>>(), [2], "{:?}", made.left_out);
}

#[test]
fn what_cannot_be_included_is_said_one_by_one() {
    let text = "include:\n- local: gone.yml\n- remote: https://r.example/x.yml\n- local: '*.yml'\n- { local: x.yml, rules: [{ if: $X }] }\n- project: a/b\n  file: c.yml\n\
                a: { image: 'alpine:3', script: [make] }\n";
    let made = within(text, &[("x.yml", "b: { script: [b] }\n")]);
    assert_eq!(made.left_out.iter().map(|note| note.line).collect::<Vec<_>>(), [2, 3, 4, 5, 6], "{:?}", made.left_out);
    // A file that includes itself ends.
    assert!(
        !within("include: x.yml\na: { image: 'alpine:3', script: [make] }\n", &[("x.yml", "include: x.yml\n")])
            .left_out
            .is_empty()
    );
}
