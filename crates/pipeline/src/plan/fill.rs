//! Fills texts with the values that are known when a job is planned.

use std::collections::{BTreeMap, BTreeSet};

use longshore_core::{
    Template,
    expression::{Context, EvalError, Refers, Value, Values, evaluate},
};

use super::super::{scope::WORKSPACE, text::Flag};

/// The values that are known when a job is planned, including the variables whose values are known by then.
pub(super) struct Fixed {
    pub(super) values: Values,
    /// Variables whose values are not known yet.
    late: BTreeSet<String>,
}

impl Fixed {
    /// `names` are the variables that the file itself defines around a text. Of all other variables, only
    /// `CI_WORKSPACE` is the same in every job.
    pub(super) fn new<'n>(
        known: &Values,
        env: &BTreeMap<String, Template>,
        names: impl Iterator<Item = &'n String>,
    ) -> Self {
        let mut late = BTreeSet::new();
        let mut variables = BTreeMap::new();
        for name in names.map(String::as_str).chain([WORKSPACE]) {
            match env.get(name).and_then(Template::as_known) {
                Some(value) => {
                    variables.insert(name.to_owned(), Value::from(value));
                }
                None => {
                    late.insert(name.to_owned());
                }
            }
        }
        let mut values = known.clone();
        values.contexts.insert("env".to_owned(), Value::Map(variables));
        Self { values, late }
    }

    /// Adds the variables of a step.
    pub(super) fn within(&self, env: &BTreeMap<String, Template>) -> Self {
        let mut values = self.values.clone();
        let mut late = self.late.clone();
        if let Some(Value::Map(variables)) = values.contexts.get_mut("env") {
            for (name, value) in env {
                match value.as_known() {
                    Some(value) => {
                        variables.insert(name.clone(), Value::from(value));
                        late.remove(name);
                    }
                    None => {
                        variables.remove(name);
                        late.insert(name.clone());
                    }
                }
            }
        }
        Self { values, late }
    }
}

impl Context for Fixed {
    fn context(&self, name: &str) -> Option<&Value> {
        self.values.context(name)
    }

    fn covers(&self, refers: &Refers) -> bool {
        let late = |name: &Option<String>| match name {
            Some(name) => self.late.contains(name),
            None => !self.late.is_empty(),
        };
        self.values.covers(refers) && !refers.contexts.iter().any(|(context, name)| context == "env" && late(name))
    }
}

pub(super) fn fill(text: &mut Template, known: &dyn Context) -> Result<(), EvalError> {
    if text.as_known().is_none() {
        *text = text.fill(known)?;
    }
    Ok(())
}

pub(super) fn fill_script(text: &mut Template, known: &dyn Context) -> Result<(), EvalError> {
    if text.as_known().is_none() {
        *text = text.fill_script(known)?;
    }
    Ok(())
}

pub(super) fn fill_env(
    env: &BTreeMap<String, Template>,
    known: &Values,
) -> Result<BTreeMap<String, Template>, EvalError> {
    env.iter().map(|(name, value)| Ok((name.clone(), value.fill(known)?))).collect()
}

pub(super) fn evaluate_flag(flag: &Flag, known: &dyn Context) -> Result<bool, EvalError> {
    match flag {
        Flag::Is(value) => Ok(*value),
        Flag::Expression(expression) => Ok(evaluate(expression, known)?.is_truthy()),
    }
}
