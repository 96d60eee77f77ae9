//! GitHub Actions.

use super::{Language::GitHub, converted, has, has_not, left_out};

/// A workflow with a job of these steps.
fn workflow(steps: &str) -> String {
    format!("on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n{steps}")
}

#[test]
fn the_name_of_a_ref_is_no_branch_in_pull_requests() {
    let text = "on: [push, pull_request]\njobs:\n  a:\n    if: github.ref_name == 'next'\n    runs-on: ubuntu-latest\n    env: { REF_NAME: '${{ github.ref_name }}' }\n    steps: [{ run: 'echo $GITHUB_REF_NAME' }]\n";
    let name = "event.name == 'pull-request' && format('{0}/merge', event.number) || event.branch || event.tag";
    has(
        GitHub,
        text,
        &[
            "if: event.ref == 'refs/heads/next' || event.ref == 'refs/tags/next'",
            &format!("REF_NAME: ${{{{ ({name}) }}}}"),
            &format!("GITHUB_REF_NAME: ${{{{ {name} }}}}"),
        ],
    );
}

#[test]
fn what_is_missing_equals_the_empty_text() {
    let text = workflow(
        "    - { id: x, run: ./x }\n    - { if: \"steps.x.outputs.y == ''\", run: one }\n    - { if: \"steps.x.outputs.y != ''\", run: two }\n",
    );
    has(GitHub, &text, &["if: '!steps.x.outputs.y'", "if: '!!steps.x.outputs.y'"]);
}

#[test]
fn a_false_value_of_the_matrix_is_false() {
    let text = "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    strategy: { matrix: { slow: [true, false] } }\n    steps:\n    \
                - { if: matrix.slow, run: one }\n    - { if: '!matrix.slow', run: two }\n    - { if: matrix.slow == false, run: three }\n";
    has(
        GitHub,
        text,
        &[
            "if: matrix.slow == 'true'",
            "if: '!(matrix.slow == ''true'')'",
            "if: '!matrix.slow || matrix.slow == ''false'''",
        ],
    );
}

#[test]
fn a_number_of_the_build_is_the_builds_number() {
    let text = "on: push\nenv: { V: '1.${{ github.run_number }}' }\nconcurrency: 'x-${{ github.run_id }}'\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps: [{ run: 'echo $V', name: 'build ${{ github.run_number }}' }]\n";
    has(GitHub, text, &["V: 1.${{ build.number }}", "concurrency:", "group: x-${{ event.sha }}"]);
    has_not(GitHub, text, &["V: 1.${{ event.sha }}", "name: build"]);
}

#[test]
fn events_have_the_names_that_the_workflow_knows() {
    let condition = |condition: &str| workflow(&format!("    - {{ if: \"{condition}\", run: make }}\n"));
    let names = converted(GitHub, &condition("!contains(fromJSON('[\\\"pull_request\\\"]'), github.event_name)")).text;
    assert!(names.contains("workflow_dispatch"), "{names}");
    has(
        GitHub,
        &condition("github.event.pull_request.head.repo.full_name == github.repository"),
        &["if: event.name == 'pull-request' && !event.fork"],
    );
    has(GitHub, &condition("github.event.action != 'ready_for_review'"), &["if: event.action != 'ready-for-review'"]);
    has(
        GitHub,
        &condition("contains(github.event.head_commit.message, 'x')"),
        &["if: contains(((event.name == 'push' || event.name == 'tag') && event.message || ''), 'x')"],
    );
    has(GitHub, &condition("runner.os == 'Linux' && github.actor == 'x'"), &["if: event.sender == 'x'"]);
    has(GitHub, &condition("runner.os == 'Windows'"), &["if: 'false'"]);
}

#[test]
fn a_cache_counts_as_missed() {
    let text = workflow(
        "    - { id: c, uses: actions/cache@v4, with: { path: x, key: k } }\n    - { if: \"steps.c.outputs.cache-hit != 'true'\", run: one }\n    \
                - { if: '!steps.c.outputs.cache-hit && github.actor', run: two }\n    - { if: \"steps.c.outputs.cache-hit == 'true'\", run: three }\n",
    );
    has(GitHub, &text, &["run: one", "if: event.sender", "if: 'false'"]);
    assert_eq!(converted(GitHub, &text).text.matches("if:").count(), 2);
    assert!(left_out(GitHub, &text).is_empty(), "{:?}", left_out(GitHub, &text));
}

