//! Names of objects, and references to them, as clients write them.

use crate::refusal::{Judged, refuse};

/// The start of every name that the guard gives on the engine. No client may choose a name that starts so.
pub(crate) const RESERVED: &str = "longshore";
/// The start of the images that other clients have, and of our own program's.
pub(crate) const RESERVED_IMAGES: [&str; 2] = ["longshore-guard/", "longshore-agent"];
/// The longest name that a client may choose; what the guard puts in front of it fits in beside it.
const LONGEST_NAME: usize = 128;

/// A name that a client chooses for a container, a volume or a network.
///
/// Names that look like ids are refused: a container that is called like the short id of another one is taken for it.
pub(crate) fn chosen(kind: &str, name: &str) -> Judged<String> {
    let plain = !name.is_empty()
        && name.len() <= LONGEST_NAME
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if !plain {
        return refuse!(
            Name,
            "{name:?} is no name for a {kind}: letters, digits, '_', '.' and '-', at most {LONGEST_NAME}"
        );
    }
    if looks_like_id(name) {
        return refuse!(Name, "the name {name} for a {kind} looks like an id: choose one with a letter after f in it");
    }
    if name.len() >= RESERVED.len() && name.as_bytes()[..RESERVED.len()].eq_ignore_ascii_case(RESERVED.as_bytes()) {
        return refuse!(Name, "names that start with {RESERVED} are reserved: choose another one for the {kind}");
    }
    Ok(name.to_owned())
}

/// Whether a name could be read as the id of an object, or the start of one.
pub(crate) fn looks_like_id(name: &str) -> bool {
    (6..=64).contains(&name.len()) && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether this is a whole id.
pub(crate) fn is_full_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A DNS name of one or more parts, as hosts and aliases have.
pub(crate) fn is_host_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
                && !label.starts_with('-')
        })
}

/// An absolute path within a container, without parts that lead elsewhere.
pub(crate) fn is_clean_path(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= 4096
        && !path.contains(|c: char| c.is_control())
        && path.split('/').all(|part| !matches!(part, "." | ".."))
}

/// The path without empty parts and without a slash at its end, so that equal paths are equal.
pub(crate) fn normal_path(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    format!("/{}", parts.join("/"))
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
    }
}
