//! Reports of tests, of coverage and of findings.

use super::{Language::GitHub, Language::GitLab, converted, has, has_not, left_out};

#[test]
fn gitlabs_reports_of_tests_and_coverage_are_read_and_the_others_say_in_which_form_they_would_be() {
    let job = |reports: &str| format!("a:\n  image: alpine:3\n  script: [make]\n  artifacts:\n    reports:\n{reports}");
    let both = job(
        "      junit: [out/*.xml]\n      coverage_report: { coverage_format: cobertura, path: ./coverage/cobertura.xml }\n",
    );
    has(GitLab, &both, &["junit: [out/*.xml]", "coverage: [coverage/cobertura.xml]"]);
    assert_eq!(left_out(GitLab, &both), []);
    has(GitLab, &job("      cobertura: coverage.xml\n"), &["coverage: [coverage.xml]"]);
    for (report, why) in [
        ("      coverage_report: { coverage_format: jacoco, path: jacoco.xml }\n", "Cobertura's XML and lcov"),
        ("      codequality: gl-code-quality-report.json\n", "findings as SARIF"),
        ("      dotenv: build.env\n", "write `outputs`"),
        ("      terraform: plan.json\n", "`junit`, `coverage` and `sarif`"),
    ] {
        let text = job(report);
        assert_eq!(left_out(GitLab, &text).len(), 1, "{report}");
        assert!(converted(GitLab, &text).text.contains(why), "{}", converted(GitLab, &text).text);
        has_not(GitLab, &text, &["reports:"]);
    }
}

#[test]
fn actions_that_read_reports_become_reports_of_the_job_where_that_is_the_same() {
    let job = |step: &str| {
        format!("on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: make\n      - {step}\n")
    };
    for (step, expected) in [
        (
            "{ uses: mikepenz/action-junit-report@v5, if: always(), with: { report_paths: 'out/*.xml' } }",
            "junit: [out/*.xml]",
        ),
        ("{ uses: mikepenz/action-junit-report@v5 }", "junit: ['**/junit-reports/TEST-*.xml']"),
        (
            "{ uses: dorny/test-reporter@v2, if: '!cancelled()', with: { name: x, path: r.xml, reporter: jest-junit } }",
            "junit: [r.xml]",
        ),
        ("{ uses: EnricoMi/publish-unit-test-result-action/linux@v2, with: { files: 'a.xml' } }", "junit: [a.xml]"),
        ("{ uses: github/codeql-action/upload-sarif@v3, with: { sarif_file: lint.sarif } }", "sarif: [lint.sarif]"),
    ] {
        has(GitHub, &job(step), &["reports:", expected]);
        assert_eq!(left_out(GitHub, &job(step)), [], "{step}");
    }
    for step in [
        "{ uses: dorny/test-reporter@v2, with: { path: r.trx, reporter: dotnet-trx } }",
        "{ uses: mikepenz/action-junit-report@v5, if: failure(), with: { report_paths: 'out/*.xml' } }",
        "{ uses: EnricoMi/publish-unit-test-result-action@v2, with: { files: \"a/*.xml\\n!a/b.xml\" } }",
        "{ uses: github/codeql-action/upload-sarif@v3, with: { sarif_file: results } }",
        "{ uses: test-summary/action@v2, with: { paths: '${{ steps.x.outputs.y }}' } }",
    ] {
        has_not(GitHub, &job(step), &["reports:"]);
        assert_eq!(left_out(GitHub, &job(step)).len(), 1, "{step}");
    }
}

#[test]
fn a_job_that_publishes_pages_says_that_they_are_only_kept() {
    let text = "pages: { image: alpine:3, script: [make], artifacts: { paths: [public] } }\n";
    assert_eq!(left_out(GitLab, text), [(1, "pages".to_owned())]);
    has(GitLab, text, &["paths: [public]"]);
    assert_eq!(left_out(GitLab, &text.replace("pages:", "site:")), []);
}

#[test]
fn uv_is_installed_beside_the_python_that_the_image_has_and_no_other() {
    let job = |with: &str| {
        format!(
            "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - {{ uses: actions/setup-python@v5, with: {{ python-version: '3.12' }} }}\n      - {{ uses: astral-sh/setup-uv@v4{with} }}\n      - run: uv sync\n"
        )
    };
    has(GitHub, &job(""), &["image: python:3.12", "run: pip install uv"]);
    has(GitHub, &job(", with: { version: 0.5.1, python-version: '3.12' }"), &["run: pip install uv==0.5.1"]);
    for other in [", with: { python-version: '3.13' }", ", with: { version: 0.5.x }"] {
        has_not(GitHub, &job(other), &["pip install"]);
        assert_eq!(left_out(GitHub, &job(other)).len(), 1, "{other}");
    }
}
