//! Writes a draft as YAML, and records which part of the draft every character belongs to.

use super::draft::{Entry, Item, Map, Note, Part, Value};

/// The position of a part in a draft: its index in each mapping or list on the way to it.
pub(super) type Path = Vec<usize>;

/// A draft that has been written.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) text: String,
    /// The lines and columns (from 1, in characters) of each part, outer parts before inner ones.
    areas: Vec<Area>,
}

#[derive(Debug)]
struct Area {
    lines: (u32, u32),
    /// Set only for parts that share their line with others.
    columns: Option<(u32, u32)>,
    path: Path,
}

impl Written {
    /// Returns the innermost part at a position.
    pub(super) fn at(&self, line: u32, column: u32) -> Option<&Path> {
        let within = |area: &&Area| {
            (area.lines.0..=area.lines.1).contains(&line)
                && area.columns.is_none_or(|(from, to)| (from..to).contains(&column))
        };
        self.areas.iter().filter(within).max_by_key(|area| area.path.len()).map(|area| &area.path)
    }
}

/// Writes a draft.
pub(super) fn write(map: &Map) -> Written {
    let mut writer = Writer { out: Written::default(), line: 1, path: Vec::new() };
    writer.map(map, 0);
    writer.out
}

/// Limit for the length of a list on one line.
const MAX_LINE: usize = 100;

struct Writer {
    out: Written,
    /// The line that is written next.
    line: u32,
    path: Path,
}

impl Writer {
    fn map(&mut self, map: &Map, indent: usize) {
        self.parts_of_map(map, 0, indent, true);
    }

    /// Writes a mapping without the first parts. `fresh` says that the first entry begins a line; otherwise a `- ` has
    /// begun it.
    fn parts_of_map(&mut self, map: &Map, skipped: usize, indent: usize, mut fresh: bool) {
        let is_pipeline = indent == 0;
        for (at, part) in map.parts.iter().enumerate().skip(skipped) {
            self.path.push(at);
            match part {
                Part::Note(note) => self.note(note, indent, &mut fresh),
                Part::Remark(text) => self.comment(text, indent, &mut fresh),
                Part::Entry(entry) => {
                    if std::mem::replace(&mut fresh, true) {
                        if is_pipeline && at > 0 && matches!(entry.value, Value::Map(_)) && entry.key == "jobs" {
                            self.newline("");
                        }
                        self.out.text.push_str(&" ".repeat(indent));
                    }
                    self.entry(entry, indent);
                }
            }
            self.path.pop();
        }
    }

    fn entry(&mut self, entry: &Entry, indent: usize) {
        let begin = self.line;
        let path = self.path.clone();
        // The key `on` is always written without quotes.
        let key = if entry.key == "on" { entry.key.clone() } else { scalar(&entry.key) };
        self.out.text.push_str(&key);
        self.out.text.push(':');
        match &entry.value {
            Value::Map(map) if map.is_empty() => {
                self.newline(" {}");
                self.map(map, indent);
            }
            Value::Map(map) => {
                self.newline("");
                self.map(map, indent + 2);
            }
            Value::List(items) => match flow(items) {
                Some(texts) => {
                    self.out.text.push(' ');
                    self.flow(&texts);
                }
                None => {
                    let empty = items.iter().all(|item| matches!(item, Item::Note(_)));
                    self.newline(if empty { " []" } else { "" });
                    self.list(items, indent + 2);
                }
            },
            Value::Plain(word) => self.newline(&format!(" {word}")),
            Value::Text(text) => self.text(text, indent + 2),
            Value::Script(text) => self.text(&block(text), indent + 2),
        }
        self.out.areas.push(Area { lines: (begin, self.line - 1), columns: None, path });
    }

    fn list(&mut self, items: &[Item], indent: usize) {
        for (at, item) in items.iter().enumerate() {
            self.path.push(at);
            let begin = self.line;
            match item {
                Item::Note(note) => self.note(note, indent, &mut true),
                Item::Value(value) => {
                    // A comment before the first key would come after the dash.
                    let comments = match value {
                        Value::Map(map) => map.parts.iter().take_while(|part| !matches!(part, Part::Entry(_))).count(),
                        Value::Text(_) | Value::Plain(_) | Value::Script(_) | Value::List(_) => 0,
                    };
                    if let Value::Map(map) = value {
                        for part in &map.parts[..comments] {
                            match part {
                                Part::Note(note) => self.note(note, indent, &mut true),
                                Part::Remark(text) => self.comment(text, indent, &mut true),
                                Part::Entry(_) => {}
                            }
                        }
                    }
                    self.out.text.push_str(&" ".repeat(indent));
                    self.out.text.push('-');
                    match value {
                        Value::Map(map) if map.is_empty() => self.newline(" {}"),
                        Value::Map(map) => {
                            self.out.text.push(' ');
                            // The comments were written before the dash.
                            self.parts_of_map(map, comments, indent + 2, false);
                        }
                        Value::List(inner) => match flow(inner) {
                            Some(texts) => {
                                self.out.text.push(' ');
                                self.flow(&texts);
                            }
                            None => {
                                self.newline("");
                                self.list(inner, indent + 2);
                            }
                        },
                        Value::Plain(word) => self.newline(&format!(" {word}")),
                        Value::Text(text) => self.text(text, indent + 2),
                        Value::Script(text) => self.text(&block(text), indent + 2),
                    }
                    let path = self.path.clone();
                    self.out.areas.push(Area { lines: (begin, self.line - 1), columns: None, path });
                }
            }
            self.path.pop();
        }
    }

