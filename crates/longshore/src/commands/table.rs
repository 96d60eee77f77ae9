//! Rows in columns, as wide as they have to be.

use std::io::Write as _;

/// Prints `rows` under `head`; the last column is not padded.
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

/// A field of a JSON object as text: a string as it is, nothing for null, anything else as JSON.
pub(crate) fn text(value: &serde_json::Value, key: &str) -> String {
    match &value[key] {
        serde_json::Value::String(text) => one_line(text),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The first line, without control characters: what comes from outside never moves the terminal's cursor.
pub(crate) fn one_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
