//! Translates conditions of GitLab's `rules: if` and `only: variables`.

use super::super::{Language, condition, shell, variables};

/// The file around a condition.
pub(super) struct FileContext<'a> {
    /// The value of a variable that the file sets.
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
    /// Whether pull requests start the pipeline: then `event.branch` may be the target branch.
    pub(super) requests: bool,
    /// Whether a part that cannot be translated counts as one with which the job runs.
    pub(super) unknown_runs: bool,
}

/// A translated condition, and its variables that the file does not set, which count as not set.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) condition: String,
    pub(super) unset: Vec<String>,
}

/// Translates a condition. The error names the part that could not be translated.
pub(super) fn read(source: &str, around: &FileContext<'_>) -> Result<Read, String> {
    let tokens = tokens(source)?;
    let mut parser = Parser { tokens: &tokens, next: 0, around, unset: Vec::new(), depth: 0 };
    let condition = parser.or()?;
    match tokens.get(parser.next) {
        None => Ok(Read { condition, unset: parser.unset }),
        Some(token) => Err(format!("{token:?}")),
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Variable(String),
    Text(String),
    Regex(String, String),
    Null,
    Sign(&'static str),
}

const SIGNS: &[&str] = &["==", "!=", "=~", "!~", "&&", "||", "(", ")", "!"];

fn tokens(source: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = source.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '$' => {
                let bare = rest[1..].strip_prefix('{').unwrap_or(&rest[1..]);
                let end = bare.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(bare.len());
                if end == 0 {
                    return Err("a `$` without a name".to_owned());
                }
                tokens.push(Token::Variable(bare[..end].to_owned()));
                let braces = usize::from(rest[1..].starts_with('{'));
                (1 + 2 * braces + end).min(rest.len())
            }
            '"' | '\'' => {
                let end = rest[1..].find(first).ok_or("a text without an end")?;
                tokens.push(Token::Text(rest[1..=end].to_owned()));
                end + 2
            }
            '/' => {
                let mut escaped = false;
                let end = rest[1..].char_indices().find(|(_, c)| {
                    let found = *c == '/' && !escaped;
                    escaped = *c == '\\' && !escaped;
                    found
                });
                let end = end.ok_or("a pattern without an end")?.0;
                let flags: String = rest[end + 2..].chars().take_while(char::is_ascii_alphabetic).collect();
                let length = end + 2 + flags.len();
                tokens.push(Token::Regex(rest[1..=end].to_owned(), flags));
                length
            }
            _ if rest.starts_with("null") => {
                tokens.push(Token::Null);
                4
            }
            _ => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                Some(sign) => {
                    tokens.push(Token::Sign(sign));
                    sign.len()
                }
                None => return Err(rest.chars().take(20).collect()),
            },
        };
        rest = rest.get(length..).unwrap_or_default().trim_start();
    }
    Ok(tokens)
}

/// One side of a comparison.
enum Side {
    /// A Longshore expression, and the name of the variable that it replaces.
    Value(String, String),
    Text(String),
    Null,
}

struct Parser<'a> {
    tokens: &'a [Token],
    next: usize,
    around: &'a FileContext<'a>,
    unset: Vec<String>,
    depth: usize,
}

