//! No result runs what its source would not have run. The cases come from conversions of public files.

use super::{
    Language::{Drone, GitHub, GitLab, Woodpecker},
    converted, has, has_not, left_out,
};

fn github(job: &str) -> String {
    format!("on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n{job}")
}

#[test]
fn a_job_whose_matrix_has_other_systems_alone_does_not_run_on_linux() {
    let text = "on: push\njobs:\n  a: { runs-on: ubuntu-latest, steps: [run: make] }\n  b:\n    runs-on: ${{ matrix.os }}\n    \
                strategy: { matrix: { go: ['1.26'], os: [windows-latest] } }\n    steps: [run: make windows]\n";
    has(GitHub, text, &["run: make"]);
    has_not(GitHub, text, &["run: make windows"]);
    // Each combination that `include` adds is a job of its own.
    let more =
        text.replace("os: [windows-latest]", "os: [windows-latest], include: [{ os: ubuntu-latest, go: '1.25' }]");
    has(GitHub, &more, &["if: 'false'", "run: make windows"]);
}

#[test]
fn a_job_whose_machine_an_expression_chooses_does_not_run_in_the_place_of_another_system() {
    let text = |machine: &str| github("    steps: [run: make]\n").replace("ubuntu-latest", machine);
    let other = text("${{ github.repository == 'a/b' && 'large-windows-2022' || 'windows-latest' }}");
    has_not(GitHub, &other, &["run: make"]);
    has(GitHub, &text("${{ github.ref == 'refs/heads/macos' && 'large' || 'ubuntu-latest' }}"), &["run: make"]);
    has_not(GitHub, &text("${{ github.ref == 'refs/heads/macos' && 'large' || 'ubuntu-latest' }}"), &["'false'"]);
    has(GitHub, &text("${{ github.ref == 'refs/heads/main' && 'macos-15' || 'ubuntu-latest' }}"), &["if: 'false'"]);
    has_not(GitHub, &text("large-macos-15"), &["run: make"]);
}

#[test]
fn a_version_without_an_image_is_not_run_with_another_one() {
    let text = "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    strategy: { matrix: { python: [3.14t] } }\n    \
                steps: [{ uses: actions/setup-python@v5, with: { python-version: '${{ matrix.python }}' } }, { run: make }]\n";
    has(GitHub, text, &["if: 'false'", "run: make"]);
}

#[test]
fn patterns_that_repeat_a_character_fit_what_they_fitted() {
    let text = "on: { push: { tags: ['v[0-9]+.[0-9]+.[0-9]+', 'x?y'] }, pull_request: { branches: ['v[0-9]+'] } }\n\
                jobs: { a: { runs-on: ubuntu-latest, steps: [{ run: make }] } }\n";
    has(
        GitHub,
        text,
        &[
            "tags: [v*.*.*, '*y']",
            "branches: [v*]",
            r"if: (event.name != 'tag' || matches(event.tag, '^v[0-9]+\.[0-9]+\.[0-9]+$') || matches(event.tag, '^x?y$')) && (event.name != 'pull-request' || matches(event.branch, '^v[0-9]+$'))",
        ],
    );
    assert_eq!(left_out(GitHub, text), []);
    // Beside exclusions, the order counts, which no condition says.
    let excluded =
        "on: { push: { tags: ['v[0-9]+', '!v1'] } }\njobs: { a: { runs-on: ubuntu-latest, steps: [{ run: make }] } }\n";
    has(GitHub, excluded, &["if: event.name != 'tag'"]);
    // Files are filtered by `on` alone.
    let files = "on: { push: { paths: ['v[0-9]+/**', 'a?b'] } }\njobs: { a: { runs-on: ubuntu-latest, steps: [{ run: make }] } }\n";
    has(GitHub, files, &["paths: ['v[0-9]/**', b]"]);
    assert_eq!(left_out(GitHub, files).len(), 2);
}

