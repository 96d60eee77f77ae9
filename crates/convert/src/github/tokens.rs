//! The words and signs of GitHub's expressions.

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// `github.event.inputs.level`; a component may be `*`.
    Path(Vec<String>),
    Text(String),
    Number(String),
    Sign(&'static str),
}

const SIGNS: &[&str] = &["==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "(", ")", "[", "]", ","];

/// Whether a value between these tokens is used as a condition.
pub(super) fn is_operand(before: Option<&Token>, behind: Option<&Token>) -> bool {
    let joins = |token: Option<&Token>, signs: &[&str]| match token {
        None => true,
        Some(Token::Sign(sign)) => signs.contains(sign),
        Some(Token::Path(_) | Token::Text(_) | Token::Number(_)) => false,
    };
    joins(before, &["&&", "||", "!", "("]) && joins(behind, &["&&", "||", ")"])
}

/// Takes an expression apart. The error shows where that ends.
pub(super) fn tokens(source: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = source.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = |text: &str| {
            text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-')).unwrap_or(text.len())
        };
        if first.is_ascii_alphabetic() || first == '_' {
            let length = word(rest);
            let mut path = vec![rest[..length].to_owned()];
            rest = &rest[length..];
            loop {
                if let Some(behind) = rest.strip_prefix(".*") {
                    path.push("*".to_owned());
                    rest = behind;
                } else if let Some(behind) = rest.strip_prefix('.').filter(|behind| word(behind) > 0) {
                    let length = word(behind);
                    path.push(behind[..length].to_owned());
                    rest = &behind[length..];
                } else if let Some((key, behind)) = rest.strip_prefix("['").and_then(|behind| behind.split_once("']")) {
                    path.push(key.to_owned());
                    rest = behind;
                } else {
                    break;
                }
            }
            tokens.push(Token::Path(path));
        } else if first == '\'' {
            let mut text = String::new();
            let mut chars = rest.char_indices().skip(1).peekable();
            let mut end = None;
            while let Some((at, c)) = chars.next() {
                if c != '\'' {
                    text.push(c);
                } else if chars.next_if(|(_, next)| *next == '\'').is_some() {
                    text.push('\'');
                } else {
                    end = Some(at + 1);
                    break;
                }
            }
            rest = &rest[end.ok_or("a text without an end")?..];
            tokens.push(Token::Text(text));
        } else if first.is_ascii_digit() || (first == '-' && rest[1..].starts_with(|c: char| c.is_ascii_digit())) {
            let length =
                rest[1..].find(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).map_or(rest.len(), |end| end + 1);
            tokens.push(Token::Number(rest[..length].to_owned()));
            rest = &rest[length..];
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            tokens.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        } else {
            return Err(rest.chars().take(20).collect());
        }
        rest = rest.trim_start();
    }
    Ok(tokens)
}
