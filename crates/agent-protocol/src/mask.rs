//! Masks: bytes of secrets never leave the container, and never reach the log.
//!
//! The agent masks what it reads, before it is spooled; the runner masks once more what it is about to write down, should an agent
//! be none of ours any more.
//!
//! [`Patterns`] are the forms of all secrets of a job, [`Masker`] is one stream's state. What matches is replaced by
//! `***`, also across the borders of chunks; bytes are held back only while they may be the beginning of a match.
//! Matches that overlap or touch become one `***`. Knows nothing of steps or frames.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use aho_corasick::automaton::{Automaton as _, StateID};
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, BuildError};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

const REPLACEMENT: &[u8] = b"***";
/// Shorter values would mask half the log.
const SHORTEST: usize = 4;
/// Lines of a value shorter than this stay (`-----`, `{`, and their kin).
const SHORTEST_LINE: usize = 8;

/// What is looked for.
#[derive(Debug)]
pub struct Patterns {
    automaton: NFA,
    start: StateID,
    /// How many of the last bytes, in a state, may be the beginning of a longer match.
    depths: HashMap<StateID, usize>,
}

impl Patterns {
    /// The patterns of these values; `None` if there is nothing to look for. Values under four bytes are not masked.
    pub fn new<S: AsRef<str>>(values: &[S]) -> Result<Option<Arc<Self>>, BuildError> {
        let mut forms = BTreeSet::new();
        for value in values {
            forms_of(value.as_ref(), &mut forms);
        }
        if forms.is_empty() {
            return Ok(None);
        }
        let automaton = NFA::builder().prefilter(false).build(&forms)?;
        let start = automaton.start_state(Anchored::No).unwrap_or(StateID::ZERO);
        let run =
            |bytes: &[u8]| bytes.iter().fold(start, |state, byte| automaton.next_state(Anchored::No, state, *byte));
        let mut depths = HashMap::new();
        for form in &forms {
            let mut state = start;
            for (place, byte) in form[..form.len() - 1].iter().enumerate() {
                state = automaton.next_state(Anchored::No, state, *byte);
                depths.insert(state, place + 1);
            }
        }
        // A whole pattern, which none is longer than, waits for nothing more: only its own tail may begin another. Shorter
        // ones first, because such a tail may be a whole pattern itself.
        let mut whole: Vec<_> = forms.iter().collect();
        whole.sort_by_key(|form| form.len());
        for form in whole {
            let state = run(form);
            if !depths.contains_key(&state) {
                let open = depths.get(&run(&form[1..])).copied().unwrap_or(0);
                depths.insert(state, open);
            }
        }
        Ok(Some(Arc::new(Self { automaton, start, depths })))
    }
}

/// These bytes, all of them at hand, without what the patterns find; nothing where they find nothing.
#[must_use]
pub fn masked(patterns: &Arc<Patterns>, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut masker = Masker::new(Some(Arc::clone(patterns)));
    let mut shown = masker.push(bytes).into_owned();
    shown.extend(masker.finish());
    (shown != bytes).then_some(shown)
}

/// One stream's masker.
#[derive(Debug)]
pub struct Masker {
    patterns: Option<Arc<Patterns>>,
    state: StateID,
    /// Bytes that may be the beginning of a match.
    held: Vec<u8>,
    /// Ranges of `held` that are known to be masked, apart and in order.
    masked: Vec<(usize, usize)>,
    /// Whether the last byte given out was masked: the next one, if masked too, belongs to the same `***`.
    within: bool,
}

impl Masker {
    /// A masker at the beginning of a stream.
    pub fn new(patterns: Option<Arc<Patterns>>) -> Self {
        let state = patterns.as_ref().map_or(StateID::ZERO, |patterns| patterns.start);
        Self { patterns, state, held: Vec::new(), masked: Vec::new(), within: false }
    }

    /// The bytes that can be shown now that `chunk` has come.
    pub fn push<'a>(&mut self, chunk: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(patterns) = self.patterns.clone() else { return Cow::Borrowed(chunk) };
        let automaton = &patterns.automaton;
        let before = self.held.len();
        let mut state = self.state;
        for (place, byte) in chunk.iter().enumerate() {
            state = automaton.next_state(Anchored::No, state, *byte);
            if automaton.is_special(state) && automaton.is_match(state) {
                let longest = (0..automaton.match_len(state))
                    .map(|index| automaton.pattern_len(automaton.match_pattern(state, index)))
                    .max()
                    .unwrap_or(0);
                let end = before + place + 1;
                self.mark(end - longest, end);
            }
        }
        self.state = state;
        let open = patterns.depths.get(&state).copied().unwrap_or(0);
        if before == 0 && self.masked.is_empty() {
            let (shown, held) = chunk.split_at(chunk.len() - open);
            self.held.extend_from_slice(held);
            self.within &= shown.is_empty();
            return Cow::Borrowed(shown);
        }
        self.held.extend_from_slice(chunk);
        Cow::Owned(self.release(self.held.len() - open))
    }

    /// What was held back, at the end of the stream.
    pub fn finish(&mut self) -> Vec<u8> {
        let shown = self.release(self.held.len());
        self.state = self.patterns.as_ref().map_or(StateID::ZERO, |patterns| patterns.start);
        shown
    }

    fn mark(&mut self, mut start: usize, end: usize) {
        while let Some((last_start, last_end)) = self.masked.last().copied() {
            if last_end < start {
                break;
            }
            start = start.min(last_start);
            self.masked.pop();
        }
        self.masked.push((start, end));
    }

    /// Gives out the first `count` held bytes.
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
        self.held.drain(..count);
        shown
    }
}

