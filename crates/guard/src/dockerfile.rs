//! Rewrites a Dockerfile: one instruction a line, with base images by their ids.
//!
//! A build could start from any image of the host. Which of them it may use is decided here, so the guard must
//! understand the file exactly as the engine does. That is why the engine gets the rewritten lines, and not the
//! original ones.

pub(crate) mod growth;
mod instructions;

use std::collections::BTreeMap;

use self::instructions::{flags_end, instructions, words_of};
use crate::image_ref::ImageRef;
use crate::refusal::{Judged, Refusal, refuse};

/// The longest Dockerfile, in bytes.
pub(crate) const LONGEST: usize = 256 << 10;

const WORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Why a Dockerfile was not rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerfileError {
    Refused(Refusal),
    /// The id of this image is unknown and has to be looked up.
    Unknown(String),
}

/// Rewrites `text`. `image` returns the id of an image that may be used.
pub(crate) fn rewrite(
    text: &str,
    args: &BTreeMap<String, Option<String>>,
    image: impl Fn(&ImageRef) -> Result<String, DockerfileError>,
) -> Result<String, DockerfileError> {
    let mut out = String::new();
    let mut stages: Vec<String> = Vec::new();
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    for instruction in instructions(text).map_err(DockerfileError::Refused)? {
        let (word, rest) = instruction.split_once([' ', '\t']).unwrap_or((&instruction, ""));
        let (word, rest) = (word.to_ascii_uppercase(), rest.trim());
        // Not the stage that is being built: the engine would take its name for an image's.
        let earlier = &stages[..stages.len().saturating_sub(1)];
        let is_stage = |name: &str| {
            earlier.iter().any(|stage| stage.eq_ignore_ascii_case(name))
                || name.parse::<usize>().is_ok_and(|at| at < earlier.len())
        };
        let line = match word.as_str() {
            "ARG" if stages.is_empty() => {
                let (name, default) = argument(rest).map_err(DockerfileError::Refused)?;
                let value = args.get(&name).cloned().flatten().or(default);
                values.insert(name, value.unwrap_or_default());
                format!("ARG {rest}")
            }
            "FROM" => {
                let from = expand(rest, &values).map_err(DockerfileError::Refused)?;
                let mut words = from.split_whitespace();
                let name = words.next().unwrap_or_default();
                let line = match name {
                    "" => return Err(refused("FROM names no image".to_owned())),
                    flag if flag.starts_with("--") => {
                        return Err(refused("FROM may not have a platform here: pass it to the build".to_owned()));
                    }
                    "scratch" => "FROM scratch".to_owned(),
                    stage if stages.iter().any(|known| known.eq_ignore_ascii_case(stage)) => format!("FROM {stage}"),
                    other => format!("FROM sha256:{}", image(&reference(other)?)?),
                };
                let alias = match (words.next(), words.next(), words.next()) {
                    (None, ..) => String::new(),
                    (Some(keyword), Some(alias), None)
                        if keyword.eq_ignore_ascii_case("as") && is_stage_name(alias) =>
                    {
                        alias.to_owned()
                    }
                    _ => return Err(refused("FROM has to be written FROM image [AS name]".to_owned())),
                };
                let line = if alias.is_empty() { line } else { format!("{line} AS {alias}") };
                stages.push(alias);
                line
            }
            _ if stages.is_empty() => return Err(refused(format!("{word} stands before the first FROM"))),
            _ => judge(&word, rest, |name| match is_stage(name) {
                true => Ok(name.to_owned()),
                false => Ok(format!("sha256:{}", image(&reference(name)?)?)),
            })?,
        };
        if line.ends_with('\\') {
            return Err(refused("an instruction may not end with a backslash".to_owned()));
        }
        out.push_str(&line);
        out.push('\n');
    }
    if stages.is_empty() {
        return Err(refused("the Dockerfile has no FROM".to_owned()));
    }
    Ok(out)
}

/// Judges an instruction, and rewrites it. `from` returns what the name after `--from` refers to.
fn judge(
    word: &str,
    rest: &str,
    from: impl Fn(&str) -> Result<String, DockerfileError>,
) -> Result<String, DockerfileError> {
    if !WORDS.contains(&word) {
        return Err(refused(format!("{word:?} is not a Dockerfile instruction")));
    }
    // The engine takes flags off every instruction before it reads the rest.
    if rest.starts_with("--") && !matches!(word, "ADD" | "COPY" | "HEALTHCHECK") {
        return Err(refused(format!("{word} has no flags in the classic builder")));
    }
    Ok(match word {
        "ADD" => {
            plain_sources(rest)?;
            format!("ADD {}", copied(rest, |_| Err(refused("ADD has no --from".to_owned())))?)
        }
        "COPY" => format!("COPY {}", copied(rest, from)?),
        "LABEL" => {
            check_labels(rest)?;
            format!("LABEL {rest}")
        }
        "ONBUILD" => format!("ONBUILD {}", trigger(rest)?),
        _ => format!("{word} {rest}"),
    })
}

