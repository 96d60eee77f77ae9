//! What may have run there and does not run here, because what decides it cannot be said: nothing that waited for it
//! runs as if it had succeeded.

use super::{
    Language::{Drone, GitHub, GitLab, Woodpecker},
    converted, has, has_not, left_out,
};

/// The line with which what stands in for a step fails.
const FAILS: &str = "exit 1";

fn step(name: &str, when: &str) -> String {
    format!("- {{ name: {name}, image: 'alpine:3', commands: ['./{name}'], when: {when} }}\n")
}

#[test]
fn a_step_for_one_platform_runs_only_where_its_pipeline_runs_on_it() {
    let arm = format!("steps:\n{}", step("a", "{ platform: linux/arm64 }"));
    has(Woodpecker, &arm, &["if: 'false'"]);
    assert_eq!(left_out(Woodpecker, &arm), [(2, "platform".to_owned())]);
    has_not(Woodpecker, &format!("steps:\n{}", step("a", "{ platform: linux/* }")), &["if:"]);
    let labeled = |platform: &str| format!("labels: {{ platform: {platform} }}\n{arm}");
    has(Woodpecker, &labeled("linux/amd64"), &["arch: amd64", "if: 'false'"]);
    has_not(Woodpecker, &labeled("linux/arm64"), &["if:"]);
    assert_eq!(left_out(Woodpecker, &labeled("linux/arm64")), []);
    let excluded = arm.replace("linux/arm64", "{ exclude: linux/arm64 }");
    has(Woodpecker, &excluded, &["if: 'false'"]);
    has_not(Woodpecker, &format!("platform: linux/amd64\n{excluded}"), &["if:"]);
    let matrix = format!("labels: {{ platform: '${{P}}' }}\nmatrix: {{ P: [linux/amd64, linux/arm64] }}\n{arm}");
    has(
        Woodpecker,
        &matrix,
        &[
            "arch: ${{ matrix.P == 'linux/amd64' && 'amd64' || matrix.P == 'linux/arm64' && 'arm64' }}",
            "if: matrix.P == 'linux/arm64'",
        ],
    );
    let drone = |platform: &str| format!("kind: pipeline\nname: a\n{platform}\n{arm}");
    has(Drone, &drone("platform: { arch: amd64 }"), &["if: 'false'"]);
    has_not(Drone, &drone("platform: { os: linux, arch: arm64 }"), &["if:"]);
    has(Drone, &drone("platform: linux/arm64"), &["arch: arm64"]);
}

#[test]
fn a_schedule_that_is_named_is_not_every_schedule() {
    let named = |event: &str| format!("steps:\n{}", step("a", &format!("{{ {event}cron: nightly }}")));
    has(Woodpecker, &named(""), &["if: event.name == 'schedule' && event.cron == 'nightly'"]);
    has(Woodpecker, &named("event: cron, "), &["if: event.name == 'schedule' && event.cron == 'nightly'"]);
    has(
        Woodpecker,
        &named("event: [push, cron], "),
        &[
            "if: (event.name == 'push' || event.name == 'schedule') && (event.name != 'schedule' || event.cron == 'nightly')",
        ],
    );
    let any = format!("steps:\n{}", step("a", "{ event: cron, cron: '*' }"));
    has(Woodpecker, &any, &["if: event.name == 'schedule'"]);
    let others = format!("steps:\n{}", step("a", "{ event: cron, cron: { exclude: nightly } }"));
    has(Woodpecker, &others, &["if: event.name == 'schedule' && event.name != 'schedule'"]);
}

#[test]
fn a_step_that_did_not_run_locally_does_not_run_locally() {
    has(Woodpecker, &format!("steps:\n{}", step("a", "{ local: false }")), &["if: build.url != null"]);
    has_not(Woodpecker, &format!("steps:\n{}", step("a", "{ local: true }")), &["if:"]);
}

