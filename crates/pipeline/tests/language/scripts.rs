//! What may become part of a script: what the commit's files say, and values from closed sets. Everything else is
//! refused, on every path that it can take.

use longshore_core::{Event, JobPlan};
use longshore_pipeline::Planned;

use super::{built, by_hand, check, facts, push, sound};

/// A job with these keys, in a pipeline whose `manual` has an input of each type, after a job with outputs.
fn pipeline(keys: &str) -> String {
    format!(
        "on:
  push:
  manual:
    inputs:
      free: {{ type: string, default: x }}
      one: {{ type: choice, options: [patch, minor] }}
      n: {{ type: number, default: 3 }}
      dry: {{ type: boolean, default: false }}
env: {{ LIT: literal, FREE: '${{{{ inputs.free }}}}', CHOSEN: '${{{{ inputs.one }}}}', REPO: '${{{{ repo.name }}}}' }}
jobs:
  a: {{ image: 'x:1', outputs: {{ v: '${{{{ steps.s.outputs.v }}}}', fixed: fixed }}, steps: [{{ id: s, run: a }}] }}
  b: {{ needs: [a], {keys} }}
"
    )
}

fn codes(text: &str, templates: &[(&str, &str)]) -> Vec<String> {
    let found = check(text, templates).diagnostics;
    found.into_iter().map(|found| found.code).filter(|code| code != "LS054").collect()
}

/// A pipeline whose last step has this expression in its script; the step before it has the id `s`.
fn script(expression: &str) -> String {
    let quoted = expression.replace('\'', "''");
    pipeline(&format!(
        "image: 'x:1', matrix: {{ m: [k, v] }}, steps: [{{ id: s, run: 'a' }}, {{ run: 'echo ${{{{ {quoted} }}}}' }}]"
    ))
}

const SMUGGLED: &[&str] = &[
    "inputs.free",
    "inputs['free']",
    "inputs",
    "inputs[matrix.m]",
    "inputs.free || 'x'",
    "inputs.dry && inputs.free || 'x'",
    "'x' && inputs.free",
    "format('{0}', inputs.free)",
    "format(inputs.free)",
    "join(from-json(inputs.free), inputs.free)",
    "from-json(to-json(inputs)).free",
    "from-json(format('{{\"dry\":{0}}}', to-json(inputs))).dry.free",
    "needs.a.outputs.v",
    "needs.a.outputs.fixed",
    "needs['a']['outputs']['v']",
    "to-json(needs.a)",
    "to-json(needs)",
    "from-json(to-json(needs)).a.result",
    "needs[matrix.m].result",
    "steps.s.outputs.anything",
    "to-json(steps)",
    "(steps.s || needs.a).outcome",
    "event.branch",
    "event.action",
    "event.cron",
    "event.default-branch",
    "event[matrix.m]",
    "from-json(format('{{\"a\":{{\"name\":{0}}}}}', to-json(event))).a.name",
    "repo.name",
    "repo.default-branch",
    "repo.clone-url",
    "build.url",
    "to-json(build)",
    "env.FREE",
    "env.REPO",
    "env.CI_COMMIT_TITLE",
    "env.CI_COMMIT_SHA",
    "env.NOT_IN_THE_FILE",
    "env[matrix.m]",
    "to-json(env)",
];

#[test]
fn text_that_the_author_did_not_write_gets_into_no_script() {
    for expression in SMUGGLED {
        let text = script(expression);
        let found = codes(&text, &[]);
        assert!(
            found.iter().any(|code| matches!(code.as_str(), "LS044" | "LS059" | "LS042")),
            "{expression}: {found:?}"
        );
        let Planned::Broken(_) = check(&text, &[]).plan(&push("main"), &facts()) else {
            assert!(check(&text, &[]).has_errors(), "{expression}");
            continue;
        };
    }
}

