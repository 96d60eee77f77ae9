//! Converts how often a job of GitLab runs, and whether it may fail: `parallel`, `retry` and `allow_failure`.

use longshore_pipeline::tree::{Entry, Kind, Node};

use super::super::{
    draft::{Item, Map, Value},
    foreign::{self, FORM, Lines, Section, boolean, entries, items, texts},
};

/// Converts `retry`.
pub(super) fn retry(entry: &Entry, lines: Lines<'_>, body: &mut Map) {
    let line = lines.line_of_key(entry);
    if let Some(max) = foreign::number(&entry.value) {
        body.set("retry", Value::plain(max.min(10)), line);
        return;
    }
    let Some(section) = Section::read(&entry.value) else {
        body.note(lines.note(entry, FORM));
        return;
    };
    let mut retry = Map::default();
    let max = section.take("max").and_then(|entry| foreign::number(&entry.value)).unwrap_or(2);
    retry.set("max", Value::plain(max.min(10)), line);
    if let Some(entry) = section.take("when") {
        let mut on: Vec<&str> = Vec::new();
        for word in texts(&entry.value).unwrap_or_default() {
            let words: &[&str] = match word.as_str() {
                "always" => &["error", "failure", "timeout"],
                "script_failure" => &["failure"],
                "job_execution_timeout" | "stuck_or_timeout_failure" => &["timeout"],
                _ => &["error"],
            };
            on.extend(words);
        }
        on.sort_unstable();
        on.dedup();
        retry.set_filled("on", Value::texts(on), lines.line_of_key(entry));
    }
    section.note_rest(lines, &mut retry, |_| Some("a job is tried again whatever the exit code"));
    body.set("retry", retry, line);
}

/// Converts `parallel` to the matrix, and returns the names of its values.
pub(super) fn parallel(entry: &Entry, lines: Lines<'_>, body: &mut Map) -> Vec<String> {
    let line = lines.line_of_key(entry);
    let mut matrix = Map::default();
    let mut axes: Vec<String> = Vec::new();
    if let Some(count) = foreign::number(&entry.value) {
        matrix.set(
            "CI_NODE_INDEX",
            Value::List((1..=count.min(256)).map(|n| Item::Value(Value::plain(n))).collect()),
            line,
        );
        matrix.set("fail-fast", Value::plain(false), None);
        body.set("matrix", matrix, line);
        return vec!["CI_NODE_INDEX".to_owned()];
    }
    let found = entries(&entry.value).and_then(|parts| parts.iter().find(|part| part.key == "matrix"));
    let Some(rows) = found.map(|found| items(&found.value)).filter(|rows| !rows.is_empty()) else {
        body.note(lines.note(entry, FORM));
        return axes;
    };
    let row = |node: &Node| -> Option<Vec<(String, Vec<String>)>> {
        let Kind::Map(entries) = &node.kind else { return None };
        entries
            .iter()
            .map(|entry| {
                texts(&entry.value)
                    .filter(|values| !values.is_empty())
                    .map(|values| (foreign::name(&entry.key), values))
            })
            .collect()
    };
    let Some(read) = rows.iter().map(|node| row(node)).collect::<Option<Vec<_>>>() else {
        body.note(lines.note(entry, FORM));
        return axes;
    };
    for (name, _) in read.iter().flatten() {
        if !axes.contains(name) {
            axes.push(name.clone());
        }
    }
    if let [only] = read.as_slice() {
        for (name, values) in only {
            matrix.set(name.as_str(), Value::texts(values), line);
        }
    } else {
        let mut combinations = Vec::new();
        for row in &read {
            let mut all: Vec<Map> = vec![Map::default()];
            for (name, values) in row {
                all = all
                    .iter()
                    .flat_map(|so_far| {
                        values.iter().map(|value| {
                            let mut next = so_far.clone();
                            next.set(name.as_str(), Value::text(value.as_str()), line);
                            next
                        })
                    })
                    .take(257)
                    .collect();
            }
            combinations.extend(all.into_iter().map(|map| Item::Value(map.into())));
        }
        combinations.truncate(257);
        matrix.set("include", Value::List(combinations), line);
    }
    matrix.set("fail-fast", Value::plain(false), None);
    body.set("matrix", matrix, line);
    axes
}

/// Converts `allow_failure`, which is a boolean or a mapping.
pub(super) fn allow_failure(entry: &Entry, lines: Lines<'_>, body: &mut Map) -> Option<bool> {
    let found = boolean(&entry.value);
    if found.is_none() {
        body.note(lines.note(entry, "`continue-on-error` asks for no exit code: the job's failure counts"));
    }
    found
}