#[test]
fn patterns_in_conditions_fit_what_they_fitted() {
    let step = |pattern: &str| {
        format!("steps: [{{ name: a, image: alpine, commands: [make], when: {{ branch: '{pattern}' }} }}]\n")
    };
    has(Woodpecker, &step("release/*"), &["if: event.name == 'tag' || matches(event.branch, '^release/[^/]*$')"]);
    has(Woodpecker, &step("release/**"), &["if: event.name == 'tag' || starts-with(event.branch, 'release/')"]);
    assert_eq!(left_out(Woodpecker, &step("v[0-9]*")), []);
    let rule = |rule: &str| format!("a: {{ image: 'debian:12', script: [make], rules: [{{ if: '{rule}' }}] }}\n");
    has(GitLab, &rule(r"$CI_COMMIT_TAG =~ /^v\d+\.\d+$/"), &[r"if: matches(event.tag, '^v\d+\.\d+$')"]);
    has(
        GitLab,
        &rule(r"$CI_COMMIT_TAG && $CI_COMMIT_TAG !~ /^v\d+$/"),
        &[r"if: event.name == 'tag' && !matches(event.tag, '^v\d+$')"],
    );
    has(GitLab, &rule("$CI_COMMIT_BRANCH =~ /^(Feat|fix)-/i"), &["if: matches(event.branch, '(?i)^(Feat|fix)-')"]);
    has(
        GitLab,
        &rule("$CI_PIPELINE_SOURCE =~ /(web|api|schedule)/"),
        &["if: event.name == 'schedule' || event.name == 'manual'"],
    );
    // No condition can express a look-around.
    has(GitLab, &rule("$CI_COMMIT_BRANCH =~ /^(?!main)/"), &["if: 'false'"]);
}

#[test]
fn filters_by_file_on_steps_and_jobs_start_nothing_that_they_did_not() {
    let woodpecker = "when: [{ event: push, branch: main, path: ['docs/**', 'web/**'] }, { event: tag }]\nsteps:\n\
                      - { name: all, image: alpine, commands: [make], when: [{ path: ['docs/**', 'web/**', 'x'] }] }\n\
                      - { name: docs, image: alpine, commands: [make docs], when: [{ event: [push, tag], path: 'docs/**' }] }\n";
    has(
        Woodpecker,
        woodpecker,
        &[
            "paths: [docs/**, web/**]",
            // `on` has asked for it already.
            "if: changed('docs/**', 'web/**', 'x')",
            "if: (event.name == 'push' || event.name == 'tag') && changed('docs/**')",
        ],
    );
    assert_eq!(left_out(Woodpecker, woodpecker), []);
    let asked = "when: { event: push, path: 'docs/**' }\nsteps: [{ name: a, image: alpine, commands: [make], when: { event: push, path: 'docs/**' } }]\n";
    has_not(Woodpecker, asked, &["if: event.name == 'push' && changed('docs/**')"]);
    // One file has to be included, and one, which may be another, not excluded.
    let both = "steps: [{ name: a, image: alpine, commands: [make], when: { path: { include: [a**, b/**], exclude: ['*.md', c] } } }]\n";
    has(Woodpecker, both, &["if: changed('a*', 'b/**') && changed('!*.md', '!c')"]);
    // No path begins with a slash.
    let unsaid = "when: { event: push, path: '/docs' }\nsteps: [{ name: a, image: alpine, commands: [make] }]\n";
    has(Woodpecker, unsaid, &["if: event.name == 'push' && event.name != 'push'"]);
    assert_eq!(left_out(Woodpecker, unsaid), [(1, "path".to_owned())]);
    // Two filters of one event, of which `on` can have one.
    let two = "when: [{ event: push, branch: main, path: 'docs/**' }, { event: push, branch: next }]\n\
               steps: [{ name: a, image: alpine, commands: [make] }]\n";
    has(
        Woodpecker,
        two,
        &[
            "branches: [main, next]",
            "if: event.name == 'push' && event.branch == 'main' && changed('docs/**') || event.name == 'push' && event.branch == 'next'",
        ],
    );
    has_not(Woodpecker, two, &["paths:"]);
    let gitlab = "a: { image: alpine, script: [make], rules: [{ changes: ['docs/**'] }] }\n\
                  b: { image: alpine, script: [make], rules: [{ changes: ['docs/**'], when: never }, { when: always }] }\n\
                  c: { image: alpine, script: [make], rules: [{ exists: [Makefile] }] }\n\
                  d: { image: alpine, script: [make], only: { changes: ['docs/**'] } }\n\
                  e: { image: alpine, script: [make], except: { changes: ['docs/**'] } }\n\
                  f: { image: alpine, script: [make], rules: [{ changes: { paths: ['docs/**/*', 'a b'] } }] }\n\
                  g: { image: alpine, script: [make], variables: { D: lib }, rules: [{ if: $CI_COMMIT_TAG, changes: [$D/*.c] }] }\n\
                  h: { image: alpine, script: [make], rules: [{ changes: { paths: [a], compare_to: refs/heads/main } }] }\n\
                  i: { image: alpine, script: [make], rules: [{ changes: [$UNKNOWN/a], when: never }, { when: always }] }\n";
    let text = converted(GitLab, gitlab).text;
    let conditions: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("if: ")).collect();
    // A new branch changes everything there; two stars are one unless a folder's slash follows.
    let new = "event.name == 'push' && event.before == null";
    let changed = |patterns: &str| format!("changed({patterns}) || {new}");
    let expected = [
        changed("'docs/*'"),
        format!("always() && !({})", changed("'docs/*'")),
        "'false'".to_owned(),
        changed("'docs/*'"),
        format!("'!({})'", changed("'docs/*'").replace('\'', "''")),
        changed("'docs/**/*', 'a b'"),
        format!("event.name == 'tag' && ({})", changed("'lib/*.c'")),
        "event.name != 'push' && event.name != 'pull-request'".to_owned(),
        "'false'".to_owned(),
    ];
    assert_eq!(conditions, expected, "{text}");
    // A variable's value cannot ask which files have changed.
    let variable =
        "a: { image: alpine, script: ['echo $V'], rules: [{ changes: [a], variables: { V: x } }, { when: always }] }\n";
    assert_eq!(left_out(GitLab, variable), [(1, "V".to_owned())]);
    assert_eq!(left_out(GitLab, gitlab).len(), 3, "{:?}", left_out(GitLab, gitlab));
}

