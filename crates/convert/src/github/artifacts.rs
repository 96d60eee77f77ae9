//! `actions/upload-artifact` and `actions/download-artifact`: artifacts of a job, and those that it takes over from
//! jobs that it needs. They are where their job left them; a step copies them to where the action put them.

use std::collections::{BTreeMap, BTreeSet};

use longshore_pipeline::tree::Entry;

use super::super::{
    draft::{Map, Note, Value},
    foreign::{entries, list, number, text, texts},
};
use super::{actions::ConvertedAction, expression::Scope, known::Settings};

/// An artifact that a job of the workflow uploads.
#[derive(Debug, Clone)]
pub(super) struct Upload {
    job: String,
    /// Its name here, which may have expressions.
    name: String,
    paths: Vec<String>,
    /// The output of the job that has its id.
    output: Option<String>,
}

/// Collects the uploads of a workflow.
pub(super) fn uploads(jobs: &[Entry], scope: &Scope) -> Vec<Upload> {
    let mut found = Vec::new();
    for job in jobs {
        let steps = super::super::entry(&job.value, "steps").and_then(|steps| list(&steps.value)).unwrap_or_default();
        for step in steps {
            let uses = super::super::entry(step, "uses").and_then(|uses| text(&uses.value)).unwrap_or_default();
            if uses.split('@').next() != Some("actions/upload-artifact") {
                continue;
            }
            let with = super::super::entry(step, "with").and_then(|with| entries(&with.value)).unwrap_or_default();
            let filled = |key: &str| {
                let written = with.iter().find(|entry| entry.key == key).and_then(|entry| text(&entry.value))?;
                Some(scope.text(written))
            };
            let (Some(Ok(path)), name) = (filled("path"), filled("name").unwrap_or_else(|| Ok(DEFAULT.to_owned())))
            else {
                continue;
            };
            let id = super::super::entry(step, "id").and_then(|id| text(&id.value));
            let outputs = super::super::entry(&job.value, "outputs").and_then(|all| entries(&all.value));
            let output = outputs.unwrap_or_default().iter().find(|output| {
                id.is_some_and(|id| {
                    text(&output.value).is_some_and(|value| inner(value) == format!("steps.{id}.outputs.artifact-id"))
                })
            });
            if let Ok(name) = name {
                found.push(Upload {
                    job: job.key.clone(),
                    name: cleaned_name(&name),
                    paths: cleaned(&path),
                    output: output.map(|output| output.key.clone()),
                });
            }
        }
    }
    found
}

/// The expression that a text is.
fn inner(written: &str) -> &str {
    written.trim().trim_start_matches("${{").trim_end_matches("}}").trim()
}

/// The jobs that each job waits for, directly or not.
pub(super) fn before<'n>(jobs: impl IntoIterator<Item = &'n Entry> + Clone) -> BTreeMap<String, BTreeSet<String>> {
    let needs: BTreeMap<&str, Vec<String>> = jobs
        .clone()
        .into_iter()
        .map(|job| {
            let needs = super::super::entry(&job.value, "needs").and_then(|needs| texts(&needs.value));
            (job.key.as_str(), needs.unwrap_or_default())
        })
        .collect();
    let all = |of: &str| {
        let mut found = BTreeSet::new();
        let mut waiting = vec![of];
        while let Some(at) = waiting.pop() {
            for need in needs.get(at).into_iter().flatten() {
                if need != of && found.insert(need.clone()) {
                    waiting.push(need);
                }
            }
        }
        found
    };
    jobs.into_iter().map(|job| (job.key.clone(), all(&job.key))).collect()
}

/// The name of an artifact that is given none.
const DEFAULT: &str = "artifact";

fn cleaned_name(name: &str) -> String {
    name.trim().replace(['/', '\\'], "-")
}

/// The paths of an artifact, relative to the workspace.
fn cleaned(path: &str) -> Vec<String> {
    path.lines().map(cleaned_path).filter(|line| !line.is_empty()).collect()
}

fn cleaned_path(path: &str) -> String {
    let path = path.trim();
    path.strip_prefix("/longshore/workspace/").unwrap_or(path).trim_start_matches("./").trim_end_matches('/').to_owned()
}

