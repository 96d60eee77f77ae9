//! Converts what decides when a job of GitLab runs: `rules`, `only`, `except` and `when`.

use std::rc::Rc;

use longshore_pipeline::tree::{Entry, Node};

use super::super::{
    changed::{self, Stars},
    condition,
    draft::{After, Note},
    foreign::{FORM, Lines, Section, boolean, entries, items, list, text, texts},
    shell,
};
use super::{
    expression::{self, FileContext},
    extend::unresolved,
};

/// When a job runs.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// `None` if it always runs.
    pub(super) condition: Option<String>,
    pub(super) after: After,
    /// Somebody has to start it.
    pub(super) by_hand: bool,
    /// Whether the following jobs do not wait for it and can succeed without it.
    pub(super) may_fail: Option<bool>,
    /// The condition under which it runs exactly if it ran there; `None` if all rules could be translated.
    pub(super) exact_if: Option<String>,
    /// The conditions of the rules, in their order.
    pub(super) rule_conditions: Vec<String>,
    /// Variables that a rule sets.
    pub(super) variables: Vec<RuleVariable>,
    pub(super) notes: Vec<Note>,
}

/// A variable that is set if a rule is the first that fits.
#[derive(Debug)]
pub(super) struct RuleVariable {
    pub(super) name: String,
    /// `None` if it is not a single value.
    pub(super) value: Option<String>,
    pub(super) line: u32,
    /// The position of the rule.
    pub(super) rule: usize,
}

impl Runs {
    /// Returns the variables of the rules: an expression for each that chooses its value, or the reason why there is
    /// none. `fill` writes a value out, and `before` is the value that it has without the rules.
    pub(super) fn variable_values(
        &self,
        fill: &dyn Fn(&str) -> Result<String, String>,
        before: &dyn Fn(&str) -> Option<String>,
    ) -> Vec<(String, u32, Result<String, String>)> {
        let mut names: Vec<&str> = Vec::new();
        for variable in &self.variables {
            if !names.contains(&variable.name.as_str()) {
                names.push(&variable.name);
            }
        }
        let plain = |value: &str| (!value.contains("${{")).then(|| condition::quote(value));
        let one = |name: &str| -> Result<String, String> {
            let cannot = || "its value cannot be said in an expression: write it into `env`".to_owned();
            let otherwise = match before(name) {
                Some(value) => plain(&value).ok_or_else(cannot)?,
                None => "''".to_owned(),
            };
            // The first rule that fits decides, so the last one is the innermost choice.
            let mut chosen = otherwise.clone();
            for (at, condition) in self.rule_conditions.iter().enumerate().rev() {
                let set = self.variables.iter().find(|variable| variable.rule == at && variable.name == name);
                let value = match set {
                    Some(set) => plain(&fill(set.value.as_deref().unwrap_or_default())?).ok_or_else(cannot)?,
                    None => otherwise.clone(),
                };
                if set.is_some_and(|set| set.value.is_none()) {
                    return Err(cannot());
                }
                chosen = choose(condition, &value, &chosen).ok_or_else(cannot)?;
            }
            Ok(chosen)
        };
        names
            .into_iter()
            .map(|name| {
                let line = self.variables.iter().find(|variable| variable.name == name).map_or(1, |one| one.line);
                (name.to_owned(), line, one(name))
            })
            .collect()
    }
}

/// Writes a choice between two values as an expression; `None` if `&&` and `||` cannot make it.
fn choose(condition: &str, value: &str, otherwise: &str) -> Option<String> {
    if value == otherwise || condition == "false" {
        return Some(otherwise.to_owned());
    }
    if condition == "true" {
        return Some(value.to_owned());
    }
    // Only an `if` asks which files have changed.
    if condition.contains("changed(") {
        return None;
    }
    let wrapped = |part: &str| if part.contains("||") { format!("({part})") } else { part.to_owned() };
    // The empty text counts as false, so it can only stand on the right.
    match (value, otherwise) {
        ("''", "''") => Some("''".to_owned()),
        ("''", otherwise) => Some(format!("!({condition}) && {} || ''", wrapped(otherwise))),
        (value, otherwise) => Some(format!("{} && {value} || {otherwise}", wrapped(condition))),
    }
}

/// Keys of a rule.
const KEYS: &[&str] =
    &["if", "changes", "exists", "allow_failure", "variables", "needs", "interruptible", "when", "start_in"];

/// Where nothing was pushed to a branch, GitLab counts `changes` as fulfilled.
const WITHOUT_CHANGES: &str = "event.name != 'push' && event.name != 'pull-request'";
/// And where the branch is new.
const NEW_BRANCH: &str = "event.name == 'push' && event.before == null";

