//! Reusable workflows of the repository.

use longshore_convert::{Converted, convert_within};
use longshore_pipeline::{self as pipeline, SourceFile, TemplateFiles, report};

use super::Language::GitHub;

/// Converts a workflow whose job `call` calls another one.
fn calling(more: &str, others: &str, called: &str) -> Converted {
    let text = format!("on: push\njobs:\n  call: {{ uses: ./.github/workflows/called.yml{more} }}\n{others}");
    let file = SourceFile::new(".github/workflows/ci.yml", text.as_str());
    let files = |path: &str| (path == ".github/workflows/called.yml").then(|| called.to_owned());
    let made = convert_within(GitHub, &file, ".longshore.yml", &files).unwrap();
    let checked = pipeline::check(&[SourceFile::new(".longshore.yml", made.text.as_str())], &TemplateFiles::new());
    assert!(!checked.has_errors(), "{}\n{}", report::human(&checked.diagnostics), made.text);
    made
}

#[track_caller]
fn has(made: &Converted, expected: &[&str]) {
    for line in expected {
        let found = made.text.lines().any(|found| found.trim().trim_start_matches("- ") == *line);
        assert!(found, "no line `{line}` in\n{}", made.text);
    }
}

const ONE: &str = "on: { workflow_call: { inputs: { what: { type: string, default: all }, deep: { type: boolean } }, secrets: { key: {} } } }\n\
                   env: { E: x }\njobs:\n  test:\n    runs-on: ubuntu-latest\n    steps:\n    - { run: 'make ${{ inputs.what }}', env: { K: '${{ secrets.key }}' } }\n    \
                   - { if: inputs.deep, run: ./deep }\n";

#[test]
fn the_jobs_of_a_called_workflow_become_jobs() {
    let made = calling(
        ", with: { what: this, deep: false }, secrets: { key: '${{ secrets.OURS }}' }, if: github.actor == 'x'",
        "",
        ONE,
    );
    has(
        &made,
        &[
            "call:",
            "if: event.sender == 'x'",
            "run: make this",
            "K: ${{ secrets.OURS }}",
            "name: OURS",
            "E: x",
            "if: 'false'",
        ],
    );
    assert!(made.left_out.is_empty(), "{:?}", made.left_out);
    // Defaults, and secrets of the same names.
    let made = calling(", secrets: inherit", "", ONE);
    has(&made, &["run: make all", "K: ${{ secrets.key }}", "if: 'false'"]);
    // A secret that it was not given is lost.
    let made = calling("", "", ONE);
    assert!(!made.text.contains("${{ secrets.key }}") && made.text.contains("if: 'false'"), "{}", made.text);
}

#[test]
fn others_wait_for_all_jobs_of_a_called_workflow() {
    let called = "on: { workflow_call: { outputs: { v: { value: '${{ jobs.a.outputs.v }}' } } } }\njobs:\n  \
                  a: { runs-on: ubuntu-latest, outputs: { v: '${{ steps.s.outputs.v }}' }, steps: [{ id: s, run: 'echo v=1 >> $GITHUB_OUTPUT' }] }\n  \
                  b: { needs: a, runs-on: ubuntu-latest, steps: [{ run: 'echo ${{ needs.a.outputs.v }}' }] }\n";
    let others = "  first: { runs-on: ubuntu-latest, steps: [{ run: one }] }\n  \
                  last: { needs: call, runs-on: ubuntu-latest, steps: [{ run: 'echo ${{ needs.call.outputs.v }} $GITHUB_SHA' }] }\n";
    let made = calling(", needs: first", others, called);
    has(
        &made,
        &[
            "call-a:",
            "call-b:",
            "needs: [first]",
            "needs: [call-a]",
            "needs: [call-a, call-b]",
            "NEEDS_A_OUTPUTS_V: ${{ needs.call-a.outputs.v }}",
            "NEEDS_CALL_OUTPUTS_V: ${{ needs.call-a.outputs.v }}",
        ],
    );
    // If one of its jobs went, nothing that waits for it runs.
    let made = calling(
        ", needs: first",
        others,
        &called.replace("b: { needs: a, runs-on: ubuntu-latest", "b: { needs: a, runs-on: windows-2025"),
    );
    assert!(made.text.contains("if: 'false'"), "{}", made.text);
}

#[test]
fn a_workflow_of_elsewhere_or_with_a_matrix_is_left() {
    let others = "  last: { needs: call, runs-on: ubuntu-latest, steps: [{ run: one }] }\n";
    let made = calling(", strategy: { matrix: { x: [a] } }", others, ONE);
    assert!(made.left_out.iter().any(|note| note.line == 3) && made.text.contains("if: 'false'"), "{}", made.text);
    assert!(
        !calling("", "", "on: push\njobs: { a: { runs-on: ubuntu-latest, steps: [{ run: x }] } }\n")
            .left_out
            .is_empty()
    );
}

#[test]
fn variables_that_scripts_of_other_files_use_are_set() {
    let called = "on: workflow_call\njobs: { a: { runs-on: ubuntu-latest, steps: [{ run: 'echo $GITHUB_SHA' }] } }\n";
    has(&calling("", "", called), &["GITHUB_SHA: ${{ event.sha }}"]);
}