/// Judges an instruction that runs in every build that starts from the image. What its names will stand for then is not
/// known.
fn trigger(text: &str) -> Result<String, DockerfileError> {
    let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    let word = word.to_ascii_uppercase();
    if matches!(word.as_str(), "FROM" | "MAINTAINER" | "ONBUILD") {
        return Err(refused(format!("{word} is not allowed as a trigger of ONBUILD")));
    }
    judge(&word, rest.trim(), |_| Err(refused("ONBUILD may not use --from here".to_owned())))
}

/// Whether a build may run this trigger of an image that somebody else has built.
pub(crate) fn is_harmless_trigger(text: &str) -> bool {
    !text.contains(|c: char| c.is_control() && c != '\t')
        && !text.trim_end().ends_with('\\')
        && trigger(text.trim()).is_ok()
}

/// Whether a trigger makes a layer with files.
pub(crate) fn makes_a_layer(trigger: &str) -> bool {
    let word = trigger.split_whitespace().next().unwrap_or_default();
    ["ADD", "COPY", "RUN", "WORKDIR"].iter().any(|maker| word.eq_ignore_ascii_case(maker))
}

fn refused(reason: String) -> DockerfileError {
    DockerfileError::Refused(Refusal::new(crate::Rule::Build, reason))
}

fn reference(text: &str) -> Result<ImageRef, DockerfileError> {
    ImageRef::parse(text).map_err(DockerfileError::Refused)
}

fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// Parses `ARG name[=default]` before the first `FROM`.
fn argument(rest: &str) -> Judged<(String, Option<String>)> {
    let (name, default) = match rest.split_once('=') {
        Some((name, default)) => (name, Some(unquoted(default)?)),
        None => (rest, None),
    };
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return refuse!(Build, "an ARG before FROM has to be written ARG name=value, one a line");
    }
    Ok((name.to_owned(), default))
}

fn unquoted(text: &str) -> Judged<String> {
    let inner = ['"', '\''].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote)).unwrap_or(text);
    if inner.contains(['"', '\'', '\\', '$', ' ', '\t']) {
        return refuse!(Build, "the default of an ARG before FROM has to be a plain word");
    }
    Ok(inner.to_owned())
}

/// Replaces `$name`, `${name}` and `${name:-default}` by their values. Quotes and backslashes are refused.
fn expand(text: &str, values: &BTreeMap<String, String>) -> Judged<String> {
    if text.contains(['"', '\'', '\\', '`']) {
        return refuse!(Build, "FROM may not contain quotes or backslashes");
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (name, default, after) = match rest.strip_prefix('{') {
            Some(inner) => {
                let Some((inside, after)) = inner.split_once('}') else {
                    return refuse!(Build, "FROM contains a brace that is not closed");
                };
                let (name, default) = inside.split_once(":-").unwrap_or((inside, ""));
                (name, default, after)
            }
            None => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                (&rest[..end], "", &rest[end..])
            }
        };
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') || default.contains('$') {
            return refuse!(Build, "FROM contains a variable that is not written ${{name}} or ${{name:-default}}");
        }
        match values.get(name).filter(|value| !value.is_empty()) {
            Some(value) => out.push_str(value),
            None => out.push_str(default),
        }
        rest = after;
    }
    out.push_str(rest);
    if out.contains(|c: char| c.is_control()) {
        return refuse!(Build, "FROM contains control characters");
    }
    Ok(out)
}

/// Rewrites the `--from` of a `COPY`. What follows the flags is kept unchanged, because spaces in a JSON list matter.
fn copied(rest: &str, image: impl Fn(&str) -> Result<String, DockerfileError>) -> Result<String, DockerfileError> {
    let end = flags_end(rest).ok_or_else(|| refused("COPY and ADD need a source".to_owned()))?;
    // The engine reads flags byte by byte, and takes some bytes of other letters for white space.
    if !rest[..end].is_ascii() {
        return Err(refused("the flags of COPY and ADD have to be written in ASCII".to_owned()));
    }
    let mut out = Vec::new();
    for word in rest[..end].split_whitespace() {
        match word.split_once('=') {
            Some(("--from", name)) if !name.contains(['$', '"', '\'', '\\']) => {
                out.push(format!("--from={}", image(name)?));
            }
            Some(("--from", _)) => return Err(refused("--from may not contain variables or quotes".to_owned())),
            Some(("--chown" | "--chmod", value)) if !value.contains(['"', '\'', '\\']) => out.push(word.to_owned()),
            _ => return Err(refused(format!("the classic builder has no flag {word}"))),
        }
    }
    out.push(rest[end..].to_owned());
    Ok(out.join(" "))
}

