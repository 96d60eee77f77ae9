//! Globs over the workspace's files, for `hash-files` and for what a job leaves.

use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Globs that include files, and globs that begin with `!` and exclude them again.
#[derive(Debug)]
pub(crate) struct Globs {
    take: GlobSet,
    out: GlobSet,
}

impl Globs {
    /// Reads globs that match only the paths themselves, not what is inside a matching folder.
    pub(crate) fn of_files<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        Self::new(patterns, false)
    }

    /// Returns whether the globs take this path.
    pub(crate) fn take(&self, path: &Path) -> bool {
        self.take.is_match(path) && !self.out.is_match(path)
    }

    fn new<'a>(patterns: impl IntoIterator<Item = &'a str>, with_content: bool) -> Result<Self, String> {
        let (mut take, mut out) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for pattern in patterns {
            let (set, pattern) = match pattern.strip_prefix('!') {
                Some(pattern) => (&mut out, pattern),
                None => (&mut take, pattern),
            };
            let pattern = plain(pattern);
            let glob = |pattern: &str| {
                GlobBuilder::new(pattern).literal_separator(true).build().map_err(|error| error.to_string())
            };
            set.add(glob(pattern)?);
            if with_content && !pattern.ends_with("**") {
                set.add(glob(&format!("{pattern}/**"))?);
            }
        }
        let build = |set: GlobSetBuilder| set.build().map_err(|error| error.to_string());
        Ok(Self { take: build(take)?, out: build(out)? })
    }
}

/// Globs, each of which also matches everything in the folders that it names.
#[derive(Debug)]
pub(crate) struct Trees {
    globs: Globs,
    /// The folders at which the including globs begin.
    bases: Vec<PathBuf>,
}

impl Trees {
    pub(crate) fn new<'a>(patterns: impl IntoIterator<Item = &'a str> + Clone) -> Result<Self, String> {
        let bases = patterns.clone().into_iter().filter(|pattern| !pattern.starts_with('!')).map(base).collect();
        Ok(Self { globs: Globs::new(patterns, true)?, bases })
    }

    /// Returns whether the globs take this path.
    pub(crate) fn take(&self, path: &Path) -> bool {
        self.globs.take(path)
    }

    /// Returns whether the globs may take something below this folder.
    pub(crate) fn may_take_below(&self, folder: &Path) -> bool {
        let on_the_way = |base: &PathBuf| base.starts_with(folder) || folder.starts_with(base);
        self.bases.iter().any(on_the_way) && !self.globs.out.is_match(folder)
    }
}

/// Returns a pattern in the form that the library expects: without a leading `./` and a trailing `/`.
fn plain(pattern: &str) -> &str {
    match pattern.strip_prefix("./").unwrap_or(pattern).trim_end_matches('/') {
        "" | "." => "**",
        pattern => pattern,
    }
}

/// Returns the path before the first part of a pattern that is not a plain name.
fn base(pattern: &str) -> PathBuf {
    plain(pattern).split('/').take_while(|part| !part.contains(['*', '?', '[', '{', '\\'])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_that_may_hold_what_is_wanted_are_looked_through() {
        let trees = Trees::new(["target/release/app", "./doc/**/*.html", "!doc/private", "out/"]).unwrap();
        for (folder, visited) in [
            ("", true),
            ("target", true),
            ("target/release", true),
            ("target/debug", false),
            ("doc/a/b", true),
            ("doc/private", false),
            ("out/deep/er", true),
            ("node_modules", false),
        ] {
            assert_eq!(trees.may_take_below(Path::new(folder)), visited, "{folder}");
        }
        for (file, taken) in [
            ("target/release/app", true),
            ("target/release/app2", false),
            ("doc/x.html", true),
            ("doc/a/x.html", true),
            ("doc/private/x.html", false),
            ("out/deep/er/file", true),
            ("outer", false),
        ] {
            assert_eq!(trees.take(Path::new(file)), taken, "{file}");
        }
        assert!(Trees::new(["."]).unwrap().take(Path::new("any/thing")));
        assert!(Trees::new(["a{"]).is_err());
    }
}
