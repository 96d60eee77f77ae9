//! Converts steps that use an action: the few actions whose work Longshore does itself.

use longshore_pipeline::tree::Entry;

use super::super::{
    draft::{Item, Map, Note, Value},
    foreign::{FORM, Lines, boolean, entries, number, text},
};
use super::{
    artifacts,
    expression::Scope,
    known::{self, Settings},
    reports, setups, tools,
};

/// What became of a step that uses an action.
pub(super) enum ConvertedAction {
    /// It is a part of the job now, and no step.
    Done,
    /// Keys of a step.
    Step(Map),
    /// Not carried over, for the reason in the note.
    LeftOut(Note),
}

/// Converts a step that uses an action. `job` is the body of its job.
pub(super) fn read(
    uses: &Entry,
    with: Option<&Entry>,
    condition: Option<&str>,
    scope: &Scope,
    lines: Lines<'_>,
    job: &mut Map,
) -> ConvertedAction {
    let line = lines.line_of_key(uses);
    let Some(name) = text(&uses.value) else { return ConvertedAction::LeftOut(lines.note(uses, FORM)) };
    let settings = with.and_then(|with| entries(&with.value)).unwrap_or_default();
    let setting = |key: &str| settings.iter().find(|entry| entry.key == key);
    let filled = |key: &str| setting(key).and_then(|entry| text(&entry.value)).map(|written| scope.text(written));
    let leave_out = |why: &str| ConvertedAction::LeftOut(Note::new(line, format!("uses: {name}"), why));
    if let Some(image) = name.strip_prefix("docker://") {
        let mut step = Map::default();
        step.set("image", Value::text(image), line);
        for (theirs, ours) in [("entrypoint", "entrypoint"), ("args", "command")] {
            match filled(theirs) {
                Some(Ok(text)) => step.set_filled(ours, Value::texts(text.split_whitespace()), line),
                Some(Err(name)) => step.note(Note::new(line, theirs, format!("{name} is not known here"))),
                None => {}
            }
        }
        return ConvertedAction::Step(step);
    }
    match name.split('@').next().unwrap_or(name) {
        "actions/checkout" => checkout(settings, scope, line, lines, job),
        "actions/cache" | "actions/cache/restore" => {
            let (Some(Ok(path)), Some(Ok(key))) = (filled("path"), filled("key")) else {
                return leave_out("its path or key is not known here: write `cache` at the job");
            };
            let mut cache = Map::default();
            let listed = |text: &str| {
                text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect::<Vec<_>>()
            };
            cache.set_filled("path", Value::texts(listed(&path)), line);
            cache.set("key", Value::Text(key.trim().to_owned()), line);
            if let Some(Ok(keys)) = filled("restore-keys") {
                cache.set_filled("fallback", Value::texts(listed(&keys)), line);
            }
            append(job, "cache", cache, line);
            ConvertedAction::Done
        }
        "actions/cache/save" => {
            leave_out("a cache is written after the steps, where its key is new: `cache` of the job says which")
        }
        "astral-sh/setup-uv" if has_python(job) => {
            let settings =
                Settings { name: "astral-sh/setup-uv", reference: "", line, entries: settings, scope, lines };
            tools::uv(&settings, job)
        }
        action if setups::is_setup(action) => leave_out("write an `image` that has it, or a step that installs it"),
        action if action.starts_with("./") => {
            leave_out("local actions do not run here: write its steps out, or make a template with `use`")
        }
        action => {
            let reference = name.split_once('@').map_or("", |(_, reference)| reference);
            let settings = Settings { name: action, reference, line, entries: settings, scope, lines };
            if action == "actions/upload-artifact" {
                return artifacts::upload(&settings, condition, job);
            }
            if let Some(converted) = reports::read(&settings, condition, job) {
                return converted;
            }
            known::read(&settings, job)
                .unwrap_or_else(|| leave_out("actions do not run here: write what it does as `run`"))
        }
    }
}

/// Whether the job's image is Python's.
fn has_python(job: &Map) -> bool {
    matches!(job.get("image"), Some(Value::Text(image)) if image.starts_with("python:"))
}

pub(super) fn append(job: &mut Map, key: &str, entry: Map, line: u32) {
    let mut list = match job.get(key) {
        Some(Value::List(items)) => items.clone(),
        _ => Vec::new(),
    };
    list.push(Item::Value(entry.into()));
    job.set(key, Value::List(list), line);
}

/// Checks out something other than the build's commit.
const OTHER_REF: &str = "git fetch --no-tags origin \"$REF\"\ngit checkout --detach FETCH_HEAD";

fn checkout(settings: &[Entry], scope: &Scope, line: u32, lines: Lines<'_>, job: &mut Map) -> ConvertedAction {
    let mut checkout = Map::default();
    let mut other = None;
    for setting in settings {
        let at = lines.line_of_key(setting);
        match (setting.key.as_str(), text(&setting.value)) {
            ("fetch-depth", _) if number(&setting.value).is_some() => {
                checkout.set("depth", Value::plain(number(&setting.value).unwrap_or(1)), at);
            }
            ("submodules", Some(text)) => {
                checkout.set("submodules", Value::plain(text == "true" || text == "recursive"), at)
            }
            ("lfs", Some(_)) => checkout.set("lfs", Value::plain(boolean(&setting.value) == Some(true)), at),
            ("ref", Some(written)) => match scope.text(written) {
                Ok(found)
                    if BUILT.iter().any(|built| found.trim() == format!("${{{{ {built} }}}}"))
                        || found.trim().is_empty() => {}
                Ok(found) => other = Some((found, at)),
                Err(what) => {
                    return ConvertedAction::LeftOut(lines.note(
                        setting,
                        format!("{}; the build's own commit does not stand in for it", super::unknown(&what)),
                    ));
                }
            },
            ("fetch-tags", _) => {}
            ("persist-credentials" | "clean" | "show-progress", _) => {
                checkout.note(lines.note(setting, "no credentials are left in the workspace, which is always new"))
            }
            ("repository" | "path", _) => {
                return ConvertedAction::LeftOut(Note::new(
                    line,
                    "uses: actions/checkout",
                    "another repository or folder is not checked out by itself: write `git clone` as `run`",
                ));
            }
            _ => checkout.note(lines.note(setting, "`checkout` has `depth`, `submodules` and `lfs`")),
        }
    }
    if matches!(job.get("checkout"), None | Some(Value::Plain(_))) {
        job.parts.retain(|part| !matches!(part, super::super::draft::Part::Entry(entry) if entry.key == "checkout"));
        job.set_filled("checkout", checkout, line);
        if job.get("checkout").is_none() {
            job.set("checkout", Value::plain(true), line);
        }
    }
    match other {
        Some((found, at)) => {
            let mut step = Map::default();
            let mut env = Map::default();
            env.set("REF", Value::Text(found), at);
            step.set("env", env, at);
            step.set("run", Value::Script(OTHER_REF.to_owned()), at);
            ConvertedAction::Step(step)
        }
        None => ConvertedAction::Done,
    }
}

/// Expressions for the commit that a build checks out by itself.
const BUILT: &[&str] = &[
    "event.sha",
    "event.ref",
    "event.source-branch",
    "event.source-branch || event.ref",
    "event.source-branch || event.sha",
    "event.sha || event.ref",
    "event.sha || event.sha",
];

/// The action's name, for a remark.
pub(super) fn shown(uses: &Entry) -> String {
    let name = text(&uses.value).unwrap_or("an action");
    name.split('@').next().unwrap_or(name).chars().take(80).collect()
}