#[test]
fn a_step_behind_one_with_a_filter_that_cannot_be_said_waits_for_somebody() {
    let deploy = step("deploy", "{ event: push }");
    for filter in ["path: '/src/**'", "evaluate: 'TASK contains \"x\"'", "platform: linux/arm64", "instance: a"] {
        let test = step("test", &format!("{{ event: push, {filter} }}"));
        let text = format!("steps:\n{test}{deploy}");
        has(Woodpecker, &text, &["name: 'not carried over: test'", "if: event.name == 'push'", FAILS]);
        // A job before it, one that runs at other times, and one that only reports on it do not wait.
        for other in [
            format!("{deploy}{test}"),
            format!("{test}{}", step("deploy", "{ event: tag }")),
            format!("{test}{}", step("slack", "{ event: push }")),
        ] {
            has_not(Woodpecker, &format!("steps:\n{other}"), &[FAILS]);
        }
    }
    // A step that only tells is known by its key, too.
    let mapped = "steps:\n  test: { image: 'alpine:3', commands: [make], when: { event: push, path: '/src/**' } }\n  \
                  notify: { image: 'alpine:3', commands: [./tell], when: { event: push } }\n";
    has_not(Woodpecker, mapped, &[FAILS]);
    // Where another filter lets it run, it is not missed.
    let two = step("test", "[{ event: push, path: '/src/**' }, { event: push, branch: main }]");
    has(
        Woodpecker,
        &format!("steps:\n{two}{deploy}"),
        &[
            FAILS,
            "if: event.name == 'push' && !(event.name == 'push' && event.name != 'push' || event.name == 'push' && event.branch == 'main')",
        ],
    );
    // Nothing is missed where the files can be asked for.
    has_not(Woodpecker, &format!("steps:\n{}{deploy}", step("test", "{ event: push, path: 'src/**' }")), &[FAILS]);
    // `on` asks for the same files: the step always runs.
    let asked =
        format!("when: {{ event: push, path: 'src/**' }}\nsteps:\n{}{deploy}", step("test", "{ path: 'src/**' }"));
    has_not(Woodpecker, &asked, &[FAILS]);
}

#[test]
fn a_stage_does_not_run_without_the_jobs_of_those_before_it() {
    let text = |more: &str| {
        format!(
            "stages: [build, ship]\nlib: {{ stage: build, extends: .elsewhere{more} }}\napp: {{ stage: build, image: alpine, script: [make] }}\n\
             ship: {{ stage: ship, image: alpine, script: [./ship] }}\nfree: {{ stage: ship, needs: [], image: alpine, script: [./free] }}\n"
        )
    };
    has(GitLab, &text(""), &["if: 'false'", "run: ./ship"]);
    assert_eq!(converted(GitLab, &text("")).text.matches("'false'").count(), 1);
    has_not(GitLab, &text(", allow_failure: true"), &["'false'"]);
    has_not(GitLab, &text(", when: manual"), &["'false'"]);
}

#[test]
fn a_job_behind_one_with_rules_that_cannot_be_said_does_not_run_in_its_place() {
    let text = |test: &str| {
        format!(
            "test: {{ stage: test, image: alpine, script: [make], {test} }}\nship: {{ stage: deploy, image: alpine, script: [./ship] }}\n"
        )
    };
    let files = "event.name != 'push' && event.name != 'pull-request'";
    let ship = format!("if: '!failure() && !cancelled() && {}'", files.replace('\'', "''"));
    let elsewhere = "{ paths: [src], compare_to: next }";
    has(GitLab, &text(&format!("rules: [{{ changes: {elsewhere} }}]")), &[&ship]);
    has(GitLab, &text(&format!("only: {{ changes: {elsewhere} }}")), &[&ship]);
    has(GitLab, &text("rules: [{ changes: ['src/*'] }]"), &["if: '!failure() && !cancelled()'"]);
    has(GitLab, &text("rules: [{ exists: [Makefile] }]"), &["if: 'false'"]);
    assert_eq!(converted(GitLab, &text("rules: [{ exists: [Makefile] }]")).text.matches("'false'").count(), 2);
    // A condition that is complete lets later jobs see through it.
    has(GitLab, &text("rules: [{ if: '$CI_COMMIT_TAG' }]"), &["if: '!failure() && !cancelled()'"]);
    has(
        GitLab,
        &text(&format!("rules: [{{ changes: {elsewhere} }}], allow_failure: true")),
        &["if: '!failure() && !cancelled()'"],
    );
}

