//! Decides which values may become part of a script: only those from a closed set, which no outsider can choose freely.
//!
//! `pipeline` asks when it reads a file; it knows more about inputs, matrix and variables. The values of a frozen plan
//! are checked once more: when the server fills in an image, and when the agent fills in a script.

use super::{
    ast::Expression,
    check::{Scope, check},
};

/// Returns whether a value is from a closed set: one of a few words, a number or a commit's id. All other unknown
/// values of a plan are text that somebody else wrote: outputs, variables, secrets, texts of an event.
#[must_use]
pub fn is_closed(path: &[String]) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    matches!(
        path.as_slice(),
        ["event", "name" | "number" | "fork" | "sha" | "sha-short" | "before"]
            | ["build", "number" | "id"]
            | ["needs", _, "result"]
            | ["steps", _, "outcome" | "conclusion"]
    )
}

/// Returns the path of the first value that an expression of a frozen plan must not put into a script, such as
/// `steps.meta.outputs.version`.
#[must_use]
pub fn foreign(expression: &Expression) -> Option<String> {
    let carries = check(expression, &Scope::default()).carries;
    carries.into_iter().find(|carried| !is_closed(&carried.path)).map(|carried| carried.path.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(source: &str) -> Option<String> {
        foreign(&Expression::parse(source).unwrap())
    }

    #[test]
    fn words_numbers_and_ids_may_become_a_part_of_a_script() {
        for source in [
            "'literal'",
            "build.number",
            "needs.a.result",
            "needs['a'].result",
            "steps.s.outcome || steps.s.conclusion",
            "needs.a.outputs.v == '1' && 'one' || 'none'",
            "hash-files('Cargo.lock')",
            "format('{0}-{1}', event.sha-short, event.number)",
            "contains(event.title, 'x')",
            "!event.title",
            "event.title && 'x'",
        ] {
            assert_eq!(of(source), None, "{source}");
        }
    }

    #[test]
    fn what_somebody_else_wrote_may_not_whatever_is_made_of_it() {
        for (source, path) in [
            ("steps.s.outputs.v", "steps.s.outputs.v"),
            ("needs.a.outputs.v || 'x'", "needs.a.outputs.v"),
            ("'x' && event.title", "event.title"),
            ("format('{0}', join(from-json(steps.s.outputs.v)))", "steps.s.outputs.v"),
            ("to-json(needs)", "needs"),
            ("needs.a", "needs.a"),
            ("steps[env.X].outcome", "steps"),
            ("env.X", "env.X"),
            ("inputs.level", "inputs.level"),
            ("secrets.T", "secrets.T"),
            ("build.url", "build.url"),
            ("event.branch", "event.branch"),
            // Behind a call or an operator, keys name parts of a text, and not those of a context.
            ("from-json(format('{{\"a\":{{\"name\":{0}}}}}', to-json(event))).a.name", "event"),
            ("(event && event).a.name", "event"),
            ("(steps || needs).s.outcome", "steps"),
        ] {
            assert_eq!(of(source).as_deref(), Some(path), "{source}");
        }
    }
}
