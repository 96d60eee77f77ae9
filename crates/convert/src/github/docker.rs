//! Docker's own actions: scripts for a client of the guarded API.

use super::super::{
    draft::{Map, Note, Value},
    foreign::{boolean, text},
};
use super::{
    actions::ConvertedAction,
    known::{Settings, step},
};

pub(super) fn login(action: &Settings<'_>, job: &mut Map) -> ConvertedAction {
    job.set("docker", Value::plain(true), action.line);
    let (Some(user), Some(password)) = (action.filled("username"), action.filled("password")) else {
        return action.leave_out("it logs in with what is not in the file: write `docker login` as `run`");
    };
    let (user, password) = match (user, password) {
        (Ok(user), Ok(password)) => (user, password),
        (Err(note), _) | (_, Err(note)) => return ConvertedAction::LeftOut(note),
    };
    let mut env = Map::default();
    env.set("REGISTRY_USER", Value::Text(user), action.line);
    env.set("REGISTRY_PASSWORD", Value::Text(password), action.line);
    env.set("REGISTRY", Value::Text(action.filled("registry").and_then(Result::ok).unwrap_or_default()), action.line);
    let script =
        "printf %s \"$REGISTRY_PASSWORD\" | docker login --username \"$REGISTRY_USER\" --password-stdin $REGISTRY";
    let mut step = step(script, action.line);
    step.remark("the image has to have a client of Docker");
    step.set("env", env, action.line);
    action.rest(&["username", "password", "registry", "logout"], &mut step);
    ConvertedAction::Step(step)
}

pub(super) const LOST: &str =
    "it lost a setting, and would do something else without it: nothing runs until that is written by hand";

pub(super) fn build_push(action: &Settings<'_>, job: &mut Map) -> ConvertedAction {
    job.set("docker", Value::plain(true), action.line);
    let mut env = Map::default();
    let mut step = Map::default();
    step.remark("the image has to have a client of Docker with buildx, and an administrator has to allow the job a builder: `longshore repo docker REPO --branch BRANCH --buildkit`");
    let mut script = vec!["set --".to_owned()];
    let mut lost = false;
    // The settings, and what each line of theirs becomes.
    for (key, option) in [
        ("tags", "--tag"),
        ("labels", "--label"),
        ("build-args", "--build-arg"),
        ("file", "--file"),
        ("target", "--target"),
        ("platforms", "--platform"),
        ("build-contexts", "--build-context"),
    ] {
        match action.filled(key) {
            Some(Ok(value)) if !value.is_empty() => {
                let name = format!("BUILD_{}", key.to_uppercase().replace('-', "_"));
                let one_line = matches!(key, "file" | "target" | "platforms");
                script.push(match one_line {
                    true => format!("if [ -n \"${name}\" ]; then set -- \"$@\" {option} \"${name}\"; fi"),
                    false => {
                        // Tags may stand in one line.
                        let list = if key == "tags" { format!("$(printf %s \"${name}\" | tr ',' '\\n')") } else { format!("${name}") };
                        format!(
                            "while IFS= read -r one; do if [ -n \"$one\" ]; then set -- \"$@\" {option} \"$one\"; fi; done <<EOF\n{list}\nEOF"
                        )
                    }
                });
                env.set(name, Value::Text(value), action.line);
            }
            Some(Err(note)) => {
                lost = true;
                step.note(note);
            }
            _ => {}
        }
    }
    for key in ["push", "load", "no-cache", "pull"] {
        let Some(entry) = action.entry(key) else { continue };
        match (boolean(&entry.value), text(&entry.value).map(|written| action.scope.text(written))) {
            (Some(true), _) => script.push(format!("set -- \"$@\" --{key}")),
            (Some(false), _) => {}
            (None, Some(Ok(value))) => {
                let name = format!("BUILD_{}", key.to_uppercase().replace('-', "_"));
                script.push(format!("if [ \"${name}\" = true ]; then set -- \"$@\" --{key}; fi"));
                env.set(name, Value::Text(value), action.line);
            }
            _ => {
                lost = true;
                step.note(action.lines.note(entry, "its value is not known here"));
            }
        }
    }
    let context = match action.plain("context") {
        Some(context) => context,
        None if action.entry("context").is_none() => ".".to_owned(),
        None => {
            lost = true;
            step.note(Note::new(action.line, "context", "its value is not known here"));
            ".".to_owned()
        }
    };
    // The outputs that later steps may use.
    let asked = |output: &str| action.lines.source.text.contains(&format!("outputs.{output}"));
    let built = "/tmp/longshore-built-image";
    let (digest, id) = (asked("digest"), asked("imageid"));
    if digest {
        script.push(format!("set -- \"$@\" --metadata-file {built}.json"));
    }
    if id {
        script.push(format!("set -- \"$@\" --iidfile {built}.id"));
    }
    script.push(format!("docker buildx build \"$@\" \"{context}\""));
    if digest {
        script.push(format!(
            "echo \"digest=$(sed -n 's/.*\"containerimage.digest\": *\"\\([^\"]*\\)\".*/\\1/p' {built}.json)\" >> \"$LONGSHORE_OUTPUT\""
        ));
    }
    if id {
        script.push(format!("echo \"imageid=$(cat {built}.id)\" >> \"$LONGSHORE_OUTPUT\""));
    }
    for entry in action.entries {
        match entry.key.as_str() {
            "tags" | "labels" | "build-args" | "file" | "target" | "platforms" | "build-contexts" | "push" | "load"
            | "no-cache" | "pull" | "context" => {}
            "cache-from" | "cache-to" => step.note(action.lines.note(entry, "layers are kept by the engine")),
            "provenance" | "sbom" | "attests" | "annotations" | "github-token" => {
                step.note(action.lines.note(entry, "what stands in for the action has nothing like it"));
            }
            _ => {
                lost = true;
                step.note(action.lines.note(entry, "what stands in for the action has nothing like it"));
            }
        }
    }
    if lost {
        step.note(Note::new(action.line, action.name, LOST));
        step.set("if", Value::text("false"), None);
    }
    step.set("run", Value::Script(script.join("\n")), action.line);
    step.set_filled("env", env, action.line);
    ConvertedAction::Step(step)
}

