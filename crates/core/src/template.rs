//! A text of the plan with what is put into it. What is in it already is never read as a template again: a branch may be
//! called `${{ secrets.X }}` and stays a text.
//!
//! Made by the scheduler. Whoever knows more than it did (the server when a job's needs are done, the agent between
//! steps) fills in what it knows.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::expression::{Context, EvalError, Expression, Refers, evaluate, script};

/// A text, as far as it is known. In JSON a string when all of it is known, or else a list of its parts:
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
    /// The text of these parts, in their order.
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

    /// The text, if nothing is missing.
    #[must_use]
    pub fn as_known(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// What its missing parts ask for.
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

    /// The text with everything put in that `context` knows. The rest stays for whoever knows more.
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

    /// The same for a script: what `context` knows is put into expressions too that ask for more, so that whoever fills in the rest
    /// answers nothing that is known already.
    pub fn fill_script(&self, context: &dyn Context) -> Result<Self, EvalError> {
        let filled = self.fill(context)?;
        let parts = filled.parts.into_iter().map(|part| match part {
            Part::Expression(expression) => expression.with_known(context).map(Part::Expression),
            Part::Text(_) => Ok(part),
        });
        Ok(Self::new(parts.collect::<Result<Vec<_>, _>>()?))
    }

    /// The whole text of a script.
    ///
    /// # Errors
    ///
    /// [`EvalError::Foreign`] where text would get into it that the pipeline's author did not write, and those of [`Self::evaluate`].
    pub fn evaluate_script(&self, context: &dyn Context) -> Result<String, EvalError> {
        match self.foreign() {
            Some(path) => Err(EvalError::Foreign(path)),
            None => self.evaluate(context),
        }
    }

    /// The first value that is missing and may not become a part of a script.
    #[must_use]
    pub fn foreign(&self) -> Option<String> {
        self.parts.iter().find_map(|part| match part {
            Part::Expression(expression) => script::foreign(expression),
            Part::Text(_) => None,
        })
    }

    /// The whole text. [`EvalError::NotKnown`] where `context` does not know everything.
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

    /// As people read it before everything is known: expressions as they were written.
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

    /// Bytes of it, as far as it is known.
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
