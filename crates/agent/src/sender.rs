//! The sender: what the spool has for the current session, onto standard output.
//!
//! A thread of its own, because a client that is attached and does not read blocks it: the job goes on meanwhile.

use std::io::{self, IoSlice};

use bytes::Bytes;

use crate::spool::{Place, Spool};

/// Sends for ever. An output that is closed takes everything and keeps nothing, as the engine does while nobody is attached.
pub(crate) fn run(spool: &Spool) {
    let stdout = rustix::stdio::stdout();
    // Fewer turns between the engine and us; smaller is only slower.
    let _ = rustix::pipe::fcntl_setpipe_size(stdout, 256 << 10);
    let mut place = Place::default();
    loop {
        match spool.next_batch(&mut place) {
            Ok(batch) => {
                let _ = write(&batch);
            }
            // Its files are not what was written to them: the client asks again, and is given up in the end.
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
