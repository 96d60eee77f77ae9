//! Actions whose work a script, an image or a key of the job does here.

use longshore_pipeline::tree::Entry;

use super::super::{
    draft::{Map, Note, Part, Value},
    foreign::{LOST, Lines, boolean, text},
};
use super::{actions::ConvertedAction, artifacts, docker, expression::Scope, tools, unknown};

/// Settings of an action, filled in one by one.
pub(super) struct Settings<'s> {
    pub(super) name: &'s str,
    /// The text behind the `@`.
    pub(super) reference: &'s str,
    pub(super) line: u32,
    pub(super) entries: &'s [Entry],
    pub(super) scope: &'s Scope,
    pub(super) lines: Lines<'s>,
}

impl Settings<'_> {
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The value of a setting, or the note that it is not known; `None` if it is not given.
    pub(super) fn filled(&self, key: &str) -> Option<Result<String, Note>> {
        let entry = self.entry(key)?;
        let written = text(&entry.value).unwrap_or_default();
        Some(
            self.scope
                .text(written)
                .map(|text| text.trim().to_owned())
                .map_err(|what| self.lines.note(entry, unknown(&what))),
        )
    }

    /// A value that may become a part of a script: it has no expression but those over the matrix.
    pub(super) fn plain(&self, key: &str) -> Option<String> {
        let filled = self.filled(key)?.ok()?;
        let expressions = filled.matches("${{").count() == filled.matches("${{ matrix.").count();
        expressions.then_some(filled)
    }

    pub(super) fn is_true(&self, key: &str) -> bool {
        self.entry(key).is_some_and(|entry| boolean(&entry.value) == Some(true))
    }

    /// Notes on all settings that are not among `known`.
    pub(super) fn rest(&self, known: &[&str], into: &mut Map) {
        for entry in self.entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            into.note(self.lines.note(entry, format!("what stands in for {} has nothing like it", self.name)));
        }
    }

    /// Like [`Self::rest`], for an action that would do something else without one of its settings: then the step never
    /// runs. `plain` are the settings whose values have to be known.
    pub(super) fn needs_all(&self, known: &[&str], plain: &[&str], step: &mut Map) {
        self.rest(known, step);
        let unknown = plain.iter().filter_map(|key| self.entry(key)).filter(|entry| self.plain(&entry.key).is_none());
        for entry in unknown {
            step.note(self.lines.note(entry, "its value is not known here"));
        }
        let lost = step.parts.iter().any(|part| matches!(part, Part::Note(_)));
        if lost {
            step.note(Note::new(self.line, self.name, LOST));
            step.set("if", Value::text("false"), None);
        }
    }

    pub(super) fn leave_out(&self, why: &str) -> ConvertedAction {
        let what = match self.reference {
            "" => format!("uses: {}", self.name),
            reference => format!("uses: {}@{reference}", self.name),
        };
        ConvertedAction::LeftOut(Note::new(self.line, what, why))
    }
}

/// Converts an action; `None` if it is not one of these. `job` is the body of its job.
pub(super) fn read(action: &Settings<'_>, job: &mut Map) -> Option<ConvertedAction> {
    Some(match action.name {
        "Swatinem/rust-cache" => rust_cache(action, job),
        "hendrikmuhs/ccache-action" => ccache(action, job),
        "docker/setup-buildx-action" => {
            job.set("docker", Value::plain(true), action.line);
            job.remark("`docker: true` gives the job a guarded Docker API, and where an administrator allows it a builder that `docker buildx` finds");
            ConvertedAction::Done
        }
        "docker/setup-qemu-action" => {
            job.set("docker", Value::plain(true), action.line);
            action.leave_out(
                "other processors are emulated where the engine's host does it: nothing sets that up in a job",
            )
        }
        "docker/login-action" => docker::login(action, job),
        "docker/build-push-action" => docker::build_push(action, job),
        "docker/metadata-action" => docker::metadata(action),
        "goreleaser/goreleaser-action" => tools::goreleaser(action),
        "golangci/golangci-lint-action" => tools::golangci(action),
        "crate-ci/typos" => tools::typos(action),
        "taiki-e/install-action" => tools::install(action),
        "arduino/setup-task" | "go-task/setup-task" => tools::task(action),
        "codecov/codecov-action" => codecov(action),
        "softprops/action-gh-release" => release(action),
        "actions/download-artifact" => artifacts::download(action),
        "step-security/harden-runner" => {
            action.leave_out("jobs run in sandboxes: `network: none` and approvals are the server's")
        }
        "actions/stale" => action.leave_out("issues are the forge's: nothing here looks after them"),
        name if name.starts_with("github/codeql-action/") => {
            const WHY: &str =
                "findings are not sent to the forge: write a step that runs an analysis, for all steps of this action";
            let known = job.parts.iter().any(|part| matches!(part, Part::Remark(text) if text == CODEQL));
            job.remark(CODEQL);
            if known { ConvertedAction::Done } else { action.leave_out(WHY) }
        }
        _ => return None,
    })
}

