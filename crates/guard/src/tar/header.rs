//! The parts of an entry's header, and the headers that come before it.

use crate::refusal::{Judged, refuse};

pub(super) fn text(bytes: &[u8]) -> Judged<String> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
        _ => refuse!(Archive, "the Dockerfile, or a name in the archive, is not text"),
    }
}

/// Readers differ in what an empty name means.
pub(super) fn named(name: String) -> Judged<String> {
    match name.is_empty() {
        true => refuse!(Archive, "the archive has an entry without a name"),
        false => Ok(name),
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

pub(super) fn octal(field: &[u8]) -> Option<u64> {
    let digits = field.split(|byte| matches!(byte, 0 | b' ')).find(|part| !part.is_empty())?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

pub(super) fn name_of(header: &[u8]) -> Judged<String> {
    let part = |range: std::ops::Range<usize>| {
        let field = header.get(range).unwrap_or_default();
        text(field.split(|byte| *byte == 0).next().unwrap_or_default())
    };
    let name = part(0..100)?;
    // The GNU format has times where ustar has the prefix of the name.
    let prefix = if header.get(257..263) == Some(b"ustar\0") { part(345..500)? } else { String::new() };
    Ok(if prefix.is_empty() { name } else { format!("{prefix}/{name}") })
}

pub(super) fn plain_name(name: &str) -> Judged<String> {
    let parts: Vec<&str> = name.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if name.starts_with('/') || parts.contains(&"..") {
        return refuse!(Archive, "a name in the context leads out of it");
    }
    Ok(parts.join("/"))
}

/// Parses the records of a pax header: `LENGTH KEY=VALUE\n`.
pub(super) fn pax(mut bytes: &[u8]) -> Judged<Vec<(String, String)>> {
    let mut records = Vec::new();
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
        // The values of other keys may be any bytes.
        let key = text(key)?;
        let value = if key == "path" { text(value)? } else { String::new() };
        records.push((key, value));
        bytes = &bytes[length..];
    }
    Ok(records)
}
