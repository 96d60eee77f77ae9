//! Files that jobs hand on to others.

use super::{
    Language::{GitHub, GitLab},
    converted, has, has_not, left_out,
};

fn workflow(upload: &str, download: &str) -> String {
    format!(
        "on: push\njobs:\n  build:\n    runs-on: ubuntu-latest\n    steps:\n    - run: make\n    - {{ uses: actions/upload-artifact@v4, with: {upload} }}\n  \
         use:\n    needs: build\n    runs-on: ubuntu-latest\n    steps:\n    - {{ uses: actions/download-artifact@v4, with: {download} }}\n    - run: ./use\n"
    )
}

#[test]
fn a_download_is_a_need_with_artifacts() {
    for (upload, download) in [
        ("{ name: bin, path: dist/ }", "{ name: bin, path: dist }"),
        ("{ path: 'dist/*.whl' }", "{ name: artifact, path: ./dist }"),
        ("{ name: bin, path: out }", "{ pattern: 'b*', merge-multiple: true, path: out }"),
    ] {
        let text = workflow(upload, download);
        has(GitHub, &text, &["job: build", "run: ./use"]);
        has_not(GitHub, &text, &["download-artifact", "exit 1", "cp -a"]);
    }
}

#[test]
fn files_are_copied_to_where_the_action_put_them() {
    let text = workflow("{ name: bin, path: target/app }", "{ name: bin, path: here }");
    has(
        GitHub,
        &text,
        &[
            "mkdir -p \"here\"",
            "if [ -d \"target/app\" ]; then cp -a \"target/app/.\" \"here/\"; else cp -a \"target/app\" \"here/\"; fi",
        ],
    );
    // Without a name, each has a folder of its name.
    has(GitHub, &workflow("{ name: bin, path: 'a/*.so' }", "{ path: all }"), &["cp -a a/*.so \"all/bin/\""]);
}

#[test]
fn a_download_of_something_else_is_left_and_nothing_goes_on_without_it() {
    for (upload, download) in [
        ("{ name: bin, path: dist }", "{ name: other }"),
        ("{ name: bin, path: dist }", "{ name: bin, run-id: 7 }"),
        ("{ name: 'bin-${{ matrix.x }}', path: dist }", "{ pattern: 'bin-*' }"),
    ] {
        let text = workflow(upload, download);
        assert!(left_out(GitHub, &text).iter().any(|(line, _)| *line == 12), "{:?}", left_out(GitHub, &text));
        has(GitHub, &text, &["exit 1"]);
    }
    // A job of the matrix is found by the name that it makes.
    let made = workflow("{ name: 'bin-${{ matrix.x }}', path: dist }", "{ name: bin-a, path: dist }").replacen(
        "    steps:",
        "    strategy: { matrix: { x: [a, b] } }\n    steps:",
        1,
    );
    has_not(GitHub, &made, &["exit 1"]);
}

#[test]
fn jobs_of_gitlab_have_the_artifacts_of_all_stages_before_theirs() {
    let text = |more: &str| {
        format!(
            "stages: [one, two, three]\na: {{ stage: one, image: 'rust:1', script: [make], artifacts: {{ paths: [x] }} }}\n\
             b: {{ stage: two, image: 'rust:1', script: [make] }}\nc: {{ stage: three, image: 'rust:1', script: [./use]{more} }}\n"
        )
    };
    assert_eq!(converted(GitLab, &text("")).text.matches("job: a").count(), 2);
    // `dependencies` and `needs` say which.
    assert_eq!(converted(GitLab, &text(", dependencies: []")).text.matches("job: a").count(), 1);
    assert_eq!(converted(GitLab, &text(", needs: [{ job: a, artifacts: false }]")).text.matches("job: a").count(), 1);
    assert_eq!(converted(GitLab, &text(", needs: [a]")).text.matches("job: a").count(), 2);
}

#[test]
fn an_artifact_that_is_named_by_its_id_is_the_one_with_that_id() {
    let text = workflow("{ name: bin, path: dist }", "{ artifact-ids: '${{ needs.build.outputs.it }}', path: dist }")
        .replacen("    steps:", "    outputs: { it: '${{ steps.up.outputs.artifact-id }}' }\n    steps:", 1)
        .replace("{ uses: actions/upload", "{ id: up, uses: actions/upload");
    has_not(GitHub, &text, &["exit 1", "download-artifact"]);
    has(GitHub, &text, &["job: build"]);
    let other = text.replace("outputs.it", "outputs.other");
    has(GitHub, &other, &["exit 1"]);
}

#[test]
fn a_name_that_is_no_text_is_left_out_and_called_so() {
    let text = "build:\n  script: make\n  artifacts:\n    name: [a]\n    paths: [dist]\n";
    has(
        GitLab,
        text,
        &["paths: [dist]", "# not carried over: line 4, `name`: this form of it is not understood; write it by hand"],
    );
    has_not(GitLab, text, &["is not set here"]);
}
