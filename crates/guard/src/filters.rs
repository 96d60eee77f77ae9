//! The `filters` of a list, which narrow down what a client sees of its own objects.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::json::{self, Json};
use crate::refusal::{Judged, refuse};

/// The most values of all filters together.
const MOST: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filters(pub(crate) BTreeMap<String, Vec<String>>);

impl Filters {
    /// Reads both forms that are in use: `{"label":["x"]}` and `{"label":{"x":true}}`.
    pub(crate) fn read(text: &str, known: &[&str]) -> Judged<Self> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let Json::Object(entries) = json::parse(text.as_bytes())? else {
            return refuse!(Body, "the filters are not an object");
        };
        let mut filters = BTreeMap::new();
        for (key, values) in entries {
            if !known.contains(&key.as_str()) {
                return refuse!(Body, "the filter {key:?} is not allowed here: {} are", known.join(", "));
            }
            let values: Option<Vec<String>> = match values {
                Json::List(items) => items.into_iter().map(text_of).collect(),
                Json::Object(entries) => {
                    entries.into_iter().map(|(name, on)| (on == Json::Bool(true)).then_some(name)).collect()
                }
                _ => None,
            };
            match values {
                Some(values) => filters.insert(key, values),
                None => return refuse!(Body, "the filter {key:?} is not a list of strings"),
            };
        }
        if filters.values().map(Vec::len).sum::<usize>() > MOST {
            return refuse!(Limit, "there are more than {MOST} filters");
        }
        Ok(Self(filters))
    }

    /// Takes the values of a filter that the guard itself applies.
    pub(crate) fn take(&mut self, key: &str) -> Vec<String> {
        self.0.remove(key).unwrap_or_default()
    }

    /// Adds a label to the filters.
    pub(crate) fn with_label(mut self, label: &str) -> Self {
        self.0.entry("label".to_owned()).or_default().push(label.to_owned());
        self
    }

    pub(crate) fn write(&self) -> Value {
        json!(self.0)
    }
}

fn text_of(value: Json) -> Option<String> {
    match value {
        Json::Text(text) => Some(text),
        Json::Null | Json::Bool(_) | Json::Int(_) | Json::List(_) | Json::Object(_) => None,
    }
}

/// Whether a name matches a filter: a part of the name, anchored by `^` and `$`.
pub(crate) fn matches_name(pattern: &str, name: &str) -> bool {
    let pattern = pattern.strip_prefix('/').unwrap_or(pattern);
    let (start, rest) = match pattern.strip_prefix('^') {
        Some(rest) => (true, rest.strip_prefix('/').unwrap_or(rest)),
        None => (false, pattern),
    };
    let (end, word) = match rest.strip_suffix('$') {
        Some(word) => (true, word),
        None => (false, rest),
    };
    match (start, end) {
        (true, true) => name == word,
        (true, false) => name.starts_with(word),
        (false, true) => name.ends_with(word),
        (false, false) => name.contains(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_filters_are_one() {
        let list = Filters::read(r#"{"label":["a","b"]}"#, &["label"]).unwrap();
        let map = Filters::read(r#"{"label":{"a":true,"b":true}}"#, &["label"]).unwrap();
        assert_eq!(list, map);
        for text in [
            "[]",
            r#"{"label":"a"}"#,
            r#"{"label":[1]}"#,
            r#"{"Label":["a"]}"#,
            r#"{"label":{"a":false}}"#,
            r#"{"label":["a"]}x"#,
        ] {
            assert!(Filters::read(text, &["label"]).is_err(), "{text}");
        }
        assert!(matches_name("^/web$", "web") && matches_name("we", "web") && !matches_name("^eb", "web"));
    }
}
