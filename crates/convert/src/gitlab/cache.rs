//! Converts `cache` of GitLab.

use longshore_pipeline::tree::Entry;

use super::{
    super::{
        condition::quote,
        draft::{Item, Map, Note, Value},
        foreign::{FORM, Lines, Section, entries, items, text, texts},
    },
    values::{Fill, unknown},
};

pub(super) fn cache(entry: &Entry, fill: Fill<'_>, lines: Lines<'_>, body: &mut Map) -> Value {
    let mut caches = Vec::new();
    for node in items(&entry.value) {
        let Some(section) = Section::read(node) else {
            caches.push(Item::Note(lines.note(entry, FORM)));
            continue;
        };
        let mut cache = Map::default();
        let paths = section.take("paths").map(|entry| (texts(&entry.value).unwrap_or_default(), entry));
        let Some((paths, from)) = paths.filter(|(paths, _)| !paths.is_empty()) else {
            caches.extend(
                section
                    .rest()
                    .into_iter()
                    .map(|entry| Item::Note(lines.note(entry, "a cache without paths keeps nothing"))),
            );
            continue;
        };
        let filled: Result<Vec<String>, String> = paths.iter().map(|path| fill(path)).collect();
        match filled {
            Ok(paths) => cache.set(
                "path",
                Value::texts(paths.iter().map(|path| path.trim_end_matches('/'))),
                lines.line_of_key(from),
            ),
            Err(name) => {
                caches.push(Item::Note(lines.note(from, unknown(&name))));
                continue;
            }
        }
        if let Err(note) = key(section.take("key"), fill, lines, &mut cache) {
            // Under another key it would share what it keeps with other jobs.
            caches.push(Item::Note(note));
            continue;
        }
        if !matches!(cache.get("key"), Some(Value::Text(key)) if key.contains("hash-files")) {
            body.remark("caches were written anew by every job there: here where their key is new, so that `hash-files` belongs into it");
        }
        if let Some(entry) = section.take("fallback_keys") {
            let keys: Result<Vec<String>, String> =
                texts(&entry.value).unwrap_or_default().iter().map(|key| fill(key)).collect();
            match keys {
                Ok(keys) => cache.set_filled("fallback", Value::texts(keys), lines.line_of_key(entry)),
                Err(name) => cache.note(lines.note(entry, unknown(&name))),
            }
        }
        section.note_rest(lines, &mut cache, |key| match key {
            "policy" => Some("a cache is read before the steps and written after them, where its key is new"),
            "when" => Some("a cache is written when the job succeeded"),
            "untracked" => Some("write the files into `path`"),
            _ => None,
        });
        cache.arrange(&["path", "key", "fallback"]);
        caches.push(Item::Value(cache.into()));
    }
    Value::List(caches)
}

fn key(entry: Option<&Entry>, fill: Fill<'_>, lines: Lines<'_>, cache: &mut Map) -> Result<(), Note> {
    let Some(entry) = entry else {
        cache.set("key", Value::text("default"), None);
        return Ok(());
    };
    let line = lines.line_of_key(entry);
    if let Some(parts) = entries(&entry.value) {
        let part = |key: &str| parts.iter().find(|part| part.key == key);
        let files: Vec<String> = part("files").and_then(|files| texts(&files.value)).unwrap_or_default();
        let prefix = part("prefix").and_then(|prefix| text(&prefix.value)).map(fill);
        let hash = files.iter().map(|file| quote(file)).collect::<Vec<_>>().join(", ");
        let prefix = match prefix {
            Some(Ok(prefix)) => format!("{prefix}-"),
            Some(Err(name)) => return Err(lines.note(entry, unknown(&name))),
            None => String::new(),
        };
        match files.is_empty() {
            true => cache.set("key", Value::Text(format!("{prefix}default")), line),
            false => cache.set("key", Value::Text(format!("{prefix}${{{{ hash-files({hash}) }}}}")), line),
        }
        return Ok(());
    }
    // The slug of a branch, for keys and names, becomes the branch itself. It names the same branch, with other
    // characters.
    let written = text(&entry.value).unwrap_or("default").replace("CI_COMMIT_REF_SLUG", "CI_COMMIT_REF_NAME");
    match fill(&written) {
        Ok(key) => {
            cache.set("key", Value::Text(key), line);
            Ok(())
        }
        Err(name) => Err(lines.note(entry, unknown(&name))),
    }
}