#[test]
fn a_job_names_the_secrets_of_what_was_carried_over() {
    let text = workflow(
        "    - { uses: some/action@v1, env: { A: '${{ secrets.ONE }}' }, with: { b: '${{ secrets.TWO }}' } }\n    - { run: make, env: { C: '${{ secrets.THREE }}' } }\n",
    );
    has(GitHub, &text, &["name: THREE", "env: false"]);
}

#[test]
fn what_an_action_set_up_beyond_its_version_is_done_or_said() {
    let steps = |step: &str| workflow(&format!("    - {step}\n    - run: make\n"));
    has(
        GitHub,
        &steps("{ uses: ruby/setup-ruby@v1, with: { ruby-version: '3.4', bundler-cache: true } }"),
        &["image: ruby:3.4", "run: bundle install"],
    );
    has(
        GitHub,
        &steps("{ uses: dtolnay/rust-toolchain@beta, with: { components: 'clippy, rustfmt' } }"),
        &[
            "image: rust:1",
            "run: rustup toolchain install \"beta\" --profile minimal -c clippy -c rustfmt && rustup default \"beta\"",
        ],
    );
    has(
        GitHub,
        &steps("{ uses: dtolnay/rust-toolchain@1.80, with: { targets: wasm32-wasip1 } }"),
        &["image: rust:1.80", "run: rustup target add wasm32-wasip1"],
    );
    has(
        GitHub,
        &steps("{ uses: actions/setup-node@v4, with: { node-version: 24, registry-url: 'https://r.example/npm/' } }"),
        &[
            "run: printf '%s\\n' '//r.example/npm/:_authToken=${NODE_AUTH_TOKEN}' 'registry=https://r.example/npm/' >> ~/.npmrc",
        ],
    );
    for (step, what) in [
        ("{ uses: actions/setup-go@v5, with: { go-version-file: go.mod } }", "go-version-file"),
        ("{ uses: actions/setup-python@v5, with: { python-version: '>=3.9' } }", ">=3.9"),
        ("{ uses: shivammathur/setup-php@v2, with: { php-version: '8.4', extensions: gd } }", "extensions"),
        ("{ uses: actions/setup-python@v5, with: { python-version: 3.14t } }", "3.14t"),
    ] {
        assert!(
            left_out(GitHub, &steps(step)).iter().any(|(line, found)| *line == 6 && found == what),
            "{step} {:?}",
            left_out(GitHub, &steps(step))
        );
    }
}

#[test]
fn versions_of_the_matrix_choose_their_images_and_keep_their_names() {
    let text = "on: push\njobs:\n  a:\n    runs-on: ${{ matrix.os || 'ubuntu-latest' }}\n    strategy:\n      matrix:\n        include:\n        \
                - { py: '3.12' }\n        - { py: '3.12', os: macos-latest }\n        - { py: pypy-3.10 }\n        - { py: 3.13t }\n    steps:\n    \
                - { uses: actions/setup-python@v5, with: { python-version: '${{ matrix.py }}' } }\n    - run: make\n";
    has(
        GitHub,
        text,
        &["image: ${{ matrix.image || format('python:{0}', matrix.py) }}", "py: pypy-3.10", "image: pypy:3.10"],
    );
    has_not(GitHub, text, &["os: macos-latest", "py: 3.13t"]);
    assert_eq!(left_out(GitHub, text).iter().map(|(line, _)| *line).collect::<Vec<_>>(), [9, 11]);
    let axis = "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    strategy: { matrix: { node: [20.x, '22'] } }\n    steps:\n    \
                - { uses: actions/setup-node@v4, with: { node-version: '${{ matrix.node }}' } }\n    - { if: \"matrix.node != '20.x'\", run: make }\n";
    has(GitHub, axis, &["node: ['20.x', '22']", "image: node:20", "if: matrix.node != '20.x'"]);
}

