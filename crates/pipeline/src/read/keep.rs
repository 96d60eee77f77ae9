//! Reads what outlives a job: `cache`, `artifacts` and `reports`.

use std::rc::Rc;

use longshore_core::{
    CachePath, Template,
    plan::{ArtifactPlan, ArtifactWhen, CachePlan, CacheSave, Reports},
};

use super::super::{
    code::Code,
    fields::Fields,
    findings::Findings,
    keys::{self, Keys},
    scalar::{filled, items},
    scope::{Names, Position},
    size, text,
    tree::{Kind, Node},
};
use super::{job::entry_of, on::word, step::one_line};

/// The name of an artifact that has none of its own.
const DEFAULT_NAME: &str = "artifacts";
/// Limit for the entries of one list.
const MAX_ENTRIES: usize = 50;

pub(super) fn cache(node: &Rc<Node>, names: &Names, findings: &mut Findings<'_>) -> Option<Vec<CachePlan>> {
    let read: Vec<Option<CachePlan>> = list(node, "`cache`", "{ path: ~/.cargo/registry, key: cargo }", findings)?
        .iter()
        .map(|item| one_cache(item, names, findings))
        .collect();
    let read: Vec<CachePlan> = read.into_iter().collect::<Option<_>>()?;
    let mut seen: Vec<CachePath> = Vec::new();
    for (at, cache) in read.iter().enumerate() {
        for path in cache.paths.iter().filter_map(|path| CachePath::parse(path.as_known()?).ok()) {
            if let Some(other) = seen.iter().find(|other| other.overlaps(&path)) {
                let place = items(node).get(at).map_or(node.place, |item| item.place);
                let message = format!("of `{path}` and `{other}`, one is inside the other");
                findings.error(Code::GivenTwice, place, message, "remove one of them".to_owned());
                return None;
            }
            seen.push(path);
        }
    }
    Some(read)
}

fn one_cache(node: &Rc<Node>, names: &Names, findings: &mut Findings<'_>) -> Option<CachePlan> {
    let fields = fields(node, &keys::CACHE, "{ path: ~/.cargo/registry, key: cargo }", findings)?;
    let required = |key: &str, example: &str, findings: &mut Findings<'_>| {
        let found = fields.get(key);
        if found.is_none() && !fields.is_misnamed(key, &keys::CACHE) {
            findings.error(
                Code::MissingKey,
                node.place,
                format!("this cache has no `{key}`"),
                format!("write {example}"),
            );
        }
        found
    };
    let path = required("path", "`path: ~/.cargo/registry`", findings);
    let key = required("key", "`key: 'cargo-${{ hash-files(\"Cargo.lock\") }}'`", findings);
    let paths = path.and_then(|node| cache_paths(node, names, findings));
    let key = key.and_then(|node| one_line(node, "`key`", Position::CacheKey, names, findings));
    let fallback = match fields.get("fallback") {
        Some(node) => items(node)
            .iter()
            .map(|item| one_line(item, "an entry of `fallback`", Position::CacheKey, names, findings))
            .collect::<Vec<_>>()
            .into_iter()
            .collect(),
        None => Some(Vec::new()),
    };
    let save = fields.read_optional("save", |node| {
        let word = word(node, "`save`", &["success", "always", "never"], findings)?;
        Some(match word.as_str() {
            "always" => CacheSave::Always,
            "never" => CacheSave::Never,
            _ => CacheSave::Success,
        })
    });
    let mode = fields.read_optional("mode", |node| word(node, "`mode`", &["shared"], findings));
    let (save, mode) = (save?, mode?);
    if let (Some(_), true, Some(node)) = (&mode, save.is_some() || fields.get("fallback").is_some(), fields.get("mode"))
    {
        let message = "a `shared` cache is one folder that all jobs write to: nothing is saved or restored";
        findings.error(Code::NotTogether, node.place, message, "remove `save` and `fallback`".to_owned());
        return None;
    }
    Some(CachePlan {
        paths: paths?,
        key: key?,
        fallback: fallback?,
        save: save.unwrap_or_default(),
        shared: mode.is_some(),
    })
}

pub(super) fn artifacts(node: &Rc<Node>, names: &Names, findings: &mut Findings<'_>) -> Option<Vec<ArtifactPlan>> {
    let read: Vec<Option<ArtifactPlan>> = list(node, "`artifacts`", "{ name: app, paths: [target/app] }", findings)?
        .iter()
        .map(|item| artifact(item, names, findings))
        .collect();
    let read: Vec<ArtifactPlan> = read.into_iter().collect::<Option<_>>()?;
    for (at, one) in read.iter().enumerate() {
        if read[..at].iter().any(|other| other.name == one.name) {
            let message = format!("two artifacts are named `{}`", one.name.shown());
            let place = items(node).get(at).map_or(node.place, |item| item.place);
            findings.error(Code::GivenTwice, place, message, "give one of them a different `name`".to_owned());
            return None;
        }
    }
    Some(read)
}

/// Returns the names of a job's artifacts; `None` if one of them is not known before the job runs.
pub(super) fn names(artifacts: Option<&Rc<Node>>) -> Option<Vec<String>> {
    let Some(node) = artifacts else { return Some(Vec::new()) };
    let name = |item: &Rc<Node>| match &entry_of(item, "name") {
        None => Some(DEFAULT_NAME.to_owned()),
        Some(entry) => match &entry.value.kind {
            Kind::Scalar(scalar) if !scalar.text.contains("${{") => Some(scalar.text.trim().to_owned()),
            Kind::Scalar(_) | Kind::Map(_) | Kind::List(_) => None,
        },
    };
    items(node).iter().map(name).collect()
}

