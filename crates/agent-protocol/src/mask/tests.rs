use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use proptest::collection::vec;
use proptest::prelude::*;

use super::forms::{self, Forms, Where};
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

fn in_chunks<S: AsRef<str>>(values: &[S], text: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut masker = Masker::new(Patterns::new(values).unwrap());
    let (mut out, mut rest, mut cuts) = (Vec::new(), text, cuts.iter().cycle());
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
        out.extend_from_slice(&masker.push(chunk));
        rest = after;
    }
    out.extend(masker.finish());
    out
}

/// Masks by brute force, on the whole text at once. Only for texts without base64 that is broken into lines.
fn oracle(values: &[String], text: &[u8]) -> Vec<u8> {
    let mut forms = Forms::new();
    for value in values {
        forms::add(value, &mut forms);
    }
    let inside_word = |place: usize| {
        place > 0
            && place < text.len()
            && text[place - 1].is_ascii_alphanumeric()
            && text[place].is_ascii_alphanumeric()
    };
    let mut hidden = vec![false; text.len()];
    for (form, place) in &forms {
        for start in 0..text.len() {
            let end = start + form.len();
            let is_free = *place == Where::Anywhere || !(inside_word(start) || inside_word(end));
            if text[start..].starts_with(form) && is_free {
                hidden[start..end].fill(true);
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

/// Breaks a text into lines.
fn wrapped(text: &str, columns: usize, line_end: &str) -> String {
    text.as_bytes().chunks(columns).map(|line| std::str::from_utf8(line).unwrap()).collect::<Vec<_>>().join(line_end)
}

#[test]
fn a_secret_is_masked_across_the_border_of_chunks_and_in_every_form() {
    assert_eq!(masked(&["s3cret-value"], &[b"a s3cret", b"-value b"]), "a *** b");
    let value = "p@ss word/+?";
    for before in ["", "x", "xy", "xyz"] {
        for after in ["", "q", "qr"] {
            let text = STANDARD.encode(format!("{before}{value}{after}"));
            let shown = masked(&[value], &[text.as_bytes()]);
            assert!(shown.contains("***") && shown.len() <= 3 + 4 + 6, "{text} -> {shown}");
        }
    }
    assert_eq!(masked(&[value], &[b"u=p%40ss%20word%2F%2B%3F;"]), "u=***;");
    assert_eq!(masked(&[value], &[b"u=p%40ss%20word%2f%2b%3f;"]), "u=***;");
    assert_eq!(masked(&[value], &[b"u=p%40ss+word%2F%2B%3F;"]), "u=***;");
}

#[test]
fn a_secret_is_masked_in_base64_that_is_broken_into_lines() {
    let long: String = (0..321_u32).map(|at| char::from(b'a' + u8::try_from(at * 7 % 26).unwrap())).collect();
    for columns in [76, 64, 60, 40, 20] {
        for line_end in ["\n", "\r\n", "\r", "\n  "] {
            let text = wrapped(&STANDARD.encode(&long), columns, line_end);
            let shown = masked(&[&long], &[b"cert: ", text.as_bytes(), b"\nnext\n"]);
            let lines = text.split(line_end).map(|_| "***").collect::<Vec<_>>().join(line_end);
            assert_eq!(shown, format!("cert: {lines}\nnext\n"), "{columns} {line_end:?}");
        }
    }
    // A short value inside a longer one, across the end of a line.
    for before in 40..60 {
        let inner = format!("{}hunter2hunter2{}", "x".repeat(before), "y".repeat(30));
        let text = wrapped(&STANDARD.encode(inner), 76, "\n");
        let shown = masked(&["hunter2hunter2"], &[text.as_bytes()]);
        assert!(shown.contains("***") && shown.len() < text.len() - 10, "{text} -> {shown}");
    }
}

#[test]
fn a_secret_is_masked_in_json_and_between_a_shells_quotes() {
    let value = "pa\"ss\\wo'rd $1\u{e9}/<x>";
    let json = serde_json::to_string(value).unwrap();
    let twice = serde_json::to_string(&json).unwrap();
    assert_eq!(masked(&[value], &[json.as_bytes()]), "\"***\"");
    assert_eq!(masked(&[value], &[twice.as_bytes()]), "\"\\\"***\\\"\"");
    for text in [
        "pa\\\"ss\\\\wo'rd $1\\u00e9/<x>",
        "pa\\\"ss\\\\wo'rd $1\\u00e9\\/<x>",
        "pa\\\"ss\\\\wo'rd $1\u{e9}/\\u003cx\\u003e",
        "pa\\u0022ss\\\\wo\\u0027rd $1\\u00E9/\\u003Cx\\u003E",
        "pa\"ss\\wo'\\''rd $1\u{e9}/<x>",
        "pa\"ss\\wo'\"'\"'rd $1\u{e9}/<x>",
        "pa\\\"ss\\\\wo'rd \\$1\u{e9}/<x>",
        "pa\\\"ss\\\\wo\\'rd\\ \\$1\u{e9}/\\<x\\>",
        "pa\"ss\\\\wo\\'rd $1\u{e9}/<x>",
        "pa\"ss\\\\wo\\'rd $1\\303\\251/<x>",
    ] {
        assert_eq!(masked(&[value], &[b"a='", text.as_bytes(), b"'"]), "a='***'", "{text}");
    }
    assert_eq!(
        masked(&["first line\nsecond\tline\n"], &[br#"{"key":"first line\nsecond\tline\n"}"#]),
        r#"{"key":"***\n"}"#
    );
}

#[test]
fn a_short_value_is_masked_as_a_word_and_not_inside_of_one() {
    for survives in ["products", "reproduce", "https://production.example", "my1prod"] {
        assert_eq!(masked(&["prod"], &[survives.as_bytes()]), survives);
    }
    for (text, shown) in [
        ("prod", "***"),
        ("to prod!", "to ***!"),
        ("my_prod_db", "my_***_db"),
        ("\u{201c}prod\u{201d}", "\u{201c}***\u{201d}"),
        ("\x1b[1;32mprod\x1b[0m", "\x1b[1;32m***\x1b[0m"),
        (r#"{"a":"x\nprod\n"}"#, r#"{"a":"x\n***\n"}"#),
        ("a%3Dprod%20", "a%3D***%20"),
        (r"\u003dprod", r"\u003d***"),
        ("prod\nprod", "***\n***"),
    ] {
        assert_eq!(masked(&["prod"], &[text.as_bytes()]), shown);
        for cut in 0..text.len() {
            let (first, second) = text.as_bytes().split_at(cut);
            assert_eq!(masked(&["prod"], &[first, second]), shown, "cut at {cut}");
        }
    }
    // A value's edge that is not a letter or digit may touch any character.
    assert_eq!(masked(&["@abc!"], &[b"x@abc!y"]), "x***y");
}

#[test]
fn the_newline_at_the_end_of_a_value_stays_in_the_log() {
    assert_eq!(masked(&["s3cret-value\n"], &[b"s3cret-value\nnext\n"]), "***\nnext\n");
    assert_eq!(masked(&["\r\ns3cret-value\r\n"], &[b"a\r\ns3cret-value\r\nnext\n"]), "a\r\n***\r\nnext\n");
    assert_eq!(masked(&["one line\nshort\n"], &[b"one line\r\nshort\r\nnext"]), "***\r\nnext");
}

#[test]
fn a_line_of_a_secret_is_masked_and_what_is_too_short_is_not() {
    assert_eq!(masked(&["--BEGIN--\nAAAABBBB\nxy\n"], &[b"see AAAABBBB and xy"]), "see *** and xy");
    assert_eq!(masked(&["abc", "a\nb\n\n", "    "], &[b"abc a\nb\n\n    "]), "abc a\nb\n\n    ");
}

#[test]
fn bytes_are_held_back_only_while_they_may_begin_a_secret() {
    let mut masker = Masker::new(Patterns::new(&["s3cret-value"]).unwrap());
    assert_eq!(&*masker.push(b"prompt> "), b"prompt> ");
    assert_eq!(&*masker.push(b"s3cr"), b"");
    assert_eq!(&*masker.push(b"ab"), b"s3crab");
    assert_eq!(&*masker.push(b"s3cret-value"), b"***");
    assert_eq!(&*masker.push(b"\n"), b"\n");
    // A line whose end may begin a secret is shown at once, unless it looks like base64.
    assert_eq!(&*masker.push(b"it ends in s3cr\n"), b"it ends in s3cr\n");
    assert_eq!(&*masker.push(b"0123456789abcdefs3cr\n"), b"0123456789abcdef");
    assert_eq!(&*masker.push(b"\nnext\n"), b"s3cr\n\nnext\n");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_split_masks_the_same(
        values in vec("[ab]{8,11}|[ab]{4,5}|-[ab]{3}", 1..4), text in "[ab]{0,30}[ab -]{0,40}", cuts in vec(1..9_usize, 1..12),
    ) {
        prop_assert_eq!(in_chunks(&values, text.as_bytes(), &cuts), oracle(&values, text.as_bytes()));
    }

    #[test]
    fn no_form_of_a_secret_survives_wherever_the_stream_is_cut(
        value in "[ -~]{0,3}[!-~\u{e9}\n]{8,90}[ -~]{0,3}", before in "[ -~]{0,90}", after in "[ -~]{0,90}",
        form in 0..9_usize, columns in 16..80_usize, line_end in 0..4_usize, cuts in vec(1..40_usize, 1..12),
    ) {
        let value = value.as_str();
        prop_assume!(longshore_core::masking::without_outer_line_breaks(value).len() >= 8);
        let line_end = ["\n", "\r\n", "\r", "\n\t  "][line_end];
        let inner = longshore_core::masking::without_outer_line_breaks(value);
        // The text, and what it must not contain after masking, ignoring line breaks and indentation.
        let (text, hidden) = match form {
            0 => (format!("{before}{value}{after}"), inner.to_owned()),
            1 | 2 => {
                let whole = format!("{before}{value}{after}");
                let text = if form == 1 { STANDARD.encode(&whole) } else { URL_SAFE.encode(&whole) };
                // The characters that depend on the value's own bytes alone.
                let from = (before.len() * 8).div_ceil(6);
                let to = (before.len() + value.len()) * 8 / 6;
                (wrapped(&text, columns, line_end), text[from..to].to_owned())
            }
            3 => {
                let json = serde_json::to_string(inner).unwrap();
                let json = json[1..json.len() - 1].to_owned();
                (format!("{before}{json}{after}"), json)
            }
            4 => {
                let quoted = inner.replace('\'', "'\\''");
                (format!("{before}'{quoted}'{after}"), quoted)
            }
            5 => {
                let encoded: String = inner.bytes().map(|b| match b {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(b).to_string(),
                    _ => format!("%{b:02X}"),
                }).collect();
                (format!("{before}{encoded}{after}"), encoded)
            }
            6 => (format!("{before}\n{}\n{after}", inner.replace('\n', "\r\n")), inner.replace('\n', "\r\n")),
            7 => (wrapped(&STANDARD.encode(value), columns, line_end), STANDARD.encode(value)),
            _ => {
                let escaped = inner.replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n");
                (format!("{before}$'{escaped}'{after}"), escaped)
            }
        };
        let shown = String::from_utf8(in_chunks(&[value], text.as_bytes(), &cuts)).unwrap();
        let strip = |text: &str| text.replace("\n\t  ", "").replace(['\n', '\r'], "");
        prop_assert!(shown.contains("***"), "{} -> {}", text, shown);
        prop_assert!(!strip(&shown).contains(&strip(&hidden)), "{} -> {}", text, shown);
    }
}