/// Writes the tags of images as a script: the kinds that most workflows have.
pub(super) fn metadata(action: &Settings<'_>) -> ConvertedAction {
    let cannot =
        |what: &str| action.leave_out(&format!("{what} cannot be said: write the tags into the step that builds"));
    let Some(Ok(images)) = action.filled("images") else { return cannot("its `images`") };
    let tags = match action.filled("tags") {
        Some(Ok(tags)) if !tags.is_empty() => tags,
        Some(Err(_)) => return cannot("its `tags`"),
        _ => "type=schedule\ntype=ref,event=branch\ntype=ref,event=tag\ntype=ref,event=pr".to_owned(),
    };
    if let Some(entry) = action.entries.iter().find(|entry| !["images", "tags", "labels"].contains(&entry.key.as_str()))
    {
        return cannot(&format!("its `{}`", entry.key));
    }
    let mut env = Map::default();
    env.set("IMAGES", Value::Text(images), action.line);
    env.set("EVENT", Value::text("${{ event.name }}"), None);
    let mut script = vec![
        "tags=".to_owned(),
        "version=".to_owned(),
        "add() { version=\"${version:-$1}\"; for image in $(printf %s \"$IMAGES\" | tr ',' ' '); do tags=\"$tags${tags:+,}$image:$1\"; done; }".to_owned(),
        "clean() { printf %s \"$1\" | tr -c 'A-Za-z0-9._-' '-'; }".to_owned(),
        "number=\"${CI_COMMIT_TAG#v}\"".to_owned(),
    ];
    let mut latest = false;
    for line in tags.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let Some(tag) = Tag::read(line) else { return cannot(line) };
        latest |= tag.is_latest;
        script.push(tag.command);
    }
    if latest {
        script.push(
            "if [ \"$EVENT\" = tag ] && case \"$number\" in *-*) false ;; *) true ;; esac; then add latest; fi"
                .to_owned(),
        );
    }
    script.extend([
        "echo \"version=$version\" >> \"$LONGSHORE_OUTPUT\"".to_owned(),
        "echo \"tags=$tags\" >> \"$LONGSHORE_OUTPUT\"".to_owned(),
        "echo \"labels=org.opencontainers.image.revision=$CI_COMMIT_SHA\" >> \"$LONGSHORE_OUTPUT\"".to_owned(),
    ]);
    let mut made = step(&script.join("\n"), action.line);
    made.set("env", env, None);
    if let Some(entry) = action.entry("labels") {
        made.note(action.lines.note(entry, "the label with the commit is the only one here"));
    }
    ConvertedAction::Step(made)
}

