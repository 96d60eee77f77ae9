//! The intake: decodes what the client writes, and passes messages on.
//!
//! Runs on its own thread. It answers Hellos, forwards acknowledgements to the spool, the checkout to the thread that
//! unpacks it, and plan and cancel to the job's loop. It waits only for the unpacking of a checkout, which never waits
//! for the runner.

use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use bytes::Bytes;
use longshore_agent_protocol::{FrameError, FromAgent, ToAgent, ToAgentDecoder, VERSION};

use crate::checkout::Chunk;
use crate::spool::Spool;
use crate::wake::{Event, Mailbox};

/// How many chunks of a checkout may wait for unpacking.
const CHUNKS_AHEAD: usize = 8;

/// Reads the client's messages until the input ends. Under an engine, standard input never ends.
pub(crate) fn run(mut input: impl Read, nonce: [u8; 16], spool: Arc<Spool>, mailbox: Mailbox) {
    let mut intake = Intake { spool, mailbox, chunks: None, planned: false, received: 0, checked_out: false };
    let mut decoder = ToAgentDecoder::new(nonce);
    let mut buffer = vec![0; 256 << 10];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => decoder.push(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
        while let Some(item) = decoder.next() {
            match item {
                Ok(item) => intake.handle_message(item.session, item.message),
                Err(error) => intake.handle_error(&error),
            }
        }
    }
    if !intake.planned {
        intake.mailbox.post(Event::NoPlan("the connection was closed before a plan arrived".to_owned()));
    }
}

struct Intake {
    spool: Arc<Spool>,
    mailbox: Mailbox,
    /// The channel to the unpacking thread, while it runs.
    chunks: Option<SyncSender<Chunk>>,
    planned: bool,
    /// Bytes of the checkout received.
    received: u64,
    checked_out: bool,
}

impl Intake {
    fn handle_message(&mut self, session: u32, message: ToAgent) {
        match message {
            ToAgent::Hello { version, last_seq, nonce } => self.handle_hello(session, version, last_seq, nonce),
            ToAgent::Plan(spec) => {
                if !self.planned {
                    self.planned = true;
                    let (chunks, unpacking) = sync_channel(CHUNKS_AHEAD);
                    self.chunks = Some(chunks).filter(|_| spec.checkout);
                    self.mailbox.post(Event::Plan(spec, unpacking));
                }
            }
            ToAgent::Checkout { offset, data } => self.handle_checkout(offset, &data),
            ToAgent::CheckoutEnd { length } => {
                if length == self.received {
                    self.forward_chunk(Chunk::End);
                    self.chunks = None;
                    self.checked_out = true;
                } else if !self.checked_out {
                    self.spool.report_lost();
                }
            }
            ToAgent::Ack { seq } => self.spool.ack(seq),
            ToAgent::Cancel => self.mailbox.post(Event::Cancel),
            ToAgent::TakeArtifacts(window) => self.spool.take_artifacts(session, window),
            ToAgent::ArtifactRoom { limit } => self.spool.widen_artifact_window(limit),
            ToAgent::ArtifactsStored => self.spool.artifacts_stored(),
            ToAgent::ContainerFailed(failure) => self.mailbox.post(Event::ContainerFailed(failure)),
        }
    }

    fn handle_hello(&mut self, session: u32, version: u32, last_seq: u64, nonce: [u8; 16]) {
        let ready = FromAgent::Ready {
            version: VERSION,
            planned: self.planned,
            checkout_received: self.received,
            checkout_whole: self.checked_out,
        };
        // It cannot be too long.
        let _ = self.spool.open_session(session, nonce, last_seq, &ready);
        if version != VERSION && !self.planned {
            self.planned = true;
            let text =
                format!("the runner speaks version {version} of the protocol, the agent in the container {VERSION}");
            self.mailbox.post(Event::NoPlan(text));
        }
    }

    fn handle_checkout(&mut self, offset: u64, data: &Bytes) {
        let Some(known) = self.received.checked_sub(offset).filter(|_| self.planned) else {
            self.spool.report_lost();
            return;
        };
        let known = usize::try_from(known).unwrap_or(usize::MAX).min(data.len());
        let fresh = data.slice(known..);
        if !fresh.is_empty() && !self.checked_out {
            self.received += fresh.len() as u64;
            self.forward_chunk(Chunk::Data(fresh));
        }
    }

    fn forward_chunk(&mut self, chunk: Chunk) {
        // After the unpacking has failed (the job reports that), the remaining chunks are dropped.
        if self.chunks.as_ref().is_some_and(|chunks| chunks.send(chunk).is_err()) {
            self.chunks = None;
        }
    }

    fn handle_error(&mut self, error: &FrameError) {
        match error {
            // The frame is whole but cannot be parsed: the runner would only send it again.
            FrameError::Payload { .. } if !self.planned => {
                self.planned = true;
                self.mailbox.post(Event::NoPlan(format!("the plan cannot be read: {error}")));
            }
            _ => self.spool.report_lost(),
        }
    }
}
