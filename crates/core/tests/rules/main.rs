//! The rules of the queue, without a database: whatever comes in whatever order, their promises hold.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

use std::collections::BTreeMap;

use longshore_core::{
    BuildId, BuildPlan, ErrorKind, JobId, JobPlan, Lane, Outcome, RepoId, Status,
    expression::Expression,
    plan::{Concurrency, MatrixGroup, Need, Retry, RetryOn},
    rules::{PullRequestBuild, QueueEvent},
};
use proptest::prelude::*;

mod graph;
mod model;
use model::{Model, RUNS};

/// What a job is like, in numbers that shrink well.
#[derive(Debug, Clone)]
struct JobShape {
    /// A bit for each job before it.
    needs: u8,
    is_optional: bool,
    condition: usize,
    asks: bool,
    continue_on_error: bool,
    in_matrix: bool,
    retries: bool,
    has_label: bool,
}

#[derive(Debug, Clone)]
struct BuildShape {
    repo: usize,
    pull_request: Option<PullRequestShape>,
    group: Option<(u8, bool)>,
    fail_fast: bool,
    max_parallel: Option<u32>,
    jobs: Vec<JobShape>,
}

#[derive(Debug, Clone)]
struct PullRequestShape {
    number: u64,
    commit: u8,
    /// How far behind the newest its delivery is; `None` for a build that a person asked for.
    late: Option<i64>,
    of_closing: bool,
}

#[derive(Debug, Clone)]
enum Act {
    Build(BuildShape),
    Claim,
    End(usize, usize),
    /// An end that an attempt before the running one reports.
    LateEnd(usize),
    Cancel(usize),
    CancelBuild(usize),
    Approve(usize),
    ApproveBuild(usize),
    Decline(usize),
    ClosePullRequest(usize, u64),
}

fn shape() -> impl Strategy<Value = BuildShape> {
    let flag = |odds: f64| prop::bool::weighted(odds);
    let job = (any::<u8>(), flag(0.2), 0..6_usize, flag(0.15), flag(0.15), flag(0.4), flag(0.3), flag(0.1)).prop_map(
        |(needs, is_optional, condition, asks, continue_on_error, in_matrix, retries, has_label)| JobShape {
            needs,
            is_optional,
            condition,
            asks,
            continue_on_error,
            in_matrix,
            retries,
            has_label,
        },
    );
    let pull_request = (1..3_u64, 0..3_u8, prop::option::weighted(0.8, 0..3_i64), flag(0.15))
        .prop_map(|(number, commit, late, of_closing)| PullRequestShape { number, commit, late, of_closing });
    (
        0..2_usize,
        prop::option::weighted(0.4, pull_request),
        prop::option::weighted(0.4, (0..2_u8, any::<bool>())),
        any::<bool>(),
        prop::option::of(1..3_u32),
        prop::collection::vec(job, 1..6),
    )
        .prop_map(|(repo, pull_request, group, fail_fast, max_parallel, jobs)| BuildShape {
            repo,
            pull_request,
            group,
            fail_fast,
            max_parallel,
            jobs,
        })
}

fn act() -> impl Strategy<Value = Act> {
    let at = 0..64_usize;
    prop_oneof![
        4 => shape().prop_map(Act::Build),
        6 => Just(Act::Claim),
        6 => (at.clone(), 0..6_usize).prop_map(|(at, how)| Act::End(at, how)),
        1 => at.clone().prop_map(Act::LateEnd),
        1 => at.clone().prop_map(Act::Cancel),
        1 => at.clone().prop_map(Act::CancelBuild),
        1 => at.clone().prop_map(Act::Approve),
        1 => at.clone().prop_map(Act::ApproveBuild),
        1 => at.prop_map(Act::Decline),
        1 => (0..2_usize, 1..3_u64).prop_map(|(repo, number)| Act::ClosePullRequest(repo, number)),
    ]
}