impl Parser<'_> {
    fn sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.tokens.get(self.next), Some(Token::Sign(found)) if *found == sign);
        self.next += usize::from(found);
        found
    }

    fn or(&mut self) -> Result<String, String> {
        let mut parts = vec![self.and()?];
        while self.sign("||") {
            parts.push(self.and()?);
        }
        Ok(condition::any(&parts).unwrap_or_default())
    }

    fn and(&mut self) -> Result<String, String> {
        let mut parts = vec![self.operand()?];
        while self.sign("&&") {
            parts.push(self.operand()?);
        }
        Ok(condition::all(&parts).unwrap_or_default())
    }

    fn operand(&mut self) -> Result<String, String> {
        self.depth += 1;
        if self.depth > 30 {
            return Err("too many parentheses".to_owned());
        }
        let found = self.comparison();
        self.depth -= 1;
        found
    }

    fn comparison(&mut self) -> Result<String, String> {
        if self.sign("!") {
            return Ok(condition::not(&self.operand()?));
        }
        if self.sign("(") {
            let inner = self.or()?;
            return if self.sign(")") { Ok(inner) } else { Err("a missing `)`".to_owned()) };
        }
        let left = self.side()?;
        for (sign, equal) in [("==", true), ("!=", false)] {
            if self.sign(sign) {
                let right = self.side()?;
                let same = self.same(&left, &right)?;
                return Ok(if equal { same } else { condition::not(&same) });
            }
        }
        for (sign, fits) in [("=~", true), ("!~", false)] {
            if self.sign(sign) {
                let Some(Token::Regex(pattern, flags)) = self.tokens.get(self.next) else {
                    return Err("a pattern that is a variable".to_owned());
                };
                self.next += 1;
                let matched = self.matches(&left, pattern, flags)?;
                return Ok(if fits { matched } else { condition::not(&matched) });
            }
        }
        Ok(match left {
            Side::Value(expression, name) => self.is_set(&expression, &name),
            Side::Text(text) => (!text.is_empty()).to_string(),
            Side::Null => "false".to_owned(),
        })
    }

    fn side(&mut self) -> Result<Side, String> {
        let token = self.tokens.get(self.next).ok_or("an end too early")?;
        self.next += 1;
        match token {
            Token::Text(text) if text.contains('$') => {
                let known = |name: &str, operation: &str| (self.around.variable)(name).filter(|_| operation.is_empty());
                shell::fill(text, true, &known).map(Side::Text)
            }
            Token::Text(text) => Ok(Side::Text(text.clone())),
            Token::Null => Ok(Side::Null),
            Token::Variable(name) => {
                if let Some(value) = (self.around.variable)(name) {
                    return Ok(Side::Text(value));
                }
                match (name.as_str(), variables::known(Language::GitLab, name)) {
                    ("CI_COMMIT_BRANCH", _) => Ok(Side::Value("event.branch".to_owned(), name.clone())),
                    ("CI_PIPELINE_SOURCE", _) => Ok(Side::Value("event.name".to_owned(), name.clone())),
                    // In GitLab this variable keeps a branch and its merge request from being built twice; here they
                    // are two events.
                    ("CI_OPEN_MERGE_REQUESTS", _) | (_, variables::Known::NotSet) => {
                        self.unset.push(name.clone());
                        Ok(Side::Null)
                    }
                    (_, variables::Known::Missing) => Err(format!("${name}")),
                    (_, variables::Known::Expression(_) | variables::Known::Given) => {
                        match variables::expression(Language::GitLab, name) {
                            Some(expression) => {
                                Ok(match expression.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
                                    Some(literal) => Side::Text(literal.to_owned()),
                                    None => Side::Value(expression.to_owned(), name.clone()),
                                })
                            }
                            None => Err(format!("${name}")),
                        }
                    }
                }
            }
            Token::Regex(..) | Token::Sign(_) => Err(format!("{token:?}")),
        }
    }

    fn is_set(&self, expression: &str, name: &str) -> String {
        match name {
            "CI_PIPELINE_SOURCE" => "true".to_owned(),
            "CI_COMMIT_TAG" => "event.name == 'tag'".to_owned(),
            name if name.starts_with("CI_MERGE_REQUEST_") => "event.name == 'pull-request'".to_owned(),
            _ => self.guard_branch(name, format!("{} != null", wrapped(expression))),
        }
    }

    /// GitLab does not set `CI_COMMIT_BRANCH` in a merge request pipeline; our `event.branch` is then the target
    /// branch.
    fn guard_branch(&self, name: &str, condition: String) -> String {
        match name == "CI_COMMIT_BRANCH" && self.around.requests {
            true => condition::all(&["event.name != 'pull-request'".to_owned(), condition]).unwrap_or_default(),
            false => condition,
        }
    }

    fn same(&self, left: &Side, right: &Side) -> Result<String, String> {
        Ok(match (left, right) {
            (Side::Value(_, source), Side::Text(text)) | (Side::Text(text), Side::Value(_, source))
                if source == "CI_PIPELINE_SOURCE" =>
            {
                event(text)
            }
            (Side::Value(value, name), Side::Text(text)) | (Side::Text(text), Side::Value(value, name)) => {
                if matches!(value.as_str(), "event.number" | "build.number") {
                    return Err(format!("${name}"));
                }
                // A variable that is not set is an empty text.
                match text.is_empty() {
                    true => condition::not(&self.is_set(value, name)),
                    false => self.guard_branch(name, format!("{} == {}", wrapped(value), condition::quote(text))),
                }
            }
            (Side::Value(value, name), Side::Null) | (Side::Null, Side::Value(value, name)) => {
                condition::not(&self.is_set(value, name))
            }
            (Side::Value(a, name), Side::Value(b, other)) => {
                let name = if other == "CI_COMMIT_BRANCH" { other } else { name };
                self.guard_branch(name, format!("{} == {}", wrapped(a), wrapped(b)))
            }
            (Side::Text(a), Side::Text(b)) => (a == b).to_string(),
            (Side::Text(text), Side::Null) | (Side::Null, Side::Text(text)) => text.is_empty().to_string(),
            (Side::Null, Side::Null) => "true".to_owned(),
        })
    }

    fn matches(&self, left: &Side, pattern: &str, flags: &str) -> Result<String, String> {
        let cannot = || format!("/{pattern}/{flags}");
        let pattern = &match flags {
            "" => pattern.to_owned(),
            "i" => format!("(?i){pattern}"),
            _ => return Err(cannot()),
        };
        let fits = |text: &str| condition::fits(text, pattern).ok_or_else(cannot);
        match left {
            Side::Null => Ok("false".to_owned()),
            Side::Text(text) => Ok(fits(text)?.to_string()),
            Side::Value(_, name) if name == "CI_PIPELINE_SOURCE" => {
                let mut events = Vec::new();
                for source in ["push", "merge_request_event", "schedule"] {
                    events.extend(fits(source)?.then(|| event(source)));
                }
                // A start by hand was one of two sources there.
                events.extend((fits("web")? && fits("api")?).then(|| event("web")));
                Ok(condition::any(&events).unwrap_or_else(|| "false".to_owned()))
            }
            Side::Value(value, name) => {
                let condition = condition::regex(&wrapped(value), pattern).ok_or_else(cannot)?;
                Ok(self.guard_branch(name, condition))
            }
        }
    }
}

