//! Docker's own actions: scripts for a client of the guarded API.

use super::super::{
    draft::{Map, Note, Value},
    foreign::{LOST, boolean, text},
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

pub(super) fn build_push(action: &Settings<'_>, job: &mut Map) -> ConvertedAction {
    job.set("docker", Value::plain(true), action.line);
    let mut build = Build { action, env: Map::default(), step: Map::default(), script: Vec::new(), lost: false };
    build.step.remark("the image has to have a client of Docker with buildx, and an administrator has to allow the job a builder: `longshore repo docker REPO --branch BRANCH --buildkit`");
    build.script.push("set --".to_owned());
    for (key, option) in OPTIONS {
        build.add_option(key, option);
    }
    for key in FLAGS {
        build.add_flag(key);
    }
    let context = build.context();
    build.add_command(&context);
    build.note_rest();
    ConvertedAction::Step(build.into_step())
}

/// The settings of `docker/build-push-action` that have a value, and the option that each becomes.
const OPTIONS: [(&str, &str); 7] = [
    ("tags", "--tag"),
    ("labels", "--label"),
    ("build-args", "--build-arg"),
    ("file", "--file"),
    ("target", "--target"),
    ("platforms", "--platform"),
    ("build-contexts", "--build-context"),
];

/// The settings that are `true` or `false`, and options of the same name.
const FLAGS: [&str; 4] = ["push", "load", "no-cache", "pull"];

/// A build of an image, while it is converted to a script.
struct Build<'a, 's> {
    action: &'a Settings<'s>,
    env: Map,
    step: Map,
    script: Vec<String>,
    /// Whether a setting was lost without which the script would do something else.
    lost: bool,
}

impl Build<'_, '_> {
    /// Adds an option, once for each line of the setting if that is a list.
    fn add_option(&mut self, key: &str, option: &str) {
        match self.action.filled(key) {
            Some(Ok(value)) if !value.is_empty() => {
                let name = variable_of(key);
                let one_line = matches!(key, "file" | "target" | "platforms");
                self.script.push(match one_line {
                    true => format!("if [ -n \"${name}\" ]; then set -- \"$@\" {option} \"${name}\"; fi"),
                    false => {
                        // Tags may stand in one line.
                        let list = if key == "tags" { format!("$(printf %s \"${name}\" | tr ',' '\\n')") } else { format!("${name}") };
                        format!(
                            "while IFS= read -r one; do if [ -n \"$one\" ]; then set -- \"$@\" {option} \"$one\"; fi; done <<EOF\n{list}\nEOF"
                        )
                    }
                });
                self.env.set(name, Value::Text(value), self.action.line);
            }
            Some(Err(note)) => {
                self.lost = true;
                self.step.note(note);
            }
            _ => {}
        }
    }

    fn add_flag(&mut self, key: &str) {
        let Some(entry) = self.action.entry(key) else { return };
        match (boolean(&entry.value), text(&entry.value).map(|written| self.action.scope.text(written))) {
            (Some(true), _) => self.script.push(format!("set -- \"$@\" --{key}")),
            (Some(false), _) => {}
            (None, Some(Ok(value))) => {
                let name = variable_of(key);
                self.script.push(format!("if [ \"${name}\" = true ]; then set -- \"$@\" --{key}; fi"));
                self.env.set(name, Value::Text(value), self.action.line);
            }
            _ => {
                self.lost = true;
                self.step.note(self.action.lines.note(entry, "its value is not known here"));
            }
        }
    }

    /// Returns the folder that the image is built from.
    fn context(&mut self) -> String {
        let context = self.action.plain("context");
        if context.is_none() && self.action.entry("context").is_some() {
            self.lost = true;
            self.step.note(Note::new(self.action.line, "context", "its value is not known here"));
        }
        context.unwrap_or_else(|| ".".to_owned())
    }

    /// Adds the command, and behind it the outputs that the workflow asks for.
    fn add_command(&mut self, context: &str) {
        const BUILT: &str = "/tmp/longshore-built-image";
        let asked = |output: &str| self.action.lines.source.text.contains(&format!("outputs.{output}"));
        let (digest, id) = (asked("digest"), asked("imageid"));
        if digest {
            self.script.push(format!("set -- \"$@\" --metadata-file {BUILT}.json"));
        }
        if id {
            self.script.push(format!("set -- \"$@\" --iidfile {BUILT}.id"));
        }
        self.script.push(format!("docker buildx build \"$@\" \"{context}\""));
        if digest {
            self.script.push(format!(
                "echo \"digest=$(sed -n 's/.*\"containerimage.digest\": *\"\\([^\"]*\\)\".*/\\1/p' {BUILT}.json)\" >> \"$LONGSHORE_OUTPUT\""
            ));
        }
        if id {
            self.script.push(format!("echo \"imageid=$(cat {BUILT}.id)\" >> \"$LONGSHORE_OUTPUT\""));
        }
    }

    /// Notes the settings that are not carried over.
    fn note_rest(&mut self) {
        let action = self.action;
        for entry in action.entries {
            let key = entry.key.as_str();
            if key == "context" || FLAGS.contains(&key) || OPTIONS.iter().any(|(known, _)| *known == key) {
                continue;
            }
            let why = match key {
                "cache-from" | "cache-to" => "layers are kept by the engine",
                _ => "what stands in for the action has nothing like it",
            };
            self.step.note(action.lines.note(entry, why));
            self.lost |= !matches!(
                key,
                "cache-from" | "cache-to" | "provenance" | "sbom" | "attests" | "annotations" | "github-token"
            );
        }
    }

    fn into_step(mut self) -> Map {
        if self.lost {
            self.step.note(Note::new(self.action.line, self.action.name, LOST));
            self.step.set("if", Value::text("false"), None);
        }
        self.step.set("run", Value::Script(self.script.join("\n")), self.action.line);
        self.step.set_filled("env", self.env, self.action.line);
        self.step
    }
}

/// Returns the variable that holds the value of a setting.
fn variable_of(key: &str) -> String {
    format!("BUILD_{}", key.to_uppercase().replace('-', "_"))
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