const NOT_UNDERSTOOD: &str = "this rule is not understood: neither it nor a rule after it counts as one that fits";

/// Converts `rules`, of which the first that matches decides.
pub(super) fn rules(entry: &Entry, around: &FileContext<'_>, lines: Lines<'_>) -> Runs {
    let mut runs = Runs::default();
    let mut all_read = true;
    let mut read: Vec<Rule> = Vec::new();
    for node in flatten(&entry.value) {
        match understood(&node, lines) {
            Ok(section) => {
                let rule = Rule::read(&section, read.len(), around, lines, &mut runs);
                read.push(rule);
            }
            Err(note) => {
                runs.notes.push(note);
                all_read = false;
                break;
            }
        }
    }
    let starting = || read.iter().filter(|rule| rule.when != "never" && rule.condition != "false");
    let fails: Vec<Option<bool>> = starting().map(|rule| rule.may_fail).collect();
    runs.may_fail = match fails.iter().flatten().collect::<Vec<_>>().as_slice() {
        [] => None,
        [first, rest @ ..] if rest.len() + 1 == fails.len() && rest.iter().all(|other| other == first) => Some(**first),
        _ => {
            let why = "it says something else for some rules: the job's failure counts, whichever fits";
            runs.notes.push(Note::new(lines.line_of_key(entry), "allow_failure", why));
            Some(false)
        }
    };
    let mut kinds: Vec<String> = starting().map(|rule| rule.when.clone()).collect();
    kinds.dedup();
    runs.rule_conditions = read.iter().map(|rule| rule.condition.clone()).collect();
    let mut decided = (around.unknown_runs && !all_read).to_string();
    for Rule { condition, when, .. } in read.into_iter().rev() {
        decided = match when.as_str() {
            "never" => condition::all(&[condition::not(&condition), decided]).unwrap_or_default(),
            _ => condition::any(&[condition, decided]).unwrap_or_default(),
        };
    }
    runs.condition = Some(decided).filter(|condition| condition != "true");
    apply_when(&kinds, lines.line_of_key(entry), &mut runs);
    runs
}

/// Returns the keys of a rule. The error is the note on a rule whose meaning is not known.
fn understood<'n>(node: &'n Node, lines: Lines<'_>) -> Result<Section<'n>, Note> {
    let at = lines.line_of(node.place);
    let Some(section) = Section::read(node) else {
        return Err(Note::new(at, "rules", NOT_UNDERSTOOD));
    };
    if let Some(reference) = unresolved(node) {
        return Err(Note::new(at, reference, format!("there is no such job in this file; {NOT_UNDERSTOOD}")));
    }
    match section.rest().into_iter().find(|entry| !KEYS.contains(&entry.key.as_str())) {
        Some(entry) => Err(lines.note(entry, NOT_UNDERSTOOD)),
        None => Ok(section),
    }
}

/// A rule of a job.
struct Rule {
    condition: String,
    when: String,
    /// What it says about failures; `None` if nothing.
    may_fail: Option<bool>,
}

impl Rule {
    /// Converts the rule at a position. `runs` gets its variables, and notes.
    fn read(section: &Section<'_>, at: usize, around: &FileContext<'_>, lines: Lines<'_>, runs: &mut Runs) -> Self {
        let when = section.take("when").and_then(|entry| text(&entry.value)).unwrap_or("on_success").to_owned();
        let never = when == "never";
        let mut parts = Vec::new();
        if let Some(entry) = section.take("if") {
            parts.push(rule_condition(entry, around, lines, never, &mut runs.notes));
        }
        for (key, unknown) in [("changes", WITHOUT_CHANGES), ("exists", "false")] {
            let Some(entry) = section.take(key) else { continue };
            let said = if key == "changes" { changes(entry, around) } else { Err(FILES.to_owned()) };
            match said {
                Ok(condition) => parts.push(condition),
                Err(why) => {
                    let counts = match (never, key) {
                        (true, _) => "the rule counts as one that fits, so that nothing runs",
                        (false, "changes") => "the rule fits no push and no pull request",
                        (false, _) => "the rule counts as one that does not fit",
                    };
                    runs.notes.push(lines.note(entry, format!("{why}: {counts}")));
                    if never == around.unknown_runs {
                        parts.push(unknown.to_owned());
                    }
                }
            }
        }
        let may_fail = section.take("allow_failure").map(|entry| (boolean(&entry.value), entry));
        if let Some((None, entry)) = may_fail {
            runs.notes.push(lines.note(entry, "`continue-on-error` asks for no exit code: the job's failure counts"));
        }
        let variables = section.take("variables");
        for entry in section.rest() {
            let why = match entry.key.as_str() {
                "needs" => "`needs` is the same whichever rule fits",
                _ => "nothing is like it here",
            };
            // The note on `delayed` says it already.
            if !matches!(entry.key.as_str(), "start_in" | "interruptible") {
                runs.notes.push(lines.note(entry, why));
            }
        }
        if let Some(entry) = variables.filter(|_| !never) {
            let found = entries(&entry.value).unwrap_or_default();
            runs.variables.extend(found.iter().map(|variable| RuleVariable {
                name: variable.key.clone(),
                value: super::values::value_of(variable),
                line: lines.line_of_key(variable),
                rule: at,
            }));
        }
        let condition = condition::all(&parts).unwrap_or_else(|| "true".to_owned());
        Self { condition, when, may_fail: may_fail.map(|(may, _)| may == Some(true)) }
    }
}

