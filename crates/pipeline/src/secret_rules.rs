//! Decides which builds and jobs get a secret, by the rules that the server stores with it.
//!
//! The runner calls [`withheld`] when a job starts, and gives the job only the secrets that pass. The API calls
//! [`check`] before it stores rules. Patterns are those of `on`.
//!
//! A job gets a secret if every kind of rule admits it. For branch and tag rules, a build is of:
//! - a push, a schedule or a manual start: its branch or its tag, by the full name of its ref;
//! - a pull request within the repository: its source branch, whose commit it builds. Where files of the target branch
//!   run too (a merge of the two) or instead (its own commit is gone), it is of both branches, and the rules have to
//!   admit each: a secret of one does not go to what somebody has written into the other;
//! - a pull request from a stranger: no branch and no tag of the repository, whatever its own branch is called, even
//!   after it is approved;
//! - a rerun: the same as the first build.

use longshore_core::{Diagnostic, Event, SecretRules, Severity, Span, event::PullRequest, stranger};

use crate::{Code, filter::Patterns};

/// Limit for the patterns of one kind of rule.
pub const MAX_PATTERNS: usize = 50;
/// Limit for the bytes of a pattern.
pub const MAX_PATTERN: usize = 255;

/// The job that asks for a secret.
#[derive(Debug, Clone, Copy)]
pub struct RequestingJob<'a> {
    pub event: &'a Event,
    /// The pipeline's name, and the job's name in its file.
    pub pipeline: &'a str,
    pub job: &'a str,
}

