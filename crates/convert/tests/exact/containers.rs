//! Woodpecker and Drone.

use super::{
    Language::{Drone, Woodpecker},
    converted, has, has_not, left_out,
};

const STEP: &str = "steps: [{ name: a, image: 'alpine:3', commands: [make] }]\n";

#[test]
fn a_file_that_only_unknown_events_start_never_runs() {
    for event in ["release", "deployment", "[release, deployment]"] {
        let text = format!("when: {{ event: {event} }}\n{STEP}");
        has(Woodpecker, &text, &["manual: {}", "if: 'false'"]);
        has_not(Woodpecker, &text, &["push", "pull-request"]);
        assert_eq!(left_out(Woodpecker, &text)[0].0, 1);
    }
    let drone = "kind: pipeline\nname: a\ntrigger: { event: [rollback] }\nsteps: [{ name: a, image: alpine, commands: [make] }]\n";
    has(Drone, drone, &["manual: {}", "if: 'false'"]);
    // An event that is known still counts.
    has(Woodpecker, &format!("when: {{ event: [tag, release] }}\n{STEP}"), &["tags: ['**']"]);
    has_not(Woodpecker, &format!("when: {{ event: [tag, release] }}\n{STEP}"), &["'false'"]);
}

#[test]
fn a_file_that_only_schedules_start_runs_at_nothing_else() {
    let text = format!("when: {{ event: cron }}\n{STEP}");
    has(Woodpecker, &text, &["manual: {}", "if: event.name == 'schedule'"]);
    has_not(Woodpecker, &text, &["push:"]);
}

#[test]
fn a_schedule_that_steps_or_pipelines_ask_for_is_noted_once() {
    let steps = "steps:\n- { name: a, image: 'alpine:3', commands: [make], when: { event: cron } }\n\
                 - { name: b, image: 'alpine:3', commands: [make], when: { event: [push, cron] } }\n";
    assert_eq!(left_out(Woodpecker, steps), [(2, "cron".to_owned())]);
    let pipelines = "kind: pipeline\nname: a\nsteps: [{ name: x, image: alpine, commands: [make] }]\n---\n\
                     kind: pipeline\nname: b\ntrigger: { event: cron }\nsteps: [{ name: x, image: alpine, commands: [make] }]\n";
    assert_eq!(left_out(Drone, pipelines), [(7, "cron".to_owned())]);
}

#[test]
fn a_filter_for_branches_holds_for_starts_by_hand_and_for_tags_as_there() {
    let drone =
        "kind: pipeline\nname: a\ntrigger: { branch: [next] }\nsteps: [{ name: a, image: alpine, commands: [make] }]\n";
    has(Drone, drone, &["branches: [next]", "if: event.branch == 'next'", "manual: {}"]);
    has_not(Drone, drone, &["tags:"]);
    let excluded = drone.replace("[next]", "{ exclude: [next] }");
    has(Drone, &excluded, &["tags: ['**']", "if: event.branch != 'next'"]);
    let woodpecker = format!("when: {{ branch: next }}\n{STEP}");
    has(Woodpecker, &woodpecker, &["tags: ['**']", "if: event.name == 'tag' || event.branch == 'next'"]);
    // A pattern holds for starts by hand, too.
    has(
        Woodpecker,
        &format!("when: {{ branch: 'v[0-9]' }}\n{STEP}"),
        &["branches: ['v[0-9]']", "if: event.name == 'tag' || matches(event.branch, '^v[0-9]$')"],
    );
    has_not(Woodpecker, &format!("when: {{ branch: next, event: push }}\n{STEP}"), &["if:"]);
}

#[test]
fn filters_of_older_files_are_kept() {
    let text = format!("branches: [main]\n{STEP}");
    has(Woodpecker, &text, &["if: event.name == 'tag' || event.branch == 'main'"]);
    let both = format!("when: {{ event: {{ include: [push, tag], exclude: [tag] }} }}\n{STEP}");
    has(Woodpecker, &both, &["if: event.name != 'tag' && (event.name == 'push' || event.name == 'tag')"]);
}

#[test]
fn what_waits_for_something_that_is_not_there_never_runs() {
    has(Woodpecker, &format!("depends_on: [test]\n{STEP}"), &["if: 'false'"]);
    let drone = "kind: pipeline\nname: a\ndepends_on: [gone]\nsteps: [{ name: a, image: alpine, commands: [make] }]\n";
    has(Drone, drone, &["if: 'false'"]);
}