/// Every form in which a value is looked for.
fn forms_of(value: &str, forms: &mut BTreeSet<Vec<u8>>) {
    if value.len() < SHORTEST {
        return;
    }
    encodings_of(value.as_bytes(), forms);
    if value.contains('\n') {
        let trimmed = value.trim_end_matches(['\n', '\r']);
        if trimmed.len() >= SHORTEST {
            encodings_of(trimmed.as_bytes(), forms);
        }
        for line in value.lines().filter(|line| line.len() >= SHORTEST_LINE) {
            encodings_of(line.as_bytes(), forms);
        }
    }
}

fn encodings_of(value: &[u8], forms: &mut BTreeSet<Vec<u8>>) {
    forms.insert(value.to_vec());
    for shift in 0..3 {
        // The value as a part of something longer: what its own bytes alone decide.
        let mut shifted = vec![0; shift];
        shifted.extend_from_slice(value);
        let first = (shift * 8).div_ceil(6);
        let whole = shifted.len() * 8 / 6;
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let text = engine.encode(&shifted).into_bytes();
            // Up to the last whole character, and, for a value at the end, with the padded one.
            for end in [whole, text.len()] {
                if end - first >= SHORTEST {
                    forms.insert(text[first..end].to_vec());
                }
            }
        }
    }
    // Unreserved characters alone; also "/" (paths, Python's quote); also what encodeURIComponent leaves.
    for kept in ["-_.~", "-_.~/", "-_.!~*'()"] {
        for upper in [true, false] {
            let encoded = percent(value, kept, upper);
            forms.insert(encoded.replace("%20", "+").into_bytes());
            forms.insert(encoded.into_bytes());
        }
    }
}

fn percent(value: &[u8], kept: &str, upper: bool) -> String {
    let mut out = String::with_capacity(value.len() * 3);
    for byte in value {
        let byte = *byte;
        if byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte) {
            out.push(byte.into());
        } else if upper {
            out.push_str(&format!("%{byte:02X}"));
        } else {
            out.push_str(&format!("%{byte:02x}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn masked(values: &[&str], chunks: &[&[u8]]) -> String {
        let mut masker = Masker::new(Patterns::new(values).unwrap());
        let mut out = Vec::new();
        for chunk in chunks {
            out.extend_from_slice(&masker.push(chunk));
        }
        out.extend(masker.finish());
        String::from_utf8(out).unwrap()
    }

    /// The same by brute force, on the whole text at once.
    fn oracle(values: &[String], text: &[u8]) -> Vec<u8> {
        let mut forms = BTreeSet::new();
        for value in values {
            forms_of(value, &mut forms);
        }
        let mut hidden = vec![false; text.len()];
        for form in &forms {
            for start in 0..text.len() {
                if text[start..].starts_with(form) {
                    hidden[start..start + form.len()].fill(true);
                }
            }
        }
        let mut out = Vec::new();
        for (place, byte) in text.iter().enumerate() {
            if !hidden[place] {
                out.push(*byte);
            } else if place == 0 || !hidden[place - 1] {
                out.extend_from_slice(REPLACEMENT);
            }
        }
        out
    }

    #[test]
    fn a_secret_is_masked_across_the_border_of_chunks_and_in_every_form() {
        assert_eq!(masked(&["s3cret"], &[b"a s3c", b"ret b"]), "a *** b");
        let value = "p@ss word/+?";
        for before in ["", "x", "xy", "xyz"] {
            for after in ["", "q", "qr"] {
                let text = base64::engine::general_purpose::STANDARD.encode(format!("{before}{value}{after}"));
                let shown = masked(&[value], &[text.as_bytes()]);
                assert!(shown.contains("***") && shown.len() <= 3 + 4 + 6, "{text} -> {shown}");
            }
        }
        assert_eq!(masked(&[value], &[b"u=p%40ss%20word%2F%2B%3F;"]), "u=***;");
        assert_eq!(masked(&[value], &[b"u=p%40ss%20word%2f%2b%3f;"]), "u=***;");
        assert_eq!(masked(&[value], &[b"u=p%40ss+word%2F%2B%3F;"]), "u=***;");
    }

    #[test]
    fn a_line_of_a_secret_is_masked_and_short_values_are_not() {
        assert_eq!(masked(&["--BEGIN--\nAAAABBBB\nxy\n"], &[b"see AAAABBBB and xy"]), "see *** and xy");
        assert_eq!(masked(&["abc"], &[b"abc"]), "abc");
    }

    #[test]
    fn bytes_are_held_back_only_while_they_may_begin_a_secret() {
        let mut masker = Masker::new(Patterns::new(&["s3cret"]).unwrap());
        assert_eq!(&*masker.push(b"prompt> "), b"prompt> ");
        assert_eq!(&*masker.push(b"s3cr"), b"");
        assert_eq!(&*masker.push(b"ab"), b"s3crab");
        assert_eq!(&*masker.push(b"s3cret"), b"***");
        assert_eq!(&*masker.push(b"\n"), b"\n");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn any_split_masks_the_same(
            values in vec("[ab]{4,7}", 1..4), text in "[abc]{0,60}", cuts in vec(1..9_usize, 1..12),
        ) {
            let mut masker = Masker::new(Patterns::new(&values).unwrap());
            let (mut out, mut rest, mut cuts) = (Vec::new(), text.as_bytes(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                out.extend_from_slice(&masker.push(chunk));
                rest = after;
            }
            out.extend(masker.finish());
            prop_assert_eq!(out, oracle(&values, text.as_bytes()));
        }
    }
}
