//! Reads another system's file so that nothing in it is dropped silently: a mapping hands out its entries one by one,
//! and each entry that nobody has taken becomes a note.

use std::{cell::RefCell, rc::Rc};

use super::draft::{Map, Note};
use longshore_pipeline::{
    source::{Place, Source},
    tree::{Entry, Kind, Node},
};

/// The files of the repository that a source is from, by their paths.
pub type Files<'f> = &'f dyn Fn(&str) -> Option<String>;

/// Maps places in the source to lines, and finds the files that the source refers to.
#[derive(Clone, Copy)]
pub(super) struct Lines<'s> {
    pub(super) source: &'s Source<'s>,
    pub(super) files: Files<'s>,
    /// The line for all places, which are in another file then.
    pub(super) fixed: Option<u32>,
}

impl<'s> Lines<'s> {
    pub(super) fn new(source: &'s Source<'s>, files: Files<'s>) -> Self {
        Self { source, files, fixed: None }
    }

    pub(super) fn line_of(&self, place: Place) -> u32 {
        self.fixed.unwrap_or_else(|| self.source.span(place).line)
    }

    /// Makes a note about an entry.
    pub(super) fn note(&self, entry: &Entry, why: impl Into<String>) -> Note {
        Note::new(self.line_of(entry.key_place), entry.key.clone(), why)
    }

    pub(super) fn line_of_key(&self, entry: &Entry) -> u32 {
        self.line_of(entry.key_place)
    }
}

/// The note on a value whose form the other system would not accept either, or whose meaning is only known elsewhere.
pub(super) const FORM: &str = "this form of it is not understood; write it by hand";

/// The note on a step that must not run as it is.
pub(super) const LOST: &str =
    "it lost a setting, and would do something else without it: nothing runs until that is written by hand";

/// A mapping whose entries are taken one by one.
#[derive(Debug)]
pub(super) struct Section<'n> {
    entries: &'n [Entry],
    taken: RefCell<Vec<bool>>,
}

impl<'n> Section<'n> {
    pub(super) fn read(node: &'n Node) -> Option<Self> {
        entries(node).map(|entries| Self { entries, taken: RefCell::new(vec![false; entries.len()]) })
    }

    /// Returns the entry with that key and marks it as taken.
    pub(super) fn take(&self, key: &str) -> Option<&'n Entry> {
        let at = self.entries.iter().position(|entry| entry.key == key)?;
        if let Some(taken) = self.taken.borrow_mut().get_mut(at) {
            *taken = true;
        }
        self.entries.get(at)
    }

    /// Returns the entry with that key without marking it as taken.
    pub(super) fn peek(&self, key: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Returns the entries that have not been taken.
    pub(super) fn rest(&self) -> Vec<&'n Entry> {
        let taken = self.taken.borrow();
        self.entries.iter().zip(taken.iter()).filter(|(_, taken)| !**taken).map(|(entry, _)| entry).collect()
    }

    /// Adds a note for every entry that has not been taken, with the reason that `why` gives for its key.
    pub(super) fn note_rest(&self, lines: Lines<'_>, into: &mut Map, why: impl Fn(&str) -> Option<&'static str>) {
        for entry in self.rest() {
            let why = why(&entry.key).unwrap_or("Longshore has nothing like it, or the key is not known");
            into.note(lines.note(entry, why));
        }
    }
}

/// Looks up the reason for a key in a table.
pub(super) fn reason(table: &[(&str, &'static str)], key: &str) -> Option<&'static str> {
    table.iter().find(|(known, _)| *known == key).map(|(_, why)| *why)
}

pub(super) fn entries(node: &Node) -> Option<&[Entry]> {
    match &node.kind {
        Kind::Map(entries) => Some(entries),
        Kind::List(_) | Kind::Scalar(_) => None,
    }
}

pub(super) fn list(node: &Node) -> Option<&[Rc<Node>]> {
    match &node.kind {
        Kind::List(items) => Some(items),
        Kind::Map(_) | Kind::Scalar(_) => None,
    }
}

/// The items of a list; a single value is a list of one, a null an empty list.
pub(super) fn items(node: &Rc<Node>) -> &[Rc<Node>] {
    match &node.kind {
        Kind::List(items) => items,
        Kind::Scalar(scalar) if scalar.is_null() => &[],
        Kind::Map(_) | Kind::Scalar(_) => std::slice::from_ref(node),
    }
}

/// A single value as it is written; `None` for a null, a list or a mapping.
pub(super) fn text(node: &Node) -> Option<&str> {
    match &node.kind {
        Kind::Scalar(scalar) if !scalar.is_null() => Some(&scalar.text),
        Kind::Map(_) | Kind::List(_) | Kind::Scalar(_) => None,
    }
}

/// A single value; a null is the empty text.
pub(super) fn text_or_empty(node: &Node) -> Option<&str> {
    if node.is_null() { Some("") } else { text(node) }
}

/// All single values of a list and the lists in it, or the only value; `None` if there is a mapping.
pub(super) fn texts(node: &Node) -> Option<Vec<String>> {
    fn collect(node: &Node, into: &mut Vec<String>) -> bool {
        match &node.kind {
            Kind::Scalar(scalar) if scalar.is_null() => true,
            Kind::Scalar(scalar) => {
                into.push(scalar.text.clone());
                true
            }
            Kind::List(items) => items.iter().all(|item| collect(item, into)),
            Kind::Map(entries) => matches!(entries.as_slice(), [one] if one.key == "<<" && collect(&one.value, into)),
        }
    }
    let mut found = Vec::new();
    collect(node, &mut found).then_some(found)
}

/// Parses `true` or `false`, and also the words of YAML 1.1, which other systems accept.
pub(super) fn boolean(node: &Node) -> Option<bool> {
    match text(node)?.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

pub(super) fn number(node: &Node) -> Option<u64> {
    text(node)?.trim().parse().ok()
}

/// Turns a text into a name for a job, an axis or a label: letters, digits, `-` and `_`.
pub(super) fn name(written: &str) -> String {
    let mut name = String::new();
    for c in written.chars() {
        match c {
            c if c.is_ascii_alphanumeric() || c == '_' || c == '-' => name.push(c),
            _ if name.ends_with('-') => {}
            _ => name.push('-'),
        }
    }
    let name = name.trim_matches(['-', '_']);
    let cut: String = name.chars().take(60).collect();
    let cut = cut.trim_end_matches(['-', '_']);
    if cut.is_empty() { "job".to_owned() } else { cut.to_owned() }
}

/// Like [`name`], but different from the names in `taken`.
pub(super) fn unique(written: &str, taken: &[String]) -> String {
    let base = name(written);
    let free = |name: &String| taken.iter().all(|other| other != name);
    if free(&base) {
        return base;
    }
    (2..).map(|n| format!("{base}-{n}")).find(free).unwrap_or(base)
}

/// Turns a text into a name for a variable or a secret; `None` if that is impossible.
pub(super) fn variable(written: &str) -> Option<String> {
    let name: String = written.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let fits = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.len() <= 256;
    fits.then_some(name)
}