#[test]
fn a_job_of_a_machine_with_another_system_does_not_run_on_linux() {
    for tag in ["saas-windows-medium-amd64", "hurd", "macos-12"] {
        let text = format!("a: {{ image: alpine, script: [make], tags: [{tag}] }}\n");
        has(GitLab, &text, &["if: 'false'"]);
    }
    has_not(GitLab, "a: { image: alpine, script: [make], tags: [docker] }\n", &["'false'"]);
}

fn workflow(jobs: &str) -> String {
    format!("on: push\njobs:\n{jobs}")
}

#[test]
fn a_job_that_sees_through_skipped_ones_does_not_take_a_withheld_one_for_skipped() {
    let jobs = "  a: { runs-on: ubuntu-latest, steps: [{ uses: some/changes@v1 }] }\n  \
                b: { needs: a, runs-on: ubuntu-latest, steps: [{ run: make }] }\n  \
                c: { needs: b, if: '!cancelled() && !failure()', runs-on: ubuntu-latest, steps: [{ run: ./all-green }] }\n";
    assert_eq!(converted(GitHub, &workflow(jobs)).text.matches("if: 'false'").count(), 2);
    // One that its source lets never run was skipped there, too.
    let own = "  b: { if: false, runs-on: ubuntu-latest, steps: [{ run: make }] }\n  \
               c: { needs: b, if: always(), runs-on: ubuntu-latest, steps: [{ run: ./all-green }] }\n";
    has(GitHub, &workflow(own), &["if: always()"]);
}

#[test]
fn a_step_behind_one_whose_condition_or_variable_is_refused_waits_for_somebody() {
    let steps = |first: &str| {
        workflow(&format!("  a:\n    runs-on: ubuntu-latest\n    steps:\n    - {first}\n    - run: ./deploy\n"))
    };
    has(GitHub, &steps("{ run: ./check, if: vars.X == 'y' }"), &["if: 'false'", FAILS]);
    has(GitHub, &steps("{ run: ./check, env: { X: '${{ steps.nothing.outputs.x }}' } }"), &["if: 'false'", FAILS]);
    has_not(GitHub, &steps("{ run: ./check, if: false }"), &[FAILS]);
    has_not(GitHub, &steps("{ run: ./check, if: vars.X == 'y', continue-on-error: true }"), &[FAILS]);
}

#[test]
fn releases_and_merge_queues_start_what_they_started() {
    let text = "on: { release: { types: [published, released] }, merge_group: }\njobs:\n  \
                a: { if: \"github.event_name == 'merge_group'\", runs-on: ubuntu-latest, steps: [{ run: ./publish }] }\n";
    has(GitHub, text, &["types: [published, released]", "merge-group: {}", "if: event.name == 'merge-group'"]);
    assert_eq!(left_out(GitHub, text), []);
    let all = "on: release\njobs: { a: { runs-on: ubuntu-latest, steps: [{ run: ./publish }] } }\n";
    has(GitHub, all, &["types: [published, unpublished, created, edited, deleted, prereleased, released]"]);
}

#[test]
fn a_version_that_stands_in_a_variable_chooses_the_image() {
    let text = "on: push\nenv: { NODE: 24 }\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n    \
                - { uses: actions/setup-node@v6, with: { node-version: '${{ env.NODE }}' } }\n    - run: make\n";
    has(GitHub, text, &["image: node:24"]);
    assert_eq!(left_out(GitHub, text), []);
}

#[test]
fn only_what_had_a_secret_has_it() {
    let text = "steps:\n- { name: a, image: 'alpine:3', commands: [make] }\n\
                - { name: b, image: 'alpine:3', commands: [./ship], environment: { KEY: { from_secret: key } } }\n";
    has(Woodpecker, text, &["name: key", "env: false", "KEY: ${{ secrets.key }}"]);
    let github = workflow(
        "  a: { runs-on: ubuntu-latest, steps: [{ run: make }, { run: ./ship, env: { KEY: '${{ secrets.KEY }}' } }] }\n",
    );
    has(GitHub, &github, &["name: KEY", "env: false"]);
    // Variables of a project are those of every job there.
    has(GitLab, "a: { image: alpine, script: ['./ship \"$DEPLOY_TOKEN\"'] }\n", &["secrets: [DEPLOY_TOKEN]"]);
}