const FILES: &str = "`if` does not know which files there are";

/// Converts `changes`: a list of globs, or a mapping with one. The error says what cannot be said.
fn changes(entry: &Entry, around: &FileContext<'_>) -> Result<String, String> {
    let globs = match Section::read(&entry.value) {
        Some(section) if section.peek("compare_to").is_some() => {
            return Err("`changed()` does not compare with another branch".to_owned());
        }
        Some(section) => section.take("paths").and_then(|paths| texts(&paths.value)),
        None => texts(&entry.value),
    };
    let value = |name: &str, operation: &str| (around.variable)(name).filter(|_| operation.is_empty());
    let filled = |glob: &String| {
        let filled = shell::fill(glob, true, &value).map_err(|name| format!("{name} is not known in `changed()`"))?;
        Ok(changed::glob(&filled, Stars::Folders))
    };
    let globs = globs.unwrap_or_default().iter().map(filled).collect::<Result<Vec<_>, String>>()?;
    Ok(condition::any(&[changed::any_of(&globs)?, NEW_BRANCH.to_owned()]).unwrap_or_default())
}

/// Applies `when`: its meaning if all rules agree, otherwise the nearest meaning.
pub(super) fn apply_when(kinds: &[String], line: u32, runs: &mut Runs) {
    let all = |wanted: &str| !kinds.is_empty() && kinds.iter().all(|kind| kind == wanted);
    let some = |wanted: &str| kinds.iter().any(|kind| kind == wanted);
    if all("manual") {
        runs.by_hand = true;
    } else if some("manual") {
        runs.by_hand = true;
        runs.notes.push(Note::new(
            line,
            "when: manual",
            "some rules start the job by themselves: here somebody always has to approve of it",
        ));
    }
    runs.after = match (some("always"), some("on_failure")) {
        _ if all("on_failure") => After::Failure,
        (true, _) | (_, true) => After::Either,
        _ => After::Success,
    };
    if some("delayed") {
        runs.by_hand = true;
        runs.notes.push(Note::new(line, "when: delayed", "nothing is delayed here: somebody has to approve of it"));
    }
}

/// The items of `rules`, including those of nested lists.
fn flatten(node: &Rc<Node>) -> Vec<Rc<Node>> {
    match list(node) {
        Some(items) => items
            .iter()
            .flat_map(|item| if list(item).is_some() { flatten(item) } else { vec![Rc::clone(item)] })
            .collect(),
        None => vec![Rc::clone(node)],
    }
}

/// Converts a rule's condition. A condition that cannot be translated gets the value with which nothing runs because of
/// it.
fn rule_condition(
    entry: &Entry,
    around: &FileContext<'_>,
    lines: Lines<'_>,
    never: bool,
    notes: &mut Vec<Note>,
) -> String {
    let read = text(&entry.value).ok_or_else(|| FORM.to_owned()).and_then(|source| expression::read(source, around));
    match read {
        Ok(read) => {
            for name in read.unset {
                notes.push(Note::new(
                    lines.line_of(entry.value.place),
                    format!("${name}"),
                    "this file does not set it: it counts as not set",
                ));
            }
            read.condition
        }
        Err(what) => {
            let counts = if never {
                "the rule counts as one that fits, so that nothing runs"
            } else {
                "the rule counts as one that does not fit"
            };
            notes.push(lines.note(entry, format!("{what} cannot be said in `if`: {counts}")));
            (never != around.unknown_runs).to_string()
        }
    }
}

