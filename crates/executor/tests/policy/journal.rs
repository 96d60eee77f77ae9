//! A journal in memory, in the log file's own format: what was written is parsed back.

use std::io;
use std::sync::{Arc, Mutex};

use longshore_core::record::{Parsed, RecordKind};
use longshore_core::{Record, Stream};
use longshore_executor::Journal;

#[derive(Clone, Default)]
pub struct MemoryJournal {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    bytes: Vec<u8>,
    last_seq: u64,
    closed: bool,
    /// How many processes have opened it.
    opened: u32,
}

/// The journal as one process has open.
struct Opened {
    journal: MemoryJournal,
    process: u32,
}

impl Journal for Opened {
    fn last_seq(&self) -> u64 {
        self.journal.inner.lock().unwrap().last_seq
    }

    fn bytes(&self) -> u64 {
        self.journal.inner.lock().unwrap().bytes.len() as u64
    }

    fn milestones(&self) -> Vec<Record<'static>> {
        let mut all = Vec::new();
        self.journal.each(|record| {
            if !matches!(record.kind, RecordKind::Output(_)) {
                all.push(Record { data: record.data.to_vec().into(), ..*record });
            }
        });
        all
    }

    fn append(&mut self, records: &[Record<'_>]) -> io::Result<()> {
        let mut inner = self.journal.inner.lock().unwrap();
        if inner.opened != self.process {
            // A test ends a process by dropping its tasks, but not its threads: one of them may still write.
            return Err(io::Error::other("the next process has opened the journal"));
        }
        assert!(!inner.closed, "nothing comes after the close");
        for record in records {
            if record.seq > 0 {
                assert_eq!(record.seq, inner.last_seq + 1, "no gap, nothing twice");
                inner.last_seq = record.seq;
            }
            record.encode(&mut inner.bytes);
        }
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        self.journal.inner.lock().unwrap().closed = true;
        Ok(())
    }
}

impl MemoryJournal {
    /// Opens the journal for the next process. What the one before has not written by now is lost with it.
    pub fn open(&self) -> Box<dyn Journal> {
        let mut inner = self.inner.lock().unwrap();
        inner.closed = false;
        inner.opened += 1;
        Box::new(Opened { journal: self.clone(), process: inner.opened })
    }

    pub fn is_closed(&self) -> bool {
        self.inner.lock().unwrap().closed
    }

    pub fn each(&self, mut look: impl FnMut(&Record<'_>)) {
        let inner = self.inner.lock().unwrap();
        let mut rest = inner.bytes.as_slice();
        while !rest.is_empty() {
            let Parsed::Record(record, length) = Record::parse(rest) else { panic!("the journal does not parse") };
            look(&record);
            rest = &rest[length..];
        }
    }

    fn bytes_where(&self, wanted: impl Fn(&Record<'_>) -> bool) -> Vec<u8> {
        let mut all = Vec::new();
        self.each(|record| {
            if wanted(record) {
                all.extend_from_slice(&record.data);
            }
        });
        all
    }

    pub fn stdout(&self) -> Vec<u8> {
        self.bytes_where(|record| record.kind == RecordKind::Output(Stream::Stdout))
    }

    pub fn stdout_text(&self) -> String {
        String::from_utf8(self.stdout()).unwrap()
    }

    /// What a step, or a service by its number, printed on both streams.
    pub fn step_text(&self, step: u16) -> String {
        let is_its = |record: &Record<'_>| {
            record.step == step && matches!(record.kind, RecordKind::Output(Stream::Stdout | Stream::Stderr))
        };
        String::from_utf8(self.bytes_where(is_its)).unwrap()
    }

    pub fn stderr(&self) -> Vec<u8> {
        self.bytes_where(|record| record.kind == RecordKind::Output(Stream::Stderr))
    }

    pub fn notes(&self) -> String {
        String::from_utf8(self.bytes_where(|record| record.kind == RecordKind::Output(Stream::System))).unwrap()
    }

    pub fn steps_finished(&self) -> Vec<(u16, longshore_core::StepResult)> {
        let mut all = Vec::new();
        self.each(|record| {
            if record.kind == RecordKind::StepFinished {
                all.push((record.step, serde_json::from_slice(&record.data).unwrap()));
            }
        });
        all
    }
}

impl MemoryJournal {
    /// Takes over the current content of `other`.
    pub fn copy_of(&self, other: &Self) {
        let other = other.inner.lock().unwrap();
        let mut inner = self.inner.lock().unwrap();
        inner.bytes.clone_from(&other.bytes);
        inner.last_seq = other.last_seq;
    }
}
