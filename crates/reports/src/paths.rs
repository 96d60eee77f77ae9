//! Makes the paths of source files in reports relative to the workspace.

use std::borrow::Cow;

use crate::{limits, text};

/// The workspace in a job's container.
const WORKSPACE: &str = "/longshore/workspace/";

/// Returns a path or `file:` address from a report relative to the workspace, if it is below it.
pub(crate) fn relative(path: &str) -> String {
    let path: Cow<'_, str> = match path.strip_prefix("file://") {
        Some(rest) => Cow::Owned(percent_decoded(rest)),
        None => Cow::Borrowed(path),
    };
    let path = path.replace('\\', "/");
    let mut rest = path.strip_prefix(WORKSPACE).unwrap_or(&path);
    while let Some(after) = rest.strip_prefix("./") {
        rest = after;
    }
    text::cut(&text::clean(rest), limits::NAME_BYTES).into_owned()
}

/// Decodes `%41`; a `%` without two hexadecimal digits stays.
pub(crate) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let pair = (*byte == b'%').then(|| after.first_chunk::<2>()).flatten();
        let value =
            pair.and_then(|pair| std::str::from_utf8(pair).ok()).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match value {
            Some(value) => {
                bytes.push(value);
                rest = &after[2..];
            }
            None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn paths_begin_at_the_workspace() {
        assert_eq!(relative("/longshore/workspace/src/a.rs"), "src/a.rs");
        assert_eq!(relative("././src/a.rs"), "src/a.rs");
        assert_eq!(relative("file:///longshore/workspace/with%20space.rs"), "with space.rs");
        assert_eq!(relative("src\\a.cs"), "src/a.cs");
        assert_eq!(relative("/usr/include/a.h"), "/usr/include/a.h");
        assert_eq!(percent_decoded("100%+ü%zz%4"), "100%+ü%zz%4");
    }
}
