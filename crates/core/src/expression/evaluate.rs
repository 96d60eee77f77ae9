//! Evaluates expressions. An expression that was checked may still get an unexpected value (the outputs of steps can be
//! anything); then evaluation fails with an error.

use std::{borrow::Cow, collections::BTreeMap};

use regex_lite::{Regex, RegexBuilder};

use super::{
    ast::{Binary, Expression, Node, NodeKind, Refers},
    function::Function,
    limits,
    value::Value,
};

/// The results so far: of the steps of a job, or of the jobs that a job needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Something failed. For a job: one of its needs that are not optional did not succeed.
    pub failed: bool,
    /// Somebody canceled the job.
    pub canceled: bool,
    /// Neither of these, but a need was skipped.
    pub skipped: bool,
}

/// The source of an expression's values.
pub trait Context {
    /// Returns the value of a whole context; `None` if it is not known yet.
    fn context(&self, name: &str) -> Option<&Value>;

    /// Returns what `success()`, `failure()`, `always()` and `cancelled()` depend on; `None` if they cannot be called.
    fn progress(&self) -> Option<Progress> {
        None
    }

    /// Computes `hash-files(...)`; `None` if there are no files.
    fn hash_files(&self, _patterns: &[String]) -> Option<Result<String, String>> {
        None
    }

    /// Returns whether `hash-files` can be called.
    fn has_files(&self) -> bool {
        false
    }

    /// Returns whether everything that an expression refers to is known.
    fn covers(&self, refers: &Refers) -> bool {
        (!refers.progress || self.progress().is_some())
            && (!refers.files || self.has_files())
            && refers.contexts.iter().all(|(name, _)| self.context(name).is_some())
    }
}

/// Known values, by the names of their contexts. Without files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Values {
    pub contexts: BTreeMap<String, Value>,
    pub progress: Option<Progress>,
}

impl Context for Values {
    fn context(&self, name: &str) -> Option<&Value> {
        self.contexts.get(name)
    }

    fn progress(&self) -> Option<Progress> {
        self.progress
    }
}

/// The name under which a plan keeps what `changed()` was when it was made: a mapping of [`changed_key`] to booleans.
/// No expression can refer to it.
pub const CHANGED: &str = "changed";

/// Returns the key of a call of `changed()` in [`CHANGED`].
#[must_use]
pub fn changed_key(patterns: &[String]) -> String {
    Value::List(patterns.iter().map(|pattern| Value::from(pattern.as_str())).collect()).to_json()
}

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    #[error("`{0}` is not available here")]
    NotKnown(String),
    #[error("`{what}` cannot take {found}: write {usage}")]
    WrongType { what: &'static str, found: &'static str, usage: &'static str },
    #[error("`from-json`: invalid JSON: {0}")]
    NotJson(String),
    #[error("`format` has no argument for `{{{0}}}`")]
    NoPlaceholder(String),
    #[error("`hash-files`: {0}")]
    Files(String),
    #[error("`matches`: invalid regular expression: {0}")]
    NotRegular(String),
    #[error("the string would be longer than {} KiB", limits::TEXT_BYTES / 1024)]
    TooLarge,
    #[error(
        "`{0}` is text that the pipeline's author did not write, and cannot be put into a script: pass it in `env`"
    )]
    Foreign(String),
}

/// Evaluates an expression.
pub fn evaluate(expression: &Expression, context: &dyn Context) -> Result<Value, EvalError> {
    Ok(value(expression.root(), context)?.into_owned())
}

/// Evaluates a part of an expression.
pub(super) fn evaluate_node(node: &Node, context: &dyn Context) -> Result<Value, EvalError> {
    Ok(value(node, context)?.into_owned())
}

/// Returns whether a step or a job with this `if` runs. Without an `if`, or with one that does not depend on the
/// results so far, it runs only after success.
pub fn runs(condition: Option<&Expression>, context: &dyn Context) -> Result<bool, EvalError> {
    let Some(condition) = condition else { return progress(Function::Success, context) };
    if !condition.refers().progress && !progress(Function::Success, context)? {
        return Ok(false);
    }
    Ok(value(condition.root(), context)?.is_truthy())
}

