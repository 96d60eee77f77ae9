//! Masks secrets, so that their bytes never leave the container and never reach the log.
//!
//! The agent masks what it reads before it spools it. The runner masks again before it writes to the log, in case the
//! agent has been replaced by another program.
//!
//! [`Patterns`] are the forms of all secrets of a job ([`forms`]); [`Masker`] is the state of one stream. A match is
//! replaced by `***`, even across chunk borders. Bytes are held back only while they may begin a match. Matches that
//! overlap or touch become one `***`. This module knows nothing of steps or frames.
//!
//! Encoders break long base64 into lines. So a match may continue after a line break that follows [`MIN_WRAPPED_LINE`]
//! characters of base64 without a gap, whatever the line's length, its line ending and the next line's indentation.
//! Each line's part of the match becomes a `***`, and the line breaks stay. Only there, a second state of the same
//! automaton runs, which skips the line break.

mod forms;
mod patterns;
mod text;

use std::borrow::Cow;
use std::sync::Arc;

use aho_corasick::automaton::StateID;

use self::forms::Where;
pub use self::patterns::Patterns;
use self::text::Text;

const REPLACEMENT: &[u8] = b"***";
/// A line break is skipped after this many characters of base64.
const MIN_WRAPPED_LINE: usize = 16;
/// Bytes before a match that decide whether a word begins there; a terminal's escape code may be among them.
const CONTEXT_BYTES: usize = 24;

/// Masks a complete text. Returns `None` if it contains no secret.
#[must_use]
pub fn masked(patterns: &Arc<Patterns>, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut masker = Masker::new(Some(Arc::clone(patterns)));
    let mut shown = masker.push(bytes).into_owned();
    shown.extend(masker.finish());
    (shown != bytes).then_some(shown)
}

/// The masker of one stream. Positions count from the first byte that is held back.
#[derive(Debug)]
pub struct Masker {
    patterns: Option<Arc<Patterns>>,
    state: StateID,
    /// Bytes that may begin a match.
    held: Vec<u8>,
    /// The last bytes before `held`, unmasked, at most [`CONTEXT_BYTES`].
    context: Vec<u8>,
    /// Ranges of `held` to mask, disjoint and in order.
    masked: Vec<(usize, usize)>,
    /// The start of a word that ends with the last byte, unless the next byte continues it.
    word: Option<usize>,
    /// Set while a match may continue across line breaks.
    wrapped: Option<Wrapped>,
    /// Whether the last byte released was masked. If the next byte is masked too, it belongs to the same `***`.
    within: bool,
}

/// The automaton's state for the text without the skipped line breaks.
#[derive(Debug)]
struct Wrapped {
    state: StateID,
    /// The skipped line breaks: start, and end including the next line's indentation.
    breaks: Vec<(usize, usize)>,
    /// Whether the last byte belongs to the last line break.
    in_break: bool,
}

impl Wrapped {
    /// Returns the position `count` bytes before `end`, not counting line breaks.
    fn position_before(&self, end: usize, mut count: usize) -> usize {
        let mut end = end;
        for (from, to) in self.breaks.iter().rev() {
            if count <= end - to {
                break;
            }
            count -= end - to;
            end = *from;
        }
        end.saturating_sub(count)
    }
}

impl Masker {
    /// Creates a masker at the beginning of a stream.
    pub fn new(patterns: Option<Arc<Patterns>>) -> Self {
        let state = patterns.as_ref().map_or(StateID::ZERO, |patterns| patterns.start);
        Self {
            patterns,
            state,
            held: Vec::new(),
            context: Vec::new(),
            masked: Vec::new(),
            word: None,
            wrapped: None,
            within: false,
        }
    }

