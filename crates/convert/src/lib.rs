//! Converts a pipeline of another system to a Longshore pipeline.
//!
//! ```text
//! text -> yaml: a tree with places -> woodpecker, drone, gitlab or github: a draft with notes
//!      -> needs: what a job waits for -> writer: text -> mend: checked, refused parts removed -> text that lints
//! ```
//!
//! `longshore convert` calls it. It is pure, like all of `pipeline`. Two promises hold for every source:
//! - The result has no error.
//! - Nothing of the source is dropped silently. A comment with the source's line is left wherever something was not
//!   carried over.
//!
//! If our language cannot say a condition, nothing runs that would not have run before.

mod artifacts;
mod changed;
mod condition;
mod container_step;
mod containers;
mod draft;
mod drone;
mod filters;
mod folder;
mod foreign;
mod gate;
mod github;
mod gitlab;
mod mend;
mod needs;
mod platform;
mod plugin;
mod ports;
mod quoting;
mod script;
mod sequence;
mod services;
mod shell;
mod variables;
mod when;
mod woodpecker;
mod writer;

use std::rc::Rc;

use longshore_core::Diagnostic;

pub use draft::Note;
use draft::{Draft, Item, Map, Part, Value};
pub use folder::{Made, convert_all};
pub use foreign::Files;
use foreign::Lines;
use longshore_pipeline::{
    Code,
    findings::Findings,
    limits,
    source::{Place, Source, SourceFile},
    tree::{Kind, Node},
    yaml,
};

/// The image of a job whose source names none.
const DEFAULT_IMAGE: &str = "debian:bookworm-slim";

/// A system whose files can be converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    Woodpecker,
    GitLab,
    GitHub,
    Drone,
}

impl Language {
    /// The name that people know it by.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Woodpecker => "Woodpecker",
            Self::GitLab => "GitLab CI",
            Self::GitHub => "GitHub Actions",
            Self::Drone => "Drone",
        }
    }
}

/// A Longshore pipeline made from another system's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// The file's text; it has no errors.
    pub text: String,
    /// How many of its keys come from the source.
    pub carried: usize,
    /// The parts that were left out, in the order of the source's lines.
    pub left_out: Vec<Note>,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The source cannot be read.
    #[error("the file cannot be read")]
    Unreadable(Vec<Diagnostic>),
    /// The source is not a file of the given system.
    #[error("{0}")]
    NotOne(String),
    /// The result would be larger than a pipeline file may be.
    #[error("the result would have {} KiB, and a pipeline file has at most {}: split the source and convert its parts", .0.div_ceil(1024), limits::FILE_BYTES / 1024)]
    TooLarge(usize),
    #[error("it has {0} jobs, and a build has at most {max}: split the source and convert its parts", max = limits::JOBS)]
    TooManyJobs(usize),
}

/// Guesses the system that a file belongs to from its name and its keys; `None` if they do not tell.
#[must_use]
pub fn guess(file: &SourceFile) -> Option<Language> {
    let path = file.path.replace('\\', "/");
    let name = path.rsplit('/').next().unwrap_or(&path);
    let folder = |name: &str| path.contains(&format!("{name}/"));
    if name.starts_with(".woodpecker.y") || folder(".woodpecker") {
        return Some(Language::Woodpecker);
    }
    if name.starts_with(".drone.y") {
        return Some(Language::Drone);
    }
    if name.ends_with(".gitlab-ci.yml") || name.ends_with(".gitlab-ci.yaml") || folder(".gitlab/ci") {
        return Some(Language::GitLab);
    }
    if folder(".github/workflows") || folder(".forgejo/workflows") || folder(".gitea/workflows") {
        return Some(Language::GitHub);
    }
    let source = Source::new(file);
    let documents = yaml::documents(&mut Findings::new(&source))?;
    let has = |keys: &[&str]| keys.iter().all(|key| documents.iter().any(|node| entry(node, key).is_some()));
    let jobs_have = |keys: &[&str]| {
        documents
            .iter()
            .filter_map(|node| foreign::entries(node))
            .flatten()
            .any(|job| keys.iter().any(|key| entry(&job.value, key).is_some()))
    };
    if has(&["kind", "steps"]) {
        Some(Language::Drone)
    } else if has(&["on", "jobs"]) {
        Some(Language::GitHub)
    } else if has(&["steps"]) || has(&["pipeline"]) {
        Some(Language::Woodpecker)
    } else if has(&["stages"]) || jobs_have(&["script", "trigger", "extends"]) {
        Some(Language::GitLab)
    } else {
        None
    }
}

fn entry<'n>(node: &'n Node, key: &str) -> Option<&'n longshore_pipeline::tree::Entry> {
    foreign::entries(node)?.iter().find(|entry| entry.key == key)
}

/// Converts a file. `path` is where the result will be stored; it gives the pipeline its default name.
///
/// # Errors
///
/// If the file cannot be read, is not of that system, or becomes too large.
pub fn convert(language: Language, file: &SourceFile, path: &str) -> Result<Converted, ConvertError> {
    convert_within(language, file, path, &|_| None)
}

