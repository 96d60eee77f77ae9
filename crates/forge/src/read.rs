//! Reads the parts that bodies of all forges have, forgivingly: what does not matter may be missing or of another type.

use longshore_core::{Person, Timestamp};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use crate::{CommitId, Forge, RefName, hook::PayloadError, text};

/// The longest address of a page that is kept.
const MAX_URL_LEN: usize = 2048;
/// Markers by which a person who pushes asks for no build; forges pass on different forms of them.
const SKIP_OPTIONS: [(&str, &str); 3] =
    [("longshore_skip", "LONGSHORE_SKIP"), ("longshore.skip", "longshore.skip"), ("ci.skip", "ci.skip")];

/// Reads a body of JSON.
pub(crate) fn json<T: DeserializeOwned>(forge: Forge, event: &str, body: &[u8]) -> Result<T, PayloadError> {
    serde_json::from_slice(body).map_err(|source| PayloadError::Shape { forge, event: text::one_line(event), source })
}

/// Reads a value; `None` if it has another type.
pub(crate) fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(serde_json::Value::deserialize(from)?).ok())
}

/// Returns a person by the forge's number and name. Placeholder accounts (ghosts, the forge's own robots) are nobody:
/// their numbers are not above 0.
pub(crate) fn person(id: Option<i64>, name: Option<&str>) -> Option<Person> {
    if id.is_some_and(|id| id <= 0) {
        return None;
    }
    let name = name.map(text::one_line).unwrap_or_default();
    let person = Person { id: id.and_then(|id| u64::try_from(id).ok()), account: None, name };
    person.key().is_some().then_some(person)
}

/// Reads a time as forges write it: as RFC 3339 (with its quotes, as a value of JSON) or, as GitLab does in webhooks,
/// with spaces between date, time and zone.
pub(crate) fn time(text: &str) -> Option<Timestamp> {
    let text = text.trim_matches('"');
    let spaced = || {
        let [date, time, zone] = text.split(' ').collect::<Vec<_>>()[..] else { return None };
        format!("{date}T{time}{}", if zone == "UTC" { "Z" } else { zone }).parse().ok()
    };
    text.parse().ok().or_else(spaced)
}

/// Returns the address of a page, if it is one.
pub(crate) fn page(url: Option<String>) -> Option<String> {
    url.filter(|url| {
        let web = url.starts_with("https://") || url.starts_with("http://");
        web && url.len() <= MAX_URL_LEN && !url.contains(|c: char| c.is_control() || c.is_whitespace())
    })
}

/// Returns the short name of a branch, if it is one.
pub(crate) fn branch(name: Option<String>) -> Option<String> {
    let name = name?;
    format!("refs/heads/{name}").parse::<RefName>().is_ok().then_some(name)
}

/// Reads a commit that may be missing, or all zeros.
pub(crate) fn commit(id: Option<&str>) -> Result<Option<CommitId>, PayloadError> {
    match id.filter(|id| !id.is_empty()) {
        Some(id) => Ok(Some(id.parse::<CommitId>()?).filter(|id| !id.is_zero())),
        None => Ok(None),
    }
}

/// Returns the push option that asks for no build: a list of options, or GitLab's tree of them.
pub(crate) fn skip_option(options: &serde_json::Value) -> Option<&'static str> {
    fn find(options: &serde_json::Value, path: &str, depth: u8) -> Option<&'static str> {
        let is_skip = |text: &str| {
            let name = text.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
            let off = text.split_once('=').is_some_and(|(_, value)| matches!(value.trim(), "false" | "0" | ""));
            SKIP_OPTIONS.iter().find(|(option, _)| *option == name && !off).map(|(_, shown)| *shown)
        };
        match options {
            serde_json::Value::String(option) => is_skip(option),
            serde_json::Value::Array(list) if depth > 0 => list.iter().find_map(|option| find(option, path, depth - 1)),
            serde_json::Value::Object(tree) if depth > 0 => tree.iter().find_map(|(key, value)| {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let named = is_skip(key).or_else(|| is_skip(&path)).filter(|_| *value != false);
                named.or_else(|| find(value, &path, depth - 1))
            }),
            _ => None,
        }
    }
    find(options, "", 4)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_time_is_read_as_each_forge_writes_it() {
        let expected = Timestamp::from_millis(1_793_527_200_000);
        for text in [
            "2026-11-01T10:00:00Z",
            "\"2026-11-01T10:00:00Z\"",
            "2026-11-01T12:00:00+02:00",
            "2026-11-01T10:00:00.000017+00:00",
            "2026-11-01 10:00:00 UTC",
            "2026-11-01 12:00:00 +0200",
        ] {
            assert_eq!(time(text), Some(expected), "{text}");
        }
        for text in ["", "4", "yesterday", "2026-11-01", "2026-11-01 10:00:00", "2026-11-01 10:00:00 UTC UTC"] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn a_push_option_asks_for_no_build_in_a_list_and_in_gitlabs_tree() {
        for (options, found) in [
            (json!(["LONGSHORE_SKIP"]), Some("LONGSHORE_SKIP")),
            (json!(["other", "longshore_skip=true"]), Some("LONGSHORE_SKIP")),
            (json!({ "ci": { "skip": true } }), Some("ci.skip")),
            (json!({ "ci": { "variable": { "LONGSHORE_SKIP=1": 1 } } }), Some("LONGSHORE_SKIP")),
            (json!({ "LONGSHORE_SKIP": "" }), Some("LONGSHORE_SKIP")),
            (json!({ "ci": { "skip": false } }), None),
            (json!(["LONGSHORE_SKIP=false"]), None),
            (json!(["skip"]), None),
            (json!(null), None),
        ] {
            assert_eq!(skip_option(&options), found, "{options}");
        }
    }
}
