//! Reads texts with `${{ }}` in them and `if` conditions, and checks their expressions.

use longshore_core::{
    Template,
    expression::{Expression, ParseError, Problem, ProblemKind, Type, check},
    template::Part,
};

use super::{
    changes,
    code::Code,
    filter::Patterns,
    findings::Findings,
    scalar::filled,
    scope::{Becomes, FOREIGN, Names, Position, Taint, is_written_by_outsiders, variable},
    source::Place,
    suggest::{did_you_mean, listed},
    tree::Node,
};

/// Reads `text`, which is at `place` in the file and may differ from what is written there by escapes and folding.
pub(super) fn read(
    text: &str,
    place: Place,
    position: Position,
    names: &Names,
    findings: &mut Findings<'_>,
) -> Option<Template> {
    if !text.contains("${{") {
        return Some(Template::from(text));
    }
    let places = Places::new(text, place, findings);
    let mut parts = Vec::new();
    let mut valid = true;
    let mut rest = text;
    let mut nth = 0;
    while let Some(open) = rest.find("${{") {
        parts.push(Part::Text(rest[..open].to_owned()));
        let Some(length) = expression_end(&rest[open + 3..]) else {
            findings.error(
                Code::BadExpression,
                places.locate(nth, "${{", 0, 3),
                "unclosed expression",
                "close it with `}}`".to_owned(),
            );
            return None;
        };
        let written = &rest[open..open + 3 + length + 2];
        let locate = |from: usize, to: usize| places.locate(nth, written, 3 + from, to.saturating_sub(from).max(1));
        match expression(&written[3..3 + length], &locate, place, position, names, findings) {
            Some((expression, ty)) => {
                if !ty.fits_text() {
                    findings.error(
                        Code::TypesDoNotFit,
                        locate(0, length),
                        format!("this is {}, but a string is expected", ty.describe()),
                        "write `to-json(...)` for all of it, `join(list, ', ')` for a list, or name one value of it"
                            .to_owned(),
                    );
                    valid = false;
                }
                parts.push(Part::Expression(expression));
            }
            None => valid = false,
        }
        nth += 1;
        rest = &rest[open + written.len()..];
    }
    parts.push(Part::Text(rest.to_owned()));
    valid.then(|| Template::new(parts))
}

/// Reads an `if`, with or without `${{ }}` around it.
pub(super) fn condition(
    node: &Node,
    position: Position,
    names: &Names,
    findings: &mut Findings<'_>,
) -> Option<Expression> {
    // YAML reads `if: true` as a boolean; it is a condition like any other.
    let text = filled(node, "`if`", findings)?;
    let trimmed = text.trim();
    let inner = match trimmed.strip_prefix("${{").map(|rest| (rest, expression_end(rest))) {
        Some((rest, Some(end))) if end + 2 == rest.len() => rest[..end].trim(),
        Some((_, None)) => {
            let help = "write the condition without `${{` and `}}`: `if: failure()`";
            findings.error(Code::BadExpression, node.place, "unclosed expression", help.to_owned());
            return None;
        }
        _ if trimmed.contains("${{") => {
            findings.error(
                Code::BadCondition,
                node.place,
                "`if` must be a single expression, but only part of it is inside `${{ }}`: such a string is always true",
                "write it as one expression: `if: event.branch == 'main'`".to_owned(),
            );
            return None;
        }
        _ => trimmed,
    };
    let written = findings.written(node.place);
    let start = written.find(inner).map(|at| node.place.start + at);
    let locate = |from: usize, to: usize| match start {
        Some(start) if !inner.contains('\n') => node.place.at(start + from, start + to.max(from + 1)),
        _ => node.place,
    };
    Some(expression(inner, &locate, node.place, position, names, findings)?.0)
}

/// `true`, `false`, or an expression that becomes one of them when the build is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Flag {
    Is(bool),
    Expression(Expression),
}

/// Reads a boolean that may be an expression.
pub(super) fn flag(node: &Node, what: &str, names: &Names, findings: &mut Findings<'_>) -> Option<Flag> {
    if let super::tree::Kind::Scalar(scalar) = &node.kind
        && let Some(inner) = scalar.text.trim().strip_prefix("${{").and_then(|rest| rest.strip_suffix("}}"))
    {
        let start = findings.written(node.place).find(inner).map(|at| node.place.start + at);
        let locate = |from: usize, to: usize| match start {
            Some(start) if !inner.contains('\n') => node.place.at(start + from, start + to.max(from + 1)),
            _ => node.place,
        };
        let (expression, ty) = expression(inner, &locate, node.place, Position::Planned, names, findings)?;
        if !matches!(ty, Type::Bool | Type::Any) {
            let message = format!("{what} must be `true` or `false`, but this is {}", ty.describe());
            let help = "compare it: `${{ matrix.experimental == 'true' }}`";
            findings.error(Code::TypesDoNotFit, node.place, message, help.to_owned());
            return None;
        }
        return Some(Flag::Expression(expression));
    }
    super::scalar::boolean(node, what, findings).map(Flag::Is)
}

