//! `env`: environment variables of a pipeline, a job or a step.

use std::collections::BTreeMap;

use super::super::{
    code::Code,
    fields::mapping,
    findings::Findings,
    limits,
    scalar::text_or_empty,
    source::Place,
    template::{Scope, Template},
    tree::Node,
};

/// Variables by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Env {
    variables: BTreeMap<String, Template>,
}

impl Env {
    pub(super) fn into_variables(self) -> BTreeMap<String, Template> {
        self.variables
    }

    /// The bytes that they take at most.
    pub(super) fn size(&self, longest_value: usize) -> usize {
        self.variables.iter().map(|(name, value)| name.len() + value.size(longest_value)).sum()
    }
}

pub(super) fn read(node: &Node, scope: Scope<'_>, findings: &mut Findings<'_>) -> Option<Env> {
    let entries = mapping(node, "`env`", findings)?;
    let mut variables = BTreeMap::new();
    let mut sound = true;
    for entry in entries {
        let named = check_name(&entry.key, entry.key_place, findings);
        let what = if named { format!("`{}`", entry.key) } else { "a variable".to_owned() };
        let value = text_or_empty(&entry.value, &what, findings)
            .filter(|value| check_length(value, entry.value.place, &what, findings))
            .and_then(|value| Template::read(value, entry.value.place, scope, findings));
        match value {
            Some(value) if named => {
                variables.insert(entry.key.clone(), value);
            }
            _ => sound = false,
        }
    }
    sound.then_some(Env { variables })
}

fn check_name(name: &str, place: Place, findings: &mut Findings<'_>) -> bool {
    let fits = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !fits || name.len() > 256 {
        findings.error(
            Code::BadVariableName,
            place,
            "a variable's name consists of letters, digits and `_`, and does not begin with a digit",
            "shells can use no other: write it like `DATABASE_URL`".to_owned(),
        );
        return false;
    }
    true
}

fn check_length(value: &str, place: Place, what: &str, findings: &mut Findings<'_>) -> bool {
    let fits = value.len() <= limits::ENV_VALUE_BYTES;
    if !fits {
        findings.error(
            Code::TooMuchText,
            place,
            format!("{what} has more than {} KiB", limits::ENV_VALUE_BYTES / 1024),
            "the kernel starts no program with such a variable: put the text into a file of the repository".to_owned(),
        );
    }
    fits
}
