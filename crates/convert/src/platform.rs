//! The platform that the steps of a pipeline of Woodpecker or Drone run on, and filters that ask for one.

use longshore_pipeline::tree::{Entry, Node};

use super::{
    Language, condition,
    filters::{self, Alternative, constraint},
    foreign::{self, Lines, entries, list, text, texts},
};

/// The platform of a pipeline, as far as it is known.
#[derive(Debug, Clone, Default)]
pub(super) enum Platform {
    /// Any server may take it.
    #[default]
    Any,
    /// `linux/arm64`.
    One(String),
    /// The values of an axis of its matrix.
    Axis(String),
}

impl Platform {
    /// Reads what a workflow of Woodpecker asks for.
    pub(super) fn of_workflow(root: &Node) -> Self {
        let labels = super::entry(root, "labels").and_then(|labels| super::entry(&labels.value, "platform"));
        let Some(written) = labels.or_else(|| super::entry(root, "platform")).and_then(|entry| text(&entry.value))
        else {
            return Self::Any;
        };
        match variable(written) {
            Some(axis) if !values(root, axis).is_empty() => Self::Axis(foreign::name(axis)),
            None if !written.contains(['*', '$']) => Self::One(written.to_owned()),
            _ => Self::Any,
        }
    }

    /// Reads what a pipeline of Drone asks for.
    pub(super) fn of_pipeline(root: &Node) -> Self {
        let Some(platform) = super::entry(root, "platform") else { return Self::Any };
        if let Some(written) = text(&platform.value) {
            return Self::One(written.to_owned());
        }
        let text_of = |key: &str| super::entry(&platform.value, key).and_then(|entry| text(&entry.value));
        Self::One(format!("{}/{}", text_of("os").unwrap_or("linux"), text_of("arch").unwrap_or("amd64")))
    }

    /// Converts a filter for platforms to a condition on the platform that the job runs on.
    pub(super) fn restrict(&self, entry: &Entry, language: Language, lines: Lines<'_>, found: &mut Alternative) {
        let value = match self {
            Self::One(platform) => condition::quote(platform),
            Self::Axis(axis) => format!("matrix.{axis}"),
            Self::Any => {
                let (include, exclude) = filters::lists(entry);
                let everywhere =
                    |pattern: &String| matches!(pattern.as_str(), "*" | "**" | "*/*" | "linux/*" | "linux");
                let linux = include.is_empty() && !exclude.is_empty()
                    || include.iter().any(|pattern| pattern.starts_with("linux") || pattern.starts_with('*'));
                if include.iter().any(everywhere) && exclude.is_empty() {
                    return;
                }
                let why = match linux {
                    true => {
                        "`if` does not know which server runs it: nothing runs until the job has `runs-on: { arch: ... }` and \
                         this is taken out"
                    }
                    false => "jobs run in containers on Linux: it never runs",
                };
                found.notes.push(lines.note(entry, why));
                return found.withhold("false");
            }
        };
        let mut conditions = Vec::new();
        constraint(entry, &value, language, lines, found, &mut conditions);
        found.simple = false;
        if let Self::One(platform) = self {
            if conditions.iter().all(|condition| condition::holds(condition)) {
                return;
            }
            found.notes.push(
                lines.note(entry, format!("the pipeline runs on {platform} alone: this never ran, and never runs")),
            );
            conditions = vec!["false".to_owned()];
        }
        found.conditions.append(&mut conditions);
    }
}

/// The name of the variable that a text consists of.
pub(super) fn variable(written: &str) -> Option<&str> {
    written.trim().strip_prefix("${")?.strip_suffix('}')
}

/// The values of an axis of a workflow's matrix.
pub(super) fn values(root: &Node, axis: &str) -> Vec<String> {
    let Some(matrix) = super::entry(root, "matrix") else { return Vec::new() };
    let of_axis = super::entry(&matrix.value, axis).and_then(|entry| texts(&entry.value)).unwrap_or_default();
    let rows = super::entry(&matrix.value, "include").and_then(|include| list(&include.value)).unwrap_or_default();
    let of_rows = rows.iter().filter_map(|row| {
        let value = entries(row)?.iter().find(|value| value.key == axis)?;
        text(&value.value).map(str::to_owned)
    });
    let mut found = of_axis;
    found.extend(of_rows);
    found
}

/// Returns the label for the processor of the servers that have these platforms, as the axis of a matrix gives them.
/// `None` if one of them is not for Linux.
pub(super) fn architecture(axis: &str, platforms: &[String]) -> Option<String> {
    let mut parts = Vec::new();
    for platform in platforms {
        let arch = platform.strip_prefix("linux/").filter(|arch| !arch.contains(['*', '$', '\'']))?;
        let part = format!("matrix.{axis} == {} && {}", condition::quote(platform), condition::quote(arch));
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    (!parts.is_empty()).then(|| format!("${{{{ {} }}}}", parts.join(" || ")))
}