    /// Adds `chunk`, and returns the bytes that can be shown now.
    pub fn push<'a>(&mut self, chunk: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(patterns) = self.patterns.clone() else { return Cow::Borrowed(chunk) };
        let Some(first) = chunk.first() else { return Cow::Borrowed(chunk) };
        if let Some(start) = self.word.take()
            && !(first.is_ascii_alphanumeric() && self.held.last().is_some_and(u8::is_ascii_alphanumeric))
        {
            self.mark(start, self.held.len());
        }
        self.mark_matches(&patterns, chunk);
        let end = self.held.len() + chunk.len();
        let open = self.unfinished_len(&patterns, end);
        if self.held.is_empty() && self.masked.is_empty() {
            let (shown, held) = chunk.split_at(chunk.len() - open);
            self.remember(shown);
            self.held.extend_from_slice(held);
            self.move_places(shown.len());
            self.within &= shown.is_empty();
            return Cow::Borrowed(shown);
        }
        self.held.extend_from_slice(chunk);
        Cow::Owned(self.release(end - open))
    }

    /// Returns the bytes still held back, at the end of the stream.
    pub fn finish(&mut self) -> Vec<u8> {
        if let Some(start) = self.word.take() {
            self.mark(start, self.held.len());
        }
        self.wrapped = None;
        let shown = self.release(self.held.len());
        self.state = self.patterns.as_ref().map_or(StateID::ZERO, |patterns| patterns.start);
        self.context.clear();
        shown
    }

    /// Finds matches in a chunk and marks them.
    fn mark_matches(&mut self, patterns: &Patterns, chunk: &[u8]) {
        let before = self.held.len();
        let mut at = 0;
        while at < chunk.len() {
            if self.wrapped.is_some() {
                self.step(patterns, chunk, at);
                self.step_wrapped(patterns, chunk, at);
                at += 1;
                continue;
            }
            // The usual case: run straight to the end of the line.
            let line = memchr::memchr2(b'\n', b'\r', &chunk[at..]).map_or(chunk.len(), |length| at + length);
            let mut state = self.state;
            for (place, byte) in chunk[at..line].iter().enumerate() {
                state = patterns.next(state, *byte);
                if patterns.is_match(state) {
                    self.mark_match_at(patterns, state, chunk, at + place);
                }
            }
            self.state = state;
            at = line;
            if at < chunk.len() {
                let text = Text { context: &self.context, held: &self.held, chunk };
                if patterns.depth(state) > 0 && text.is_wrapped_at(before + at) {
                    let breaks = vec![(before + at, before + at + 1)];
                    self.wrapped = Some(Wrapped { state, breaks, in_break: true });
                }
                self.step(patterns, chunk, at);
                at += 1;
            }
        }
    }

    fn step(&mut self, patterns: &Patterns, chunk: &[u8], at: usize) {
        self.state = patterns.next(self.state, chunk[at]);
        if patterns.is_match(self.state) {
            self.mark_match_at(patterns, self.state, chunk, at);
        }
    }

    /// Marks the matches that end with the chunk's byte `at`.
    fn mark_match_at(&mut self, patterns: &Patterns, state: StateID, chunk: &[u8], at: usize) {
        let end = self.held.len() + at + 1;
        let text = Text { context: &self.context, held: &self.held, chunk };
        let (mut free, mut word) = (None, None);
        for (place, length) in patterns.ending_in(state) {
            match place {
                Where::Anywhere => free = free.max(Some(length)),
                Where::AsWord if word < Some(length) && text.is_open_before(end - length) => word = Some(length),
                Where::AsWord => {}
            }
        }
        if let Some(length) = free {
            self.mark(end - length, end);
        }
        if let Some(length) = word {
            match chunk.get(at + 1) {
                None => self.word = Some(end - length),
                Some(next) if next.is_ascii_alphanumeric() && chunk[at].is_ascii_alphanumeric() => {}
                Some(_) => self.mark(end - length, end),
            }
        }
    }

    /// Advances the state that skips line breaks, while a match may continue across them.
    fn step_wrapped(&mut self, patterns: &Patterns, chunk: &[u8], at: usize) {
        let Some(mut wrapped) = self.wrapped.take() else { return };
        let place = self.held.len() + at;
        let byte = chunk[at];
        let is_break = matches!(byte, b'\n' | b'\r');
        if is_break || (wrapped.in_break && matches!(byte, b' ' | b'\t')) {
            match wrapped.breaks.last_mut() {
                Some(last) if wrapped.in_break => last.1 = place + 1,
                _ => {
                    let text = Text { context: &self.context, held: &self.held, chunk };
                    if !text.is_wrapped_at(place) {
                        return;
                    }
                    wrapped.breaks.push((place, place + 1));
                }
            }
            wrapped.in_break = true;
            self.wrapped = Some(wrapped);
            return;
        }
        wrapped.in_break = false;
        wrapped.state = patterns.next(wrapped.state, byte);
        let end = place + 1;
        let line = wrapped.breaks.last().map_or(end, |(_, to)| end - to);
        if patterns.is_match(wrapped.state) {
            let forms = patterns.ending_in(wrapped.state).filter(|(place, _)| *place == Where::Anywhere);
            let longest = forms.map(|(_, length)| length).max().unwrap_or(0);
            if longest > line {
                let start = wrapped.position_before(end, longest);
                let mut part_end = end;
                for (from, to) in wrapped.breaks.iter().rev() {
                    if *to <= start {
                        break;
                    }
                    self.mark(*to, part_end);
                    part_end = *from;
                }
                self.mark(start, part_end);
            }
        }
        // A match that may still follow lies within this line, and the other state finds it too.
        if patterns.depth(wrapped.state) > line {
            self.wrapped = Some(wrapped);
        }
    }

    /// Returns how many of the last bytes may belong to a match that is not complete yet.
    fn unfinished_len(&self, patterns: &Patterns, end: usize) -> usize {
        let mut open = patterns.depth(self.state);
        if let Some(wrapped) = &self.wrapped {
            open = open.max(end - wrapped.position_before(end, patterns.depth(wrapped.state)));
        }
        self.word.map_or(open, |start| open.max(end - start))
    }

    fn mark(&mut self, start: usize, end: usize) {
        if start == end {
            return;
        }
        let first = self.masked.partition_point(|(_, known_end)| *known_end < start);
        let after = first + self.masked[first..].partition_point(|(known_start, _)| *known_start <= end);
        let touched = &self.masked[first..after];
        let start = touched.first().map_or(start, |(known_start, _)| start.min(*known_start));
        let end = touched.last().map_or(end, |(_, known_end)| end.max(*known_end));
        self.masked.splice(first..after, [(start, end)]);
    }

    /// Releases the first `count` held bytes, masked.
    fn release(&mut self, count: usize) -> Vec<u8> {
        let mut shown = Vec::with_capacity(count);
        let mut at = 0;
        let mut open = Vec::new();
        for (start, end) in std::mem::take(&mut self.masked) {
            if start >= count {
                open.push((start - count, end - count));
                continue;
            }
            if start > at {
                shown.extend_from_slice(&self.held[at..start]);
                self.within = false;
            }
            if !self.within {
                shown.extend_from_slice(REPLACEMENT);
            }
            self.within = true;
            at = end.min(count);
            if end > count {
                open.push((0, end - count));
            }
        }
        if at < count {
            shown.extend_from_slice(&self.held[at..count]);
            self.within = false;
        }
        self.masked = open;
        let held = std::mem::take(&mut self.held);
        self.remember(&held[..count]);
        self.held = held;
        self.held.drain(..count);
        self.move_places(count);
        shown
    }

    /// Keeps the last released bytes, unmasked.
    fn remember(&mut self, bytes: &[u8]) {
        if bytes.len() < CONTEXT_BYTES {
            let over = (self.context.len() + bytes.len()).saturating_sub(CONTEXT_BYTES);
            self.context.drain(..over);
        } else {
            self.context.clear();
        }
        self.context.extend_from_slice(&bytes[bytes.len().saturating_sub(CONTEXT_BYTES)..]);
    }

    /// Shifts all positions after `count` bytes were released.
    fn move_places(&mut self, count: usize) {
        self.word = self.word.map(|start| start - count);
        if let Some(wrapped) = &mut self.wrapped {
            wrapped.breaks.retain(|(from, _)| *from >= count);
            for (from, to) in &mut wrapped.breaks {
                (*from, *to) = (*from - count, *to - count);
            }
        }
    }
}

#[cfg(test)]
mod tests;