    /// Writes `[a, b]`.
    fn flow(&mut self, texts: &[String]) {
        let start = self.out.text.rfind('\n').map_or(0, |at| at + 1);
        let mut column = self.out.text[start..].chars().count() + 1;
        let mut write = |writer: &mut Self, text: &str| {
            writer.out.text.push_str(text);
            let from = column;
            column += text.chars().count();
            (u32::try_from(from).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
        };
        write(self, "[");
        for (at, text) in texts.iter().enumerate() {
            if at > 0 {
                write(self, ", ");
            }
            let columns = write(self, text);
            let mut path = self.path.clone();
            path.push(at);
            self.out.areas.push(Area { lines: (self.line, self.line), columns: Some(columns), path });
        }
        self.newline("]");
    }

    /// Writes a text after its key or dash.
    fn text(&mut self, text: &str, indent: usize) {
        if !text.contains('\n') || !is_block(text) {
            self.newline(&format!(" {}", scalar(text)));
            return;
        }
        let (body, mark) = text.strip_suffix('\n').map_or((text, "|-"), |body| (body, "|"));
        self.newline(&format!(" {mark}"));
        for line in body.split('\n') {
            if line.is_empty() {
                self.newline("");
            } else {
                self.newline(&format!("{}{line}", " ".repeat(indent)));
            }
        }
    }

    fn note(&mut self, note: &Note, indent: usize, fresh: &mut bool) {
        self.comment(&format!("not carried over: line {}, `{}`: {}", note.line, note.what, note.why), indent, fresh);
    }

    fn comment(&mut self, text: &str, indent: usize, fresh: &mut bool) {
        debug_assert!(*fresh, "a comment never stands behind a dash");
        *fresh = true;
        let shown: String = text.chars().map(|c| if is_printable(c) && c != '\t' { c } else { ' ' }).collect();
        self.newline(&format!("{}# {}", " ".repeat(indent), shown.trim_end()));
    }

    fn newline(&mut self, rest: &str) {
        self.out.text.push_str(rest);
        self.out.text.push('\n');
        self.line += 1;
    }
}

/// The items of a list that fits on one line: few and short texts.
fn flow(items: &[Item]) -> Option<Vec<String>> {
    let one = |item: &Item| match item {
        Item::Value(Value::Text(text)) if !text.contains('\n') && text.len() <= MAX_LINE => Some(quoted(text)),
        Item::Value(Value::Plain(word)) => Some(word.clone()),
        Item::Value(_) | Item::Note(_) => None,
    };
    let texts: Vec<String> = items.iter().map(one).collect::<Option<_>>()?;
    (texts.iter().map(|text| text.len() + 2).sum::<usize>() <= MAX_LINE).then_some(texts)
}

/// A text inside `[]`, where commas and brackets have a meaning.
fn quoted(text: &str) -> String {
    let plain = scalar(text);
    if plain == text && text.contains([',', '[', ']', '{', '}']) { single(text) } else { plain }
}

/// A text on one line: plain, in single quotes, or in double quotes if single quotes cannot contain it.
fn scalar(text: &str) -> String {
    if !text.chars().all(|c| is_printable(c) && c != '\t') {
        return double(text);
    }
    if is_plain(text) { text.to_owned() } else { single(text) }
}

fn single(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn double(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_printable(c) => out.push(c),
            c => out.push_str(&format!("\\U{:08X}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// Whether every YAML reader reads the unquoted text as this text.
fn is_plain(text: &str) -> bool {
    let first = |c: char| c.is_alphanumeric() || matches!(c, '.' | '/' | '_' | '$' | '(' | '~' | '^');
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && text.chars().all(|c| c.is_ascii_hexdigit() || matches!(c, '.' | '_' | ':' | 'x' | 'o' | '+' | '-'));
    let word = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n" | "null" | "~"
    );
    text.starts_with(first)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !numeric
        && !word
        && text.chars().all(|c| is_printable(c) && c != '\n')
}

/// A script in the form that a block scalar can have: lines of spaces become empty, and leading empty lines are
/// dropped.
fn block(script: &str) -> String {
    let lines = script.lines().map(str::trim_end).skip_while(|line| line.is_empty());
    let text = lines.collect::<Vec<_>>().join("\n");
    let text = text.trim_start().trim_end_matches('\n');
    if text.contains('\n') { format!("{text}\n") } else { text.to_owned() }
}

/// Whether a text of several lines can be written as a `|` block.
fn is_block(text: &str) -> bool {
    !text.starts_with([' ', '\n', '\t'])
        && text.chars().all(|c| c == '\n' || is_printable(c))
        && text.split('\n').all(|line| line.is_empty() || !line.trim_matches([' ', '\t']).is_empty())
        && text.trim_end_matches('\n').len() + 1 >= text.len()
}

/// Whether a YAML file can contain the character, line breaks aside.
fn is_printable(c: char) -> bool {
    matches!(c, '\t' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
        && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{85}')
}
