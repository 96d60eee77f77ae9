//! The syntax tree of an expression, and what it refers to.

use std::{collections::BTreeSet, fmt, ops::Range};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    evaluate::{Context, EvalError, evaluate_node},
    function::Function,
    parser::{self, ParseError},
    value::Value,
};

/// The context of the needed jobs: of each its `result` and its `outputs`.
const NEEDS: &str = "needs";

/// A parsed expression. In JSON it is its source.
#[derive(Debug, Clone)]
pub struct Expression {
    source: String,
    root: Node,
}

/// A part of an expression, with its byte range in the source.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub at: Range<usize>,
    pub kind: NodeKind,
}

impl Node {
    /// Returns the text if it is a literal one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Literal(Value::Text(text)) => Some(text),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum NodeKind {
    Literal(Value),
    /// The name of a context, known or not.
    Context(String),
    /// `of.key` or `of['key']`; `key_at` is the byte range of the key.
    Property {
        of: Box<Node>,
        key: String,
        key_at: Range<usize>,
    },
    /// `of[index]`, where the index is not a literal text.
    Index {
        of: Box<Node>,
        index: Box<Node>,
    },
    Call {
        function: Function,
        name_at: Range<usize>,
        arguments: Vec<Node>,
    },
    Not(Box<Node>),
    Binary {
        operator: Binary,
        left: Box<Node>,
        right: Box<Node>,
    },
}

/// A binary operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Binary {
    /// Returns the operator as written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Or => "||",
            Self::And => "&&",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

/// What an expression refers to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refers {
    /// The contexts, each with a property, or `None` for the whole context.
    pub contexts: BTreeSet<(String, Option<String>)>,
    /// The needed jobs of which it takes more than the result, by their names in `needs`; `None` for all of them.
    pub outputs_of: BTreeSet<Option<String>>,
    /// Whether it calls `success()`, `failure()`, `always()` or `cancelled()`.
    pub progress: bool,
    /// Whether it calls `hash-files()`.
    pub files: bool,
    /// The patterns of each call of `changed()`.
    pub changes: BTreeSet<Vec<String>>,
}

impl Refers {
    /// Returns whether a context is referred to.
    #[must_use]
    pub fn to(&self, context: &str) -> bool {
        self.contexts.iter().any(|(name, _)| name == context)
    }

    /// Adds what `other` refers to.
    pub fn extend(&mut self, other: Self) {
        self.contexts.extend(other.contexts);
        self.outputs_of.extend(other.outputs_of);
        self.progress |= other.progress;
        self.files |= other.files;
        self.changes.extend(other.changes);
    }
}

impl Expression {
    /// Parses the text between the braces, or of an `if`.
    pub fn parse(source: &str) -> Result<Self, ParseError> {
        Ok(Self { source: source.to_owned(), root: parser::parse(source)? })
    }

    /// Returns the expression as written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    #[must_use]
    pub const fn root(&self) -> &Node {
        &self.root
    }

    /// Returns what the expression refers to.
    #[must_use]
    pub fn refers(&self) -> Refers {
        let mut refers = Refers::default();
        collect(&self.root, &mut refers);
        refers
    }

    /// Replaces every value that `context` knows with a literal, so that nobody can change it later.
    ///
    /// # Errors
    ///
    /// [`EvalError::TooLarge`] if the result would exceed the limits of an expression.
    pub fn with_known(&self, context: &dyn Context) -> Result<Self, EvalError> {
        let mut known = Vec::new();
        find_known(&self.root, context, &mut known)?;
        let mut source = self.source.clone();
        // From the end, so that the remaining ranges stay valid.
        for (at, value) in known.into_iter().rev() {
            source.replace_range(at, &literal(&value));
        }
        Self::parse(&source).map_err(|_| EvalError::TooLarge)
    }
}

/// Collects the values that `context` knows, from left to right, each with its byte range in the source.
fn find_known(node: &Node, context: &dyn Context, known: &mut Vec<(Range<usize>, Value)>) -> Result<(), EvalError> {
    if context_of(node).is_some_and(|name| context.context(name).is_some()) {
        known.push((node.at.clone(), evaluate_node(node, context)?));
        return Ok(());
    }
    match &node.kind {
        NodeKind::Literal(_) | NodeKind::Context(_) => Ok(()),
        NodeKind::Property { of, .. } | NodeKind::Not(of) => find_known(of, context, known),
        NodeKind::Index { of, index } => {
            find_known(of, context, known)?;
            find_known(index, context, known)
        }
        NodeKind::Call { arguments, .. } => {
            arguments.iter().try_for_each(|argument| find_known(argument, context, known))
        }
        NodeKind::Binary { left, right, .. } => {
            find_known(left, context, known)?;
            find_known(right, context, known)
        }
    }
}