#[test]
fn a_job_whose_matrix_is_not_what_it_was_never_runs() {
    let job = |matrix: &str| {
        format!(
            "on: push\njobs:\n  a:\n    runs-on: '${{{{ matrix.os }}}}'\n    strategy: {{ matrix: {matrix} }}\n    steps: [{{ run: 'make' }}]\n"
        )
    };
    has(GitHub, &job("'${{ fromJSON(needs.x.outputs.y) }}'"), &["if: 'false'"]);
    has(GitHub, &job("{ os: [windows-latest, macos-latest] }"), &["nothing:"]);
    has(GitHub, &job("{ os: [ubuntu-latest], of: '${{ fromJSON(inputs.x) }}' }"), &["if: 'false'"]);
    // An axis of mappings is one axis for each of their keys.
    let mappings = job("{ t: [{ os: ubuntu-latest, cc: gcc }, { os: macos-latest, cc: clang }] }")
        .replace("matrix.os", "matrix.t.os")
        .replace("make", "make ${{ matrix.t.cc }}");
    has(GitHub, &mappings, &["t_cc: gcc", "run: make ${{ matrix.t_cc }}"]);
    has_not(GitHub, &mappings, &["t_cc: clang"]);
}

#[test]
fn a_machine_says_its_processor_and_scripts_need_no_sudo() {
    let text = workflow("    - run: sudo -E apt-get update && sudo apt-get install -y jq; echo 'no sudo here'\n")
        .replace("ubuntu-latest", "ubuntu-24.04-arm");
    has(GitHub, &text, &["arch: arm64", "run: apt-get update && apt-get install -y jq; echo 'no sudo here'"]);
    let matrix = "on: push\njobs:\n  a:\n    runs-on: ${{ matrix.os }}\n    strategy: { matrix: { os: [ubuntu-24.04, ubuntu-24.04-arm] } }\n    steps: [{ run: make }]\n";
    has(GitHub, matrix, &["arch: ${{ ends-with(matrix.os, '-arm') && 'arm64' || 'amd64' }}"]);
    has(
        GitHub,
        &text.replace("    runs-on", "    container: x/y:1\n    runs-on"),
        &["run: sudo -E apt-get update && sudo apt-get install -y jq; echo 'no sudo here'"],
    );
    let labels = workflow("    - run: make\n").replace("ubuntu-latest", "[self-hosted, linux, gpu]");
    assert_eq!(left_out(GitHub, &labels), [(4, "gpu".to_owned())]);
}

#[test]
fn the_commit_before_a_pull_request_is_its_target_branch() {
    let text = workflow(
        "    - { uses: actions/checkout@v4, with: { fetch-depth: 0 } }\n    - run: ./check '${{ github.event.pull_request.base.sha }}' ${{ github.event.pull_request.head.sha }}\n",
    );
    has(GitHub, &text, &["depth: 0", "run: ./check ''\"origin/${CI_COMMIT_TARGET_BRANCH}\"'' ${{ event.sha }}"]);
}

#[test]
fn a_job_that_goes_says_why_step_by_step() {
    let text = workflow("    - run: echo ${{ vars.X }}\n    - uses: some/action@v1\n");
    assert_eq!(left_out(GitHub, &text).iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3, 6, 7]);
}

#[test]
fn a_job_that_waits_for_one_that_went_never_runs() {
    let text = "on: push\njobs:\n  a: { runs-on: windows-latest, steps: [{ run: make }] }\n  b: { needs: a, runs-on: ubuntu-latest, steps: [{ run: make }] }\n";
    has(GitHub, text, &["if: 'false'"]);
}

#[test]
fn a_workflow_that_only_events_of_elsewhere_start_never_runs() {
    let text =
        "on: { issues: { types: [opened] } }\njobs:\n  a: { runs-on: ubuntu-latest, steps: [{ run: ./publish }] }\n";
    has(GitHub, text, &["manual: {}", "if: 'false'"]);
}

