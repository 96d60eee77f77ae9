//! YAML as a tree in which every node knows its place in the file.
//!
//! Aliases share the node of their anchor, so a tree is never larger in memory than its file; `weight` says how large
//! it is for a reader who walks through it.

use std::rc::Rc;

use super::source::Place;

/// One node.
#[derive(Debug)]
pub struct Node {
    pub place: Place,
    pub kind: Kind,
    pub weight: Weight,
}

/// The size of a node with everything below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Weight {
    pub nodes: usize,
    pub bytes: usize,
}

impl Weight {
    pub const fn plus(self, other: Self) -> Self {
        Self { nodes: self.nodes.saturating_add(other.nodes), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

#[derive(Debug)]
pub enum Kind {
    Scalar(Scalar),
    List(Vec<Rc<Node>>),
    Map(Vec<Entry>),
}

/// A text, a number, a boolean or null. The reader, which knows what it expects, tells them apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    /// The value after escapes and folding.
    pub text: String,
    /// Neither quoted nor a block. Only then `true` is a boolean and `~` is null.
    pub plain: bool,
}

/// A key with its value.
#[derive(Debug, Clone)]
pub struct Entry {
    pub key: String,
    pub key_place: Place,
    pub value: Rc<Node>,
}

impl Node {
    /// Returns whether it is null: `key:` with no value, `~` or `null`.
    pub fn is_null(&self) -> bool {
        match &self.kind {
            Kind::Scalar(scalar) => scalar.is_null(),
            Kind::List(_) | Kind::Map(_) => false,
        }
    }

    /// Returns what the node is, in the words of a message.
    pub fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::Scalar(scalar) if scalar.is_null() => "nothing",
            Kind::Scalar(scalar) if scalar.boolean().is_some() => "a boolean",
            Kind::Scalar(scalar) if scalar.is_number() => "a number",
            Kind::Scalar(_) => "a string",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }
}

impl Scalar {
    pub fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// Parses `true` and `false`; `yes`, `no`, `on` and `off` are texts in YAML 1.2.
    pub fn boolean(&self) -> Option<bool> {
        match self.text.as_str() {
            "true" | "True" | "TRUE" if self.plain => Some(true),
            "false" | "False" | "FALSE" if self.plain => Some(false),
            _ => None,
        }
    }

    fn is_number(&self) -> bool {
        self.plain
            && self.text.starts_with(|c: char| c.is_ascii_digit() || c == '-')
            && self.text.parse::<f64>().is_ok()
    }
}