/// Returns the context of a path such as `matrix.version`.
fn context_of(node: &Node) -> Option<&str> {
    match &node.kind {
        NodeKind::Context(name) => Some(name),
        NodeKind::Property { of, .. } => context_of(of),
        NodeKind::Literal(_)
        | NodeKind::Index { .. }
        | NodeKind::Call { .. }
        | NodeKind::Not(_)
        | NodeKind::Binary { .. } => None,
    }
}

/// Writes a value as an expression.
fn literal(value: &Value) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_text(),
        Value::Text(text) => quoted(text),
        Value::List(_) | Value::Map(_) => format!("from-json({})", quoted(&value.to_json())),
    }
}

fn collect(node: &Node, refers: &mut Refers) {
    match &node.kind {
        NodeKind::Literal(_) => {}
        NodeKind::Context(name) => {
            refers.contexts.insert((name.clone(), None));
            if name == NEEDS {
                refers.outputs_of.insert(None);
            }
        }
        NodeKind::Property { of, key, .. } => match &of.kind {
            NodeKind::Context(name) => {
                refers.contexts.insert((name.clone(), Some(key.clone())));
                if name == NEEDS {
                    refers.outputs_of.insert(Some(key.clone()));
                }
            }
            // One of a few words, which no job chooses.
            NodeKind::Property { of: needs, key: job, .. }
                if key == "result" && matches!(&needs.kind, NodeKind::Context(name) if name == NEEDS) =>
            {
                refers.contexts.insert((NEEDS.to_owned(), Some(job.clone())));
            }
            _ => collect(of, refers),
        },
        NodeKind::Index { of, index } => {
            collect(of, refers);
            collect(index, refers);
        }
        NodeKind::Call { function, arguments, .. } => {
            refers.progress |= function.asks_progress();
            refers.files |= *function == Function::HashFiles;
            if *function == Function::Changed {
                refers
                    .changes
                    .insert(arguments.iter().filter_map(|argument| argument.text().map(str::to_owned)).collect());
            }
            for argument in arguments {
                collect(argument, refers);
            }
        }
        NodeKind::Not(inner) => collect(inner, refers),
        NodeKind::Binary { left, right, .. } => {
            collect(left, refers);
            collect(right, refers);
        }
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        // Equal sources have equal trees.
        self.source == other.source
    }
}

impl Eq for Expression {}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl Serialize for Expression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

impl<'de> Deserialize<'de> for Expression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let source = String::deserialize(deserializer)?;
        Self::parse(&source).map_err(|error| de::Error::custom(format!("`{source}`: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::Values;

    #[test]
    fn whatever_takes_more_of_a_needed_job_than_its_result_takes_its_outputs() {
        for (source, expected) in [
            ("needs.a.result == 'failure' || needs['b'].result == 'success'", &[][..]),
            ("needs.a.outputs.v", &[Some("a")]),
            ("needs['a'].outputs['v'] == '1' && needs.b.result", &[Some("a")]),
            ("to-json(needs.a)", &[Some("a")]),
            ("needs.a[matrix.key].v", &[Some("a")]),
            ("needs.a.outputs[needs.b.outputs.name]", &[Some("a"), Some("b")]),
            ("needs[matrix.key].result", &[None]),
            ("to-json(needs)", &[None]),
            ("steps.needs.outputs.v", &[]),
        ] {
            let refers = Expression::parse(source).unwrap().refers();
            let jobs: Vec<Option<&str>> = refers.outputs_of.iter().map(Option::as_deref).collect();
            assert_eq!(jobs, expected, "{source}");
        }
    }

    #[test]
    fn known_values_become_literals_of_the_expression() {
        let matrix = Value::map([("v", "it's"), ("k", "a")]);
        let context = Values { contexts: [("matrix".to_owned(), matrix)].into(), progress: None };
        for (source, expected) in [
            ("matrix.v || steps.a.outcome", "'it''s' || steps.a.outcome"),
            ("(matrix.v) == steps[matrix.k].outcome", "'it''s' == steps['a'].outcome"),
            ("format('{0}{1}', matrix.none, build.number)", "format('{0}{1}', null, build.number)"),
            (
                "contains(to-json(matrix), build.id)",
                "contains(to-json(from-json('{\"k\":\"a\",\"v\":\"it''s\"}')), build.id)",
            ),
        ] {
            let expression = Expression::parse(source).unwrap();
            assert_eq!(expression.with_known(&context).unwrap().source(), expected);
        }
    }
}
