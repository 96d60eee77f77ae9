//! Decides which builds a notification is about, by the branches that it names.
//!
//! The outbox calls [`admits`] before it reports a build. The API calls [`check`] before it stores patterns. Patterns
//! have the syntax of `on`, and are matched against a push's branch, a pull request's target branch, or a tag's full
//! name (`refs/tags/v1`).

use longshore_core::Event;

use crate::secret_rules;

/// Returns whether a build of this event is on one of these branches. No patterns admit every build.
#[must_use]
pub fn admits(branches: &[String], event: &Event) -> bool {
    branches.is_empty() || secret_rules::admits(branches, &[event.branch().unwrap_or(&event.git_ref)])
}

/// Checks patterns before they are stored.
///
/// # Errors
/// Says what is wrong, for the person who sets them.
pub fn check(branches: &[String]) -> Result<(), String> {
    secret_rules::check_patterns("branches", branches)
}

#[cfg(test)]
mod tests {
    use longshore_core::EventName;

    use super::*;

    #[test]
    fn a_build_is_told_of_if_its_branch_or_tag_is_named() {
        let push = |git_ref: &str| Event::new(EventName::Push, git_ref, "0".repeat(40));
        let branches = ["main".to_owned(), "release/*".to_owned(), "refs/tags/v*".to_owned()];
        for (git_ref, told) in [
            ("refs/heads/main", true),
            ("refs/heads/release/1", true),
            ("refs/heads/topic", false),
            ("refs/tags/v1", true),
            ("refs/tags/x", false),
        ] {
            assert_eq!(admits(&branches, &push(git_ref)), told, "{git_ref}");
            assert!(admits(&[], &push(git_ref)));
        }
    }
}
