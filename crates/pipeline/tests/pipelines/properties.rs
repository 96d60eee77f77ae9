//! Properties of any text: no panic, the same findings each time, a plan that survives JSON.

use std::collections::BTreeSet;

use longshore_core::{BuildPlan, EventName};
use longshore_pipeline::{Planned, SourceFile, report};
use proptest::prelude::*;

use super::{built, check, event, examples, facts, pull_request, push, source, text, yaml_files};

/// Texts that resemble pipelines more often than random ones.
fn pipeline_like() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "jobs",
        "steps",
        "run",
        "image",
        "matrix",
        "include",
        "exclude",
        "needs",
        "env",
        "on",
        "push",
        "branches",
        "if",
        "timeout",
        "defaults",
        "name",
        ":",
        ": ",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "\n      ",
        "{",
        "}",
        "[",
        "]",
        ",",
        "&a ",
        "*a",
        "<<",
        "|",
        ">-",
        "'",
        "\"",
        "\t",
        "${{",
        "}}",
        "matrix.x",
        "${{ matrix.x }}",
        "${{ event.title }}",
        "${{ needs.a.result }}",
        "${{ steps.a.outputs.b }}",
        "services",
        "secrets",
        "cache",
        "outputs",
        "artifacts",
        "concurrency",
        "retry",
        "checkout",
        "pull-request",
        "schedule",
        "cron",
        "manual",
        "inputs",
        "use",
        "with",
        "id",
        "always()",
        "'* * * * *'",
        "2",
        "true",
        "#",
        "a",
        "b",
        "é",
        "~",
        "1h",
        "!",
        "!!str",
        "---",
        "...",
        "? ",
        "\\",
        "%",
        "@",
        "always()",
        "\u{0}",
        "\r\n",
        "🦀",
        "**",
    ]);
    prop::collection::vec(word, 0..60).prop_map(|words| words.concat())
}

fn holds_of(text: &str) {
    let files = [SourceFile::new(".longshore.yml", text)];
    let first = check(&files);
    let second = check(&files);
    assert_eq!(first.diagnostics, second.diagnostics);
    for found in &first.diagnostics {
        assert!(found.span.line >= 1 && found.span.column >= 1 && found.span.length >= 1, "{found:?}");
        assert!(found.span.line as usize <= text.matches('\n').count() + 1, "{found:?}");
    }
    let _ = report::human(&first.diagnostics);
    let _ = report::sarif(&first.diagnostics);
    let by_hand = event(EventName::Manual, "refs/heads/main");
    for event in [push(), pull_request("opened"), event(EventName::Tag, "refs/tags/v1"), by_hand] {
        let planned = first.plan(&event, &facts());
        assert_eq!(planned, second.plan(&event, &facts()));
        let Planned::Build(plan) = planned else { continue };
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<BuildPlan>(&json).unwrap(), plan);
        let keys: BTreeSet<&String> = plan.jobs.iter().map(|job| &job.key).collect();
        assert_eq!(keys.len(), plan.jobs.len(), "keys are unique");
        assert!(plan.jobs.iter().flat_map(|job| &job.needs).all(|need| keys.contains(&need.key)), "needs are jobs");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>()) {
        holds_of(&text);
    }

    #[test]
    fn no_text_that_looks_like_a_pipeline_makes_the_reader_panic(text in pipeline_like()) {
        holds_of(&text);
    }

    #[test]
    fn accepted_pipelines_plan_the_same_each_time_and_survive_json(
        names in prop::collection::btree_set("[a-z][a-z0-9-]{0,8}", 1..6),
        axis in prop::collection::btree_set("[a-z0-9.]{1,5}", 1..5),
        run in "[ -~]{1,40}",
    ) {
        let names: Vec<String> = names.into_iter().collect();
        let mut file = "jobs:\n".to_owned();
        for (at, name) in names.iter().enumerate() {
            let needs = names[..at].join(", ");
            let axis = axis.iter().map(|value| format!("'{value}'")).collect::<Vec<_>>().join(", ");
            let run = format!("true {}", run.replace('\'', "''").replace("${{", ""));
            file.push_str(&format!(
                "  {name}: {{ image: 'x', needs: [{needs}], matrix: {{ v: [{axis}] }}, env: {{ V: '${{{{ matrix.v }}}}' }}, steps: [{{ run: '{run}' }}] }}\n"
            ));
        }
        let files = text(&file);
        prop_assert_eq!(report::human(&check(&files).diagnostics), "");
        let plan = built(&files, &push());
        prop_assert_eq!(plan.jobs.len(), names.len() * axis.len());
        holds_of(&file);
    }

    #[test]
    fn cutting_an_example_anywhere_never_panics(which in 0_usize..100, cut in any::<prop::sample::Index>()) {
        let files = yaml_files(&examples());
        let file = source(&files[which % files.len()]);
        let at = file.text.floor_char_boundary(cut.index(file.text.len() + 1));
        holds_of(&file.text[..at]);
    }
}
