//! A mapping with a fixed set of keys. Unknown keys are refused here, so that readers only ask for the keys they know.

use std::rc::Rc;

use super::{
    code::Code,
    findings::Findings,
    keys::Keys,
    suggest::{listed, nearest},
    tree::{Entry, Kind, Node},
};

/// A mapping whose keys have been checked.
#[derive(Debug)]
pub(super) struct Fields<'n> {
    entries: &'n [Entry],
}

impl<'n> Fields<'n> {
    /// Checks that `node` is a mapping and that `keys` allows each of its keys. `None` if it is not a mapping.
    pub(super) fn read(node: &'n Node, keys: &Keys, findings: &mut Findings<'_>) -> Option<Self> {
        let entries = mapping(node, keys.subject, findings)?;
        for entry in entries {
            check_key(entry, keys, findings);
        }
        Some(Self { entries })
    }

    pub(super) fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Returns whether `key` is present under a wrong name, which has already been refused with a suggestion.
    pub(super) fn is_misnamed(&self, key: &str, keys: &Keys) -> bool {
        // Only the first hundred keys are searched for a misspelled one.
        self.entries.iter().take(100).any(|entry| {
            let word = entry.key.as_str();
            let known = keys.known.iter().copied();
            let foreign = keys.foreign.iter().find(|(foreign, _)| *foreign == word);
            !keys.known.contains(&word)
                && foreign
                    .map_or_else(|| nearest(word, known) == Some(key), |(_, help)| help.contains(&format!("`{key}")))
        })
    }

    pub(super) fn get(&self, key: &str) -> Option<&'n Rc<Node>> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// Reads the value of `key`, or returns `absent` if the mapping does not have the key. `None` if the value is
    /// invalid.
    pub(super) fn read_or<T>(&self, key: &str, absent: T, read: impl FnOnce(&'n Rc<Node>) -> Option<T>) -> Option<T> {
        self.get(key).map_or(Some(absent), read)
    }

    /// Reads the value of an optional key. `None` if the value is invalid.
    #[expect(clippy::option_option, reason = "a key may be absent, invalid or valid")]
    pub(super) fn read_optional<T>(
        &self,
        key: &str,
        read: impl FnOnce(&'n Rc<Node>) -> Option<T>,
    ) -> Option<Option<T>> {
        self.read_or(key, None, |node| read(node).map(Some))
    }
}

/// Returns the entries of a mapping with any keys.
pub(super) fn mapping<'n>(node: &'n Node, what: &str, findings: &mut Findings<'_>) -> Option<&'n [Entry]> {
    entries(node, what, "write `key: value`", findings)
}

/// Returns the entries of a mapping whose keys are names that users choose; `example` shows one of them.
pub(super) fn named_entries<'n>(
    node: &'n Node,
    what: &str,
    example: &str,
    findings: &mut Findings<'_>,
) -> Option<&'n [Entry]> {
    entries(node, what, &format!("write each below its name: `{example}`"), findings)
}

fn entries<'n>(node: &'n Node, what: &str, help: &str, findings: &mut Findings<'_>) -> Option<&'n [Entry]> {
    match &node.kind {
        Kind::Map(entries) => Some(entries),
        Kind::List(_) | Kind::Scalar(_) => {
            let help = if node.is_null() { "write its keys on indented lines below it" } else { help };
            findings.error(
                Code::WrongType,
                node.place,
                format!("{what} must be a mapping, but this is {}", node.describe()),
                help.to_owned(),
            );
            None
        }
    }
}

/// Reports a key that `keys` does not know.
pub(super) fn check_key(entry: &Entry, keys: &Keys, findings: &mut Findings<'_>) {
    let key = entry.key.as_str();
    if keys.known.contains(&key) {
        return;
    }
    if findings.is_full() {
        findings.error(Code::UnknownKey, entry.key_place, String::new(), None);
        return;
    }
    let foreign = keys.foreign.iter().find(|(word, _)| *word == key).map(|(_, help)| (*help).to_owned());
    let help =
        foreign.or_else(|| nearest(key, keys.known.iter().copied()).map(|found| format!("did you mean `{found}`?")));
    let help = help.or_else(|| Some(format!("{} can have {}", keys.subject, listed(keys.known.iter().copied()))));
    let shown: String = key.chars().take(60).collect();
    findings.error(Code::UnknownKey, entry.key_place, format!("unknown key `{shown}` in {}", keys.subject), help);
}
