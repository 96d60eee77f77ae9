//! Actions that set a tool up on the machine: the image that has the tool, and what else they did.

use std::collections::BTreeMap;

use longshore_pipeline::tree::Entry;

use super::super::{
    draft::{Map, Note, Value},
    foreign::{Lines, boolean, entries, text},
};
use super::{expression::Scope, tool_caches};

/// The replacement for an action that sets a tool up.
pub(super) struct Setup {
    pub(super) image: String,
    /// The axis of the matrix whose values are its versions, and what the action calls them.
    pub(super) axis: Option<(String, &'static Tool)>,
    /// Further effects of the action.
    pub(super) steps: Vec<Map>,
    pub(super) notes: Vec<Note>,
    /// The files that it keeps between builds.
    pub(super) caches: Vec<Map>,
}

/// A tool with an image.
pub(super) struct Tool {
    action: &'static str,
    /// The input for the version.
    key: &'static str,
    pub(super) image: &'static str,
    /// The tag if no version is given.
    latest: &'static str,
    /// The suffix after the version.
    pub(super) behind: &'static str,
}

const TOOLS: &[Tool] = &[
    tool("actions/setup-node", "node-version", "node", "lts", ""),
    tool("actions/setup-python", "python-version", "python", "3", ""),
    tool("actions/setup-go", "go-version", "golang", "1", ""),
    tool("actions/setup-java", "java-version", "eclipse-temurin", "21", "-jdk"),
    tool("actions/setup-dotnet", "dotnet-version", "mcr.microsoft.com/dotnet/sdk", "9.0", ""),
    tool("ruby/setup-ruby", "ruby-version", "ruby", "3", ""),
    tool("shivammathur/setup-php", "php-version", "php", "8", "-cli"),
    tool("dtolnay/rust-toolchain", "toolchain", "rust", "1", ""),
    tool("actions-rs/toolchain", "toolchain", "rust", "1", ""),
    tool("actions-rust-lang/setup-rust-toolchain", "toolchain", "rust", "1", ""),
    tool("oven-sh/setup-bun", "bun-version", "oven/bun", "1", ""),
    tool("astral-sh/setup-uv", "python-version", "ghcr.io/astral-sh/uv", "debian", "-bookworm"),
];

const fn tool(
    action: &'static str,
    key: &'static str,
    image: &'static str,
    latest: &'static str,
    behind: &'static str,
) -> Tool {
    Tool { action, key, image, latest, behind }
}

/// Settings that change nothing here, or only how fast something is.
const HARMLESS: &[&str] =
    &["token", "github-token", "check-latest", "dotnet-quality", "profile", "override", "default", "bundler"];

/// Whether an action sets a tool up.
pub(super) fn is_setup(action: &str) -> bool {
    TOOLS.iter().any(|tool| tool.action == action)
}

/// An image's tag, or another image, for a version of a tool.
pub(super) enum Version {
    Tag(String),
    Image(String),
}

impl Tool {
    /// Returns the image's tag for a version, without the suffix. The error says why there is none.
    pub(super) fn version(&self, written: &str) -> Result<Version, String> {
        let written = written.trim();
        let tag = |tag: &str| Ok(Version::Tag(tag.to_owned()));
        let other = |image: &str, rest: &str| Ok(Version::Image(format!("{image}:{}", rest.trim_start_matches('-'))));
        let numeric = |version: &str| {
            version.starts_with(|c: char| c.is_ascii_digit())
                && version.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-')
        };
        match (self.image, written) {
            ("node", "lts/*" | "lts/-0") => return tag("lts"),
            ("node", "latest" | "current" | "node") => return tag("latest"),
            ("node", name) if name.starts_with("lts/") => return tag(&name["lts/".len()..]),
            ("golang", "stable") | ("rust", "stable") => return tag("1"),
            ("oven/bun", "latest") => return tag("latest"),
            ("python", name) if name.starts_with("pypy") => return other("pypy", &name[4..]),
            ("python", name) if name.ends_with('t') => {
                return Err("there is no image of Python without the lock".to_owned());
            }
            ("python", name) if name.ends_with("-dev") => return tag(&format!("{}-rc", name.trim_end_matches("-dev"))),
            ("ruby", name) if name.starts_with("jruby-") => return other("jruby", &name[5..]),
            ("ruby", name) if name.starts_with("ruby-") => return tag(&name[5..]),
            ("ghcr.io/astral-sh/uv", version) if numeric(version) => return tag(&format!("python{version}")),
            _ => {}
        }
        let version = written.strip_prefix('v').unwrap_or(written).trim_end_matches(".x").trim_end_matches(".*");
        if numeric(version) {
            tag(version)
        } else {
            Err("it is not a version that an image has for its tag".to_owned())
        }
    }

    fn name(&self, version: Version) -> String {
        match version {
            Version::Tag(tag) => format!("{}:{tag}{}", self.image, self.behind),
            Version::Image(image) => image,
        }
    }

