//! The files that actions for tools keep between builds, as `cache` of the job.

use std::{collections::BTreeSet, rc::Rc};

use longshore_pipeline::tree::{Entry, Node};

use super::super::{
    draft::{Map, Note, Value},
    foreign::{Lines, boolean, text},
};
use super::expression::Scope;

/// Settings that say more of what is kept, and settings of nothing else.
pub(super) const SETTINGS: &[&str] =
    &["cache-dependency-path", "cache-dependency-glob", "cache-suffix", "prune-cache", "package-manager-cache"];

/// A package manager: its name, the folders that it keeps, and the files that determine what is in them.
struct Kept {
    /// The start of the tool's image.
    image: &'static str,
    name: &'static str,
    folders: &'static [&'static str],
    files: &'static [&'static str],
}

const KEPT: &[Kept] = &[
    kept("node", "npm", &["~/.npm"], &["**/package-lock.json", "**/npm-shrinkwrap.json"]),
    kept("node", "yarn", &["~/.cache/yarn", "~/.yarn/berry/cache"], &["**/yarn.lock"]),
    kept("node", "pnpm", &["~/.local/share/pnpm/store"], &["**/pnpm-lock.yaml"]),
    kept("python", "pip", &["~/.cache/pip"], &["**/requirements*.txt", "**/pyproject.toml"]),
    kept("python", "pipenv", &["~/.local/share/virtualenvs"], &["**/Pipfile.lock"]),
    kept("python", "poetry", &["~/.cache/pypoetry/virtualenvs"], &["**/poetry.lock"]),
    kept("eclipse-temurin", "maven", &["~/.m2/repository"], &["**/pom.xml"]),
    kept(
        "eclipse-temurin",
        "gradle",
        &["~/.gradle/caches", "~/.gradle/wrapper"],
        &["**/*.gradle*", "**/gradle-wrapper.properties"],
    ),
    kept("golang", "true", &["/go/pkg/mod", "~/.cache/go-build"], &["**/go.sum"]),
    kept("mcr.microsoft.com/dotnet/sdk", "true", &["~/.nuget/packages"], &["**/packages.lock.json"]),
    kept("ghcr.io/astral-sh/uv", "true", &["~/.cache/uv"], &["**/uv.lock", "**/requirements*.txt"]),
];

const fn kept(
    image: &'static str,
    name: &'static str,
    folders: &'static [&'static str],
    files: &'static [&'static str],
) -> Kept {
    Kept { image, name, folders, files }
}

/// Returns the cache that a setting asks for, if it asks for one. The note says that it is left out.
pub(super) fn read(
    image: &str,
    entry: &Entry,
    settings: &[Entry],
    scope: &Scope,
    lines: Lines<'_>,
) -> Result<Option<Map>, Note> {
    let line = lines.line_of_key(entry);
    let left = || lines.note(entry, "no cache comes of it: write `cache` at the job");
    let asked = match boolean(&entry.value) {
        Some(false) => return Ok(None),
        Some(true) => "true",
        None => text(&entry.value).ok_or_else(left)?,
    };
    // The action of uv decides by where it runs.
    if asked.is_empty() || asked == "auto" {
        return Ok(None);
    }
    let found = KEPT.iter().find(|kept| kept.image == image && kept.name == asked).ok_or_else(left)?;
    let named =
        settings.iter().find(|one| matches!(one.key.as_str(), "cache-dependency-path" | "cache-dependency-glob"));
    let files: Vec<String> = match named {
        Some(named) => {
            let written = text(&named.value).unwrap_or_default();
            let written = scope.text(written).map_err(|_| left())?;
            written.lines().map(|file| file.trim().to_owned()).filter(|file| !file.is_empty()).collect()
        }
        None => found.files.iter().map(|file| (*file).to_owned()).collect(),
    };
    if files.iter().any(|file| file.contains("${{") || file.contains('\'') || file.starts_with(['!', '~', '/'])) {
        return Err(left());
    }
    let tool = if found.name == "true" { image.rsplit('/').next().unwrap_or(image) } else { found.name };
    let quoted: Vec<String> = files.iter().map(|file| format!("'{}'", file.trim_start_matches("./"))).collect();
    let mut cache = Map::default();
    cache.set("path", Value::texts(found.folders.iter().copied()), line);
    cache.set("key", Value::Text(format!("{tool}-${{{{ hash-files({}) }}}}", quoted.join(", "))), line);
    Ok(Some(cache))
}

/// The ids of steps that are caches.
pub(super) fn cache_ids(steps: &[Rc<Node>]) -> BTreeSet<String> {
    let key_of = |step: &Node| {
        let uses = text(&super::super::entry(step, "uses")?.value)?;
        let is_cache = matches!(
            uses.split('@').next(),
            Some("actions/cache" | "actions/cache/restore" | "Swatinem/rust-cache" | "hendrikmuhs/ccache-action")
        );
        text(&super::super::entry(step, "id")?.value).filter(|_| is_cache).map(str::to_owned)
    };
    steps.iter().filter_map(|step| key_of(step)).collect()
}
