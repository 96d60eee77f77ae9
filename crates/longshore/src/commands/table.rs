//! Prints tables.

use std::io::{IsTerminal as _, Write as _};

use longshore_core::{Status, Timestamp, terminal::harmless};
use longshore_files::logs::ansi::{Piece, pieces};

/// The narrowest last column of a table on a terminal.
const MIN_LAST_COLUMN: usize = 12;

/// Prints `rows` below `head`, in aligned columns. The last column is not padded, and is cut to the terminal's width.
pub(crate) fn print<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> std::io::Result<()> {
    let mut widths = head.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(columns(cell));
        }
    }
    if let (Some(terminal), Some((last, others))) = (terminal_width(), widths.split_last_mut()) {
        let room = terminal.saturating_sub(others.iter().map(|width| width + 2).sum());
        *last = (*last).min(room.max(MIN_LAST_COLUMN));
    }
    let mut out = std::io::stdout().lock();
    let head = head.map(str::to_owned);
    for row in std::iter::once(&head).chain(rows) {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| pad_or_cut(cell, width)).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// Returns the width to keep to: that of the terminal, or `COLUMNS`.
fn terminal_width() -> Option<usize> {
    let given = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let of_terminal = || {
        let out = std::io::stdout();
        let size = out.is_terminal().then(|| rustix::termios::tcgetwinsize(&out).ok()).flatten()?;
        Some(usize::from(size.ws_col))
    };
    given.or_else(of_terminal).filter(|columns| *columns > 0)
}

/// Pads a text to a width, or cuts it.
fn pad_or_cut(text: &str, width: usize) -> String {
    let has = columns(text);
    if has <= width {
        return format!("{text}{}", " ".repeat(width - has));
    }
    let mut left = width.saturating_sub(1);
    let kept = text.chars().take_while(|c| {
        let fits = column(*c) <= left;
        left = left.saturating_sub(column(*c));
        fits
    });
    format!("{}…", kept.collect::<String>())
}

fn columns(text: &str) -> usize {
    text.chars().map(column).sum()
}

/// Returns how many columns a terminal gives a character: East Asian wide ones and pictures take two.
const fn column(c: char) -> usize {
    match c {
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200f}' | '\u{fe00}'..='\u{fe0f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

/// Returns a field of a JSON object as text: a string as one line, null as the empty text, anything else as JSON.
pub(crate) fn text(value: &serde_json::Value, key: &str) -> String {
    match &value[key] {
        serde_json::Value::String(text) => one_line(text),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Returns the status of a job or a step in the word that people read.
pub(crate) fn status(value: &serde_json::Value) -> String {
    let status = text(value, "status");
    status.parse::<Status>().map_or(status, |status| status.word().to_owned())
}

/// Returns the status of a build in the word that people read, as on its page.
pub(crate) fn build_status(build: &serde_json::Value) -> String {
    let status = text(build, "status");
    let shown = |status: Status| status.shown_of_build(build["reason"].is_string(), build["started_at"].is_string());
    status.parse::<Status>().map_or(status, |status| shown(status).word().to_owned())
}

/// Returns a time of a JSON object.
pub(crate) fn time(value: &serde_json::Value, key: &str) -> Option<Timestamp> {
    serde_json::from_value(value[key].clone()).ok()
}

/// Returns the first line of a text without anything that could move the terminal's cursor or make the line look like
/// another: escape sequences, control characters, overrides of the direction.
pub(crate) fn one_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let visible = pieces(line).filter_map(|piece| match piece {
        Piece::Text(text) => Some(text),
        Piece::Style(_) | Piece::Other => None,
    });
    harmless(&visible.collect::<String>()).replace('\t', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_others_are_one_line_that_moves_nothing() {
        assert_eq!(one_line("\x1b[31mred\x1b[0m\x1b[2J\nsecond"), "red");
        assert_eq!(one_line("a\u{202e}b\u{2066}c\x07"), "a\u{fffd}b\u{fffd}c\u{fffd}");
    }

    #[test]
    fn cells_are_padded_and_cut_by_the_columns_that_they_take() {
        assert_eq!(pad_or_cut("ab", 4), "ab  ");
        assert_eq!(pad_or_cut("abcdef", 4), "abc…");
        assert_eq!(pad_or_cut("港口工人", 5), "港口…");
        assert_eq!(columns("港a"), 3);
    }
}
