//! Files of variables, as `.env` files are: one `KEY=VALUE` a line.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::commands::ExitError;

/// Reads the files, one after the other.
pub(super) fn read_all(files: &[PathBuf]) -> anyhow::Result<Vec<(String, String)>> {
    files.iter().map(|file| read(file)).collect::<anyhow::Result<Vec<_>>>().map(|read| read.concat())
}

fn read(file: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    parse(&text).map_err(|(line, why)| ExitError::new(2, format!("{}, line {line}: {why}", file.display())).into())
}

/// Parses `KEY=VALUE` lines: `export` before the name, comments with `#`, values in `'...'` as they are, in `"..."`
/// with `\n`, `\t`, `\"`, `\$` and `\\`, both over several lines. Nothing is replaced in values. The error has its
/// line.
fn parse(text: &str) -> Result<Vec<(String, String)>, (usize, String)> {
    let text = text.replace("\r\n", "\n");
    let mut found = Vec::new();
    let mut rest = text.as_str();
    let line_of = |rest: &str| text[..text.len() - rest.len()].matches('\n').count() + 1;
    while !rest.is_empty() {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let statement = line.trim_start();
        if statement.trim_end().is_empty() || statement.starts_with('#') {
            rest = after;
            continue;
        }
        let at = line_of(rest);
        let statement = statement.strip_prefix("export ").unwrap_or(statement).trim_start();
        let Some((name, _)) = statement.split_once('=') else {
            // Not quoted: it may be a line of a secret.
            return Err((at, "the line is not KEY=VALUE; put a value of several lines into quotes".to_owned()));
        };
        let key = name.trim_end();
        if key.is_empty()
            || key.starts_with(|c: char| c.is_ascii_digit())
            || !key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        {
            let why = "what is before `=` is not a variable's name, which has letters, digits and `_`";
            return Err((at, why.to_owned()));
        }
        let begins = line.len() - statement.len() + name.len() + 1;
        let (value, after) = value(&rest[begins..]).map_err(|why| (at, why))?;
        found.push((key.to_owned(), value));
        rest = after;
    }
    Ok(found)
}

/// Reads a value, and returns what is after its line.
fn value(text: &str) -> Result<(String, &str), String> {
    let inline = text.trim_start_matches([' ', '\t']);
    let Some(quote) = inline.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        let (line, after) = text.split_once('\n').unwrap_or((text, ""));
        // A `#` within a word belongs to the value.
        let end =
            line.match_indices('#').find(|(at, _)| line[..*at].ends_with([' ', '\t'])).map_or(line.len(), |(at, _)| at);
        return Ok((line[..end].trim().to_owned(), after));
    };
    let mut value = String::new();
    let mut chars = inline[1..].char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => {
                let (line, after) = inline[at + 2..].split_once('\n').unwrap_or((&inline[at + 2..], ""));
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    return Ok((value, after));
                }
                return Err(format!("something follows the closing {quote}"));
            }
            '\\' if quote == '"' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, escaped @ ('"' | '\\' | '$'))) => value.push(escaped),
                Some((_, other)) => value.extend(['\\', other]),
                None => value.push('\\'),
            },
            c => value.push(c),
        }
    }
    Err(format!("a value that begins with {quote} does not end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_variables_is_read_as_other_tools_read_it() {
        let text = "# comment\n\nA=1\nexport B = two words # comment\nC='as $it \\n is'\r\nD=\"x\\ny \\\"z\\\"\"\nE=\nF=a#b\nG=\"-----BEGIN\nline two\n-----END\"\nH=\"x\" # comment\nI=a=b";
        let pairs: Vec<(String, String)> = parse(text).unwrap();
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "as $it \\n is"),
            ("D", "x\ny \"z\""),
            ("E", ""),
            ("F", "a#b"),
            ("G", "-----BEGIN\nline two\n-----END"),
            ("H", "x"),
            ("I", "a=b"),
        ];
        assert_eq!(pairs, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn what_is_no_variable_is_named_with_its_line() {
        for (text, line, why) in [
            ("A=1\nword\n", 2, "not KEY=VALUE"),
            ("\n1A=x", 2, "not a variable's name"),
            ("A=\"1\n2\"\nB='x", 3, "does not end"),
            ("A=\"1\" 2", 1, "something follows the closing"),
        ] {
            let (at, said) = parse(text).unwrap_err();
            assert!(at == line && said.contains(why), "{text:?}: {at} {said}");
            assert!(!said.contains("word") && !said.contains("1A"), "it may be a line of a secret: {said}");
        }
    }
}
