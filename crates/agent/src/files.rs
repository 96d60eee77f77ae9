//! The files through which a step passes values to the job: `LONGSHORE_OUTPUT`, `LONGSHORE_ENV`, `LONGSHORE_PATH` and
//! `LONGSHORE_SUMMARY`, as on GitHub.
//!
//! They are created empty for each try of a step, and read when it ends. A file that cannot be read fails the step with
//! a message, because half of the intended values would be worse. `job` calls this. This module knows no masks and so
//! never quotes a value: text written there by mistake may be a secret.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::account::{self, Account};

/// The most bytes of a step's `LONGSHORE_OUTPUT`.
pub(crate) const MAX_OUTPUT: u64 = 64 << 10;
/// The most bytes of a step's `LONGSHORE_SUMMARY`. Output and summary together have to fit into one frame, whatever
/// they contain.
pub(crate) const MAX_SUMMARY: u64 = 96 << 10;
/// The most bytes of a step's `LONGSHORE_ENV`, and of its `LONGSHORE_PATH`.
const MAX_ENV: u64 = 256 << 10;
/// The kernel's limit for one variable: name, `=`, value and final zero byte (`MAX_ARG_STRLEN`).
pub(crate) const MAX_VARIABLE: usize = 128 << 10;

/// The four files of one try of a step.
#[derive(Debug)]
pub(crate) struct StepFiles {
    output: PathBuf,
    env: PathBuf,
    path: PathBuf,
    summary: PathBuf,
}

/// The values that a step has written to its files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct WrittenValues {
    pub(crate) outputs: BTreeMap<String, String>,
    pub(crate) env: BTreeMap<String, String>,
    /// Folders to put before PATH, the last line first.
    pub(crate) path: Vec<String>,
    pub(crate) summary: String,
}

impl StepFiles {
    /// Creates the files in `folder`, accessible only to the step's user.
    pub(crate) fn make(folder: &Path, name: &str, account: &Account) -> io::Result<Self> {
        let make = |what: &str| {
            let path = folder.join(format!("{name}.{what}"));
            private_file(&path, b"", account)?;
            Ok::<_, io::Error>(path)
        };
        Ok(Self { output: make("output")?, env: make("env")?, path: make("path")?, summary: make("summary")? })
    }

    /// Returns the variables that hold the files' paths.
    pub(crate) fn variables(&self) -> [(OsString, OsString); 4] {
        [
            ("LONGSHORE_OUTPUT", &self.output),
            ("LONGSHORE_ENV", &self.env),
            ("LONGSHORE_PATH", &self.path),
            ("LONGSHORE_SUMMARY", &self.summary),
        ]
        .map(|(name, path)| (name.into(), path.into()))
    }

    /// Reads the files. The error names the file and says what to do.
    pub(crate) fn read(&self) -> Result<WrittenValues, String> {
        let outputs = parse_pairs(&read_text(&self.output, MAX_OUTPUT, "LONGSHORE_OUTPUT")?, "LONGSHORE_OUTPUT")?;
        let env = read_env(&self.env)?;
        let is_variable = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if env.keys().any(|name| !is_variable(name) || name.starts_with("LONGSHORE_")) {
            return Err("LONGSHORE_ENV sets a variable that may not be set: write letters, digits and underscores, and not `LONGSHORE_` in front".to_owned());
        }
        let path = read_text(&self.path, MAX_ENV, "LONGSHORE_PATH")?;
        let mut folders = Vec::new();
        for (at, line) in path.lines().map(str::trim_end).enumerate().filter(|(_, line)| !line.is_empty()) {
            if !line.starts_with('/') {
                return Err(format!(
                    "LONGSHORE_PATH, line {}, is not an absolute path: write one folder per line, such as \"$PWD/bin\"",
                    at + 1
                ));
            }
            folders.insert(0, line.to_owned());
        }
        let summary = read_text(&self.summary, MAX_SUMMARY, "LONGSHORE_SUMMARY")?;
        Ok(WrittenValues { outputs, env, path: folders, summary })
    }
}

/// Creates a file that only this account can read.
pub(crate) fn private_file(path: &Path, content: &[u8], account: &Account) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, content)?;
    if account::differs_from_ours(account) {
        std::os::unix::fs::fchown(&file, Some(account.uid), Some(account.gid))?;
    }
    Ok(())
}

/// Reads the first bytes of a path that may be anything by now. Reads only regular files, and never waits.
pub(crate) fn read_regular(path: &Path, flags: OFlags, limit: u64) -> io::Result<Vec<u8>> {
    let flags = (flags | OFlags::NONBLOCK).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file any more"));
    }
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a file's text. A file that the step removed is empty; a link in its place is not followed.
fn read_text(path: &Path, limit: u64, name: &str) -> Result<String, String> {
    let text = read_head(path, limit + 1, name)?;
    if text.len() as u64 > limit { Err(too_long(limit, name)) } else { Ok(text) }
}