/// Refuses sources of `ADD` that could be addresses: the engine would fetch them from the host's network, where the job
/// has no access.
fn plain_sources(rest: &str) -> Result<(), DockerfileError> {
    let sources = rest.split_whitespace().find(|word| !word.starts_with("--")).unwrap_or_default();
    let is_list = sources.starts_with('[');
    let list = || flags_end(rest).and_then(|end| serde_json::from_str::<Vec<String>>(&rest[end..]).ok());
    let is_plain = !rest.contains("://") && !rest.contains(['$', '\\', '\'']);
    let is_quoted_plainly = if is_list { list().is_some() } else { !rest.contains('"') };
    if is_plain && is_quoted_plainly {
        return Ok(());
    }
    Err(refused(
        "ADD may only name files of the context: fetch addresses with RUN, in the job's own network".to_owned(),
    ))
}

/// Refuses Longshore's own labels: layers are found by them when the job is over. The engine expands variables in names
/// and takes quotes and backslashes out of them, so names have to be plain words.
fn check_labels(rest: &str) -> Result<(), DockerfileError> {
    let words = words_of(rest);
    let names: Vec<&str> = match words.first() {
        Some(first) if !first.contains('=') => vec![first.as_str()],
        _ => words.iter().map(|word| word.split_once('=').map_or(word.as_str(), |(name, _)| name)).collect(),
    };
    for name in names {
        let bare = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name);
        if bare.contains(['"', '\'', '\\', '$']) {
            return Err(refused(format!("the name of the label {name} has to be a plain word")));
        }
        if crate::policy::is_reserved_label(bare) {
            let reason = format!("the label {bare} is reserved");
            return Err(DockerfileError::Refused(Refusal::new(crate::Rule::Label, reason)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<String, DockerfileError> {
        let args = BTreeMap::from([("BASE".to_owned(), Some("own:1".to_owned()))]);
        rewrite(text, &args, |image| {
            if image.familiar() == "own:1" {
                Ok("1".repeat(64))
            } else {
                Err(refused(format!("not {}", image.familiar())))
            }
        })
    }

    #[test]
    fn only_images_that_may_be_seen_are_started_from_however_it_is_written() {
        for text in [
            "FROM secret:1",
            "from secret:1",
            "FR\\\nOM secret:1",
            "FROM own:1\nFROM secret:1 AS x",
            "FROM own:1\nCOPY --from=secret:1 /a /b",
            "FROM own:1\nCOPY --chown=1 --from=secret:1 /a /b",
            "FROM own:1\ncopy \\\n# comment\n\n  --from=secret:1 /a /b",
            "ARG X=secret:1\nFROM $X",
            "FROM ${X:-secret:1}",
            "FROM own:1\nONBUILD COPY --from=secret:1 /a /b",
            "# escape=`\nFROM own:1",
            "#escape = `\nFROM own:1 `\nx",
            "FROM own:1\nRUN <<EOF\nFROM secret:1\nEOF",
            "FROM --platform=x secret:1",
            "FROM \"secret:1\"",
            "FROM own:1\nWHAT",
            "RUN x",
            "",
            "FROM own:1\nRUN a \\\\",
            "FROM own:1\rFROM secret:1",
            "FROM own:1\nCOPY --from=\"secret:1\" a b",
            "FROM own:1\nCOPY --from=1 a b",
            "FROM own:1\nRUN --mount=type=bind,from=secret:1 x",
            "FROM own:1\nADD http://169.254.169.254/ /x",
            "FROM own:1\nARG U=http://169.254.169.254/\nADD $U /x",
            "FROM own:1\nADD http:\"//\"169.254.169.254/ /x",
            "FROM own:1\nADD [\"http:'//'169.254.169.254/\", \"/x\"]",
            "FROM own:1\nADD [\"\\u0068ttp://169.254.169.254/\", \"/x\"]",
            "FROM own:1\nADD [\"a\" \"/x\"]",
            "FROM own:1\nONBUILD ADD http://169.254.169.254/ /x",
            "FROM own:1\nADD --from=secret:1 a /x",
            "FROM own:1 AS secret\nCOPY --from=secret /a /b",
            "FROM own:1 AS one\nFROM own:1 AS secret\nCOPY --from=SECRET /a /b",
            "FROM own:1\nCOPY --from=0 /a /b",
            "FROM own:1\nCOPY --chown=1Å--from=secret:1 /a /b",
            "FROM own:1\nADD --chown=1\u{2005}--from=secret:1 /a /b",
            "FROM own:1\nONBUILD COPY --fr\\om=secret:1 /a /b",
            "FROM own:1\nONBUILD COPY \"--from\"=secret:1 /a /b\nONBUILD COPY --\"from\"=secret:1 /a /b",
            "FROM own:1\nONBUILD ADD --chown=1 http://169.254.169.254/ /x",
            "FROM own:1\nONBUILD -- COPY --from=secret:1 /a /b",
            "FROM own:1\nONBUILD ONBUILD ADD http://169.254.169.254/ /x",
            "FROM own:1\nONBUILD FROM secret:1",
            "FROM own:1\nONBUILD RUN --mount=type=bind,from=secret:1 x",
        ] {
            let outcome = run(text);
            assert!(outcome.is_err(), "{text:?}: {outcome:?}");
        }
    }

    #[test]
    fn no_layer_takes_a_label_of_ours_however_it_is_written() {
        for label in [
            "longshore.guard.scope=x",
            "a=b longshore.guard.scope=x",
            "a=\"b c\" Longshore.x=y",
            "\"longshore.guard.scope\"=x",
            "long\"shore.guard.scope\"=x",
            "long\\shore.guard.scope=x",
            "'longshore.guard.scope'=x",
            "a=b\\ c longshore.guard.scope=x",
            "longshore.guard.scope x",
            "$A=x",
            "long${A}shore.x=y",
            "-- longshore.x=y",
            "--  a=b longshore.x=y",
            "a='b\\' longshore.x=y",
        ] {
            for word in ["LABEL", "label", "ONBUILD LABEL", "onbuild label"] {
                let outcome = run(&format!("FROM own:1\n{word} {label}\n"));
                assert!(outcome.is_err(), "{word} {label}: {outcome:?}");
            }
        }
        for label in
            ["a=b", "a=\"longshore.x=y z\"", "a=b\\ longshore.x", "org.x.y=$V \"q.r\"='s t'", "maintainer longshore.x"]
        {
            run(&format!("FROM own:1\nLABEL {label}\nONBUILD LABEL {label}\n")).unwrap();
        }
    }

    #[test]
    fn triggers_of_images_of_others_are_judged_like_instructions() {
        for text in [
            "ADD http://169.254.169.254/ /x",
            "add $URL /x",
            "COPY --from=secret:1 /a /b",
            "COPY --fr\\om=secret:1 /a /b",
            "LABEL longshore.guard.scope=x",
            "LABEL -- longshore.guard.scope=x",
            "RUN true\nCOPY --from=secret:1 /a /b",
            "RUN a \\",
            "ONBUILD RUN x",
            "",
        ] {
            assert!(!is_harmless_trigger(text), "{text:?}");
        }
        for text in ["RUN pip install -r x", "COPY . /usr/src/app", "ADD a.tar /", "ARG X", "ENV A=$X", "LABEL a=b"] {
            assert!(is_harmless_trigger(text), "{text:?}");
        }
    }

    #[test]
    fn what_is_let_through_is_one_instruction_a_line() {
        let id = format!("sha256:{}", "1".repeat(64));
        let text = "# syntax=x\nARG BASE=none\nFROM ${BASE} AS one\nRUN a \\\n  # no\n  && b\n\nFROM one\nCOPY --from=one [\"a  b\", \"c\"]\nCOPY --from=0 --chown=1:1 /a  /b\nADD [\"x.tar\", \"/\"]\nADD y.tar /\nONBUILD COPY --chown=1 a b\nHEALTHCHECK --interval=1s CMD x\nCMD [\"x\"]";
        let out = run(text).unwrap();
        let expected = format!(
            "ARG BASE=none\nFROM {id} AS one\nRUN a   && b\nFROM one\nCOPY --from=one [\"a  b\", \"c\"]\nCOPY --from=0 --chown=1:1 /a  /b\nADD [\"x.tar\", \"/\"]\nADD y.tar /\nONBUILD COPY --chown=1 a b\nHEALTHCHECK --interval=1s CMD x\nCMD [\"x\"]\n"
        );
        assert_eq!(out, expected);
        assert_eq!(run(&out.replace(&id, "own:1")).unwrap(), out, "and is the same once more");
    }
}
