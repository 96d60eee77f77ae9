//! Filters by the files that an event changes, as `changed()`.

use super::condition;

/// Patterns in one call.
const MAX_PATTERNS_PER_CALL: usize = 32;
/// Patterns of one filter, as at GitLab.
const MAX_PATTERNS: usize = 50;

/// Returns the condition that one of the changed files fits one of these patterns; the error is one that no file of
/// `changed()` fits as it fitted there. Patterns are as `changed()` has them.
pub(super) fn any_of(patterns: &[String]) -> Result<String, String> {
    let said = |pattern: &&String| pattern.starts_with('!') || !longshore_pipeline::is_path_pattern(pattern);
    if let Some(pattern) = patterns.iter().find(said) {
        return Err(format!("`{pattern}` cannot be said in `changed()`"));
    }
    if patterns.is_empty() || patterns.len() > MAX_PATTERNS {
        return Err("`changed()` takes some patterns, and not so many".to_owned());
    }
    Ok(condition::any(&patterns.chunks(MAX_PATTERNS_PER_CALL).map(call).collect::<Vec<_>>()).unwrap_or_default())
}

/// Returns the condition that one of the changed files fits none of these patterns.
pub(super) fn any_but(patterns: &[String]) -> Result<String, String> {
    any_of(patterns)?;
    let excluded: Vec<String> = patterns.iter().map(|pattern| format!("!{pattern}")).collect();
    match excluded.as_slice() {
        few if few.len() <= MAX_PATTERNS_PER_CALL => Ok(call(few)),
        _ => Err("`changed()` takes fewer patterns".to_owned()),
    }
}

fn call(patterns: &[String]) -> String {
    let quoted: Vec<String> = patterns.iter().map(|pattern| condition::quote(pattern)).collect();
    format!("changed({})", quoted.join(", "))
}

/// Where two stars cross `/`; elsewhere they are one.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stars {
    /// As a whole part of the path: `docs/**`.
    Part,
    /// As a part of the path with others behind it: `docs/**/*`.
    Folders,
}

/// Returns a glob of another system as ours.
pub(super) fn glob(written: &str, stars: Stars) -> String {
    let mut out = String::new();
    let mut rest = written;
    while let Some(at) = rest.find("**") {
        out.push_str(&rest[..at]);
        let begins = out.chars().next_back().is_none_or(|before| matches!(before, '/' | '{' | ','));
        rest = rest[at..].trim_start_matches('*');
        let crosses = match stars {
            Stars::Part => rest.is_empty() || rest.starts_with(['/', ',', '}']),
            Stars::Folders => rest.starts_with('/'),
        };
        out.push_str(if begins && crosses { "**" } else { "*" });
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_stars_cross_slashes_where_they_did() {
        for (written, part, folders) in [
            ("docs/**", "docs/**", "docs/*"),
            ("docs/**/*.md", "docs/**/*.md", "docs/**/*.md"),
            ("**/*", "**/*", "**/*"),
            ("a**/b", "a*/b", "a*/b"),
            ("{a/**,b}", "{a/**,b}", "{a/*,b}"),
            ("src/*", "src/*", "src/*"),
        ] {
            assert_eq!((glob(written, Stars::Part).as_str(), glob(written, Stars::Folders).as_str()), (part, folders));
        }
    }

    #[test]
    fn a_filter_becomes_as_many_calls_as_it_takes() {
        let many: Vec<String> = (0..40).map(|at| format!("d{at}/*")).collect();
        assert_eq!(any_of(&many).unwrap().matches("changed(").count(), 2);
        assert_eq!(any_of(&["it's/**".to_owned()]).unwrap(), "changed('it''s/**')");
        assert_eq!(any_but(&["a".to_owned(), "b".to_owned()]).unwrap(), "changed('!a', '!b')");
        for wrong in ["/a", "!a", "[a", "./a"] {
            assert!(any_of(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