/// The branch or tag of a build, for branch and tag rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin<'a> {
    Branch(&'a str),
    /// A pull request of the repository that runs files of its target branch: both count.
    Branches {
        source: &'a str,
        target: &'a str,
    },
    Tag(&'a str),
    /// A pull request from outside of the repository.
    Stranger,
    /// Neither a branch nor a tag.
    Other,
}

impl<'a> Origin<'a> {
    pub(crate) fn from_event(event: &'a Event) -> Self {
        if stranger::brings(event) {
            return Self::Stranger;
        }
        match &event.pull_request {
            Some(PullRequest { source_branch, target_branch, merge, gone, .. }) => match (merge, gone) {
                (None, None) => Self::Branch(source_branch),
                (_, _) => Self::Branches { source: source_branch, target: target_branch },
            },
            // Strip the prefix only once: a branch may be called `refs/tags/v1`.
            None => match (event.git_ref.strip_prefix("refs/heads/"), event.git_ref.strip_prefix("refs/tags/")) {
                (Some(branch), _) => Self::Branch(branch),
                (None, Some(tag)) => Self::Tag(tag),
                (None, None) => Self::Other,
            },
        }
    }

    /// Returns whether it is of branches only, and the patterns admit each of them.
    pub(crate) fn is_on(self, branches: &[String]) -> bool {
        match self {
            Self::Branch(name) => admits(branches, &[name]),
            Self::Branches { source, target } => admits(branches, &[source]) && admits(branches, &[target]),
            Self::Tag(_) | Self::Stranger | Self::Other => false,
        }
    }

    pub(crate) fn describe(self) -> String {
        match self {
            Self::Branch(name) => format!("of the branch {}", quoted(name)),
            Self::Branches { source, target } => {
                format!("of the branches {} and {}, of which both have to be allowed", quoted(source), quoted(target))
            }
            Self::Tag(name) => format!("of the tag {}", quoted(name)),
            Self::Stranger => "of a pull request from a fork, which is not on a branch of this repository".to_owned(),
            Self::Other => "of no branch and no tag".to_owned(),
        }
    }
}

/// Returns why a job does not get a secret with these rules: which rule, what it admits, and what the job is. `None` if
/// the job gets the secret.
#[must_use]
pub fn withheld(rules: &SecretRules, job: RequestingJob<'_>) -> Option<String> {
    let SecretRules { branches, tags, events, jobs } = rules;
    let RequestingJob { event, pipeline, job } = job;
    if !events.is_empty() && !events.contains(&event.name) {
        let words: Vec<&str> = events.iter().map(|name| name.as_str()).collect();
        return Some(format!(
            "its rules allow the events {}, but this build's event is `{}`",
            listed(&words),
            event.name
        ));
    }
    if !(branches.is_empty() && tags.is_empty()) {
        let origin = Origin::from_event(event);
        let admitted = match origin {
            Origin::Branch(_) | Origin::Branches { .. } => !branches.is_empty() && origin.is_on(branches),
            Origin::Tag(name) => !tags.is_empty() && admits(tags, &[name]),
            Origin::Stranger | Origin::Other => false,
        };
        if !admitted {
            let rule = match (branches.as_slice(), tags.as_slice()) {
                (branches, []) => format!("its rules allow the branches {}", listed(branches)),
                ([], tags) => format!("its rules allow the tags {}", listed(tags)),
                (branches, tags) => {
                    format!("its rules allow the branches {} and the tags {}", listed(branches), listed(tags))
                }
            };
            return Some(format!("{rule}, but this build is {}", origin.describe()));
        }
    }
    let in_full = format!("{pipeline}/{job}");
    if !jobs.is_empty() && !admits(jobs, &[job, &in_full]) {
        return Some(format!("its rules allow the jobs {}, but this job is {}", listed(jobs), quoted(&in_full)));
    }
    None
}

/// Checks rules before they are stored.
///
/// # Errors
/// Says what is wrong, for the person who sets them.
pub fn check(rules: &SecretRules) -> Result<(), String> {
    for (kind, patterns) in [("branches", &rules.branches), ("tags", &rules.tags), ("jobs", &rules.jobs)] {
        check_patterns(kind, patterns)?;
    }
    if rules.events.len() > MAX_PATTERNS {
        return Err(format!("`events` has more than {MAX_PATTERNS} entries"));
    }
    Ok(())
}

/// Checks the patterns of one kind of rule.
pub(crate) fn check_patterns(kind: &str, patterns: &[String]) -> Result<(), String> {
    if patterns.len() > MAX_PATTERNS {
        return Err(format!("`{kind}` has more than {MAX_PATTERNS} patterns: join some with `*` or `{{a,b}}`"));
    }
    for pattern in patterns {
        if pattern.len() > MAX_PATTERN {
            return Err(format!("a pattern of `{kind}` is longer than {MAX_PATTERN} bytes"));
        }
        // No ref name contains these characters, so the pattern would never match. It is a slip, such as a line break
        // at the end.
        if pattern.chars().any(char::is_control) || pattern.trim() != pattern {
            return Err(format!(
                "the pattern {} of `{kind}` has spaces or control characters around it",
                quoted(pattern)
            ));
        }
        Patterns::new().add(pattern).map_err(|why| format!("the pattern {} of `{kind}`: {why}", quoted(pattern)))?;
    }
    Ok(())
}

/// Returns the build's diagnostic for a secret that a rule withheld from one of its jobs.
#[must_use]
pub fn diagnostic(message: String) -> Diagnostic {
    Diagnostic {
        code: Code::SecretWithheld.as_str().to_owned(),
        severity: Severity::Warning,
        file: ".longshore".to_owned(),
        span: Span { line: 1, column: 1, length: 1 },
        message,
        help: Some(
            "run the job where its rules allow it, or change them: `longshore secret set REPO NAME --rules-only --branch ...`"
                .to_owned(),
        ),
        source: None,
    }
}

/// Returns whether the patterns admit one of the names. Invalid patterns admit nothing.
pub(crate) fn admits(patterns: &[String], names: &[&str]) -> bool {
    let mut all = Patterns::new();
    patterns.iter().all(|pattern| all.add(pattern).is_ok()) && all.admits_any(names)
}

pub(crate) fn listed<S: AsRef<str>>(names: &[S]) -> String {
    names.iter().map(|name| quoted(name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// Quotes somebody else's text for a message of one line.
fn quoted(text: &str) -> String {
    format!("`{}`", text.chars().take(MAX_PATTERN).flat_map(char::escape_debug).collect::<String>())
}

#[cfg(test)]
mod tests {
    use longshore_core::{EventName, event::Merge};
    use proptest::{prelude::*, sample::select};

    use super::*;

    fn event(name: EventName, git_ref: &str) -> Event {
        Event { default_branch: Some("main".to_owned()), ..Event::new(name, git_ref, "0".repeat(40)) }
    }

    fn pull_request(source: &str, target: &str, fork: bool) -> Event {
        let pull_request = PullRequest { fork, ..PullRequest::opened(7, source, target) };
        Event { pull_request: Some(pull_request), ..event(EventName::PullRequest, "refs/pull/7/head") }
    }

    /// Builds of a pull request in which files of the target branch run.
    fn with_files_of_target(event: &Event) -> [Event; 2] {
        let merge = Merge { head: "1".repeat(40), target: "2".repeat(40) };
        let (mut merged, mut gone) = (event.clone(), event.clone());
        merged.pull_request.as_mut().unwrap().merge = Some(merge);
        gone.pull_request.as_mut().unwrap().gone = Some(String::new());
        [merged, gone]
    }

    fn list(patterns: &[&str]) -> Vec<String> {
        patterns.iter().map(|pattern| (*pattern).to_owned()).collect()
    }

    fn rules(branches: &[&str], tags: &[&str], events: &[EventName], jobs: &[&str]) -> SecretRules {
        SecretRules { branches: list(branches), tags: list(tags), events: events.to_vec(), jobs: list(jobs) }
    }

    fn why(rules: &SecretRules, event: &Event) -> Option<String> {
        withheld(rules, RequestingJob { event, pipeline: "ci", job: "deploy" })
    }

    #[test]
    fn a_secret_of_a_branch_goes_to_builds_of_that_branch_and_to_no_others() {
        let main = rules(&["main"], &[], &[], &[]);
        for name in [EventName::Push, EventName::Schedule, EventName::Manual] {
            assert_eq!(why(&main, &event(name, "refs/heads/main")), None);
            assert!(why(&main, &event(name, "refs/heads/feature")).is_some());
        }
        for (event, said) in [
            (pull_request("feature", "main", false), "of the branch `feature`"),
            (pull_request("feature", "main", true), "from a fork"),
            // A fork's branch with the same name is not a branch of this repository.
            (pull_request("main", "main", true), "from a fork"),
            (event(EventName::Tag, "refs/tags/main"), "of the tag `main`"),
            (event(EventName::Push, "refs/heads/refs/heads/main"), "of the branch `refs/heads/main`"),
            (event(EventName::Push, "main"), "of no branch and no tag"),
            (event(EventName::Manual, "refs/tags/main"), "of the tag `main`"),
        ] {
            let why = why(&main, &event).unwrap();
            assert!(why.contains(said) && why.contains("rules allow the branches `main`"), "{why}");
        }
        // It builds the commit of that branch, whatever the target branch is.
        assert_eq!(why(&main, &pull_request("main", "release/1", false)), None);
    }

    #[test]
    fn where_files_of_two_branches_run_a_secret_of_one_of_them_stays_away() {
        let main = rules(&["main"], &[], &[], &[]);
        for (source, target) in [("main", "evil"), ("evil", "main")] {
            for event in with_files_of_target(&pull_request(source, target, false)) {
                let why = why(&main, &event).unwrap();
                assert!(
                    why.ends_with(&format!(
                        "of the branches `{source}` and `{target}`, of which both have to be allowed"
                    )),
                    "{why}"
                );
                assert_eq!(super::tests::why(&rules(&["main", "ev*"], &[], &[], &[]), &event), None);
                assert!(super::tests::why(&rules(&[], &["**"], &[], &[]), &event).is_some(), "it is of no tag");
            }
        }
        // A stranger's stays one of no branch.
        for event in with_files_of_target(&pull_request("main", "main", true)) {
            assert!(why(&main, &event).unwrap().contains("from a fork"));
        }
    }

    #[test]
    fn a_secret_of_tags_does_not_go_to_a_branch_that_is_called_like_one() {
        let releases = rules(&[], &["v*"], &[], &[]);
        assert_eq!(why(&releases, &event(EventName::Tag, "refs/tags/v1")), None);
        assert_eq!(why(&releases, &event(EventName::Manual, "refs/tags/v1")), None);
        for git_ref in ["refs/heads/v1", "refs/heads/refs/tags/v1", "refs/heads/tags/v1", "refs/tags/x/v1", "v1"] {
            assert!(why(&releases, &event(EventName::Tag, git_ref)).is_some(), "{git_ref}");
        }
        let both = rules(&["main"], &["v*"], &[], &[]);
        assert_eq!(why(&both, &event(EventName::Push, "refs/heads/main")), None);
        assert_eq!(why(&both, &event(EventName::Tag, "refs/tags/v1")), None);
        let why = why(&both, &event(EventName::Push, "refs/heads/v1")).unwrap();
        assert!(why.contains("the branches `main` and the tags `v*`"), "{why}");
        // A list of exclusions for branches does not admit tags.
        assert!(
            super::tests::why(&rules(&["!wip/**"], &[], &[], &[]), &event(EventName::Tag, "refs/tags/v1")).is_some()
        );
    }

    #[test]
    fn rules_for_events_and_jobs_say_what_would_fit() {
        let push = rules(&[], &[], &[EventName::Push, EventName::Tag], &[]);
        assert_eq!(why(&push, &event(EventName::Push, "refs/heads/x")), None);
        let reason = why(&push, &event(EventName::Manual, "refs/heads/x")).unwrap();
        assert_eq!(reason, "its rules allow the events `push`, `tag`, but this build's event is `manual`");
        let here = event(EventName::Push, "refs/heads/x");
        for fits in [&["deploy"][..], &["ci/deploy"], &["ci/*"], &["dep*"], &["!test"], &["**"]] {
            assert_eq!(why(&rules(&[], &[], &[], fits), &here), None, "{fits:?}");
        }
        for not in [&["test"][..], &["other/deploy"], &["!deploy"], &["!ci/deploy"], &["**", "!ci/*"]] {
            let reason = why(&rules(&[], &[], &[], not), &here).unwrap();
            assert!(reason.contains("this job is `ci/deploy`"), "{reason}");
        }
    }

    #[test]
    fn patterns_that_mean_nothing_are_refused_and_admit_nothing() {
        for bad in ["", "!", "[a", "main\n", " main"] {
            let broken = rules(&[bad], &[], &[], &[]);
            assert!(check(&broken).is_err(), "{bad:?}");
        }
        assert!(check(&rules(&["main", "!wip/**"], &["v[0-9]*"], &[EventName::Push], &["ci/*"])).is_ok());
        assert!(check(&rules(&["a"; MAX_PATTERNS + 1], &[], &[], &[])).is_err());
        assert!(why(&rules(&["[a", "main"], &[], &[], &[]), &event(EventName::Push, "refs/heads/main")).is_some());
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let names =
            select(vec!["main", "v1", "feature", "refs/heads/main", "refs/tags/v1", "heads/main", "Main", "main "]);
        let prefixes = select(vec!["refs/heads/", "refs/tags/", "refs/pull/", ""]);
        let kinds = select(vec![EventName::Push, EventName::Tag, EventName::Schedule, EventName::Manual]);
        prop_oneof![
            (kinds, prefixes, names.clone()).prop_map(|(name, prefix, short)| event(name, &format!("{prefix}{short}"))),
            (names.clone(), names, any::<bool>(), 0..3_usize).prop_map(|(source, target, fork, kind)| {
                let event = pull_request(source, target, fork);
                let [merged, gone] = with_files_of_target(&event);
                vec![event, merged, gone].swap_remove(kind)
            }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn a_secret_of_main_goes_only_to_commits_of_the_repositorys_branch_main(
            event in any_event(), tags in prop_oneof![Just(vec![]), Just(list(&["v*"]))],
        ) {
            let rules = SecretRules { branches: list(&["main"]), tags: tags.clone(), ..SecretRules::default() };
            let of_main = match &event.pull_request {
                Some(PullRequest { fork, source_branch, target_branch, merge, gone, .. }) => {
                    let has_files_of_target = merge.is_some() || gone.is_some();
                    !fork && source_branch == "main" && (!has_files_of_target || target_branch == "main")
                }
                None => event.git_ref == "refs/heads/main",
            };
            let of_a_tag = !tags.is_empty() && event.pull_request.is_none() && event.git_ref == "refs/tags/v1";
            prop_assert_eq!(why(&rules, &event).is_none(), of_main || of_a_tag);
        }

        #[test]
        fn a_rule_more_never_gives_a_secret_to_more_jobs(
            event in any_event(), job in select(vec!["deploy", "test"]),
            mut branches in proptest::collection::vec(select(vec!["main", "feature", "**"]), 0..3),
            jobs in proptest::collection::vec(select(vec!["deploy", "ci/*", "!test"]), 0..3),
            events in proptest::collection::vec(select(vec![EventName::Push, EventName::PullRequest]), 0..3),
        ) {
            branches.dedup();
            let all = rules(&branches, &[], &events, &jobs);
            let job = RequestingJob { event: &event, pipeline: "ci", job };
            let alone = [
                SecretRules { branches: all.branches.clone(), ..SecretRules::default() },
                SecretRules { events: all.events.clone(), ..SecretRules::default() },
                SecretRules { jobs: all.jobs.clone(), ..SecretRules::default() },
            ];
            let each = alone.iter().all(|rules| withheld(rules, job).is_none());
            prop_assert_eq!(withheld(&all, job).is_none(), each);
            prop_assert_eq!(withheld(&SecretRules::default(), job), None);
        }
    }
}
