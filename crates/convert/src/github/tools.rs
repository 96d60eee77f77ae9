//! Actions that run or install one tool: a step with the tool's own image, or one that installs it.

use longshore_pipeline::tree::Entry;

use super::super::{
    draft::{Map, Note, Value},
    foreign::text,
};
use super::{
    actions::ConvertedAction,
    known::{CURL, Settings, container_step, step},
};

pub(super) fn goreleaser(action: &Settings<'_>) -> ConvertedAction {
    let args = match (action.entry("args"), action.plain("args")) {
        (Some(_), None) => {
            return action
                .leave_out("its `args` are not known here: write a step with the image goreleaser/goreleaser");
        }
        (_, args) => args.unwrap_or_default(),
    };
    let image = match action.plain("distribution").as_deref() {
        Some("goreleaser-pro") => "goreleaser/goreleaser-pro",
        _ => "goreleaser/goreleaser",
    };
    let version =
        action.plain("version").filter(|version| version.starts_with('v') && version.matches('.').count() == 2);
    let image = format!("{image}:{}", version.as_deref().unwrap_or("latest"));
    let enter = action.plain("workdir").map(|folder| format!("cd \"{folder}\"\n")).unwrap_or_default();
    let mut step = container_step(&image, format!("{enter}goreleaser {args}").trim(), action.line);
    if let Some(entry) = action.entry("version").filter(|entry| version.is_none() && written(entry) != "latest") {
        step.remark(format!("`{}` is not a tag of the image: latest stands in", written(entry)));
    }
    action.needs_all(&["args", "distribution", "version", "workdir"], &["distribution", "workdir"], &mut step);
    ConvertedAction::Step(step)
}

pub(super) fn golangci(action: &Settings<'_>) -> ConvertedAction {
    let tag = match action.plain("version") {
        Some(version) if version == "latest" => "latest".to_owned(),
        Some(version) => format!("v{}", version.trim_start_matches('v')),
        None => "latest".to_owned(),
    };
    let args = match (action.entry("args"), action.plain("args")) {
        (Some(_), None) => {
            return action
                .leave_out("its `args` are not known here: write a step with the image golangci/golangci-lint");
        }
        (_, args) => args.unwrap_or_default(),
    };
    let enter = action.plain("working-directory").map(|folder| format!("cd \"{folder}\"\n")).unwrap_or_default();
    let mut step = container_step(
        &format!("golangci/golangci-lint:{tag}"),
        format!("{enter}golangci-lint run {args}").trim(),
        action.line,
    );
    action.needs_all(
        &[
            "version",
            "args",
            "working-directory",
            "only-new-issues",
            "skip-cache",
            "skip-save-cache",
            "github-token",
            "install-mode",
            "cache-invalidation-interval",
            "problem-matchers",
        ],
        &["version", "working-directory"],
        &mut step,
    );
    if action.is_true("only-new-issues") {
        step.note(Note::new(
            action.line,
            "only-new-issues",
            "all findings count: write `--new-from-rev` into the arguments",
        ));
    }
    ConvertedAction::Step(step)
}

pub(super) fn typos(action: &Settings<'_>) -> ConvertedAction {
    let tag = if action.reference.starts_with('v') && action.reference.matches('.').count() == 2 {
        action.reference
    } else {
        "latest"
    };
    let mut arguments: Vec<String> = Vec::new();
    if let Some(config) = action.plain("config") {
        arguments.extend(["--config".to_owned(), config]);
    }
    match action.plain("files") {
        Some(files) => arguments.extend(files.split_whitespace().map(str::to_owned)),
        None => arguments.push(".".to_owned()),
    }
    let mut step = Map::default();
    step.set("image", Value::Text(format!("ghcr.io/crate-ci/typos:{tag}")), action.line);
    step.set("entrypoint", Value::texts(["typos"]), None);
    step.set("command", Value::texts(arguments), action.line);
    if action.is_true("write_changes") {
        return action.leave_out("it writes its changes: write a step with the image ghcr.io/crate-ci/typos");
    }
    action.needs_all(&["config", "files", "write_changes"], &["config", "files"], &mut step);
    ConvertedAction::Step(step)
}

