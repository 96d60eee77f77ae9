//! Converts Drone pipelines: each document of the file becomes one job.

use std::rc::Rc;

use longshore_pipeline::tree::{Entry, Node};

use super::{
    ConvertError, Language, condition,
    containers::Containers,
    draft::{Draft, Job, Note, Value},
    foreign::{self, FORM, Lines, Section, entries, number, text, texts},
    platform::Platform,
    plugin::SecretNames,
    when, woodpecker,
};

const NOT_CARRIED_OVER: &[(&str, &str)] = &[
    ("workspace", "the workspace is /longshore/workspace, and `CI_WORKSPACE` says so"),
    ("volumes", "`cache` keeps files between builds, the workspace between steps"),
    ("image_pull_secrets", "credentials for registries are the server's"),
    ("pool", "write `runs-on` with labels of the servers"),
    ("metadata", "it says something to Kubernetes"),
    ("service_account", "it says something to Kubernetes"),
    ("tolerations", "it says something to Kubernetes"),
    ("node_selector", "it says something to Kubernetes"),
];

pub(super) fn draft(documents: &[Rc<Node>], lines: Lines<'_>) -> Result<Draft, ConvertError> {
    let mut draft = Draft { absent_needs_count: true, ..Draft::default() };
    let mut pipelines = Pipelines {
        documents,
        lines,
        is_single: documents.iter().filter(|node| is_pipeline(node)).count() == 1,
        names: Vec::new(),
        needs: Vec::new(),
        secret_names: SecretNames::default(),
    };
    documents.iter().for_each(|node| pipelines.secret_names.collect(node));
    let mut found = false;
    for node in documents {
        let Some(section) = Section::read(node) else {
            draft.head.note(Note::new(lines.line_of(node.place), "a document", FORM));
            continue;
        };
        if is_pipeline(node) {
            found |= pipelines.convert(node, &section, &mut draft);
        } else {
            note_other_document(&section, node, &mut draft, lines);
        }
    }
    if !found {
        return Err(ConvertError::NotOne(
            "a file of Drone has a pipeline with `steps`, and this one has none".to_owned(),
        ));
    }
    pipelines.resolve_needs(&mut draft.jobs);
    Ok(draft)
}

fn is_pipeline(node: &Rc<Node>) -> bool {
    let kind = super::entry(node, "kind").and_then(|entry| text(&entry.value));
    kind.is_none_or(|kind| kind == "pipeline")
}

/// The pipelines of a file while they become jobs.
struct Pipelines<'n> {
    documents: &'n [Rc<Node>],
    lines: Lines<'n>,
    /// Whether the file has one pipeline, whose trigger is that of the whole file.
    is_single: bool,
    /// Drone's names of the pipelines, and our names of the jobs.
    names: Vec<(String, String)>,
    needs: Vec<PipelineNeeds>,
    secret_names: SecretNames,
}

/// The pipelines that a pipeline waits for, by Drone's names.
struct PipelineNeeds {
    /// The position of its job.
    job: usize,
    line: u32,
    pipelines: Vec<String>,
}