fn wrapped(expression: &str) -> String {
    if expression.contains(' ') { format!("({expression})") } else { expression.to_owned() }
}

/// Translates a value of `CI_PIPELINE_SOURCE` to the name of an event.
pub(super) fn event(source: &str) -> String {
    match source {
        "push" | "pushes" => "event.name == 'push' || event.name == 'tag'".to_owned(),
        "merge_request_event" | "merge_requests" | "external_pull_request_event" | "external_pull_requests" => {
            "event.name == 'pull-request'".to_owned()
        }
        "schedule" | "schedules" => "event.name == 'schedule'".to_owned(),
        "web" | "api" => "event.name == 'manual'".to_owned(),
        _ => "false".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(source: &str, requests: bool) -> Result<String, String> {
        let variable = |name: &str| (name == "OWN").then(|| "yes".to_owned());
        read(source, &FileContext { variable: &variable, requests, unknown_runs: false }).map(|read| read.condition)
    }

    #[test]
    fn conditions_become_ours() {
        for (theirs, ours) in [
            ("$CI_COMMIT_TAG", "event.name == 'tag'"),
            ("$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH", "event.branch == repo.default-branch"),
            (
                "$CI_COMMIT_BRANCH == \"main\" || $CI_COMMIT_TAG =~ /^v/",
                "event.branch == 'main' || starts-with(event.tag, 'v')",
            ),
            ("$CI_COMMIT_TAG =~ /^v\\d+$/", "matches(event.tag, '^v\\d+$')"),
            ("$CI_COMMIT_TAG =~ /v\\d/i", "matches(event.tag, '(?i)v\\d')"),
            ("$CI_PIPELINE_SOURCE =~ /^(web|api)$/", "event.name == 'manual'"),
            ("$CI_PIPELINE_SOURCE =~ /web/", "false"),
            ("$CI_PIPELINE_SOURCE != 'schedule'", "event.name != 'schedule'"),
            ("$CI_PIPELINE_SOURCE != 'push'", "!(event.name == 'push' || event.name == 'tag')"),
            ("$OWN == 'yes' && $OTHER == null", "true"),
            ("$OTHER == 'x'", "false"),
            (
                "($CI_COMMIT_TAG || $CI_COMMIT_BRANCH) && $CI_COMMIT_REF_NAME !~ /wip/",
                "(event.name == 'tag' || event.branch != null) && !contains((event.source-branch || event.branch || event.tag), 'wip')",
            ),
        ] {
            assert_eq!(translated(theirs, false).as_deref(), Ok(ours), "{theirs}");
        }
        assert_eq!(
            translated("$CI_COMMIT_BRANCH == 'main'", true).as_deref(),
            Ok("event.name != 'pull-request' && event.branch == 'main'")
        );
        for theirs in [
            "$CI_COMMIT_TAG =~ /^(?!v)/",
            "$CI_COMMIT_TAG =~ /V/m",
            "$CI_COMMIT_REF_PROTECTED == 'true'",
            "$A =~ $B",
            "a",
            "$A ==",
            "(",
        ] {
            assert!(translated(theirs, false).is_err(), "{theirs}");
        }
    }
}
