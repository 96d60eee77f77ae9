//! Bounds what a build makes the engine hold: it expands variables in its own memory, and gives each container the
//! volumes of its image.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::instructions::words_of;
use crate::refusal::{Judged, refuse};

/// The most bytes that the instructions of a build may have together, with all variables expanded.
const MOST_EXPANDED: usize = 1 << 20;
/// The most volumes that an image may have.
pub(crate) const MOST_VOLUMES: usize = 16;
/// The instructions in which the engine expands variables.
const EXPANDED: [&str; 10] =
    ["ADD", "ARG", "COPY", "ENV", "EXPOSE", "LABEL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"];

/// What a build gets from an image that it starts from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Base {
    /// The length of its longest variable.
    pub(crate) longest: usize,
    pub(crate) volumes: usize,
    /// What runs in each build that starts from it.
    pub(crate) triggers: Vec<String>,
}

/// An upper bound for all that a build expands.
#[derive(Debug, Default)]
struct Growth {
    /// For the longest variable.
    longest: usize,
    /// For all instructions together.
    expanded: usize,
    volumes: usize,
}

/// Refuses a Dockerfile that grows too much. It has one instruction a line, with the ids of base images.
pub(crate) fn check<'a>(
    written: &str,
    args: &BTreeMap<String, Option<String>>,
    base: impl Fn(&str) -> Option<&'a Base>,
) -> Judged<()> {
    let longest = args.values().flatten().map(String::len).max().unwrap_or_default();
    let mut growth = Growth { longest, ..Growth::default() };
    let mut own_triggers: Vec<&str> = Vec::new();
    for line in written.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "FROM" => {
                let name = rest.split(' ').next().unwrap_or_default();
                growth.take(line)?;
                match name.strip_prefix("sha256:") {
                    Some(id) => growth.start(base(id))?,
                    // A stage, whose triggers run now.
                    None => own_triggers.iter().try_for_each(|trigger| growth.take(trigger))?,
                }
            }
            "ONBUILD" => {
                own_triggers.push(rest);
                growth.take(line)?;
            }
            _ => growth.take(line)?,
        }
    }
    Ok(())
}

impl Growth {
    fn start(&mut self, base: Option<&Base>) -> Judged<()> {
        let Some(base) = base else { return Ok(()) };
        if base.volumes > MOST_VOLUMES {
            return refuse!(Limit, "a base image has {} volumes, and may have {MOST_VOLUMES}", base.volumes);
        }
        self.longest = self.longest.max(base.longest);
        base.triggers.iter().try_for_each(|trigger| self.take(trigger))
    }

    fn take(&mut self, line: &str) -> Judged<()> {
        let (word, rest) = line.trim().split_once([' ', '\t']).unwrap_or((line, ""));
        let word = word.to_ascii_uppercase();
        let (mut all, mut longest) = (line.len(), 0);
        if EXPANDED.contains(&word.as_str()) {
            if has_replacement(rest) {
                return refuse!(Build, "{word} may not replace parts of a variable (`${{name/from/to}}`)");
            }
            let words = words_of(rest);
            for part in &words {
                let length = part.len().saturating_add(part.matches('$').count().saturating_mul(self.longest));
                longest = longest.max(length);
                all = all.saturating_add(length);
            }
            // `ENV name value`: all words are one value.
            if words.first().is_some_and(|first| !first.contains('=')) {
                longest = all;
            }
        }
        if matches!(word.as_str(), "ARG" | "ENV") {
            self.longest = self.longest.max(longest);
        }
        if word == "VOLUME" {
            let paths = rest.split(|c: char| c.is_whitespace() || c == ',');
            self.volumes += paths.filter(|path| !path.is_empty()).count();
        }
        self.expanded = self.expanded.saturating_add(all);
        if self.expanded > MOST_EXPANDED {
            return refuse!(
                Limit,
                "the instructions of the build may become longer than {} KiB, with all variables in them",
                MOST_EXPANDED >> 10
            );
        }
        if self.volumes > MOST_VOLUMES {
            return refuse!(Limit, "the Dockerfile names more than {MOST_VOLUMES} volumes");
        }
        Ok(())
    }
}

/// Whether a text has a variable in which parts are replaced: what it becomes depends on how often they are found.
fn has_replacement(text: &str) -> bool {
    text.match_indices("${").any(|(at, _)| {
        let inner = &text[at + 2..];
        let rest = inner.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let mut rest = rest.chars();
        let is_special = rest.as_str().len() == inner.len();
        if is_special {
            rest.next();
        }
        rest.next() == Some('/')
    })
}
