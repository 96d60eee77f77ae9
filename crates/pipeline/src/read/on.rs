//! Reads `on`: the events that start a pipeline.

use std::rc::Rc;

use super::super::{
    changes,
    code::Code,
    fields::{Fields, check_key, mapping},
    filter::Patterns,
    findings::Findings,
    keys::{self, Keys},
    model::{Paths, PullRequests, Push, Triggers},
    scalar::{filled, items},
    schedule::{self, Schedule},
    source::Place,
    suggest::{listed, nearest},
    tree::{Entry, Kind, Node},
};
use super::{input, valid_or_absent};

/// The actions of a pull request.
const TYPES: &[&str] = &[
    "opened",
    "synchronize",
    "reopened",
    "closed",
    "edited",
    "labeled",
    "unlabeled",
    "ready-for-review",
    "converted-to-draft",
    "merged",
    "declined",
];

/// The actions of a release.
const RELEASE_TYPES: &[&str] = &["published", "edited", "deleted", "created", "released", "prereleased", "unpublished"];

/// The actions of a release that start a pipeline without `types`.
const DEFAULT_RELEASE_TYPES: [&str; 1] = ["published"];

/// The commits of a pull request that can be built.
const BUILDS: &[&str] = &["head", "merge"];

/// The actions that start a pipeline without `types`.
const DEFAULT_TYPES: [&str; 3] = ["opened", "synchronize", "reopened"];

/// Limit for the schedules of one pipeline.
const MAX_SCHEDULES: usize = 20;

/// Returns the triggers without `on`: every push, every pull request, and every manual start.
pub(super) fn default() -> Triggers {
    Triggers {
        push: Some(Push::default()),
        pull_request: Some(any_pull_request()),
        schedules: Vec::new(),
        manual: Some(Vec::new()),
        release: None,
        merge_group: false,
    }
}

fn any_pull_request() -> PullRequests {
    let types = DEFAULT_TYPES.map(str::to_owned).to_vec();
    PullRequests { branches: None, types, paths: Paths::default(), merge: false }
}

/// Reads `on: push`, `on: [push, manual]` or a mapping with filters.
pub(super) fn read(node: &Rc<Node>, findings: &mut Findings<'_>) -> Option<Triggers> {
    if let Kind::Map(entries) = &node.kind {
        if entries.is_empty() {
            report_no_event(node.place, findings);
            return None;
        }
        return read_mapping(entries, findings);
    }
    let mut triggers = Triggers::default();
    let mut valid = true;
    let items = items(node);
    if items.is_empty() || node.is_null() {
        report_no_event(node.place, findings);
        return None;
    }
    for item in items {
        match filled(item, "an event of `on`", findings) {
            Some("push") => triggers.push = Some(Push::default()),
            Some("pull-request") => triggers.pull_request = Some(any_pull_request()),
            Some("manual") => triggers.manual = Some(Vec::new()),
            Some("release") => triggers.release = Some(DEFAULT_RELEASE_TYPES.map(str::to_owned).to_vec()),
            Some("merge-group") => triggers.merge_group = true,
            Some("schedule") => {
                let help = "write `on: { schedule: [{ cron: '0 3 * * *' }] }`";
                findings.error(Code::MissingKey, item.place, "`schedule` says when", help.to_owned());
                valid = false;
            }
            Some(word) => {
                // Checks the word as if it were a key of the mapping.
                let entry = Entry { key: word.to_owned(), key_place: item.place, value: Rc::clone(item) };
                check_key(&entry, &keys::ON, findings);
                valid = false;
            }
            None => valid = false,
        }
    }
    valid.then_some(triggers)
}

fn read_mapping(entries: &[Entry], findings: &mut Findings<'_>) -> Option<Triggers> {
    for entry in entries {
        check_key(entry, &keys::ON, findings);
    }
    let find = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value);
    let push = valid_or_absent(find("push").map(|node| push(node, findings)));
    let pull_request = valid_or_absent(find("pull-request").map(|node| pull_request(node, findings)));
    let schedules = valid_or_absent(find("schedule").map(|node| schedules(node, findings)));
    let manual = valid_or_absent(find("manual").map(|node| manual(node, findings)));
    let release = valid_or_absent(find("release").map(|node| release(node, findings)));
    let merge_group = valid_or_absent(find("merge-group").map(|node| merge_group(node, findings)));
    let triggers = Triggers {
        push: push?,
        pull_request: pull_request?,
        schedules: schedules?.unwrap_or_default(),
        manual: manual?,
        release: release?,
        merge_group: merge_group?.is_some(),
    };
    let any = triggers.push.is_some()
        || triggers.pull_request.is_some()
        || triggers.manual.is_some()
        || triggers.release.is_some()
        || triggers.merge_group
        || !triggers.schedules.is_empty();
    // If there is none, an error has been reported.
    any.then_some(triggers)
}