/// Tools that cargo installs, by their names there and as crates.
const CRATES: &[(&str, &str)] = &[
    ("nextest", "cargo-nextest"),
    ("typos", "typos-cli"),
    ("wasm-bindgen", "wasm-bindgen-cli"),
    ("just", "just"),
    ("cross", "cross"),
    ("wasm-pack", "wasm-pack"),
    ("mdbook", "mdbook"),
    ("hyperfine", "hyperfine"),
    ("dprint", "dprint"),
    ("git-cliff", "git-cliff"),
    ("sccache", "sccache"),
    ("taplo", "taplo-cli"),
    ("trunk", "trunk"),
    ("zola", "zola"),
];

pub(super) fn install(action: &Settings<'_>) -> ConvertedAction {
    let named = match action.filled("tool") {
        Some(Ok(tools)) if !tools.contains("${{") => tools,
        Some(_) => return action.leave_out("its `tool` is not known here: write `cargo install`"),
        // `taiki-e/install-action@nextest`.
        None => action.reference.to_owned(),
    };
    let mut step = Map::default();
    let mut commands = Vec::new();
    for tool in named.split([',', '\n', ' ']).map(str::trim).filter(|tool| !tool.is_empty()) {
        let (name, version) = tool.split_once('@').map_or((tool, None), |(name, version)| (name, Some(version)));
        let known = CRATES.iter().find(|(known, _)| *known == name).map(|(_, krate)| *krate);
        match known.or_else(|| name.starts_with("cargo-").then_some(name)) {
            Some(krate) => {
                let version = version.map(|version| format!(" --version {version}")).unwrap_or_default();
                commands.push(format!("cargo install {krate}{version} --locked"));
            }
            None => step.note(Note::new(action.line, tool, "write a step that installs it")),
        }
    }
    if commands.is_empty() {
        return action.leave_out("write a step that installs it");
    }
    step.set("run", Value::Script(commands.join("\n")), action.line);
    action.rest(&["tool", "checksum", "fallback"], &mut step);
    ConvertedAction::Step(step)
}

pub(super) fn task(action: &Settings<'_>) -> ConvertedAction {
    let version = match action.plain("version") {
        Some(version) if version.matches('.').count() == 2 && !version.ends_with(".x") => {
            format!(" v{}", version.trim_start_matches('v'))
        }
        _ => String::new(),
    };
    let mut step = step(
        &format!("{CURL}\ncurl -fsSL https://taskfile.dev/install.sh | sh -s -- -d -b /usr/local/bin{version}"),
        action.line,
    );
    action.rest(&["version", "repo-token"], &mut step);
    ConvertedAction::Step(step)
}

fn written(entry: &Entry) -> &str {
    text(&entry.value).unwrap_or_default()
}

/// Installs uv in an image that has Python already.
pub(super) fn uv(action: &Settings<'_>, job: &Map) -> ConvertedAction {
    let python = action
        .entry("python-version")
        .map(|_| action.plain("python-version").map(|version| format!("python:{version}")));
    let same = |asked: &str| matches!(job.get("image"), Some(Value::Text(image)) if image == asked);
    if python.is_some_and(|asked| !asked.is_some_and(|asked| same(&asked))) {
        return action.leave_out("it asks for another Python than the job's image has: write a step that installs it");
    }
    let version = match (action.entry("version").is_some(), action.plain("version")) {
        (false, _) => String::new(),
        (true, Some(version)) if version == "latest" => String::new(),
        (true, Some(version))
            if version.chars().all(|c| c.is_ascii_digit() || c == '.') && version.matches('.').count() == 2 =>
        {
            format!("=={version}")
        }
        (true, _) => return action.leave_out("its version is not known here: write a step that installs it"),
    };
    let mut step = step(&format!("pip install uv{version}"), action.line);
    action.rest(
        &[
            "version",
            "python-version",
            "enable-cache",
            "cache-dependency-glob",
            "cache-suffix",
            "github-token",
            "prune-cache",
            "save-cache",
            "cache-python",
            "ignore-nothing-to-cache",
            "checksum",
        ],
        &mut step,
    );
    ConvertedAction::Step(step)
}