fn value<'c>(node: &Node, context: &'c dyn Context) -> Result<Cow<'c, Value>, EvalError> {
    Ok(match &node.kind {
        NodeKind::Literal(value) => Cow::Owned(value.clone()),
        NodeKind::Context(name) => {
            Cow::Borrowed(context.context(name).ok_or_else(|| EvalError::NotKnown(name.clone()))?)
        }
        NodeKind::Property { of, key, .. } => property(value(of, context)?, key),
        NodeKind::Index { of, index } => {
            let index = value(index, context)?;
            match (value(of, context)?, index.as_ref()) {
                (of, Value::Text(key)) => property(of, key),
                (of, Value::Number(at)) => Cow::Owned(item(&of, *at)),
                (_, Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_)) => Cow::Owned(Value::Null),
            }
        }
        NodeKind::Call { function, arguments, .. } => Cow::Owned(call(*function, arguments, context)?),
        NodeKind::Not(inner) => Cow::Owned(Value::Bool(!value(inner, context)?.is_truthy())),
        NodeKind::Binary { operator, left, right } => {
            let first = value(left, context)?;
            match operator {
                Binary::Or if first.is_truthy() => first,
                Binary::And if !first.is_truthy() => first,
                Binary::Or | Binary::And => value(right, context)?,
                Binary::Equal => Cow::Owned(Value::Bool(first == value(right, context)?)),
                Binary::NotEqual => Cow::Owned(Value::Bool(first != value(right, context)?)),
                Binary::Less => compare_numbers(*operator, &first, &*value(right, context)?, |a, b| a < b)?,
                Binary::LessOrEqual => compare_numbers(*operator, &first, &*value(right, context)?, |a, b| a <= b)?,
                Binary::Greater => compare_numbers(*operator, &first, &*value(right, context)?, |a, b| a > b)?,
                Binary::GreaterOrEqual => compare_numbers(*operator, &first, &*value(right, context)?, |a, b| a >= b)?,
            }
        }
    })
}

fn property<'c>(of: Cow<'c, Value>, key: &str) -> Cow<'c, Value> {
    match of {
        Cow::Borrowed(Value::Map(entries)) => entries.get(key).map_or(Cow::Owned(Value::Null), Cow::Borrowed),
        other => Cow::Owned(other.property(key)),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the bounds are checked")]
fn item(of: &Value, at: f64) -> Value {
    match of {
        Value::List(items) if at >= 0.0 && at.fract() == 0.0 && at < 1e9 => {
            items.get(at as usize).cloned().unwrap_or_default()
        }
        _ => Value::Null,
    }
}

fn compare_numbers<'c>(
    operator: Binary,
    left: &Value,
    right: &Value,
    holds: impl Fn(f64, f64) -> bool,
) -> Result<Cow<'c, Value>, EvalError> {
    let number = |value: &Value| match value {
        Value::Number(number) => Ok(*number),
        other => Err(EvalError::WrongType {
            what: operator.as_str(),
            found: other.kind(),
            usage: "numbers on both sides, such as `from-json(text)`",
        }),
    };
    Ok(Cow::Owned(Value::Bool(holds(number(left)?, number(right)?))))
}

fn progress(function: Function, context: &dyn Context) -> Result<bool, EvalError> {
    let progress = context.progress().ok_or_else(|| EvalError::NotKnown(format!("{}()", function.name())))?;
    Ok(match function {
        Function::Failure => progress.failed,
        Function::Cancelled => progress.canceled,
        Function::Always => true,
        _ => !progress.failed && !progress.canceled && !progress.skipped,
    })
}