/// Parses and checks the source between the braces. `locate` turns byte offsets in it into a place in the file.
fn expression(
    source: &str,
    locate: &dyn Fn(usize, usize) -> Place,
    whole: Place,
    position: Position,
    names: &Names,
    findings: &mut Findings<'_>,
) -> Option<(Expression, Type)> {
    let (all, before) = (source.len(), source.len() - source.trim_start().len());
    let source = source.trim();
    let locate: &dyn Fn(usize, usize) -> Place = &|from, to| match source.is_empty() {
        true => locate(0, all),
        false => locate(before + from, before + to),
    };
    let expression = match Expression::parse(source) {
        Ok(expression) => expression,
        Err(error) => {
            refuse(&error, locate, findings);
            return None;
        }
    };
    let scope = names.scope(position, whole.file == 0);
    let checked = check(&expression, &scope);
    let mut valid = checked.problems.is_empty();
    for problem in &checked.problems {
        match source[problem.at.start..].strip_prefix("secrets") {
            Some(rest) if position.becomes().is_some() && problem.kind == ProblemKind::NotHere => {
                let name: String =
                    rest.chars().skip(1).take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                let name = if name.is_empty() { "NAME" } else { &name };
                findings.error(
                    Code::SecretInScript,
                    locate(problem.at.start, problem.at.end),
                    "a secret cannot be put into a script",
                    format!("write `secrets: [{name}]` in the job, and use the environment variable \"${name}\""),
                );
            }
            _ => report(problem, source, position, names, locate, findings),
        }
    }
    for (pattern, at) in &checked.patterns {
        if let Err((message, help)) = changes::add(&mut Patterns::new(), pattern) {
            findings.error(Code::BadGlob, locate(at.start, at.end), message, help);
            valid = false;
        }
    }
    if let Some(becomes) = position.becomes() {
        for carried in &checked.carries {
            let path = carried.path.join(".");
            let Some(taint) = names.taint_at(&carried.path) else { continue };
            if taint == Taint::Secret && path.starts_with("secrets") {
                // Already refused: secrets cannot be used where scripts are written.
                continue;
            }
            if taint == Taint::Elsewhere && !checked.problems.is_empty() {
                // Already reported; its taint is checked once it is right.
                continue;
            }
            valid = false;
            let place = locate(carried.at.start, carried.at.end);
            let (code, message) = refusal(taint, &path, becomes);
            let whole = carried.at == (0..source.len());
            findings.error(code, place, message, remedy(source, &path, whole, becomes, names));
        }
    }
    valid.then_some((expression, checked.ty))
}

/// Returns why a value cannot be put where it would become part of a script.
fn refusal(taint: Taint, path: &str, becomes: Becomes) -> (Code, String) {
    let into = match becomes {
        Becomes::Script => "a script",
        Becomes::Argument => "what a program is called with",
        Becomes::Image => "the name of an image",
    };
    match taint {
        Taint::Secret => (Code::SecretInScript, format!("`{path}` contains a secret, which cannot be put into {into}")),
        Taint::Outsider => {
            let verb = if is_written_by_outsiders(path) { "is written by" } else { "holds what was written by" };
            let message =
                format!("`{path}` {verb} whoever pushes or opens a pull request, and cannot be put into {into}");
            (Code::OutsiderInScript, message)
        }
        Taint::Elsewhere => {
            let whose = match path.split('.').next() {
                Some("inputs") => "is free text of whoever starts the build",
                Some("steps" | "needs") => "is what a program puts out",
                _ => "is not written in the pipeline's file",
            };
            (Code::ForeignInScript, format!("`{path}` {whose}, and cannot be put into {into}"))
        }
    }
}

/// Returns the lines to write instead of `${{ source }}`. `whole` says that the value at `path` is all of the
/// expression and not a part.
fn remedy(source: &str, path: &str, whole: bool, becomes: Becomes, names: &Names) -> String {
    let known = variable(path).filter(|_| whole);
    match (becomes, known) {
        (Becomes::Image, _) => {
            "name the images in the file: with a `matrix`, an input of the type `choice`, or `inputs.new && 'tool:2' || 'tool:1'`"
                .to_owned()
        }
        (Becomes::Script, Some(variable)) => format!("use the environment variable \"${variable}\", in double quotes"),
        (Becomes::Argument, Some(variable)) => {
            format!("write `run`, and use the environment variable \"${variable}\" there, in double quotes")
        }
        (Becomes::Script | Becomes::Argument, None) => {
            let variable = names.free_variable(path);
            let value = match path.contains('.') || !whole {
                true => source.replace('\'', "''"),
                false => format!("to-json({path})"),
            };
            let run = if becomes == Becomes::Script { "the script" } else { "`run`" };
            format!(
                "pass it through the environment: `env: {{ {variable}: '${{{{ {value} }}}}' }}`, and write \"${variable}\" in {run}"
            )
        }
    }
}

