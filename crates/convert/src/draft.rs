//! A Longshore pipeline on its way: mappings and lists in the order in which they are written, with comments between them.
//!
//! The languages make drafts, `needs` and `mend` change them, `writer` writes them down. A draft knows of every entry the line of
//! the source that it comes from, so that whatever is taken out again can say what it was.

/// A value of a draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// Quoted where it has to be.
    Text(String),
    /// Written as it is: `true`, `3`.
    Plain(String),
    /// Written as one block, a line each: a script.
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

/// What was not carried over, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The line of the source, from 1.
    pub line: u32,
    /// The key or words that were left, as they are written there.
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
    /// Something that people should know and that is nothing left over.
    Remark(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: Value,
    /// The line of the source that it comes from; nothing where it was added.
    pub(super) line: Option<u32>,
}

impl Map {
    /// Adds an entry, or replaces the one of that name.
    pub(super) fn set(&mut self, key: impl Into<String>, value: impl Into<Value>, line: impl Into<Option<u32>>) {
        let entry = Entry { key: key.into(), value: value.into(), line: line.into() };
        let same = |part: &Part| matches!(part, Part::Entry(other) if other.key == entry.key);
        match self.parts.iter().position(same) {
            Some(at) => self.parts[at] = Part::Entry(entry),
            None => self.parts.push(Part::Entry(entry)),
        }
    }

    /// [`Self::set`], for lists and mappings that may be empty and then are left out; their comments stay.
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
        // What a merge repeats is said once.
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

    /// Puts entries into this order, those that are not named behind; a comment stays before the entry that it stands before.
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
        // What stands behind the last entry is read before the steps, not below hundreds of their lines.
        self.parts = before;
        self.parts.extend(groups.into_iter().flat_map(|(_, parts)| parts));
    }
}

/// Which result of its needs a job asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum After {
    #[default]
    Success,
    Failure,
    Either,
}

/// A job of a draft.
#[derive(Debug, Clone, Default)]
pub(super) struct Job {
    /// Its key: a name that Longshore takes, unique in the draft.
    pub(super) name: String,
    /// The line of the source where it begins.
    pub(super) line: u32,
    pub(super) needs: Vec<String>,
    /// Expressions that all have to hold.
    pub(super) conditions: Vec<String>,
    pub(super) after: After,
    /// Everything else.
    pub(super) body: Map,
}

/// A pipeline of a draft.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    /// `name`, `on`, `env`, `defaults`, `concurrency`, and comments.
    pub(super) head: Map,
    pub(super) jobs: Vec<Job>,
    /// Jobs that were left out.
    pub(super) left: Vec<Note>,
    /// Whether the source's language runs a job although one that it needs was not wanted.
    pub(super) absent_needs_count: bool,
}

/// Keys of a pipeline in the order in which people read them.
const HEAD: &[&str] = &["name", "on", "env", "defaults", "concurrency", "jobs"];
/// Keys of a job, likewise.
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
    /// The mapping that is written down; needs and conditions have been settled.
    pub(super) fn into_map(self) -> Map {
        let mut jobs = Map::default();
        for mut job in self.jobs {
            if !job.needs.is_empty() {
                job.body.set("needs", Value::texts(job.needs), None);
            }
            if let Some(condition) = super::condition::all(&job.conditions) {
                job.body.set("if", Value::Text(condition), job.line);
            }
            job.body.arrange(JOB);
            jobs.set(job.name, job.body, job.line);
        }
        if jobs.is_empty() {
            jobs = super::mend::jobs_of_nothing();
        }
        jobs.notes(self.left);
        let mut head = self.head;
        head.arrange(HEAD);
        // Behind its comments, so that none stands alone at the end.
        head.set("jobs", jobs, None);
        head
    }
}