#[test]
fn a_job_with_an_environment_waits_for_somebody() {
    let text =
        "on: push\njobs:\n  a: { environment: production, runs-on: ubuntu-latest, steps: [{ run: ./deploy }] }\n";
    has(GitHub, text, &["approval: Run a?"]);
    assert_eq!(left_out(GitHub, text), [(3, "environment".to_owned())]);
}

#[test]
fn steps_in_the_background_stay_there_and_are_waited_for_where_they_were() {
    let source = workflow(
        "    - { run: ./upload, background: true }\n    - { id: b, run: ./build, background: true }\n    - run: ./lint\n    - { wait: [b], timeout-minutes: 5 }\n    \
                - parallel: [{ run: one }, { run: two }]\n    - run: ./test\n",
    );
    let text = converted(GitHub, &source).text;
    let order = [
        "id: background-1",
        "background: true",
        "./upload",
        "id: b\n",
        "background: true",
        "./build",
        "./lint",
        "timeout: 5m",
        "wait: [b]",
        "id: background-2",
        "background: true",
        "run: one",
        "id: background-3",
        "background: true",
        "run: two",
        "wait: [background-2, background-3]",
        "./test",
        "if: '!cancelled()'",
        "wait: true",
    ];
    let mut rest = text.as_str();
    for part in order {
        rest = &rest[rest.find(part).unwrap_or_else(|| panic!("no `{part}` in its place in\n{text}"))..];
    }
    assert!(left_out(GitHub, &source).is_empty(), "{text}");
}

#[test]
fn nothing_waits_for_a_step_in_the_background_that_was_canceled() {
    let text = workflow(
        "    - { id: server, run: ./serve, background: true }\n    - { id: b, run: ./build, background: true }\n    - cancel: server\n    - wait-all:\n    - run: ./test\n",
    );
    let made = converted(GitHub, &text).text;
    assert!(made.contains("wait: [b]") && !made.contains("wait: true"), "{made}");
    assert_eq!(left_out(GitHub, &text)[0].1, "cancel");
    // One that was left out, or does nothing here, is not waited for either.
    let text =
        workflow("    - { id: a, uses: actions/checkout@v4, background: true }\n    - wait: a\n    - run: make\n");
    has(GitHub, &text, &["run: make"]);
    assert!(!converted(GitHub, &text).text.contains("wait"));
}

#[test]
fn what_comes_behind_a_group_of_steps_of_which_one_is_lost_does_not_run() {
    let text = workflow("    - parallel: [{ uses: some/unknown@v1 }, { run: one }]\n    - run: ./publish\n");
    let text = converted(GitHub, &text).text;
    let gate = text.find("exit 1").unwrap_or_else(|| panic!("no gate in\n{text}"));
    assert!(gate < text.find("./publish").unwrap(), "{text}");
}

#[test]
fn the_steps_of_a_local_action_are_written_out() {
    let action = "inputs: { who: { default: you }, how: { default: '' } }\noutputs: { said: { value: '${{ steps.say.outputs.it }}' } }\n\
                  runs:\n  using: composite\n  steps:\n  - { id: say, shell: bash, run: 'echo \"it=${{ inputs.who }} ${{ inputs.how }}\" >> \"$GITHUB_OUTPUT\"' }\n  \
                  - { if: \"inputs.how != ''\", shell: bash, run: '${{ github.action_path }}/more' }\n";
    let workflow = workflow("    - { id: tell, uses: ./.github/actions/tell, if: github.actor == 'x', with: { who: '${{ matrix.w }}' } }\n    - run: echo '${{ steps.tell.outputs.said }}'\n")
        .replace("    steps:", "    strategy: { matrix: { w: [a, b] } }\n    steps:");
    let file = longshore_pipeline::SourceFile::new("ci.yml", workflow.as_str());
    let files = |path: &str| (path == ".github/actions/tell/action.yml").then(|| action.to_owned());
    let converted = longshore_convert::convert_within(GitHub, &file, ".longshore.yml", &files).unwrap();
    for line in [
        "- id: tell-say",
        "run: echo \"it=${{ matrix.w }} \" >> \"$LONGSHORE_OUTPUT\"",
        "if: event.sender == 'x' && !!''",
        "run: /longshore/workspace/.github/actions/tell/more",
        "STEPS_TELL_OUTPUTS_SAID: ${{ steps.tell-say.outputs.it }}",
    ] {
        assert!(converted.text.contains(line), "no `{line}` in\n{}", converted.text);
    }
    assert!(converted.left_out.is_empty(), "{:?}", converted.left_out);
    // One that is not there is left.
    assert_eq!(left_out(GitHub, &workflow)[0].1, "uses: ./.github/actions/tell");
}