    fn latest(&self) -> String {
        match self.latest {
            "debian" => format!("{}:debian", self.image),
            latest => format!("{}:{latest}{}", self.image, self.behind),
        }
    }
}

/// Returns the replacement for an action that sets up a tool; `None` for all other actions.
pub(super) fn read(uses: &Entry, with: Option<&Entry>, scope: &Scope, lines: Lines<'_>) -> Option<Setup> {
    let (action, reference) = text(&uses.value)?.split_once('@').unwrap_or((text(&uses.value)?, ""));
    let tool = TOOLS.iter().find(|tool| tool.action == action)?;
    let settings = with.and_then(|with| entries(&with.value)).unwrap_or_default();
    let setting = |key: &str| settings.iter().find(|entry| entry.key == key);
    let line = lines.line_of_key(uses);
    let mut setup =
        Setup { image: tool.latest(), axis: None, steps: Vec::new(), notes: Vec::new(), caches: Vec::new() };
    let mut taken = vec![tool.key];
    let written = setting(tool.key).and_then(|entry| text(&entry.value));
    if tool.image == "rust" {
        taken.extend(["targets", "target", "components"]);
        rust(action, reference, written, &setting, scope, line, &mut setup);
    } else if let Some(written) = written {
        version(tool, written, setting(tool.key).map_or(line, |entry| lines.line_of_key(entry)), scope, &mut setup);
    }
    for entry in settings {
        let key = entry.key.as_str();
        let value = text(&entry.value).unwrap_or_default();
        match (tool.image, key) {
            _ if taken.contains(&key) || HARMLESS.contains(&key) => {}
            (_, "cache" | "enable-cache") => match tool_caches::read(tool.image, entry, settings, scope, lines) {
                Ok(cache) => setup.caches.extend(cache),
                Err(note) => setup.notes.push(note),
            },
            (_, key) if tool_caches::SETTINGS.contains(&key) => {}
            ("ruby", "bundler-cache") => {
                if boolean(&entry.value) == Some(true) {
                    setup.steps.push(run("bundle install", line));
                }
            }
            ("node", "registry-url") => {
                setup.steps.extend(npmrc(value, setting("scope").and_then(|entry| text(&entry.value)), line))
            }
            ("node", "scope" | "always-auth") if setting("registry-url").is_some() => {}
            ("eclipse-temurin", "distribution") if matches!(value, "temurin" | "adopt") => {}
            (_, "architecture") if value == "x64" => {}
            (_, key) if key.ends_with("-version-file") => {
                setup.notes.push(lines.note(entry, format!("the version stands in {value}: choose the image by it")));
            }
            ("ghcr.io/astral-sh/uv", "version") if value == "latest" => {}
            _ => setup
                .notes
                .push(lines.note(entry, "the image is chosen by the version alone: write a step that does it")),
        }
    }
    Some(setup)
}

/// Chooses the image by the version that is asked for.
fn version(tool: &'static Tool, written: &str, line: u32, scope: &Scope, setup: &mut Setup) {
    let mut note = |what: &str, why: String, image: &str| {
        setup.notes.push(Note::new(line, what, format!("{why}: {image} stands in")));
    };
    // A variable that the file sets, as long as no step can set it otherwise.
    let variable = written.trim().strip_prefix("${{").and_then(|rest| rest.strip_suffix("}}")).map(str::trim);
    let literal = variable.and_then(|path| scope.literals.get(path.strip_prefix("env.")?));
    let written = literal.map_or(written, String::as_str);
    let filled = match scope.text(written.trim()) {
        Ok(filled) => filled,
        Err(what) => return note(written, super::unknown(&what), &setup.image),
    };
    let axis = filled.strip_prefix("${{ matrix.").and_then(|rest| rest.strip_suffix(" }}"));
    if let Some(axis) = axis.filter(|axis| axis.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')) {
        setup.image = format!("{}:${{{{ matrix.{axis} }}}}{}", tool.image, tool.behind);
        setup.axis = Some((axis.to_owned(), tool));
        return;
    }
    let mut versions = filled.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = versions.next().unwrap_or_default();
    if let Some(second) = versions.next() {
        note(second, "a job has one image, and this would be another version".to_owned(), first);
    }
    match tool.version(first) {
        Ok(version) => setup.image = tool.name(version),
        Err(why) => note(first, why, &setup.image),
    }
}

/// Chooses the toolchain of Rust. The image has one with the minimal profile, all else is installed by a step.
fn rust<'e>(
    action: &str,
    reference: &str,
    written: Option<&str>,
    setting: &dyn Fn(&str) -> Option<&'e Entry>,
    scope: &Scope,
    line: u32,
    setup: &mut Setup,
) {
    let is_commit = reference.len() == 40 && reference.chars().all(|c| c.is_ascii_hexdigit());
    let named = (action == "dtolnay/rust-toolchain" && !is_commit && reference != "master").then_some(reference);
    let toolchain = match written.or(named).map(|written| scope.text(written.trim())) {
        Some(Ok(toolchain)) => toolchain,
        Some(Err(what)) => {
            setup.notes.push(Note::new(line, "toolchain", format!("{}: stable stands in", super::unknown(&what))));
            "stable".to_owned()
        }
        None => {
            if is_commit {
                let why = "which toolchain a commit of it sets up is not known here: stable stands in";
                setup.notes.push(Note::new(line, format!("{action}@{reference}"), why));
            }
            "stable".to_owned()
        }
    };
    let mut words = |key: &str| -> Vec<String> {
        let Some(entry) = setting(key) else { return Vec::new() };
        match text(&entry.value).map(|written| scope.text(written)) {
            Some(Ok(list)) if !list.contains("${{") || !list.contains([',', '\n']) => {
                let split = list.split([',', '\n']).map(|word| word.trim().to_owned());
                split.filter(|word| !word.is_empty()).collect()
            }
            _ => {
                setup.notes.push(Note::new(line, key, "its value is not known here: install it in a step"));
                Vec::new()
            }
        }
    };
    let components = words("components");
    let targets: Vec<String> = words("targets").into_iter().chain(words("target")).collect();
    let is_version = toolchain.starts_with(|c: char| c.is_ascii_digit())
        && toolchain.chars().all(|c| c.is_ascii_digit() || c == '.');
    let in_image = match toolchain.as_str() {
        "stable" | "" => Some("rust:1".to_owned()),
        "nightly" => Some("rustlang/rust:nightly".to_owned()),
        version if is_version => Some(format!("rust:{version}")),
        _ => None,
    };
    match in_image {
        Some(image) => {
            setup.image = image;
            setup.steps.extend(rustup_additions(&components, &targets, line));
        }
        None => setup.steps.push(rustup_installation(&toolchain, &components, &targets, line)),
    }
}

