//! The limits of masking: which parts of a secret's value are masked, and what to tell the person who sets a secret
//! that cannot be masked completely.
//!
//! The limits are here because two crates use them: `agent-protocol` masks, `api` warns.

/// The shortest value that is masked. Masking shorter values would hide half of every log.
pub const MIN_VALUE: usize = 4;
/// The shortest value that is also masked within words. A shorter one is masked only where no letter or digit touches
/// it.
pub const MIN_WITHIN_WORDS: usize = 8;
/// The shortest line of a value that is masked on its own.
pub const MIN_LINE: usize = 8;
/// How many line numbers a note lists; the other lines are only counted.
const LINES_NAMED: usize = 10;

/// Removes the line breaks at both ends, which belong to the surrounding text.
#[must_use]
pub fn without_outer_line_breaks(value: &str) -> &str {
    value.trim_matches(['\n', '\r'])
}

/// Returns whether a value is masked at all.
#[must_use]
pub fn is_masked(value: &str) -> bool {
    value.trim().len() >= MIN_VALUE
}

/// Describes what is not masked of this value, for the person who sets it. Reveals only lengths and line numbers.
#[must_use]
pub fn notes(value: &str) -> Vec<String> {
    if !is_masked(value) {
        return vec![format!("the value is shorter than {MIN_VALUE} bytes, so it is not masked in logs")];
    }
    let value = without_outer_line_breaks(value);
    let mut notes = Vec::new();
    if value.len() < MIN_WITHIN_WORDS {
        notes.push(format!(
            "the value is shorter than {MIN_WITHIN_WORDS} bytes, so it is masked in logs only as a separate word"
        ));
    }
    if value.contains('\n') {
        let short: Vec<String> = value
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty() && line.len() < MIN_LINE)
            .map(|(number, _)| (number + 1).to_string())
            .collect();
        if !short.is_empty() {
            let named = short[..short.len().min(LINES_NAMED)].join(", ");
            let more = match short.len().saturating_sub(LINES_NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let (noun, verb) = if short.len() == 1 { ("line", "is") } else { ("lines", "are") };
            notes.push(format!(
                "{noun} {named}{more} of the value {verb} shorter than {MIN_LINE} bytes, so logs mask {} only together \
                 with the whole value",
                if short.len() == 1 { "it" } else { "them" }
            ));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_masks_cannot_hide_is_said_and_nothing_of_the_value_is() {
        assert_eq!(notes("long enough"), Vec::<String>::new());
        assert_eq!(notes("-----BEGIN-----\nAAAABBBB\n-----END-----\n"), Vec::<String>::new());
        for (value, said) in [
            ("abc", "shorter than 4 bytes"),
            ("ab\n\n", "shorter than 4 bytes"),
            ("     ", "shorter than 4 bytes"),
            ("prod", "only as a separate word"),
            ("hunter2\n", "only as a separate word"),
            ("{\n  \"key\": \"xyzw\"\n}", "lines 1, 3 of the value are shorter than 8 bytes"),
            ("long enough\nshort\n\nlong enough", "line 2 of the value is shorter than 8 bytes"),
            (&"pq\n".repeat(40), "7, 8, 9, 10 and 30 more"),
        ] {
            let notes = notes(value);
            assert!(notes.len() == 1 && notes[0].contains(said), "{value:?}: {notes:?}");
            for part in ["prod", "hunter2", "xyzw", "pq"] {
                assert!(!notes[0].contains(part), "{notes:?}");
            }
        }
    }
}
