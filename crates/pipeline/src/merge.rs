//! Resolves `<<` merges in a mapping and refuses keys that are given twice.

use std::{collections::HashMap, rc::Rc};

use super::{
    code::Code,
    findings::Findings,
    tree::{Entry, Kind, Node},
};

/// The key that stands for a merge while its mapping is being read. It starts with a character that YAML does not allow
/// in a file.
pub(super) const KEY: &str = "\u{0}<<";

/// Returns whether this is a list merge as Woodpecker has it: `- <<: *paths`. It stays an entry named `<<`, for the
/// reader of the list.
pub(super) fn is_list_merge(written: &[Entry]) -> bool {
    matches!(written, [one] if one.key == KEY && !matches!(one.value.kind, Kind::Map(_)))
}

/// Which of two entries with the same key is kept. Both are an error, at the one that is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    First,
    Last,
}

/// Returns the entries of a mapping: its own, each key once, then the merged entries whose keys it does not have
/// itself.
pub(super) fn entries_of(written: Vec<Entry>, keep: Keep, findings: &mut Findings<'_>) -> Vec<Entry> {
    let mut own: Vec<Entry> = Vec::with_capacity(written.len());
    let mut at: HashMap<String, usize> = HashMap::with_capacity(written.len());
    let mut merges = Vec::new();
    for entry in written {
        if entry.key == KEY {
            merges.push(entry);
            continue;
        }
        if let Some(first) = at.get(&entry.key).and_then(|index| own.get_mut(*index)) {
            let (gone, other, which) = match keep {
                Keep::First => (entry.key_place, first.key_place, "first"),
                Keep::Last => (first.key_place, entry.key_place, "last"),
            };
            let line = findings.span(other).line;
            findings.error(
                Code::DuplicateKey,
                gone,
                format!("`{}` is given twice; the {which} one is on line {line}", entry.key),
                "keep one of them".to_owned(),
            );
            if keep == Keep::Last {
                *first = entry;
            }
            continue;
        }
        at.insert(entry.key.clone(), own.len());
        own.push(entry);
    }
    for merge in merges {
        for source in sources(&merge, findings) {
            let Kind::Map(entries) = &source.kind else { continue };
            for entry in entries {
                if !at.contains_key(&entry.key) {
                    at.insert(entry.key.clone(), own.len());
                    own.push(entry.clone());
                }
            }
        }
    }
    own
}

/// Returns the mappings that a merge names, in order of precedence.
fn sources(merge: &Entry, findings: &mut Findings<'_>) -> Vec<Rc<Node>> {
    let candidates = match &merge.value.kind {
        Kind::List(items) => items.clone(),
        Kind::Map(_) | Kind::Scalar(_) => vec![Rc::clone(&merge.value)],
    };
    candidates
        .into_iter()
        .filter(|node| {
            let fits = matches!(node.kind, Kind::Map(_));
            if !fits {
                findings.error(
                    Code::BadMerge,
                    merge.key_place,
                    format!("`<<` merges mappings, but this is {}", node.describe()),
                    "write `<<: *name` with the anchor of a mapping, or a list of such".to_owned(),
                );
            }
            fits
        })
        .collect()
}