/// A line of `tags` of `docker/metadata-action`.
struct Tag {
    /// The command that adds the tag to those of the image.
    command: String,
    /// Whether an image with this tag is also `latest`.
    is_latest: bool,
}

impl Tag {
    /// Converts a line; `None` for kinds of tags that are not known.
    fn read(line: &str) -> Option<Self> {
        const OF_TAG: &str = "case \"$EVENT\" in tag | release) true ;; *) false ;; esac";
        const SEMVER: &str = "printf %s \"$number\" | grep -Eq '^[0-9]+[.][0-9]+[.][0-9]+'";
        const NO_PRERELEASE: &str = "case \"$number\" in *-*) false ;; *) true ;; esac";
        if line.contains("${{") {
            return None;
        }
        let parts: Vec<(&str, &str)> =
            line.split(',').map(|part| part.split_once('=').unwrap_or(("value", part))).collect();
        let value_of = |key: &str| parts.iter().find(|(known, _)| *known == key).map(|(_, value)| *value);
        let only = |keys: &[&str]| parts.iter().all(|(key, _)| keys.contains(key));
        let is_plain = |value: &str| value.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        let plain = |command: &str| Self { command: command.to_owned(), is_latest: false };
        Some(match (value_of("type"), value_of("event").or(value_of("pattern"))) {
            (Some("schedule"), None) if only(&["type"]) => plain("if [ \"$EVENT\" = schedule ]; then add nightly; fi"),
            (Some("ref"), Some("branch")) if only(&["type", "event"]) => plain(
                "case \"$EVENT\" in push | manual | schedule) if [ -n \"$CI_COMMIT_BRANCH\" ]; then add \"$(clean \"$CI_COMMIT_BRANCH\")\"; fi ;; esac",
            ),
            (Some("ref"), Some("tag")) if only(&["type", "event"]) => {
                let command = format!("if {OF_TAG}; then add \"$(clean \"$CI_COMMIT_TAG\")\"; fi");
                Self { command, is_latest: true }
            }
            (Some("ref"), Some("pr")) if only(&["type", "event"]) => {
                plain("if [ \"$EVENT\" = pull-request ]; then add \"pr-$CI_COMMIT_PULL_REQUEST\"; fi")
            }
            (Some("sha"), None) if only(&["type"]) => plain("add \"sha-$(printf %.7s \"$CI_COMMIT_SHA\")\""),
            (Some("raw") | None, None) if only(&["type", "value"]) => {
                plain(&format!("add {}", value_of("value").filter(|value| is_plain(value))?))
            }
            (Some("semver"), Some("{{version}}")) if only(&["type", "pattern"]) => {
                Self { command: format!("if {OF_TAG} && {SEMVER}; then add \"$number\"; fi"), is_latest: true }
            }
            (Some("semver"), Some(pattern @ ("{{major}}.{{minor}}" | "{{major}}"))) if only(&["type", "pattern"]) => {
                let fields = if pattern == "{{major}}" { "1" } else { "1,2" };
                plain(&format!(
                    "if {OF_TAG} && {SEMVER} && {NO_PRERELEASE}; then add \"$(printf %s \"$number\" | cut -d. -f{fields})\"; fi"
                ))
            }
            _ => return None,
        })
    }
}