fn plan(shape: &BuildShape) -> BuildPlan {
    let key = |at: usize| match shape.jobs[at].in_matrix {
        true => format!("ci/m ({at})"),
        false => format!("ci/j{at}"),
    };
    let name = |at: usize| key(at).trim_start_matches("ci/").to_owned();
    let job = |at: usize| if shape.jobs[at].in_matrix { "m".to_owned() } else { name(at) };
    let jobs = shape.jobs.iter().enumerate().map(|(at, one)| {
        // Jobs of one matrix never need each other.
        let needs =
            (0..at).filter(|need| one.needs >> need & 1 == 1 && !(one.in_matrix && shape.jobs[*need].in_matrix));
        let condition =
            [None, None, None, Some("always()"), Some("failure()"), Some("from-json('{') == 1")][one.condition];
        JobPlan {
            key: key(at),
            pipeline: "ci".to_owned(),
            job: job(at),
            name: name(at),
            needs: needs
                .map(|need| Need { key: key(need), job: job(need), optional: one.is_optional, ..Need::default() })
                .collect(),
            condition: condition.map(|source| Expression::parse(source).unwrap()),
            approval: one.asks.then(|| "Deploy?".to_owned()),
            stranger: shape.pull_request.as_ref().map(|_| "the commit of a pull request".to_owned()),
            concurrency: shape
                .group
                .map(|(group, cancel_in_progress)| Concurrency { group: group.to_string(), cancel_in_progress }),
            matrix_group: one
                .in_matrix
                .then_some(MatrixGroup { fail_fast: shape.fail_fast, max_parallel: shape.max_parallel }),
            runs_on: match one.has_label {
                true => BTreeMap::from([("arch".to_owned(), "riscv".to_owned())]),
                false => BTreeMap::new(),
            },
            retry: one.retries.then(|| Retry { max: 1, on: vec![RetryOn::Error, RetryOn::Failure] }),
            continue_on_error: one.continue_on_error,
            ..JobPlan::default()
        }
    });
    BuildPlan::new(jobs.collect())
}

fn outcome(how: usize) -> Outcome {
    match how {
        0 | 1 => Outcome::Success,
        2 => Outcome::Failure { exit_code: 1, step: "x".to_owned(), out_of_memory: false },
        3 => Outcome::Error { kind: ErrorKind::Lost, message: "gone".to_owned() },
        4 => Outcome::TimedOut { limit_ms: 1 },
        _ => Outcome::Canceled,
    }
}

