//! Decides which jobs get Docker, by what the administrator has granted their repository. The pushed file alone gives
//! it to nobody.
//!
//! The runner calls [`refused`] when a job starts, after a stranger's commit was approved. The API calls [`check`]
//! before it stores a grant. Patterns are those of `on`. A grant of branches is for:
//! - a push, a schedule or a manual start of a branch that a pattern admits;
//! - a push or a manual start of a tag whose full name a pattern admits, such as `refs/tags/v*`;
//! - a pull request within the repository: its source branch, whose commit it builds, and its target branch as well where
//!   that one's files run, as for rules of secrets;
//! - an approved pull request from a stranger: the target branch, which the approver saw.
//!
//! The engine's own socket is never a stranger's.

use longshore_core::{
    Event,
    docker::{Docker, DockerGrant},
    stranger,
};

use crate::secret_rules::{Origin, admits, check_patterns, listed};

/// How an administrator grants it.
const HOW: &str = "an administrator may grant it on the repository's settings page or with `longshore repo docker`";

/// Returns why a job does not get the Docker that it asks for; `None` if it does.
#[must_use]
pub fn refused(grant: &DockerGrant, asked: Docker, event: &Event) -> Option<String> {
    match (asked, grant) {
        (Docker::None, _) | (Docker::Guarded, DockerGrant::Raw) => None,
        (Docker::Guarded, DockerGrant::None) => {
            Some(format!("`docker: true` is not granted to this repository: {HOW}"))
        }
        (Docker::Guarded, DockerGrant::Branches { branches, .. }) => {
            let origin = Origin::from_event(event);
            let is_admitted = match origin {
                Origin::Branch(_) | Origin::Branches { .. } => origin.is_on(branches),
                Origin::Tag(_) => admits(branches, &[&event.git_ref]),
                Origin::Stranger => {
                    let target = event.pull_request.as_ref().map(|pull_request| pull_request.target_branch.as_str());
                    target.is_some_and(|target| admits(branches, &[target]))
                }
                Origin::Other => false,
            };
            let why = || {
                format!(
                    "`docker: true` is granted to builds of {}, and this build is {}: {HOW}",
                    listed(branches),
                    origin.describe()
                )
            };
            (!is_admitted).then(why)
        }
        (Docker::Raw, DockerGrant::Raw) if stranger::brings(event) => {
            Some("`docker: raw` is root on the host and is not available to pull requests from forks".to_owned())
        }
        (Docker::Raw, DockerGrant::Raw) => None,
        (Docker::Raw, DockerGrant::None | DockerGrant::Branches { .. }) => Some(format!(
            "`docker: raw`, the engine's own socket, is not granted to this repository: write `docker: true`, or {HOW}"
        )),
    }
}

/// Checks a grant before it is stored.
///
/// # Errors
/// Says what is wrong, for the person who sets it.
pub fn check(grant: &DockerGrant) -> Result<(), String> {
    match grant {
        DockerGrant::None | DockerGrant::Raw => Ok(()),
        DockerGrant::Branches { branches, .. } => check_patterns("branches", branches),
    }
}

#[cfg(test)]
mod tests {
    use longshore_core::{
        EventName,
        event::{Merge, PullRequest},
    };

    use super::*;

    fn event(name: EventName, git_ref: &str) -> Event {
        Event::new(name, git_ref, "0".repeat(40))
    }

    fn pull_request(source: &str, target: &str, fork: bool) -> Event {
        let pull_request = PullRequest { fork, ..PullRequest::opened(7, source, target) };
        Event { pull_request: Some(pull_request), ..event(EventName::PullRequest, "refs/pull/7/head") }
    }

    fn branches(patterns: &[&str]) -> DockerGrant {
        let branches = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        DockerGrant::Branches { branches, buildkit: false }
    }

    #[test]
    fn a_guarded_api_is_for_the_branches_that_were_granted() {
        let grant = branches(&["main", "release/*"]);
        let may = |event: &Event| refused(&grant, Docker::Guarded, event).is_none();
        assert!(
            may(&event(EventName::Push, "refs/heads/main")) && may(&event(EventName::Manual, "refs/heads/release/1"))
        );
        assert!(!may(&event(EventName::Push, "refs/heads/feature")));
        assert!(!may(&event(EventName::Push, "refs/tags/main")), "a tag is not a branch");
        assert!(!may(&pull_request("feature", "main", false)), "nobody has reviewed that branch");
        assert!(may(&pull_request("release/2", "main", false)));
        assert!(may(&pull_request("anything", "main", true)) && !may(&pull_request("main", "feature", true)));
        for (source, target, granted) in [("main", "evil", false), ("evil", "main", false), ("main", "release/1", true)]
        {
            let (mut merged, mut gone) = (pull_request(source, target, false), pull_request(source, target, false));
            let merge = Merge { head: "1".repeat(40), target: "2".repeat(40) };
            merged.pull_request.as_mut().unwrap().merge = Some(merge);
            gone.pull_request.as_mut().unwrap().gone = Some(String::new());
            assert_eq!((may(&merged), may(&gone)), (granted, granted), "{source} into {target}");
        }
        let tags = branches(&["refs/tags/v*"]);
        assert_eq!(refused(&tags, Docker::Guarded, &event(EventName::Tag, "refs/tags/v1")), None);
        let why = refused(&grant, Docker::Guarded, &event(EventName::Push, "refs/heads/x")).unwrap();
        assert!(why.contains("`main`, `release/*`") && why.contains("of the branch `x`"), "{why}");
    }

    #[test]
    fn the_engines_socket_is_for_nobody_without_the_word_and_for_no_stranger() {
        let push = event(EventName::Push, "refs/heads/main");
        for grant in [DockerGrant::None, branches(&["**"])] {
            assert!(refused(&grant, Docker::Raw, &push).is_some_and(|why| why.contains("longshore repo docker")));
        }
        assert_eq!(refused(&DockerGrant::Raw, Docker::Raw, &push), None);
        assert_eq!(refused(&DockerGrant::Raw, Docker::Guarded, &push), None);
        assert!(refused(&DockerGrant::Raw, Docker::Raw, &pull_request("a", "main", true)).is_some());
        assert!(refused(&DockerGrant::None, Docker::Guarded, &push).is_some());
        assert_eq!(refused(&DockerGrant::None, Docker::None, &push), None);
    }

    #[test]
    fn a_pattern_that_never_matches_is_said() {
        assert!(check(&branches(&["main\n"])).is_err() && check(&branches(&["[a"])).is_err());
        assert!(check(&branches(&["main", "refs/tags/v*"])).is_ok());
    }
}
