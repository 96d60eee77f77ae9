//! Every form in which a secret's value is searched for.
//!
//! [`Patterns`](super::Patterns) calls this once per job. Line breaks that an encoder puts into base64 are not covered
//! here: the masker skips them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use longshore_core::masking::{MIN_LINE, MIN_WITHIN_WORDS, is_masked, without_outer_line_breaks};

/// The shortest base64 form that is searched for.
const MIN_BASE64: usize = 4;

/// Where a form is masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Where {
    Anywhere,
    /// Only where no letter or digit touches a letter or digit at its ends.
    AsWord,
}

/// Where each form is masked, by its bytes.
pub(super) type Forms = BTreeMap<Vec<u8>, Where>;

/// Adds every form of a value.
pub(super) fn add(value: &str, forms: &mut Forms) {
    if !is_masked(value) {
        return;
    }
    let inner = without_outer_line_breaks(value);
    let whole = if inner.len() < MIN_WITHIN_WORDS { Where::AsWord } else { Where::Anywhere };
    add_texts(inner, whole, forms);
    add_base64(inner.as_bytes(), forms);
    if inner.len() < value.len() {
        add_base64(value.as_bytes(), forms);
    }
    if inner.contains('\n') {
        // As a terminal prints it, and as programs print it that strip a terminal's line endings.
        add_form(inner.replace("\r\n", "\n").replace('\n', "\r\n"), whole, forms);
        add_form(inner.replace("\r\n", "\n"), whole, forms);
        for line in inner.lines().filter(|line| line.len() >= MIN_LINE) {
            add_texts(line, Where::Anywhere, forms);
            add_base64(line.as_bytes(), forms);
        }
    }
}

fn add_form(form: String, place: Where, forms: &mut Forms) {
    let known = forms.entry(form.into_bytes()).or_insert(place);
    *known = place.min(*known);
}

/// Adds the value itself, and the ways in which programs quote and escape it.
fn add_texts(value: &str, place: Where, forms: &mut Forms) {
    let mut add = |form| add_form(form, place, forms);
    add(value.to_owned());
    for kept in ["-_.~", "-_.~/", "-_.!~*'()"] {
        // Unreserved characters only; also "/" (paths, Python's `quote`); also what `encodeURIComponent` leaves.
        for upper in [true, false] {
            let encoded = percent_encode(value, kept, upper);
            add(encoded.replace("%20", "+"));
            add(encoded);
        }
    }
    if value.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return;
    }
    // JSON: minimal (jq, Rust), and the same nested in a JSON string; Python; other JavaScript engines, PHP; Go; .NET.
    let json = escaped(value, |c| json_escape(c, "", NonAscii::AsIs));
    add(escaped(&json, |c| json_escape(c, "", NonAscii::AsIs)));
    add(json);
    add(escaped(value, |c| json_escape(c, "", NonAscii::LowerHex)));
    add(escaped(value, |c| json_escape(c, "", NonAscii::UpperHex)));
    add(escaped(value, |c| if c == '/' { Some("\\/".to_owned()) } else { json_escape(c, "", NonAscii::AsIs) }));
    add(escaped(value, |c| if c == '/' { Some("\\/".to_owned()) } else { json_escape(c, "", NonAscii::LowerHex) }));
    add(escaped(value, |c| json_escape(c, "<>&\u{2028}\u{2029}", NonAscii::AsIs)));
    add(escaped(value, |c| json_escape(c, "\"&'+<>`\u{7f}", NonAscii::UpperHex)));
    // Shells: in single quotes (bash; dash and Python's `shlex`), in double quotes, with backslashes (`printf %q`), in
    // `$'...'`.
    add(value.replace('\'', "'\\''"));
    add(value.replace('\'', "'\"'\"'"));
    add(escaped(value, |c| "\"\\$`".contains(c).then(|| format!("\\{c}"))));
    add(escaped(value, |c| (c.is_ascii() && " !\"$&'()*;<>?[\\]^`{|},\t".contains(c)).then(|| format!("\\{c}"))));
    add(escaped(value, |c| {
        (c.is_ascii() && !c.is_ascii_alphanumeric() && !"_@%+=:./-".contains(c)).then(|| format!("\\{c}"))
    }));
    add(escaped(value, |c| c_escape(c, "'", NonAscii::AsIs)));
    add(escaped(value, |c| c_escape(c, "'", NonAscii::LowerHex)));
    // Python's `repr` of a value with a single quote, and C.
    add(escaped(value, |c| c_escape(c, "", NonAscii::AsIs)));
    add(escaped(value, |c| c_escape(c, "\"", NonAscii::AsIs)));
}

