//! What `changed('src/**')` is in an `if`: decided when the build is planned, and the same until its end.

use std::collections::{BTreeMap, BTreeSet};

use longshore_core::{
    Event,
    expression::{Value, changed_key},
};

use super::{filter::Patterns, model::Pipeline, plan::RepoFacts};

/// Adds a pattern for paths to others.
///
/// # Errors
/// Says what is wrong with the pattern, and what to write.
pub(super) fn add(patterns: &mut Patterns, written: &str) -> Result<(), (String, String)> {
    if let Err(reason) = patterns.add(written) {
        let help = "patterns are globs: `src/**`, `*.md`, `docs/{a,b}/**`, and `!**/*.md` to exclude";
        return Err((format!("invalid pattern: {reason}"), help.to_owned()));
    }
    if written.starts_with('/') || written.starts_with("./") {
        let path = written.trim_start_matches(['.', '/']);
        let help = format!("paths are relative to the repository's root: write `{path}`");
        return Err(("no path can match this".to_owned(), help));
    }
    Ok(())
}

/// Returns whether this is a pattern for paths, as `paths` and `changed()` take them.
#[must_use]
pub fn is_path_pattern(written: &str) -> bool {
    add(&mut Patterns::new(), written).is_ok()
}

/// Returns what each `changed()` of a pipeline is, by its [`changed_key`].
pub(super) fn answers(pipeline: &Pipeline, event: &Event, facts: &RepoFacts) -> Value {
    // A tag changes no file, and is not held up by that.
    let files = facts.changed_files.as_ref().filter(|_| event.tag().is_none());
    let asked: BTreeSet<Vec<String>> = pipeline.jobs.iter().flat_map(|job| job.changes()).collect();
    let answer = |patterns: Vec<String>| {
        let admits = files.is_none_or(|files| admits_any(&patterns, files));
        (changed_key(&patterns), Value::Bool(admits))
    };
    Value::Map(asked.into_iter().map(answer).collect::<BTreeMap<_, _>>())
}

fn admits_any(written: &[String], files: &[String]) -> bool {
    let mut patterns = Patterns::new();
    // All of them could be read when the file was checked.
    written.iter().all(|pattern| patterns.add(pattern).is_ok()) && files.iter().any(|file| patterns.admits(file))
}