#[test]
fn nor_by_any_other_way_or_into_any_other_place() {
    for keys in [
        "image: 'x:1', steps: [{ run: a, shell: 'sh ${{ inputs.free }}' }]",
        "image: 'x:1', steps: [{ run: a, working-directory: '${{ needs.a.outputs.v }}' }]",
        "image: 'x:${{ inputs.free }}', steps: [{ run: a }]",
        "image: 'x:${{ needs.a.outputs.v }}', steps: [{ run: a }]",
        "image: '${{ repo.name }}', steps: [{ run: a }]",
        "image: 'x:1', steps: [{ image: 'p:${{ inputs.free }}' }]",
        "image: 'x:1', steps: [{ image: 'p:1', command: [echo, '${{ inputs.free }}'] }]",
        "image: 'x:1', steps: [{ image: 'p:1', entrypoint: '${{ needs.a.outputs.v }}' }]",
        "image: 'x:1', services: { db: '${{ inputs.free }}' }, steps: [{ run: a }]",
        "image: 'x:1', services: { db: { image: 'p:1', command: ['${{ event.branch }}'] } }, steps: [{ run: a }]",
        "image: 'x:1', services: { db: { image: 'p:1', entrypoint: ['${{ needs.a.outputs.v }}'] } }, steps: [{ run: a }]",
        // Through variables, and variables of those.
        "image: 'x:1', env: { A: '${{ needs.a.outputs.v }}' }, steps: [{ run: 'echo ${{ env.A }}' }]",
        "image: 'x:1', env: { A: '${{ env.FREE }}' }, steps: [{ run: 'echo ${{ env.A }}' }]",
        "image: 'x:1', env: { A: 'v-${{ env.REPO }}' }, steps: [{ run: 'echo ${{ env.A }}' }]",
        "image: 'x:1', steps: [{ run: 'echo ${{ env.A }}', env: { A: '${{ inputs.free }}' } }]",
        "image: 'x:1', env: { A: lit }, steps: [{ run: 'echo ${{ env.B }}', env: { B: '${{ env.A }}' } }]",
        // A step writes to LONGSHORE_ENV.
        "image: 'x:1', steps: [{ run: 'echo A=b >> $LONGSHORE_ENV' }, { run: 'echo ${{ env.A }}' }]",
        "image: 'x:1', secrets: [T], env: { A: lit }, steps: [{ run: 'echo ${{ env.T }}' }]",
    ] {
        let found = codes(&pipeline(keys), &[]);
        assert!(found.iter().any(|code| matches!(code.as_str(), "LS044" | "LS045" | "LS059")), "{keys}: {found:?}");
    }
    let defaults = |defaults: &str| {
        format!(
            "on: {{ manual: {{ inputs: {{ free: {{}}, one: {{ options: [a] }} }} }} }}\ndefaults: {{ image: 'x:1', {defaults} }}\njobs: {{ b: {{ steps: [{{ run: a }}] }} }}\n"
        )
    };
    for written in [
        "shell: 'sh ${{ inputs.free }}'",
        "working-directory: '${{ event.branch }}'",
        "working-directory: '${{ repo.name }}'",
    ] {
        assert!(!codes(&defaults(written), &[]).is_empty(), "{written}");
    }
    let image = "defaults: { image: 'x:${{ event.branch }}' }\njobs: { b: { steps: [{ run: a }] } }\n";
    assert_eq!(codes(image, &[]), ["LS044"]);
}

#[test]
fn a_templates_free_text_is_judged_by_what_it_is_given() {
    let template = "inputs: { p: { type: string }, one: { type: choice, options: [a, b] } }\njob: { image: 'x:1', steps: [{ run: 'echo ${{ inputs.p }}${{ inputs.one }}' }] }\n";
    let of = |with: &str| {
        let text = format!(
            "on: {{ push: , manual: {{ inputs: {{ free: {{}}, p: {{}}, one: {{ options: [a] }} }} }} }}\njobs: {{ b: {{ use: ./t.yml, with: {{ {with} }} }} }}\n"
        );
        codes(&text, &[("t.yml", template)])
    };
    for with in
        ["p: literal", "p: '${{ inputs.one }}'", "p: 'v${{ event.number }}'", "one: a", "one: '${{ inputs.free }}'"]
    {
        assert_eq!(of(with), <[&str; 0]>::default(), "{with}");
    }
    for with in [
        "p: '${{ inputs.free }}'",
        "p: 'x-${{ event.branch }}'",
        "p: '${{ repo.name }}'",
        "p: \"${{ inputs.one && inputs.free || 'x' }}\"",
    ] {
        assert!(!of(with).is_empty(), "{with}");
    }
    // The pipeline's choice and the template's free text of the same name are different inputs.
    let text = "on: { push: , manual: { inputs: { level: { options: [a] } } } }\ndefaults: { shell: 'sh ${{ inputs.level }}' }\njobs: { b: { use: ./t.yml, with: { level: '${{ event.title }}' } } }\n";
    let template = "inputs: { level: {} }\njob: { image: 'x:1', steps: [{ run: a }] }\n";
    assert_eq!(codes(text, &[("t.yml", template)]), ["LS043"]);
    let text = text.replace("sh ${{ inputs.level }}", "sh");
    let template = "inputs: { level: {} }\njob: { image: 'x:${{ inputs.level }}', steps: [{ run: a }] }\n";
    assert_eq!(codes(&text, &[("t.yml", template)]), ["LS044"]);
}

