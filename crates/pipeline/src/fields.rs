//! A mapping with known keys: everything else in it is refused here, so that readers only ask for what they know.

use std::rc::Rc;

use super::{
    code::Code,
    findings::Findings,
    keys::Keys,
    suggest::{listed, nearest},
    tree::{Entry, Kind, Node},
};

/// A mapping whose keys have been judged.
#[derive(Debug)]
pub(super) struct Fields<'n> {
    entries: &'n [Entry],
}

impl<'n> Fields<'n> {
    /// `node` as the mapping that `keys` describes. `None` if it is no mapping.
    pub(super) fn of(node: &'n Node, keys: &Keys, findings: &mut Findings<'_>) -> Option<Self> {
        let entries = mapping(node, keys.of, findings)?;
        for entry in entries {
            judge(entry, keys, findings);
        }
        Some(Self { entries })
    }

    pub(super) fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Whether `key` stands there under another name, which has been refused with a suggestion already.
    pub(super) fn is_misnamed(&self, key: &str, keys: &Keys) -> bool {
        // Nobody misspells a key behind hundreds of others.
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
}

/// The entries of a mapping, whatever its keys.
pub(super) fn mapping<'n>(node: &'n Node, what: &str, findings: &mut Findings<'_>) -> Option<&'n [Entry]> {
    entries(node, what, "write `key: value`", findings)
}

/// The entries of a mapping whose keys are names that people give; `example` is one of them.
pub(super) fn named<'n>(node: &'n Node, what: &str, example: &str, findings: &mut Findings<'_>) -> Option<&'n [Entry]> {
    entries(node, what, &format!("write each below its name: `{example}`"), findings)
}

fn entries<'n>(node: &'n Node, what: &str, help: &str, findings: &mut Findings<'_>) -> Option<&'n [Entry]> {
    match &node.kind {
        Kind::Map(entries) => Some(entries),
        Kind::List(_) | Kind::Scalar(_) => {
            let help = if node.is_null() { "write its keys below it, indented" } else { help };
            findings.error(
                Code::WrongType,
                node.place,
                format!("{what} is a mapping, and this is {}", node.describe()),
                help.to_owned(),
            );
            None
        }
    }
}

/// Whether a key is known; says so if it is not.
pub(super) fn judge(entry: &Entry, keys: &Keys, findings: &mut Findings<'_>) {
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
    let help = help.or_else(|| Some(format!("{} may have {}", keys.of, listed(keys.known.iter().copied()))));
    let shown: String = key.chars().take(60).collect();
    findings.error(Code::UnknownKey, entry.key_place, format!("`{shown}` is not a key of {}", keys.of), help);
}