fn report_no_event(place: Place, findings: &mut Findings<'_>) {
    findings.error(
        Code::Empty,
        place,
        "`on` is empty, so nothing would ever start this pipeline",
        "write `on: push`, or remove `on` to run for every push and pull request".to_owned(),
    );
}

fn push(node: &Rc<Node>, findings: &mut Findings<'_>) -> Option<Push> {
    if node.is_null() {
        return Some(Push::default());
    }
    let fields = Fields::read(node, &keys::PUSH, findings)?;
    let branches = patterns(&fields, "branches", &keys::PUSH, findings);
    let tags = patterns(&fields, "tags", &keys::PUSH, findings);
    let paths = paths(&fields, &keys::PUSH, findings);
    Some(Push { branches: branches?, tags: tags?, paths: paths? })
}

fn pull_request(node: &Rc<Node>, findings: &mut Findings<'_>) -> Option<PullRequests> {
    if node.is_null() {
        return Some(any_pull_request());
    }
    let fields = Fields::read(node, &keys::PULL_REQUEST, findings)?;
    let branches = patterns(&fields, "branches", &keys::PULL_REQUEST, findings);
    let paths = paths(&fields, &keys::PULL_REQUEST, findings);
    let types = match fields.get("types") {
        Some(node) => words(node, "`types`", TYPES, findings),
        None => Some(DEFAULT_TYPES.map(str::to_owned).to_vec()),
    };
    let merge = match fields.get("build") {
        Some(node) => word(node, "`build`", BUILDS, findings).map(|word| word == "merge"),
        None => Some(false),
    };
    Some(PullRequests { branches: branches?, types: types?, paths: paths?, merge: merge? })
}

fn release(node: &Rc<Node>, findings: &mut Findings<'_>) -> Option<Vec<String>> {
    let default = || DEFAULT_RELEASE_TYPES.map(str::to_owned).to_vec();
    if node.is_null() {
        return Some(default());
    }
    let fields = Fields::read(node, &keys::RELEASE, findings)?;
    match fields.get("types") {
        Some(node) => words(node, "`types`", RELEASE_TYPES, findings),
        None => Some(default()),
    }
}

fn merge_group(node: &Rc<Node>, findings: &mut Findings<'_>) -> Option<()> {
    if node.is_null() { Some(()) } else { Fields::read(node, &keys::MERGE_GROUP, findings).map(drop) }
}

/// Reads a list of words that `known` contains.
pub(super) fn words(node: &Rc<Node>, what: &str, known: &[&str], findings: &mut Findings<'_>) -> Option<Vec<String>> {
    let items = items(node);
    if items.is_empty() || node.is_null() {
        let help = format!("write some of {}, or remove it", listed(known.iter().copied()));
        findings.error(Code::Empty, node.place, format!("{what} is empty"), help);
        return None;
    }
    let mut found = Vec::new();
    let mut valid = true;
    for item in items {
        match word(item, &format!("an entry of {what}"), known, findings) {
            Some(word) if !found.contains(&word) => found.push(word),
            Some(_) => {}
            None => valid = false,
        }
    }
    valid.then_some(found)
}

/// Reads one word that `known` contains.
pub(super) fn word(node: &Node, what: &str, known: &[&str], findings: &mut Findings<'_>) -> Option<String> {
    let found = filled(node, what, findings)?;
    if known.contains(&found) {
        return Some(found.to_owned());
    }
    let shown: String = found.chars().take(60).collect();
    let help = match nearest(found, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("use one of {}", listed(known.iter().copied())),
    };
    findings.error(Code::UnknownWord, node.place, format!("{what} cannot be `{shown}`"), help);
    None
}

fn paths(fields: &Fields<'_>, keys: &Keys, findings: &mut Findings<'_>) -> Option<Paths> {
    let only = patterns(fields, "paths", keys, findings);
    let ignore = patterns(fields, "paths-ignore", keys, findings);
    Some(Paths { only: only?, ignore: ignore? })
}

fn schedules(node: &Rc<Node>, findings: &mut Findings<'_>) -> Option<Vec<Schedule>> {
    let items = items(node);
    if items.is_empty() || node.is_null() {
        let help = "write `schedule: [{ cron: '0 3 * * *' }]`";
        findings.error(Code::Empty, node.place, "`schedule` has no entry", help.to_owned());
        return None;
    }
    if items.len() > MAX_SCHEDULES {
        let message = format!("{} schedules, more than the limit of {MAX_SCHEDULES} in a pipeline", items.len());
        findings.error(Code::BadSchedule, node.place, message, None);
        return None;
    }
    let read: Vec<Option<Schedule>> = items.iter().map(|item| one_schedule(item, findings)).collect();
    read.into_iter().collect()
}

