//! The new pieces of a job's log, which all of its followers share: each is read and rendered once, however many
//! followers wait for it.
//!
//! A follower's output depends only on its place in the journal, so all followers at one place take the same bytes.
//! The newest pieces are kept, up to a limit; a follower that is further behind reads the file by itself until it has
//! caught up.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use axum::body::Bytes;
use longshore_core::{JobId, Status};
use longshore_files::logs::{Batch, LogReader};
use longshore_store::{StoreError, jobs};

use crate::{
    error::ApiError,
    live::{Live, Reader},
    lookup::find_job,
    sse,
};

/// How many bytes of one job's newest events are kept.
const KEPT_BYTES: usize = 256 << 10;

/// How a follower gets a log, as server-sent events. Knows the place in the log, and writes what comes next.
pub(crate) trait EventFormat: Clone + PartialEq + Send + 'static {
    /// Returns the batch as events. Afterwards the place is behind the batch.
    fn write(&mut self, batch: &Batch) -> Result<String, ApiError>;
    /// Returns what to write when the job is over and everything has been written.
    fn end(&mut self, offset: u64, status: Status) -> Result<String, ApiError>;
}

/// The tails of all logs that are followed in one way, one for each attempt of a job.
#[derive(Debug)]
pub(crate) struct Tails<S>(Mutex<HashMap<Log, Weak<Tail<S>>>>);

/// A job and its attempt.
type Log = (JobId, u32);

impl<S> Default for Tails<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S> Tails<S> {
    fn tail(&self, log: Log) -> Arc<Tail<S>> {
        let mut tails = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tail) = tails.get(&log).and_then(Weak::upgrade) {
            return tail;
        }
        tails.retain(|_, tail| tail.strong_count() > 0);
        let tail = Arc::new(Tail { kept: tokio::sync::Mutex::new(Buffer { pieces: VecDeque::new(), len: 0 }) });
        tails.insert(log, Arc::downgrade(&tail));
        tail
    }
}

#[derive(Debug)]
struct Tail<S> {
    kept: tokio::sync::Mutex<Buffer<S>>,
}

/// The newest pieces, without gaps between them.
#[derive(Debug)]
struct Buffer<S> {
    pieces: VecDeque<Piece<S>>,
    len: usize,
}

#[derive(Debug)]
struct Piece<S> {
    from: u64,
    to: u64,
    text: Bytes,
    /// The place before the piece, and the one behind it.
    before: S,
    after: S,
}

impl<S: Clone + PartialEq> Buffer<S> {
    /// Returns the piece that begins at this place. The place contains what a returning reader sent: a reader that sent
    /// something else does not get the piece.
    fn piece_at(&self, offset: u64, place: &S) -> Option<&Piece<S>> {
        self.pieces.iter().rev().find(|piece| piece.from == offset && piece.before == *place)
    }

    /// Returns where the next piece would begin, 0 before the first.
    fn end(&self) -> u64 {
        self.pieces.back().map_or(0, |piece| piece.to)
    }

    fn push(&mut self, piece: Piece<S>) {
        if piece.from != self.end() {
            self.pieces.clear();
            self.len = 0;
        }
        self.len += piece.text.len();
        self.pieces.push_back(piece);
        while self.len > KEPT_BYTES
            && let Some(oldest) = self.pieces.pop_front()
        {
            self.len -= oldest.text.len();
        }
    }
}

/// One follower of a log.
#[derive(Debug)]
pub(crate) struct Follower<S> {
    live: Live,
    reader: Reader,
    job: JobId,
    tail: Arc<Tail<S>>,
    log: LogReader,
    format: S,
}

/// The next piece that a follower sends.
pub(crate) enum Next {
    Events(Bytes),
    /// The job is over.
    Last(Bytes),
    /// The server shuts down, or cannot read on. The answer ends, and the reader reconnects.
    Stop,
}

impl<S: EventFormat> Follower<S> {
    /// Follows from the place of `log`, which must be that of `format`.
    pub(crate) fn new(live: Live, reader: Reader, tails: &Tails<S>, job: JobId, log: LogReader, format: S) -> Self {
        Self { tail: tails.tail(log.log()), live, reader, job, log, format }
    }

    /// Returns the events up to the job's end.
    pub(crate) fn events(self) -> impl futures_util::Stream<Item = Bytes> + Send + 'static {
        futures_util::stream::unfold(Some(self), |follower| async {
            let mut follower = follower?;
            match follower.next().await {
                Next::Events(text) => Some((text, Some(follower))),
                Next::Last(text) => Some((text, None)),
                Next::Stop => None,
            }
        })
    }

    async fn next(&mut self) -> Next {
        loop {
            tokio::select! {
                () = self.log.ready() => {}
                () = self.reader.check_is_due() => return self.sign_of_life().await,
                () = self.live.shutdown.cancelled() => return Next::Stop,
            }
            match self.next_piece().await {
                Ok(Some(text)) => return Next::Events(text),
                Ok(None) if self.log.is_over() => break,
                Ok(None) => {}
                // The answer has begun, so the error cannot be sent. It has been logged already.
                Err(_) => return Next::Stop,
            }
        }
        self.end().await.unwrap_or(Next::Stop)
    }

    /// Returns a sign of life if the client may still see the job, else the end.
    async fn sign_of_life(&mut self) -> Next {
        let may = self.reader.still_has_rights(&self.live.authenticator).await
            && find_job(&self.live.store, self.reader.caller(), self.job).await.is_ok();
        if may { Next::Events(Bytes::from_static(sse::COMMENT.as_bytes())) } else { Next::Stop }
    }

    /// Returns the next piece: one that another follower has read, or one read now for all.
    async fn next_piece(&mut self) -> Result<Option<Bytes>, ApiError> {
        let mut kept = self.tail.kept.lock().await;
        if let Some(piece) = kept.piece_at(self.log.offset(), &self.format) {
            self.log.seek(piece.to);
            self.format.clone_from(&piece.after);
            return Ok(Some(piece.text.clone()));
        }
        let from = self.log.offset();
        // Other followers wait only while the newest piece is read.
        let kept = (from >= kept.end()).then_some(&mut kept);
        match kept {
            Some(kept) => {
                let before = self.format.clone();
                let Some((to, text)) = read_piece(&mut self.log, &mut self.format).await? else { return Ok(None) };
                kept.push(Piece { from, to, text: text.clone(), before, after: self.format.clone() });
                Ok(Some(text))
            }
            None => Ok(read_piece(&mut self.log, &mut self.format).await?.map(|(_, text)| text)),
        }
    }

    async fn end(&mut self) -> Result<Next, ApiError> {
        let Some(job) = jobs::get(&self.live.store, self.job).await? else { return Ok(Next::Stop) };
        // If the job runs again, the reader reconnects and learns of the new attempt.
        if !job.status.is_final() || job.log_of() != self.log.log() {
            return Ok(Next::Stop);
        }
        Ok(Next::Last(self.format.end(self.log.offset(), job.status)?.into()))
    }
}

async fn read_piece<S: EventFormat>(log: &mut LogReader, format: &mut S) -> Result<Option<(u64, Bytes)>, ApiError> {
    let Some(batch) = log.try_next().await.map_err(StoreError::from)? else { return Ok(None) };
    let mut text = format.write(&batch)?;
    if text.is_empty() {
        // A batch without events is a sign of life, too.
        sse::COMMENT.clone_into(&mut text);
    }
    text.shrink_to_fit();
    Ok(Some((batch.end(), text.into())))
}
