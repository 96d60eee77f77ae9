//! Reads what git prints: its output within limits, and its errors as one line without credentials.

use std::{
    io,
    process::{ExitStatus, Stdio},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
};

/// The most output kept. A list of all files of a very large repository is about this long.
const MAX_OUTPUT: u64 = 256 << 20;

/// The most characters kept of git's error output.
const MAX_MESSAGE: usize = 2000;

/// Runs a program to its end. Returns at most one byte more than `most` of its output, and the end of its error output,
/// whatever it prints. One that prints more than that finds nobody who reads it.
pub(crate) async fn output_within(command: &mut Command, most: usize) -> io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr) = tokio::try_join!(read_stdout(stdout, Some(most as u64 + 1)), read_tail(stderr))?;
    Ok((child.wait().await?, stdout, stderr))
}

pub(super) async fn read_stdout(
    stream: Option<impl AsyncRead + Unpin>,
    max_output: Option<u64>,
) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        stream.take(max_output.unwrap_or(MAX_OUTPUT + 1)).read_to_end(&mut bytes).await?;
    }
    if bytes.len() as u64 > MAX_OUTPUT {
        return Err(io::Error::other("git's output is longer than 256 MiB"));
    }
    Ok(bytes)
}

/// Reads the last bytes: a remote may send progress and banners without end, and the reason comes last.
pub(super) async fn read_tail(stream: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut tail = Vec::new();
    if let Some(mut stream) = stream {
        while stream.read_buf(&mut tail).await? > 0 {
            if tail.len() > 8 * MAX_MESSAGE {
                tail.drain(..tail.len() - 4 * MAX_MESSAGE);
            }
        }
    }
    Ok(tail)
}

/// Returns git's error output as one line; parts of it were written by a remote.
pub(super) fn error_message(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let line: String = lines.join("; ").chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let skip = line.chars().count().saturating_sub(MAX_MESSAGE);
    line.chars().skip(skip).collect()
}

/// Replaces user and password in all addresses of a text. Git quotes a proxy's whole address if it does not understand
/// it.
pub(super) fn without_user_info(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let end = after.find(|c: char| c.is_whitespace() || matches!(c, '\'' | '"')).unwrap_or(after.len());
        match after[..end].rfind('@') {
            Some(at) => {
                shown.push_str("***");
                rest = &after[at..];
            }
            None => rest = after,
        }
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_prints_without_end_is_read_to_the_limit_and_ends() {
        for script in ["exec cat /dev/zero", "head -c 200000000 /dev/zero >&2; exec cat /dev/zero"] {
            let (status, stdout, stderr) =
                output_within(Command::new("sh").args(["-c", script]).kill_on_drop(true), 1000).await.unwrap();
            assert!(!status.success() && stdout.len() == 1001, "{status}, {}", stdout.len());
            assert!(stderr.len() <= 8 * MAX_MESSAGE && stderr.capacity() <= 64 * MAX_MESSAGE, "{}", stderr.capacity());
        }
        let (status, stdout, _) = output_within(Command::new("echo").arg("short"), 1000).await.unwrap();
        assert_eq!((status.success(), &stdout[..]), (true, &b"short\n"[..]));
    }

    #[test]
    fn no_message_shows_who_an_address_is_asked_as() {
        for (text, shown) in [
            (
                "Unsupported proxy scheme for 'foo://robot:s3cret/@proxy:1'",
                "Unsupported proxy scheme for 'foo://***@proxy:1'",
            ),
            ("http://a b@c https://u@d/e and f@g", "http://a b@c https://***@d/e and f@g"),
            ("fatal: nothing of the kind", "fatal: nothing of the kind"),
            ("://", "://"),
        ] {
            assert_eq!(without_user_info(text), shown);
        }
    }
}
