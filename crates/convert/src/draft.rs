//! A Longshore pipeline under construction: mappings and lists in the order in which they are written, with comments
//! between them.
//!
//! The languages make drafts, `needs` and `mend` change them, `writer` writes them out. Every entry of a draft knows
//! the line of the source that it comes from, so that a note can name the line if the entry is removed again.

use std::collections::BTreeMap;

/// A value of a draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A text, quoted if YAML needs it.
    Text(String),
    /// Written as it is: `true`, `3`.
    Plain(String),
    /// A script, written as a block scalar.
    Script(String),
    List(Vec<Item>),
    Map(Map),
}

impl Value {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn plain(word: impl ToString) -> Self {
        Self::Plain(word.to_string())
    }

    pub(super) fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::List(texts.into_iter().map(|text| Item::Value(Self::text(text))).collect())
    }

    /// Secrets that no variable of every step holds: only what refers to one has it, as there.
    pub(super) fn secrets<T: Into<String>>(names: impl IntoIterator<Item = T>) -> Self {
        let one = |name: T| {
            let mut secret = Map::default();
            secret.set("name", Self::text(name), None);
            secret.set("env", Self::plain(false), None);
            Item::Value(secret.into())
        };
        Self::List(names.into_iter().map(one).collect())
    }
}

impl From<Map> for Value {
    fn from(map: Map) -> Self {
        Self::Map(map)
    }
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Value(Value),
    Note(Note),
}

/// A part that was not carried over, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The line of the source, counted from 1.
    pub line: u32,
    /// The key or words that were left out, as written in the source.
    pub what: String,
    /// Why, and what to do about it.
    pub why: String,
}

impl Note {
    pub(super) fn new(line: u32, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { line, what: what.into(), why: why.into() }
    }
}

/// A mapping of a draft.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Map {
    pub(super) parts: Vec<Part>,
}

/// A part of a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Entry(Entry),
    Note(Note),
    /// A comment for the reader about something that was carried over.
    Remark(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: Value,
    /// The line of the source that it comes from; `None` if it was added.
    pub(super) line: Option<u32>,
}

impl Map {
    /// Adds an entry, or replaces the one with the same key.
    pub(super) fn set(&mut self, key: impl Into<String>, value: impl Into<Value>, line: impl Into<Option<u32>>) {
        let entry = Entry { key: key.into(), value: value.into(), line: line.into() };
        let same = |part: &Part| matches!(part, Part::Entry(other) if other.key == entry.key);
        match self.parts.iter().position(same) {
            Some(at) => self.parts[at] = Part::Entry(entry),
            None => self.parts.push(Part::Entry(entry)),
        }
    }

    /// Like [`Self::set`], but leaves out an empty list or mapping and keeps its comments.
    pub(super) fn set_filled(&mut self, key: &str, value: impl Into<Value>, line: impl Into<Option<u32>>) {
        match value.into() {
            Value::Map(map) if map.is_empty() => self.parts.extend(map.parts),
            Value::List(items) if items.iter().all(|item| matches!(item, Item::Note(_))) => {
                self.parts.extend(items.into_iter().filter_map(|item| match item {
                    Item::Note(note) => Some(Part::Note(note)),
                    Item::Value(_) => None,
                }));
            }
            value => self.set(key, value, line),
        }
    }

    pub(super) fn note(&mut self, note: Note) {
        // A note that a merge repeats is added once.
        if !self.parts.iter().any(|part| matches!(part, Part::Note(other) if *other == note)) {
            self.parts.push(Part::Note(note));
        }
    }

    pub(super) fn notes(&mut self, notes: impl IntoIterator<Item = Note>) {
        for note in notes {
            self.note(note);
        }
    }

