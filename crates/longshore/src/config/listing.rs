//! Lists all settings for people: in the file that `longshore serve --print-config` prints, and in the README's table.

use super::{definition::Fallback, settings::tables};

const PRECEDENCE: &str = "# Longshore's settings. A flag (--listen) wins over the environment (LONGSHORE_LISTEN), which wins over this file.";

/// Returns a file with all settings, their descriptions and their defaults. A key without a fixed default is commented
/// out, with an example.
pub(crate) fn commented_defaults() -> String {
    let mut lines = vec![PRECEDENCE.to_owned()];
    for table in tables() {
        if !table.name.is_empty() {
            lines.push(String::new());
            lines.extend(table.about().map(|line| format!("# {line}")));
            lines.push(format!("[{}]", table.name));
        }
        for setting in &table.settings {
            let (default, assignment) = match &setting.fallback {
                Fallback::Value(toml) => (None, format!("{} = {toml}", setting.key)),
                Fallback::Computed { words, example } => {
                    (Some(format!("# Default: {words}.")), format!("#{} = {example}", setting.key))
                }
                Fallback::Renamed { .. } => continue,
            };
            lines.push(String::new());
            lines.extend(setting.about().map(|line| format!("# {line}")));
            lines.extend(default);
            lines.push(assignment);
        }
    }
    lines.join("\n") + "\n"
}

/// Returns the README's table.
#[cfg(test)]
pub(super) fn readme_table() -> String {
    let mut rows = vec!["| setting | default | |".to_owned(), "|---|---|---|".to_owned()];
    for setting in tables().iter().flat_map(|table| &table.settings) {
        let default = match &setting.fallback {
            Fallback::Value(toml) => format!("`{}`", super::definition::plain(toml)),
            Fallback::Computed { words, .. } => (*words).to_owned(),
            Fallback::Renamed { .. } => continue,
        };
        let about = setting.about().collect::<Vec<_>>().join(" ");
        rows.push(format!("| `{}` | {default} | {about} |", setting.variable()));
    }
    rows.join("\n") + "\n"
}
