//! The caches of actions that set up tools: the folders of their package managers become a `cache` of the job.

use std::{collections::BTreeSet, rc::Rc};

use longshore_pipeline::tree::{Entry, Node};

use super::super::{
    draft::{Map, Note, Value},
    foreign::{Lines, boolean, text},
};
use super::expression::Scope;

/// Settings that concern only the cache.
pub(super) const SETTINGS: &[&str] =
    &["cache-dependency-path", "cache-dependency-glob", "cache-suffix", "prune-cache", "package-manager-cache"];

struct PackageManager {
    /// The start of the tool's image.
    image: &'static str,
    /// The value of the setting that asks for its cache.
    name: &'static str,
    /// The folders that it keeps.
    folders: &'static [&'static str],
    /// The files that determine what is in the folders.
    files: &'static [&'static str],
}

const PACKAGE_MANAGERS: &[PackageManager] = &[
    manager("node", "npm", &["~/.npm"], &["**/package-lock.json", "**/npm-shrinkwrap.json"]),
    manager("node", "yarn", &["~/.cache/yarn", "~/.yarn/berry/cache"], &["**/yarn.lock"]),
    manager("node", "pnpm", &["~/.local/share/pnpm/store"], &["**/pnpm-lock.yaml"]),
    manager("python", "pip", &["~/.cache/pip"], &["**/requirements*.txt", "**/pyproject.toml"]),
    manager("python", "pipenv", &["~/.local/share/virtualenvs"], &["**/Pipfile.lock"]),
    manager("python", "poetry", &["~/.cache/pypoetry/virtualenvs"], &["**/poetry.lock"]),
    manager("eclipse-temurin", "maven", &["~/.m2/repository"], &["**/pom.xml"]),
    manager(
        "eclipse-temurin",
        "gradle",
        &["~/.gradle/caches", "~/.gradle/wrapper"],
        &["**/*.gradle*", "**/gradle-wrapper.properties"],
    ),
    manager("golang", "true", &["/go/pkg/mod", "~/.cache/go-build"], &["**/go.sum"]),
    manager("mcr.microsoft.com/dotnet/sdk", "true", &["~/.nuget/packages"], &["**/packages.lock.json"]),
    manager("ghcr.io/astral-sh/uv", "true", &["~/.cache/uv"], &["**/uv.lock", "**/requirements*.txt"]),
];

const fn manager(
    image: &'static str,
    name: &'static str,
    folders: &'static [&'static str],
    files: &'static [&'static str],
) -> PackageManager {
    PackageManager { image, name, folders, files }
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
    let left_out = || lines.note(entry, "no cache comes of it: write `cache` at the job");
    let asked = match boolean(&entry.value) {
        Some(false) => return Ok(None),
        Some(true) => "true",
        None => text(&entry.value).ok_or_else(left_out)?,
    };
    // The action of uv decides by where it runs.
    if asked.is_empty() || asked == "auto" {
        return Ok(None);
    }
    let found =
        PACKAGE_MANAGERS.iter().find(|manager| manager.image == image && manager.name == asked).ok_or_else(left_out)?;
    let named =
        settings.iter().find(|one| matches!(one.key.as_str(), "cache-dependency-path" | "cache-dependency-glob"));
    let files: Vec<String> = match named {
        Some(named) => {
            let written = text(&named.value).unwrap_or_default();
            let written = scope.text(written).map_err(|_| left_out())?;
            written.lines().map(|file| file.trim().to_owned()).filter(|file| !file.is_empty()).collect()
        }
        None => found.files.iter().map(|file| (*file).to_owned()).collect(),
    };
    if files.iter().any(|file| file.contains("${{") || file.contains('\'') || file.starts_with(['!', '~', '/'])) {
        return Err(left_out());
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
