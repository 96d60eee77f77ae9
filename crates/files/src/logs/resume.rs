//! The cursor of a live reader: the journal's offset and the first bytes of characters that are split there. A reader
//! that reconnects gets every byte once, even if its next part begins inside a character.

use std::fmt::Write as _;

use longshore_core::Stream;

use super::{LogEvents, StepHead};

/// A cursor with more split characters was not made here.
const MAX_CUT: usize = 1024;

impl LogEvents {
    /// Returns the cursor after a record that ended at `offset` and was passed to [`LogEvents::event`]: `4096`, or
    /// `4096,2.stdout.e282` with the beginning of a character of step 2 (from 0).
    #[must_use]
    pub fn cursor(&self, offset: u64) -> String {
        let mut cursor = offset.to_string();
        let mut cut: Vec<_> = self.cut.iter().collect();
        cut.sort_unstable();
        for ((step, stream), bytes) in cut {
            let _ = write!(cursor, ",{step}.{stream}.{}", hex::encode(bytes));
        }
        cursor
    }

    /// Continues after a cursor. Returns the events and the offset to read from; `None` if the cursor is malformed.
    #[must_use]
    pub fn resume(steps: Vec<StepHead>, cursor: &str) -> Option<(Self, u64)> {
        let mut events = Self::new(steps);
        let mut parts = cursor.split(',');
        let offset = parts.next()?.parse().ok()?;
        for part in parts {
            let (step, rest) = part.split_once('.')?;
            let (stream, bytes) = rest.split_once('.')?;
            let known = [Stream::Stdout, Stream::Stderr, Stream::System];
            let stream = known.into_iter().find(|known| known.as_str() == stream)?;
            let bytes = hex::decode(bytes).ok().filter(|bytes| (1..=3).contains(&bytes.len()))?;
            events.cut.insert((step.parse().ok()?, stream.as_str()), bytes);
            if events.cut.len() > MAX_CUT {
                return None;
            }
        }
        Some((events, offset))
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use longshore_core::{Record, RecordKind, Timestamp};

    use super::*;

    fn record(data: &[u8]) -> Record<'_> {
        let kind = RecordKind::Output(Stream::Stderr);
        Record { seq: 1, time: Timestamp::from_millis(0), step: 2, kind, data: Cow::Borrowed(data) }
    }

    #[test]
    fn a_reader_that_resumes_inside_a_character_gets_it_whole() {
        let mut before = LogEvents::new(Vec::new());
        assert_eq!(before.event(&record(b"a\xe2\x82")).unwrap().text, "a");
        let cursor = before.cursor(77);
        assert_eq!(cursor, "77,2.stderr.e282");
        let (mut after, offset) = LogEvents::resume(Vec::new(), &cursor).unwrap();
        assert_eq!(offset, 77);
        assert_eq!(after.event(&record(b"\xac b")).unwrap().text, "\u{20ac} b");
        assert_eq!(after.cursor(90), "90");
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for bad in [
            "",
            "x",
            "-1",
            "1,",
            "1,2",
            "1,2.stdout",
            "1,2.stdin.e2",
            "1,2.stdout.",
            "1,2.stdout.e2828283",
            "1,x.stdout.e2",
        ] {
            assert!(LogEvents::resume(Vec::new(), bad).is_none(), "{bad}");
        }
    }
}
