//! Expressions of GitHub Actions whose parts mean something together: comparisons with events, refs, flags and nothing.

use super::{super::condition::quote, expression::Scope, tokens::Token};

impl Scope {
    /// Translates a sequence of tokens with a meaning of its own. Returns the expression and the number of tokens.
    pub(super) fn idiom(&self, tokens: &[Token]) -> Result<Option<(String, usize)>, String> {
        let path = |at: usize| match tokens.get(at) {
            Some(Token::Path(path)) => path.join("."),
            _ => String::new(),
        };
        let sign = |at: usize| match tokens.get(at) {
            Some(Token::Sign(sign)) => *sign,
            _ => "",
        };
        let text = |at: usize| match tokens.get(at) {
            Some(Token::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        let equal = |sign: &str| match sign {
            "==" => Some(true),
            "!=" => Some(false),
            _ => None,
        };
        if path(0).eq_ignore_ascii_case("contains") && path(2) == "needs.*.result" && sign(3) == "," && sign(5) == ")" {
            return match text(4) {
                Some("failure") => Ok(Some(("failure()".to_owned(), 6))),
                Some("cancelled") => Ok(Some(("cancelled()".to_owned(), 6))),
                _ => Err("needs.*.result".to_owned()),
            };
        }
        let Some(same) = equal(sign(1)) else {
            // Whether a cache was hit is not known here: it counts as missed.
            let hit = |at: usize| matches!(tokens.get(at), Some(Token::Path(path)) if self.is_cache_hit(path));
            return match tokens.first() {
                Some(Token::Sign("!")) if hit(1) => Ok(Some(("true".to_owned(), 2))),
                _ if hit(0) && tokens.len() > 1 => Ok(Some(("false".to_owned(), 1))),
                _ => Ok(None),
            };
        };
        if let (Some(Token::Text(text)), Some(Token::Path(path))) = (tokens.first(), tokens.get(2)) {
            // `'' == x` is `x == ''`.
            let turned = [Token::Path(path.clone()), tokens[1].clone(), Token::Text(text.clone())];
            return self.idiom(&turned);
        }
        let first = path(0);
        if let (Some(Token::Path(parts)), Some(Token::Text(text))) = (tokens.first(), tokens.get(2)) {
            if self.is_cache_hit(parts) {
                return Ok(Some((((text == "true") != same).to_string(), 3)));
            }
            if first == "runner.os" {
                return Ok(Some((((text == "Linux") == same).to_string(), 3)));
            }
            // Here, a missing value is null, which never equals a text.
            if text.is_empty() {
                let value = self.path(parts)?;
                return Ok(Some((format!("{}{value}", if same { "!" } else { "!!" }), 3)));
            }
        }
        let pair = [first.as_str(), &path(2)];
        if pair.contains(&"github.event.pull_request.head.repo.full_name") && pair.contains(&"github.repository") {
            let condition = match same {
                true => "(event.name == 'pull-request' && !event.fork)",
                false => "(event.name != 'pull-request' || event.fork)",
            };
            return Ok(Some((condition.to_owned(), 3)));
        }
        let operator = sign(1);
        let first = match tokens.first() {
            Some(Token::Path(parts)) if parts.len() == 3 && parts[0] == "matrix" => self.path(parts)?,
            _ => first,
        };
        match (first.as_str(), tokens.get(2)) {
            ("github.event_name", Some(Token::Text(name))) => {
                let event = match name.as_str() {
                    "push" if same => return Ok(Some(("(event.name == 'push' || event.name == 'tag')".to_owned(), 3))),
                    "push" => return Ok(Some(("(event.name != 'push' && event.name != 'tag')".to_owned(), 3))),
                    "pull_request" | "pull_request_target" => "pull-request",
                    "workflow_dispatch" => "manual",
                    "merge_group" => "merge-group",
                    name => name,
                };
                Ok(Some((format!("event.name {operator} {}", quote(event)), 3)))
            }
            ("github.event.action", Some(Token::Text(action))) => {
                Ok(Some((format!("event.action {operator} {}", quote(&action.replace('_', "-"))), 3)))
            }
            ("github.ref_name", Some(Token::Text(name))) => {
                let refs = ["heads", "tags"]
                    .map(|kind| format!("event.ref {operator} {}", quote(&format!("refs/{kind}/{name}"))));
                Ok(Some((format!("({})", refs.join(if same { " || " } else { " && " })), 3)))
            }
            ("github.ref_type", Some(Token::Text(kind))) => {
                let operator = if (kind == "tag") == same { "==" } else { "!=" };
                Ok(Some((format!("event.name {operator} 'tag'"), 3)))
            }
            (first, Some(Token::Path(word)))
                if first.starts_with("matrix.")
                    && matches!(word.as_slice(), [word] if word == "true" || word == "false") =>
            {
                // A missing value counts as false there.
                Ok(Some(match (word[0].as_str(), same) {
                    ("false", true) => (format!("(!{first} || {first} == 'false')"), 3),
                    ("false", false) => (format!("({first} && {first} != 'false')"), 3),
                    (word, _) => (format!("{first} {operator} '{word}'"), 3),
                }))
            }
            (first, Some(Token::Number(number))) if first.starts_with("matrix.") || first.starts_with("steps.") => {
                Ok(Some((format!("{first} {operator} '{number}'"), 3)))
            }
            (first, Some(Token::Text(word))) if word == "true" || word == "false" => {
                let input = first.strip_prefix("github.event.inputs.").or_else(|| first.strip_prefix("inputs."));
                match input.filter(|input| self.booleans.contains(*input)) {
                    Some(input) => Ok(Some((format!("inputs.{input} {operator} {word}"), 3))),
                    None => Ok(None),
                }
            }
            _ => Ok(None),
        }
    }

    pub(super) fn is_cache_hit(&self, path: &[String]) -> bool {
        matches!(path, [context, id, outputs, hit]
            if context == "steps" && outputs == "outputs" && hit == "cache-hit" && self.caches.contains(id))
    }
}
