//! The definition of a log's line, which the index, windows, search and live pages share. Pure.
//!
//! A line is what one stream of one step wrote up to a line feed. Each stream is cut into lines separately, so a line
//! that arrived in pieces between another stream's is whole; its time is that of its first piece. **A line gets its
//! number, from 1, when it ends**: at its line feed, or with its step. So a number never changes, and a reader who has
//! seen line n has missed nothing before it. A line without an end is open and has no number. If a line is redrawn with
//! carriage returns, only its last state counts. A line longer than [`MAX_LINE`] becomes several lines. The begin and
//! end of steps, and the job's end, are not lines.

use std::borrow::Cow;

use longshore_core::{Record, RecordKind, Stream, Timestamp};
use serde::{Deserialize, Serialize};

/// In bytes. The rest of a longer line becomes the next line.
pub const MAX_LINE: usize = 16 << 10;

/// The state of cutting a log into lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LineCut {
    ended: u64,
    open: Vec<OpenLine>,
}

/// The beginning of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenLine {
    pub step: u16,
    #[serde(with = "stream_word")]
    pub stream: Stream,
    pub time: Timestamp,
    #[serde(with = "hex::serde")]
    pub bytes: Vec<u8>,
}

/// A line that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Counts from 1.
    pub n: u64,
    /// Counts from 0; [`Record::NO_STEP`] for a note that belongs to no step.
    pub step: u16,
    pub stream: Stream,
    pub time: Timestamp,
    /// Without its line feed, but with all redraws and colours.
    pub bytes: &'a [u8],
}

impl LineCut {
    pub(super) fn new(ended: u64, open: Vec<OpenLine>) -> Self {
        Self { ended, open }
    }

    /// Returns the number of the last line that ended; 0 before the first.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// Returns the lines that have begun and not ended, in the order in which they began.
    #[must_use]
    pub fn open(&self) -> &[OpenLine] {
        &self.open
    }

    /// Adds the next record, and passes every line that ends with it to `each`.
    pub fn feed(&mut self, record: &Record<'_>, mut each: impl FnMut(Line<'_>)) {
        match record.kind {
            RecordKind::Output(stream) => self.output(stream, record, &mut each),
            RecordKind::StepStarted | RecordKind::RunContainer | RecordKind::ServiceReady => {}
            RecordKind::StepFinished => self.end(|open| open.step == record.step, &mut each),
            RecordKind::JobFinished | RecordKind::AttemptEnded => self.end(|_| true, &mut each),
        }
    }

    /// Ends all open lines, at the end of the log.
    pub fn finish(&mut self, mut each: impl FnMut(Line<'_>)) {
        self.end(|_| true, &mut each);
    }

    fn end(&mut self, which: impl Fn(&OpenLine) -> bool, each: &mut impl FnMut(Line<'_>)) {
        let mut at = 0;
        while at < self.open.len() {
            if which(&self.open[at]) {
                let open = self.open.remove(at);
                self.emit(open.step, open.stream, open.time, &open.bytes, each);
            } else {
                at += 1;
            }
        }
    }

    fn output(&mut self, stream: Stream, record: &Record<'_>, each: &mut impl FnMut(Line<'_>)) {
        let data = &*record.data;
        let mut rest = data;
        let mut feeds = memchr::memchr_iter(b'\n', data);
        let place = self.open.iter().position(|open| open.step == record.step && open.stream == stream);
        let mut place = place;
        if let Some(at) = place
            && let Some(feed) = feeds.next()
        {
            let mut open = self.open.remove(at);
            open.bytes.extend_from_slice(&data[..feed]);
            self.emit(open.step, open.stream, open.time, &open.bytes, each);
            rest = &data[feed + 1..];
            place = None;
        }
        let mut start = data.len() - rest.len();
        for feed in feeds {
            self.emit(record.step, stream, record.time, &data[start..feed], each);
            start = feed + 1;
        }
        let tail = &data[start..];
        if tail.is_empty() {
            return;
        }
        let at = place.unwrap_or_else(|| {
            self.open.push(OpenLine { step: record.step, stream, time: record.time, bytes: Vec::new() });
            self.open.len() - 1
        });
        let Some(open) = self.open.get_mut(at) else { return };
        open.bytes.extend_from_slice(tail);
        drop_redrawn(&mut open.bytes);
        if open.bytes.len() <= MAX_LINE {
            return;
        }
        let (time, bytes) = (open.time, std::mem::take(&mut open.bytes));
        let mut pieces = pieces(&bytes).peekable();
        while let Some(piece) = pieces.next() {
            if pieces.peek().is_some() {
                self.ended += 1;
                each(Line { n: self.ended, step: record.step, stream, time, bytes: piece });
            } else if let Some(open) = self.open.get_mut(at) {
                open.bytes = piece.to_vec();
            }
        }
    }

    fn emit(&mut self, step: u16, stream: Stream, time: Timestamp, bytes: &[u8], each: &mut impl FnMut(Line<'_>)) {
        if bytes.len() <= MAX_LINE {
            self.ended += 1;
            each(Line { n: self.ended, step, stream, time, bytes });
            return;
        }
        for piece in pieces(last_state(bytes)) {
            self.ended += 1;
            each(Line { n: self.ended, step, stream, time, bytes: piece });
        }
    }
}

/// Returns what a terminal finally shows of a line that redraws itself: the text after the last carriage return that is
/// followed by something.
#[must_use]
pub fn last_state(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., b'\r'] = bytes {
        bytes = rest;
    }
    memchr::memrchr(b'\r', bytes).map_or(bytes, |at| &bytes[at + 1..])
}