/// Adds an artifact to the job. `condition` is that of the step that uploaded it.
pub(super) fn upload(action: &Settings<'_>, condition: Option<&str>, job: &mut Map) -> ConvertedAction {
    let line = action.line;
    let Some(Ok(path)) = action.filled("path") else {
        return action.leave_out("its path is not known here: write `artifacts` at the job");
    };
    let mut artifact = Map::default();
    let name = match action.filled("name") {
        Some(Ok(name)) => name,
        Some(Err(note)) => return ConvertedAction::LeftOut(note),
        None => DEFAULT.to_owned(),
    };
    artifact.set("name", Value::Text(cleaned_name(&name)), line);
    artifact.set_filled("paths", Value::texts(cleaned(&path)), line);
    if let Some(days) = action.entry("retention-days").and_then(|entry| number(&entry.value)).filter(|days| *days > 0) {
        artifact.set("expire-in", Value::Text(format!("{days}d")), line);
    }
    match condition {
        None => {}
        Some("always()" | "!cancelled()" | "success() || failure()") => {
            artifact.set("when", Value::text("always"), line)
        }
        Some("failure()") => artifact.set("when", Value::text("failure"), line),
        Some(_) => artifact.note(Note::new(
            line,
            "if",
            "artifacts are kept after every success: their `when` is `success`, `failure` or `always`",
        )),
    }
    if action.entry("if-no-files-found").and_then(|entry| text(&entry.value)) == Some("error") {
        artifact.note(Note::new(line, "if-no-files-found", "write a step that looks for the files: `test -e`"));
    }
    action.rest(
        &[
            "path",
            "name",
            "retention-days",
            "if-no-files-found",
            "compression-level",
            "overwrite",
            "include-hidden-files",
        ],
        &mut artifact,
    );
    super::actions::append(job, "artifacts", artifact, line);
    ConvertedAction::Done
}

/// Takes artifacts over from jobs that this one waits for.
pub(super) fn download(action: &Settings<'_>) -> ConvertedAction {
    const KEYS: &[&str] = &["name", "path", "pattern", "merge-multiple", "artifact-ids"];
    let fetch = "write `needs: [{ job: ..., artifacts: [...] }]`, or fetch the files in a step";
    let lost = |why: &str| action.leave_out(&format!("{why}: {fetch}"));
    if let Some(entry) = action.entries.iter().find(|entry| !KEYS.contains(&entry.key.as_str())) {
        return lost(&format!("`{}` asks for artifacts of another build, or of another kind", entry.key));
    }
    let Some(Ok(path)) = action.filled("path").or_else(|| Some(Ok(String::new()))) else {
        return lost("where they go is not known here");
    };
    let to = match cleaned_path(&path) {
        path if path.is_empty() || path == "/longshore/workspace" => ".".to_owned(),
        path => path,
    };
    if !is_plain(&to) {
        return lost("where they go is not known here");
    }
    let chosen = match chosen_uploads(action) {
        Ok(chosen) => chosen,
        Err(why) => return lost(why),
    };
    if chosen.is_empty() {
        return lost("no job that this one waits for uploads it");
    }
    let into_folders =
        action.filled("name").is_none() && action.entry("artifact-ids").is_none() && !action.is_true("merge-multiple");
    let mut commands = Vec::new();
    for (upload, name) in &chosen {
        let to = match (into_folders, to.as_str()) {
            (false, to) => to.to_owned(),
            (true, ".") => name.clone(),
            (true, to) => format!("{to}/{name}"),
        };
        match copies(&upload.paths, &to) {
            Some(more) => commands.extend(more),
            None => return lost(&format!("what becomes of the paths of `{name}` is not known here")),
        }
    }
    let mut takes = action.scope.takes.borrow_mut();
    for (upload, name) in chosen {
        takes.entry(upload.job.clone()).or_default().insert(name);
    }
    commands.dedup();
    if commands.is_empty() {
        return ConvertedAction::Done;
    }
    let mut step = super::known::step(&commands.join("\n"), action.line);
    step.remark("the files are where the job that made them left them: this step copies them to where they were put");
    ConvertedAction::Step(step)
}

