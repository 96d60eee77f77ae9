//! What stands between `${{` and `}}`. Only `matrix.<name>` has a meaning yet; everything else that the language will
//! have is refused by its name, and what it will never have is refused as unknown.

use super::{
    code::Code,
    suggest::{did_you_mean, listed},
};

/// An expression that can be evaluated when a job is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expression {
    /// `matrix.rust`, `matrix['rust']`.
    Matrix { key: String, at: usize, length: usize },
}

/// Why an expression is none, with the bytes of it that are at fault.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) code: Code,
    pub(super) at: usize,
    pub(super) length: usize,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// Contexts of the language.
const CONTEXTS: &[&str] = &["event", "repo", "build", "matrix", "needs", "steps", "inputs", "env", "secrets"];

/// Functions of the language.
const FUNCTIONS: &[&str] = &[
    "contains",
    "starts-with",
    "ends-with",
    "format",
    "join",
    "to-json",
    "from-json",
    "hash-files",
    "success",
    "failure",
    "always",
    "cancelled",
];

/// Values that a step finds in its environment, until expressions reach them.
const VARIABLES: &[(&str, &str)] = &[
    ("event.branch", "CI_COMMIT_BRANCH"),
    ("event.tag", "CI_COMMIT_TAG"),
    ("event.ref", "CI_COMMIT_REF"),
    ("event.sha", "CI_COMMIT_SHA"),
    ("event.commit", "CI_COMMIT_SHA"),
    ("event.message", "CI_COMMIT_MESSAGE"),
    ("event.title", "CI_COMMIT_MESSAGE"),
    ("event.author", "CI_COMMIT_AUTHOR"),
    ("event.name", "CI_PIPELINE_EVENT"),
    ("repo.name", "CI_REPO"),
    ("repo.default-branch", "CI_REPO_DEFAULT_BRANCH"),
    ("build.number", "CI_PIPELINE_NUMBER"),
    ("github.ref_name", "CI_COMMIT_BRANCH"),
    ("github.head_ref", "CI_COMMIT_BRANCH"),
    ("github.ref", "CI_COMMIT_REF"),
    ("github.sha", "CI_COMMIT_SHA"),
    ("github.actor", "CI_COMMIT_AUTHOR"),
    ("github.event_name", "CI_PIPELINE_EVENT"),
    ("github.repository", "CI_REPO"),
    ("github.run_number", "CI_PIPELINE_NUMBER"),
    ("github.workspace", "CI_WORKSPACE"),
];

/// Reads the text between the braces.
pub(super) fn parse(text: &str) -> Result<Expression, Refused> {
    let at = text.len() - text.trim_start().len();
    let body = text.trim();
    let whole = |code, message: String, help: Option<String>| Refused { code, at, length: body.len(), message, help };
    if body.is_empty() {
        return Err(Refused {
            code: Code::BadExpression,
            at: 0,
            length: text.len(),
            message: "nothing stands between the braces".to_owned(),
            help: Some("write `${{ matrix.name }}`".to_owned()),
        });
    }
    let word = word_of(body);
    let rest = body[word.len()..].trim_start();
    if word.is_empty() || word.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(whole(
            Code::ExpressionNotSupported,
            "of expressions only `matrix.<name>` is supported yet".to_owned(),
            None,
        ));
    }
    let first = |code, message: String, help: Option<String>| Refused { code, at, length: word.len(), message, help };
    if rest.starts_with('(') {
        return Err(if FUNCTIONS.contains(&word) {
            let message = format!("the function `{word}` is not supported yet");
            first(Code::ExpressionNotSupported, message, None)
        } else {
            let help = did_you_mean(word, FUNCTIONS.iter().copied())
                .or_else(|| Some(format!("the language has {}", listed(FUNCTIONS.iter().copied()))));
            first(Code::UnknownInExpression, format!("there is no function `{word}`"), help)
        });
    }
    if word == "matrix" {
        return matrix(body, at);
    }
    if CONTEXTS.contains(&word) {
        let message = format!("expressions over `{word}` are not supported yet");
        return Err(first(Code::ExpressionNotSupported, message, variable(body)));
    }
    if matches!(word, "true" | "false" | "null") {
        let message = "of expressions only `matrix.<name>` is supported yet".to_owned();
        return Err(whole(Code::ExpressionNotSupported, message, None));
    }
    let help = variable(body)
        .or_else(|| did_you_mean(word, CONTEXTS.iter().copied()))
        .or_else(|| Some(format!("the language has {}", listed(CONTEXTS.iter().copied()))));
    Err(first(Code::UnknownInExpression, format!("there is no context `{word}`"), help))
}

