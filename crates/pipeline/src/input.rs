//! Typed inputs of a manual start and of a template: which values they take, and what a given text means.

use std::collections::BTreeMap;

use longshore_core::expression::{Type, Value};

/// Limit for the characters of an input's value.
const VALUE_CHARS: usize = 4096;

/// One input.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    pub name: String,
    pub kind: InputKind,
    pub required: bool,
    /// A value of the input's type.
    pub default: Option<Value>,
    pub description: Option<String>,
}

/// The type of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputKind {
    String,
    Number,
    Boolean,
    /// One of these texts.
    Choice(Vec<String>),
}

impl Input {
    pub(super) fn ty(&self) -> Type {
        match self.kind {
            InputKind::String | InputKind::Choice(_) => Type::Text,
            InputKind::Number => Type::Number,
            InputKind::Boolean => Type::Bool,
        }
    }

    /// Parses a text as a value of this input.
    ///
    /// # Errors
    /// If the text is not allowed; the error describes the values that are.
    pub fn take(&self, text: &str) -> Result<Value, String> {
        let name = &self.name;
        let shown: String = text.chars().take(60).collect();
        match &self.kind {
            InputKind::String if text.chars().count() > VALUE_CHARS || text.contains('\0') => {
                Err(format!("the input `{name}` must be a string of at most {VALUE_CHARS} characters"))
            }
            InputKind::String => Ok(Value::from(text)),
            InputKind::Number => match text.trim().parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Value::Number(number)),
                _ => Err(format!("the input `{name}` must be a number, but is `{shown}`")),
            },
            InputKind::Boolean => match text.trim() {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => Err(format!("the input `{name}` must be `true` or `false`, but is `{shown}`")),
            },
            InputKind::Choice(options) if options.iter().any(|option| option == text) => Ok(Value::from(text)),
            InputKind::Choice(options) => Err(format!(
                "the input `{name}` must be one of {}, but is `{shown}`",
                super::suggest::listed(options.iter().map(String::as_str))
            )),
        }
    }
}

/// Returns the context `inputs` of a build: the given values, and defaults for the rest. Only a manual start gives
/// inputs; for other events none is required.
///
/// # Errors
/// Names the first input that is wrong.
pub(super) fn values(
    inputs: &[Input],
    given: &BTreeMap<String, String>,
    by_hand: bool,
) -> Result<BTreeMap<String, Value>, String> {
    let mut values = BTreeMap::new();
    for input in inputs {
        let value = match (given.get(&input.name), &input.default) {
            (Some(text), _) => input.take(text)?,
            (None, Some(default)) => default.clone(),
            (None, None) if by_hand && input.required => {
                return Err(format!("the input `{}` is required", input.name));
            }
            (None, None) => Value::Null,
        };
        values.insert(input.name.clone(), value);
    }
    Ok(values)
}

/// Returns the types of inputs, for expressions.
pub(super) fn types(inputs: &[Input]) -> BTreeMap<String, Type> {
    inputs.iter().map(|input| (input.name.clone(), input.ty())).collect()
}
