//! Writes programs that tests start.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

/// Writes a program. Another process does it: whatever this one starts meanwhile would inherit the open file, and the
/// system starts no program that is open for writing.
pub(crate) fn write(path: &Path, content: &[u8]) {
    let script = r#"cat > "$1" && chmod 755 "$1""#;
    let mut command = Command::new("sh");
    let mut writer = command.args(["-c", script, "sh"]).arg(path).stdin(Stdio::piped()).spawn().unwrap();
    writer.stdin.take().unwrap().write_all(content).unwrap();
    assert!(writer.wait().unwrap().success(), "{} is written", path.display());
}
