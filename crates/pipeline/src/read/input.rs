//! Reads `inputs`: what a manual start or a template takes.

use longshore_core::expression::Value;

use super::super::{
    code::Code,
    fields::Fields,
    findings::Findings,
    input::{Input, InputKind},
    keys,
    scalar::{boolean, check_name, filled, items, text},
    tree::{Entry, Kind, Node},
};
use super::on::word;

/// Limit for the inputs of one pipeline or template.
const MAX_INPUTS: usize = 50;
/// Limit for the options of one choice.
const MAX_OPTIONS: usize = 100;

pub(super) fn read_all(entries: &[Entry], findings: &mut Findings<'_>) -> Option<Vec<Input>> {
    if let Some(beyond) = entries.get(MAX_INPUTS) {
        let message = format!("{} inputs, more than the limit of {MAX_INPUTS}", entries.len());
        findings.error(Code::BadInput, beyond.key_place, message, None);
        return None;
    }
    let read: Vec<Option<Input>> = entries.iter().map(|entry| read_input(entry, findings)).collect();
    read.into_iter().collect()
}

fn read_input(entry: &Entry, findings: &mut Findings<'_>) -> Option<Input> {
    let named = check_name(&entry.key, entry.key_place, "an input's name", findings);
    if entry.value.is_null() {
        // An input with a name and nothing else is a text.
        let name = entry.key.clone();
        return named.then_some(Input {
            name,
            kind: InputKind::String,
            required: false,
            default: None,
            description: None,
        });
    }
    let fields = Fields::read(&entry.value, &keys::INPUT, findings)?;
    let required = match fields.get("required") {
        Some(node) => boolean(node, "`required`", findings),
        None => Some(false),
    };
    let description =
        fields.read_optional("description", |node| text(node, "`description`", findings).map(str::to_owned));
    let options = fields.read_optional("options", |node| options(node, findings));
    let kind = match fields.get("type") {
        Some(node) => word(node, "`type`", &["string", "number", "boolean", "choice"], findings),
        None if fields.get("options").is_some() => Some("choice".to_owned()),
        None => Some("string".to_owned()),
    };
    let (kind, options) = (kind?, options?);
    let kind = match (kind.as_str(), options) {
        ("choice", Some(options)) => InputKind::Choice(options),
        ("choice", None) => {
            let help = "write `options: [patch, minor]`";
            findings.error(Code::BadInput, entry.key_place, "a choice needs `options`", help.to_owned());
            return None;
        }
        (word, Some(_)) => {
            let place = fields.entry("options").map_or(entry.key_place, |entry| entry.key_place);
            let message = format!("only a choice needs `options`, and this is a {word}");
            findings.error(Code::BadInput, place, message, "write `type: choice`".to_owned());
            return None;
        }
        ("number", None) => InputKind::Number,
        ("boolean", None) => InputKind::Boolean,
        (_, None) => InputKind::String,
    };
    let mut input =
        Input { name: entry.key.clone(), kind, required: required?, default: None, description: description? };
    if let Some(node) = fields.get("default") {
        input.default = Some(value(node, "`default`", &input, findings)?);
    }
    named.then_some(input)
}

/// Reads a value for an input, as written in a file.
pub(super) fn value(node: &Node, what: &str, input: &Input, findings: &mut Findings<'_>) -> Option<Value> {
    let Kind::Scalar(scalar) = &node.kind else {
        let message = format!("{what} must be a single value, but this is {}", node.describe());
        findings.error(Code::WrongType, node.place, message, None);
        return None;
    };
    match input.take(&scalar.text) {
        Ok(value) => Some(value),
        Err(reason) => {
            findings.error(Code::BadInput, node.place, reason, None);
            None
        }
    }
}

fn options(node: &std::rc::Rc<Node>, findings: &mut Findings<'_>) -> Option<Vec<String>> {
    let items = items(node);
    if items.is_empty() || node.is_null() || items.len() > MAX_OPTIONS {
        let message = format!("a choice must have between 1 and {MAX_OPTIONS} options");
        findings.error(Code::BadInput, node.place, message, "write `options: [patch, minor]`".to_owned());
        return None;
    }
    let mut options: Vec<String> = Vec::new();
    let mut valid = true;
    for item in items {
        match filled(item, "an option", findings) {
            Some(option) if options.iter().any(|other| other == option) => {
                findings.error(Code::GivenTwice, item.place, format!("the option `{option}` is given twice"), None);
                valid = false;
            }
            Some(option) => options.push(option.to_owned()),
            None => valid = false,
        }
    }
    valid.then_some(options)
}