fn artifact(node: &Rc<Node>, names: &Names, findings: &mut Findings<'_>) -> Option<ArtifactPlan> {
    let fields = fields(node, &keys::ARTIFACT, "{ name: app, paths: [target/app] }", findings)?;
    let name = match fields.get("name") {
        Some(node) => one_line(node, "`name`", Position::Job, names, findings).filter(|name| {
            let fits = name.as_known().is_none_or(|name| !name.contains(['/', '\\']) && name != ".." && name != ".");
            if !fits {
                findings.error(
                    Code::BadName,
                    node.place,
                    "an artifact name cannot contain `/`",
                    "write it like `binaries`".to_owned(),
                );
            }
            fits
        }),
        None => Some(Template::from(DEFAULT_NAME)),
    };
    let paths = match fields.get("paths") {
        Some(node) => paths(node, names, findings),
        None => {
            if !fields.is_misnamed("paths", &keys::ARTIFACT) {
                let help = "write `paths: [target/release/app]`";
                findings.error(Code::MissingKey, node.place, "this artifact has no `paths`", help.to_owned());
            }
            None
        }
    };
    let expire = fields.read_optional("expire-in", |node| {
        let text = filled(node, "`expire-in`", findings)?;
        match size::days(text) {
            Ok(ms) => Some(ms),
            Err(help) => {
                findings.error(Code::BadDuration, node.place, "invalid retention time", help.to_owned());
                None
            }
        }
    });
    let when = match fields.get("when") {
        Some(node) => {
            word(node, "`when`", &["success", "failure", "always"], findings).map(|word| match word.as_str() {
                "failure" => ArtifactWhen::Failure,
                "always" => ArtifactWhen::Always,
                _ => ArtifactWhen::Success,
            })
        }
        None => Some(ArtifactWhen::Success),
    };
    Some(ArtifactPlan { name: name?, paths: paths?, expire_in_ms: expire?, when: when? })
}

pub(super) fn reports(node: &Rc<Node>, names: &Names, findings: &mut Findings<'_>) -> Option<Reports> {
    let fields = fields(node, &keys::REPORTS, "{ junit: ['target/**/junit.xml'] }", findings)?;
    let mut globs = |key: &str| match fields.get(key) {
        Some(node) => paths(node, names, findings),
        None => Some(Vec::new()),
    };
    let (junit, coverage, sarif) = (globs("junit"), globs("coverage"), globs("sarif"));
    Some(Reports { junit: junit?, coverage: coverage?, sarif: sarif? })
}

/// Reads the folders of a cache, anywhere in the container.
fn cache_paths(node: &Rc<Node>, names: &Names, findings: &mut Findings<'_>) -> Option<Vec<Template>> {
    each_path(node, findings, |item, findings| {
        let written = filled(item, "a path", findings)?.trim();
        let path = text::read(written, item.place, Position::Job, names, findings)?;
        if let Some(Err(why)) = path.as_known().map(CachePath::parse) {
            let help = "write a folder: `target`, `~/.cargo/registry` or `/var/cache/apt`";
            findings.error(Code::BadPath, item.place, why.to_string(), help.to_owned());
            return None;
        }
        Some(path)
    })
}

/// Reads paths of files below the workspace.
fn paths(node: &Rc<Node>, names: &Names, findings: &mut Findings<'_>) -> Option<Vec<Template>> {
    each_path(node, findings, |item, findings| {
        let written = filled(item, "a path", findings)?.trim();
        let complaint = if written.split('/').any(|part| part == "..") {
            Some("a path cannot lead out of the workspace")
        } else if written.starts_with(['/', '~']) {
            Some("a path must be relative to the workspace")
        } else if written.chars().any(char::is_control) {
            Some("a path must be a single line")
        } else {
            None
        };
        if let Some(complaint) = complaint {
            let help = "write it relative to the workspace: `target/release/app`";
            findings.error(Code::BadPath, item.place, complaint, help.to_owned());
            return None;
        }
        text::read(written, item.place, Position::Job, names, findings)
    })
}

/// Reads a path or a list of paths, each with `read`, and reports all invalid ones.
fn each_path(
    node: &Rc<Node>,
    findings: &mut Findings<'_>,
    read: impl Fn(&Rc<Node>, &mut Findings<'_>) -> Option<Template>,
) -> Option<Vec<Template>> {
    let items = items(node);
    if items.is_empty() || node.is_null() {
        findings.error(Code::Empty, node.place, "there is no path here", "write at least one".to_owned());
        return None;
    }
    let read: Vec<Option<Template>> = items.iter().map(|item| read(item, findings)).collect();
    read.into_iter().collect()
}

fn list<'n>(node: &'n Rc<Node>, what: &str, example: &str, findings: &mut Findings<'_>) -> Option<&'n [Rc<Node>]> {
    let items = items(node);
    if items.is_empty() || node.is_null() {
        findings.error(
            Code::Empty,
            node.place,
            format!("{what} is empty"),
            format!("write {what}: [{example}]").replace("`: ", ": "),
        );
        return None;
    }
    if items.len() > MAX_ENTRIES {
        findings.error(Code::BadSize, node.place, format!("{what} can have at most {MAX_ENTRIES} entries"), None);
        return None;
    }
    Some(items)
}

fn fields<'n>(node: &'n Node, keys: &Keys, example: &str, findings: &mut Findings<'_>) -> Option<Fields<'n>> {
    if matches!(node.kind, Kind::Scalar(_)) {
        let message = format!("{} must be a mapping, but this is {}", keys.subject, node.describe());
        findings.error(Code::WrongType, node.place, message, format!("write `{example}`"));
        return None;
    }
    Fields::read(node, keys, findings)
}
