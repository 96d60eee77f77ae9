//! Converts what surrounds the steps of a job of a workflow: its machine, its container, its services.

use longshore_pipeline::tree::Entry;

use super::super::{
    DEFAULT_IMAGE,
    draft::{Map, Value},
    foreign::{self, FORM, Lines, Section, entries, text, texts},
    ports::Ports,
};
use super::{expression::Scope, unknown, value};

/// Returns whether a machine's label names a system other than Linux.
pub(in super::super) fn is_other_system(label: &str) -> bool {
    let label = label.to_lowercase();
    label.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| {
        ["windows", "macos", "osx", "freebsd", "openbsd", "netbsd"].iter().any(|other| word.starts_with(other))
            || matches!(word, "win" | "mac" | "darwin" | "hurd" | "solaris")
    })
}

/// The labels that an expression chooses a machine from: the texts behind its `&&` and `||`.
pub(super) fn machines_of(label: &str) -> Vec<&str> {
    let Some(inner) = label.trim().strip_prefix("${{").and_then(|rest| rest.strip_suffix("}}")) else {
        return Vec::new();
    };
    let last = inner.split("||").filter_map(|part| part.rsplit("&&").next()).map(str::trim);
    last.filter_map(|text| text.strip_prefix('\'')?.strip_suffix('\'')).collect()
}

/// Converts `container`, the job's image.
pub(super) fn container(entry: &Entry, scope: &Scope, lines: Lines<'_>, body: &mut Map, env: &mut Map) {
    let section = Section::read(&entry.value);
    let written = section
        .as_ref()
        .and_then(|section| section.take("image"))
        .and_then(|entry| text(&entry.value))
        .or_else(|| text(&entry.value));
    match written.ok_or_else(|| FORM.to_owned()).and_then(|written| scope.text(written).map_err(|what| unknown(&what)))
    {
        Ok(image) => body.set("image", Value::Text(image), lines.line_of_key(entry)),
        Err(why) => {
            body.note(lines.note(entry, format!("{why}; {DEFAULT_IMAGE} stands in")));
            body.set("image", Value::text(DEFAULT_IMAGE), None);
        }
    }
    let Some(section) = section else { return };
    if let Some(entry) = section.take("env") {
        variables(entry, scope, lines, env);
    }
    section.note_rest(lines, body, |key| match key {
        "options" => Some("write `resources` and `user`"),
        "credentials" => Some("credentials for registries are the server's"),
        "volumes" => Some("`cache` keeps files between builds"),
        "ports" => Some("not needed: a container's ports are its own"),
        _ => None,
    });
}

/// Converts `env` of a container.
fn variables(entry: &Entry, scope: &Scope, lines: Lines<'_>, env: &mut Map) {
    for variable in entries(&entry.value).unwrap_or_default() {
        match value(variable, scope) {
            Ok(value) => env.set(variable.key.clone(), Value::Text(value), lines.line_of_key(variable)),
            Err(why) => env.note(lines.note(variable, why)),
        }
    }
}

/// Converts `services`.
pub(super) fn services(entry: &Entry, scope: &Scope, lines: Lines<'_>) -> Map {
    let mut services = Map::default();
    let mut opened = Ports::default();
    for one in entries(&entry.value).unwrap_or_default() {
        let Some(section) = Section::read(&one.value) else {
            services.note(lines.note(one, FORM));
            continue;
        };
        let image = section.take("image").and_then(|entry| text(&entry.value)).map(|written| scope.text(written));
        let (mut service, mut ports) = (Map::default(), Vec::new());
        match image {
            Some(Ok(image)) => service.set("image", Value::Text(image), lines.line_of_key(one)),
            Some(Err(what)) => {
                services.note(lines.note(one, unknown(&what)));
                continue;
            }
            None => {
                services.note(lines.note(one, "it has no image"));
                continue;
            }
        }
        if let Some(entry) = section.take("env") {
            let mut env = Map::default();
            variables(entry, scope, lines, &mut env);
            service.set_filled("env", env, lines.line_of_key(entry));
        }
        if let Some(entry) = section.take("options") {
            match text(&entry.value).and_then(health) {
                Some(command) => {
                    let mut ready = Map::default();
                    ready.set("exec", Value::Text(command), lines.line_of_key(entry));
                    service.set("ready", ready, lines.line_of_key(entry));
                }
                None => service.note(lines.note(entry, "write `ready` for a health check")),
            }
        }
        if let Some(entry) = section.take("ports") {
            ports = texts(&entry.value).unwrap_or_default();
            let moved = texts(&entry.value).unwrap_or_default().into_iter().find(|port| {
                port.split_once(':').is_some_and(|(outer, inner)| outer != inner.split('/').next().unwrap_or(inner))
            });
            let why = match moved {
                Some(port) => format!("it answers on the port that it opens itself, behind the `:` of {port}"),
                None => "not needed: it answers at `localhost` and by its name on the ports that it opens".to_owned(),
            };
            service.note(lines.note(entry, why));
        }
        section.note_rest(lines, &mut service, |key| match key {
            "credentials" => Some("credentials for registries are the server's"),
            "volumes" => Some("a service's files go with it"),
            _ => None,
        });
        let host = foreign::name(&one.key).to_lowercase().replace('_', "-");
        if let Some(Value::Text(image)) = service.get("image") {
            opened.add(&host, image, &ports, lines.line_of_key(one), &mut services);
        }
        services.set(host, service, lines.line_of_key(one));
    }
    services
}

/// The command of `--health-cmd`.
fn health(options: &str) -> Option<String> {
    let rest = options.split("--health-cmd").nth(1)?.trim_start_matches(['=', ' ']);
    let command = match rest.chars().next()? {
        quote @ ('"' | '\'') => rest[1..].split(quote).next()?,
        _ => rest.split_whitespace().next()?,
    };
    (!command.trim().is_empty()).then(|| command.trim().to_owned())
}
