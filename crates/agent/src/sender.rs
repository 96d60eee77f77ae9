//! The sender: writes the spool's messages for the current session to standard output.
//!
//! Runs on its own thread, because a client that is attached and does not read blocks it. The job continues meanwhile.

use std::io::{self, IoSlice};

use bytes::Bytes;

use crate::spool::{Place, Spool};

/// Sends forever. If standard output is closed, messages are discarded, as the engine does while nobody is attached.
pub(crate) fn run(spool: &Spool) {
    let stdout = rustix::stdio::stdout();
    // A larger pipe means fewer switches between engine and agent; if this fails, sending is only slower.
    let _ = rustix::pipe::fcntl_setpipe_size(stdout, 256 << 10);
    let mut place = Place::default();
    loop {
        match spool.next_batch(&mut place) {
            Ok(batch) => {
                let _ = write(&batch);
            }
            // The files do not hold what was written to them. The client asks again, and gives up in the end.
            Err(_) => spool.give_up_session(),
        }
    }
}

fn write(batch: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<_> = batch.iter().map(|frame| IoSlice::new(frame)).collect();
    let mut rest = &mut slices[..];
    while !rest.is_empty() {
        match rustix::io::writev(rustix::stdio::stdout(), rest) {
            Ok(count) => IoSlice::advance_slices(&mut rest, count),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
