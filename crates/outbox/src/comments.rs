//! Writes comments on pull requests: what failed in the newest build, in one comment that is updated in place.
//!
//! A pull request has one call under way at a time. Before a comment is made for the first time that is noted: after a
//! kill in between, it is searched for among the account's own comments, so that there are never two.

use longshore_core::{ConnectionId, Status, Timestamp};
use longshore_forge_client::{CallError, Connection, Http};
use longshore_notification::text::code;
use longshore_store::{
    Store, StoreError, builds, jobs,
    pull_request_comments::{self, Due, Key, UnsentComment},
};
use tokio_util::sync::CancellationToken;

use crate::{
    failures,
    forge_calls::{self, PATIENCE},
    pause,
    turns::Turns,
};

/// The first line of each of our comments. Forges do not show it.
const MARK: &str = "<!-- longshore -->";
/// Calls that are under way at once. A connection has one: forges limit who writes much at once.
const CONCURRENT_CALLS: usize = 4;
const AT_ONCE_OF_ONE: usize = 1;

/// Writes the comments.
#[derive(Debug, Clone)]
pub struct Comments {
    pub store: Store,
    pub http: Http,
    /// The server's address, without a slash at the end.
    pub url: String,
}

impl Comments {
    /// Runs until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut turns = Turns::new(CONCURRENT_CALLS, AT_ONCE_OF_ONE);
        loop {
            // Taken before the rows are read, so that no change between is missed.
            let changed = self.store.comments_added();
            let wake_at = pause::or_soon(self.start_due(&mut turns).await, "comments");
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = turns.next_ended() => {}
                () = changed => {}
                () = pause::sleep_until(wake_at) => {}
            }
        }
    }

    /// Starts what is due. Returns when something else will be.
    async fn start_due(&self, turns: &mut Turns<Key, ConnectionId>) -> Result<Option<Timestamp>, StoreError> {
        let now = Timestamp::now();
        let mut waiting = pull_request_comments::due(&self.store, &turns.busy(), 1).await?;
        let next = pause::keep_due(&mut waiting, |due| due.try_at, now, PATIENCE);
        turns.start(
            waiting,
            |due| (due.key, due.connection),
            |due| {
                let this = self.clone();
                async move {
                    if let Err(error) = this.write(due).await {
                        tracing::error!(%error, repo = %due.key.repo, "a comment could not be written");
                        tokio::time::sleep(pause::RETRY_PAUSE).await;
                    }
                }
            },
        );
        Ok(next)
    }

    /// Writes one comment, and notes what became of it.
    async fn write(&self, due: Due) -> Result<(), StoreError> {
        let key = due.key;
        let Some(unsent) = pull_request_comments::unsent(&self.store, key).await? else { return Ok(()) };
        let Some(body) = self.body(&unsent).await? else {
            let mut tx = self.store.write().await?;
            pull_request_comments::mark_written(
                &mut tx,
                key,
                unsent.wanted,
                unsent.comment.as_deref(),
                Timestamp::now(),
            )
            .await?;
            tx.commit().await?;
            return Ok(());
        };
        let (result, was_there) = match forge_calls::open(&self.store, unsent.connection).await {
            Ok(Some((connection, account))) => self.call(connection, account, key, &unsent, body).await?,
            Ok(None) => return Ok(()),
            // The key of secrets is missing, or the token is damaged: setting it again repairs both.
            Err(error) => (Err(CallError::MissingRight { host: String::new(), needs: error.into_unusable()? }), false),
        };
        let now = Timestamp::now();
        let mut tx = self.store.write().await?;
        match result {
            Ok(comment) => {
                pull_request_comments::mark_written(&mut tx, key, unsent.wanted, Some(&comment), now).await?
            }
            Err(error) => {
                // Somebody has removed the comment: the next try makes another one.
                let gone = was_there && matches!(error, CallError::NotFound { .. });
                let try_at = forge_calls::next_try(&error, unsent.attempts, unsent.owed_since, now);
                tracing::warn!(repo = %key.repo, pull_request = key.pull_request, %error, ?try_at, "the forge did not accept a comment");
                pull_request_comments::failed(&mut tx, key, unsent.wanted, &error.to_string(), try_at, gone).await?;
            }
        }
        tx.commit().await?;
        Ok(())
    }

    /// Writes the comment. Returns its id, and whether there was one before.
    async fn call(
        &self,
        connection: Connection,
        account: String,
        key: Key,
        unsent: &UnsentComment,
        body: String,
    ) -> Result<(Result<String, CallError>, bool), StoreError> {
        let mut comment = unsent.comment.clone();
        if comment.is_none() && unsent.sent {
            let (connection, forge_id) = (connection.clone(), unsent.forge_id.clone());
            let found = forge_calls::ask(&self.http, move |http| {
                connection.api(http).find_comment(&forge_id, key.pull_request, &account, MARK)
            })
            .await;
            match found {
                Ok(found) => comment = found,
                Err(error) => return Ok((Err(error), false)),
            }
        }
        if comment.is_none() && !unsent.sent {
            let mut tx = self.store.write().await?;
            pull_request_comments::sending(&mut tx, key).await?;
            tx.commit().await?;
        }
        let (was_there, forge_id) = (comment.is_some(), unsent.forge_id.clone());
        let written = forge_calls::ask(&self.http, move |http| {
            connection.api(http).comment(&forge_id, key.pull_request, comment.as_deref(), &body)
        });
        Ok((written.await, was_there))
    }

    /// Returns the text of the comment; `None` if its build is gone. Texts by others are in code spans, where they are
    /// neither markup nor a mention nor a command.
    async fn body(&self, unsent: &UnsentComment) -> Result<Option<String>, StoreError> {
        let Some(id) = unsent.build else { return Ok(None) };
        let Some(build) = builds::get(&self.store, id).await? else { return Ok(None) };
        let commit = build.event.commit_at_forge();
        let happened = match build.status {
            Status::Success => "succeeded",
            Status::TimedOut => "timed out",
            Status::Failure
            | Status::Error
            | Status::Blocked
            | Status::Queued
            | Status::Running
            | Status::Canceling
            | Status::Canceled
            | Status::Skipped => "failed",
        };
        let mut body = format!(
            "{MARK}\n**[Build {}]({}/builds/{id})** of {} **{happened}**\n",
            build.number,
            self.url,
            code(commit.get(..10).unwrap_or(commit))
        );
        let jobs = jobs::of_build(&self.store, id).await?;
        failures::list(&mut body, &failures::lines(&self.url, &build, &jobs));
        body.push('\n');
        Ok(Some(body))
    }
}