#[test]
fn what_an_action_keeps_between_builds_is_a_cache_or_is_said_to_be_gone() {
    let setup = |with: &str| {
        github(&format!("    steps: [{{ uses: actions/setup-node@v4, with: {{ {with} }} }}, {{ run: make }}]\n"))
    };
    has(
        GitHub,
        &setup("cache: npm"),
        &["path: [~/.npm]", "key: npm-${{ hash-files('**/package-lock.json', '**/npm-shrinkwrap.json') }}"],
    );
    assert_eq!(left_out(GitHub, &setup("cache: npm")), []);
    has(
        GitHub,
        &setup("cache: pnpm, cache-dependency-path: web/pnpm-lock.yaml"),
        &["key: pnpm-${{ hash-files('web/pnpm-lock.yaml') }}"],
    );
    assert_eq!(left_out(GitHub, &setup("cache: bower")), [(5, "cache".to_owned())]);
    assert_eq!(left_out(GitHub, &setup("package-manager-cache: false")), []);
    let go = github("    steps: [{ uses: actions/setup-go@v5, with: { cache: false } }, { run: make }]\n");
    has_not(GitHub, &go, &["cache"]);
}

#[test]
fn what_a_build_of_an_image_puts_out_is_put_out() {
    let text = github(
        "    steps:\n    - { id: b, uses: docker/build-push-action@v6, with: { push: true, tags: 'x:1' } }\n    \
         - run: sign \"x@${{ steps.b.outputs.digest }}\"\n",
    );
    has(GitHub, &text, &["set -- \"$@\" --metadata-file /tmp/longshore-built-image.json"]);
    let other = text.replace("outputs.digest", "outcome");
    has_not(GitHub, &other, &["metadata-file"]);
}

#[test]
fn two_services_that_open_one_port_are_warned_of() {
    let woodpecker = "steps: [{ name: a, image: alpine, commands: [make] }]\nservices:\n  db: { image: 'postgres:16' }\n  \
                      other: { image: 'docker.io/library/postgres:17' }\n";
    assert_eq!(left_out(Woodpecker, woodpecker), [(4, "other".to_owned())]);
    assert!(converted(Woodpecker, woodpecker).text.contains("it opens port 5432, as `db` does"));
    let drone = "kind: pipeline\nname: a\nsteps: [{ name: a, image: alpine, commands: [make] }]\nservices:\n\
                 - { name: db, image: mysql }\n- { name: cache, image: redis }\n- { name: new, image: 'mariadb:11' }\n";
    assert_eq!(left_out(Drone, drone), [(7, "new".to_owned())]);
    let gitlab =
        "a: { image: alpine, script: [make], services: ['postgres:16', { name: 'postgis/postgis', alias: geo }] }\n";
    assert_eq!(left_out(GitLab, gitlab).len(), 1);
    let hub = github(
        "    services: { a: { image: x, ports: ['8080:80'] }, b: { image: 'nginx:1' }, c: { image: y } }\n    steps: [{ run: make }]\n",
    );
    assert!(converted(GitHub, &hub).text.contains("it opens port 80, as `a` does"));
}

#[test]
fn variables_that_only_look_set_are_named() {
    let text = "a: { image: 'debian:12', script: ['docker build --build-arg DB_USER=$DB_USER -e \"KEY=$KEY\" .', 'MINE=1 make', 'echo $MINE'] }\n";
    assert!(converted(GitLab, text).text.contains("this file does not set `DB_USER` and `KEY`"));
}
