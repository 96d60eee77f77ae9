//! A strict JSON reader: it merges or drops no repeated key, rounds no number, and accepts nothing after the value.
//!
//! Docker's decoder (Go's) merges repeated objects, accepts keys in any case and stops after the first value. A parser
//! that differs in any of this sees another request than Docker does. So this one refuses whatever can be read in two
//! ways.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::refusal::{Judged, refuse};

/// The deepest nesting that is accepted.
const DEEPEST: usize = 32;
/// The most keys of an object, and the most items of a list.
const MOST: usize = 4096;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Int(i64),
    Text(String),
    List(Vec<Json>),
    /// In the order in which it was written. No key is repeated.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Whether Go would decode this to a zero value. Some clients send every field, most of them so.
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(value) => !value,
            Self::Int(value) => *value == 0,
            Self::Text(text) => text.is_empty(),
            Self::List(items) => items.is_empty(),
            Self::Object(entries) => entries.iter().all(|(_, value)| value.is_zero()),
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

/// Parses one value, which only white space may follow.
pub(crate) fn parse(bytes: &[u8]) -> Judged<Json> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Seed { depth: 0 }.deserialize(&mut reader);
    match value.and_then(|value| reader.end().map(|()| value)) {
        Ok(value) => Ok(value),
        Err(error) => refuse!(Body, "the body is not unambiguous JSON: {error}"),
    }
}

struct Seed {
    depth: usize,
}

impl Seed {
    fn deeper<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.depth >= DEEPEST {
            return Err(E::custom(format_args!("it is nested more than {DEEPEST} levels deep")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Json, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Int(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Json, E> {
        i64::try_from(value).map(Json::Int).map_err(|_| E::custom("a number is too large"))
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Json, E> {
        Err(E::custom("a number is not an integer"))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Json, E> {
        if text.contains('\0') {
            return Err(E::custom("a string contains a NUL"));
        }
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.deeper()?)? {
            if list.len() == MOST {
                return Err(A::Error::custom(format_args!("a list has more than {MOST} items")));
            }
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut object: Vec<(String, Json)> = Vec::new();
        let mut keys = std::collections::HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.len() == MOST {
                return Err(A::Error::custom(format_args!("an object has more than {MOST} keys")));
            }
            if key.contains('\0') {
                return Err(A::Error::custom("a key contains a NUL"));
            }
            if !keys.insert(key.clone()) {
                return Err(A::Error::custom(format_args!("the key {key:?} is repeated")));
            }
            object.push((key, entries.next_value_seed(self.deeper()?)?));
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":{"b":1},"a":{"c":2}}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":1} {"b":2}"#,
            r#"{"a":1}x"#,
            r#"{"a":1.5}"#,
            r#"{"a":1e3}"#,
            r#"{"a":18446744073709551615}"#,
            r#"{"a":99999999999999999999999}"#,
            r#"{"a":"\u0000"}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":NaN}"#,
            "{'a':1}",
            "",
            "{\"a\":\"\u{1}\"}",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse(&[b"{\"a\":\"".as_slice(), &[0xff], b"\"}"].concat()).is_err());
        assert!(parse(format!("{}{}", "[".repeat(40), "]".repeat(40)).as_bytes()).is_err());
        let read = parse(b"{\"A\":{\"a\":1,\"B\":[null,\"\\u0041\"]}}\n").unwrap();
        let inner = Json::Object(vec![
            ("a".into(), Json::Int(1)),
            ("B".into(), Json::List(vec![Json::Null, Json::Text("A".into())])),
        ]);
        assert_eq!(read, Json::Object(vec![("A".into(), inner)]));
    }
}
