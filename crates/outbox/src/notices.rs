//! Notifies people of builds and anomalies: sends the store's pending messages to mailboxes, channels and webhooks.
//!
//! Each place gets one message at a time, in their order. A message that it repeatedly answers with an error lets the
//! others pass. A message that has become irrelevant (the job was approved meanwhile), or is not about the branches of
//! its place, is dropped; anomalies are reported for all branches. After a crash, a message that was sent and not
//! recorded as sent is sent again, under the same id.

use std::time::Duration;

use longshore_core::{BuildId, NotificationEvent, NotificationId, RepoId, Status, Timestamp};
use longshore_notification::{AnomalyLine, JobLine, Kind, Message, SendError, Sender, Subject, Target};
use longshore_pipeline::notification_rules;
use longshore_store::{
    Store, StoreError, anomalies, builds,
    jobs::{self, Job},
    notices::{self, Due, Topic, UnsentNotice},
    notifications::{self, Notification},
    repos,
};
use tokio_util::sync::CancellationToken;

use crate::{pause, turns::Turns};

/// Messages that are under way at once, in all and to the places of one repository. Those of the server count as one's.
const CONCURRENT_MESSAGES: usize = 8;
const AT_ONCE_OF_ONE: usize = 2;
/// How many messages of each owner are read: some may be under way.
const LOOKED_AT: u32 = 4;
/// How long a place may be unreachable before a message is given up, because it is out of date.
const GIVE_UP_AFTER: Duration = Duration::from_secs(3 * 24 * 60 * 60);
/// Tries of a message that its place refuses.
const MAX_REFUSALS: u32 = 6;

/// Sends the messages.
#[derive(Debug, Clone)]
pub struct Notices {
    pub store: Store,
    pub sender: Sender,
    /// The server's address, without a slash at the end.
    pub url: String,
}