fn call(function: Function, arguments: &[Node], context: &dyn Context) -> Result<Value, EvalError> {
    let argument = |at: usize| match arguments.get(at) {
        Some(node) => value(node, context),
        None => Ok(Cow::Owned(Value::Null)),
    };
    // Numbers and booleans become text as they are written, null becomes the empty text.
    let text = |at: usize| match argument(at)?.as_ref() {
        found @ (Value::List(_) | Value::Map(_)) => {
            Err(EvalError::WrongType { what: function.name(), found: found.kind(), usage: function.usage() })
        }
        found => Ok(found.to_text()),
    };
    Ok(match function {
        Function::Contains => match argument(0)?.as_ref() {
            Value::List(items) => Value::Bool(items.contains(&*argument(1)?)),
            _ => Value::Bool(text(0)?.contains(&text(1)?)),
        },
        Function::StartsWith => Value::Bool(text(0)?.starts_with(&text(1)?)),
        Function::EndsWith => Value::Bool(text(0)?.ends_with(&text(1)?)),
        Function::Matches => {
            let pattern = regular(&text(1)?)?;
            Value::Bool(*argument(0)? != Value::Null && pattern.is_match(&text(0)?))
        }
        Function::Format => {
            let values = (1..arguments.len()).map(|at| Ok(argument(at)?.to_text())).collect::<Result<Vec<_>, _>>()?;
            Value::Text(format(&text(0)?, &values)?)
        }
        Function::Join => {
            let separator = if arguments.len() > 1 { text(1)? } else { ",".to_owned() };
            match argument(0)?.as_ref() {
                Value::List(items) => Value::Text(join(items, &separator)?),
                Value::Map(_) => {
                    return Err(EvalError::WrongType { what: "join", found: "a mapping", usage: function.usage() });
                }
                one => Value::Text(one.to_text()),
            }
        }
        Function::ToJson => Value::Text(limit_size(argument(0)?.to_json())?),
        Function::FromJson => from_json(&text(0)?)?,
        Function::HashFiles => {
            let patterns = (0..arguments.len()).map(text).collect::<Result<Vec<_>, _>>()?;
            match context.hash_files(&patterns) {
                Some(Ok(hash)) => Value::Text(hash),
                Some(Err(reason)) => return Err(EvalError::Files(reason)),
                None => return Err(EvalError::NotKnown("hash-files()".to_owned())),
            }
        }
        Function::Changed => {
            let patterns = (0..arguments.len()).map(text).collect::<Result<Vec<_>, _>>()?;
            match context.context(CHANGED).map(|answers| answers.property(&changed_key(&patterns))) {
                Some(answer @ Value::Bool(_)) => answer,
                _ => return Err(EvalError::NotKnown("changed()".to_owned())),
            }
        }
        Function::Success | Function::Failure | Function::Always | Function::Cancelled => {
            Value::Bool(progress(function, context)?)
        }
    })
}

fn limit_size(text: String) -> Result<String, EvalError> {
    if text.len() > limits::TEXT_BYTES { Err(EvalError::TooLarge) } else { Ok(text) }
}

/// Reads a regular expression. It takes time and memory within its own length and that of the text.
pub(super) fn regular(pattern: &str) -> Result<Regex, EvalError> {
    RegexBuilder::new(pattern)
        .size_limit(limits::PATTERN_BYTES)
        .build()
        .map_err(|error| EvalError::NotRegular(error.to_string().lines().last().unwrap_or_default().to_owned()))
}

/// Fills in `{0}` with the first value, and so on. `{{` and `}}` are braces.
pub(super) fn format(pattern: &str, values: &[String]) -> Result<String, EvalError> {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let doubled = rest.starts_with("{{") || rest.starts_with("}}");
        if doubled {
            out.push_str(&rest[..1]);
            rest = &rest[2..];
        } else {
            let inner = rest.strip_prefix('{').and_then(|tail| tail.split_once('}'));
            let Some((number, tail)) = inner else {
                return Err(EvalError::NoPlaceholder(rest.chars().skip(1).take(20).collect()));
            };
            let known = number.parse::<usize>().ok().and_then(|number| values.get(number));
            out.push_str(known.ok_or_else(|| EvalError::NoPlaceholder(number.chars().take(20).collect()))?);
            rest = tail;
        }
        if out.len() > limits::TEXT_BYTES {
            return Err(EvalError::TooLarge);
        }
    }
    out.push_str(rest);
    limit_size(out)
}

fn join(items: &[Value], separator: &str) -> Result<String, EvalError> {
    let mut out = String::new();
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push_str(separator);
        }
        out.push_str(&item.to_text());
        if out.len() > limits::TEXT_BYTES {
            return Err(EvalError::TooLarge);
        }
    }
    Ok(out)
}

pub(super) fn from_json(text: &str) -> Result<Value, EvalError> {
    let json: serde_json::Value =
        serde_json::from_str(text.trim()).map_err(|error| EvalError::NotJson(error.to_string()))?;
    if depth(&json) > limits::VALUE_DEPTH {
        return Err(EvalError::NotJson(format!(
            "lists and mappings nested more than {} levels deep",
            limits::VALUE_DEPTH
        )));
    }
    Ok(Value::from(json))
}

/// Recursion is safe, because the JSON parser limits the depth to 128.
fn depth(json: &serde_json::Value) -> usize {
    match json {
        serde_json::Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        serde_json::Value::Object(entries) => 1 + entries.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
