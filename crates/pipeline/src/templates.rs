//! Job templates: files of the same repository that jobs use. The caller reads the files (from the mirror at the
//! commit, or from a working tree); this module says which files it needs, parses them, and merges them into the jobs
//! that use them.

use std::{collections::BTreeMap, rc::Rc};

use super::{
    code::Code,
    fields::{Fields, mapping},
    findings::Findings,
    input::Input,
    keys, limits, read,
    scalar::filled,
    source::{Place, Source, SourceFile},
    tree::{Entry, Kind, Node, Weight},
    yaml,
};

/// The template files by their paths in the repository. Each is its text, whose own path is the one that findings name,
/// or the reason why there is none.
pub type TemplateFiles = BTreeMap<String, Result<SourceFile, String>>;

/// Returns the paths of all templates that `files` use, relative to the repository's root. `check` reports invalid
/// paths.
#[must_use]
pub fn wanted_templates(files: &[SourceFile]) -> Vec<String> {
    let mut wanted: Vec<String> = Vec::new();
    for file in files.iter().filter(|file| file.text.contains("use") && file.text.len() <= limits::FILE_BYTES) {
        let source = Source::new(file);
        let Some(root) = yaml::parse(0, &mut Findings::new(&source)) else { continue };
        let Some(jobs) = entry(&root, "jobs").map(|entry| &entry.value) else { continue };
        let Kind::Map(jobs) = &jobs.kind else { continue };
        for job in jobs {
            let Some(Entry { value, .. }) = entry(&job.value, "use") else { continue };
            if let Kind::Scalar(scalar) = &value.kind
                && let Ok(path) = normalized(&scalar.text)
                && !wanted.contains(&path)
                && wanted.len() < limits::TEMPLATES
            {
                wanted.push(path);
            }
        }
    }
    wanted
}

fn entry<'n>(node: &'n Node, key: &str) -> Option<&'n Entry> {
    match &node.kind {
        Kind::Map(entries) => entries.iter().find(|entry| entry.key == key),
        Kind::List(_) | Kind::Scalar(_) => None,
    }
}

/// Returns a path below the repository's root, without `./`. The error says why the path is not allowed.
fn normalized(path: &str) -> Result<String, &'static str> {
    if path.contains("${{") {
        return Err("a template's path cannot contain expressions");
    }
    if path.starts_with('/') || path.starts_with('~') || path.contains("://") || path.contains('\\') {
        return Err("a template must be a file in this repository, named from its root");
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err("this path may lead out of the repository"),
            part => parts.push(part),
        }
    }
    let path = parts.join("/");
    let yaml = path.ends_with(".yml") || path.ends_with(".yaml");
    match yaml && path.len() <= 500 && !path.chars().any(char::is_control) && parts.first() != Some(&".git") {
        true => Ok(path),
        false => Err("a template must be a `.yml` or `.yaml` file"),
    }
}

/// The templates that one pipeline file may use. Each is read when a job first uses it.
pub(super) struct Library {
    files: BTreeMap<String, TemplateState>,
}

enum TemplateState {
    Absent(String),
    /// The index of its text among the findings' sources.
    Unread(u16),
    Read(Option<Template>),
}

/// A template whose two parts have been found.
#[derive(Clone)]
pub(super) struct Template {
    /// `None` if they are wrong.
    pub(super) inputs: Option<Vec<Input>>,
    job: Rc<Node>,
}

/// A job merged with its template.
pub(super) struct Expanded {
    pub(super) node: Rc<Node>,
    pub(super) template: Option<Template>,
}

impl Library {
    /// `sources` are the readable files of `templates`, in the same order.
    pub(super) fn new<'s>(templates: &TemplateFiles, sources: &'s [Source<'s>], findings: &mut Findings<'s>) -> Self {
        let mut files: BTreeMap<String, TemplateState> = templates
            .iter()
            .filter_map(|(path, file)| Some((path.clone(), TemplateState::Absent(file.as_ref().err()?.clone()))))
            .collect();
        let readable = templates.iter().filter(|(_, file)| file.is_ok());
        for ((path, _), source) in readable.zip(sources) {
            files.insert(path.clone(), TemplateState::Unread(findings.add_source(source)));
        }
        Self { files }
    }

