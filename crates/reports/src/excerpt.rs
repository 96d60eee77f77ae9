//! Keeps the beginning and the end of a long text, since a failure's cause stands at either.

use crate::limits::OUTPUT_HALF_BYTES;

/// A text as it grows. Holds at most four halves, whatever is pushed.
#[derive(Debug, Default)]
pub(crate) struct Excerpt {
    text: String,
    /// Bytes that were removed from behind the first half.
    left_out: usize,
}

impl Excerpt {
    pub(crate) fn push(&mut self, mut text: &str) {
        // Bytes that can be neither in the beginning nor in the end are not copied.
        if text.len() > 4 * OUTPUT_HALF_BYTES {
            let begin = text.floor_char_boundary(2 * OUTPUT_HALF_BYTES);
            let end = text.ceil_char_boundary(text.len() - 2 * OUTPUT_HALF_BYTES);
            self.push(&text[..begin]);
            self.shorten();
            self.left_out += end - begin;
            text = &text[end..];
        }
        self.text.push_str(text);
        if self.text.len() > 4 * OUTPUT_HALF_BYTES {
            self.shorten();
        }
    }

    fn shorten(&mut self) {
        let begin = self.text.floor_char_boundary(OUTPUT_HALF_BYTES);
        let end = self.text.ceil_char_boundary(self.text.len().saturating_sub(OUTPUT_HALF_BYTES));
        if end > begin {
            self.text.drain(begin..end);
            self.left_out += end - begin;
        }
    }

    pub(crate) fn is_blank(&self) -> bool {
        self.text.trim().is_empty()
    }

    /// Returns the text, with a line that says how much is left out in its middle.
    pub(crate) fn finish(&mut self) -> String {
        if self.text.len() > 2 * OUTPUT_HALF_BYTES {
            self.shorten();
        }
        let text = std::mem::take(&mut self.text);
        let left_out = std::mem::take(&mut self.left_out);
        if left_out == 0 {
            return text;
        }
        let middle = text.floor_char_boundary(OUTPUT_HALF_BYTES);
        format!("{}\n[… {left_out} bytes left out …]\n{}", &text[..middle], &text[middle..])
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn a_long_text_keeps_its_beginning_and_its_end() {
        for chunk in [1, 100, OUTPUT_HALF_BYTES, 1 << 20] {
            let all = format!("first{}last", "ä".repeat(1 << 20));
            let mut excerpt = Excerpt::default();
            let mut rest = all.as_str();
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.ceil_char_boundary(chunk.min(rest.len())));
                excerpt.push(now);
                rest = later;
            }
            let kept = excerpt.finish();
            assert!(kept.starts_with("firstä") && kept.ends_with("älast"), "{chunk}");
            assert!(kept.len() < 2 * OUTPUT_HALF_BYTES + 100, "{chunk}: {}", kept.len());
            let counted: usize = kept.split_once("[… ").unwrap().1.split(' ').next().unwrap().parse().unwrap();
            let marker = format!("\n[… {counted} bytes left out …]\n").len();
            assert_eq!(counted + kept.len() - marker, all.len(), "{chunk}");
        }
        let mut short = Excerpt::default();
        short.push("short");
        assert_eq!(short.finish(), "short");
    }
}
