//! Reads the text around a match: whether a word begins there, and whether a line break may belong to an encoder.

use super::{CONTEXT_BYTES, MIN_WRAPPED_LINE};

/// The bytes not yet released: held bytes, then a chunk.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) context: &'a [u8],
    pub(super) held: &'a [u8],
    pub(super) chunk: &'a [u8],
}

impl Text<'_> {
    /// Returns up to `count` bytes before a position, nearest first.
    fn before(&self, position: usize, count: usize) -> impl Iterator<Item = u8> {
        let (held, chunk) = match position.checked_sub(self.held.len()) {
            Some(of_chunk) => (self.held, &self.chunk[..of_chunk]),
            None => (&self.held[..position], &self.chunk[..0]),
        };
        [self.context, held, chunk].into_iter().rev().flat_map(|part| part.iter().rev()).copied().take(count)
    }

    fn at(&self, position: usize) -> Option<u8> {
        self.held.get(position).or_else(|| self.chunk.get(position.checked_sub(self.held.len())?)).copied()
    }

    /// Returns whether enough base64 precedes a line break to attribute it to an encoder.
    pub(super) fn is_wrapped_at(&self, position: usize) -> bool {
        let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte);
        self.before(position, MIN_WRAPPED_LINE).take_while(is_base64).count() == MIN_WRAPPED_LINE
    }

    /// Returns whether a word can begin at a position.
    pub(super) fn is_open_before(&self, position: usize) -> bool {
        if !self.at(position).is_some_and(|byte| byte.is_ascii_alphanumeric()) {
            return true;
        }
        let mut before = [0; CONTEXT_BYTES];
        let mut count = 0;
        for byte in self.before(position, CONTEXT_BYTES) {
            before[count] = byte;
            count += 1;
        }
        let before = &before[..count];
        !before.first().is_some_and(u8::is_ascii_alphanumeric) || ends_in_escape(before)
    }
}

/// Returns whether a text, given last byte first, ends in an escape for one character or none: `\n`, `\u003d`, `%3D`, a
/// terminal's colour.
fn ends_in_escape(backwards: &[u8]) -> bool {
    let is_hex = |count: usize| backwards.len() > count && backwards[..count].iter().all(u8::is_ascii_hexdigit);
    let starts = |position: usize, start: &[u8]| backwards.get(position..position + start.len()) == Some(start);
    let letter = |byte: &u8| b"abefnrtv0".contains(byte);
    if backwards.first().is_some_and(letter) && starts(1, b"\\")
        || is_hex(4) && starts(4, b"u\\")
        || is_hex(2) && (starts(2, b"x\\") || starts(2, b"%"))
    {
        return true;
    }
    let parameters = backwards.iter().skip(1).take_while(|byte| byte.is_ascii_digit() || b";:?".contains(byte)).count();
    starts(1 + parameters, b"[\x1b")
}