    /// Merges a job with its template; a job without one is returned as it is. `None` if the template cannot be used,
    /// which has been reported.
    pub(super) fn expand(&mut self, job: &Entry, findings: &mut Findings<'_>) -> Option<Expanded> {
        let Some(used) = entry(&job.value, "use") else {
            if let Some(with) = entry(&job.value, "with") {
                let help = "write `use: ./ci/name.yml`, or `env` for variables";
                findings.error(
                    Code::NotTogether,
                    with.key_place,
                    "`with` is only for jobs that use a template",
                    help.to_owned(),
                );
            }
            return Some(Expanded { node: Rc::clone(&job.value), template: None });
        };
        let written = filled(&used.value, "`use`", findings)?;
        let path = match normalized(written) {
            Ok(path) => path,
            Err(reason) => {
                findings.error(
                    Code::BadTemplate,
                    used.value.place,
                    reason,
                    "write it like `use: ./ci/test.yml`".to_owned(),
                );
                return None;
            }
        };
        let template = self.template(&path, used.value.place, &job.key, findings)?;
        Some(Expanded { node: merge_job(&job.value, &template.job), template: Some(template) })
    }

    fn template(&mut self, path: &str, place: Place, job: &str, findings: &mut Findings<'_>) -> Option<Template> {
        let file = match self.files.get(path) {
            Some(TemplateState::Read(template)) => return template.clone(),
            Some(TemplateState::Unread(file)) => *file,
            Some(TemplateState::Absent(reason)) => {
                findings.error(Code::BadTemplate, place, format!("the template {path} {reason}"), None);
                return None;
            }
            None => {
                let message = format!(
                    "the template {path} was not read: a pipeline can use at most {} templates",
                    limits::TEMPLATES
                );
                findings.error(Code::BadTemplate, place, message, None);
                return None;
            }
        };
        findings.set_using_job(Some(job));
        let template = read_template(file, findings);
        findings.set_using_job(None);
        self.files.insert(path.to_owned(), TemplateState::Read(template.clone()));
        template
    }
}

fn read_template(file: u16, findings: &mut Findings<'_>) -> Option<Template> {
    const EXAMPLE: &str = "write `inputs: {}` and `job: { image: ..., steps: [...] }`";
    let root = yaml::parse(file, findings)?;
    let beginning = Place::new(root.place.start, root.place.start + 1).in_file(file);
    if root.is_null() {
        findings.error(Code::BadTemplate, beginning, "the template is empty", EXAMPLE.to_owned());
        return None;
    }
    let fields = Fields::read(&root, &keys::TEMPLATE, findings)?;
    let Some(job) = fields.get("job") else {
        if !fields.is_misnamed("job", &keys::TEMPLATE) {
            findings.error(Code::MissingKey, beginning, "the template has no `job`", EXAMPLE.to_owned());
        }
        return None;
    };
    let inputs = match fields.get("inputs") {
        Some(node) => mapping(node, "`inputs`", findings).and_then(|entries| read::inputs(entries, findings)),
        None => Some(Vec::new()),
    };
    let mut valid = true;
    for entry in mapping(job, "`job`", findings)?.iter().filter(|entry| matches!(entry.key.as_str(), "use" | "with")) {
        let help = "write the job here: templates cannot be nested";
        findings.error(Code::BadTemplate, entry.key_place, "a template's job cannot use a template", help.to_owned());
        valid = false;
    }
    valid.then(|| Template { inputs, job: Rc::clone(job) })
}

/// Merges the job into the template's job: the keys of the job win, and `env` is merged key by key.
fn merge_job(own: &Node, template: &Node) -> Rc<Node> {
    let (Kind::Map(own_entries), Kind::Map(entries)) = (&own.kind, &template.kind) else {
        return Rc::new(Node { place: own.place, kind: Kind::Map(Vec::new()), weight: Weight::default() });
    };
    let mut merged: Vec<Entry> = Vec::with_capacity(entries.len() + own_entries.len());
    for entry in entries {
        match own_entries.iter().find(|own| own.key == entry.key) {
            None => merged.push(entry.clone()),
            Some(own)
                if own.key == "env" && matches!((&own.value.kind, &entry.value.kind), (Kind::Map(_), Kind::Map(_))) =>
            {
                merged.push(Entry { value: merge_job(&own.value, &entry.value), ..own.clone() });
            }
            Some(own) => merged.push(own.clone()),
        }
    }
    let added = own_entries.iter().filter(|own| entries.iter().all(|entry| entry.key != own.key));
    merged.extend(added.cloned());
    Rc::new(Node { place: own.place, kind: Kind::Map(merged), weight: own.weight.plus(template.weight) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_below_the_repositorys_root() {
        for (path, expected) in [("./ci/a.yml", "ci/a.yml"), ("ci//./a.yaml", "ci/a.yaml"), ("a.yml", "a.yml")] {
            assert_eq!(normalized(path).as_deref(), Ok(expected));
        }
        for path in [
            "../a.yml",
            "ci/../../a.yml",
            "ci/../a.yml",
            "/a.yml",
            "~/a.yml",
            "https://x/a.yml",
            "",
            ".",
            "a.txt",
            ".git/a.yml",
            "a\\b.yml",
        ] {
            assert!(normalized(path).is_err(), "{path}");
        }
    }
}