/// Converts `only` and `except` of older files. Without either, branches and tags start the job.
pub(super) fn refs(only: Option<&Entry>, except: Option<&Entry>, around: &FileContext<'_>, lines: Lines<'_>) -> Runs {
    let mut runs = Runs::default();
    let mut parts = Vec::new();
    match only {
        Some(entry) => parts.push(filter(entry, around, lines, false, &mut runs.notes)),
        None if around.requests => parts.push("event.name != 'pull-request'".to_owned()),
        None => {}
    }
    if let Some(entry) = except {
        parts.push(condition::not(&filter(entry, around, lines, true, &mut runs.notes)));
    }
    runs.condition = condition::all(&parts).filter(|condition| condition != "true");
    runs
}

fn filter(entry: &Entry, around: &FileContext<'_>, lines: Lines<'_>, except: bool, notes: &mut Vec<Note>) -> String {
    let mut parts = Vec::new();
    let mut names = |node: &Node, at: u32| {
        let found = texts(node).unwrap_or_default();
        parts.extend(condition::any(
            &found.iter().map(|word| reference(word, around, at, except, notes)).collect::<Vec<_>>(),
        ));
    };
    match entries(&entry.value) {
        None => names(&entry.value, lines.line_of_key(entry)),
        Some(inner) => {
            if let Some(refs) = inner.iter().find(|part| part.key == "refs") {
                names(&refs.value, lines.line_of_key(refs));
            } else if around.requests && !except {
                parts.push("event.name != 'pull-request'".to_owned());
            }
            for part in inner {
                match part.key.as_str() {
                    "refs" => {}
                    "variables" => {
                        let conditions = items(&part.value).iter().map(|node| {
                            let entry = Entry { key: part.key.clone(), key_place: node.place, value: Rc::clone(node) };
                            rule_condition(&entry, around, lines, except, notes)
                        });
                        parts.extend(condition::any(&conditions.collect::<Vec<_>>()));
                    }
                    "changes" => match changes(part, around) {
                        Ok(condition) => parts.push(condition),
                        Err(why) => {
                            let counts = match except {
                                true => "it counts as fulfilled, so that nothing runs",
                                false => "it fits no push and no pull request",
                            };
                            notes.push(lines.note(part, format!("{why}: {counts}")));
                            let narrow = except == around.unknown_runs;
                            parts.push(if narrow { WITHOUT_CHANGES } else { "true" }.to_owned());
                        }
                    },
                    _ => {
                        // `except` fits then, and `only` does not: nothing runs.
                        notes.push(lines.note(part, "this filter is not known: nothing runs until `if` says when"));
                        parts.push((except != around.unknown_runs).to_string());
                    }
                }
            }
        }
    }
    // For `only` all keys have to match, for `except` one is enough.
    let joined = if except { condition::any(&parts) } else { condition::all(&parts) };
    joined.unwrap_or_else(|| (!except).to_string())
}

/// Converts an entry of `refs`: a kind of pipeline, a name, or a pattern for names of branches and tags.
fn reference(word: &str, around: &FileContext<'_>, line: u32, except: bool, notes: &mut Vec<Note>) -> String {
    let not_requests = |condition: String| match around.requests {
        true => condition::all(&["event.name != 'pull-request'".to_owned(), condition]).unwrap_or_default(),
        false => condition,
    };
    match word {
        "branches" => "event.name != 'tag' && event.name != 'pull-request'".to_owned(),
        "tags" => "event.name == 'tag'".to_owned(),
        "pushes" | "merge_requests" | "external_pull_requests" | "schedules" | "web" | "api" => expression::event(word),
        "triggers" | "pipelines" | "chat" | "external" => "false".to_owned(),
        _ => {
            let word = word.split_once('@').map_or(word, |(name, _)| name);
            let Some(pattern) = word.strip_prefix('/') else {
                let either = [
                    format!("event.branch == {}", condition::quote(word)),
                    format!("event.tag == {}", condition::quote(word)),
                ];
                return not_requests(condition::any(&either).unwrap_or_default());
            };
            let found = pattern.strip_suffix('/').and_then(|pattern| {
                condition::any(&[condition::regex("event.branch", pattern)?, condition::regex("event.tag", pattern)?])
            });
            found.map(not_requests).unwrap_or_else(|| {
                let counts = if except {
                    "everything counts as fitting, so that nothing runs"
                } else {
                    "nothing counts as fitting"
                };
                notes.push(Note::new(line, word, format!("this pattern cannot be said in `if`: {counts}")));
                (except != around.unknown_runs).to_string()
            })
        }
    }
}