#[test]
fn popular_actions_have_counterparts() {
    let text = workflow(
        "    - { uses: Swatinem/rust-cache@v2 }\n    - { uses: taiki-e/install-action@v2, with: { tool: 'nextest@0.9.1,cargo-deny' } }\n    \
         - { uses: golangci/golangci-lint-action@v6, with: { version: v1.64, args: --timeout 5m } }\n    - { uses: goreleaser/goreleaser-action@v6, with: { args: release --clean } }\n    \
         - { uses: crate-ci/typos@v1.30.0 }\n    - { uses: hendrikmuhs/ccache-action@v1, with: { key: x } }\n    - { uses: arduino/setup-task@v2, with: { version: 3.40.0 } }\n    \
         - { uses: codecov/codecov-action@v5, with: { token: '${{ secrets.CODECOV }}', files: lcov.info } }\n    - uses: docker/setup-buildx-action@v3\n    \
         - { uses: docker/login-action@v3, with: { registry: r.example, username: me, password: '${{ secrets.WORD }}' } }\n    \
         - { id: meta, uses: docker/metadata-action@v5, with: { images: r.example/a } }\n    \
         - { uses: docker/build-push-action@v6, with: { push: \"${{ github.event_name != 'pull_request' }}\", tags: '${{ steps.meta.outputs.tags }}' } }\n    \
         - { uses: softprops/action-gh-release@v2, with: { token: '${{ secrets.RELEASE }}', files: dist/* } }\n",
    );
    has(
        GitHub,
        &text,
        &[
            "cargo install cargo-nextest --version 0.9.1 --locked",
            "cargo install cargo-deny --locked",
            "image: golangci/golangci-lint:v1.64",
            "run: golangci-lint run --timeout 5m",
            "image: goreleaser/goreleaser:latest",
            "run: goreleaser release --clean",
            "image: ghcr.io/crate-ci/typos:v1.30.0",
            "name: CODECOV",
            "name: RELEASE",
            "name: WORD",
            "docker: true",
            "BUILD_PUSH: ${{ event.name != 'pull-request' }}",
            "BUILD_TAGS: ${{ steps.meta.outputs.tags }}",
        ],
    );
    assert!(left_out(GitHub, &text).is_empty(), "{:?}", left_out(GitHub, &text));
    let one = workflow(
        "    - run: make\n    - uses: github/codeql-action/init@v3\n    - uses: github/codeql-action/analyze@v3\n    - uses: step-security/harden-runner@v2\n    - uses: actions/stale@v9\n",
    );
    assert_eq!(left_out(GitHub, &one).len(), 3);
}

#[test]
fn another_ref_than_the_builds_is_checked_out_by_a_step() {
    let text = |git_ref: &str| {
        workflow(&format!("    - {{ uses: actions/checkout@v4, with: {{ ref: \"{git_ref}\" }} }}\n    - run: make\n"))
    };
    has(
        GitHub,
        &text("next"),
        &["REF: next", "git fetch --no-tags origin \"$REF\"", "git checkout --detach FETCH_HEAD"],
    );
    has_not(
        GitHub,
        &text("${{ github.event.pull_request.head.sha || github.sha }}"),
        &["git fetch", "checkout: false"],
    );
    assert_eq!(left_out(GitHub, &text("${{ vars.REF }}")).len(), 1);
}

#[test]
fn a_group_of_one_job_cancels_nothing_of_other_builds() {
    let text = "on: push\njobs:\n  a:\n    concurrency: { group: deploy, cancel-in-progress: true }\n    runs-on: ubuntu-latest\n    steps: [{ run: make }]\n";
    has(GitHub, text, &["group: deploy"]);
    has_not(GitHub, text, &["cancel-in-progress: true"]);
    assert_eq!(left_out(GitHub, text), [(4, "cancel-in-progress".to_owned())]);
}

