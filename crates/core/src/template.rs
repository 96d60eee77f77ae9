//! Texts of a plan with expressions in them. A value that was filled in is never parsed again: a branch that is called
//! `${{ secrets.X }}` stays plain text.
//!
//! The scheduler creates them. The server (when a job's needs have ended) and the agent (between steps) fill in the
//! values that they know.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::expression::{Context, EvalError, Expression, Refers, evaluate, script};

/// A text, as far as it is known. In JSON it is a string if everything is known, else a list of its parts:
/// `["v", {"expression": "steps.meta.outputs.version"}]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    parts: Vec<Part>,
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Text(String),
    Expression(Expression),
}

impl Template {
    /// Joins the parts in order.
    #[must_use]
    pub fn new(parts: impl IntoIterator<Item = Part>) -> Self {
        let mut joined: Vec<Part> = Vec::new();
        for part in parts {
            match (joined.last_mut(), part) {
                (_, Part::Text(text)) if text.is_empty() => {}
                (Some(Part::Text(before)), Part::Text(text)) => before.push_str(&text),
                (_, part) => joined.push(part),
            }
        }
        Self { parts: joined }
    }

    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Returns the text if everything in it is known.
    #[must_use]
    pub fn as_known(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Returns what its expressions refer to.
    #[must_use]
    pub fn refers(&self) -> Refers {
        let mut refers = Refers::default();
        for part in &self.parts {
            if let Part::Expression(expression) = part {
                refers.extend(expression.refers());
            }
        }
        refers
    }

    /// Fills in every expression whose values `context` knows. The others stay expressions.
    pub fn fill(&self, context: &dyn Context) -> Result<Self, EvalError> {
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            parts.push(match part {
                Part::Expression(expression) if context.covers(&expression.refers()) => {
                    Part::Text(evaluate(expression, context)?.to_text())
                }
                Part::Text(_) | Part::Expression(_) => part.clone(),
            });
        }
        Ok(Self::new(parts))
    }

    /// Like [`Self::fill`], for a script: also puts known values into expressions that need other values too, so that
    /// nobody can change a known value later.
    pub fn fill_script(&self, context: &dyn Context) -> Result<Self, EvalError> {
        let filled = self.fill(context)?;
        let parts = filled.parts.into_iter().map(|part| match part {
            Part::Expression(expression) => expression.with_known(context).map(Part::Expression),
            Part::Text(_) => Ok(part),
        });
        Ok(Self::new(parts.collect::<Result<Vec<_>, _>>()?))
    }

    /// Evaluates the whole text of a script.
    ///
    /// # Errors
    ///
    /// [`EvalError::Foreign`] if the script would contain text that the pipeline's author did not write, and the errors
    /// of [`Self::evaluate`].
    pub fn evaluate_script(&self, context: &dyn Context) -> Result<String, EvalError> {
        match self.foreign() {
            Some(path) => Err(EvalError::Foreign(path)),
            None => self.evaluate(context),
        }
    }

    /// Returns the first unknown value that must not become part of a script.
    #[must_use]
    pub fn foreign(&self) -> Option<String> {
        self.parts.iter().find_map(|part| match part {
            Part::Expression(expression) => script::foreign(expression),
            Part::Text(_) => None,
        })
    }

    /// Evaluates the whole text. [`EvalError::NotKnown`] if `context` does not know every value.
    pub fn evaluate(&self, context: &dyn Context) -> Result<String, EvalError> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(known) => text.push_str(known),
                Part::Expression(expression) => text.push_str(&evaluate(expression, context)?.to_text()),
            }
        }
        Ok(text)
    }

    /// Returns the text for people, with unknown expressions as they were written.
    #[must_use]
    pub fn shown(&self) -> String {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Expression(expression) => format!("${{{{ {} }}}}", expression.source().trim()),
            })
            .collect()
    }

    /// Returns the length in bytes; expressions count with their source.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.len(),
                Part::Expression(expression) => expression.source().len(),
            })
            .sum()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

impl From<String> for Template {
    fn from(text: String) -> Self {
        Self::new([Part::Text(text)])
    }
}

impl From<&str> for Template {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.as_known() {
            Some(text) => serializer.serialize_str(text),
            None => serializer.collect_seq(self.parts.iter().map(|part| match part {
                Part::Text(text) => serde_json::Value::from(text.as_str()),
                Part::Expression(expression) => serde_json::json!({ "expression": expression.source() }),
            })),
        }
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde_json::Value;
        let parts = match Value::deserialize(deserializer)? {
            Value::String(text) => return Ok(Self::from(text)),
            Value::Array(parts) => parts,
            _ => return Err(de::Error::custom("a text is a string or a list of its parts")),
        };
        let parts = parts.into_iter().map(|part| match part {
            Value::String(text) => Ok(Part::Text(text)),
            Value::Object(mut object) => {
                let source = object.remove("expression").unwrap_or_default();
                serde_json::from_value(source).map(Part::Expression).map_err(de::Error::custom)
            }
            _ => Err(de::Error::custom("a part of a text is a string or an expression")),
        });
        Ok(Self::new(parts.collect::<Result<Vec<_>, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::{Value, Values};

    fn expression(source: &str) -> Part {
        Part::Expression(Expression::parse(source).unwrap())
    }

    fn knows(name: &str, value: Value) -> Values {
        Values { contexts: [(name.to_owned(), value)].into(), progress: None }
    }

    #[test]
    fn what_was_put_in_is_never_read_again() {
        let template =
            Template::new([Part::Text("on ".to_owned()), expression("event.branch"), expression("steps.a.outputs.b")]);
        let hostile = knows("event", Value::map([("branch", "${{ secrets.TOKEN }}")]));
        let filled = template.fill(&hostile).unwrap();
        let json = serde_json::to_string(&filled).unwrap();
        assert_eq!(json, r#"["on ${{ secrets.TOKEN }}",{"expression":"steps.a.outputs.b"}]"#);
        let read: Template = serde_json::from_str(&json).unwrap();
        assert_eq!(read, filled);
        let all = knows("steps", Value::map([("a", Value::map([("outputs", Value::map([("b", "!")]))]))]));
        assert_eq!(read.evaluate(&all).unwrap(), "on ${{ secrets.TOKEN }}!");
    }

    #[test]
    fn a_known_text_is_a_plain_string() {
        for text in ["", "plain", "[\"x\"]", "${{ not an expression"] {
            let template = Template::from(text);
            let json = serde_json::to_string(&template).unwrap();
            assert_eq!(json, serde_json::to_string(text).unwrap());
            assert_eq!(serde_json::from_str::<Template>(&json).unwrap(), template);
        }
    }
}
