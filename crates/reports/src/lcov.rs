//! lcov's lines: `SF:` a file, `DA:` a line of it with its hits, `BRDA:` a branch.

use crate::{coverage::CoverageReader, paths};

/// Reads a file. The error says what is wrong with it.
pub(crate) fn read(text: &str, into: &mut CoverageReader) -> Result<(), String> {
    let mut path: Option<String> = None;
    let mut any = false;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix("SF:") {
            path = Some(paths::relative(name.trim()));
            any = true;
        } else if line == "end_of_record" {
            path = None;
        } else if let Some(data) = line.strip_prefix("DA:") {
            let mut parts = data.split(',');
            let number = parts.next().and_then(|number| number.trim().parse().ok());
            // Some tools write hits below zero, or with a fraction.
            let hits = parts.next().and_then(|hits| hits.trim().parse::<f64>().ok());
            match (&path, number, hits) {
                (Some(path), Some(number), Some(hits)) => into.line(path, number, hits > 0.0),
                _ => return Err(format!("line {} is not a line of a file with its hits", at + 1)),
            }
        } else if let Some(data) = line.strip_prefix("BRDA:") {
            let branch = data.split_once(',').and_then(|(number, rest)| {
                let (name, taken) = rest.rsplit_once(',')?;
                Some((number.trim().parse().ok()?, name, !matches!(taken.trim(), "-" | "0")))
            });
            match (&path, branch) {
                (Some(path), Some((number, name, taken))) => into.branch(path, number, name, taken),
                _ => return Err(format!("line {} is not a branch of a file", at + 1)),
            }
        } else if !any && !line.is_empty() && !line.starts_with("TN:") && !line.starts_with('#') {
            return Err("it is not a report of coverage: neither Cobertura's XML nor lcov".to_owned());
        }
    }
    if !any && !text.trim().is_empty() {
        return Err("it names no source file".to_owned());
    }
    Ok(())
}