#[test]
fn a_key_that_the_matrix_or_the_inputs_do_not_have_is_the_empty_text() {
    let text = "on: { workflow_dispatch: { inputs: { a: {} } } }\njobs:\n  a:\n    runs-on: ${{ matrix.os }}\n    strategy:\n      matrix:\n        include:\n        \
                - { os: ubuntu-latest }\n        - { os: windows-latest, more: -x }\n    steps: [{ run: 'make ${{ matrix.more }} ${{ inputs.b }}', if: \"inputs.b == ''\" }]\n";
    has(GitHub, text, &["run: make", "if: '!'''''"]);
}

#[test]
fn a_toolchain_that_another_job_names_is_installed_from_the_environment() {
    let text = "on: push\njobs:\n  v: { runs-on: ubuntu-latest, outputs: { v: '${{ steps.v.outputs.v }}' }, steps: [{ id: v, run: './v >> $GITHUB_OUTPUT' }] }\n  \
                a:\n    needs: v\n    runs-on: ubuntu-latest\n    steps: [{ uses: dtolnay/rust-toolchain@master, with: { toolchain: '${{ needs.v.outputs.v }}' } }, { run: cargo test }]\n";
    has(
        GitHub,
        text,
        &[
            "TOOLCHAIN: ${{ needs.v.outputs.v }}",
            "run: rustup toolchain install \"$TOOLCHAIN\" --profile minimal && rustup default \"$TOOLCHAIN\"",
        ],
    );
}

#[test]
fn a_combination_whose_machine_stands_in_include_goes_with_it() {
    let text = "on: push\njobs:\n  a:\n    runs-on: '${{ matrix.os }}'\n    strategy:\n      matrix:\n        target: [linux, apple]\n        include:\n        \
                - { target: linux, os: ubuntu-latest }\n        - { target: apple, os: macos-latest }\n    steps: [{ run: make }]\n";
    has(GitHub, text, &["exclude:", "target: apple"]);
    has_not(GitHub, text, &["macos-latest"]);
    assert_eq!(left_out(GitHub, text), [(10, "include".to_owned())]);
    // A line that applies to all combinations leaves none.
    has(GitHub, &text.replace("{ target: apple, os: macos-latest }", "{ os: macos-latest, x: y }"), &["if: 'false'"]);
    // A machine that is an axis of its own has lost its values already.
    let axis = "on: push\njobs:\n  a:\n    runs-on: '${{ matrix.os }}'\n    strategy: { matrix: { os: [ubuntu-latest, macos-latest], include: [{ os: macos-latest, x: y }] } }\n    \
                steps: [{ run: make }]\n";
    has_not(GitHub, axis, &["exclude", "'false'"]);
}

#[test]
fn sudo_behind_a_pattern_of_case_is_taken_away() {
    has(
        GitHub,
        &workflow("    - run: 'case $X in a) sudo apt-get update ;; esac'\n"),
        &["run: case $X in a) apt-get update ;; esac"],
    );
}

#[test]
fn an_action_without_one_of_its_settings_never_runs() {
    for step in [
        "{ uses: golangci/golangci-lint-action@v9, with: { install-only: 'true' } }",
        "{ uses: softprops/action-gh-release@v2, with: { token: '${{ secrets.T }}', repository: other/place } }",
        "{ uses: crate-ci/typos@v1, with: { config: '${{ steps.x.outputs.y }}' } }",
    ] {
        let text = workflow(&format!("    - run: make\n    - {step}\n    - run: ./after\n"));
        has(GitHub, &text, &["if: 'false'", "exit 1"]);
        assert!(!left_out(GitHub, &text).is_empty());
    }
    let nightly =
        workflow("    - { uses: goreleaser/goreleaser-action@v6, with: { version: nightly, args: release } }\n");
    has(GitHub, &nightly, &["# `nightly` is not a tag of the image: latest stands in"]);
}
