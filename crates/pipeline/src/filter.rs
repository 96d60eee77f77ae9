//! Branch, tag and path patterns: globs, where a leading `!` excludes.

use globset::{GlobBuilder, GlobMatcher};

/// The patterns of one filter, in their order.
#[derive(Debug, Clone)]
pub(super) struct Patterns {
    list: Vec<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    excludes: bool,
    matcher: GlobMatcher,
    written: String,
}

impl Patterns {
    pub(super) const fn new() -> Self {
        Self { list: Vec::new() }
    }

    /// Adds a pattern.
    ///
    /// # Errors
    /// Says what is wrong with the pattern.
    pub(super) fn add(&mut self, written: &str) -> Result<(), String> {
        let (excludes, glob) = match written.strip_prefix('!') {
            Some(glob) => (true, glob),
            None => (false, written),
        };
        if glob.is_empty() {
            return Err("a pattern is missing".to_owned());
        }
        let matcher = GlobBuilder::new(&expand_double_stars(glob))
            .literal_separator(true)
            .backslash_escape(true)
            .build()
            .map_err(|error| error.kind().to_string())?
            .compile_matcher();
        self.list.push(Pattern { excludes, matcher, written: written.to_owned() });
        Ok(())
    }

    /// Returns whether the filter admits a name. The last pattern that matches decides; without patterns, and with
    /// exclusions alone, everything is admitted at first.
    pub(super) fn admits(&self, name: &str) -> bool {
        self.admits_any(&[name])
    }

    /// Like [`admits`](Self::admits), for something that has several names.
    pub(super) fn admits_any(&self, names: &[&str]) -> bool {
        let mut admitted = self.list.iter().all(|pattern| pattern.excludes);
        for pattern in &self.list {
            if names.iter().any(|name| pattern.matcher.is_match(name)) {
                admitted = !pattern.excludes;
            }
        }
        admitted
    }

    /// Returns the patterns as they were written.
    pub(super) fn written(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|pattern| pattern.written.as_str())
    }
}

/// Rewrites `**` so that it crosses slashes anywhere in a pattern: globset supports it only as a whole path component.
fn expand_double_stars(glob: &str) -> String {
    let mut out = String::with_capacity(glob.len() + 16);
    let mut rest = glob;
    while let Some(at) = rest.find("**") {
        let before = rest[..at].chars().next_back().or_else(|| out.chars().next_back());
        let stars = rest[at..].bytes().take_while(|byte| *byte == b'*').count();
        let after = rest[at + stars..].chars().next();
        out.push_str(&rest[..at]);
        let whole_part = matches!(before, None | Some('/')) && matches!(after, None | Some('/'));
        out.push_str(if whole_part { "**" } else { "{*,*/**/*}" });
        rest = &rest[at + stars..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(patterns: &[&str], name: &str) -> bool {
        let mut all = Patterns::new();
        for pattern in patterns {
            all.add(pattern).unwrap();
        }
        all.admits(name)
    }

    #[test]
    fn one_star_stays_between_slashes_and_two_cross_them() {
        assert!(admits(&["release/*"], "release/1"));
        assert!(!admits(&["release/*"], "release/1/fix"));
        assert!(admits(&["release/**"], "release/1/fix"));
        assert!(admits(&["**"], "a/b/c"));
        assert!(!admits(&["*"], "a/b"));
        assert!(admits(&["**-alpha"], "x/y-alpha"));
        assert!(admits(&["**-alpha"], "y-alpha"));
        assert!(admits(&["v**"], "v1/2/3"));
        assert!(admits(&["feature/**/x"], "feature/a/b/x"));
        assert!(admits(&["v[0-9]*"], "v12"));
        assert!(admits(&["{main,next}"], "next"));
    }

    #[test]
    fn the_last_pattern_that_fits_decides() {
        assert!(!admits(&["**", "!wip/**"], "wip/x"));
        assert!(admits(&["**", "!wip/**", "wip/keep"], "wip/keep"));
        assert!(admits(&["!wip/**"], "main"));
        assert!(!admits(&["!wip/**"], "wip/x"));
        assert!(!admits(&["!wip/**", "main"], "other"));
    }

    #[test]
    fn names_of_outsiders_are_only_ever_compared() {
        for name in ["--upload-pack=x", "*", "[", "a\nb", "\u{202e}"] {
            assert!(admits(&["**"], name), "{name:?}");
            assert!(!admits(&["main"], name), "{name:?}");
        }
    }

    #[test]
    fn broken_patterns_are_refused() {
        for pattern in ["", "!", "[a", "{a", "a{b"] {
            assert!(Patterns::new().add(pattern).is_err(), "{pattern}");
        }
    }
}