/// Converts a file of a repository, from whose other files local actions are read.
///
/// # Errors
///
/// As [`convert`].
pub fn convert_within(
    language: Language,
    file: &SourceFile,
    path: &str,
    files: Files<'_>,
) -> Result<Converted, ConvertError> {
    let source = Source::new(file);
    let (documents, repeated) = read(language, file, &source)?;
    convert_draft(draft_of(language, &documents, Lines::new(&source, files))?, repeated, path)
}

fn draft_of(language: Language, documents: &[Rc<Node>], lines: Lines<'_>) -> Result<Draft, ConvertError> {
    match language {
        Language::Woodpecker => woodpecker::draft(single(documents, language)?, lines),
        Language::Drone => drone::draft(documents, lines),
        Language::GitLab => gitlab::draft(documents, lines),
        Language::GitHub => github::draft(single(documents, language)?, lines),
    }
}

/// Makes the text of a draft. `repeated` are notes on keys that were given twice.
fn convert_draft(mut draft: Draft, repeated: Vec<Note>, path: &str) -> Result<Converted, ConvertError> {
    draft.head.notes(repeated);
    if draft.jobs.len() > limits::JOBS {
        return Err(ConvertError::TooManyJobs(draft.jobs.len()));
    }
    needs::resolve(&mut draft);
    let (map, body) = mend::mend(draft.into_map(), path)?;
    let mut left_out = Vec::new();
    let carried = count(&map, &mut left_out);
    left_out.sort_by_key(|note| note.line);
    left_out.dedup();
    Ok(Converted { text: body, carried, left_out })
}

/// Returns the documents of a file that are not empty, and notes on keys that are given twice where that is allowed.
fn read(
    language: Language,
    file: &SourceFile,
    source: &Source<'_>,
) -> Result<(Vec<Rc<Node>>, Vec<Note>), ConvertError> {
    let mut findings = Findings::new(source);
    if file.text.len() > limits::FILE_BYTES {
        let message = format!(
            "the file has {} KiB, and at most {} are read",
            file.text.len().div_ceil(1024),
            limits::FILE_BYTES / 1024
        );
        findings.error(Code::FileTooLarge, Place::default(), message, None);
        return Err(ConvertError::Unreadable(findings.finish()));
    }
    if let Some(at) = file.invalid_utf8 {
        findings.error(Code::NotUtf8, Place::new(at, at + 1), "the file is not UTF-8 from here on", None);
        return Err(ConvertError::Unreadable(findings.finish()));
    }
    // GitLab takes the last of several entries with one key; the others refuse such a file.
    let documents = match language {
        Language::GitLab => yaml::documents_with_last_keys(&mut findings),
        Language::Woodpecker | Language::Drone | Language::GitHub => yaml::documents(&mut findings),
    };
    let found = findings.finish();
    let allowed = |found: &Diagnostic| {
        language == Language::GitLab
            && [Code::DuplicateKey.as_str(), Code::MoreFindings.as_str()].contains(&found.code.as_str())
    };
    match documents {
        Some(documents) if found.iter().all(allowed) => {
            let repeated = found.iter().filter(|found| found.code == Code::DuplicateKey.as_str()).map(|found| {
                let key = found.message.split('`').nth(1).unwrap_or("a key");
                Note::new(found.span.line, key, "given twice: the last one counts, as at GitLab")
            });
            let repeated = repeated.collect();
            Ok((documents.into_iter().filter(|node| !node.is_null()).collect(), repeated))
        }
        _ => Err(ConvertError::Unreadable(found)),
    }
}

/// Returns the only document of a file.
fn single(documents: &[Rc<Node>], language: Language) -> Result<&Rc<Node>, ConvertError> {
    match documents {
        [one] if matches!(one.kind, Kind::Map(_)) => Ok(one),
        [] => Err(ConvertError::NotOne("the file has nothing in it".to_owned())),
        [_] => Err(ConvertError::NotOne(format!("a file of {} is a mapping, and this one is not", language.as_str()))),
        _ => Err(ConvertError::NotOne(format!(
            "a file of {} is one document, and this one has several",
            language.as_str()
        ))),
    }
}

/// Returns how many keys come from the source, and collects the notes.
fn count(map: &Map, left_out: &mut Vec<Note>) -> usize {
    map.parts
        .iter()
        .map(|part| match part {
            Part::Note(note) => {
                left_out.push(note.clone());
                0
            }
            Part::Remark(_) => 0,
            Part::Entry(entry) => usize::from(entry.line.is_some()) + count_value(&entry.value, left_out),
        })
        .sum()
}

fn count_value(value: &Value, left_out: &mut Vec<Note>) -> usize {
    match value {
        Value::Map(map) => count(map, left_out),
        Value::List(items) => items
            .iter()
            .map(|item| match item {
                Item::Note(note) => {
                    left_out.push(note.clone());
                    0
                }
                Item::Value(value) => count_value(value, left_out),
            })
            .sum(),
        Value::Text(_) | Value::Plain(_) | Value::Script(_) => 0,
    }
}
