//! The parts of an entry's header, and the headers that come before it.

use std::collections::BTreeMap;

use crate::refusal::{Judged, refuse};

/// Whether a block is the header of an entry: it has the format's mark, and its sum is right. Readers of the headers that
/// the program star wrote, which have a mark at their end, too, see a shorter prefix of the name than all others.
pub(super) fn is_header(block: &[u8]) -> bool {
    block.get(257..262) == Some(b"ustar")
        && block.get(508..512) != Some(b"tar\0")
        && octal(&block[148..156]) == Some(sum_of(block))
}

pub(super) fn text(bytes: &[u8]) -> Judged<String> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
        _ => refuse!(Archive, "a Dockerfile, the name of a file of an image, or a key of a pax header is not text"),
    }
}

/// Returns the name of an entry, which may be any bytes that a file's name may be. Readers differ in what an empty one
/// means.
pub(super) fn named(name: &[u8]) -> Judged<Vec<u8>> {
    match name.is_empty() || name.contains(&0) {
        true => refuse!(Archive, "the archive has an entry without a name, or with a zero byte in it"),
        false => Ok(name.to_owned()),
    }
}

/// Whether root in a container may set an extended attribute itself.
pub(super) fn may_be_set(attribute: &str) -> bool {
    attribute.starts_with("user.") || attribute.starts_with("system.posix_acl_") || attribute == "security.capability"
}

/// Reads a size: in octal digits or, for large files, as a number of 8 bytes.
pub(super) fn size_of(field: &[u8]) -> Option<u64> {
    match field {
        [0x80, 0, 0, 0, number @ ..] => number.try_into().ok().map(u64::from_be_bytes).filter(|size| *size <= 1 << 62),
        _ => octal(field),
    }
}

/// Reads a size in a pax header.
pub(super) fn decimal(value: &[u8]) -> Judged<u64> {
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()).filter(|size| *size <= 1 << 62) {
        Some(size) => Ok(size),
        None => refuse!(Archive, "the size of an entry of the archive is not a number"),
    }
}

pub(super) fn octal(field: &[u8]) -> Option<u64> {
    let digits = field.split(|byte| matches!(byte, 0 | b' ')).find(|part| !part.is_empty())?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

pub(super) fn name_of(header: &[u8]) -> Vec<u8> {
    let part = |range: std::ops::Range<usize>| {
        let field = header.get(range).unwrap_or_default();
        field.split(|byte| *byte == 0).next().unwrap_or_default()
    };
    // The GNU format has times where ustar has the prefix of the name.
    let prefix = if header.get(257..263) == Some(b"ustar\0") { part(345..500) } else { &[] };
    let separator: &[u8] = if prefix.is_empty() { b"" } else { b"/" };
    [prefix, separator, part(0..100)].concat()
}

pub(super) fn plain_name(name: &[u8]) -> Judged<Vec<u8>> {
    let parts: Vec<&[u8]> = name.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    if name.starts_with(b"/") || parts.contains(&&b".."[..]) {
        return refuse!(Archive, "a name in the context leads out of it");
    }
    Ok(parts.join(&b'/'))
}

/// Returns the name of a file that has to be text.
pub(super) fn plain_text_name(name: &[u8]) -> Judged<String> {
    text(&plain_name(name)?)
}

/// Returns the header with this size, in the form that every reader understands.
pub(super) fn with_size(mut header: Vec<u8>, size: u64) -> Vec<u8> {
    header[124..128].copy_from_slice(&[0x80, 0, 0, 0]);
    header[128..136].copy_from_slice(&size.to_be_bytes());
    summed(header)
}

/// Returns the header as one of an entry of this kind.
pub(super) fn with_kind(mut header: Vec<u8>, kind: u8) -> Vec<u8> {
    header[156] = kind;
    summed(header)
}

fn summed(mut header: Vec<u8>) -> Vec<u8> {
    let sum = format!("{:06o}\0 ", sum_of(&header));
    header[148..156].copy_from_slice(sum.as_bytes());
    header
}

/// Returns the sum of a header's bytes, with spaces in the place of the sum itself.
pub(super) fn sum_of(header: &[u8]) -> u64 {
    let byte = |(at, byte): (usize, &u8)| if (148..156).contains(&at) { u64::from(b' ') } else { u64::from(*byte) };
    header.iter().enumerate().map(byte).sum()
}

/// Parses the records of a pax header: `LENGTH KEY=VALUE\n`.
pub(super) fn pax(mut bytes: &[u8]) -> Judged<BTreeMap<String, Vec<u8>>> {
    let mut records = BTreeMap::new();
    while !bytes.is_empty() {
        let parsed = bytes.iter().position(|byte| *byte == b' ').and_then(|space| {
            let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
            let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|byte| *byte == b'=')?;
            Some((length, &record[..equals], &record[equals + 1..]))
        });
        let Some((length, key, value)) = parsed else {
            return refuse!(Archive, "the archive has a malformed pax header");
        };
        if records.insert(text(key)?, value.to_owned()).is_some() {
            return refuse!(Archive, "the archive describes an entry twice");
        }
        bytes = &bytes[length..];
    }
    Ok(records)
}
