//! Cleans texts from reports: decodes them, cuts them, and removes what does not belong on a page.

use std::borrow::Cow;

/// Decodes a report. Byte order marks count, then UTF-8; what is neither and says that it is Latin-1 is read as that.
pub(crate) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    let wide = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = rest.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        char::decode_utf16(units).map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER)).collect::<String>()
    };
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest),
        [0xff, 0xfe, rest @ ..] => Cow::Owned(wide(rest, u16::from_le_bytes)),
        [0xfe, 0xff, rest @ ..] => Cow::Owned(wide(rest, u16::from_be_bytes)),
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) if says_latin1(bytes) => Cow::Owned(bytes.iter().map(|byte| char::from(*byte)).collect()),
            Err(_) => String::from_utf8_lossy(bytes),
        },
    }
}

fn says_latin1(bytes: &[u8]) -> bool {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).to_ascii_lowercase();
    let declaration = head.split("?>").next().unwrap_or_default();
    declaration.starts_with("<?xml")
        && ["iso-8859-1", "latin1", "latin-1", "windows-1252", "us-ascii"].iter().any(|name| declaration.contains(name))
}

/// Cuts a text at a character's boundary, and says with `…` that it did.
pub(crate) fn cut(text: &str, bytes: usize) -> Cow<'_, str> {
    if text.len() <= bytes {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{}…", &text[..text.floor_char_boundary(bytes)]))
}

/// Cuts a name that is compared with others. Two long names that differ only at the end stay different.
pub(crate) fn cut_name(name: &str, bytes: usize) -> Cow<'_, str> {
    if name.len() <= bytes {
        return Cow::Borrowed(name);
    }
    // FNV-1a: a name is the same in every build, so its hash must not change between versions.
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    Cow::Owned(format!("{}…{hash:016x}", &name[..name.floor_char_boundary(bytes)]))
}

/// Removes colours, and control characters but tabs and ends of lines. Pytest writes the escape byte, which XML cannot
/// hold, as `#x1B`.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(|char: char| char.is_control() && char != '\n' && char != '\t') && !text.contains("#x1B[") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(char) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("\x1b[").or_else(|| rest.strip_prefix("#x1B[")) {
            let end = after.bytes().position(|byte| (0x40..=0x7e).contains(&byte));
            // A sequence is short; text without its end is not a sequence.
            if let Some(end) = end.filter(|end| *end < 32 && after.is_char_boundary(end + 1)) {
                rest = &after[end + 1..];
                continue;
            }
        }
        if char == '\n' || char == '\t' || !char.is_control() {
            out.push(char);
        }
        rest = &rest[char.len_utf8()..];
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn texts_are_decoded_by_their_marks_and_what_they_say() {
        assert_eq!(decode(b"\xef\xbb\xbfa"), "a");
        assert_eq!(decode(b"\xff\xfea\0\xe4\0"), "aä");
        assert_eq!(decode(b"\xfe\xff\0a\0\xe4"), "aä");
        assert_eq!(decode(b"<?xml version='1.0' encoding='ISO-8859-1'?>\xe4").chars().last(), Some('ä'));
        assert_eq!(decode(b"a\xe4"), "a\u{fffd}");
    }

    #[test]
    fn colours_and_control_characters_are_removed() {
        assert_eq!(clean("\x1b[31mred\x1b[0m\r\n\tx\0"), "red\n\tx");
        assert_eq!(clean("#x1B[1mbold#x1B[0m #x1B"), "bold #x1B");
        assert_eq!(clean("\x1b[ä"), "[ä");
    }

    #[test]
    fn long_names_that_differ_stay_different() {
        let long = |end: &str| format!("{}{end}", "ä".repeat(400));
        assert_ne!(cut_name(&long("a"), 600), cut_name(&long("b"), 600));
        assert!(cut_name(&long("a"), 600).len() < 630);
        assert_eq!(cut("äää", 3), "ä…");
    }
}