    pub(super) fn remark(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.parts.iter().any(|part| matches!(part, Part::Remark(other) if *other == text)) {
            self.parts.push(Part::Remark(text));
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.entries().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// Whether there is no entry; comments do not count.
    pub(super) fn is_empty(&self) -> bool {
        self.entries().next().is_none()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.parts.iter().filter_map(|part| match part {
            Part::Entry(entry) => Some(entry),
            Part::Note(_) | Part::Remark(_) => None,
        })
    }

    /// Sorts entries into this order, the unnamed ones last. A comment stays before the entry that follows it.
    pub(super) fn arrange(&mut self, order: &[&str]) {
        let mut groups: Vec<(usize, Vec<Part>)> = Vec::new();
        let mut before = Vec::new();
        for part in std::mem::take(&mut self.parts) {
            let rank = match &part {
                Part::Entry(entry) => order.iter().position(|key| *key == entry.key).unwrap_or(order.len()),
                Part::Note(_) | Part::Remark(_) => {
                    before.push(part);
                    continue;
                }
            };
            before.push(part);
            groups.push((rank, std::mem::take(&mut before)));
        }
        groups.sort_by_key(|(rank, _)| *rank);
        // Comments after the last entry come first, so that they are not hidden below hundreds of lines of steps.
        self.parts = before;
        self.parts.extend(groups.into_iter().flat_map(|(_, parts)| parts));
    }
}

/// The result of its needs after which a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum After {
    #[default]
    Success,
    Failure,
    Either,
}

/// A variable of a source.
#[derive(Debug, Clone)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) line: u32,
}

/// A job of a draft.
#[derive(Debug, Clone, Default)]
pub(super) struct Job {
    /// Its key: a name that Longshore accepts, unique in the draft.
    pub(super) name: String,
    /// The line of the source where it begins.
    pub(super) line: u32,
    pub(super) needs: Vec<String>,
    /// Expressions that all have to be true.
    pub(super) conditions: Vec<String>,
    /// The condition under which it runs exactly if it ran there; `None` if it always does. Parts of its conditions may
    /// be lost.
    pub(super) exact_if: Option<String>,
    pub(super) after: After,
    /// The artifacts that it takes over from jobs that it needs, by the names of these jobs.
    pub(super) takes: BTreeMap<String, Vec<String>>,
    /// All other keys.
    pub(super) body: Map,
}

impl Job {
    /// Lets it never run: what decides about it could not be said.
    pub(super) fn withhold(&mut self) {
        self.conditions = vec!["false".to_owned()];
        self.exact_if = Some("false".to_owned());
    }

    /// Lets it take over artifacts of another job, which it then needs.
    pub(super) fn take(&mut self, job: &str, artifacts: &[String]) {
        if artifacts.is_empty() {
            return;
        }
        if !self.needs.iter().any(|need| need == job) {
            self.needs.push(job.to_owned());
        }
        let taken = self.takes.entry(job.to_owned()).or_default();
        for name in artifacts.iter().filter(|name| !taken.contains(name)).cloned().collect::<Vec<_>>() {
            taken.push(name);
        }
    }
}

/// A pipeline of a draft.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    /// `name`, `on`, `env`, `defaults`, `concurrency`, and comments.
    pub(super) head: Map,
    pub(super) jobs: Vec<Job>,
    /// Jobs that were left out.
    pub(super) left_out: Vec<Note>,
    /// Whether the source's language runs a job even if a job that it needs is not part of the build.
    pub(super) absent_needs_count: bool,
}

/// Keys of a pipeline in the order in which people read them.
const HEAD: &[&str] = &["name", "on", "env", "defaults", "concurrency", "jobs"];
/// Keys of a job in the order in which people read them.
const JOB: &[&str] = &[
    "image",
    "runs-on",
    "needs",
    "if",
    "approval",
    "matrix",
    "env",
    "secrets",
    "services",
    "cache",
    "docker",
    "checkout",
    "resources",
    "timeout",
    "retry",
    "continue-on-error",
    "outputs",
    "steps",
    "artifacts",
    "reports",
];

impl Draft {
    /// Returns the mapping to write out, once needs and conditions are resolved.
    pub(super) fn into_map(self) -> Map {
        let mut jobs = Map::default();
        for mut job in self.jobs {
            if !job.needs.is_empty() {
                let needs = job.needs.into_iter().map(|need| {
                    Item::Value(match job.takes.remove(&need) {
                        None => Value::Text(need),
                        Some(artifacts) => {
                            let mut map = Map::default();
                            map.set("job", Value::Text(need), None);
                            map.set("artifacts", Value::texts(artifacts), None);
                            map.into()
                        }
                    })
                });
                job.body.set("needs", Value::List(needs.collect()), None);
            }
            if let Some(condition) = super::condition::all(&job.conditions) {
                job.body.set("if", Value::Text(condition), job.line);
            }
            job.body.arrange(JOB);
            jobs.set(job.name, job.body, job.line);
        }
        if jobs.is_empty() {
            jobs = super::mend::placeholder_jobs();
        }
        jobs.notes(self.left_out);
        let mut head = self.head;
        head.arrange(HEAD);
        // After its comments, so that no comment is last.
        head.set("jobs", jobs, None);
        head
    }
}
