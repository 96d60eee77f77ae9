//! Prints findings for people, for programs, and for forges that read SARIF.

use longshore_core::{Diagnostic, Severity, percent};
use serde_json::{Value, json};

use super::code::Code;

/// Findings for a terminal, with a count at the end; empty if there are none.
#[must_use]
pub fn human(diagnostics: &[Diagnostic]) -> String {
    let mut out = String::new();
    for found in diagnostics {
        out.push_str(&found.render());
        out.push('\n');
    }
    if let Some(count) = count(diagnostics) {
        out.push_str(&count);
        out.push('\n');
    }
    out
}

/// Counts the findings: `2 errors, 1 warning`; `None` if there are none.
fn count(diagnostics: &[Diagnostic]) -> Option<String> {
    let count_of = |severity| diagnostics.iter().filter(|found| found.severity == severity).count();
    let counted = |count: usize, word: &str| match count {
        0 => None,
        1 => Some(format!("1 {word}")),
        many => Some(format!("{many} {word}s")),
    };
    let parts = [counted(count_of(Severity::Error), "error"), counted(count_of(Severity::Warning), "warning")];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// `[{file, line, column, code, severity, message, help}]`; lines and columns count from 1, columns in characters.
#[must_use]
pub fn json(diagnostics: &[Diagnostic]) -> String {
    let list: Vec<Value> = diagnostics
        .iter()
        .map(|found| {
            json!({
                "file": found.file,
                "line": found.span.line,
                "column": found.span.column,
                "code": found.code,
                "severity": severity(found.severity),
                "message": found.message,
                "help": found.help,
            })
        })
        .collect();
    format!("{:#}\n", Value::Array(list))
}

/// Returns a SARIF 2.1.0 log with one run.
#[must_use]
pub fn sarif(diagnostics: &[Diagnostic]) -> String {
    let used: Vec<Code> =
        Code::ALL.iter().copied().filter(|code| diagnostics.iter().any(|found| found.code == code.as_str())).collect();
    let rules: Vec<Value> =
        used.iter().map(|code| json!({ "id": code.as_str(), "shortDescription": { "text": code.title() } })).collect();
    let results: Vec<Value> = diagnostics
        .iter()
        .map(|found| {
            let text = match &found.help {
                Some(help) => format!("{}\nHelp: {help}", found.message),
                None => found.message.clone(),
            };
            let mut region = json!({
                "startLine": found.span.line,
                "startColumn": found.span.column,
                "endColumn": found.span.column + found.span.length,
            });
            if let Some(source) = &found.source {
                region["snippet"] = json!({ "text": source });
            }
            let mut result = json!({
                "ruleId": found.code,
                "level": severity(found.severity),
                "message": { "text": text },
                "locations": [{ "physicalLocation": { "artifactLocation": { "uri": percent::encode_path(&found.file) }, "region": region } }],
            });
            if let Some(index) = used.iter().position(|code| code.as_str() == found.code) {
                result["ruleIndex"] = json!(index);
            }
            result
        })
        .collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "longshore",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": "https://github.com/longshore-ci/longshore",
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    format!("{log:#}\n")
}

const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}
