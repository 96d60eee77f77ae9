//! Prints tables.

use std::io::Write as _;

/// Prints `rows` below `head`, in aligned columns. The last column is not padded.
pub(crate) fn print<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> std::io::Result<()> {
    let mut widths = head.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = std::io::stdout().lock();
    let head = head.map(str::to_owned);
    for row in std::iter::once(&head).chain(rows) {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// Returns a field of a JSON object as text: a string as one line, null as the empty text, anything else as JSON.
pub(crate) fn text(value: &serde_json::Value, key: &str) -> String {
    match &value[key] {
        serde_json::Value::String(text) => one_line(text),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Returns the first line without control characters, so that outsiders' text cannot move the terminal's cursor.
pub(crate) fn one_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