const CODEQL: &str = "the steps of CodeQL went";

pub(super) fn step(script: &str, line: u32) -> Map {
    let mut step = Map::default();
    step.set("run", Value::Script(script.to_owned()), line);
    step
}

/// A step with an image of its own, which runs a script in its `sh`.
pub(super) fn container_step(image: &str, script: &str, line: u32) -> Map {
    let mut step = Map::default();
    step.set("image", Value::text(image), line);
    step.set("shell", Value::text("sh"), None);
    step.set("run", Value::Script(script.to_owned()), line);
    step
}

/// Adds the installation of `curl` if the image does not have it.
pub(super) const CURL: &str = "command -v curl > /dev/null || { apt-get update && apt-get install -y --no-install-recommends ca-certificates curl; }";

fn rust_cache(action: &Settings<'_>, job: &mut Map) -> ConvertedAction {
    let image = matches!(job.get("image"), Some(Value::Text(image)) if image.contains("rust:"));
    let home = if image { "/usr/local/cargo" } else { "~/.cargo" };
    let mut paths = vec![format!("{home}/registry"), format!("{home}/git")];
    let mut cache = Map::default();
    let workspaces = match action.filled("workspaces") {
        Some(Ok(text)) if !text.contains("${{") => text,
        Some(_) => {
            cache.note(Note::new(
                action.line,
                "workspaces",
                "its value is not known here: write the folders into `path`",
            ));
            ".".to_owned()
        }
        None => ".".to_owned(),
    };
    for line in workspaces.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (root, target) =
            line.split_once("->").map_or((line, "target"), |(root, target)| (root.trim(), target.trim()));
        let root = root.trim_start_matches("./").trim_end_matches('/');
        paths.push(if matches!(root, "." | "") { target.to_owned() } else { format!("{root}/{target}") });
    }
    if let Some(Ok(more)) = action.filled("cache-directories") {
        paths.extend(more.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()));
    }
    let named = ["prefix-key", "shared-key", "key"].iter().filter_map(|key| action.filled(key)?.ok());
    let mut prefix: Vec<String> = named.filter(|name| !name.is_empty()).collect();
    if action.entry("shared-key").is_none() {
        prefix.insert(0, action.scope.job.clone());
    }
    let prefix = format!("rust-{}-", prefix.join("-"));
    cache.set("path", Value::texts(paths), action.line);
    cache.set(
        "key",
        Value::Text(format!("{prefix}${{{{ hash-files('**/Cargo.lock', '**/Cargo.toml', 'rust-toolchain*') }}}}")),
        action.line,
    );
    cache.set("fallback", Value::texts([prefix]), action.line);
    action.rest(
        &[
            "workspaces",
            "cache-directories",
            "prefix-key",
            "shared-key",
            "key",
            "cache-on-failure",
            "cache-targets",
            "cache-all-crates",
            "save-if",
            "env-vars",
            "cache-workspace-crates",
            "cache-bin",
            "lookup-only",
            "cache-provider",
        ],
        &mut cache,
    );
    if action.entry("save-if").is_some() || action.entry("cache-on-failure").is_some() {
        job.remark("a cache is written when the job has succeeded, where its key is new");
    }
    super::actions::append(job, "cache", cache, action.line);
    ConvertedAction::Done
}

fn ccache(action: &Settings<'_>, job: &mut Map) -> ConvertedAction {
    if action.plain("variant").is_some_and(|variant| variant != "ccache") {
        return action.leave_out("write `cache` with the folder of sccache, and a step that installs it");
    }
    let key = match action.filled("key") {
        Some(Ok(key)) => format!("ccache-{key}-"),
        Some(Err(note)) => return ConvertedAction::LeftOut(note),
        None => format!("ccache-{}-", action.scope.job),
    };
    let mut cache = Map::default();
    cache.set("path", Value::texts([".ccache"]), action.line);
    cache.set("key", Value::Text(format!("{key}${{{{ event.sha }}}}")), action.line);
    cache.set("fallback", Value::texts([key]), action.line);
    super::actions::append(job, "cache", cache, action.line);
    let size = action.plain("max-size").unwrap_or_else(|| "500M".to_owned());
    let mut step = step(
        &format!(
            "command -v ccache > /dev/null || {{ apt-get update && apt-get install -y ccache; }}\n\
             ccache --set-config=cache_dir=/longshore/workspace/.ccache\nccache --set-config=max_size={size}\nccache -z"
        ),
        action.line,
    );
    action.rest(
        &["key", "max-size", "variant", "restore-keys", "save", "verbose", "append-timestamp", "create-symlink"],
        &mut step,
    );
    if action.is_true("create-symlink") {
        step.note(Note::new(
            action.line,
            "create-symlink",
            "put /usr/lib/ccache before PATH: `echo /usr/lib/ccache >> \"$LONGSHORE_PATH\"`",
        ));
    }
    ConvertedAction::Step(step)
}