impl Pipelines<'_> {
    /// Converts a pipeline to a job of the draft. Returns whether it has steps.
    fn convert(&mut self, node: &Rc<Node>, section: &Section<'_>, draft: &mut Draft) -> bool {
        let lines = self.lines;
        section.take("kind");
        let written = section.take("name").and_then(|entry| text(&entry.value)).unwrap_or("default").to_owned();
        let taken: Vec<String> = self.names.iter().map(|(_, ours)| ours.clone()).collect();
        let name = foreign::unique(&written, &taken);
        let Some(steps) = section.take("steps").or_else(|| section.take("pipeline")) else {
            draft.left_out.push(Note::new(lines.line_of(node.place), written, "it has no steps"));
            return false;
        };
        let platform = Platform::of_pipeline(node);
        if let (Platform::One(platform), Some(entry)) = (&platform, section.peek("platform"))
            && !platform.starts_with("linux/")
        {
            draft.left_out.push(Note::new(lines.line_of_key(entry), written, woodpecker::NOT_LINUX));
            return true;
        }
        self.names.push((written.clone(), name.clone()));
        let mut job = Job { line: lines.line_of(node.place), ..Job::default() };
        if name != written {
            job.body.remark(format!("it was called `{written}`"));
        }
        job.name = name;
        let mut containers = Containers::new(Language::Drone, lines);
        containers.legacy = steps.key == "pipeline";
        containers.followed = self.documents.iter().any(|other| {
            let needs = super::entry(other, "depends_on").and_then(|needs| texts(&needs.value));
            needs.is_some_and(|needs| needs.contains(&written))
        });
        containers.secret_names = std::mem::take(&mut self.secret_names);
        containers.around.platform = platform;
        self.conditions(section, &mut containers, &mut job, draft);
        if let Some(entry) = section.take("depends_on") {
            let pipelines = texts(&entry.value).unwrap_or_default();
            self.needs.push(PipelineNeeds { job: draft.jobs.len(), line: lines.line_of_key(entry), pipelines });
        }
        if let Some(entry) = section.take("type") {
            withhold_other_type(entry, &mut job, lines);
        }
        for key in ["platform", "node"] {
            if let Some(entry) = section.take(key) {
                runs_on(entry, &mut job, lines);
            }
        }
        if let Some(entry) = section.take("concurrency") {
            concurrency(entry, draft, lines);
        }
        woodpecker::clone(section, &mut job.body, lines);
        containers.environment(section, &mut job.body, false);
        if let Some(entry) = section.take("services") {
            containers.services(&entry.value, &mut job, lines.line_of_key(entry));
        }
        containers.steps(&steps.value, &mut job, lines.line_of_key(steps));
        containers.finish(&mut job, &mut draft.head);
        self.secret_names = containers.secret_names;
        section.note_rest(lines, &mut job.body, |key| foreign::reason(NOT_CARRIED_OVER, key));
        draft.jobs.push(job);
        true
    }

    /// Converts `trigger`, and `branches` of older files.
    fn conditions(&self, section: &Section<'_>, containers: &mut Containers<'_>, job: &mut Job, draft: &mut Draft) {
        let lines = self.lines;
        if let Some(entry) = section.take("trigger") {
            let when = match self.is_single {
                true => when::triggers(entry, Language::Drone, lines, &containers.around.platform, &mut draft.head),
                false => when::read(entry, Language::Drone, lines, &containers.around),
            };
            job.body.notes(when.notes);
            job.conditions.extend(when.condition);
            job.after = when.after.unwrap_or_default();
            job.exact_if = when.missed.as_deref().map(condition::not);
            containers.schedule = when.schedule;
        }
        if let Some(entry) = section.take("branches") {
            let when = when::branches(entry, Language::Drone, lines);
            job.body.notes(when.notes);
            job.conditions.extend(when.condition);
        }
    }

    /// Sets `needs` of all jobs. A job that waits for a pipeline that was not carried over never runs.
    fn resolve_needs(self, jobs: &mut [Job]) {
        for needs in self.needs {
            let job = &mut jobs[needs.job];
            for written in needs.pipelines {
                match self.names.iter().find(|(theirs, _)| *theirs == written) {
                    Some((_, ours)) => job.needs.push(ours.clone()),
                    None => {
                        let why = "it waits for this pipeline, which was not carried over: nothing runs until `needs` is written by hand";
                        job.body.note(Note::new(needs.line, written, why));
                        job.withhold();
                    }
                }
            }
        }
    }
}

/// Lets a pipeline never run whose type ran outside of containers.
fn withhold_other_type(entry: &Entry, job: &mut Job, lines: Lines<'_>) {
    if let Some(kind) = text(&entry.value).filter(|kind| !matches!(*kind, "docker" | "kubernetes" | "vm")) {
        let why = format!(
            "pipelines of the type `{kind}` ran outside of containers, and this one would run in them: nothing runs until \
             that is looked at"
        );
        job.body.note(lines.note(entry, why));
        job.withhold();
    }
}

/// Notes a document that is not a pipeline: a secret, a signature, a template.
fn note_other_document(section: &Section<'_>, node: &Node, draft: &mut Draft, lines: Lines<'_>) {
    let kind = section.take("kind").and_then(|entry| text(&entry.value)).unwrap_or("document").to_owned();
    let name = section.take("name").and_then(|entry| text(&entry.value)).unwrap_or_default();
    let why = match kind.as_str() {
        "secret" => "secrets are kept by the server: `longshore secret set`",
        "signature" => "files are not signed",
        _ => "Longshore has nothing like it",
    };
    draft.head.note(Note::new(lines.line_of(node.place), format!("kind: {kind} {name}").trim_end(), why));
}

fn runs_on(entry: &Entry, job: &mut Job, lines: Lines<'_>) {
    let mut labels = match job.body.get("runs-on") {
        Some(Value::Map(labels)) => labels.clone(),
        _ => super::draft::Map::default(),
    };
    if let Some(arch) = text(&entry.value).and_then(|written| written.strip_prefix("linux/")) {
        labels.set("arch", Value::text(arch), lines.line_of_key(entry));
    }
    for label in entries(&entry.value).unwrap_or_default() {
        match (label.key.as_str(), text(&label.value)) {
            ("os", Some("linux")) if entry.key == "platform" => {}
            ("version" | "variant", _) if entry.key == "platform" => {
                labels.note(lines.note(label, "servers are chosen by labels of their own"))
            }
            (key, Some(value)) => labels.set(foreign::name(key), Value::text(value), lines.line_of_key(label)),
            (_, None) => labels.note(lines.note(label, FORM)),
        }
    }
    job.body.set_filled("runs-on", labels, lines.line_of_key(entry));
}

fn concurrency(entry: &Entry, draft: &mut Draft, lines: Lines<'_>) {
    let limit = entries(&entry.value).and_then(|entries| entries.iter().find(|entry| entry.key == "limit"));
    match limit.and_then(|limit| number(&limit.value)) {
        Some(1) => {
            draft.head.remark("one build at a time has the group, whichever of its jobs had the limit");
            draft.head.set("concurrency", Value::text("all"), lines.line_of_key(entry));
        }
        _ => draft.head.note(lines.note(entry, "one build at a time may have a group, not several")),
    }
}
