//! The destination of a job's records: the attempt's log file, which takes records in order.

use std::io;

use longshore_core::Record;

/// An append-only file of records. Implemented by the program (`longshore`).
///
/// Called from a blocking thread, one call at a time, with batches of up to a few megabytes.
pub trait Journal: Send {
    /// Returns the highest agent sequence number in the journal; 0 for none. The agent is asked for everything after
    /// it.
    fn last_seq(&self) -> u64;

    /// Returns the bytes of the records in the journal.
    fn bytes(&self) -> u64;

    /// Returns the records of an earlier process about the beginnings and ends of steps and the end of the job: all
    /// records but output, in order. If the job's end is among them, the job is over, regardless of its container.
    fn milestones(&self) -> Vec<Record<'static>>;

    /// Appends records in order. After it returns, they are acknowledged to the agent, which then forgets them.
    ///
    /// # Errors
    /// Those of the disk; they end the job.
    fn append(&mut self, records: &[Record<'_>]) -> io::Result<()>;

    /// Called once after the last record, before the job's outcome is reported: the whole log has to be readable then.
    ///
    /// # Errors
    /// As for [`Journal::append`].
    fn close(&mut self) -> io::Result<()> {
        Ok(())
    }
}
