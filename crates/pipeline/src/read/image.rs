//! Reads `image` of a job, a step or a service.

use longshore_core::{ImageRef, Template, expression::Values};

use super::super::{
    code::Code,
    findings::Findings,
    model::Combination,
    scalar::filled,
    scope::{Names, Position},
    text,
    tree::{Kind, Node},
};

/// Reads an image's name, which has to be valid for every combination, as far as that can be known here.
pub(super) fn read(
    node: &Node,
    position: Position,
    names: &Names,
    combinations: &[Combination],
    findings: &mut Findings<'_>,
) -> Option<Template> {
    if matches!(node.kind, Kind::Map(_)) {
        findings.error(
            Code::WrongType,
            node.place,
            "`image` must be a string, but this is a mapping",
            "write just the name: `image: debian:12`".to_owned(),
        );
        return None;
    }
    let text = filled(node, "`image`", findings)?;
    let template = text::read(text, node.place, position, names, findings)?;
    let help = "write it like `debian:12` or `registry.example/team/tool:1`";
    if let Some(known) = template.as_known() {
        return match ImageRef::parse(known) {
            Ok(_) => Some(template),
            Err(bad) => {
                findings.error(Code::BadImage, node.place, bad.to_string(), help.to_owned());
                None
            }
        };
    }
    for combination in combinations {
        let values = Values { contexts: [("matrix".to_owned(), combination.value())].into(), progress: None };
        let Ok(name) = template.evaluate(&values) else { break };
        if let Err(bad) = ImageRef::parse(&name) {
            let message = format!("the image for the combination{} would be `{name}`: {bad}", combination.suffix());
            findings.error(Code::BadImage, node.place, message, help.to_owned());
            return None;
        }
    }
    Some(template)
}
