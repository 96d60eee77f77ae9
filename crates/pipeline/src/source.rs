//! A file's text and the positions in it: converts byte offsets to lines and columns.

use longshore_core::Span;

/// One pipeline file, already read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// The path as people know it: relative to the repository, `.longshore/ci.yml`, or to the current directory.
    pub path: String,
    pub text: String,
    /// The offset of the first byte that is not UTF-8; `text` then holds replacement characters.
    pub invalid_utf8: Option<usize>,
}

impl SourceFile {
    /// Makes a file of text that is known to be UTF-8.
    #[must_use]
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into(), invalid_utf8: None }
    }

    /// Makes a file of bytes from a disk or from git. `check` reports bytes that are not UTF-8.
    #[must_use]
    pub fn from_bytes(path: impl Into<String>, bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::new(path, text),
            Err(error) => Self {
                path: path.into(),
                invalid_utf8: Some(error.utf8_error().valid_up_to()),
                text: String::from_utf8_lossy(error.as_bytes()).into_owned(),
            },
        }
    }
}

/// A range of a file's text in bytes, from `start` up to `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// The index of the text in [`Findings`](super::findings::Findings): 0 is the pipeline's file, others are
    /// templates.
    pub file: u16,
    pub start: usize,
    pub end: usize,
}

impl Place {
    pub const fn new(start: usize, end: usize) -> Self {
        Self { file: 0, start, end }
    }

    /// Returns the same range in another file.
    pub const fn in_file(self, file: u16) -> Self {
        Self { file, ..self }
    }

    /// Another range in the same file.
    pub const fn at(self, start: usize, end: usize) -> Self {
        Self { file: self.file, start, end }
    }
}

/// Lines longer than this are not shown with a finding: a file with a single line would be repeated with every finding.
const MAX_SHOWN_LINE: usize = 1000;

/// A file's text with an index of its lines.
#[derive(Debug)]
pub struct Source<'a> {
    pub path: &'a str,
    pub text: &'a str,
    /// The byte offset at which each line begins.
    lines: Vec<usize>,
}

impl<'a> Source<'a> {
    pub fn new(file: &'a SourceFile) -> Self {
        let text = file.text.as_str();
        let mut lines = vec![0];
        lines.extend(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1));
        Self { path: &file.path, text, lines }
    }

    /// Line, column and length of a place; a place of several lines is cut at the end of its first line.
    pub fn span(&self, place: Place) -> Span {
        let start = self.boundary(place.start);
        let line = self.lines.partition_point(|begin| *begin <= start).saturating_sub(1);
        let begin = self.lines.get(line).copied().unwrap_or(0);
        let shown = self.line(line);
        let end = self.boundary(place.end).clamp(start, (begin + shown.len()).max(start));
        let characters = |from: usize, to: usize| self.text.get(from..to).map_or(0, |text| text.chars().count());
        Span {
            line: number(line + 1),
            column: number(characters(begin, start) + 1),
            length: number(characters(start, end).max(1)),
        }
    }

    /// Returns the text of the line where a place begins, unless it is too long to show.
    pub fn shown_line(&self, place: Place) -> Option<String> {
        let line = self.lines.partition_point(|begin| *begin <= place.start).saturating_sub(1);
        let shown = self.line(line);
        (shown.len() <= MAX_SHOWN_LINE).then(|| shown.to_owned())
    }

    fn line(&self, line: usize) -> &'a str {
        let begin = self.lines.get(line).copied().unwrap_or(0);
        let end = self.lines.get(line + 1).copied().unwrap_or(self.text.len());
        self.text.get(begin..end).unwrap_or("").trim_end_matches(['\n', '\r'])
    }

    fn boundary(&self, at: usize) -> usize {
        self.text.floor_char_boundary(at)
    }
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_characters_and_cut_at_the_end_of_their_line() {
        let file = SourceFile::new("f", "é: ü\r\nab\n");
        let source = Source::new(&file);
        assert_eq!(source.span(Place::new(4, 6)), Span { line: 1, column: 4, length: 1 });
        assert_eq!(source.span(Place::new(4, 9)), Span { line: 1, column: 4, length: 1 });
        assert_eq!(source.span(Place::new(8, 10)), Span { line: 2, column: 1, length: 2 });
        assert_eq!(source.span(Place::new(99, 99)), Span { line: 3, column: 1, length: 1 });
        assert_eq!(source.shown_line(Place::new(4, 6)).as_deref(), Some("é: ü"));
    }

    #[test]
    fn a_file_that_is_not_utf8_says_where() {
        let file = SourceFile::from_bytes("f", b"ab\xff\n".to_vec());
        assert_eq!(file.invalid_utf8, Some(2));
        assert_eq!(file.text, "ab\u{fffd}\n");
    }
}
