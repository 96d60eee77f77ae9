//! Finds out whether a job leaves more files in its workspace than an engine deletes in a moment.
//!
//! Called at the very end of the job, so it stops early. Only the way in which the workspace is removed depends on the
//! answer.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use longshore_agent_protocol::message::CacheSpec;
use longshore_core::CachePath;

/// The engine deletes this many files in about a tenth of a second.
const MANY_FILES: usize = 20_000;
/// How long the job's end waits for the count. If it takes longer, there are many files.
const MAX_COUNT_TIME: Duration = Duration::from_millis(100);

/// Returns whether the workspace has very many files, without those of its caches, which have volumes of their own. No
/// link is followed.
pub(crate) fn is_large(workspace: &Path, caches: &[CacheSpec]) -> bool {
    let mounted: HashSet<PathBuf> = caches
        .iter()
        .filter(|cache| CachePath::parse(&cache.path).is_ok_and(|path| path.is_in_workspace()))
        .map(|cache| workspace.join(&cache.path).components().collect())
        .collect();
    has_more_than(MANY_FILES, workspace, &mounted, Instant::now() + MAX_COUNT_TIME)
}

fn has_more_than(limit: usize, folder: &Path, except: &HashSet<PathBuf>, until: Instant) -> bool {
    let mut folders = vec![folder.to_owned()];
    let mut found = 0;
    while let Some(folder) = folders.pop() {
        if Instant::now() > until {
            return true;
        }
        // A folder that cannot be read, such as one whose path is too long, may hold any number of files.
        let Ok(entries) = fs::read_dir(&folder) else { return true };
        for entry in entries.flatten() {
            found += 1;
            if found > limit {
                return true;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let path = entry.path();
                if !except.contains(&path) {
                    folders.push(path);
                }
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_workspace_count_and_those_of_its_caches_and_behind_links_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let (workspace, outside) = (folder.path().join("workspace"), folder.path().join("outside"));
        fs::create_dir_all(workspace.join("a/cache")).unwrap();
        fs::create_dir(&outside).unwrap();
        for number in 0..10 {
            fs::write(workspace.join(format!("a/cache/{number}")), "").unwrap();
            fs::write(outside.join(number.to_string()), "").unwrap();
        }
        std::os::unix::fs::symlink(&outside, workspace.join("link")).unwrap();
        let cache = |path: &str| CacheSpec { path: path.to_owned(), owner: None };
        let more_than = |limit, caches: &[CacheSpec]| {
            let mounted = caches.iter().map(|cache| workspace.join(&cache.path).components().collect()).collect();
            has_more_than(limit, &workspace, &mounted, Instant::now() + Duration::from_secs(3600))
        };
        // `a`, `a/cache`, the link.
        assert!(!more_than(3, &[cache("a/cache/")]) && more_than(2, &[cache("a/cache/")]));
        assert!(!more_than(13, &[]) && more_than(12, &[]));
        assert!(!is_large(&workspace, &[cache("a/cache"), cache("~/x"), cache("/opt/y")]));
        assert!(is_large(&workspace.join("missing"), &[]), "what cannot be counted may be any number");
    }
}
