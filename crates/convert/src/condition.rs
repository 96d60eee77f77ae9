//! Builds `if` expressions from the comparisons and patterns of other systems.

use longshore_core::expression::{Expression, Values, evaluate};

/// Quotes a text as a literal of an expression.
pub(super) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Joins expressions with `&&`; `None` if there are none.
pub(super) fn all(parts: &[String]) -> Option<String> {
    join(parts, "&&", "true", "false")
}

/// Joins expressions with `||`; `None` if there are none.
pub(super) fn any(parts: &[String]) -> Option<String> {
    join(parts, "||", "false", "true")
}

/// Joins expressions with an operator. Drops `neutral` if there are others; `deciding` replaces all of them.
fn join(parts: &[String], operator: &str, neutral: &str, deciding: &str) -> Option<String> {
    let mut kept: Vec<&String> = Vec::new();
    for part in parts.iter().filter(|part| *part != neutral) {
        if part == deciding {
            return Some(deciding.to_owned());
        }
        if !kept.contains(&part) {
            kept.push(part);
        }
    }
    match kept.as_slice() {
        [] if parts.is_empty() => None,
        [] => Some(neutral.to_owned()),
        [one] => Some((*one).clone()),
        several => {
            // `&&` binds more tightly than `||`.
            let wrapped = several.iter().map(|part| match operator == "&&" && contains_or(part) {
                true => format!("({part})"),
                false => (*part).clone(),
            });
            Some(wrapped.collect::<Vec<_>>().join(&format!(" {operator} ")))
        }
    }
}

/// Takes the constants out of a condition: `true && a` is `a`.
pub(super) fn fold(part: &str) -> String {
    let part = part.trim();
    if is_wrapped(part) {
        let inner = fold(&part[1..part.len() - 1]);
        return if inner == "true" || inner == "false" || !inner.contains(' ') { inner } else { format!("({inner})") };
    }
    if let Some(inner) = part.strip_prefix('!').filter(|inner| !inner.contains(' ') || is_wrapped(inner)) {
        return match fold(inner).as_str() {
            "true" => "false".to_owned(),
            "false" => "true".to_owned(),
            inner => format!("!{inner}"),
        };
    }
    let alternatives = split(part, "||").into_iter().map(|alternative| {
        let parts = split(alternative, "&&");
        match parts.as_slice() {
            [one] if *one == part => part.to_owned(),
            parts => all(&parts.iter().map(|part| fold(part)).collect::<Vec<_>>()).unwrap_or_default(),
        }
    });
    any(&alternatives.collect::<Vec<_>>()).unwrap_or_default()
}

/// Takes the parentheses around a whole expression away.
pub(super) fn bare(part: &str) -> &str {
    if is_wrapped(part) { part[1..part.len() - 1].trim() } else { part }
}

/// Splits an expression at an operator outside of parentheses and quoted texts.
fn split<'p>(part: &'p str, operator: &str) -> Vec<&'p str> {
    let mut parts = Vec::new();
    let mut from = 0;
    for (at, _) in outside(part).filter(|(at, _)| part[*at..].starts_with(operator)) {
        if at >= from {
            parts.push(part[from..at].trim());
            from = at + operator.len();
        }
    }
    parts.push(part[from..].trim());
    parts
}

/// Negates an expression.
pub(super) fn not(part: &str) -> String {
    match part {
        "true" => "false".to_owned(),
        "false" => "true".to_owned(),
        part if part.matches(" == ").count() == 1 && is_comparison(part) => part.replacen(" == ", " != ", 1),
        part if part.matches(" != ").count() == 1 && is_comparison(part) => part.replacen(" != ", " == ", 1),
        part if part.strip_prefix('!').is_some_and(is_one) => bare(&part[1..]).to_owned(),
        part if is_one(part) => {
            format!("!{part}")
        }
        part => format!("!({part})"),
    }
}

/// Whether the expression is a value, a call, or stands in parentheses.
fn is_one(part: &str) -> bool {
    is_wrapped(part.trim_start_matches(|c: char| c.is_ascii_alphabetic() || c == '-')) || !part.contains(' ')
}

/// Whether the expression is a single comparison.
fn is_comparison(part: &str) -> bool {
    !part.contains(['&', '|', '('])
}

/// Whether one pair of parentheses encloses the whole expression.
fn is_wrapped(part: &str) -> bool {
    part.starts_with('(') && outside(part).next().is_some_and(|(at, _)| at + 1 == part.len())
}

/// Whether the expression contains `||` outside of parentheses.
fn contains_or(part: &str) -> bool {
    outside(part).any(|(at, c)| c == '|' && part[at..].starts_with("||"))
}

