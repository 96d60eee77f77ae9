//! Marks what this version cannot run in a finished draft: adds a comment at each place, and lists them for the count.

use longshore_core::Unsupported;

use longshore_pipeline::Pipeline;

use super::draft::{Map, Note, Part, Value};

const WHY: &str = "this version cannot run it: the job ends as an error when its turn comes";

/// Adds the comments to the draft that `pipeline` was read from.
pub(super) fn remark(draft: &mut Map, pipeline: &Pipeline) -> Vec<Note> {
    let mut found = Vec::new();
    for (job, part) in pipeline.unsupported() {
        let line = line_of(draft, job).unwrap_or(1);
        let Some((map, key)) = place(draft, job, part) else { continue };
        let Some(at) = map.parts.iter().position(|part| matches!(part, Part::Entry(entry) if entry.key == key)) else {
            continue;
        };
        let own = match &map.parts[at] {
            Part::Entry(entry) => entry.line,
            Part::Note(_) | Part::Remark(_) => None,
        };
        found.push(Note::new(own.unwrap_or(line), part.to_string(), WHY));
        map.parts.insert(at, Part::Remark(format!("`{key}`: {WHY}")));
    }
    found.sort_by_key(|note| note.line);
    found
}

fn line_of(draft: &Map, job: &str) -> Option<u32> {
    let Some(Value::Map(jobs)) = draft.get("jobs") else { return None };
    jobs.entries().find(|entry| entry.key == job)?.line
}

/// The mapping that contains a part, and its key there.
fn place<'m>(draft: &'m mut Map, job: &str, part: Unsupported) -> Option<(&'m mut Map, &'static str)> {
    let body = inner(inner(draft, "jobs")?, job)?;
    match part {
        Unsupported::Key(key) => Some((body, key)),
        Unsupported::Checkout(key) => Some((inner(body, "checkout")?, key)),
    }
}

fn inner<'m>(map: &'m mut Map, key: &str) -> Option<&'m mut Map> {
    match value(map, key)? {
        Value::Map(map) => Some(map),
        Value::Text(_) | Value::Plain(_) | Value::Script(_) | Value::List(_) => None,
    }
}

fn value<'m>(map: &'m mut Map, key: &str) -> Option<&'m mut Value> {
    map.parts.iter_mut().find_map(|part| match part {
        Part::Entry(entry) if entry.key == key => Some(&mut entry.value),
        Part::Entry(_) | Part::Note(_) | Part::Remark(_) => None,
    })
}
