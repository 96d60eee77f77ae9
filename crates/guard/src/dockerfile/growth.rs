//! Bounds what a build makes the engine hold: it expands variables in its own memory, rune by rune, writes a description
//! of the image after each instruction, and gives each container the volumes of its image. Lengths are of JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::instructions::{flags_end, words_of};
use crate::call::Build;
use crate::listed::text_length;
use crate::policy::LONGEST_LABELS;
use crate::refusal::{Judged, refuse};

/// The most that the instructions of a build may have together, with all variables expanded.
const MOST_EXPANDED: usize = 1 << 20;
/// The most that a word may have: the engine takes a time that grows with the square of it.
const LONGEST_WORD: usize = 64 << 10;
/// The most that the descriptions of all images of a build may have, one for each instruction.
const MOST_DESCRIBED: usize = 64 << 20;
/// What a description has of an instruction beside its text.
const OF_INSTRUCTION: usize = 300;
/// The most volumes that an image may have.
pub(crate) const MOST_VOLUMES: usize = 16;
/// The instructions in which the engine expands variables.
const EXPANDED: [&str; 10] =
    ["ADD", "ARG", "COPY", "ENV", "EXPOSE", "LABEL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"];
/// Those with one word, which may have spaces.
const SINGLE: [&str; 3] = ["STOPSIGNAL", "USER", "WORKDIR"];
/// Those that take a list in JSON.
const LISTS: [&str; 3] = ["ADD", "COPY", "VOLUME"];

/// What a build gets from an image that it starts from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Base {
    /// The length of its longest variable.
    pub(crate) longest: usize,
    pub(crate) volumes: usize,
    /// What runs in each build that starts from it.
    pub(crate) triggers: Vec<String>,
    /// The lengths of its labels, and of all its settings.
    pub(crate) labels: usize,
    pub(crate) described: usize,
}

/// An upper bound for all that a build expands.
#[derive(Debug, Default)]
struct Growth {
    /// For each variable that an instruction or an argument sets by a plain name.
    values: BTreeMap<String, usize>,
    /// For the longest of all others.
    others: usize,
    /// For all arguments together, which the engine notes for each `RUN`.
    arguments: usize,
    /// For all instructions together.
    expanded: usize,
    volumes: usize,
    /// For the labels that the build sets, and for those of its base images.
    labels: usize,
    base_labels: usize,
    /// For the description of the image so far, and for all descriptions.
    described: usize,
    all_described: usize,
}

/// Refuses a Dockerfile that grows too much. It has one instruction a line, with the ids of base images. Returns how much
/// the engine writes to describe the images.
pub(crate) fn check<'a>(written: &str, build: &Build, base: impl Fn(&str) -> Option<&'a Base>) -> Judged<usize> {
    let labels = build.labels.iter().map(|(label, value)| text_length(label) + text_length(value)).sum();
    let mut growth = Growth { labels, ..Growth::default() };
    for (name, value) in &build.args {
        let length = text_length(value.as_deref().unwrap_or_default());
        growth.arguments += text_length(name) + length;
        growth.set(name, length);
    }
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
    Ok(growth.all_described)
}

impl Growth {
    fn start(&mut self, base: Option<&Base>) -> Judged<()> {
        let Some(base) = base else { return Ok(()) };
        if base.volumes > MOST_VOLUMES {
            return refuse!(Limit, "a base image has {} volumes, and may have {MOST_VOLUMES}", base.volumes);
        }
        self.others = self.others.max(base.longest);
        self.base_labels = self.base_labels.max(base.labels);
        self.described = self.described.max(base.described.saturating_mul(2));
        base.triggers.iter().try_for_each(|trigger| self.take(trigger))
    }

