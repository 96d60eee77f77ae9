//! `if` of a step: when it runs, by what came before it in its job.

use longshore_core::expression::Expression;

use super::{code::Code, expression, findings::Findings, scalar::filled, source::Place, tree::Node};

/// Reads `success()`, `failure()` or `always()`, with or without `${{ }}`.
pub(super) fn read(node: &Node, findings: &mut Findings<'_>) -> Option<Option<Expression>> {
    let text = filled(node, "`if`", findings)?.trim();
    let inner = match text.strip_prefix("${{") {
        Some(rest) => match rest.strip_suffix("}}") {
            Some(inner) => inner.trim(),
            None => {
                findings.error(
                    Code::BadExpression,
                    node.place,
                    "this expression has no end",
                    "write the condition without `${{` and `}}`: `if: failure()`".to_owned(),
                );
                return None;
            }
        },
        None => text,
    };
    let compact: String = inner.chars().filter(|c| !c.is_whitespace()).collect();
    match compact.as_str() {
        "success()" => Some(None),
        condition @ ("failure()" | "always()") => Some(Expression::parse(condition).ok()),
        word @ ("success" | "failure" | "always") => {
            let help = format!("it is a function: write `{word}()`");
            findings.error(Code::BadCondition, node.place, format!("`{word}` is not a condition"), help);
            None
        }
        _ => {
            refuse(inner, node.place, findings);
            None
        }
    }
}

fn refuse(inner: &str, place: Place, findings: &mut Findings<'_>) {
    let help =
        "`if` may be `success()`, `failure()` or `always()`; test anything else in the script, with the CI_* variables";
    // An unknown name is better said than "not supported yet".
    match expression::parse(inner) {
        Err(refused) if refused.code == Code::UnknownInExpression => {
            let at = match findings.source.text.get(place.start..place.end).and_then(|written| written.find(inner)) {
                Some(begin) => {
                    let start = place.start + begin + refused.at;
                    Place::new(start, start + refused.length)
                }
                None => place,
            };
            findings.error(Code::UnknownInExpression, at, refused.message, refused.help);
        }
        Err(refused) if refused.code == Code::BadExpression => {
            findings.error(Code::BadCondition, place, "`if` has no condition", help.to_owned());
        }
        _ => findings.error(
            Code::ExpressionNotSupported,
            place,
            "conditions other than `success()`, `failure()` and `always()` are not supported yet",
            help.to_owned(),
        ),
    }
}
