//! Watches the clock of a session: notices when an agent misses a deadline that it should keep on its own.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::following::artifacts::ArtifactReceiver;

/// Time after the agent's own deadlines before the container is killed.
pub(crate) const SLACK: Duration = Duration::from_secs(10);
/// How long an agent that hands over files may be silent once its job's time is over.
const HANDOVER_SILENCE: Duration = Duration::from_secs(60);
/// How long it may hand over files after its job's time in total, not counting the time in which it waits for the
/// server.
const HANDING_OVER: Duration = Duration::from_secs(2 * 60 * 60);
/// The agent's limit for `always()` steps after a cancel or the deadline (PROTOCOL.md).
pub(crate) const ALWAYS_LIMIT: Duration = Duration::from_secs(60);

/// How the agent misbehaved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stuck {
    NoAnswer,
    IgnoresCancel,
    OverTime,
    /// The agent continued to print after the limit.
    LogTooLong,
}

/// What the agent has done in this session.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AgentActivity {
    /// Set once Ready has arrived.
    pub(crate) ready: Option<Ready>,
    /// Number of steps that began or ended.
    pub(crate) steps: u64,
    /// The agent hands over the job's files, which does not count against the job's time.
    pub(crate) hands_over: bool,
    /// Reading is paused, because what has arrived has to be written first.
    pub(crate) paused: bool,
}

/// What the agent had when the session began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) planned: bool,
    pub(crate) checkout_received: u64,
    pub(crate) checkout_whole: bool,
}

/// The job's limits, as the clock needs them.
pub(crate) struct Timed<'a> {
    pub(crate) cancel: &'a CancellationToken,
    /// Takes the files that it leaves.
    pub(crate) artifacts: Option<&'a ArtifactReceiver>,
    /// How long the agent may take to answer.
    pub(crate) agent_patience: Duration,
    /// The time between TERM and KILL.
    pub(crate) grace: Duration,
}

/// Returns once the agent has missed one of the deadlines that it should keep on its own.
pub(crate) async fn watch_clock(job: &Timed<'_>, mut seen: watch::Receiver<AgentActivity>, deadline: Instant) -> Stuck {
    // A borrow locks the value, so it ends before anything is awaited.
    let answered = async { seen.wait_for(|seen| seen.ready.is_some()).await.map(drop) };
    if tokio::time::timeout(job.agent_patience, answered).await.is_err() {
        return Stuck::NoAnswer;
    }
    let is_behind = || job.artifacts.is_some_and(ArtifactReceiver::is_behind);
    tokio::select! {
        () = over_time(&mut seen, deadline, is_behind) => return Stuck::OverTime,
        () = job.cancel.cancelled() => {}
    }
    let grace = job.grace;
    // An agent that hands over files may have passed it.
    let deadline = deadline.max(Instant::now() + grace + SLACK);
    let patience = async {
        let before = seen.borrow().steps;
        if progressed(&mut seen, grace + SLACK, |seen| seen.steps > before).await {
            // `always()` steps have a limit of their own.
            progressed(&mut seen, ALWAYS_LIMIT + grace * 2 + SLACK, |_| false).await;
        }
    };
    // An agent that continues to print gets no more time than any other.
    let _ = tokio::time::timeout_at(deadline, patience).await;
    Stuck::IgnoresCancel
}

/// Returns once the job's time is over, and the time for handing over files too. An agent that waits for the server
/// (`is_behind`) does not count as silent.
async fn over_time(seen: &mut watch::Receiver<AgentActivity>, deadline: Instant, is_behind: impl Fn() -> bool) {
    tokio::time::sleep_until(deadline).await;
    let mut used = Duration::ZERO;
    while seen.borrow_and_update().hands_over && used < HANDING_OVER {
        let waits_for_us = is_behind() || seen.borrow().paused;
        let since = Instant::now();
        tokio::select! {
            biased;
            Ok(()) = seen.changed() => {}
            () = tokio::time::sleep(HANDOVER_SILENCE) => {
                if !waits_for_us && !is_behind() {
                    return;
                }
            }
        }
        if !waits_for_us {
            used += since.elapsed();
        }
    }
}

