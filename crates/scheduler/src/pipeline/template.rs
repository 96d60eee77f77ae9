//! Texts with `${{ }}` in them.

use super::{
    code::Code,
    expression::{self, Expression},
    findings::Findings,
    model::Combination,
    source::Place,
    suggest::{did_you_mean, listed},
};

/// A text, and what is put into it for each combination of the matrix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Matrix(String),
}

/// What a text may refer to where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scope<'a> {
    /// Within a job: the names of its matrix's values; empty without a matrix.
    Job { matrix: &'a [String] },
    /// Within a job whose matrix cannot be read: any name.
    BrokenMatrix,
    /// Outside of jobs.
    Outside,
}

impl Template {
    /// A text without expressions.
    pub(super) fn literal(text: &str) -> Self {
        Self { parts: vec![Part::Text(text.to_owned())] }
    }

    /// Reads `text`, which stands at `place` (and may differ from what is written there by escapes and folding).
    pub(super) fn read(text: &str, place: Place, scope: Scope<'_>, findings: &mut Findings<'_>) -> Option<Self> {
        if !text.contains("${{") {
            return Some(Self::literal(text));
        }
        let places = Places::new(text, place, findings);
        let mut parts = Vec::new();
        let mut sound = true;
        let mut rest = text;
        let mut nth = 0;
        while let Some(open) = rest.find("${{") {
            if open > 0 {
                parts.push(Part::Text(rest[..open].to_owned()));
            }
            let Some(length) = rest[open + 3..].find("}}") else {
                findings.error(
                    Code::BadExpression,
                    places.of(nth, "${{", 0, 3),
                    "this expression has no end",
                    "close it with `}}`".to_owned(),
                );
                return None;
            };
            let written = &rest[open..open + 3 + length + 2];
            match expression::parse(&written[3..3 + length]) {
                Ok(Expression::Matrix { key, at, length }) => {
                    let at = places.of(nth, written, 3 + at, length);
                    sound &= check_matrix(&key, at, scope, findings);
                    parts.push(Part::Matrix(key));
                }
                Err(refused) => {
                    let at = places.of(nth, written, 3 + refused.at, refused.length);
                    findings.error(refused.code, at, refused.message, refused.help);
                    sound = false;
                }
            }
            rest = &rest[open + written.len()..];
            nth += 1;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        sound.then_some(Self { parts })
    }

    /// Whether it is the same for every combination.
    pub(super) fn is_fixed(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// The text for one combination. A value that this combination does not have is empty.
    pub(super) fn render(&self, combination: &Combination) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Matrix(key) => out.push_str(combination.get(key).unwrap_or("")),
            }
        }
        out
    }

    /// The bytes that it has at most, whatever the combination.
    pub(super) fn size(&self, longest_value: usize) -> usize {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.len(),
                Part::Matrix(_) => longest_value,
            })
            .sum()
    }
}

fn check_matrix(key: &str, place: Place, scope: Scope<'_>, findings: &mut Findings<'_>) -> bool {
    let (message, help) = match scope {
        Scope::Outside => (
            "`matrix` is known only inside of a job that has one".to_owned(),
            Some("write the value at the job".to_owned()),
        ),
        Scope::BrokenMatrix => return true,
        Scope::Job { matrix: [] } => {
            ("this job has no `matrix`".to_owned(), Some(format!("give it one: `matrix: {{ {key}: [...] }}`")))
        }
        Scope::Job { matrix } if matrix.iter().any(|known| known == key) => return true,
        Scope::Job { matrix } => (
            format!("this job's matrix has no `{key}`"),
            did_you_mean(key, matrix.iter().map(String::as_str))
                .or_else(|| Some(format!("it has {}", listed(matrix.iter().map(String::as_str))))),
        ),
    };
    findings.error(Code::UnknownInExpression, place, message, help);
    false
}

/// Finds the expressions of a text again in the file, where escapes and folding may have moved them.
struct Places {
    whole: Place,
    /// Where each `${{` is written, if there are as many as in the text.
    opens: Vec<usize>,
}

impl Places {
    fn new(text: &str, whole: Place, findings: &Findings<'_>) -> Self {
        let written = findings.source.text.get(whole.start..whole.end).unwrap_or("");
        let opens: Vec<usize> = written.match_indices("${{").map(|(at, _)| whole.start + at).collect();
        let opens = if opens.len() == text.matches("${{").count() { opens } else { Vec::new() };
        Self { whole, opens }
    }

    /// The place of `length` bytes from `at` within the `nth` expression, which reads `written`; of the whole text
    /// if it is written in another way.
    fn of(&self, nth: usize, written: &str, at: usize, length: usize) -> Place {
        match self.opens.get(nth) {
            Some(open) if !written.contains('\n') => Place::new(open + at, open + at + length),
            _ => self.whole,
        }
    }
}