fn one_schedule(node: &Rc<Node>, findings: &mut Findings<'_>) -> Option<Schedule> {
    const HELP: &str = "write `cron: '0 3 * * *'`: minute, hour, day of the month, month, day of the week";
    if matches!(node.kind, Kind::Scalar(_)) {
        let message = format!("an entry of `schedule` must be a mapping, but this is {}", node.describe());
        findings.error(Code::WrongType, node.place, message, HELP.to_owned());
        return None;
    }
    let fields = Fields::read(node, &keys::SCHEDULE, findings)?;
    let cron = match fields.get("cron") {
        None => {
            if !fields.is_misnamed("cron", &keys::SCHEDULE) {
                findings.error(Code::MissingKey, node.place, "this schedule has no `cron`", HELP.to_owned());
            }
            None
        }
        Some(node) => filled(node, "`cron`", findings).and_then(|text| match schedule::parse_cron(text) {
            Ok(cron) => Some((text.to_owned(), cron)),
            Err(reason) => {
                findings.error(Code::BadSchedule, node.place, format!("invalid schedule: {reason}"), HELP.to_owned());
                None
            }
        }),
    };
    let timezone = match fields.get("timezone") {
        None => schedule::parse_timezone("UTC").map(|zone| ("UTC".to_owned(), zone)),
        Some(node) => filled(node, "`timezone`", findings).and_then(|name| {
            let found = schedule::parse_timezone(name).map(|zone| (name.to_owned(), zone));
            if found.is_none() {
                let shown: String = name.chars().take(60).collect();
                let zones = schedule::timezones();
                let help = nearest(name, zones.iter().map(String::as_str))
                    .map(|near| format!("did you mean `{near}`?"))
                    .unwrap_or_else(|| "write a name such as `Europe/Madrid` or `UTC`".to_owned());
                findings.error(Code::BadSchedule, node.place, format!("unknown time zone `{shown}`"), help);
            }
            found
        }),
    };
    let branch = fields.read_optional("branch", |node| {
        let name = filled(node, "`branch`", findings)?;
        if name.contains(['*', '?', '[', ' ', '\n']) || name.contains("${{") {
            let help = "name one branch, or remove it to use the default branch";
            findings.error(Code::BadSchedule, node.place, "a schedule builds one branch", help.to_owned());
            return None;
        }
        Some(name.to_owned())
    });
    let ((written, cron), (zone, timezone), branch) = (cron?, timezone?, branch?);
    Some(Schedule { written, cron, zone, timezone, branch })
}

fn manual(node: &Rc<Node>, findings: &mut Findings<'_>) -> Option<Vec<super::super::input::Input>> {
    if node.is_null() {
        return Some(Vec::new());
    }
    let fields = Fields::read(node, &keys::MANUAL, findings)?;
    match fields.get("inputs") {
        Some(node) => input::read_all(mapping(node, "`inputs`", findings)?, findings),
        None => Some(Vec::new()),
    }
}

#[expect(clippy::option_option, reason = "a key may be absent, wrong or right")]
fn patterns(fields: &Fields<'_>, key: &str, keys: &Keys, findings: &mut Findings<'_>) -> Option<Option<Patterns>> {
    let Some(node) = fields.get(key) else { return Some(None) };
    let items = items(node);
    if items.is_empty() || node.is_null() {
        findings.error(
            Code::Empty,
            node.place,
            format!("`{key}` of {} is empty, so nothing would ever match", keys.subject),
            format!("write `{key}: [main]`, or remove `{key}`"),
        );
        return None;
    }
    let mut patterns = Patterns::new();
    let mut valid = true;
    for item in items {
        let Some(written) = filled(item, &format!("a pattern of `{key}`"), findings) else {
            valid = false;
            continue;
        };
        if written.contains("${{") {
            findings.error(
                Code::ExpressionNotSupported,
                item.place,
                "patterns cannot contain expressions",
                "write the pattern itself, such as `release/**`".to_owned(),
            );
            valid = false;
        } else if key.starts_with("paths") {
            if let Err((message, help)) = changes::add(&mut patterns, written) {
                findings.error(Code::BadGlob, item.place, message, help);
                valid = false;
            }
        } else if let Err(reason) = patterns.add(written) {
            findings.error(
                Code::BadGlob,
                item.place,
                format!("invalid pattern: {reason}"),
                "patterns are globs: `main`, `release/**`, `v[0-9]*`, `{main,next}`, and `!wip/**` to exclude"
                    .to_owned(),
            );
            valid = false;
        }
    }
    valid.then_some(Some(patterns))
}