/// Returns the characters outside of parentheses and quoted texts, including the closing parentheses.
fn outside(part: &str) -> impl Iterator<Item = (usize, char)> {
    let (mut depth, mut quoted) = (0_usize, false);
    part.char_indices().filter(move |(_, c)| {
        match c {
            '\'' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && !quoted
    })
}

/// Translates a glob over a value, such as `release/*` over `event.branch`; `None` if no expression can say it.
pub(super) fn glob(value: &str, pattern: &str) -> Option<String> {
    const SPECIAL: &[char] = &['*', '?', '[', ']', '{', '}', '+', '\\'];
    if let Some(inner) = pattern.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'))
        && !inner.contains(['{', '}'])
    {
        let parts: Option<Vec<String>> = inner.split(',').map(|part| glob(value, part.trim())).collect();
        return any(&parts?);
    }
    let bare = pattern.trim_matches('*');
    let lead = pattern.len() - pattern.trim_start_matches('*').len();
    let tail = pattern.len() - pattern.trim_end_matches('*').len();
    // One star stays within one component of the name.
    if bare.contains(SPECIAL) || lead == 1 && !bare.is_empty() || tail == 1 && !bare.is_empty() {
        return Some(matches(value, &regex_of(pattern, Repeats::Nothing)?));
    }
    Some(match (lead > 0, tail > 0) {
        (true, _) if pattern == "*" => matches(value, "^[^/]*$"),
        (true, _) if bare.is_empty() => format!("{value} != null"),
        (false, false) => format!("{value} == {}", quote(pattern)),
        (false, true) => format!("starts-with({value}, {})", quote(bare)),
        (true, false) => format!("ends-with({value}, {})", quote(bare)),
        (true, true) => format!("contains({value}, {})", quote(bare)),
    })
}

/// The part of a glob that `?` and `+` repeat.
#[derive(Debug, Clone, Copy)]
pub(super) enum Repeats {
    /// `?` is any one character, and `+` is itself.
    Nothing,
    /// The part before them, as in a regular expression.
    Before,
}

/// Returns the regular expression that means what a glob does; `None` for what not all systems read in one way.
pub(super) fn regex_of(pattern: &str, repeats: Repeats) -> Option<String> {
    let mut out = "^".to_owned();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '*' if rest.starts_with('*') => {
                rest = rest.trim_start_matches('*');
                out.push_str(".*");
            }
            '*' => out.push_str("[^/]*"),
            '?' | '+' if matches!(repeats, Repeats::Before) => out.push(c),
            '?' => out.push_str("[^/]"),
            '[' => {
                let (class, behind) = rest.split_once(']')?;
                out.push_str(&class_of(class)?);
                rest = behind;
            }
            ']' | '{' | '}' | '\\' => return None,
            c => out.push_str(&escaped(c)),
        }
    }
    out.push('$');
    Some(out)
}

/// Returns the class of a regular expression for one of a glob, as it stands between the brackets.
pub(super) fn class_of(class: &str) -> Option<String> {
    let (not, plain) = match class.strip_prefix(['!', '^']) {
        Some(rest) => ("^", rest),
        None => ("", class),
    };
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    (!plain.is_empty() && plain.chars().all(known)).then(|| format!("[{not}{plain}]"))
}

/// Returns a character as a regular expression that matches it alone.
pub(super) fn escaped(c: char) -> String {
    match c {
        '.' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '|' | '^' | '$' | '\\' => format!("\\{c}"),
        c => c.to_string(),
    }
}

/// Returns the expression for whether a regular expression matches a value.
pub(super) fn matches(value: &str, pattern: &str) -> String {
    format!("matches({value}, {})", quote(pattern))
}

/// Translates a regular expression: `^v`, `^release/.*$`, `^(main|next)$` and `-rc$` to comparisons of texts. `None` if
/// `matches` does not accept it.
pub(super) fn regex(value: &str, pattern: &str) -> Option<String> {
    simple(value, pattern).or_else(|| fits("", pattern).map(|_| matches(value, pattern)))
}

/// Whether a regular expression matches a text; `None` if `matches` does not accept it, for example because it looks
/// around.
pub(super) fn fits(text: &str, pattern: &str) -> Option<bool> {
    let call = Expression::parse(&matches(&quote(text), pattern)).ok()?;
    evaluate(&call, &Values::default()).ok().map(|value| value.is_truthy())
}

/// Whether an expression without contexts holds.
pub(super) fn holds(expression: &str) -> bool {
    let parsed = Expression::parse(expression).ok();
    parsed.is_some_and(|parsed| evaluate(&parsed, &Values::default()).is_ok_and(|value| value.is_truthy()))
}