impl Notices {
    /// Runs until `shutdown`. A message that is under way then is sent once more at the next start.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut turns = Turns::new(CONCURRENT_MESSAGES, AT_ONCE_OF_ONE);
        loop {
            // Taken before the rows are read, so that no change between is missed.
            let changed = self.store.notices_added();
            let wake_at = pause::or_soon(self.start_due(&mut turns).await, "notifications");
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = turns.next_ended() => {}
                () = changed => {}
                () = pause::sleep_until(wake_at) => {}
            }
        }
    }

    /// Starts what is due. Returns when something else will be.
    async fn start_due(
        &self,
        turns: &mut Turns<NotificationId, Option<RepoId>>,
    ) -> Result<Option<Timestamp>, StoreError> {
        let now = Timestamp::now();
        let mut waiting = notices::due(&self.store, &turns.under_way(), LOOKED_AT).await?;
        let next = pause::keep_due(&mut waiting, |due| due.try_at, now, GIVE_UP_AFTER);
        turns.start(
            waiting,
            |due| (due.notification, due.repo),
            |due| {
                let this = self.clone();
                async move {
                    if let Err(error) = this.deliver(due).await {
                        tracing::error!(%error, notice = %due.id, "a message could not be sent");
                        tokio::time::sleep(pause::RETRY_PAUSE).await;
                    }
                }
            },
        );
        Ok(next)
    }

    /// Sends one message, and notes what became of it.
    async fn deliver(&self, due: Due) -> Result<(), StoreError> {
        let Some(unsent) = notices::unsent(&self.store, due.id).await? else { return Ok(()) };
        let opened = match notifications::open(&self.store, unsent.notification).await {
            Ok(Some(opened)) => Ok(opened),
            Ok(None) => return Ok(()),
            // The key of secrets is missing, or the address is damaged: adding the notification again repairs both.
            Err(error) => Err(error.into_unusable()?),
        };
        let now = Timestamp::now();
        let (result, name) = match opened {
            Err(why) => {
                (Err(SendError::Refused { host: "this server".to_owned(), status: 0, message: why }), String::new())
            }
            Ok((place, sealed)) => {
                let Some(message) = self.message(&unsent, &place).await? else {
                    let mut tx = self.store.write().await?;
                    notices::drop_one(&mut tx, unsent.id).await?;
                    tx.commit().await?;
                    return Ok(());
                };
                (self.send(&unsent, &place, &sealed, message).await, place.name)
            }
        };
        let mut tx = self.store.write().await?;
        match result {
            Ok(()) => notices::mark_sent(&mut tx, unsent.id, Timestamp::now()).await?,
            Err(error) => {
                let try_at = next_try(&error, &unsent, now);
                tracing::warn!(notification = name, topic = ?unsent.topic, %error, ?try_at, "a message could not be delivered");
                let overtaken = lets_others_pass(&error, &unsent);
                notices::failed(&mut tx, unsent.id, &error.to_string(), try_at, overtaken).await?;
            }
        }
        tx.commit().await?;
        Ok(())
    }

    async fn send(
        &self,
        unsent: &UnsentNotice,
        place: &Notification,
        sealed: &str,
        message: Message,
    ) -> Result<(), SendError> {
        let target = place.kind.parse::<Kind>().ok().and_then(|kind| Target::from_sealed(kind, sealed));
        let Some(target) = target else {
            let message = "its address is damaged: remove the notification and add it again".to_owned();
            return Err(SendError::Refused { host: place.shown.clone(), status: 0, message });
        };
        let (sender, internal, id) = (self.sender.clone(), place.internal, unsent.id.to_string());
        let sent = tokio::task::spawn_blocking(move || sender.send(&target, internal, &id, &message));
        sent.await.unwrap_or_else(|error| {
            Err(SendError::Unreachable { host: place.shown.clone(), detail: format!("the call broke off: {error}") })
        })
    }

    /// Returns what to say, if there is still something to say to this place.
    async fn message(&self, unsent: &UnsentNotice, place: &Notification) -> Result<Option<Message>, StoreError> {
        match unsent.topic {
            Topic::Build(build) => self.about_build(unsent, build, place).await,
            Topic::Anomaly(anomaly) => self.about_anomaly(anomaly).await,
        }
    }

    async fn about_anomaly(&self, anomaly: i64) -> Result<Option<Message>, StoreError> {
        let Some(anomaly) = anomalies::get(&self.store, anomaly).await? else { return Ok(None) };
        let repo = match anomaly.repo {
            Some(repo) => repos::get(&self.store, repo).await?,
            None => None,
        };
        let (repo, repo_id) = repo.map(|repo| (repo.name, repo.id.to_string())).unwrap_or_default();
        let line = AnomalyLine {
            kind: anomaly.kind.as_str().to_owned(),
            message: anomaly.message,
            record: anomaly.record,
            job: anomaly.job.map(|job| format!("{}/jobs/{job}", self.url)),
        };
        Ok(Some(Message {
            subject: Subject::Event(NotificationEvent::Anomaly),
            repo,
            repo_id,
            url: format!("{}/audit", self.url),
            anomaly: Some(line),
            ..Message::default()
        }))
    }

    async fn about_build(
        &self,
        unsent: &UnsentNotice,
        build: BuildId,
        place: &Notification,
    ) -> Result<Option<Message>, StoreError> {
        let Some(build) = builds::get(&self.store, build).await? else { return Ok(None) };
        let Some(repo) = repos::get(&self.store, build.repo).await? else { return Ok(None) };
        if !notification_rules::admits(&place.branches, &build.event) {
            return Ok(None);
        }
        let jobs = jobs::of_build(&self.store, build.id).await?;
        let named: Vec<&Job> = jobs.iter().filter(|job| is_named(job, unsent.event)).collect();
        if unsent.event == NotificationEvent::Approval && named.is_empty() {
            return Ok(None);
        }
        let line = |job: &&Job| JobLine {
            name: job.name.clone(),
            pipeline: job.pipeline.clone(),
            status: job.status.as_str().to_owned(),
            reason: job.asks.clone().or_else(|| job.reason.clone()).unwrap_or_else(|| job.status.word().to_owned()),
            url: format!("{}/jobs/{}", self.url, job.id),
        };
        let event = &build.event;
        Ok(Some(Message {
            subject: Subject::Event(unsent.event),
            repo: repo.name,
            repo_id: repo.id.to_string(),
            build: build.id.to_string(),
            number: build.number,
            url: format!("{}/builds/{}", self.url, build.id),
            status: build.status.as_str().to_owned(),
            reason: build.reason.unwrap_or_default(),
            event: event.name.as_str().to_owned(),
            git_ref: event.git_ref.clone(),
            branch: event.branch().map(str::to_owned),
            pull_request: event.pull_request.as_ref().map(|pull_request| pull_request.number),
            commit: event.commit_at_forge().to_owned(),
            title: event.title().to_owned(),
            author: if event.author.is_empty() { event.sender.clone() } else { event.author.clone() },
            pipelines: if unsent.event == NotificationEvent::Fixed { unsent.about.clone() } else { Vec::new() },
            jobs: named.iter().map(line).collect(),
            anomaly: None,
        }))
    }
}

