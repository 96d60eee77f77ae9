//! The names and references that clients write.

use crate::refusal::{Judged, refuse};

/// The prefix of every name that the guard gives on the engine. No client may choose a name with it.
pub(crate) const RESERVED: &str = "longshore";
/// The prefixes of images that other clients have made, and of those of our own program.
pub(crate) const RESERVED_IMAGES: [&str; 2] = ["longshore-guard/", "longshore-agent"];
/// The longest name that a client may choose. It leaves room for the prefix that the guard adds.
const LONGEST_NAME: usize = 128;

/// Checks a name that a client chooses for a container, a volume or a network.
///
/// Names that look like ids are refused: a container named like the short id of another one would be mistaken for it.
pub(crate) fn chosen(kind: &str, name: &str) -> Judged<String> {
    let plain = !name.is_empty()
        && name.len() <= LONGEST_NAME
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if !plain {
        return refuse!(
            Name,
            "{name:?} is not a valid name for a {kind}: use at most {LONGEST_NAME} letters, digits, '_', '.' and '-'"
        );
    }
    // On the engine, every name has the guard's prefix. Some clients name their networks by a few hexadecimal digits.
    let is_taken_for_id = if kind == "network" { is_full_id(name) } else { looks_like_id(name) };
    if is_taken_for_id {
        return refuse!(
            Name,
            "the name {name} for a {kind} looks like an id: choose one with a letter from g to z in it"
        );
    }
    if name.len() >= RESERVED.len() && name.as_bytes()[..RESERVED.len()].eq_ignore_ascii_case(RESERVED.as_bytes()) {
        return refuse!(Name, "names that start with {RESERVED} are reserved: choose another one for the {kind}");
    }
    Ok(name.to_owned())
}

/// Whether a name could be read as an id, or as the prefix of one.
pub(crate) fn looks_like_id(name: &str) -> bool {
    (6..=64).contains(&name.len()) && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether this is a full id.
pub(crate) fn is_full_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether this is a DNS name of one or more labels, as hosts and aliases have.
pub(crate) fn is_host_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
                && !label.starts_with('-')
        })
}

/// Whether this is an absolute path without `.` and `..`.
pub(crate) fn is_clean_path(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= 4096
        && !path.contains(|c: char| c.is_control())
        && path.split('/').all(|part| !matches!(part, "." | ".."))
}

/// Removes empty parts and a trailing slash, so that equal paths compare as equal.
pub(crate) fn normal_path(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    format!("/{}", parts.join("/"))
}

/// Returns the name of the volume whose files are in this folder of the engine.
pub(crate) fn volume_at(folder: &str) -> Option<&str> {
    folder.strip_suffix("/_data")?.rsplit('/').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_stand_for_another_object_is_refused() {
        for name in
            ["", "a/b", "/a", "-f", "0123456789ab", "abcdef", "Longshore-x", "longshore-job-1", "a b", "ä", "a\n"]
        {
            assert!(chosen("container", name).is_err(), "{name:?}");
        }
        for name in ["db", "a1b2c3_web_1", "project_db_1", "cafe", "x.y-z"] {
            assert_eq!(chosen("container", name).unwrap(), name);
        }
        assert_eq!(chosen("network", "0123456789ab").unwrap(), "0123456789ab");
        assert!(chosen("network", &"a".repeat(64)).is_err());
    }
}