#[test]
fn what_the_file_says_and_what_is_closed_may_become_script() {
    let plan =
        |keys: &str, event: &Event| -> JobPlan { built(sound(&pipeline(keys)).plan(event, &facts())).jobs.remove(1) };
    let event = by_hand(&[("one", "minor"), ("free", "$(id)")]);
    for (expression, expected) in [
        ("inputs.one", "minor"),
        ("inputs.n", "3"),
        ("inputs.dry", "false"),
        ("inputs.free == '$(id)' && 'same' || 'other'", "same"),
        ("inputs.free && 'given'", "given"),
        ("contains(inputs.free, 'id')", "true"),
        ("event.name", "manual"),
        ("event.sha-short", "1f0c2d3e"),
        ("env.LIT", "literal"),
        ("env['LIT'] || 'x'", "literal"),
        ("env.CHOSEN", "minor"),
        ("env.STEP", "step"),
        ("env.CI_WORKSPACE", "/longshore/workspace"),
        ("format('{0}-{1}', env.LIT, inputs.n)", "literal-3"),
        ("join(from-json('[1,2]'), env.LIT)", "1literal2"),
    ] {
        let quoted = expression.replace('\'', "''");
        let keys = format!("image: 'x:1', steps: [{{ run: 'echo ${{{{ {quoted} }}}}', env: {{ STEP: step }} }}]");
        let run = plan(&keys, &event).steps[0].run.clone().unwrap();
        assert_eq!(run.as_known(), Some(format!("echo {expected}").as_str()), "{expression}");
    }
    let open = plan(
        "image: 'x:1', steps: [{ id: s, run: a }, { run: 'echo ${{ env.LIT || steps.s.outcome }}${{ needs.a.result }}${{ build.number }}' }]",
        &event,
    );
    // Known values are put in now, and no step can change them later.
    assert_eq!(
        open.steps[1].run.as_ref().unwrap().shown(),
        "echo ${{ 'literal' || steps.s.outcome }}${{ needs.a.result }}${{ build.number }}"
    );
    assert!(open.scripts_judged);
    assert_eq!(open.foreign_in_scripts(), None);
    let image = plan("image: \"x:${{ needs.a.outputs.v == '1' && 'one' || env.LIT }}\", steps: [{ run: a }]", &event);
    assert_eq!(image.image.shown(), "x:${{ needs.a.outputs.v == '1' && 'one' || 'literal' }}");
}

#[test]
fn the_help_writes_the_lines() {
    let text = script("inputs.free || 'x'");
    let found = check(&text, &[]).diagnostics;
    let found = found.iter().find(|found| found.code == "LS059").unwrap();
    assert_eq!(
        found.help.as_deref(),
        Some(
            "pass it through the environment: `env: { FREE_VALUE: '${{ inputs.free || ''x'' }}' }`, and write \"$FREE_VALUE\" in the script"
        )
    );
    let mended = text.replace(
        "echo ${{ inputs.free || ''x'' }}' }",
        "echo \"$FREE_VALUE\"', env: { FREE_VALUE: '${{ inputs.free || ''x'' }}' } }",
    );
    assert_ne!(mended, text);
    assert_eq!(codes(&mended, &[]), <[&str; 0]>::default(), "{mended}");
    let found = check(&script("repo.name"), &[]).diagnostics;
    assert!(
        found
            .iter()
            .any(|found| found.help.as_deref() == Some("use the environment variable \"$CI_REPO\", in double quotes"))
    );
}

