//! `longshore convert`: what cannot be said exactly does less than its source, and is said.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod artifacts;
mod called;
mod containers;
mod folder;
mod gates;
mod github;
mod gitlab;
mod never_more;
mod reports;
mod withheld;

use longshore_convert as convert;
use longshore_convert::{Converted, Language};
use longshore_pipeline as pipeline;
use longshore_pipeline::{SourceFile, TemplateFiles, report};

/// Converts a file and checks that the result has no errors.
fn converted(language: Language, text: &str) -> Converted {
    let converted = convert::convert(language, &SourceFile::new("source.yml", text), ".longshore.yml").unwrap();
    let checked = pipeline::check(&[SourceFile::new(".longshore.yml", converted.text.as_str())], &TemplateFiles::new());
    assert!(!checked.has_errors(), "{}\n{}", report::human(&checked.diagnostics), converted.text);
    converted
}

/// Converts a file to text, without its indentation.
fn lines(language: Language, text: &str) -> Vec<String> {
    converted(language, text).text.lines().map(|line| line.trim().trim_start_matches("- ").to_owned()).collect()
}

/// Asserts that a file becomes one with these lines, whatever their indentation.
#[track_caller]
fn has(language: Language, text: &str, expected: &[&str]) {
    let lines = lines(language, text);
    for line in expected {
        assert!(lines.iter().any(|found| found == line), "no line `{line}` in\n{}", lines.join("\n"));
    }
}

/// Asserts that a file becomes one in which no line contains any of these texts.
#[track_caller]
fn has_not(language: Language, text: &str, unexpected: &[&str]) {
    let lines = lines(language, text);
    for part in unexpected {
        assert!(!lines.iter().any(|found| found.contains(part)), "`{part}` is in\n{}", lines.join("\n"));
    }
}

/// The notes of a conversion: line and key.
fn left_out(language: Language, text: &str) -> Vec<(u32, String)> {
    converted(language, text).left_out.iter().map(|note| (note.line, note.what.clone())).collect()
}