fn refuse(error: &ParseError, locate: &dyn Fn(usize, usize) -> Place, findings: &mut Findings<'_>) {
    let place = locate(error.at.start, error.at.end);
    match &error.unknown {
        Some((word, known)) => {
            let lower = word.replace('_', "-").to_lowercase();
            let camel: String = word
                .chars()
                .flat_map(|c| if c.is_ascii_uppercase() { vec!['-', c.to_ascii_lowercase()] } else { vec![c] })
                .collect();
            let help = [lower, camel]
                .iter()
                .find(|candidate| known.contains(&candidate.as_str()))
                .map(|found| format!("did you mean `{found}`?"))
                .or_else(|| did_you_mean(word, known.iter().copied()))
                .or_else(|| Some(format!("the language has {}", listed(known.iter().copied()))));
            findings.error(Code::UnknownInExpression, place, error.message.clone(), help);
        }
        None => findings.error(Code::BadExpression, place, error.message.clone(), error.help.clone()),
    }
}

fn report(
    problem: &Problem,
    source: &str,
    position: Position,
    names: &Names,
    locate: &dyn Fn(usize, usize) -> Place,
    findings: &mut Findings<'_>,
) {
    let place = locate(problem.at.start, problem.at.end);
    match &problem.kind {
        ProblemKind::Unknown { of, word, known } => {
            let known = || known.iter().map(String::as_str);
            let near = foreign_name(&source[problem.at.start..])
                .or_else(|| did_you_mean(word, known()).filter(|_| !names.is_known_elsewhere(of, word)));
            let has = (1..=20).contains(&known().count()).then(|| format!("it has {}", listed(known())));
            // A word with nothing behind it may be meant as a text.
            let is_bare = of.is_empty() && !source[problem.at.end..].trim_start().starts_with(['.', '[']);
            let help = match (near, has, names.remedy(of, word, position)) {
                (None, ..) if is_bare => Some(format!("quote it if it is a string: `'{word}'`")),
                (Some(near), ..) if is_bare => Some(format!("{near} Quote it if it is a string: `'{word}'`")),
                (Some(near), ..) => Some(near),
                (None, Some(has), Some(remedy)) => Some(format!("{has}; {remedy}")),
                (None, has, remedy) => remedy.or(has),
            };
            findings.error(Code::UnknownInExpression, place, problem.message.clone(), help);
        }
        ProblemKind::NotHere => {
            findings.error(Code::NotKnownHere, place, problem.message.clone(), problem.help.clone());
        }
        ProblemKind::WrongType => {
            findings.error(Code::TypesDoNotFit, place, problem.message.clone(), problem.help.clone());
        }
    }
}

/// Returns the name here for a path of another system.
fn foreign_name(rest: &str) -> Option<String> {
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))).unwrap_or(rest.len());
    let path = &rest[..end];
    let known = FOREIGN
        .iter()
        .filter(|(name, _)| path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
        .max_by_key(|(name, _)| name.len());
    match known {
        Some((_, ours)) => Some(format!("did you mean `{ours}`?")),
        None if path.starts_with("github") || path.starts_with("gitlab") => {
            Some("`event`, `repo` and `build` describe the change".to_owned())
        }
        None => None,
    }
}

/// Splits a text into its parts, unchecked; `None` if it cannot be parsed or has no expressions.
pub(super) fn parse_parts(text: &str) -> Option<Template> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find("${{") {
        let inner = &rest[open + 3..];
        let end = expression_end(inner)?;
        parts.push(Part::Expression(Expression::parse(inner[..end].trim()).ok()?));
        rest = &inner[end + 2..];
    }
    (!parts.is_empty()).then(|| Template::new(parts))
}

/// Finds the `}}` that ends an expression, skipping its quoted texts.
fn expression_end(rest: &str) -> Option<usize> {
    let mut quote = None;
    let bytes = rest.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match (quote, byte) {
            (Some(open), byte) if *byte == open => quote = None,
            (Some(_), _) => {}
            (None, b'\'' | b'"') => quote = Some(*byte),
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            (None, _) => {}
        }
    }
    // A quote that is never closed; the parser reports it.
    rest.find("}}")
}

/// Finds the expressions of a text in the file, where escapes and folding may have moved them.
struct Places {
    whole: Place,
    /// The offset of each `${{` in the file, if there are as many as in the text.
    opens: Vec<usize>,
}

impl Places {
    fn new(text: &str, whole: Place, findings: &Findings<'_>) -> Self {
        let written = findings.written(whole);
        let opens: Vec<usize> = written.match_indices("${{").map(|(at, _)| whole.start + at).collect();
        let opens = if opens.len() == text.matches("${{").count() { opens } else { Vec::new() };
        Self { whole, opens }
    }

    /// Returns the place of `length` bytes from `at` within the `nth` expression, whose source is `written`. Returns
    /// the place of the whole text if the file writes the expression differently.
    fn locate(&self, nth: usize, written: &str, at: usize, length: usize) -> Place {
        match self.opens.get(nth) {
            Some(open) if !written.contains('\n') => self.whole.at(open + at, open + at + length),
            _ => self.whole,
        }
    }
}