    fn take(&mut self, line: &str) -> Judged<()> {
        let (word, rest) = line.trim().split_once([' ', '\t']).unwrap_or((line, ""));
        let word = word.to_ascii_uppercase();
        let is_expanded = EXPANDED.contains(&word.as_str());
        let mut all = text_length(line);
        if is_expanded {
            check_readable(&word, rest)?;
            let words = words_of(rest);
            let lengths: Vec<usize> = words.iter().map(|part| self.length(part)).collect();
            all = lengths.iter().fold(all, |all, length| all.saturating_add(*length));
            // `ENV name value`: all words are one value.
            let is_pair =
                ["ENV", "LABEL"].contains(&word.as_str()) && words.first().is_some_and(|first| !first.contains('='));
            let is_one = is_pair || SINGLE.contains(&word.as_str());
            let longest = if is_one { self.length(rest) } else { lengths.iter().copied().max().unwrap_or_default() };
            if longest > LONGEST_WORD {
                let most = LONGEST_WORD >> 10;
                return refuse!(Limit, "a word of {word} may become longer than {most} KiB, with all variables in it");
            }
            if matches!(word.as_str(), "ARG" | "ENV") {
                for (part, length) in words.iter().zip(&lengths).take(if is_pair { 1 } else { words.len() }) {
                    let name = part.split_once('=').map_or(part.as_str(), |(name, _)| name);
                    self.set(name, if is_pair { longest } else { *length });
                }
            }
            if word == "ARG" {
                self.arguments = self.arguments.saturating_add(all);
            }
            if word == "LABEL" {
                self.labels = self.labels.saturating_add(self.length(rest));
            }
        }
        if word == "VOLUME" {
            let paths = rest.split(|c: char| c.is_whitespace() || c == ',');
            self.volumes += paths.filter(|path| !path.is_empty()).count();
        }
        self.expanded = self.expanded.saturating_add(all);
        self.describe(&word, if is_expanded { self.length(line) } else { all });
        self.has_room()
    }

    /// Counts the description of the image after an instruction of this length. What is expanded is among the settings of
    /// the image and of its container, and all is in its history.
    fn describe(&mut self, word: &str, length: usize) {
        let times = if EXPANDED.contains(&word) { 3 } else { 1 };
        let arguments = if word == "RUN" { self.arguments } else { 0 };
        let more = length.saturating_mul(times).saturating_add(arguments).saturating_add(OF_INSTRUCTION);
        self.described = self.described.saturating_add(more);
        self.all_described = self.all_described.saturating_add(self.described).saturating_add(length);
    }

    fn has_room(&self) -> Judged<()> {
        if self.expanded > MOST_EXPANDED {
            return refuse!(
                Limit,
                "the instructions of the build may become longer than {} KiB, with all variables in them",
                MOST_EXPANDED >> 10
            );
        }
        if self.labels > 0 && self.labels.saturating_add(self.base_labels) > LONGEST_LABELS {
            return refuse!(Limit, "the labels of the image may become longer than {} KiB", LONGEST_LABELS >> 10);
        }
        if self.all_described > MOST_DESCRIBED {
            return refuse!(
                Limit,
                "the build has too many or too long instructions: with all variables in them, the engine would write more than {} MiB to describe the images",
                MOST_DESCRIBED >> 20
            );
        }
        if self.volumes > MOST_VOLUMES {
            return refuse!(Limit, "the Dockerfile names more than {MOST_VOLUMES} volumes");
        }
        Ok(())
    }

    /// Returns the most that a text can have with its variables.
    fn length(&self, text: &str) -> usize {
        let values = text.match_indices('$').map(|(at, _)| self.value(&text[at + 1..]));
        values.fold(text_length(text), usize::saturating_add)
    }

    /// Returns the most that the variable can have whose name is at the beginning of a text.
    fn value(&self, text: &str) -> usize {
        let text = text.strip_prefix('{').unwrap_or(text);
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
        match is_plain(&text[..end]) {
            true => self.values.get(&text[..end]).copied().unwrap_or_default().max(self.others),
            false => self.values.values().copied().fold(self.others, usize::max),
        }
    }

    fn set(&mut self, name: &str, length: usize) {
        let value = if is_plain(name) { self.values.entry(name.to_owned()).or_default() } else { &mut self.others };
        *value = length.max(*value);
    }
}

/// Whether the engine reads a name as it is written.
fn is_plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Refuses what could hide a variable, or have no upper bound.
fn check_readable(word: &str, rest: &str) -> Judged<()> {
    if has_replacement(rest) {
        return refuse!(Build, "{word} may not replace parts of a variable (`${{name/from/to}}`)");
    }
    let is_list = flags_end(rest).is_some_and(|end| rest[end..].starts_with('['));
    if LISTS.contains(&word) && is_list && rest.contains('\\') {
        return refuse!(Build, "a list of {word} may have no backslash");
    }
    Ok(())
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