fn matrix(body: &str, at: usize) -> Result<Expression, Refused> {
    let rest = &body["matrix".len()..];
    let trimmed = rest.trim_start();
    let offset = body.len() - trimmed.len();
    let (key, key_at, taken) = if let Some(tail) = trimmed.strip_prefix('.') {
        let key = word_of(tail);
        (key, offset + 1, offset + 1 + key.len())
    } else if let Some((key, length)) = quoted_index(trimmed) {
        (key, offset + 2, offset + length)
    } else {
        ("", offset, offset)
    };
    if key.is_empty() {
        return Err(Refused {
            code: Code::BadExpression,
            at,
            length: body.len(),
            message: "`matrix` is followed by the name of one of its values".to_owned(),
            help: Some("write `matrix.name`".to_owned()),
        });
    }
    if !body[taken..].trim().is_empty() {
        return Err(Refused {
            code: Code::ExpressionNotSupported,
            at,
            length: body.len(),
            message: "of expressions only `matrix.<name>` is supported yet".to_owned(),
            help: None,
        });
    }
    Ok(Expression::Matrix { key: key.to_owned(), at: at + key_at, length: key.len() })
}

/// `['name']`: the name, and the bytes that it all takes.
fn quoted_index(text: &str) -> Option<(&str, usize)> {
    let inner = text.strip_prefix("['")?;
    let end = inner.find("']")?;
    Some((&inner[..end], end + 4))
}

fn word_of(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')).unwrap_or(text.len());
    &text[..end]
}

/// Which environment variable has the value that is asked for.
fn variable(body: &str) -> Option<String> {
    let path_end = body.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))).unwrap_or(body.len());
    let path = &body[..path_end];
    if let Some(name) = path.strip_prefix("env.").filter(|name| !name.is_empty()) {
        return Some(format!("use the environment variable ${name}"));
    }
    if path.starts_with("secrets.") {
        return None;
    }
    let known = VARIABLES
        .iter()
        .filter(|(name, _)| path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.'])))
        .max_by_key(|(name, _)| name.len());
    known.map(|(_, variable)| format!("use the environment variable ${variable}")).or_else(|| {
        matches!(word_of(body), "event" | "repo" | "build" | "github")
            .then(|| "use one of the CI_* environment variables; docs/pipeline.md lists them".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrix_values_are_named_in_two_ways() {
        for (text, at) in [(" matrix.rust ", 8), ("matrix['rust']", 8), ("matrix . rust", 8)] {
            let parsed = parse(text);
            match text {
                "matrix . rust" => assert!(parsed.is_err(), "{parsed:?}"),
                _ => assert_eq!(parsed, Ok(Expression::Matrix { key: "rust".to_owned(), at, length: 4 })),
            }
        }
    }

    #[test]
    fn what_is_not_built_is_refused_by_its_name() {
        for (text, code, word) in [
            (" event.branch", Code::ExpressionNotSupported, "event"),
            ("secrets.X", Code::ExpressionNotSupported, "secrets"),
            ("format('{0}', 1)", Code::ExpressionNotSupported, "format"),
            ("formt('{0}', 1)", Code::UnknownInExpression, "formt"),
            ("githb.ref", Code::UnknownInExpression, "githb"),
        ] {
            let Err(refused) = parse(text) else { panic!("{text} was taken") };
            assert_eq!((refused.code, &text[refused.at..refused.at + refused.length]), (code, word));
        }
        for text in ["'a' == 'b'", "matrix.a == 'b'", "1", "true", "matrix.a.b", "!matrix.x"] {
            let Err(refused) = parse(text) else { panic!("{text} was taken") };
            assert_eq!(
                (refused.code, &text[refused.at..refused.at + refused.length]),
                (Code::ExpressionNotSupported, text)
            );
        }
    }
}
