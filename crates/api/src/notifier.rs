//! Notifications, for the API and the pages: adds, tries and removes the places where people are notified of builds, of
//! the server and of repositories.
//!
//! A place at an address of the server's own network is for administrators of the server: others could reach by it what
//! only this machine reaches.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use longshore_core::{
    NoticeId, NotificationEvent, NotificationId, RepoId, Timestamp,
    access::{Action, Object},
};
use longshore_notification::{Kind, Message, SendError, Sender, Subject, Target};
use longshore_pipeline::notification_rules;
use longshore_store::{
    Store,
    notifications::{self, NewNotification, Notification},
};

use crate::{auth::Caller, error::ApiError, public_url::PublicUrl};

/// The clients for calls to these places.
#[derive(Debug, Clone)]
pub(crate) struct Notifier {
    pub(crate) store: Store,
    pub(crate) public_url: PublicUrl,
    pub(crate) sender: Sender,
    pub(crate) tests: Arc<Tests>,
}

/// Tests of a place that are sent within a minute: it belongs to somebody else.
const MAX_TESTS: usize = 5;
const TEST_PERIOD: Duration = Duration::from_secs(60);

/// When places were tried in the last minute.
#[derive(Debug, Default)]
pub(crate) struct Tests(Mutex<HashMap<NotificationId, Vec<Instant>>>);

impl Tests {
    /// Notes a test of a place, unless there were too many.
    fn note(&self, id: NotificationId, now: Instant) -> Result<(), ApiError> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|_, at| {
            at.retain(|at| now.duration_since(*at) < TEST_PERIOD);
            !at.is_empty()
        });
        let at = places.entry(id).or_default();
        if at.len() >= MAX_TESTS {
            return Err(ApiError::too_many(format!(
                "it was tried {MAX_TESTS} times within a minute: wait a minute before the next test"
            )));
        }
        at.push(now);
        Ok(())
    }
}

/// A place as somebody asks for it.
#[derive(Debug, Default)]
pub(crate) struct NotificationRequest {
    pub(crate) kind: String,
    pub(crate) address: String,
    pub(crate) secret: Option<String>,
    /// The kind if not given.
    pub(crate) name: Option<String>,
    /// Words of events.
    pub(crate) on: Vec<String>,
    pub(crate) branches: Vec<String>,
}

impl Notifier {
    /// Adds a place. Returns it with the key that its webhooks are signed with, which is not shown again.
    pub(crate) async fn add(
        &self,
        repo: Option<RepoId>,
        request: NotificationRequest,
        caller: &Caller,
    ) -> Result<(Notification, Option<String>), ApiError> {
        let kind: Kind = request.kind.parse().map_err(|error| ApiError::bad_request(format!("{error}")))?;
        let target = Target::new(kind, &request.address, request.secret.as_deref())
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        if kind == Kind::Email && !self.sender.has_mail() {
            return Err(ApiError::unprocessable(SendError::NoMailServer.to_string()));
        }
        let internal = caller.may(Action::NotifyInside, Object::Server);
        if target.is_internal() && !internal {
            return Err(ApiError::unprocessable(SendError::Internal { host: target.shown() }.to_string()));
        }
        let mut events = Vec::new();
        for word in &request.on {
            let event: NotificationEvent = word.parse().map_err(|error| ApiError::bad_request(format!("{error}")))?;
            if !events.contains(&event) {
                events.push(event);
            }
        }
        if events.is_empty() {
            return Err(ApiError::bad_request("say what to tell: failure, fixed, approval, anomaly"));
        }
        events.sort_unstable();
        notification_rules::check(&request.branches).map_err(ApiError::bad_request)?;
        let new = NewNotification {
            repo,
            kind: kind.as_str().to_owned(),
            name: request.name.filter(|name| !name.trim().is_empty()).unwrap_or_else(|| kind.as_str().to_owned()),
            shown: target.shown(),
            target: target.to_sealed(),
            events,
            branches: request.branches,
            internal,
        };
        let mut tx = self.store.write().await?;
        let added = notifications::add(&mut tx, &new, caller.name(), Timestamp::now()).await?;
        tx.commit().await?;
        tracing::info!(notification = %added.id, name = added.name, kind = added.kind, ?repo, by = caller.name(), "a notification was added");
        Ok((added, target.signing_key().map(str::to_owned)))
    }

    /// Sends a message that tries a place, and waits for its end.
    pub(crate) async fn test(&self, repo: Option<RepoId>, id: NotificationId) -> Result<(), ApiError> {
        let opened = notifications::open(&self.store, id).await?.filter(|(found, _)| found.repo == repo);
        let (found, sealed) = opened.ok_or_else(|| ApiError::not_found("notification"))?;
        self.tests.note(id, Instant::now())?;
        let target = found.kind.parse::<Kind>().ok().and_then(|kind| Target::from_sealed(kind, &sealed));
        let target = target.ok_or_else(|| ApiError::internal("the address of a notification is damaged"))?;
        let (sender, message) = (self.sender.clone(), self.test_message());
        let sent = tokio::task::spawn_blocking(move || {
            sender.send(&target, found.internal, &NoticeId::new().to_string(), &message)
        });
        match sent.await.map_err(ApiError::internal)? {
            Ok(()) => Ok(()),
            Err(error) if error.may_pass() && error != SendError::NoMailServer => {
                Err(ApiError::unreached(error.to_string()))
            }
            Err(error) => Err(ApiError::unprocessable(error.to_string())),
        }
    }

    /// Removes a place.
    pub(crate) async fn remove(&self, repo: Option<RepoId>, id: NotificationId, by: &str) -> Result<(), ApiError> {
        let mut tx = self.store.write().await?;
        notifications::remove(&mut tx, repo, id).await?;
        tx.commit().await?;
        tracing::info!(notification = %id, ?repo, by, "a notification was removed");
        Ok(())
    }

    fn test_message(&self) -> Message {
        Message { subject: Subject::Test, url: self.public_url.to_string(), ..Message::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_tried_five_times_a_minute_and_others_beside_it() {
        let (tests, id, now) = (Tests::default(), NotificationId::new(), Instant::now());
        for _ in 0..MAX_TESTS {
            assert!(tests.note(id, now).is_ok());
        }
        assert_eq!(tests.note(id, now).unwrap_err().status().as_u16(), 429);
        assert!(tests.note(NotificationId::new(), now).is_ok());
        assert!(tests.note(id, now + TEST_PERIOD).is_ok());
        assert_eq!(tests.0.lock().unwrap().len(), 1);
    }
}