/// Returns whether a message of this kind names a job.
fn is_named(job: &Job, event: NotificationEvent) -> bool {
    match event {
        NotificationEvent::Failure => {
            matches!(job.status, Status::Failure | Status::Error | Status::TimedOut) && !job.continue_on_error
        }
        NotificationEvent::Fixed | NotificationEvent::Anomaly => false,
        NotificationEvent::Approval => job.asks.is_some(),
    }
}

/// Returns whether the messages after this one need not wait for it any more: it is not the place that is away.
const fn lets_others_pass(error: &SendError, unsent: &UnsentNotice) -> bool {
    error.is_answer() && unsent.attempts + 1 >= MAX_REFUSALS
}

/// Returns when to try again; `None` if a retry is pointless.
fn next_try(error: &SendError, unsent: &UnsentNotice, now: Timestamp) -> Option<Timestamp> {
    let waited = Duration::from_millis(now.since(unsent.owed_since));
    if error.is_final() || waited > GIVE_UP_AFTER || (!error.may_pass() && unsent.attempts + 1 >= MAX_REFUSALS) {
        return None;
    }
    let pause = pause::after(unsent.attempts).max(error.wait().unwrap_or_default());
    Some(now + pause)
}

#[cfg(test)]
mod tests {
    use longshore_core::NoticeId;

    use super::*;

    #[test]
    fn a_place_that_is_away_is_tried_for_three_days_and_a_refusal_for_a_minute() {
        let now = Timestamp::from_millis(1_772_323_200_000);
        let unsent = |attempts, hours: i64| UnsentNotice {
            id: NoticeId::new(),
            notification: NotificationId::new(),
            topic: Topic::Build(BuildId::new()),
            event: NotificationEvent::Failure,
            about: Vec::new(),
            owed_since: Timestamp::from_millis(now.as_millis() - hours * 60 * 60 * 1000),
            attempts,
        };
        let host = String::new;
        let away = SendError::Unreachable { host: host(), detail: String::new() };
        let refused = SendError::Refused { host: host(), status: 400, message: String::new() };
        let limited = SendError::Limited { host: host(), wait: Some(Duration::from_secs(100)) };
        assert!(next_try(&away, &unsent(500, 71), now).is_some());
        assert!(next_try(&away, &unsent(500, 73), now).is_none());
        assert!(next_try(&refused, &unsent(0, 0), now).is_some());
        assert!(next_try(&refused, &unsent(MAX_REFUSALS, 0), now).is_none());
        assert!(next_try(&SendError::Gone { host: host(), status: 410 }, &unsent(0, 0), now).is_none());
        assert_eq!(next_try(&limited, &unsent(0, 0), now).unwrap().since(now), 100_000);
        // An error of the place's own lets others pass in the end, and a place that is away does not.
        let answers = |status| SendError::Unavailable { host: host(), status, message: String::new() };
        assert!(
            lets_others_pass(&answers(500), &unsent(MAX_REFUSALS, 1))
                && !lets_others_pass(&answers(500), &unsent(0, 1))
        );
        for away in [&away, &answers(502), &answers(503), &limited] {
            assert!(!lets_others_pass(away, &unsent(500, 1)), "{away:?}");
        }
    }
}
