//! Steps that could not be carried over, and what comes after them.

use super::{
    Language::{Drone, GitHub, Woodpecker},
    converted, has, has_not,
};

fn workflow(steps: &str) -> String {
    format!("on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n    - run: make\n{steps}")
}

/// The line with which what stands in for a lost step fails.
const FAILS: &str = "exit 1";

#[test]
fn nothing_after_a_lost_step_runs_as_if_it_had_succeeded() {
    let text = workflow("    - { uses: some/check@v1, if: github.ref == 'refs/heads/x' }\n    - run: ./deploy\n");
    has(
        GitHub,
        &text,
        &["name: 'not carried over: some/check@v1'", "if: event.ref == 'refs/heads/x'", FAILS, "run: ./deploy"],
    );
    let converted = converted(GitHub, &text);
    assert!(converted.text.find("exit 1") < converted.text.find("./deploy"), "{}", converted.text);
    assert_eq!(converted.left_out.len(), 1);
    // A script that could not be said is one, too.
    has(GitHub, &workflow("    - run: ./check ${{ vars.X }}\n    - run: ./deploy\n"), &[FAILS]);
    // One that was cut by the check of the result, too.
    has(
        GitHub,
        &workflow("    - { run: 'print(\"${{ github.head_ref }}\")', shell: python }\n    - run: ./deploy\n"),
        &[FAILS],
    );
}

#[test]
fn another_job_does_not_run_after_a_lost_step_either() {
    let text = format!(
        "{}  b: {{ needs: a, runs-on: ubuntu-latest, steps: [{{ run: ./deploy }}] }}\n",
        workflow("    - uses: some/check@v1\n")
    );
    has(GitHub, &text, &[FAILS]);
    has_not(GitHub, &workflow("    - uses: some/check@v1\n"), &[FAILS]);
}

#[test]
fn what_only_prepares_or_tells_stops_nothing() {
    for step in [
        "uses: some/setup-tool@v1",
        "uses: some/slack-action@v1",
        "{ uses: some/check@v1, continue-on-error: true }",
        "{ uses: some/check@v1, if: failure() }",
    ] {
        has_not(GitHub, &workflow(&format!("    - {step}\n    - run: ./deploy\n")), &[FAILS]);
    }
}

#[test]
fn a_step_that_asks_a_lost_one_waits_for_it() {
    let text = workflow(
        "    - { id: what, uses: some/setup-filter@v1 }\n    - { if: \"steps.what.outputs.docs != 'true'\", run: ./deploy }\n    \
         - { run: 'rm -r ./x/${{ steps.what.outputs.dir }}' }\n",
    );
    has(GitHub, &text, &["id: what", FAILS, "if: steps.what.outputs.docs != 'true'"]);
}

#[test]
fn a_step_without_one_of_its_variables_never_runs() {
    let step =
        |value: &str| workflow(&format!("    - {{ run: ./deploy, env: {{ WHERE: '{value}' }} }}\n    - run: ./tell\n"));
    has(GitHub, &step("${{ vars.WHERE }}"), &["if: 'false'", FAILS]);
    has(GitHub, &step("${{ steps.nothing.outputs.x }}"), &["if: 'false'"]);
    has_not(GitHub, &step("${{ secrets.GITHUB_TOKEN }}"), &["if: 'false'", FAILS]);
    // A variable of the job or the workflow is lost to those that use it.
    for place in ["env: { WHERE: '${{ vars.WHERE }}' }\non", "on"] {
        let job = if place == "on" { "    env: { WHERE: '${{ vars.WHERE }}' }\n    steps:" } else { "    steps:" };
        let text = workflow("    - run: ./deploy \"$WHERE\"\n").replacen("on", place, 1).replacen("    steps:", job, 1);
        has(GitHub, &text, &["run: make", "if: 'false'"]);
        assert_eq!(converted(GitHub, &text).text.matches("if: 'false'").count(), 1);
    }
}

#[test]
fn a_container_after_a_lost_one_does_not_run() {
    let steps = |first: &str, more: &str| {
        format!(
            "steps:\n- {{ name: deploy, image: 'alpine:3', commands: [./deploy]{more} }}\n- {first}\n- {{ name: end, image: 'alpine:3', commands: [./end] }}\n"
        )
    };
    let lost = "{ name: check, image: '${NOT_KNOWN}', commands: [./check], when: { event: push } }";
    for (language, head) in [(Woodpecker, ""), (Drone, "kind: pipeline\nname: a\n")] {
        let text = format!("{head}{}", steps(lost, ", depends_on: [check]"));
        has(language, &text, &["name: 'not carried over: check'", "if: event.name == 'push'", FAILS]);
        let made = converted(language, &text).text;
        assert!(made.find("exit 1") < made.find("run: ./deploy"), "{made}");
    }
    // A plugin that never runs because it lost a setting.
    let plugin = "{ name: push, image: 'x/push:1', settings: { tag: '${NOT_KNOWN}' } }";
    has(Woodpecker, &steps(plugin, ""), &["if: 'false'", FAILS]);
    has_not(Woodpecker, &steps("{ name: tell, image: 'x/slack:1', settings: { a: '${NOT_KNOWN}' } }", ""), &[FAILS]);
}
