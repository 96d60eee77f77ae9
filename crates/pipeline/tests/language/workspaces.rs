//! Jobs that begin on the workspace of another.

use super::{built, check, facts, push, sound};

#[test]
fn a_job_that_begins_on_a_workspace_has_no_checkout_and_names_the_job_by_its_key() {
    let text = "
name: ci
jobs:
  build: { image: x, steps: [{ run: a }] }
  test: { image: x, needs: [{ job: build, workspace: true }], matrix: { n: ['1', '2'] }, steps: [{ run: a }] }
  after: { image: x, needs: [{ job: build, workspace: false }, test], steps: [{ run: a }] }
  report: { image: x, needs: [{ job: build, optional: true, workspace: true }], checkout: false, steps: [{ run: a }] }
";
    let jobs = built(sound(text).plan(&push("main"), &facts())).jobs;
    let found: Vec<_> =
        jobs.iter().map(|job| (job.name.as_str(), job.workspace_of.as_deref(), job.checkout.is_some())).collect();
    let on_build = Some("ci/build");
    assert_eq!(
        found,
        [
            ("build", None, true),
            ("test (1)", on_build, false),
            ("test (2)", on_build, false),
            ("after", None, true),
            ("report", on_build, false),
        ]
    );
    assert!(jobs[4].needs[0].optional);
}

#[test]
fn a_limit_is_named_for_jobs_that_begin_on_each_others_workspace() {
    let chain = |jobs: usize| {
        let mut text = "jobs:\n  j1: { image: x, steps: [{ run: a }] }\n".to_owned();
        for n in 2..=jobs {
            let before = n - 1;
            text += &format!(
                "  j{n}: {{ image: x, needs: [{{ job: j{before}, workspace: true }}], steps: [{{ run: a }}] }}\n"
            );
        }
        check(&text, &[]).diagnostics
    };
    assert_eq!(chain(12), []);
    let found = chain(13);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].message.starts_with("at most 12 jobs can start on each other's workspace"), "{found:?}");
}
