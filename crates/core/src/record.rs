//! The records of a job's log file: what was printed, by which step, and when.
//!
//! Each attempt has one append-only file, its journal: the agent's frames in the order of delivery, with Longshore's
//! own notes between them. Layout of a record, little-endian:
//!
//! ```text
//! u32 length of what follows the crc | u32 crc32 of it | u64 seq | i64 time (ms) | u16 step | u8 kind | data
//! ```
//!
//! A file that was cut off anywhere (by a kill during a write) can be read up to its last whole record. The next writer
//! overwrites the rest, and asks the agent for everything after that record's `seq`.

use std::borrow::Cow;

use crate::Timestamp;

/// The bytes before the data: length, crc, seq, time, step, kind.
pub const HEADER_LEN: usize = 4 + 4 + 8 + 8 + 2 + 1;
/// The limit for a record's data, in bytes. A larger length means that the file is torn, or not a log.
pub const MAX_DATA_LEN: usize = 1 << 20;

/// The stream that a byte came from. `System` is Longshore's own output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    Stdout,
    Stderr,
    System,
}

impl Stream {
    /// Returns the word used in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::System => "system",
        }
    }
}

/// The kind of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// Bytes of a stream. `System` output is always whole lines.
    Output(Stream),
    /// A step started. Has no data.
    StepStarted,
    /// A step ended. The data is a [`StepResult`](crate::StepResult) as JSON.
    StepFinished,
    /// The agent has finished the job. The data is the agent's `JobEnd` as JSON.
    JobFinished,
    /// The turn of a step with its own image has come; the data is JSON of the agent's `ContainerRequest`.
    RunContainer,
    /// A service is ready. Has no data.
    ServiceReady,
    /// The attempt is over, as its server found. The data is its [`Outcome`](crate::Outcome) as JSON.
    AttemptEnded,
}

impl RecordKind {
    const fn code(self) -> u8 {
        match self {
            Self::Output(Stream::Stdout) => 1,
            Self::Output(Stream::Stderr) => 2,
            Self::Output(Stream::System) => 3,
            Self::StepStarted => 4,
            Self::StepFinished => 5,
            Self::JobFinished => 6,
            Self::RunContainer => 7,
            Self::ServiceReady => 8,
            Self::AttemptEnded => 9,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Output(Stream::Stdout),
            2 => Self::Output(Stream::Stderr),
            3 => Self::Output(Stream::System),
            4 => Self::StepStarted,
            5 => Self::StepFinished,
            6 => Self::JobFinished,
            7 => Self::RunContainer,
            8 => Self::ServiceReady,
            9 => Self::AttemptEnded,
            _ => return None,
        })
    }
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// The agent's sequence number; 0 for Longshore's own notes.
    pub seq: u64,
    pub time: Timestamp,
    /// The step's index in the plan, from 0; a service's from `Record::FIRST_SERVICE`; `Record::NO_STEP` if the record
    /// belongs to no step.
    pub step: u16,
    pub kind: RecordKind,
    pub data: Cow<'a, [u8]>,
}

/// The result of parsing the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A whole record, and its length in bytes.
    Record(Record<'a>, usize),
    /// The bytes end before the record ends.
    Incomplete,
    /// Not a record: a torn write, or another kind of file.
    Corrupt,
}

impl<'a> Record<'a> {
    /// The `step` of a record that belongs to no step.
    pub const NO_STEP: u16 = u16::MAX;
    /// The number of a job's first service. Services are numbered from here in the order of the plan, and log like
    /// steps.
    pub const FIRST_SERVICE: u16 = 0x8000;

    /// Returns the number of bytes that [`Record::encode`] appends.
    #[must_use]
    pub fn encoded_len(&self) -> u64 {
        (HEADER_LEN + self.data.len()) as u64
    }

    /// Appends the record to `out`. The caller must split data that is longer than [`MAX_DATA_LEN`]; it is not cut
    /// here.
    pub fn encode(&self, out: &mut Vec<u8>) {
        debug_assert!(self.data.len() <= MAX_DATA_LEN, "split the data before");
        let start = out.len();
        let length = (HEADER_LEN - 8 + self.data.len()) as u32;
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(&self.time.as_millis().to_le_bytes());
        out.extend_from_slice(&self.step.to_le_bytes());
        out.push(self.kind.code());
        out.extend_from_slice(&self.data);
        let crc = crc32fast::hash(&out[start + 8..]);
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    }

    /// Parses the record at the beginning of `bytes`.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Parsed<'a> {
        let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Parsed::Incomplete };
        let length = u32::from_le_bytes(*length) as usize;
        if !(HEADER_LEN - 8..=HEADER_LEN - 8 + MAX_DATA_LEN).contains(&length) {
            return Parsed::Corrupt;
        }
        let Some((crc, rest)) = rest.split_first_chunk::<4>() else { return Parsed::Incomplete };
        let Some(body) = rest.get(..length) else { return Parsed::Incomplete };
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Parsed::Corrupt;
        }
        let Some((seq, body)) = body.split_first_chunk::<8>() else { return Parsed::Corrupt };
        let Some((time, body)) = body.split_first_chunk::<8>() else { return Parsed::Corrupt };
        let Some((step, body)) = body.split_first_chunk::<2>() else { return Parsed::Corrupt };
        let Some((kind, data)) = body.split_first() else { return Parsed::Corrupt };
        let Some(kind) = RecordKind::from_code(*kind) else { return Parsed::Corrupt };
        let record = Record {
            seq: u64::from_le_bytes(*seq),
            time: Timestamp::from_millis(i64::from_le_bytes(*time)),
            step: u16::from_le_bytes(*step),
            kind,
            data: Cow::Borrowed(data),
        };
        Parsed::Record(record, 8 + length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(data: &[u8]) -> Record<'_> {
        Record {
            seq: 7,
            time: Timestamp::from_millis(1_700_000_000_123),
            step: 3,
            kind: RecordKind::Output(Stream::Stderr),
            data: Cow::Borrowed(data),
        }
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let mut bytes = Vec::new();
        record(b"hello\xff\n").encode(&mut bytes);
        record(b"").encode(&mut bytes);
        let Parsed::Record(first, length) = Record::parse(&bytes) else { panic!("not read") };
        assert_eq!(first, record(b"hello\xff\n"));
        assert_eq!(Record::parse(&bytes[length..]), Parsed::Record(record(b""), HEADER_LEN));
    }

    #[test]
    fn a_cut_record_is_incomplete_and_a_changed_one_is_corrupt() {
        let mut bytes = Vec::new();
        record(b"hello").encode(&mut bytes);
        for cut in 0..bytes.len() {
            assert_eq!(Record::parse(&bytes[..cut]), Parsed::Incomplete, "cut at {cut}");
        }
        for at in 4..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert_eq!(Record::parse(&changed), Parsed::Corrupt, "changed at {at}");
        }
    }
}