fn escaped(value: &str, escape: impl Fn(char) -> Option<String>) -> String {
    let mut out = String::with_capacity(value.len() + 16);
    for c in value.chars() {
        match escape(c) {
            Some(instead) => out.push_str(&instead),
            None => out.push(c),
        }
    }
    out
}

/// How characters beyond ASCII are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NonAscii {
    AsIs,
    /// Escaped, with lower-case hexadecimal digits.
    LowerHex,
    UpperHex,
}

fn json_escape(c: char, also: &str, others: NonAscii) -> Option<String> {
    let by_number = also.contains(c) || c < ' ' || (!c.is_ascii() && others != NonAscii::AsIs);
    match c {
        '"' | '\\' if !also.contains(c) => Some(format!("\\{c}")),
        '\n' => Some("\\n".to_owned()),
        '\r' => Some("\\r".to_owned()),
        '\t' => Some("\\t".to_owned()),
        '\u{8}' => Some("\\b".to_owned()),
        '\u{c}' => Some("\\f".to_owned()),
        _ if by_number => {
            let mut out = String::new();
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = match others {
                    NonAscii::UpperHex => write!(out, "\\u{unit:04X}"),
                    NonAscii::AsIs | NonAscii::LowerHex => write!(out, "\\u{unit:04x}"),
                };
            }
            Some(out)
        }
        _ => None,
    }
}

/// Escapes as C and a shell's `$'...'` do. Characters beyond ASCII are escaped byte by byte unless they are kept.
fn c_escape(c: char, quotes: &str, others: NonAscii) -> Option<String> {
    match c {
        '\\' => Some("\\\\".to_owned()),
        '\n' => Some("\\n".to_owned()),
        '\r' => Some("\\r".to_owned()),
        '\t' => Some("\\t".to_owned()),
        _ if quotes.contains(c) => Some(format!("\\{c}")),
        _ if !c.is_ascii() && others != NonAscii::AsIs => {
            Some(c.encode_utf8(&mut [0; 4]).bytes().fold(String::new(), |mut out, byte| {
                let _ = write!(out, "\\{byte:03o}");
                out
            }))
        }
        _ => None,
    }
}

fn add_base64(value: &[u8], forms: &mut Forms) {
    for shift in 0..3 {
        // The value inside a longer text: the characters that depend on its own bytes alone.
        let mut shifted = vec![0; shift];
        shifted.extend_from_slice(value);
        let first = (shift * 8).div_ceil(6);
        let whole = shifted.len() * 8 / 6;
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let text = engine.encode(&shifted).into_bytes();
            // Up to the last complete character and, for a value at the end, up to the padded one.
            for end in [whole, text.len()] {
                if end - first >= MIN_BASE64 {
                    forms.insert(text[first..end].to_vec(), Where::Anywhere);
                }
            }
        }
    }
}

fn percent_encode(value: &str, kept: &str, upper: bool) -> String {
    let mut out = String::with_capacity(value.len() * 3);
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte) {
            out.push(byte.into());
        } else if upper {
            let _ = write!(out, "%{byte:02X}");
        } else {
            let _ = write!(out, "%{byte:02x}");
        }
    }
    out
}
