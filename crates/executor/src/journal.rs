//! Where a job's records go: the attempt's log file, seen from here as something that takes records in order.

use std::io;

use longshore_core::Record;

/// An append-only file of records. Implemented by the store's log writer.
///
/// Called from a blocking thread, one call at a time, with batches of up to a few megabytes.
pub trait Journal: Send {
    /// The highest agent sequence number that is in it; 0 for none. The agent is asked for everything after it.
    fn last_seq(&self) -> u64;

    /// What an earlier process had written, before this one opened it, of steps' beginnings and ends and of the job's end:
    /// all records but output, in order. A job whose end is among them is over, whatever has become of its container.
    fn milestones(&self) -> Vec<Record<'static>>;

    /// Appends in order. What this has returned from is acknowledged to the agent, which then forgets it.
    ///
    /// # Errors
    /// Whatever the disk says; the job ends with it.
    fn append(&mut self, records: &[Record<'_>]) -> io::Result<()>;

    /// Called once after the last record, before the job's outcome is given out: the whole log has to be readable then.
    ///
    /// # Errors
    /// As for [`Journal::append`].
    fn close(&mut self) -> io::Result<()> {
        Ok(())
    }
}