fn codecov(action: &Settings<'_>) -> ConvertedAction {
    let Some(Ok(token)) = action.filled("token") else {
        return action.leave_out(
            "reports are sent with a token: write `codecov upload-process` as `run`, with the token in its `env`",
        );
    };
    let mut env = Map::default();
    env.set("CODECOV_TOKEN", Value::Text(token), action.line);
    let mut options = String::new();
    let mut lost = Vec::new();
    for (key, option) in
        [("files", "--file"), ("file", "--file"), ("flags", "--flag"), ("name", "--name"), ("directory", "--dir")]
    {
        match (action.entry(key), action.plain(key)) {
            (Some(_), Some(values)) => {
                for value in values.split(',').map(str::trim).filter(|value| !value.is_empty()) {
                    options.push_str(&format!(" {option} \"{}\"", value.replace(['"', '\\', '`', '$'], "")));
                }
            }
            (Some(entry), None) => lost.push(action.lines.note(entry, "its value is not known here")),
            (None, _) => {}
        }
    }
    if action.is_true("fail_ci_if_error") {
        options.push_str(" --fail-on-error");
    }
    let script = format!(
        "{CURL}\ncurl -fsSLO https://cli.codecov.io/latest/linux/codecov\nchmod +x codecov\n./codecov upload-process{options}"
    );
    let mut step = step(&script, action.line);
    step.notes(lost);
    step.set("env", env, action.line);
    if !action.is_true("fail_ci_if_error") {
        step.set("continue-on-error", Value::plain(true), None);
    }
    action.rest(
        &["token", "files", "file", "flags", "name", "directory", "fail_ci_if_error", "verbose", "slug"],
        &mut step,
    );
    ConvertedAction::Step(step)
}

fn release(action: &Settings<'_>) -> ConvertedAction {
    let Some(Ok(token)) = action.filled("token") else {
        return action.leave_out("jobs get no token of the forge: make one, name it in `secrets`, and write a step that calls the forge's API");
    };
    for key in ["files", "name", "body_path", "tag_name"] {
        if action.entry(key).is_some() && action.plain(key).is_none() {
            return action.leave_out("its settings are not known here: write a step that calls the forge's API");
        }
    }
    let mut options = String::new();
    for (key, option) in [("name", "--title"), ("body_path", "--notes-file"), ("target_commitish", "--target")] {
        if let Some(value) = action.plain(key) {
            options.push_str(&format!(" {option} \"{}\"", value.replace(['"', '\\', '`', '$'], "")));
        }
    }
    for (key, option) in
        [("draft", "--draft"), ("prerelease", "--prerelease"), ("generate_release_notes", "--generate-notes")]
    {
        if action.is_true(key) {
            options.push_str(&format!(" {option}"));
        }
    }
    if !options.contains("--notes-file") && !options.contains("--generate-notes") {
        options.push_str(" --notes ''");
    }
    let files: Vec<String> = action
        .plain("files")
        .unwrap_or_default()
        .lines()
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect();
    let tag = action.plain("tag_name").unwrap_or_else(|| "$CI_COMMIT_TAG".to_owned());
    let script = format!(
        "command -v gh > /dev/null || {{ apt-get update && apt-get install -y gh; }}\n\
         gh release create \"{tag}\" --repo \"$CI_REPO\"{options} {}",
        files.join(" ")
    );
    let mut env = Map::default();
    env.set("GH_TOKEN", Value::Text(token), action.line);
    let mut step = step(script.trim(), action.line);
    step.set("env", env, action.line);
    action.needs_all(
        &[
            "token",
            "files",
            "name",
            "body_path",
            "tag_name",
            "target_commitish",
            "draft",
            "prerelease",
            "generate_release_notes",
            "fail_on_unmatched_files",
        ],
        &["name", "body_path", "target_commitish"],
        &mut step,
    );
    ConvertedAction::Step(step)
}
