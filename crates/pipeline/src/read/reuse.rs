//! Reads `reuse`: the files that a job depends on, and nothing else.

use super::super::{
    code::Code,
    fields::Fields,
    filter::Patterns,
    findings::Findings,
    scalar::{filled, items},
    source::Place,
    tree::{Entry, Kind, Node},
};

/// Limit for the globs of one job.
const MAX_GLOBS: usize = 50;

/// What a job with `reuse` may not have, and why.
const INCOMPATIBLE_KEYS: [(&str, &str); 3] = [
    ("secrets", "what its secrets open is not known to be the same"),
    ("docker", "what it finds on the engine is not known to be the same"),
    ("approval", "somebody is asked each time"),
];

/// Reads the globs. `on_workspace` says that the job begins on another one's workspace.
pub(super) fn read(
    entry: &Entry,
    fields: &Fields<'_>,
    on_workspace: bool,
    findings: &mut Findings<'_>,
) -> Option<Vec<String>> {
    let node = &entry.value;
    let items = items(node);
    if items.is_empty() || node.is_null() {
        findings.error(
            Code::Empty,
            node.place,
            "there is no glob here",
            "write at least one: `reuse: ['src/**']`".to_owned(),
        );
        return None;
    }
    if items.len() > MAX_GLOBS {
        findings.error(Code::BadSize, node.place, format!("a job can have at most {MAX_GLOBS} globs in `reuse`"), None);
        return None;
    }
    let mut valid = fits_job(entry.key_place, fields, on_workspace, findings);
    let mut globs = Vec::new();
    for item in items {
        match glob(item, findings) {
            Some(glob) => globs.push(glob),
            None => valid = false,
        }
    }
    if valid && globs.iter().all(|glob| glob.starts_with('!')) {
        findings.error(
            Code::BadGlob,
            node.place,
            "`reuse` names no files, only exceptions",
            "add a glob without `!`".to_owned(),
        );
        return None;
    }
    valid.then_some(globs)
}

/// Checks that the job has nothing that `reuse` excludes.
fn fits_job(place: Place, fields: &Fields<'_>, on_workspace: bool, findings: &mut Findings<'_>) -> bool {
    let mut fits = true;
    let mut refuse = |message: String, help: &str| {
        findings.error(Code::NotTogether, place, message, help.to_owned());
        fits = false;
    };
    for (key, why) in INCOMPATIBLE_KEYS {
        if fields.get(key).is_some_and(|node| !is_false(node)) {
            refuse(format!("no earlier success stands for a job with `{key}`: {why}"), "remove one of the two");
        }
    }
    if fields.get("checkout").is_some_and(|node| is_false(node)) {
        refuse("a job without a checkout has no files that `reuse` could name".to_owned(), "remove `checkout: false`");
    }
    if on_workspace {
        let message = "a job that begins on another one's workspace has all of its files, which `reuse` cannot narrow";
        refuse(message.to_owned(), "take artifacts of that job instead, or remove `reuse`");
    }
    fits
}

/// Reads one glob.
fn glob(item: &Node, findings: &mut Findings<'_>) -> Option<String> {
    let written = filled(item, "a glob", findings)?.trim();
    let bare = written.trim_start_matches('!');
    let complaint = if bare.starts_with(['/', '~']) || bare.split('/').any(|part| part == "..") {
        "it must be relative to the repository"
    } else if written.contains("${{") {
        "it cannot have expressions: what a job depends on is known from its file"
    } else if Patterns::new().add(written).is_err() {
        "no path can match it"
    } else {
        return Some(written.to_owned());
    };
    findings.error(
        Code::BadGlob,
        item.place,
        format!("`{written}` is not a glob of `reuse`: {complaint}"),
        "write globs of files: `src/**`, `Cargo.lock`, `!**/*.md`".to_owned(),
    );
    None
}

fn is_false(node: &Node) -> bool {
    match &node.kind {
        Kind::Scalar(scalar) => scalar.boolean() == Some(false),
        Kind::Map(_) | Kind::List(_) => false,
    }
}
