//! Reads a journal from beginning to end to check it. For backups and checks, not for readers of logs.

use std::io;

use longshore_core::RecordKind;

use super::{
    file::JournalFile,
    reader::{read_whole_records, records},
};

/// The result of reading a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Survey {
    /// Bytes of whole records from the beginning. Anything after them is torn or damaged.
    pub whole: u64,
    /// Whether the agent reported the job's end.
    pub finished: bool,
}

/// Reads the first `limit` bytes. Blocks; uses one window of memory, whatever the length.
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
