//! Writes a JSON object of a request. Empty values are omitted: to the engine, an absent field means the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

#[derive(Debug, Default)]
pub(crate) struct Out(Map<String, Value>);

impl Out {
    pub(crate) fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }

    pub(crate) fn text(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.put(key, text);
        }
    }

    pub(crate) fn flag(&mut self, key: &str, flag: bool) {
        if flag {
            self.put(key, true);
        }
    }

    pub(crate) fn int(&mut self, key: &str, number: i64) {
        if number != 0 {
            self.put(key, number);
        }
    }

    pub(crate) fn texts(&mut self, key: &str, texts: &[String]) {
        if !texts.is_empty() {
            self.put(key, json!(texts));
        }
    }

    pub(crate) fn text_map(&mut self, key: &str, map: &BTreeMap<String, String>) {
        if !map.is_empty() {
            self.put(key, json!(map));
        }
    }

    pub(crate) fn set(&mut self, key: &str, set: &BTreeSet<String>) {
        if !set.is_empty() {
            self.put(key, set.iter().map(|name| (name.clone(), json!({}))).collect::<Map<_, _>>());
        }
    }

    pub(crate) fn value(self) -> Value {
        Value::Object(self.0)
    }
}
