//! The intake: standard input, decoded and handed on.
//!
//! A thread of its own. It answers Hellos, acknowledges to the spool, passes the checkout to whoever unpacks it, and the plan
//! and cancel to the job's loop. It waits only for the unpacking of a checkout, which never waits for the runner.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use bytes::Bytes;
use longshore_agent_protocol::{FrameError, FromAgent, ToAgent, ToAgentDecoder, VERSION};

use crate::checkout::Chunk;
use crate::spool::Spool;
use crate::wake::{Event, Mailbox};

/// Chunks of a checkout between us and the unpacking.
const CHUNKS_AHEAD: usize = 8;

/// Reads standard input to its end, which under an engine never comes.
pub(crate) fn run(nonce: [u8; 16], spool: Arc<Spool>, mailbox: Mailbox) {
    let mut intake = Intake { spool, mailbox, chunks: None, planned: false, received: 0, checked_out: false };
    let mut decoder = ToAgentDecoder::new(nonce);
    let mut buffer = vec![0; 256 << 10];
    let mut stdin = std::io::stdin().lock();
    loop {
        match stdin.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => decoder.push(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
        while let Some(item) = decoder.next() {
            match item {
                Ok(item) => intake.take(item.session, item.message),
                Err(error) => intake.refuse(&error),
            }
        }
    }
    if !intake.planned {
        intake.mailbox.post(Event::NoPlan("standard input was closed before a plan came".to_owned()));
    }
}

struct Intake {
    spool: Arc<Spool>,
    mailbox: Mailbox,
    /// The way to the unpacking, while it goes on.
    chunks: Option<SyncSender<Chunk>>,
    planned: bool,
    /// Bytes of the checkout taken.
    received: u64,
    checked_out: bool,
}

impl Intake {
    fn take(&mut self, session: u32, message: ToAgent) {
        match message {
            ToAgent::Hello { version, last_seq, nonce } => self.hello(session, version, last_seq, nonce),
            ToAgent::Plan(spec) => {
                if !self.planned {
                    self.planned = true;
                    let (chunks, unpacking) = sync_channel(CHUNKS_AHEAD);
                    self.chunks = Some(chunks).filter(|_| spec.checkout);
                    self.mailbox.post(Event::Plan(spec, unpacking));
                }
            }
            ToAgent::Checkout { offset, data } => self.checkout(offset, &data),
            ToAgent::CheckoutEnd { length } => {
                if length == self.received {
                    self.hand_on(Chunk::End);
                    self.chunks = None;
                    self.checked_out = true;
                } else if !self.checked_out {
                    self.spool.say_lost();
                }
            }
            ToAgent::Ack { seq } => self.spool.ack(seq),
            ToAgent::Cancel => self.mailbox.post(Event::Cancel),
        }
    }

    fn hello(&mut self, session: u32, version: u32, last_seq: u64, nonce: [u8; 16]) {
        let ready = FromAgent::Ready {
            version: VERSION,
            planned: self.planned,
            checkout_received: self.received,
            checkout_whole: self.checked_out,
        };
        // Nothing in it can be too long.
        let _ = self.spool.open_session(session, nonce, last_seq, &ready);
        if version != VERSION && !self.planned {
            self.planned = true;
            let text =
                format!("the runner speaks version {version} of the protocol, the agent in the container {VERSION}");
            self.mailbox.post(Event::NoPlan(text));
        }
    }

    fn checkout(&mut self, offset: u64, data: &Bytes) {
        let Some(known) = self.received.checked_sub(offset).filter(|_| self.planned) else {
            self.spool.say_lost();
            return;
        };
        let known = usize::try_from(known).unwrap_or(usize::MAX).min(data.len());
        let fresh = data.slice(known..);
        if !fresh.is_empty() && !self.checked_out {
            self.received += fresh.len() as u64;
            self.hand_on(Chunk::Data(fresh));
        }
    }

    fn hand_on(&mut self, chunk: Chunk) {
        // Once the unpacking has failed (the job says so) the rest has nowhere to go.
        if self.chunks.as_ref().is_some_and(|chunks| chunks.send(chunk).is_err()) {
            self.chunks = None;
        }
    }

    fn refuse(&mut self, error: &FrameError) {
        match error {
            // Whole, and yet unreadable: the runner would only say it again.
            FrameError::Payload { .. } if !self.planned => {
                self.planned = true;
                self.mailbox.post(Event::NoPlan(format!("the plan cannot be read: {error}")));
            }
            _ => self.spool.say_lost(),
        }
    }
}
