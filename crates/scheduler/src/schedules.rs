//! Makes the builds of `schedule`, which no event starts.
//!
//! Which times a repository has is stored whenever its default branch is read ([`schedules_of`]). The task here makes
//! builds of the times that are due. A time's build and the time that is due next are written in one transaction: no
//! time makes two builds, however often the server dies. Times that passed while the server or the forge was down make
//! one build: the latest's.

use std::{collections::BTreeMap, time::Duration};

use longshore_core::{DueSchedule, EventName, Timestamp};
use longshore_git::FetchTarget;
use longshore_store::{
    ChangeKind, Store, StoreError,
    builds::NewBuild,
    repos,
    schedules::{self, Fired, NewSchedule, Schedule as Row, ScheduleKey},
};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::{
    by_repo::MAX_NAP, by_repo::MAX_PAUSE, by_repo::RepoTasks, by_repo::TRIES, by_repo::catch_panic,
    by_repo::pause_after, by_repo::sleep_until, outsiders, prepare::EventOutcome, prepare::Origin, prepare::Planner,
    prepare::Prepared,
};
use longshore_pipeline::{Pipeline, Schedule};

/// A repository's schedules.
pub(crate) type Schedules = BTreeMap<ScheduleKey, NewSchedule>;

/// Repositories whose schedules are carried out at once, and how many of them at one host.
const CONCURRENT_REPOS: usize = 4;
const OF_ONE_HOST: usize = 3;
/// How far a time that was carried out may lie ahead of the clock. Beyond that, the clock was wrong then.
const BELIEVED_AHEAD: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns what pipelines have under `schedule`, each due for the first time after `now`. Equal entries become one.
pub(crate) fn schedules_of(pipelines: &[Pipeline], default_branch: &str, now: Timestamp) -> Schedules {
    let mut all = Schedules::new();
    for pipeline in pipelines {
        for schedule in pipeline.schedules() {
            let Some(next_at) = schedule.next_after(now) else { continue };
            let key = ScheduleKey {
                cron: schedule.cron().to_owned(),
                timezone: schedule.timezone().to_owned(),
                branch: schedule.branch().unwrap_or(default_branch).to_owned(),
            };
            let entry = all.entry(key).or_insert_with(|| NewSchedule { pipelines: Vec::new(), next_at });
            if !entry.pipelines.iter().any(|name| name == pipeline.name()) {
                entry.pipelines.push(pipeline.name().to_owned());
            }
        }
    }
    all
}

