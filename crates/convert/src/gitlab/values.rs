//! Variables of GitLab: their values, with what they refer to filled in.

use std::cell::Cell;

use longshore_pipeline::tree::Entry;

use super::super::{
    Language,
    draft::{Value, Variable},
    foreign::{self, boolean, text_or_empty},
    shell, variables,
};

/// Fills in the variables of a text. The error names the variable that is not known.
pub(super) type Fill<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// The note on a text with a variable that the file does not set.
pub(super) fn unknown(name: &str) -> String {
    format!("{name} is not set here: write the value")
}

/// The value of a variable, which may be a mapping. A variable that is not expanded has each `$` twice.
pub(super) fn value_of(variable: &Entry) -> Option<String> {
    let inner = super::super::entry(&variable.value, "value").map_or(&variable.value, |inner| &inner.value);
    let raw =
        super::super::entry(&variable.value, "expand").is_some_and(|expand| boolean(&expand.value) == Some(false));
    text_or_empty(inner).map(|value| if raw { value.replace('$', "$$") } else { value.to_owned() })
}

/// `CI_COMMIT_BRANCH`, which is not set in merge request pipelines.
pub(super) const COMMIT_BRANCH: &str = "event.name != 'pull-request' && event.branch || ''";

/// Returns the variable of this name: the last one, as a job's own variables follow those of the file.
pub(super) fn find<'v>(variables: &'v [Variable], name: &str) -> Option<&'v Variable> {
    variables.iter().rev().find(|variable| variable.name == name)
}

/// Fills in the variables of a text: those of the job, of the file, of its matrix, and GitLab's own.
pub(super) fn fill(written: &str, known: &[Variable], axes: &[String]) -> Result<String, String> {
    fill_within(written, known, axes, 5, &Cell::new(500))
}

/// `remaining` is how many variables may still be filled in, because their values have variables, too.
fn fill_within(
    written: &str,
    known: &[Variable],
    axes: &[String],
    depth: usize,
    remaining: &Cell<usize>,
) -> Result<String, String> {
    if !written.contains('$') {
        return Ok(written.to_owned());
    }
    let value = |name: &str, operation: &str| {
        remaining.set(remaining.get().checked_sub(1)?);
        if !operation.is_empty() {
            return None;
        }
        if axes.iter().any(|axis| axis == name) {
            return Some(format!("${{{{ matrix.{name} }}}}"));
        }
        match find(known, name) {
            Some(Variable { value, .. }) if depth > 0 && value.len() < 4096 => {
                fill_within(value, known, axes, depth - 1, remaining).ok()
            }
            Some(_) => None,
            None if name == "CI_COMMIT_BRANCH" => Some(variables::written(COMMIT_BRANCH)),
            None => variables::expression(Language::GitLab, name).map(variables::written),
        }
    };
    shell::fill(written, true, &value)
}

/// Whether a variable controls the checkout, as the key `checkout` of a job does here.
pub(super) fn is_checkout(name: &str) -> bool {
    matches!(name, "GIT_DEPTH" | "GIT_STRATEGY" | "GIT_SUBMODULE_STRATEGY")
}

/// Converts a variable, with its value filled in.
pub(super) fn variable(variable: &Variable, known: &[Variable], axes: &[String]) -> Result<(String, Value), String> {
    let name = variable.name.as_str();
    const ENGINE: &[&str] =
        &["DOCKER_HOST", "DOCKER_TLS_CERTDIR", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_DRIVER"];
    const RUNNER: &[&str] = &["GIT_CLEAN_FLAGS", "GIT_CHECKOUT", "GIT_FETCH_EXTRA_FLAGS", "GIT_SUBMODULE_DEPTH"];
    if ENGINE.contains(&name) {
        return Err("`docker: true` sets what a client of the engine needs".to_owned());
    }
    if RUNNER.contains(&name) || name.starts_with("FF_") {
        return Err("it says something to the runner: `checkout` has `depth`, `submodules` and `lfs`".to_owned());
    }
    if foreign::variable(name).as_deref() != Some(name) {
        return Err("no shell can use a variable of this name".to_owned());
    }
    match fill(&variable.value, known, axes) {
        Ok(value) => Ok((name.to_owned(), Value::Text(value))),
        Err(unknown) => Err(format!("{unknown} is not set here: write the value, or a secret")),
    }
}