#[test]
fn values_of_a_step_in_the_background_are_asked_for_when_nothing_waits() {
    let of = |last: &str, outputs: &str| {
        let text = format!(
            "jobs: {{ a: {{ image: 'x:1', outputs: {{ {outputs} }}, steps: [{{ id: bg, run: a, background: true, timeout: 1s, retry: 2 }}, {last}] }} }}"
        );
        codes(&text, &[])
    };
    assert_eq!(of("{ run: b }", "v: '${{ steps.bg.outputs.v }}'"), <[&str; 0]>::default());
    assert_eq!(of("{ run: b, env: { V: '${{ steps.bg.outputs.v }}' } }", ""), ["LS060"]);
    assert_eq!(of("{ run: b, if: steps.bg.outcome == 'success' }", ""), ["LS060"]);
    assert_eq!(of("{ run: 'echo ${{ steps.bg.outcome }}' }", ""), ["LS060"]);
    let asks = "{ run: 'echo ${{ steps.bg.outcome }}' }";
    for waits in ["true", "bg", "[bg]"] {
        assert_eq!(of(&format!("{{ wait: {waits} }}, {asks}"), ""), <[&str; 0]>::default());
        assert_eq!(of(&format!("{asks}, {{ wait: {waits} }}"), ""), ["LS060"]);
    }
}

#[test]
fn a_step_waits_for_steps_in_the_background_that_come_before_it_and_does_nothing_else() {
    let of = |steps: &str| {
        let text = format!("jobs: {{ a: {{ image: 'x:1', steps: [{steps}] }} }}");
        let found = check(&text, &[]).diagnostics;
        found.into_iter().map(|found| format!("{} {}", found.code, found.message)).collect::<Vec<_>>()
    };
    let beside = "{ id: bg, run: a, background: true }";
    assert_eq!(
        of(&format!("{beside}, {{ id: w, name: n, if: always(), timeout: 1m, continue-on-error: true, wait: bg }}")),
        <[&str; 0]>::default()
    );
    for (steps, says) in [
        ("{ run: a }, { wait: true }", "LS066 no step before this one runs in the background"),
        ("{ wait: bg }, { id: bg, run: a, background: true }", "LS066 the step `bg` comes later"),
        ("{ id: a, run: a }, { wait: [a] }", "LS066 the step `a` does not run in the background"),
        ("{ run: a }, { wait: bg }", "LS066 the step `bg` is not there"),
        ("{ id: bg, run: a, background: true }, { wait: [] }", "LS016 `wait` names no step"),
        (
            "{ id: bg, run: a, background: true }, { wait: bg, run: b }",
            "LS053 a step with `wait` runs nothing, but this one has `run`",
        ),
        (
            "{ id: bg, run: a, background: true }, { wait: bg, background: true }",
            "LS053 a step with `wait` runs nothing, but this one has `background`",
        ),
    ] {
        assert_eq!(of(steps), [says], "{steps}");
    }
}

#[test]
fn a_matrix_of_outputs_says_what_to_write_instead() {
    for matrix in [
        "'${{ from-json(needs.a.outputs.v) }}'",
        "{ v: '${{ from-json(needs.a.outputs.v) }}' }",
        "{ include: '${{ from-json(needs.a.outputs.v) }}' }",
    ] {
        let found =
            check(&pipeline(&format!("image: 'x:1', matrix: {matrix}, steps: [{{ run: a }}]")), &[]).diagnostics;
        let found: Vec<_> = found.iter().filter(|found| found.code == "LS014").collect();
        assert_eq!(found.len(), 1, "{matrix}");
        assert!(
            found[0].help.as_deref().is_some_and(|help| help.contains("matrices from outputs are not supported")),
            "{found:?}"
        );
    }
}

#[test]
fn a_file_that_cannot_be_read_is_the_one_that_is_named() {
    assert_eq!(longshore_pipeline::unreadable(".longshore.yml", "is a link").file, ".longshore.yml");
}
