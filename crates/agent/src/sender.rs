//! The sender: writes the spool's messages for the current session to the client.
//!
//! Runs on its own thread, because a client that is attached and does not read blocks it. The job continues meanwhile.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use bytes::Bytes;

use crate::spool::{Place, Spool};

/// Sends forever. If the output is closed, messages are discarded, as the engine does while nobody is attached.
pub(crate) fn run(spool: &Spool, output: BorrowedFd<'_>) {
    // A larger pipe means fewer switches between engine and agent; if this fails, sending is only slower.
    let _ = rustix::pipe::fcntl_setpipe_size(output, 256 << 10);
    let mut place = Place::default();
    loop {
        match spool.next_batch(&mut place) {
            Ok(batch) => {
                let _ = write(output, &batch);
            }
            // The files do not hold what was written to them. The client asks again, and gives up in the end.
            Err(_) => spool.give_up_session(),
        }
    }
}

fn write(output: BorrowedFd<'_>, batch: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<_> = batch.iter().map(|frame| IoSlice::new(frame)).collect();
    let mut rest = &mut slices[..];
    while !rest.is_empty() {
        match rustix::io::writev(output, rest) {
            Ok(count) => IoSlice::advance_slices(&mut rest, count),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
