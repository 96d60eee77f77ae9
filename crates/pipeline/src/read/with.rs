//! Reads `with` of a job: the inputs for its template.

use std::collections::BTreeMap;

use longshore_core::expression::Value;

use super::super::{
    code::Code,
    fields::mapping,
    findings::Findings,
    input::{Input, InputKind},
    model::InputValue,
    scope::{Names, Position, Taint},
    suggest::{did_you_mean, listed},
    text,
    tree::{Entry, Kind, Node},
};
use super::input;

/// Reads the inputs for a template. Every input has a value of its type, or none if it is optional. Adds to `tainted`
/// the free texts whose values must not get into a script.
pub(super) fn read(
    inputs: &[Input],
    given: Option<&Node>,
    job: &Entry,
    names: &Names,
    tainted: &mut Vec<(String, Taint)>,
    findings: &mut Findings<'_>,
) -> Option<BTreeMap<String, InputValue>> {
    let entries = match given {
        Some(node) => mapping(node, "`with`", findings)?,
        None => &[],
    };
    let mut valid = true;
    for entry in entries {
        if inputs.iter().all(|input| input.name != entry.key) {
            let known = || inputs.iter().map(|input| input.name.as_str());
            let help = did_you_mean(&entry.key, known()).or_else(|| Some(format!("it has {}", listed(known()))));
            let shown: String = entry.key.chars().take(60).collect();
            findings.error(Code::BadInput, entry.key_place, format!("unknown input `{shown}`"), help);
            valid = false;
        }
    }
    let mut values = BTreeMap::new();
    for input in inputs {
        let value = match (entries.iter().find(|entry| entry.key == input.name), &input.default) {
            (Some(entry), _) => match &entry.value.kind {
                Kind::Scalar(scalar) if scalar.text.contains("${{") => {
                    let template = text::read(&scalar.text, entry.value.place, Position::Planned, names, findings);
                    if input.kind == InputKind::String
                        && let Some(taint) = template.as_ref().and_then(|template| names.taint(template))
                    {
                        tainted.push((input.name.clone(), taint));
                    }
                    template.map(|template| InputValue::Text(template, input.clone()))
                }
                _ => input::value(&entry.value, &format!("`{}`", input.name), input, findings).map(InputValue::Known),
            },
            (None, Some(default)) => Some(InputValue::Known(default.clone())),
            (None, None) if input.required => {
                let message = format!("the template requires the input `{}`", input.name);
                let place = given.map_or(job.key_place, |node| node.place);
                findings.error(Code::BadInput, place, message, format!("write `with: {{ {}: ... }}`", input.name));
                None
            }
            (None, None) => Some(InputValue::Known(Value::Null)),
        };
        match value {
            Some(value) => {
                values.insert(input.name.clone(), value);
            }
            None => valid = false,
        }
    }
    valid.then_some(values)
}
