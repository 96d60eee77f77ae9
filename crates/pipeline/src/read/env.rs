//! Reads `env`, the environment variables of a pipeline, a job, a service or a step, and other mappings of texts.

use std::collections::BTreeMap;

use longshore_core::Template;

use super::super::{
    code::Code,
    fields::mapping,
    findings::Findings,
    limits,
    scalar::text_or_empty,
    scope::{Names, Position},
    source::Place,
    text,
    tree::Node,
};

/// Variables by name.
pub(super) type Env = BTreeMap<String, Template>;

pub(super) fn read(node: &Node, position: Position, names: &Names, findings: &mut Findings<'_>) -> Option<Env> {
    let entries = mapping(node, "`env`", findings)?;
    let mut variables = BTreeMap::new();
    let mut valid = true;
    for entry in entries {
        let named = check_name(&entry.key, entry.key_place, findings);
        let what = if named { format!("`{}`", entry.key) } else { "a variable".to_owned() };
        let value = text_or_empty(&entry.value, &what, findings)
            .filter(|value| check_length(value, entry.value.place, &what, findings))
            .and_then(|value| text::read(value, entry.value.place, position, names, findings));
        match value {
            Some(value) if named => {
                variables.insert(entry.key.clone(), value);
            }
            _ => valid = false,
        }
    }
    valid.then_some(variables)
}

/// Returns the bytes that variables take at most, if each expression is `longest_value` bytes long.
pub(super) fn size(env: &Env, longest_value: usize) -> usize {
    env.iter().map(|(name, value)| name.len() + template_size(value, longest_value)).sum()
}

/// Returns the bytes that one text takes at most.
pub(super) fn template_size(text: &Template, longest_value: usize) -> usize {
    match text.as_known() {
        Some(known) => known.len(),
        None => text.len() + text.parts().len() * longest_value,
    }
}

pub(super) fn check_name(name: &str, place: Place, findings: &mut Findings<'_>) -> bool {
    let fits = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !fits || name.len() > 256 {
        findings.error(
            Code::BadVariableName,
            place,
            "a variable name can contain only letters, digits and `_`, and cannot start with a digit",
            "write it like `DATABASE_URL`".to_owned(),
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
            "the kernel cannot pass such a variable to a program: put the text into a file in the repository"
                .to_owned(),
        );
    }
    fits
}
