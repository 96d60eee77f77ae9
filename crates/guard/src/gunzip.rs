//! Unpacks the contexts of builds that docker-java and others compress with gzip: the engine gets a plain tar.

use std::borrow::Cow;
use std::io::Write as _;

use flate2::write::MultiGzDecoder;

use crate::refusal::{Judged, Refusal, refuse};

/// The first byte of a file that is compressed with gzip.
const MARK: u8 = 0x1f;
/// The most compressed bytes that are unpacked at a time. They become at most about a thousand times as many.
const PIECE: usize = 4096;

/// Unpacks bytes while they arrive, if they are compressed.
#[derive(Debug, Default)]
pub enum Gunzip {
    /// Nothing has arrived.
    #[default]
    Start,
    Plain,
    Packed(Box<MultiGzDecoder<Vec<u8>>>),
}

impl Gunzip {
    /// Returns the most bytes that [`Self::unpack`] takes at a time.
    #[must_use]
    pub fn piece(&self) -> usize {
        if matches!(self, Self::Plain) { usize::MAX } else { PIECE }
    }

    /// Takes the next bytes. Returns what they are when they are not compressed.
    ///
    /// # Errors
    /// If they are damaged.
    pub fn unpack<'a>(&mut self, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>, Refusal> {
        if let (Self::Start, Some(first)) = (&*self, bytes.first()) {
            *self = match *first {
                MARK => Self::Packed(Box::new(MultiGzDecoder::new(Vec::new()))),
                _ => Self::Plain,
            };
        }
        let Self::Packed(decoder) = self else { return Ok(bytes.into()) };
        match decoder.write_all(bytes) {
            Ok(()) => Ok(std::mem::take(decoder.get_mut()).into()),
            Err(_) => damaged(),
        }
    }

    /// Returns the last bytes.
    ///
    /// # Errors
    /// If they are damaged or cut off.
    pub fn finish(self) -> Result<Vec<u8>, Refusal> {
        match self {
            Self::Start | Self::Plain => Ok(Vec::new()),
            Self::Packed(decoder) => decoder.finish().or_else(|_| damaged()),
        }
    }
}

fn damaged<T>() -> Judged<T> {
    refuse!(Archive, "the archive cannot be unpacked: its gzip is damaged or cut off")
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(bytes: &[u8], piece: usize) -> Judged<Vec<u8>> {
        let (mut gunzip, mut out) = (Gunzip::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            out.extend_from_slice(&gunzip.unpack(piece)?);
        }
        out.extend(gunzip.finish()?);
        Ok(out)
    }

    #[test]
    fn what_is_compressed_with_gzip_is_unpacked_and_all_else_is_as_it_was() {
        let content = "a context".repeat(1000).into_bytes();
        let several = [packed(&content), packed(b"and more")].concat();
        for piece in [1, 7, 1 << 20] {
            assert_eq!(unpacked(&content, piece).unwrap(), content);
            assert_eq!(unpacked(&packed(&content), piece).unwrap(), content);
            assert_eq!(unpacked(&several, piece).unwrap(), [&content[..], b"and more"].concat());
        }
        assert_eq!(unpacked(b"BZh9", 1).unwrap(), b"BZh9", "for the reader of tars to refuse");
        assert!(unpacked(b"", 1).unwrap().is_empty());
        let whole = packed(&content);
        for damaged in [&whole[..whole.len() - 1], &whole[..5], b"\x1f", b"\x1f\x8b\x08rest of it"] {
            assert!(unpacked(damaged, 3).is_err(), "{damaged:?}");
        }
    }

    #[test]
    fn little_is_unpacked_at_a_time() {
        let bomb = packed(&vec![0; 64 << 20]);
        let mut gunzip = Gunzip::default();
        let most = bomb.chunks(gunzip.piece()).map(|piece| gunzip.unpack(piece).unwrap().len()).max();
        assert!(most.is_some_and(|most| most < 8 << 20), "{most:?}");
    }
}
