//! Expressions of GitHub Actions whose parts mean something together: comparisons with events, refs, flags and nothing.

use super::{super::condition::quote, expression::Scope, tokens::Token};

impl Scope {
    /// Translates a sequence of tokens with a meaning of its own. Returns the expression and the number of tokens.
    pub(super) fn idiom(&self, tokens: &[Token]) -> Result<Option<(String, usize)>, String> {
        if let Some(translated) = result_of_needs(tokens)? {
            return Ok(Some(translated));
        }
        let operator = match tokens.get(1) {
            Some(Token::Sign(sign @ ("==" | "!="))) => *sign,
            _ => return Ok(self.cache_hit(tokens)),
        };
        let (Some(first), Some(second)) = (tokens.first(), tokens.get(2)) else { return Ok(None) };
        if let (Token::Text(_), Token::Path(_)) = (first, second) {
            // `'' == x` is `x == ''`.
            return self.idiom(&[second.clone(), tokens[1].clone(), first.clone()]);
        }
        Ok(self.comparison(first, operator, second)?.map(|expression| (expression, 3)))
    }

    /// Translates whether a cache was hit, which is not known here: it counts as missed.
    fn cache_hit(&self, tokens: &[Token]) -> Option<(String, usize)> {
        let hit = |at: usize| matches!(tokens.get(at), Some(Token::Path(path)) if self.is_cache_hit(path));
        match tokens.first() {
            Some(Token::Sign("!")) if hit(1) => Some(("true".to_owned(), 2)),
            _ if hit(0) && tokens.len() > 1 => Some(("false".to_owned(), 1)),
            _ => None,
        }
    }

    /// Translates a comparison whose sides mean something together; `None` for any other.
    fn comparison(&self, first: &Token, operator: &str, second: &Token) -> Result<Option<String>, String> {
        let same = operator == "==";
        let joined = |token: &Token| match token {
            Token::Path(path) => path.join("."),
            _ => String::new(),
        };
        let left = joined(first);
        if let (Token::Path(parts), Token::Text(text)) = (first, second) {
            if self.is_cache_hit(parts) {
                return Ok(Some(((text == "true") != same).to_string()));
            }
            if left == "runner.os" {
                return Ok(Some(((text == "Linux") == same).to_string()));
            }
            // Here, a missing value is null, which never equals a text.
            if text.is_empty() {
                let value = self.path(parts)?;
                return Ok(Some(format!("{}{value}", if same { "!" } else { "!!" })));
            }
        }
        let pair = [left.as_str(), &joined(second)];
        if pair.contains(&"github.event.pull_request.head.repo.full_name") && pair.contains(&"github.repository") {
            let condition = match same {
                true => "(event.name == 'pull-request' && !event.fork)",
                false => "(event.name != 'pull-request' || event.fork)",
            };
            return Ok(Some(condition.to_owned()));
        }
        let left = match first {
            Token::Path(parts) if parts.len() == 3 && parts[0] == "matrix" => self.path(parts)?,
            _ => left,
        };
        Ok(event_comparison(&left, operator, second).or_else(|| self.value_comparison(&left, operator, second)))
    }

    /// Translates the comparison of a value of the matrix, a step or an input with a boolean or a number.
    fn value_comparison(&self, left: &str, operator: &str, right: &Token) -> Option<String> {
        match right {
            Token::Path(word) if left.starts_with("matrix.") => match (word.as_slice(), operator) {
                // A missing value counts as false there.
                ([word], "==") if word == "false" => Some(format!("(!{left} || {left} == 'false')")),
                ([word], _) if word == "false" => Some(format!("({left} && {left} != 'false')")),
                ([word], operator) if word == "true" => Some(format!("{left} {operator} '{word}'")),
                _ => None,
            },
            Token::Number(number) if left.starts_with("matrix.") || left.starts_with("steps.") => {
                Some(format!("{left} {operator} '{number}'"))
            }
            Token::Text(word) if word == "true" || word == "false" => {
                let input = left.strip_prefix("github.event.inputs.").or_else(|| left.strip_prefix("inputs."))?;
                self.booleans.contains(input).then(|| format!("inputs.{input} {operator} {word}"))
            }
            _ => None,
        }
    }

    pub(super) fn is_cache_hit(&self, path: &[String]) -> bool {
        matches!(path, [context, id, outputs, hit]
            if context == "steps" && outputs == "outputs" && hit == "cache-hit" && self.caches.contains(id))
    }
}

/// Translates `contains(needs.*.result, 'failure')` and the like.
fn result_of_needs(tokens: &[Token]) -> Result<Option<(String, usize)>, String> {
    let [Token::Path(function), _, Token::Path(results), Token::Sign(","), result, Token::Sign(")"), ..] = tokens
    else {
        return Ok(None);
    };
    if !function.join(".").eq_ignore_ascii_case("contains") || results.join(".") != "needs.*.result" {
        return Ok(None);
    }
    match result {
        Token::Text(result) if result == "failure" => Ok(Some(("failure()".to_owned(), 6))),
        Token::Text(result) if result == "cancelled" => Ok(Some(("cancelled()".to_owned(), 6))),
        _ => Err("needs.*.result".to_owned()),
    }
}

/// Translates the comparison of a fact of the event with a text.
fn event_comparison(left: &str, operator: &str, right: &Token) -> Option<String> {
    let Token::Text(text) = right else { return None };
    let same = operator == "==";
    match left {
        "github.event_name" => {
            let event = match text.as_str() {
                "push" if same => return Some("(event.name == 'push' || event.name == 'tag')".to_owned()),
                "push" => return Some("(event.name != 'push' && event.name != 'tag')".to_owned()),
                "pull_request" | "pull_request_target" => "pull-request",
                "workflow_dispatch" => "manual",
                "merge_group" => "merge-group",
                name => name,
            };
            Some(format!("event.name {operator} {}", quote(event)))
        }
        "github.event.action" => Some(format!("event.action {operator} {}", quote(&text.replace('_', "-")))),
        "github.ref_name" => {
            let refs =
                ["heads", "tags"].map(|kind| format!("event.ref {operator} {}", quote(&format!("refs/{kind}/{text}"))));
            Some(format!("({})", refs.join(if same { " || " } else { " && " })))
        }
        "github.ref_type" => {
            let operator = if (text == "tag") == same { "==" } else { "!=" };
            Some(format!("event.name {operator} 'tag'"))
        }
        _ => None,
    }
}
