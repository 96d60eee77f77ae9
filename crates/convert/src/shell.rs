//! Finds and fills in variables in scripts and texts of other systems.

use std::collections::BTreeSet;

/// The names of the variables that a script uses, as `$NAME` or `${NAME...}`.
pub(super) fn names(script: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = script;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        let bare = rest.strip_prefix('{').map_or(rest, |rest| rest.trim_start_matches(['#', '!']));
        let name = &bare[..name_length(bare)];
        if !name.is_empty() {
            found.insert(name.to_owned());
        }
    }
    found
}

/// The names of the variables that a script sets itself.
pub(super) fn assigned(script: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for command in script.replace("\\\n", " ").split(['\n', ';', '&', '|', '(', ')', '`']) {
        let mut words = command.split_whitespace().peekable();
        while words.next_if(|word| BEFORE_A_COMMAND.contains(word)).is_some() {}
        let names = words.peek().is_some_and(|word| NAMING.contains(word));
        for word in words {
            let name = &word[..name_length(word)];
            let sets = !name.is_empty() && word[name.len()..].starts_with(['=', '+']);
            if sets || names && name == word {
                found.insert(name.to_owned());
            }
            // An assignment behind the name of a command is an argument.
            if !sets && !names {
                break;
            }
        }
    }
    found
}

/// Words after which a command may come.
const BEFORE_A_COMMAND: &[&str] = &["then", "do", "else", "elif", "if", "while", "until", "!", "time", "{"];
/// Commands whose arguments are the names of variables.
const NAMING: &[&str] = &["for", "read", "export", "local", "declare", "readonly", "typeset", "mapfile", "readarray"];

fn name_length(text: &str) -> usize {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts {
        return 0;
    }
    text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len())
}

