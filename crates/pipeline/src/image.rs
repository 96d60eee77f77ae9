//! Whether a text names an image. The engine judges for good; this catches what would surely fail.

/// What is wrong with an image's name, if anything is.
pub fn complaint(image: &str) -> Option<String> {
    if image.is_empty() {
        return Some("an image has a name".to_owned());
    }
    if image.chars().any(char::is_whitespace) {
        return Some("an image's name has no spaces".to_owned());
    }
    if let Some(bad) = image.chars().find(|c| !(c.is_ascii_alphanumeric() || "._-/:@".contains(*c))) {
        return Some(format!("an image's name cannot contain `{bad}`"));
    }
    if image.len() > 300 {
        return Some("an image's name has at most 300 characters".to_owned());
    }
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    let (path, tag) = match name[slash..].find(':') {
        Some(colon) => (&name[..slash + colon], Some(&name[slash + colon + 1..])),
        None => (name, None),
    };
    if tag.is_some_and(|tag| tag.is_empty() || tag.len() > 128 || tag.starts_with(['.', '-']) || tag.contains(':')) {
        return Some("a tag stands behind the `:`, such as `debian:12`".to_owned());
    }
    // A first part with a dot, a port or `localhost` is a registry, whose letters may be of either case.
    let (registry, repository) = match path.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), rest),
        _ => (None, path),
    };
    if registry == Some("") || repository.split('/').any(|part| !part.starts_with(|c: char| c.is_ascii_alphanumeric()))
    {
        return Some("an image's name is like `debian:12` or `registry.example/team/tool:1`".to_owned());
    }
    if repository.contains(':') {
        return Some("an image's name has one tag, behind its last `:`".to_owned());
    }
    if repository.chars().any(|c| c.is_ascii_uppercase()) {
        return Some("an image's repository is written in lower case".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::complaint;

    #[test]
    fn names_that_engines_take_are_taken() {
        for image in [
            "debian",
            "debian:12",
            "Registry.example:5000/team/tool:V1",
            "localhost/x",
            "a/b@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "rust:1.95-bookworm",
        ] {
            assert_eq!(complaint(image), None, "{image}");
        }
    }

    #[test]
    fn names_that_engines_refuse_are_refused() {
        for image in ["", "a b", "-x", "Rust:1", "debian:", "a:b:c", "a//b", "a$b", "é", "/a", "debian:-1"] {
            assert!(complaint(image).is_some(), "{image}");
        }
    }
}