/// Returns the artifacts that a download asks for, and the name of each. The error says why they are not known.
fn chosen_uploads<'a>(action: &Settings<'a>) -> Result<Vec<(&'a Upload, String)>, &'static str> {
    let scope = action.scope;
    let before = scope.uploads.iter().filter(|upload| scope.before.contains(&upload.job));
    if let Some(by_id) = action.entry("artifact-ids") {
        let asked = text(&by_id.value).map(inner).unwrap_or_default();
        let is_it = |upload: &&Upload| {
            let output = upload.output.as_ref().filter(|_| !upload.name.contains("${{"));
            output.is_some_and(|output| asked == format!("needs.{}.outputs.{output}", upload.job))
        };
        return Ok(before.filter(is_it).map(|upload| (upload, upload.name.clone())).collect());
    }
    match (action.filled("name"), action.filled("pattern")) {
        (Some(Ok(name)), _) if !name.is_empty() => {
            let name = cleaned_name(&name);
            if name.contains("${{") {
                return Err("which one it is says the matrix");
            }
            Ok(before.filter(|upload| fits(&upload.name, &name)).map(|upload| (upload, name.clone())).collect())
        }
        (Some(Err(_)), _) | (_, Some(Err(_))) => Err("which ones they are is not known here"),
        (_, pattern) => {
            if before.clone().any(|upload| upload.name.contains("${{")) {
                return Err("the names of the artifacts say the matrix");
            }
            let pattern = pattern.and_then(Result::ok).unwrap_or_else(|| "*".to_owned());
            let parts: Vec<&str> = pattern.split('*').collect();
            let matching = before.filter(|upload| follows(&upload.name, &parts));
            Ok(matching.map(|upload| (upload, upload.name.clone())).collect())
        }
    }
}

/// Whether a name may become a part of a script within double quotes.
fn is_plain(path: &str) -> bool {
    !path.contains("..") && path.chars().all(|c| c.is_ascii_alphanumeric() || "._-/+@ ".contains(c))
}

/// Whether a name that may have expressions can be this one.
fn fits(template: &str, name: &str) -> bool {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once("${{") {
        parts.push(before);
        rest = behind.split_once("}}").map_or("", |(_, behind)| behind);
    }
    parts.push(rest);
    follows(name, &parts)
}

/// Whether a text is made of these parts, in this order, with anything between them.
fn follows(text: &str, parts: &[&str]) -> bool {
    let ([first, between @ .., last], true) = (parts, parts.len() > 1) else {
        return parts.first().is_some_and(|only| *only == text);
    };
    let Some(mut rest) = text.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else { return false };
    between.iter().all(|part| match rest.split_once(part) {
        Some((_, behind)) => {
            rest = behind;
            true
        }
        None => false,
    })
}

/// The commands that copy what these paths name to where the action puts it; `None` if that cannot be determined. An
/// artifact keeps paths relative to the nearest folder that has all of its files.
fn copies(paths: &[String], to: &str) -> Option<Vec<String>> {
    let is_glob = |path: &str| path.contains(['*', '?', '[']);
    let folder = |path: &str| path.rsplit_once('/').map_or(".".to_owned(), |(folder, _)| folder.to_owned());
    let make = format!("mkdir -p \"{to}\"");
    match paths {
        [] => None,
        [one] if is_glob(one) => {
            let root = match one.split('/').position(is_glob)? {
                0 => ".".to_owned(),
                depth => one.split('/').take(depth).collect::<Vec<_>>().join("/"),
            };
            if root == to {
                return Some(Vec::new());
            }
            let name = if root == "." { one.as_str() } else { &one[root.len() + 1..] };
            let plain = one.chars().all(|c| c.is_ascii_alphanumeric() || "._-/+@*?".contains(c));
            (!name.contains('/') && !name.contains("**") && plain).then(|| vec![make, format!("cp -a {one} \"{to}/\"")])
        }
        [one] if !is_plain(one) => None,
        [one] if one == to => Some(Vec::new()),
        [one] if folder(one) == to => Some(vec![format!("if [ -d \"{one}\" ]; then cp -a \"{one}/.\" \"{to}/\"; fi")]),
        [one] => Some(vec![
            make,
            format!("if [ -d \"{one}\" ]; then cp -a \"{one}/.\" \"{to}/\"; else cp -a \"{one}\" \"{to}/\"; fi"),
        ]),
        several => {
            let folders: Vec<String> = several.iter().map(|path| folder(path)).collect();
            // Folders in common, of paths without patterns in their folders.
            let root = folders.iter().skip(1).try_fold(folders.first()?.clone(), |root, other| {
                let (a, b) = (root.split('/'), other.split('/'));
                let common: Vec<&str> = a.zip(b).take_while(|(a, b)| a == b).map(|(a, _)| a).collect();
                Some(if common.is_empty() { ".".to_owned() } else { common.join("/") })
            })?;
            if folders.iter().any(|folder| is_glob(folder)) || several.iter().any(|path| path.starts_with('!')) {
                return None;
            }
            if root == to {
                return Some(Vec::new());
            }
            if folders.iter().any(|folder| *folder != root) {
                return None;
            }
            let plain =
                several.iter().all(|path| path.chars().all(|c| c.is_ascii_alphanumeric() || "._-/+@*?".contains(c)));
            plain.then(|| vec![make, format!("cp -a {} \"{to}/\"", several.join(" "))])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_to_where_the_action_put_them() {
        let all =
            |paths: &[&str], to: &str| copies(&paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>(), to);
        for (paths, to) in
            [(&["dist"][..], "dist"), (&["dist/*.whl"], "dist"), (&["a/x", "a/y"], "a"), (&["*.deb"], ".")]
        {
            assert_eq!(all(paths, to), Some(Vec::new()), "{paths:?} {to}");
        }
        assert_eq!(
            all(&["out/*.whl"], "dist"),
            Some(vec!["mkdir -p \"dist\"".to_owned(), "cp -a out/*.whl \"dist/\"".to_owned()])
        );
        assert_eq!(
            all(&["target/app"], "target"),
            Some(vec!["if [ -d \"target/app\" ]; then cp -a \"target/app/.\" \"target/\"; fi".to_owned()])
        );
        for (paths, to) in
            [(&["**/*.log"][..], "logs"), (&["a/x", "b/y"], "c"), (&["a", "!a/b"], "c"), (&["$(x)"], "c")]
        {
            assert_eq!(all(paths, to), None, "{paths:?} {to}");
        }
    }

    #[test]
    fn a_name_made_of_the_matrix_fits_what_the_matrix_can_make_of_it() {
        assert!(fits("app-${{ matrix.os }}-x", "app-linux-x"));
        assert!(!fits("app-${{ matrix.os }}", "lib-linux"));
        assert!(fits("app", "app") && !fits("app", "apps"));
    }
}