#[test]
fn what_ran_elsewhere_than_in_a_container_on_linux_never_runs() {
    let drone = |more: &str| {
        format!("kind: pipeline\nname: win\n{more}\nsteps: [{{ name: a, image: 'x:1', commands: [make] }}]\n")
    };
    has(Drone, &drone("platform: { os: windows, arch: amd64 }"), &["nothing:"]);
    has(Drone, &drone("type: exec"), &["if: 'false'"]);
    has_not(Drone, &drone("platform: { os: linux, arch: arm64 }"), &["'false'"]);
    has(Woodpecker, &format!("labels: {{ platform: windows/amd64 }}\n{STEP}"), &["nothing:"]);
    has(Woodpecker, &format!("platform: darwin/arm64\n{STEP}"), &["nothing:"]);
    has(Woodpecker, &format!("platform: linux/arm64\n{STEP}"), &["arch: arm64"]);
}

#[test]
fn variables_that_were_put_in_before_the_shell_are_expanded_within_single_quotes() {
    let step = |command: &str| format!("steps:\n- name: a\n  image: debian:12\n  commands:\n  - {command}\n");
    has(Woodpecker, &step("printf '%s' 'of ${CI_REPO_OWNER}!'"), &[r#"run: printf '%s' 'of '"${CI_REPO_OWNER}"'!'"#]);
    has(Woodpecker, &step("echo ${CI_COMMIT_SHA:0:8}"), &["run: echo ${{ event.sha-short }}"]);
    has(Woodpecker, &step("echo ${CI_COMMIT_SHA:0:7}"), &[r#"run: echo $(printf %.7s "${CI_COMMIT_SHA}")"#]);
    has(Woodpecker, &step("sh -c 'echo ${CI_REPO_NAME}'"), &["run: sh -c 'echo ${CI_REPO_NAME}'"]);
    // An escaped one was the shell's.
    has(Woodpecker, &step("echo '$${CI_REPO_NAME}'"), &["run: echo '${CI_REPO_NAME}'"]);
    let drone = format!("kind: pipeline\nname: a\n{}", step("echo 'b ${DRONE_BRANCH}'"));
    has(Drone, &drone, &[r#"run: echo 'b '"${DRONE_BRANCH}"''"#, "DRONE_BRANCH: ${{ event.branch }}"]);
    // There, a variable that the server did not know was empty.
    assert_eq!(left_out(Woodpecker, &step("./deploy ${TARGET}")), [(4, "${TARGET}".to_owned())]);
}

#[test]
fn a_variable_that_only_a_shell_can_make_is_made_by_the_script() {
    let text =
        "steps:\n- { name: a, image: 'alpine:3', commands: [make], environment: { VERSION: '${CI_COMMIT_TAG##v}' } }\n";
    has(Woodpecker, text, &[r#"export VERSION="${CI_COMMIT_TAG##v}""#]);
    assert!(left_out(Woodpecker, text).is_empty());
}

#[test]
fn a_plugin_that_lost_a_setting_never_runs() {
    let text = "kind: pipeline\nname: a\nsteps:\n- name: push\n  image: plugins/docker:20\n  settings:\n    repo: a/b\n    \
                tags: [ 'x-${DRONE_COMMIT_SHA:0:10}', latest-dev ]\n";
    has(Drone, text, &["if: 'false'", "latest-dev", "repo: a/b"]);
    let known = text.replace(":0:10", ":0:8");
    has(Drone, &known, &["tags: ['x-${{ event.sha-short }}', latest-dev]"]);
    has_not(Drone, &known, &["'false'"]);
    let variable = "steps: [{ name: a, image: 'x/y:1', settings: { a: b }, environment: { WHERE: '${DEPLOY_TO}' } }]\n";
    has(Woodpecker, variable, &["if: 'false'"]);
}

#[test]
fn settings_of_a_plugin_are_made_by_a_step_before_it_where_no_expression_can() {
    let text = "steps:\n- name: push\n  image: example/push:1\n  settings:\n    tags: ['${CI_COMMIT_TAG##v}', latest]\n  when: { event: tag }\n";
    has(
        Woodpecker,
        text,
        &[
            "image: debian:bookworm-slim",
            "id: values-1",
            r#"run: echo "value1=${CI_COMMIT_TAG##v}" >> "$LONGSHORE_OUTPUT""#,
            "tags: ['${{ steps.values-1.outputs.value1 }}', latest]",
        ],
    );
    assert_eq!(converted(Woodpecker, text).text.matches("if: event.name == 'tag'").count(), 2);
}

#[test]
fn secrets_and_variables_within_nested_settings_are_written_into_one_text() {
    let text = "steps:\n- name: push\n  image: example/push:1\n  settings:\n    logins:\n    - registry: r.example\n      \
                username: me\n      password: { from_secret: word }\n    labels: { of: '${CI_REPO_NAME} {x}', n: 1 }\n";
    has(
        Woodpecker,
        text,
        &[
            "name: word",
            r#"logins: '[{"registry":"r.example","username":"me","password":${{ to-json(secrets.word) }}}]'"#,
            r#"labels: '{"of":${{ to-json(format(''{0} {{x}}'', repo.short-name)) }},"n":1}'"#,
        ],
    );
}

#[test]
fn secrets_with_names_that_are_the_same_here_stay_two() {
    let text = "steps:\n- name: a\n  image: alpine:3\n  commands: [make]\n  secrets: [{ source: hub_user, target: hub_name }]\n  \
                environment:\n    ONE: { from_secret: npm.token }\n    TWO: { from_secret: npm_token }\n    THREE: { from_secret: npm-token }\n";
    has(
        Woodpecker,
        text,
        &[
            "ONE: ${{ secrets.npm_token_2 }}",
            "TWO: ${{ secrets.npm_token }}",
            "THREE: ${{ secrets.npm_token_3 }}",
            "# the secret `npm.token` is called `npm_token_2` here",
            "HUB_NAME: ${{ secrets.hub_user }}",
        ],
    );
    let drone = |name: &str, secret: &str| {
        format!(
            "kind: pipeline\nname: {name}\nsteps: [{{ name: x, image: alpine, commands: [make], environment: {{ S: {{ from_secret: {secret} }} }} }}]\n"
        )
    };
    has(
        Drone,
        &format!("{}---\n{}", drone("a", "b-c"), drone("d", "b_c")),
        &["S: ${{ secrets.b_c_2 }}", "S: ${{ secrets.b_c }}"],
    );
}

#[test]
fn workflows_of_a_matrix_do_not_stop_each_other() {
    has(Woodpecker, &format!("matrix: {{ V: ['1', '2'] }}\n{STEP}"), &["fail-fast: false"]);
}

#[test]
fn why_all_of_a_file_went_is_said() {
    let many: String =
        (0..202).map(|n| format!("- {{ name: s{n}, image: 'alpine:3', commands: ['true'] }}\n")).collect();
    let converted_ = converted(Woodpecker, &format!("steps:\n{many}"));
    assert_eq!(converted_.text.matches("run: 'true'").count(), 200);
    assert!(
        converted_.left_out.iter().any(|note| note.line == 203 && note.why.contains("the limit of 200")),
        "{:?}",
        converted_.left_out
    );
    let nul = "steps: [{ name: a, image: 'alpine:3', commands: [\"a\\0b\"] }]\n";
    assert!(
        converted(Woodpecker, nul).left_out.iter().any(|note| note.why.contains("a NUL character")),
        "{:?}",
        converted(Woodpecker, nul).left_out
    );
}

#[test]
fn the_closing_of_a_pull_request_runs_only_what_asked_for_it() {
    let text = "when: { event: [pull_request, pull_request_closed] }\nsteps:\n- { name: a, image: 'alpine:3', commands: [test], when: { event: pull_request } }\n\
                - { name: b, image: 'alpine:3', commands: [clean], when: { event: pull_request_closed } }\n";
    has(
        Woodpecker,
        text,
        &[
            "types: [opened, synchronize, reopened, closed]",
            "if: (event.name == 'pull-request' && event.action != 'closed')",
            "if: (event.name == 'pull-request' && event.action == 'closed')",
        ],
    );
}

#[test]
fn defaults_of_variables_and_settings_of_services_are_kept() {
    let text = "steps: [{ name: a, image: 'x/y:1', settings: { tag: '${CI_COMMIT_TAG=nightly}' } }]\n\
                services: [{ name: db, image: 'x/z:1', settings: { data-from: here, of: [a, b] } }]\n";
    has(Woodpecker, text, &["tag: ${{ event.tag || 'nightly' }}", "PLUGIN_DATA_FROM: here", "PLUGIN_OF: a,b"]);
}
