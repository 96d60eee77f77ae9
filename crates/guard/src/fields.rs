//! Reads an object of a request field by field. Whatever no field was read for is an error.

use std::collections::{BTreeMap, BTreeSet};

use crate::json::Json;
use crate::refusal::{Judged, Refusal, Rule, refuse};

/// The fields of an object that are not read yet.
#[derive(Debug)]
pub(crate) struct Fields {
    /// Where the object is, for messages: empty or `HostConfig.`.
    path: String,
    entries: Vec<(String, Json)>,
    known: Vec<&'static str>,
}

impl Fields {
    /// The fields of a request's body.
    pub(crate) fn body(json: Json) -> Judged<Self> {
        Self::new(json, String::new())
    }

    pub(crate) fn new(json: Json, path: String) -> Judged<Self> {
        match json {
            Json::Object(entries) => Ok(Self { path, entries, known: Vec::new() }),
            other => refuse!(Body, "{} is {}, not an object", name_of(&path), other.kind()),
        }
    }

    /// Takes a field; null is as good as none, as it is to Docker.
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

    /// A list of strings, or one string in its place, as commands may be.
    pub(crate) fn command(&mut self, key: &'static str) -> Judged<Option<Vec<String>>> {
        match self.take(key) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(vec![text])),
            Some(value) => texts(value, &self.path_of(key)).map(Some),
        }
    }

    /// The entries of a map whose keys are data.
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

    /// The keys of a map whose values are empty objects, as sets are written.
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

    /// A field that nobody may set. Zero values are left out, because some clients send every field there is.
    pub(crate) fn never(&mut self, key: &'static str, rule: Rule) -> Judged<()> {
        match self.take(key) {
            Some(value) if !value.is_zero() => {
                Err(Refusal::new(rule, format!("{} may not be set here", self.path_of(key))))
            }
            _ => Ok(()),
        }
    }

    /// A field whose absence is the only value that is harmless: an empty list means something else.
    pub(crate) fn absent(&mut self, key: &'static str, rule: Rule) -> Judged<()> {
        match self.take(key) {
            Some(_) => {
                Err(Refusal::new(rule, format!("{} may not be set here, not even to nothing", self.path_of(key))))
            }
            None => Ok(()),
        }
    }

    /// A field that means nothing to Docker any more, or only to the client. It is dropped.
    pub(crate) fn dropped(&mut self, key: &'static str) {
        self.take(key);
    }

    /// Nothing may be left.
    pub(crate) fn finish(self) -> Judged<()> {
        let Some((key, _)) = self.entries.first() else { return Ok(()) };
        match self.known.iter().find(|known| folded(known) == folded(key)) {
            Some(known) => {
                refuse!(Body, "{}{key} is written {known}: keys are taken in their own case only", self.path)
            }
            None => refuse!(Body, "{}{key} is not a field that is known here", self.path),
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

/// A key as Go compares it: without case, and with the two letters outside of ASCII that fold into it.
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
    /// An object that must say nothing.
    pub(crate) fn all_zero(self, rule: Rule) -> Judged<()> {
        match self.entries.iter().find(|(_, value)| !value.is_zero()) {
            Some((key, _)) => Err(Refusal::new(rule, format!("{}{key} may not be set here", self.path))),
            None => Ok(()),
        }
    }
}
