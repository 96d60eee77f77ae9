//! Writes the size and the times of Git LFS's files, which are not the commit's own bytes, into git's index. Otherwise
//! a git without Git LFS in a job would compare an object with its pointer and call every such file changed.
//!
//! With `core.checkStat = minimal` git believes a file to be as it was if its size and its time, in seconds, are those
//! of the index.

use std::{collections::HashMap, io, path::Path};

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA1_OUTPUT_LEN, digest};

/// Offsets in an entry, and the length of the part before its path. See git's documentation (`gitformat-index`).
const TIME_OFFSET: usize = 8;
const SIZE_OFFSET: usize = 36;
const FLAGS_OFFSET: usize = 60;
const EXTENDED_FLAG: u16 = 0x4000;
const HEADER_BYTES: usize = 12;

/// Writes size and time of these files into an index of version 2 or 3. `time` is in seconds since 1970.
pub(crate) fn write(index: &Path, sizes: &HashMap<&[u8], u64>, time: u64) -> io::Result<()> {
    let mut bytes = std::fs::read(index)?;
    patch(&mut bytes, sizes, time).ok_or_else(|| io::Error::other("git has written an index that cannot be parsed"))?;
    std::fs::write(index, bytes)
}

fn patch(bytes: &mut [u8], sizes: &HashMap<&[u8], u64>, time: u64) -> Option<()> {
    let number = |bytes: &[u8], at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (version, count) = (number(bytes, 4)?, number(bytes, 8)?);
    if !bytes.starts_with(b"DIRC") || !matches!(version, 2 | 3) {
        return None;
    }
    let mut at = HEADER_BYTES;
    for _ in 0..count {
        let flags = u16::from_be_bytes(bytes.get(at + FLAGS_OFFSET..at + FLAGS_OFFSET + 2)?.try_into().ok()?);
        let start = at + FLAGS_OFFSET + if flags & EXTENDED_FLAG == 0 { 2 } else { 4 };
        let length = bytes.get(start..)?.iter().position(|byte| *byte == 0)?;
        if let Some(size) = sizes.get(&bytes[start..start + length]) {
            // Git keeps the lower 32 bits of both.
            bytes[at + TIME_OFFSET..at + TIME_OFFSET + 4].copy_from_slice(&time.to_be_bytes()[4..]);
            bytes[at + SIZE_OFFSET..at + SIZE_OFFSET + 4].copy_from_slice(&size.to_be_bytes()[4..]);
        }
        // One to eight zeros follow the path, up to a multiple of eight.
        at += (start - at + length + 8) & !7;
    }
    let end = bytes.len().checked_sub(SHA1_OUTPUT_LEN).filter(|end| *end >= at)?;
    let (content, sum) = bytes.split_at_mut(end);
    sum.copy_from_slice(digest(&SHA1_FOR_LEGACY_USE_ONLY, content).as_ref());
    Some(())
}
