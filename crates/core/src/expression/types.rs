//! The types that values of expressions have before they are known.

use std::collections::BTreeMap;

use super::value::Value;

/// The type of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// Not known before evaluation.
    Any,
    Null,
    Bool,
    Number,
    /// A text, or null.
    Text,
    List(Box<Type>),
    /// A mapping with unknown keys.
    Map(Box<Type>),
    /// A mapping with exactly these keys.
    Record(BTreeMap<String, Type>),
}

impl Type {
    /// Creates the type of a mapping with exactly these keys.
    pub fn record<K: Into<String>>(entries: impl IntoIterator<Item = (K, Self)>) -> Self {
        Self::Record(entries.into_iter().map(|(key, ty)| (key.into(), ty)).collect())
    }

    /// Returns whether a value of this type can be put into a text.
    #[must_use]
    pub const fn fits_text(&self) -> bool {
        !matches!(self, Self::List(_) | Self::Map(_) | Self::Record(_))
    }

    /// Describes the type in messages.
    #[must_use]
    pub const fn describe(&self) -> &'static str {
        match self {
            Self::Any => "any value",
            Self::Null => "nothing",
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::List(_) => "a list",
            Self::Map(_) | Self::Record(_) => "a mapping",
        }
    }

    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Bool,
            Value::Number(_) => Self::Number,
            Value::Text(_) => Self::Text,
            Value::List(_) => Self::List(Box::new(Self::Any)),
            Value::Map(_) => Self::Map(Box::new(Self::Any)),
        }
    }

    /// Returns whether values of the two types can be equal.
    pub(super) fn comparable(&self, other: &Self) -> bool {
        let family = |ty: &Self| match ty {
            Self::Any | Self::Null => 0,
            Self::Bool => 1,
            Self::Number => 2,
            Self::Text => 3,
            Self::List(_) => 4,
            Self::Map(_) | Self::Record(_) => 5,
        };
        matches!((family(self), family(other)), (0, _) | (_, 0)) || family(self) == family(other)
    }
}