fn simple(value: &str, pattern: &str) -> Option<String> {
    let (rest, begins) = pattern.strip_prefix('^').map_or((pattern, false), |rest| (rest, true));
    let (rest, ends) = match rest.strip_suffix('$') {
        Some(rest) if !rest.ends_with('\\') => (rest, true),
        _ => (rest, false),
    };
    if let Some(inner) = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'))
        && !inner.contains(['(', ')'])
    {
        let inner = inner.strip_prefix("?:").unwrap_or(inner);
        let parts = inner.split('|').map(|part| {
            let part = format!("{}{part}{}", if begins { "^" } else { "" }, if ends { "$" } else { "" });
            simple(value, &part)
        });
        return any(&parts.collect::<Option<Vec<_>>>()?);
    }
    if rest.contains('|') && !rest.contains(['(', ')']) {
        return any(&pattern.split('|').map(|part| simple(value, part)).collect::<Option<Vec<_>>>()?);
    }
    let (rest, before) = rest.strip_prefix(".*").map_or((rest, !begins), |rest| (rest, true));
    let (rest, behind) = rest.strip_suffix(".*").map_or((rest, !ends), |rest| (rest, true));
    let literal = literal(rest)?;
    let value = value.to_owned();
    Some(match (before, behind) {
        _ if literal.is_empty() && before && behind => format!("{value} != null"),
        (false, false) => format!("{value} == {}", quote(&literal)),
        (false, true) => format!("starts-with({value}, {})", quote(&literal)),
        (true, false) => format!("ends-with({value}, {})", quote(&literal)),
        (true, true) => format!("contains({value}, {})", quote(&literal)),
    })
}

/// Returns the text that a regular expression stands for, if it matches only one.
fn literal(pattern: &str) -> Option<String> {
    let mut text = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next()? {
                c if c.is_ascii_alphanumeric() => return None,
                c => text.push(c),
            },
            '.' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '|' | '^' | '$' => return None,
            c => text.push(c),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_joined_keeps_its_meaning() {
        let parts = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
        assert_eq!(all(&parts(&["a", "b || c"])).as_deref(), Some("a && (b || c)"));
        assert_eq!(all(&parts(&["a || b"])).as_deref(), Some("a || b"));
        assert_eq!(all(&parts(&["a", "false"])).as_deref(), Some("false"));
        assert_eq!(any(&parts(&["a && b", "c"])).as_deref(), Some("a && b || c"));
        assert_eq!(any(&parts(&["a", "true"])).as_deref(), Some("true"));
        assert_eq!(all(&[]), None);
        assert_eq!(all(&parts(&["true"])).as_deref(), Some("true"));
        assert_eq!(not("a == b"), "a != b");
        assert_eq!(not("a || b"), "!(a || b)");
        assert_eq!(not("(a) && (b)"), "!((a) && (b))");
        assert_eq!(not("!(a && b)"), "a && b");
        assert_eq!(not("!matches(a, 'b')"), "matches(a, 'b')");
    }

    #[test]
    fn constants_are_taken_out_of_a_condition() {
        for (written, folded) in [
            ("true && a == 'x'", "a == 'x'"),
            ("a && (true || b)", "a"),
            ("false || a && b", "a && b"),
            ("!false", "true"),
            ("!(false) && a", "a"),
            ("a || true", "true"),
            ("always() && false", "false"),
            ("a == 'true && b'", "a == 'true && b'"),
            ("f(a, true)", "f(a, true)"),
            ("(a || b) && true", "(a || b)"),
        ] {
            assert_eq!(fold(written), folded, "{written}");
        }
    }

    #[test]
    fn a_glob_becomes_a_condition_that_fits_the_same_names() {
        let branch = |pattern| glob("b", pattern);
        assert_eq!(branch("main").as_deref(), Some("b == 'main'"));
        assert_eq!(branch("release/*").as_deref(), Some("matches(b, '^release/[^/]*$')"));
        assert_eq!(branch("release/**").as_deref(), Some("starts-with(b, 'release/')"));
        assert_eq!(branch("{main,next}").as_deref(), Some("b == 'main' || b == 'next'"));
        assert_eq!(branch("**").as_deref(), Some("b != null"));
        assert_eq!(branch("v[0-9]*").as_deref(), Some("matches(b, '^v[0-9][^/]*$')"));
        assert_eq!(branch("v?.[!0]").as_deref(), Some(r"matches(b, '^v[^/]\.[^0]$')"));
        assert_eq!(branch("a{b,c}"), None);
        assert_eq!(branch("a["), None);
    }

    #[test]
    fn a_regular_expression_becomes_a_comparison_or_is_kept() {
        assert_eq!(regex("b", "^v.*$").as_deref(), Some("starts-with(b, 'v')"));
        assert_eq!(regex("b", "^(main|next)$").as_deref(), Some("b == 'main' || b == 'next'"));
        assert_eq!(regex("b", r"^release\/").as_deref(), Some("starts-with(b, 'release/')"));
        assert_eq!(regex("b", "-rc$").as_deref(), Some("ends-with(b, '-rc')"));
        assert_eq!(regex("b", "fix").as_deref(), Some("contains(b, 'fix')"));
        assert_eq!(regex("b", "^a|b$").as_deref(), Some("starts-with(b, 'a') || ends-with(b, 'b')"));
        assert_eq!(regex("b", r"^v\d+$").as_deref(), Some(r"matches(b, '^v\d+$')"));
        assert_eq!(regex("b", "^it's[0-9]").as_deref(), Some("matches(b, '^it''s[0-9]')"));
        assert_eq!(regex("b", "^(?!main)"), None);
    }
}
