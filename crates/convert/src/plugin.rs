//! Converts values of Woodpecker's and Drone's containers: variables, secrets, and the settings of plugins.

use longshore_pipeline::{
    source::Place,
    tree::{Entry, Kind, Node},
};

use super::{
    containers::Containers,
    draft::{Item, Map, Note, Value},
    foreign::{self, FORM, Section, entries, items, text, text_or_empty},
};

impl Containers<'_> {
    /// Converts `environment`, and `secrets` of older files.
    pub(super) fn environment(&mut self, section: &Section<'_>, body: &mut Map) {
        let lines = self.lines;
        let mut env = Map::default();
        let mut line = None;
        if let Some(entry) = section.take("environment") {
            line = Some(lines.line_of_key(entry));
            for (name, value, at) in pairs(&entry.value) {
                let Some(variable) = foreign::variable(&name).filter(|variable| *variable == name) else {
                    env.note(Note::new(lines.line_of(at), name, "no shell can use a variable of this name"));
                    continue;
                };
                let filled = match value {
                    Pair::Text(text) => self.fill(&text),
                    Pair::Secret(secret) => match self.secret(&secret) {
                        Some(value) => Ok(value),
                        None => Err(secret),
                    },
                    Pair::Other => Err(FORM.to_owned()),
                };
                match filled {
                    Ok(value) => env.set(variable, Value::Text(value), lines.line_of(at)),
                    Err(unknown) if unknown == FORM => env.note(Note::new(lines.line_of(at), name, FORM)),
                    Err(unknown) => env.note(Note::new(
                        lines.line_of(at),
                        name,
                        format!("{unknown} is not set here: write the value, or `secrets` at the job"),
                    )),
                }
            }
        }
        if let Some(entry) = section.take("secrets") {
            line = line.or(Some(lines.line_of_key(entry)));
            for item in items(&entry.value) {
                let inner = Section::read(item);
                let of =
                    |key: &str| inner.as_ref().and_then(|inner| inner.take(key)).and_then(|entry| text(&entry.value));
                let (source, target) = (of("source").or_else(|| text(item)), of("target"));
                let Some((source, value)) = source.and_then(|source| Some((source, self.secret(source)?))) else {
                    env.note(Note::new(lines.line_of(item.place), "secrets", FORM));
                    continue;
                };
                match foreign::variable(&target.map_or_else(|| source.to_uppercase(), str::to_owned)) {
                    Some(variable) => env.set(variable, Value::Text(value), lines.line_of(item.place)),
                    None => env.note(Note::new(
                        lines.line_of(item.place),
                        source,
                        "no shell can use a variable of this name",
                    )),
                }
            }
        }
        body.set_filled("env", env, line);
    }

    /// Returns the value that refers to a secret, and lets the job name the secret.
    pub(super) fn secret(&mut self, name: &str) -> Option<String> {
        let name = foreign::variable(name)?;
        self.secrets.insert(name.clone());
        Some(format!("${{{{ secrets.{name} }}}}"))
    }

    /// Converts the settings of a plugin.
    pub(super) fn settings(&mut self, entries: &[&Entry]) -> Map {
        let lines = self.lines;
        let mut with = Map::default();
        for entry in entries {
            let one = |containers: &mut Self, node: &Node| -> Option<Value> {
                if let Some(secret) = from_secret(node) {
                    return containers.secret(secret).map(Value::Text);
                }
                text_or_empty(node).and_then(|text| containers.fill(text).ok()).map(Value::Text)
            };
            let value = match &entry.value.kind {
                Kind::List(items) if items.iter().all(|item| text(item).is_some() || from_secret(item).is_some()) => {
                    let items: Option<Vec<Item>> = items.iter().map(|item| one(self, item).map(Item::Value)).collect();
                    items.map(Value::List)
                }
                Kind::Scalar(_) => one(self, &entry.value),
                _ if from_secret(&entry.value).is_some() => one(self, &entry.value),
                Kind::List(_) | Kind::Map(_) => nested(&entry.value),
            };
            match value {
                Some(value) => with.set(entry.key.clone(), value, lines.line_of_key(entry)),
                None => with.note(lines.note(
                    entry,
                    "its value is not known here, or has a secret inside a mapping: write it as one text",
                )),
            }
        }
        with
    }
}

/// A variable's value as written.
enum Pair {
    Text(String),
    Secret(String),
    Other,
}

/// Reads variables from a mapping, or from a list of `NAME=value`.
fn pairs(node: &Node) -> Vec<(String, Pair, Place)> {
    match &node.kind {
        Kind::Map(entries) => entries
            .iter()
            .map(|entry| {
                let value = match (text_or_empty(&entry.value), from_secret(&entry.value)) {
                    (Some(text), _) => Pair::Text(text.to_owned()),
                    (None, Some(secret)) => Pair::Secret(secret.to_owned()),
                    (None, None) => Pair::Other,
                };
                (entry.key.clone(), value, entry.key_place)
            })
            .collect(),
        Kind::List(items) => items
            .iter()
            .map(|item| {
                let written = text(item).unwrap_or_default();
                match written.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Pair::Text(value.to_owned()), item.place),
                    None => (written.to_owned(), Pair::Other, item.place),
                }
            })
            .collect(),
        Kind::Scalar(_) => Vec::new(),
    }
}

fn from_secret(node: &Node) -> Option<&str> {
    match entries(node)? {
        [entry] if matches!(entry.key.as_str(), "from_secret" | "$secret") => text(&entry.value),
        _ => None,
    }
}

/// Converts a nested setting, which becomes JSON; `None` if it contains a secret.
fn nested(node: &Node) -> Option<Value> {
    if from_secret(node).is_some() {
        return None;
    }
    Some(match &node.kind {
        Kind::Scalar(scalar) if scalar.is_null() => Value::plain("null"),
        Kind::Scalar(scalar) if scalar.boolean().is_some() || (scalar.plain && scalar.text.parse::<i64>().is_ok()) => {
            Value::plain(&scalar.text)
        }
        Kind::Scalar(scalar) => Value::text(scalar.text.as_str()),
        Kind::List(items) => {
            Value::List(items.iter().map(|item| nested(item).map(Item::Value)).collect::<Option<Vec<_>>>()?)
        }
        Kind::Map(entries) => {
            let mut map = Map::default();
            for entry in entries {
                map.set(entry.key.clone(), nested(&entry.value)?, None);
            }
            Value::Map(map)
        }
    })
}