/// The step that adds components and targets to the toolchain of the image.
fn rustup_additions(components: &[String], targets: &[String], line: u32) -> Option<Map> {
    let mut commands = Vec::new();
    if !components.is_empty() {
        commands.push(format!("rustup component add {}", components.join(" ")));
    }
    if !targets.is_empty() {
        let targets: Vec<String> = targets.iter().map(|target| quoted(target)).collect();
        commands.push(format!("rustup target add {}", targets.join(" ")));
    }
    (!commands.is_empty()).then(|| run(&commands.join("\n"), line))
}

/// The step that installs a toolchain that no image has.
fn rustup_installation(toolchain: &str, components: &[String], targets: &[String], line: u32) -> Map {
    let mut command = format!("rustup toolchain install \"{toolchain}\" --profile minimal");
    components.iter().for_each(|component| command.push_str(&format!(" -c {}", quoted(component))));
    targets.iter().for_each(|target| command.push_str(&format!(" -t {}", quoted(target))));
    let script = format!("{command} && rustup default \"{toolchain}\"");
    if toolchain.matches("${{").count() == toolchain.matches("${{ matrix.").count() {
        return run(&script, line);
    }
    // Texts by others come by the environment.
    let mut step = run(&script.replace(toolchain, "$TOOLCHAIN"), line);
    let mut env = Map::default();
    env.set("TOOLCHAIN", Value::text(toolchain), line);
    step.set("env", env, line);
    step
}

fn quoted(word: &str) -> String {
    if word.contains("${{") { format!("\"{word}\"") } else { word.to_owned() }
}

/// The step that lets npm log in to a registry with `NODE_AUTH_TOKEN`.
fn npmrc(registry: &str, scope: Option<&str>, line: u32) -> Option<Map> {
    let address = registry.strip_prefix("https://").or_else(|| registry.strip_prefix("http://"))?.trim_end_matches('/');
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-._~/:@".contains(c));
    if !plain(address) || !scope.is_none_or(plain) {
        return None;
    }
    let registry_scope = scope.map(|scope| format!("@{}:", scope.trim_start_matches('@'))).unwrap_or_default();
    let script = format!(
        "printf '%s\\n' '//{address}/:_authToken=${{NODE_AUTH_TOKEN}}' '{registry_scope}registry={registry}' >> ~/.npmrc"
    );
    Some(run(&script, line))
}

fn run(script: &str, line: u32) -> Map {
    let mut step = Map::default();
    step.set("run", Value::Script(script.to_owned()), line);
    step
}

/// Chooses images for the values of the matrix that are versions. `rows` are its combinations or the values of its
/// axis; returns the values that need an image of their own, and the values without an image, with the reason.
pub(super) fn images(tool: &Tool, values: &[String]) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let (mut own, mut none) = (BTreeMap::new(), BTreeMap::new());
    for value in values {
        match tool.version(value) {
            Ok(Version::Tag(tag)) if tag == *value => {}
            Ok(version) => drop(own.insert(value.clone(), tool.name(version))),
            Err(why) => drop(none.insert(value.clone(), why)),
        }
    }
    (own, none)
}