/// Runs until `shutdown`. A time that is under way then is still due at the next start.
pub(crate) async fn run(store: Store, planner: Planner, shutdown: CancellationToken) {
    let mut changed = store.changes();
    let mut repo_tasks = RepoTasks::new(CONCURRENT_REPOS, OF_ONE_HOST);
    loop {
        let wake_at = match start_due(&store, &planner, &mut repo_tasks, Timestamp::now()).await {
            Ok(wake_at) => wake_at,
            Err(error) => {
                tracing::error!(%error, "cannot look at the schedules");
                Some(Timestamp::now() + Duration::from_secs(1))
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = repo_tasks.next_ended() => {}
            () = until_schedules_change(&mut changed) => {}
            () = sleep_until(wake_at) => {}
        }
    }
}

/// Starts what is due. Returns when something will be due next, if that is known.
async fn start_due(
    store: &Store,
    planner: &Planner,
    repo_tasks: &mut RepoTasks,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let mut wake_at: Option<Timestamp> = None;
    let mut due = Vec::new();
    for row in schedules::all(store).await? {
        match decide(&row, now) {
            Decision::Waits(until) => wake_at = Some(wake_at.map_or(until, |at| at.min(until))),
            Decision::Wrong(next_at) => {
                let mut tx = store.write().await?;
                schedules::set_next(&mut tx, &row, next_at).await?;
                tx.commit().await?;
                wake_at = Some(now);
            }
            Decision::Due { due_at, next_at } => due.push((row, due_at, next_at)),
        }
    }
    // Whenever work ends, all schedules are considered again.
    for turn in repo_tasks.in_turn(store, due.iter().map(|(row, ..)| row.repo).collect()).await? {
        let repo = turn.repo();
        let Some(place) = due.iter().position(|(row, ..)| row.repo == repo) else { continue };
        let (row, due_at, next_at) = due.swap_remove(place);
        let (store, planner) = (store.clone(), planner.clone());
        repo_tasks.start(turn, async move {
            if let Err(error) = fire(&store, &planner, &row, due_at, next_at).await {
                tracing::error!(%repo, cron = row.key.cron, %error, "a build that is due could not be stored");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
    }
    Ok(wake_at)
}

/// Waits until a repository changes, which is seldom; changes of builds, which are frequent, are ignored.
pub(crate) async fn until_schedules_change(changed: &mut tokio::sync::broadcast::Receiver<longshore_store::Change>) {
    loop {
        match changed.recv().await {
            Ok(change) if change.kind == ChangeKind::Repo => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// What to do with a schedule.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Waits(Timestamp),
    Due {
        due_at: Timestamp,
        next_at: Option<Timestamp>,
    },
    /// Its next time was computed with a clock that has been set back since.
    Wrong(Timestamp),
}

/// Returns what to do with `row` at `now`. A pure function.
fn decide(row: &Row, now: Timestamp) -> Decision {
    let Some(schedule) = Schedule::of(&row.key.cron, &row.key.timezone) else {
        // Another version wrote an expression that this one does not parse. The next push replaces it.
        return Decision::Waits(now + MAX_NAP);
    };
    if row.next_at > now {
        // A clock that was set back a little does not make a time come twice.
        let done = row.last_due_at.filter(|last| *last <= now + BELIEVED_AHEAD).unwrap_or(now);
        return match schedule.next_after(done.max(now)) {
            Some(next_at) if next_at < row.next_at => Decision::Wrong(next_at),
            Some(_) | None => Decision::Waits(row.next_at),
        };
    }
    if row.attempts > 0 && row.try_at > now && row.try_at <= now + MAX_PAUSE {
        return Decision::Waits(row.try_at);
    }
    let due_at = schedule.last_until(now).map_or(row.next_at, |last| last.max(row.next_at));
    Decision::Due { due_at, next_at: schedule.next_after(now) }
}

/// What to do about a time that is due.
enum Verdict {
    Build(Box<NewBuild>),
    Nothing(String),
    Again(String),
}

async fn fire(
    store: &Store,
    planner: &Planner,
    row: &Row,
    due_at: Timestamp,
    next_at: Option<Timestamp>,
) -> Result<(), StoreError> {
    let Some(repo) = repos::get(store, row.repo).await? else { return Ok(()) };
    let judged = catch_panic(judge(planner, &repo, row, due_at)).await;
    let (verdict, found) = judged.unwrap_or_else(|reason| (Verdict::Again(reason), None));
    let now = Timestamp::now();
    let mut tx = store.write().await?;
    let fired = match verdict {
        Verdict::Build(new) => {
            let build = outsiders::create(&mut tx, *new, now).await?;
            tracing::info!(repo = repo.name, number = build.number, cron = row.key.cron, %due_at, "new build");
            schedules::fired(&mut tx, row, due_at, next_at, &Fired::Build(build.id)).await
        }
        Verdict::Again(reason) if row.attempts < TRIES => {
            let pause = pause_after(row.attempts);
            tracing::warn!(repo = repo.name, cron = row.key.cron, reason, ?pause, "will be tried again");
            schedules::retry_later(&mut tx, row, now + pause, &reason).await
        }
        Verdict::Again(reason) | Verdict::Nothing(reason) => {
            tracing::info!(repo = repo.name, cron = row.key.cron, reason, "no build");
            schedules::fired(&mut tx, row, due_at, next_at, &Fired::Nothing(reason)).await
        }
    };
    match fired {
        // A push changed the schedule meanwhile: it is considered again as it is now, and the build is not made.
        Err(StoreError::Conflict(_)) => return Ok(()),
        fired => fired?,
    }
    if let Some(found) = &found {
        schedules::replace(&mut tx, repo.id, found).await?;
    }
    tx.commit().await.map(drop)
}

async fn judge(planner: &Planner, repo: &repos::Repo, row: &Row, due_at: Timestamp) -> (Verdict, Option<Schedules>) {
    let git_ref = match format!("refs/heads/{}", row.key.branch).parse::<longshore_forge::RefName>() {
        Ok(git_ref) => git_ref,
        Err(error) => return (Verdict::Nothing(error.to_string()), None),
    };
    let origin = Origin {
        schedule: Some(DueSchedule { cron: row.key.cron.clone(), timezone: row.key.timezone.clone(), due_at }),
        ..Origin::new(EventName::Schedule, git_ref.as_str().to_owned(), FetchTarget::Ref(git_ref))
    };
    match planner.prepare(repo, origin).await {
        Ok(Prepared { outcome: EventOutcome::Build { event, plan, diagnostics }, schedules, .. }) => {
            (Verdict::Build(Box::new(NewBuild::new(repo.id, *event, plan, diagnostics))), schedules)
        }
        Ok(Prepared { outcome: EventOutcome::Nothing(reason), schedules, .. }) => (Verdict::Nothing(reason), schedules),
        Err(error) if error.may_mend() => (Verdict::Again(error.to_string()), None),
        Err(error) => (Verdict::Nothing(error.to_string()), None),
    }
}

#[cfg(test)]
mod tests {
    use longshore_core::RepoId;
    use proptest::prelude::*;

    use super::*;

    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    /// 2026-03-01T00:00:00Z.
    const MARCH: i64 = 1_772_323_200_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(MARCH + millis)
    }

    fn row(cron: &str, next_at: i64) -> Row {
        Row {
            repo: RepoId::new(),
            key: ScheduleKey { cron: cron.to_owned(), timezone: "UTC".to_owned(), branch: "main".to_owned() },
            pipelines: vec!["ci".to_owned()],
            next_at: at(next_at),
            attempts: 0,
            try_at: at(next_at),
            last_due_at: None,
            last_build: None,
            reason: None,
        }
    }

    /// Does with the row what the task would do. Returns the time that was due.
    fn carry_out(row: &mut Row, now: Timestamp) -> Option<Timestamp> {
        loop {
            match decide(row, now) {
                Decision::Waits(_) => return None,
                Decision::Wrong(next_at) => row.next_at = next_at,
                Decision::Due { due_at, next_at } => {
                    (row.last_due_at, row.next_at) = (Some(due_at), next_at.unwrap());
                    return Some(due_at);
                }
            }
        }
    }

    #[test]
    fn times_that_were_missed_make_one_build_of_the_latest() {
        let mut hourly = row("0 * * * *", HOUR);
        assert_eq!(carry_out(&mut hourly, at(HOUR - 1)), None);
        assert_eq!(carry_out(&mut hourly, at(9 * DAY + 5 * HOUR + 20 * MINUTE)), Some(at(9 * DAY + 5 * HOUR)));
        assert_eq!(hourly.next_at, at(9 * DAY + 6 * HOUR));
        assert_eq!(carry_out(&mut hourly, at(9 * DAY + 5 * HOUR + 21 * MINUTE)), None);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_make_a_time_come_twice() {
        let mut hourly = row("0 * * * *", 3 * HOUR);
        assert_eq!(carry_out(&mut hourly, at(3 * HOUR)), Some(at(3 * HOUR)));
        for now in [HOUR, 2 * HOUR, 3 * HOUR, 4 * HOUR - 1] {
            assert_eq!(carry_out(&mut hourly, at(now)), None, "{now}");
        }
        assert_eq!(carry_out(&mut hourly, at(4 * HOUR)), Some(at(4 * HOUR)));
    }

    #[test]
    fn a_clock_that_was_a_year_ahead_for_a_moment_does_not_stop_a_schedule_for_a_year() {
        let mut hourly = row("0 * * * *", HOUR);
        assert_eq!(carry_out(&mut hourly, at(365 * DAY)), Some(at(365 * DAY)));
        assert_eq!(carry_out(&mut hourly, at(2 * HOUR - 1)), None);
        assert_eq!(carry_out(&mut hourly, at(2 * HOUR)), Some(at(2 * HOUR)));
        // Likewise if the time was only computed with such a clock.
        let mut hourly = row("0 * * * *", 365 * DAY);
        assert_eq!(carry_out(&mut hourly, at(2 * HOUR - 1)), None);
        assert_eq!(carry_out(&mut hourly, at(2 * HOUR)), Some(at(2 * HOUR)));
    }

    #[test]
    fn a_time_that_could_not_be_carried_out_waits_for_its_next_try_and_not_for_a_clock_that_was_set_back() {
        let mut failing = row("0 3 * * *", HOUR);
        (failing.attempts, failing.try_at) = (3, at(HOUR + 16_000));
        assert_eq!(decide(&failing, at(HOUR + 15_000)), Decision::Waits(at(HOUR + 16_000)));
        assert!(matches!(decide(&failing, at(HOUR + 16_000)), Decision::Due { .. }));
        failing.try_at = at(5 * HOUR);
        assert!(matches!(decide(&failing, at(HOUR + 15_000)), Decision::Due { .. }));
    }

    proptest! {
        /// However the server sleeps, and however the clock is set back by less than a day, times that are carried out
        /// only go forward.
        #[test]
        fn no_time_is_ever_carried_out_twice(
            cron in prop::sample::select(vec!["* * * * *", "*/7 2-5 * * *", "0 3 * * 1", "30 2 29 * *", "@daily"]),
            steps in prop::collection::vec(-20 * HOUR..3 * DAY, 1..60),
        ) {
            let schedule = Schedule::of(cron, "UTC").unwrap();
            let mut row = row(cron, 0);
            row.next_at = schedule.next_after(at(0)).unwrap();
            let (mut now, mut last) = (0_i64, None::<Timestamp>);
            let mut highest = 0;
            for step in steps {
                // Never more than twenty hours behind the latest that it showed.
                now = (now + step).max(highest - 20 * HOUR);
                highest = highest.max(now);
                if let Some(due) = carry_out(&mut row, at(now)) {
                    prop_assert!(last.is_none_or(|last| due > last), "{due} after {last:?}");
                    prop_assert!(due <= at(now));
                    last = Some(due);
                }
                prop_assert_eq!(carry_out(&mut row, at(now)), None);
            }
        }
    }
}
