//! `reuse`: what a job depends on, and what it may not have besides.

use super::{check, job, push, sound};

fn text(keys: &str) -> String {
    format!("jobs:\n  a: {{ image: x, {keys}, steps: [{{ run: a }}] }}\n")
}

#[test]
fn a_job_that_an_earlier_success_may_stand_for_has_no_variable_that_differs_from_build_to_build() {
    let plan = |keys: &str| job(&format!("env: {{ OWN: b, CI_COMMIT_SHA: mine }}\n{}", text(keys)), &push("main"));
    let (whole, narrowed) = (plan("timeout: 1m"), plan("reuse: [src/**, '!src/*.md']"));
    assert_eq!(narrowed.reuse, ["src/**", "!src/*.md"]);
    assert!(whole.reuse.is_empty());
    let known = |name: &str| narrowed.env.get(name).and_then(|value| value.as_known());
    assert_eq!((known("CI"), known("OWN"), known("CI_COMMIT_SHA")), (Some("true"), Some("b"), Some("mine")));
    assert!(known("CI_REPO").is_some());
    for name in ["CI_COMMIT_BRANCH", "CI_PIPELINE_EVENT", "CI_COMMIT_AUTHOR"] {
        assert!(whole.env.contains_key(name) && !narrowed.env.contains_key(name), "{name}");
    }
    let other = job(&text("reuse: src"), &push("topic"));
    assert_eq!(job(&text("reuse: src"), &push("main")), other, "it is the same on another branch");
}

#[test]
fn a_plugin_in_such_a_job_is_not_told_the_number_of_its_build() {
    let plan = |keys: &str| {
        let text = format!("jobs: {{ a: {{ image: x, {keys}steps: [{{ image: plugins/x, with: {{ a: b }} }}] }} }}");
        job(&text, &push("main"))
    };
    assert!(plan("").steps[0].env.contains_key("DRONE_BUILD_NUMBER"));
    let narrowed = plan("reuse: src, ");
    assert!(!narrowed.steps[0].env.contains_key("DRONE_BUILD_NUMBER"));
    assert!(!narrowed.steps[0].env.contains_key("DRONE_COMMIT"));
}

#[test]
fn what_cannot_be_known_to_be_the_same_does_not_go_with_it() {
    for (keys, code, word) in [
        ("reuse: []", "LS016", "no glob"),
        ("reuse: ['!a']", "LS025", "only exceptions"),
        ("reuse: [/etc]", "LS025", "relative"),
        ("reuse: ['a/../../b']", "LS025", "relative"),
        ("reuse: ['[']", "LS025", "no path can match"),
        ("reuse: ['${{ event.branch }}']", "LS025", "expressions"),
        ("reuse: src, secrets: [A]", "LS053", "`secrets`"),
        ("reuse: src, docker: true", "LS053", "`docker`"),
        ("reuse: src, approval: 'Now?'", "LS053", "`approval`"),
        ("reuse: src, checkout: false", "LS053", "without a checkout"),
    ] {
        let found = check(&text(keys), &[]).diagnostics;
        assert!(found.iter().any(|found| found.code == code && found.message.contains(word)), "{keys}: {found:?}");
    }
    let on_another = "jobs:\n  b: { image: x, steps: [{ run: a }] }\n  a: { image: x, reuse: src, needs: [{ job: b, workspace: true }], steps: [{ run: a }] }\n";
    let found = check(on_another, &[]).diagnostics;
    assert!(found.iter().any(|found| found.message.contains("another one's workspace")), "{found:?}");
    sound(&text("reuse: src, docker: false, checkout: { lfs: true, submodules: true }"));
}