/// Waits until `wanted` is true; gives up if nothing has arrived for `patience`. The awaited message may be behind a
/// spool full of output, and the spool may wait because the server's disk is full, so time in which the server does not
/// read does not count.
async fn progressed(
    seen: &mut watch::Receiver<AgentActivity>,
    patience: Duration,
    wanted: impl Fn(&AgentActivity) -> bool,
) -> bool {
    loop {
        let now = *seen.borrow_and_update();
        if wanted(&now) {
            return true;
        }
        tokio::select! {
            biased;
            Ok(()) = seen.changed() => {}
            () = tokio::time::sleep(patience), if !now.paused => return false,
            else => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how long after its deadline an agent is over time that says something every `pause`.
    async fn time_of_handing_over(pause: Duration, is_behind: bool, most: Duration) -> Option<Duration> {
        let (see, mut seen) = watch::channel(AgentActivity { hands_over: true, ..AgentActivity::default() });
        let talking = async {
            loop {
                tokio::time::sleep(pause).await;
                see.send_modify(|_| {});
            }
        };
        let deadline = Instant::now();
        tokio::select! {
            () = over_time(&mut seen, deadline, || is_behind) => Some(deadline.elapsed()),
            () = talking => None,
            () = tokio::time::sleep(most) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_drips_files_after_its_time_is_ended_and_one_that_waits_for_a_full_disk_is_not() {
        let day = Duration::from_secs(24 * 60 * 60);
        let drips = time_of_handing_over(HANDOVER_SILENCE / 2, false, day).await.unwrap();
        assert!(drips >= HANDING_OVER && drips < HANDING_OVER + HANDOVER_SILENCE, "{drips:?}");
        let silent = time_of_handing_over(day, false, day * 2).await.unwrap();
        assert!(silent >= HANDOVER_SILENCE && silent < HANDOVER_SILENCE * 2, "{silent:?}");
        assert_eq!(time_of_handing_over(day, true, day).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_hands_nothing_over_has_its_jobs_time_and_no_more() {
        let (_see, mut seen) = watch::channel(AgentActivity::default());
        let began = Instant::now();
        over_time(&mut seen, began + HANDOVER_SILENCE, || false).await;
        assert_eq!(began.elapsed(), HANDOVER_SILENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_still_says_what_waits_in_its_spool_is_not_silent() {
        let patience = Duration::from_secs(1);
        let (see, mut seen) = watch::channel(AgentActivity::default());
        let talking = async {
            for _ in 0..6 {
                tokio::time::sleep(patience / 4).await;
                see.send_modify(|_| {});
            }
            see.send_modify(|seen| seen.steps += 1);
        };
        let (progressed, ()) = tokio::join!(progressed(&mut seen, patience, |seen| seen.steps > 0), talking);
        assert!(progressed, "longer than its patience in all, never so long in silence");
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_has_spoken_is_not_silent_though_the_clock_ran_out_meanwhile() {
        let patience = Duration::from_millis(1);
        for _ in 0..20 {
            let (see, mut seen) = watch::channel(AgentActivity::default());
            let mut waiting = std::pin::pin!(progressed(&mut seen, patience, |seen| seen.steps > 0));
            tokio::select! {
                biased;
                _ = &mut waiting => panic!("its time has just begun"),
                () = std::future::ready(()) => {}
            }
            see.send_modify(|seen| seen.steps += 1);
            tokio::time::sleep(patience * 3).await;
            assert!(waiting.await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_in_which_an_agent_is_not_read_from_is_not_its_own() {
        let (see, mut seen) = watch::channel(AgentActivity { paused: true, ..AgentActivity::default() });
        let mut waiting = std::pin::pin!(progressed(&mut seen, Duration::ZERO, |seen| seen.steps > 0));
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("nobody reads"),
            () = tokio::task::yield_now() => {}
        }
        see.send_modify(|seen| seen.paused = false);
        assert!(!waiting.await, "it says nothing though it is read from");
    }
}
