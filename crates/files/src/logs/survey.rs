//! A journal read from its beginning to its end, for what it is worth: used by backups and checks, never by readers of logs.

use std::io;

use longshore_core::RecordKind;

use super::{
    file::JournalFile,
    reader::{read_whole_records, records},
};

/// What a journal holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Survey {
    /// Bytes of whole records from its beginning on; what is behind them is torn or damaged.
    pub whole: u64,
    /// The agent said that it is done with the job.
    pub finished: bool,
}

/// Reads the first `limit` bytes. Blocks; needs a window's memory whatever the length.
pub fn survey(file: &JournalFile, limit: u64) -> io::Result<Survey> {
    let mut survey = Survey::default();
    loop {
        let bytes = read_whole_records(file, survey.whole, limit)?;
        if bytes.is_empty() {
            return Ok(survey);
        }
        survey.finished |= records(&bytes, 0).any(|(_, record)| record.kind == RecordKind::JobFinished);
        survey.whole += bytes.len() as u64;
    }
}