/// Returns the line's last state as text, with invalid UTF-8 replaced.
#[must_use]
pub fn line_text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(last_state(bytes))
}

fn drop_redrawn(bytes: &mut Vec<u8>) {
    let shown = bytes.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
    if let Some(at) = memchr::memrchr(b'\r', &bytes[..shown]) {
        bytes.drain(..=at);
    }
}

/// Splits into at least one piece. No piece is longer than a line may be, and none is cut inside a character.
fn pieces(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut first = true;
    std::iter::from_fn(move || {
        if bytes.is_empty() && !first {
            return None;
        }
        first = false;
        let mut end = bytes.len().min(MAX_LINE);
        if end < bytes.len() {
            let back = (0..4).find(|back| bytes[end - back] & 0xC0 != 0x80);
            end -= back.unwrap_or(0);
        }
        let (piece, rest) = bytes.split_at(end);
        bytes = rest;
        Some(piece)
    })
}

/// Serialises a stream as its word.
mod stream_word {
    use longshore_core::Stream;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(stream: &Stream, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(stream.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Stream, D::Error> {
        let word = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        let known = [Stream::Stdout, Stream::Stderr, Stream::System];
        known.into_iter().find(|known| known.as_str() == word).ok_or_else(|| D::Error::custom("no stream"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(records: &[(u16, Stream, &[u8])]) -> (Vec<(u64, u16, String)>, LineCut) {
        let (mut state, mut lines) = (LineCut::default(), Vec::new());
        for (at, (step, stream, data)) in records.iter().enumerate() {
            let record = Record {
                seq: 1,
                time: Timestamp::from_millis(at as i64),
                step: *step,
                kind: RecordKind::Output(*stream),
                data: Cow::Borrowed(data),
            };
            state.feed(&record, |line| lines.push((line.n, line.step, line_text(line.bytes).into_owned())));
        }
        (lines, state)
    }

    #[test]
    fn a_line_in_pieces_between_another_streams_is_whole_and_numbered_when_it_ends() {
        let (lines, state) = cut(&[
            (0, Stream::Stdout, b"one\ntw"),
            (0, Stream::Stderr, b"oops\n"),
            (0, Stream::Stdout, b"o\nthr"),
            (1, Stream::Stdout, b"other\n"),
        ]);
        let expected = [(1, 0, "one"), (2, 0, "oops"), (3, 0, "two"), (4, 1, "other")];
        assert_eq!(lines, expected.map(|(n, step, text)| (n, step, text.to_owned())));
        assert_eq!((state.ended(), state.open().len()), (4, 1));
        assert_eq!(state.open()[0].bytes, b"thr");
        assert_eq!(state.open()[0].time, Timestamp::from_millis(2));
    }

    #[test]
    fn of_a_progress_bar_only_the_last_state_is_kept() {
        let (lines, state) = cut(&[
            (0, Stream::Stderr, b"  1%\r 50%"),
            (0, Stream::Stderr, b"\r100%\r"),
            (0, Stream::Stderr, b"\nnext\r\nhalf\rwhole"),
        ]);
        let texts: Vec<&str> = lines.iter().map(|(_, _, text)| text.as_str()).collect();
        assert_eq!(texts, ["100%", "next"]);
        assert_eq!(state.open()[0].bytes, b"whole");
    }

    #[test]
    fn a_line_without_end_is_several_and_none_is_cut_inside_a_character() {
        let long = "é".repeat(MAX_LINE);
        let (whole, _) = cut(&[(0, Stream::Stdout, format!("x{long}\n").as_bytes())]);
        assert_eq!(whole.iter().map(|(_, _, text)| text.as_str()).collect::<String>(), format!("x{long}"));
        assert_eq!(whole.len(), 3);
        let (ended, state) = cut(&[(0, Stream::Stdout, long.as_bytes())]);
        assert_eq!(ended.len(), 1);
        assert_eq!(state.open()[0].bytes.len(), MAX_LINE);
    }

    #[test]
    fn what_is_open_ends_with_its_step_or_with_the_log() {
        let (_, mut state) = cut(&[(0, Stream::Stdout, b"a"), (1, Stream::Stdout, b"b")]);
        let ended = Record {
            seq: 1,
            time: Timestamp::from_millis(0),
            step: 0,
            kind: RecordKind::StepFinished,
            data: Cow::Borrowed(b"{}"),
        };
        let mut lines = Vec::new();
        state.feed(&ended, |line| lines.push((line.n, line.bytes.to_vec())));
        state.finish(|line| lines.push((line.n, line.bytes.to_vec())));
        assert_eq!(lines, [(1, b"a".to_vec()), (2, b"b".to_vec())]);
    }
}