/// Reads the beginning of a file's text; see [`read_text`].
fn read_head(path: &Path, most: u64, name: &str) -> Result<String, String> {
    let bytes = match read_regular(path, OFlags::NOFOLLOW, most) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read.map_err(|error| format!("{name} cannot be read: {error}"))?,
    };
    let _ = fs::remove_file(path);
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        // The limit may cut a character.
        Err(error) if error.utf8_error().error_len().is_none() && error.as_bytes().len() as u64 == most => {
            Ok(String::from_utf8_lossy(error.as_bytes()).into_owned())
        }
        Err(_) => Err(format!("{name} is not UTF-8 text")),
    }
}

fn too_long(limit: u64, name: &str) -> String {
    format!("{name} has more than {} KiB, which is the limit of a step", limit >> 10)
}

/// Reads a step's `LONGSHORE_ENV`. A variable that is too long for any program is reported here, not at the step that
/// would receive it.
fn read_env(path: &Path) -> Result<BTreeMap<String, String>, String> {
    // Reads beyond the limit, in order to name the variable that is too long.
    let text = read_head(path, 4 * MAX_ENV, "LONGSHORE_ENV")?;
    let found = parse_pairs(&text, "LONGSHORE_ENV");
    if let Ok(found) = &found
        && let Some((name, value)) = found.iter().find(|(name, value)| name.len() + value.len() + 2 > MAX_VARIABLE)
    {
        let name: String = name.chars().take(64).collect();
        return Err(format!(
            "LONGSHORE_ENV sets `{name}` to {} bytes, and a variable may have 128 KiB with its name: write it to a file instead, and its path here",
            value.len()
        ));
    }
    if text.len() as u64 > MAX_ENV {
        return Err(too_long(MAX_ENV, "LONGSHORE_ENV"));
    }
    found
}

/// Parses lines `name=value`, and `name<<END` followed by lines up to `END`.
fn parse_pairs(text: &str, file: &str) -> Result<BTreeMap<String, String>, String> {
    let mut found = BTreeMap::new();
    let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).enumerate();
    while let Some((at, line)) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let wrong = |what: &str| format!("{file}, line {}, {what}", at + 1);
        let (name, value) = match (line.find('='), line.find("<<")) {
            (equals, Some(heredoc)) if equals.is_none_or(|equals| heredoc < equals) => {
                let (name, end) = (&line[..heredoc], &line[heredoc + 2..]);
                if end.is_empty() {
                    return Err(wrong("has no delimiter after `<<`"));
                }
                let mut value: Vec<&str> = Vec::new();
                loop {
                    match lines.next() {
                        Some((_, line)) if line == end => break,
                        Some((_, line)) => value.push(line),
                        None => {
                            return Err(wrong(
                                "starts a value without an end: the delimiter after `<<` must be on a line by itself",
                            ));
                        }
                    }
                }
                (name, value.join("\n"))
            }
            (Some(equals), _) => (&line[..equals], line[equals + 1..].to_owned()),
            (None, _) => return Err(wrong("is neither `name=value` nor `name<<END`")),
        };
        let fine = !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        if !fine {
            return Err(wrong("does not begin with a name of letters, digits, `_` and `-`"));
        }
        if value.contains('\0') {
            return Err(wrong("contains a NUL byte"));
        }
        found.insert(name.to_owned(), value);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BTreeMap<String, String>, String> {
        parse_pairs(text, "F")
    }

    #[test]
    fn both_forms_are_read_and_the_last_one_wins() {
        let found = read("a=1\n\nb=x=y<<z\r\nc<<EOF\none\n\n=two\nEOF\na=2\nd<<E\nE\ne=\n").unwrap();
        let expected = [("a", "2"), ("b", "x=y<<z"), ("c", "one\n\n=two"), ("d", ""), ("e", "")];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        assert_eq!(read(""), Ok(BTreeMap::new()));
    }

    #[test]
    fn what_is_malformed_is_named_with_its_line() {
        for (text, message) in [
            ("a=1\nhello\n", "F, line 2, is neither"),
            ("a<<EOF\nx\n", "without an end"),
            ("a<<\n", "no delimiter"),
            ("=x", "does not begin with a name"),
            ("a b=x", "does not begin with a name"),
            ("1a=x", "does not begin with a name"),
            ("a=\0", "NUL byte"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(message), "{text:?}: {error}");
        }
    }
}
