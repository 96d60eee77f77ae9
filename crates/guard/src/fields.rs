//! Reads a JSON object of a request field by field. A field that was not read is an error.

use std::collections::{BTreeMap, BTreeSet};

use crate::json::Json;
use crate::refusal::{Judged, Refusal, Rule, refuse};

/// The fields of an object that have not been read yet.
#[derive(Debug)]
pub(crate) struct Fields {
    /// The path of the object, for messages: empty, or such as `HostConfig.`.
    path: String,
    entries: Vec<(String, Json)>,
    known: Vec<&'static str>,
}

impl Fields {
    /// Makes the fields of a request's body.
    pub(crate) fn body(json: Json) -> Judged<Self> {
        Self::new(json, String::new())
    }

    pub(crate) fn new(json: Json, path: String) -> Judged<Self> {
        match json {
            Json::Object(entries) => Ok(Self { path, entries, known: Vec::new() }),
            other => refuse!(Body, "{} is {}, not an object", name_of(&path), other.kind()),
        }
    }

    /// Takes a field. Null means the same as no field, as in Docker.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<Json> {
        self.known.push(key);
        let at = self.entries.iter().position(|(name, _)| name == key)?;
        let (_, value) = self.entries.swap_remove(at);
        Some(value).filter(|value| *value != Json::Null)
    }

    pub(crate) fn path_of(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    fn wrong<T>(&self, key: &str, value: &Json, wanted: &str) -> Judged<T> {
        refuse!(Body, "{} is {}, not {wanted}", self.path_of(key), value.kind())
    }

    pub(crate) fn optional_text(&mut self, key: &'static str) -> Judged<Option<String>> {
        match self.take(key) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text)),
            Some(other) => self.wrong(key, &other, "a string"),
        }
    }

    pub(crate) fn text(&mut self, key: &'static str) -> Judged<String> {
        self.optional_text(key).map(Option::unwrap_or_default)
    }

    pub(crate) fn optional_flag(&mut self, key: &'static str) -> Judged<Option<bool>> {
        match self.take(key) {
            None => Ok(None),
            Some(Json::Bool(value)) => Ok(Some(value)),
            Some(other) => self.wrong(key, &other, "true or false"),
        }
    }

    pub(crate) fn flag(&mut self, key: &'static str) -> Judged<bool> {
        self.optional_flag(key).map(Option::unwrap_or_default)
    }

    pub(crate) fn optional_int(&mut self, key: &'static str) -> Judged<Option<i64>> {
        match self.take(key) {
            None => Ok(None),
            Some(Json::Int(value)) => Ok(Some(value)),
            Some(other) => self.wrong(key, &other, "a whole number"),
        }
    }

    pub(crate) fn int(&mut self, key: &'static str) -> Judged<i64> {
        self.optional_int(key).map(Option::unwrap_or_default)
    }

    pub(crate) fn optional_texts(&mut self, key: &'static str) -> Judged<Option<Vec<String>>> {
        let Some(value) = self.take(key) else { return Ok(None) };
        texts(value, &self.path_of(key)).map(Some)
    }

    pub(crate) fn texts(&mut self, key: &'static str) -> Judged<Vec<String>> {
        self.optional_texts(key).map(Option::unwrap_or_default)
    }

    /// Takes a command: a list of strings, or one string.
    pub(crate) fn command(&mut self, key: &'static str) -> Judged<Option<Vec<String>>> {
        match self.take(key) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(vec![text])),
            Some(value) => texts(value, &self.path_of(key)).map(Some),
        }
    }

    /// Takes a map whose keys are data.
    pub(crate) fn map(&mut self, key: &'static str) -> Judged<Vec<(String, Json)>> {
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Json::Object(entries)) => Ok(entries),
            Some(other) => self.wrong(key, &other, "an object"),
        }
    }

    pub(crate) fn text_map(&mut self, key: &'static str) -> Judged<BTreeMap<String, String>> {
        let path = self.path_of(key);
        self.map(key)?
            .into_iter()
            .map(|(name, value)| match value {
                Json::Text(text) => Ok((name, text)),
                other => refuse!(Body, "{path}.{name} is {}, not a string", other.kind()),
            })
            .collect()
    }

    /// Takes a set, which is written as a map whose values are empty objects.
    pub(crate) fn set(&mut self, key: &'static str) -> Judged<BTreeSet<String>> {
        let path = self.path_of(key);
        self.map(key)?
            .into_iter()
            .map(|(name, value)| match value {
                Json::Null => Ok(name),
                Json::Object(entries) if entries.is_empty() => Ok(name),
                _ => refuse!(Body, "{path}.{name} is not an empty object"),
            })
            .collect()
    }

    pub(crate) fn object(&mut self, key: &'static str) -> Judged<Option<Self>> {
        let path = self.path_of(key);
        self.take(key).map(|value| Self::new(value, format!("{path}."))).transpose()
    }

    pub(crate) fn objects(&mut self, key: &'static str) -> Judged<Vec<Self>> {
        let path = self.path_of(key);
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Json::List(items)) => {
                items.into_iter().enumerate().map(|(at, item)| Self::new(item, format!("{path}[{at}]."))).collect()
            }
            Some(other) => self.wrong(key, &other, "a list"),
        }
    }

    /// Takes a field that nobody may set. Zero values are ignored, because some clients send every field.
    pub(crate) fn never(&mut self, key: &'static str, rule: Rule) -> Judged<()> {
        match self.take(key) {
            Some(value) if !value.is_zero() => {
                Err(Refusal::new(rule, format!("{} may not be set here", self.path_of(key))))
            }
            _ => Ok(()),
        }
    }

    /// Takes a field that must be absent: even an empty list means something for it.
    pub(crate) fn absent(&mut self, key: &'static str, rule: Rule) -> Judged<()> {
        match self.take(key) {
            Some(_) => Err(Refusal::new(
                rule,
                format!("{} may not be set here, not even to an empty value", self.path_of(key)),
            )),
            None => Ok(()),
        }
    }

    /// Drops a field that Docker no longer uses, or that only the client uses.
    pub(crate) fn dropped(&mut self, key: &'static str) {
        self.take(key);
    }

    /// Checks that no field is left.
    pub(crate) fn finish(self) -> Judged<()> {
        let Some((key, _)) = self.entries.first() else { return Ok(()) };
        match self.known.iter().find(|known| folded(known) == folded(key)) {
            Some(known) => {
                refuse!(Body, "{}{key} has to be written {known}: keys are case-sensitive here", self.path)
            }
            None => refuse!(Body, "{}{key} is an unknown field", self.path),
        }
    }
}

fn name_of(path: &str) -> &str {
    if path.is_empty() { "the body" } else { path.trim_end_matches('.') }
}

fn texts(value: Json, path: &str) -> Judged<Vec<String>> {
    let Json::List(items) = value else { return refuse!(Body, "{path} is {}, not a list", value.kind()) };
    items
        .into_iter()
        .map(|item| match item {
            Json::Text(text) => Ok(text),
            other => refuse!(Body, "{path} contains {}, not only strings", other.kind()),
        })
        .collect()
}

/// Folds a key as Go does when it compares: to lower case, with the two letters outside of ASCII that fold into it.
pub(crate) fn folded(key: &str) -> String {
    key.chars()
        .map(|c| match c {
            'ſ' => 's',
            '\u{212a}' => 'k',
            other => other.to_ascii_lowercase(),
        })
        .collect()
}

impl Fields {
    /// Checks that all fields of an object have their zero values.
    pub(crate) fn all_zero(self, rule: Rule) -> Judged<()> {
        match self.entries.iter().find(|(_, value)| !value.is_zero()) {
            Some((key, _)) => Err(Refusal::new(rule, format!("{}{key} may not be set here", self.path))),
            None => Ok(()),
        }
    }
}
