//! The values of expressions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The value of an expression. It is serialized as the same value in JSON.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "serde_json::Value", into = "serde_json::Value")]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    /// Always finite: neither the language nor JSON has other numbers.
    Number(f64),
    Text(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
}

// Numbers are finite, so equality is reflexive.
impl Eq for Value {}

impl Value {
    /// Creates a mapping.
    pub fn map<K: Into<String>, V: Into<Self>>(entries: impl IntoIterator<Item = (K, V)>) -> Self {
        Self::Map(entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }

    /// Returns whether the value counts as true: everything but null, `false`, 0 and the empty text.
    #[must_use]
    pub fn is_truthy(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(value) => *value,
            Self::Number(value) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(_) | Self::Map(_) => true,
        }
    }

    /// Converts the value to text: null is empty, lists and mappings are JSON.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Bool(value) => value.to_string(),
            Self::Number(value) => value.to_string(),
            Self::Text(text) => text.clone(),
            Self::List(_) | Self::Map(_) => self.to_json(),
        }
    }

    /// Converts the value to JSON, without line breaks.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::Value::from(self.clone()).to_string()
    }

    /// Returns the value of a mapping's key; null for all other values.
    #[must_use]
    pub fn property(&self, key: &str) -> Self {
        match self {
            Self::Map(entries) => entries.get(key).cloned().unwrap_or_default(),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) | Self::List(_) => Self::Null,
        }
    }

    /// Returns what messages call this kind of value.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(value),
            Json::Number(number) => number.as_f64().filter(|n| n.is_finite()).map_or(Self::Null, Self::Number),
            Json::String(text) => Self::Text(text),
            Json::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Json::Object(entries) => {
                Self::Map(entries.into_iter().map(|(key, value)| (key, Self::from(value))).collect())
            }
        }
    }
}

impl From<Value> for serde_json::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Number(number) => whole(number)
                .map(Self::from)
                .or_else(|| serde_json::Number::from_f64(number).map(Self::Number))
                .unwrap_or(Self::Null),
            Value::Text(text) => Self::String(text),
            Value::List(items) => Self::Array(items.into_iter().map(Self::from).collect()),
            Value::Map(entries) => {
                Self::Object(entries.into_iter().map(|(key, value)| (key, Self::from(value))).collect())
            }
        }
    }
}

/// Converts a number without a fraction to an integer, if every JSON parser reads that as the same number.
#[expect(clippy::cast_possible_truncation, reason = "the bounds are checked")]
fn whole(number: f64) -> Option<i64> {
    const SAFE: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() < SAFE && !(number == 0.0 && number.is_sign_negative()))
        .then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use super::Value;

    #[test]
    fn values_in_texts_read_as_people_write_them() {
        for (json, text) in [
            ("null", ""),
            ("true", "true"),
            ("3", "3"),
            ("1.5", "1.5"),
            ("\"a b\"", "a b"),
            ("[1,\"x\"]", "[1,\"x\"]"),
            ("{\"a\":{}}", "{\"a\":{}}"),
        ] {
            let value: Value = serde_json::from_str(json).unwrap();
            assert_eq!(value.to_text(), text);
            assert_eq!(value.to_json(), json);
        }
    }
}
