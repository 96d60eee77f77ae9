//! All pipeline files of a repository.

use longshore_convert::{Language, Made, convert_all};
use longshore_pipeline::{self as pipeline, SourceFile, TemplateFiles, report};

/// Converts files, and checks their results beside each other.
fn all(language: Language, files: &[(&str, &str)]) -> Vec<Made> {
    let files: Vec<SourceFile> = files.iter().map(|(path, text)| SourceFile::new(*path, *text)).collect();
    let made = convert_all(language, &files, &|_| None);
    let results: Vec<SourceFile> = made
        .iter()
        .map(|one| SourceFile::new(format!(".longshore/{}", one.file), one.result.as_ref().unwrap().text.as_str()))
        .collect();
    let checked = pipeline::check(&results, &TemplateFiles::new());
    assert!(!checked.has_errors(), "{}", report::human(&checked.diagnostics));
    made
}

#[test]
fn pipelines_of_one_repository_have_different_names() {
    let workflow = "name: CI\non: push\njobs: { a: { runs-on: ubuntu-latest, steps: [{ run: make }] } }\n";
    let made =
        all(Language::GitHub, &[(".github/workflows/one.yml", workflow), (".github/workflows/two.yaml", workflow)]);
    let files: Vec<&str> = made.iter().map(|one| one.file.as_str()).collect();
    assert_eq!(files, ["one.yml", "two.yml"]);
    assert!(made[1].result.as_ref().unwrap().text.contains("name: two\n"));
}

#[test]
fn workflows_that_wait_for_each_other_are_jobs_of_one_pipeline() {
    let step = "steps: [{ name: a, image: 'alpine:3', commands: [make] }]\n";
    let made = all(
        Language::Woodpecker,
        &[
            (".woodpecker/deploy.yml", &format!("depends_on: [test]\nwhen: {{ event: tag }}\n{step}")),
            (".woodpecker/docs.yml", step),
            (".woodpecker/test.yml", step),
        ],
    );
    let sources: Vec<usize> = made.iter().map(|one| one.sources.len()).collect();
    assert_eq!(sources, [2, 1]);
    let text = &made[0].result.as_ref().unwrap().text;
    assert!(text.contains("needs: [test]\n    if: event.name == 'tag'\n"), "{text}");
}
