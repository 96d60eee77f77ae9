//! Converts steps that use an action: the few actions whose work Longshore does itself.

use longshore_pipeline::tree::Entry;

use super::super::{
    draft::{Item, Map, Note, Value},
    foreign::{FORM, Lines, boolean, entries, number, text},
};
use super::expression::Scope;

/// What an action was converted to.
pub(super) enum ConvertedAction {
    /// A part of the job.
    Done,
    /// Keys of a step.
    Step(Map),
    Left(Note),
}

/// Images that have the tools that an action sets up: the action, its input for the version, the image, the tag if no
/// version is given, and the suffix after the version.
const SETUPS: &[(&str, &str, &str, &str, &str)] = &[
    ("actions/setup-node", "node-version", "node", "lts", ""),
    ("actions/setup-python", "python-version", "python", "3", ""),
    ("actions/setup-go", "go-version", "golang", "1", ""),
    ("actions/setup-java", "java-version", "eclipse-temurin", "21", "-jdk"),
    ("actions/setup-dotnet", "dotnet-version", "mcr.microsoft.com/dotnet/sdk", "9.0", ""),
    ("ruby/setup-ruby", "ruby-version", "ruby", "3", ""),
    ("shivammathur/setup-php", "php-version", "php", "8", "-cli"),
    ("dtolnay/rust-toolchain", "toolchain", "rust", "1", ""),
    ("actions-rs/toolchain", "toolchain", "rust", "1", ""),
    ("actions-rust-lang/setup-rust-toolchain", "toolchain", "rust", "1", ""),
    ("oven-sh/setup-bun", "bun-version", "oven/bun", "1", ""),
];

/// Returns the image that has what an action sets up, and the axis of the matrix whose values are its tags.
pub(super) fn setup(uses: &str, with: Option<&Entry>, scope: &Scope) -> Option<(String, Option<String>)> {
    let (action, reference) = uses.split_once('@').unwrap_or((uses, ""));
    let (_, key, image, latest, behind) = SETUPS.iter().find(|(known, ..)| *known == action)?;
    let written = with
        .and_then(|with| entries(&with.value))
        .and_then(|entries| entries.iter().find(|entry| entry.key == *key))
        .and_then(|entry| text(&entry.value))
        .or_else(|| (action == "dtolnay/rust-toolchain").then_some(reference));
    let version = written.and_then(|written| scope.text(written).ok()).unwrap_or_default();
    if let Some(axis) = version.strip_prefix("${{ matrix.").and_then(|rest| rest.strip_suffix(" }}")) {
        let plain = axis.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if plain && *image != "rust" {
            return Some((format!("{image}:${{{{ matrix.{axis} }}}}{behind}"), Some(axis.to_owned())));
        }
    }
    if *image == "rust" && version == "nightly" {
        return Some(("rustlang/rust:nightly".to_owned(), None));
    }
    let version = tag(&version).unwrap_or_else(|| (*latest).to_owned());
    Some((format!("{image}:{version}{behind}"), None))
}

/// Converts a version to a tag: `20.x` is `20`. `None` for ranges and words.
pub(super) fn tag(version: &str) -> Option<String> {
    let version = version.trim().trim_start_matches(['v', '^', '~', '=']).trim_end_matches(".x").trim_end_matches(".*");
    let fits = version.starts_with(|c: char| c.is_ascii_digit())
        && version.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-');
    fits.then(|| version.to_owned())
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
    let Some(name) = text(&uses.value) else { return ConvertedAction::Left(lines.note(uses, FORM)) };
    let settings = with.and_then(|with| entries(&with.value)).unwrap_or_default();
    let setting = |key: &str| settings.iter().find(|entry| entry.key == key);
    let filled = |key: &str| setting(key).and_then(|entry| text(&entry.value)).map(|written| scope.text(written));
    let left = |why: &str| ConvertedAction::Left(Note::new(line, format!("uses: {name}"), why));
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
        "actions/checkout" => checkout(settings, line, lines, job),
        "actions/cache" | "actions/cache/restore" => {
            let (Some(Ok(path)), Some(Ok(key))) = (filled("path"), filled("key")) else {
                return left("its path or key is not known here: write `cache` at the job");
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
        "actions/upload-artifact" => {
            let Some(Ok(path)) = filled("path") else {
                return left("its path is not known here: write `artifacts` at the job");
            };
            let paths: Vec<String> = path
                .lines()
                .map(|line| line.trim().trim_start_matches("./").trim_end_matches('/').to_owned())
                .filter(|line| !line.is_empty())
                .collect();
            let mut artifact = Map::default();
            let name = filled("name").and_then(Result::ok).unwrap_or_else(|| "artifact".to_owned());
            artifact.set("name", Value::Text(name.replace(['/', '\\'], "-")), line);
            artifact.set_filled("paths", Value::texts(paths), line);
            if let Some(days) =
                setting("retention-days").and_then(|entry| number(&entry.value)).filter(|days| *days > 0)
            {
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
            append(job, "artifacts", artifact, line);
            ConvertedAction::Done
        }
        "actions/download-artifact" => {
            left("artifacts are not handed on: make what is needed in this job, or fetch it")
        }
        action if SETUPS.iter().any(|(known, ..)| *known == action) => {
            left("write an `image` that has it, or a step that installs it")
        }
        "docker/setup-buildx-action" | "docker/setup-qemu-action" => {
            job.set("docker", Value::plain(true), line);
            left("`docker: true` gives the job a guarded Docker API")
        }
        action if action.starts_with("./") => {
            left("local actions do not run here: write its steps out, or make a template with `use`")
        }
        _ => left("actions do not run here: write what it does as `run`"),
    }
}

fn append(job: &mut Map, key: &str, entry: Map, line: u32) {
    let mut list = match job.get(key) {
        Some(Value::List(items)) => items.clone(),
        _ => Vec::new(),
    };
    list.push(Item::Value(entry.into()));
    job.set(key, Value::List(list), line);
}

fn checkout(settings: &[Entry], line: u32, lines: Lines<'_>, job: &mut Map) -> ConvertedAction {
    let mut checkout = Map::default();
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
            ("persist-credentials" | "clean" | "show-progress", _) => {
                checkout.note(lines.note(setting, "no credentials are left in the workspace, which is always new"))
            }
            ("repository" | "path", _) => {
                return ConvertedAction::Left(Note::new(
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
    ConvertedAction::Done
}

/// The action's name, for a remark.
pub(super) fn shown(uses: &Entry) -> String {
    let name = text(&uses.value).unwrap_or("an action");
    name.split('@').next().unwrap_or(name).chars().take(80).collect()
}