/// Fills in the variables of a text. `bare` says whether `$NAME` is one, too; `$$` is a single `$`. `value` gets a name
/// and the text after it within the braces: `##v` of `${TAG##v}`. The error is the first variable that it does not
/// know.
pub(super) fn fill(text: &str, bare: bool, value: &dyn Fn(&str, &str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(behind) = rest.strip_prefix('$') {
            out.push('$');
            rest = behind;
        } else if let Some(inner) = rest.strip_prefix('{') {
            let shown: String = inner.chars().take_while(|c| *c != '}').take(40).collect();
            let unknown = || format!("${{{shown}}}");
            let (name, operation, behind) = braced(inner).ok_or_else(unknown)?;
            out.push_str(&value(name, operation).ok_or_else(unknown)?);
            rest = behind;
        } else {
            let length = name_length(rest);
            if length == 0 || !bare {
                out.push('$');
                continue;
            }
            out.push_str(&value(&rest[..length], "").ok_or_else(|| format!("${}", &rest[..length]))?);
            rest = &rest[length..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Takes apart what follows `${`: the name, what is done to its value, and what comes after the closing brace.
pub(super) fn braced(inner: &str) -> Option<(&str, &str, &str)> {
    let length = name_length(inner);
    let behind = &inner[length..];
    let mut depth = 0_usize;
    let end = behind.char_indices().find(|(_, c)| match c {
        '{' => {
            depth += 1;
            false
        }
        '}' if depth > 0 => {
            depth -= 1;
            false
        }
        c => *c == '}',
    });
    let (end, _) = end.filter(|_| length > 0)?;
    Some((&inner[..length], &behind[..end], &behind[end + 1..]))
}

/// Returns how many of the first characters `${NAME:0:8}` keeps, for the operation `:0:8`.
pub(super) fn first_characters(operation: &str) -> Option<u32> {
    operation.strip_prefix(":0:")?.trim().parse().ok()
}

/// Whether every shell of POSIX knows the operation of `${NAME##v}`, and it is one over plain characters.
pub(super) fn is_posix(operation: &str) -> bool {
    let plain = |rest: &str| rest.chars().all(|c| c.is_ascii_alphanumeric() || "._-/*?+:@ ".contains(c));
    [":-", "##", "#", "%%", "%"].iter().any(|sign| operation.strip_prefix(sign).is_some_and(plain))
}

/// Whether an image is known to have no bash. Their `sh`, busybox, knows `pipefail`, `[[` and `${X:0:8}`.
pub(super) fn has_no_bash(image: &str) -> bool {
    let name = image.split('@').next().unwrap_or(image);
    let path = name.rsplit('/').next().unwrap_or(name);
    let (path, tag) = path.split_once(':').unwrap_or((path, ""));
    matches!(path, "alpine" | "busybox" | "docker") || path.contains("alpine") || tag.contains("alpine")
}

/// Whether a script is written for bash, because it uses what is an error in other shells.
pub(super) fn is_bash(script: &str) -> bool {
    const WORDS: &[&str] =
        &["[[ ", "<<<", "set -o pipefail", "set -eo pipefail", "set -euo pipefail", "set -exo pipefail"];
    const STARTS: &[&str] = &["source ", "function ", "shopt ", "declare ", "mapfile ", "readarray "];
    WORDS.iter().any(|word| script.contains(word))
        || script.lines().any(|line| STARTS.iter().any(|start| line.trim_start().starts_with(start)))
        || script.contains("=(")
        || script.contains("<(")
        || expansions(script).any(|inner| {
            let behind = &inner[name_length(inner)..];
            behind.starts_with("//")
                || behind.starts_with('^')
                || behind.starts_with(',')
                || behind.starts_with('[')
                || is_cut(behind)
        })
}

/// `${NAME:0:8}`: a substring, which only bash and busybox support.
fn is_cut(behind: &str) -> bool {
    behind.strip_prefix(':').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// The text between each `${` and `}`.
fn expansions(script: &str) -> impl Iterator<Item = &str> {
    script.match_indices("${").filter_map(|(at, _)| script[at + 2..].split('}').next())
}

/// Whether a variable's name looks like the name of a secret.
pub(super) fn is_secret(name: &str) -> bool {
    const WORDS: &[&str] = &[
        "TOKEN",
        "PASSWORD",
        "PASSWD",
        "PASSPHRASE",
        "SECRET",
        "CREDENTIALS",
        "PRIVATE_KEY",
        "API_KEY",
        "_PASS",
        "_PAT",
        "_KEY",
    ];
    name.len() > 3
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        && WORDS.iter().any(|word| name.ends_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_found_however_they_are_written() {
        let found = names("echo $A ${B} \"${C:-x}\" ${#D} $1 $$ $(e) ${{ f }}");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["A", "B", "C", "D"]);
        assert!(
            assigned("export X=1; Y=2 z; for i in 1; do read -r line; done")
                .is_superset(&["X".to_owned(), "Y".to_owned(), "i".to_owned()].into())
        );
    }

    #[test]
    fn texts_are_filled_in_as_far_as_values_are_known() {
        let value = |name: &str, operation: &str| (name == "A" && operation.is_empty()).then(|| "1".to_owned());
        assert_eq!(fill("x${A}y$A$$B", true, &value).as_deref(), Ok("x1y1$B"));
        assert_eq!(fill("x${A}y$A", false, &value).as_deref(), Ok("x1y$A"));
        assert_eq!(fill("${B}", true, &value), Err("${B}".to_owned()));
        assert_eq!(fill("${A:-x}", true, &value), Err("${A:-x}".to_owned()));
        assert_eq!(fill("$(x) $", true, &value).as_deref(), Ok("$(x) $"));
        assert_eq!(braced("A:-${B}}c"), Some(("A", ":-${B}", "c")));
        assert_eq!(braced("A"), None);
        let shown = |name: &str, operation: &str| Some(format!("<{name}|{operation}>"));
        assert_eq!(fill("${A##v}", false, &shown).as_deref(), Ok("<A|##v>"));
    }

    #[test]
    fn images_of_busybox_are_known_by_their_names() {
        for image in
            ["alpine", "alpine:3", "node:24-alpine", "docker:27-cli", "r.example/docker:dind", "python:3.13-alpine3.20"]
        {
            assert!(has_no_bash(image), "{image}");
        }
        for image in ["debian:12", "rust:1", "example/docker-tool:1", "golang:1@sha256:alpine"] {
            assert!(!has_no_bash(image), "{image}");
        }
    }

    #[test]
    fn bash_is_told_by_what_only_it_understands() {
        for script in ["[[ -n $X ]]", "a=(1 2)", "echo ${A//x/y}", "echo ${A:0:8}", "source venv/bin/activate"] {
            assert!(is_bash(script), "{script}");
        }
        for script in ["[ -n $X ]", "echo ${A:-x}", ". venv/bin/activate", "make"] {
            assert!(!is_bash(script), "{script}");
        }
    }
}
