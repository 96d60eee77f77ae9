use proptest::prelude::*;

use super::*;

#[test]
fn only_rules_of_the_repositorys_own_or_an_approval_make_a_pipeline_that_had_nothing_to_do_a_success() {
    let skipped = || CommitStatus::skipped("ci", "no file changed");
    for (brought_by, approved, counts) in [
        (BroughtBy::Own, false, true),
        (BroughtBy::StrangerIntoDefault, false, true),
        (BroughtBy::StrangerIntoOther, false, false),
        (BroughtBy::StrangerIntoOther, true, true),
    ] {
        let state = if counts { CommitState::Skipped } else { CommitState::Pending };
        assert_eq!(skipped().for_commit(brought_by, approved).state, state, "{brought_by:?} {approved}");
    }
    let failed = CommitStatus { state: CommitState::Failure, ..skipped() };
    assert_eq!(failed.clone().for_commit(BroughtBy::StrangerIntoOther, false), failed);
}

fn job(name: &str, status: Status, reason: Option<&str>) -> JobOfContext {
    JobOfContext {
        pipeline: "ci".to_owned(),
        name: name.to_owned(),
        status,
        reason: reason.map(str::to_owned),
        continue_on_error: false,
    }
}

fn of(jobs: &[JobOfContext]) -> (CommitState, String) {
    let [one] = of_build(StatusDetail::Pipeline, jobs).try_into().unwrap();
    assert_eq!(one.context, "longshore/ci");
    (one.state, one.description)
}

fn is(state: CommitState, description: &str) -> (CommitState, String) {
    (state, description.to_owned())
}

#[test]
fn a_failure_says_which_job_and_why() {
    let why = "step `Unit tests` failed with exit code 101";
    assert_eq!(
        of(&[job("lint", Status::Success, None), job("test (1.95)", Status::Failure, Some(why))]),
        is(CommitState::Failure, "test (1.95): step `Unit tests` failed with exit code 101")
    );
    let mut tolerated = job("lint", Status::Failure, Some(why));
    tolerated.continue_on_error = true;
    assert_eq!(
        of(&[tolerated, job("test", Status::Success, None)]),
        is(CommitState::Success, "1 of 2 jobs succeeded; the others were allowed to fail")
    );
}

#[test]
fn what_waits_is_pending_and_says_for_what() {
    let asks = Some("awaiting approval: deploy?");
    for (jobs, description) in [
        (vec![job("a", Status::Queued, None)], "queued"),
        (vec![job("a", Status::Queued, None), job("b", Status::Blocked, None)], "queued"),
        (vec![job("a", Status::Success, None), job("b", Status::Blocked, asks)], "b: awaiting approval: deploy?"),
        (
            vec![job("b", Status::Blocked, Some("waiting for #1 (concurrency group `x`)"))],
            "b: waiting for #1 (concurrency group `x`)",
        ),
    ] {
        assert_eq!(of(&jobs), is(CommitState::Pending, description));
    }
    assert_eq!(
        of(&[job("a", Status::Running, None), job("b", Status::Blocked, asks)]),
        is(CommitState::Running, "0 of 2 jobs finished")
    );
    assert_eq!(
        of(&[job("a", Status::Success, None), job("b", Status::Queued, None)]),
        is(CommitState::Running, "1 of 2 jobs finished")
    );
}

#[test]
fn what_was_skipped_as_a_whole_does_not_hold_up_a_merge() {
    let skipped = job("a", Status::Skipped, Some("its `if` is false"));
    assert_eq!(of(std::slice::from_ref(&skipped)), is(CommitState::Skipped, "a: its `if` is false"));
    assert_eq!(of(&[skipped, job("b", Status::Success, None)]), is(CommitState::Success, "1 job succeeded"));
}

#[test]
fn contexts_follow_the_repositorys_setting_and_stay_distinct() {
    let mut other = job("b", Status::Success, None);
    other.pipeline = "nightly".to_owned();
    let jobs = [job("a (1)", Status::Success, None), job("a (2)", Status::Failure, None), other];
    let contexts = |detail| of_build(detail, &jobs).into_iter().map(|one| one.context).collect::<Vec<_>>();
    assert_eq!(contexts(StatusDetail::Pipeline), ["longshore/ci", "longshore/nightly"]);
    assert_eq!(contexts(StatusDetail::Job), ["longshore/ci/a (1)", "longshore/ci/a (2)", "longshore/nightly/b"]);
    assert!(contexts(StatusDetail::None).is_empty());
    let long = |n: u32| job(&format!("{} ({n})", "ä".repeat(300)), Status::Success, None);
    let both = of_build(StatusDetail::Job, &[long(1), long(2)]);
    assert!(both[0].context != both[1].context && both[0].context.len() <= MAX_CONTEXT);
}

proptest! {
    #[test]
    fn every_job_that_is_not_over_keeps_its_context_open_and_no_description_is_too_long(
        jobs in prop::collection::vec((prop::sample::select(Status::ALL.to_vec()), ".{0,200}", any::<bool>()), 1..6)
    ) {
        let jobs: Vec<JobOfContext> = jobs.into_iter().map(|(status, reason, continue_on_error)| JobOfContext {
            continue_on_error,
            ..job("a", status, Some(&reason))
        }).collect();
        let open = jobs.iter().any(|job| !job.status.is_final());
        let (state, description) = of(&jobs);
        prop_assert_eq!(matches!(state, CommitState::Pending | CommitState::Running), open);
        prop_assert!(description.chars().count() <= MAX_DESCRIPTION);
        let failed = jobs.iter().any(|job| job.status == Status::Failure && !job.continue_on_error);
        prop_assert!(open || !failed || state == CommitState::Failure);
    }
}
