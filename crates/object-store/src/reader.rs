use std::io::{self, Read, Seek, SeekFrom};

use crate::{ObjectError, ObjectStore, store::MAX_PART};

/// How much of the end is read first: a file's index is there.
const TAIL_BYTES: u64 = 64 << 10;
/// How much is read at once: at first little, and more as a reader continues.
const MIN_READ_BYTES: u64 = 256 << 10;

/// Reads an object in parts, from any offset.
#[derive(Debug)]
pub struct ObjectReader {
    store: ObjectStore,
    key: String,
    size: u64,
    at: u64,
    /// Where the end begins that is held, and its bytes.
    tail: (u64, Vec<u8>),
    part: (u64, Vec<u8>),
    next: u64,
}

impl ObjectReader {
    /// Opens an object of that many bytes.
    ///
    /// # Errors
    /// It does not exist, or has another length, or the store does not give it.
    pub fn open(store: ObjectStore, key: String, size: u64) -> Result<Self, ObjectError> {
        let from = size.saturating_sub(TAIL_BYTES);
        let (bytes, total) = store.read(&key, from, TAIL_BYTES)?;
        if total != size {
            return Err(store.refused(format!("an object has {total} bytes instead of {size}")));
        }
        Ok(Self { store, key, size, at: 0, tail: (from, bytes), part: (0, Vec::new()), next: MIN_READ_BYTES })
    }
}

/// Returns what a part has from an offset on.
fn rest((from, bytes): &(u64, Vec<u8>), at: u64) -> &[u8] {
    let skip = at.checked_sub(*from).and_then(|skip| usize::try_from(skip).ok());
    skip.and_then(|skip| bytes.get(skip..)).unwrap_or_default()
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        if rest(&self.tail, self.at).is_empty() && rest(&self.part, self.at).is_empty() {
            let goes_on = self.at == self.part.0 + self.part.1.len() as u64 && !self.part.1.is_empty();
            self.next = if goes_on { (self.next * 2).min(MAX_PART) } else { MIN_READ_BYTES };
            let bytes = self.next.min(self.tail.0.saturating_sub(self.at));
            let (part, _) = self.store.read(&self.key, self.at, bytes)?;
            if part.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.part = (self.at, part);
        }
        let held = match rest(&self.tail, self.at) {
            [] => rest(&self.part, self.at),
            tail => tail,
        };
        let count = held.len().min(buffer.len());
        buffer[..count].copy_from_slice(&held[..count]);
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for ObjectReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