fn play(model: &mut Model, repos: &[RepoId; 2], deliveries: &mut i64, act: Act) {
    let job = |model: &Model, at: usize| -> Option<JobId> {
        (!model.jobs.is_empty()).then(|| model.jobs[at % model.jobs.len()].id)
    };
    let build = |model: &Model, at: usize| -> Option<BuildId> {
        (!model.builds.is_empty()).then(|| model.builds[at % model.builds.len()].id)
    };
    match act {
        Act::Build(shape) => {
            let repo = repos[shape.repo];
            let pull_request = shape.pull_request.as_ref().map(|of| {
                *deliveries += 1;
                let facts = PullRequestBuild {
                    build: BuildId::new(),
                    number: 0,
                    commit: of.commit.to_string(),
                    // Deliveries have places of their own, also those that had to wait.
                    delivered: of.late.map(|late| (*deliveries - late) * 100 + *deliveries),
                    of_closing: of.of_closing,
                };
                (of.number, facts)
            });
            let stranger = shape.pull_request.as_ref().map(|of| of.number);
            model.create(Lane { repo, stranger }, &plan(&shape), pull_request);
        }
        Act::Claim => drop(model.claim()),
        Act::End(at, how) => {
            let running: Vec<(JobId, u32)> = model.with(&RUNS).map(|job| (job.id, job.attempt)).collect();
            if !running.is_empty() {
                let (job, attempt) = running[at % running.len()];
                let event = QueueEvent::AttemptEnded { job, attempt, outcome: outcome(how) };
                assert!(!model.happen(event).unwrap().is_empty(), "an end changes nothing");
            }
        }
        Act::LateEnd(at) => {
            let Some(job) = job(model, at) else { return };
            let attempt = model.job(job).attempt.wrapping_sub(1);
            let event = QueueEvent::AttemptEnded { job, attempt, outcome: Outcome::Success };
            assert_eq!(model.happen(event), Ok(Vec::new()), "an older attempt's end changes something");
        }
        Act::Cancel(at) => {
            if let Some(job) = job(model, at) {
                model.request_end(job);
            }
        }
        Act::CancelBuild(at) => {
            let Some(build) = build(model, at) else { return };
            model.happen(QueueEvent::BuildCanceled { build }).unwrap();
            let waits = |status| matches!(status, Status::Blocked | Status::Queued | Status::Running);
            assert!(!model.jobs.iter().any(|job| job.build == build && waits(job.status)));
        }
        // A request that does not apply is refused, and nothing changes.
        Act::Approve(at) => {
            if let Some(job) = job(model, at) {
                let _ = model.happen(QueueEvent::Approved { job });
            }
        }
        Act::ApproveBuild(at) => {
            if let Some(build) = build(model, at) {
                let _ = model.happen(QueueEvent::BuildApproved { build });
            }
        }
        Act::Decline(at) => {
            let Some(job) = job(model, at) else { return };
            if model.happen(QueueEvent::Declined { job, by: "ada".to_owned() }).is_ok() {
                assert_eq!(model.job(job).status, Status::Canceled);
            }
        }
        Act::ClosePullRequest(repo, number) => {
            let repo = repos[repo];
            model.happen(QueueEvent::PullRequestClosed { repo, number }).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// No job starts before its needs and its approval, no group is had twice, no matrix runs wider than it may, no
    /// final status is left, whatever waits or ends says why, and slots go to the repository with the fewest running
    /// jobs: the model checks it at every step. At the end all that waits comes to its end, but for what waits for
    /// another server and those that need or stand behind it.
    #[test]
    fn whatever_comes_in_whatever_order_the_rules_keep_their_promises(
        slots in 1_usize..4, acts in prop::collection::vec(act(), 1..60),
    ) {
        let (mut model, repos, mut deliveries) = (Model::new(slots), [RepoId::new(), RepoId::new()], 0);
        for act in acts {
            play(&mut model, &repos, &mut deliveries, act);
        }
        model.drain();
        let stuck: Vec<_> = model.jobs.iter().filter(|job| !job.status.is_final()).collect();
        let elsewhere = |reason: &str| reason.starts_with("waiting for a server with `arch: riscv`; this server has `arch: arm64`");
        let waits_elsewhere = stuck.iter().any(|job| job.reason.as_deref().is_some_and(elsewhere));
        prop_assert!(stuck.is_empty() || waits_elsewhere, "{stuck:#?}");
    }
}

fn event_names_its_reason(acts: &[Act], reason: &str) {
    let (mut model, repos, mut deliveries) = (Model::new(4), [RepoId::new(), RepoId::new()], 0);
    for act in acts {
        play(&mut model, &repos, &mut deliveries, act.clone());
    }
    let reasons: Vec<_> = model.jobs.iter().filter_map(|job| job.reason.as_deref()).collect();
    assert!(reasons.contains(&reason), "{reasons:?}");
}

fn one_job(pull_request: Option<PullRequestShape>) -> Act {
    let job = JobShape {
        needs: 0,
        is_optional: false,
        condition: 0,
        asks: false,
        continue_on_error: false,
        in_matrix: false,
        retries: false,
        has_label: false,
    };
    Act::Build(BuildShape { repo: 0, pull_request, group: None, fail_fast: false, max_parallel: None, jobs: vec![job] })
}

#[test]
fn a_newer_commit_cancels_older_builds_also_when_the_older_one_comes_late() {
    let of = |commit, late| one_job(Some(PullRequestShape { number: 7, commit, late: Some(late), of_closing: false }));
    event_names_its_reason(&[of(1, 0), of(2, 0)], "superseded by #2 (newer commit of the pull request)");
    event_names_its_reason(&[of(2, 0), of(1, 2)], "superseded by #1 (newer commit of the pull request)");
    event_names_its_reason(&[of(1, 0), Act::ClosePullRequest(0, 7)], "pull request #7 was closed");
}
