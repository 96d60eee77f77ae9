//! Converts what surrounds the steps of a job of a workflow: its matrix, its container, its services.

use longshore_pipeline::tree::Entry;

use super::super::{
    DEFAULT_IMAGE,
    draft::{Item, Map, Note, Value},
    foreign::{self, FORM, Lines, Section, boolean, entries, items, list, number, text, texts},
};
use super::{actions, expression::Scope, unknown, value};

/// Converts `strategy`, the matrix. `os` and `version` are the axes that name the machine and the image.
pub(super) fn strategy(entry: &Entry, os: Option<&str>, version: Option<&str>, lines: Lines<'_>, body: &mut Map) {
    let Some(section) = Section::read(&entry.value) else {
        body.note(lines.note(entry, FORM));
        return;
    };
    let mut matrix = Map::default();
    let linux = |value: &str| !["windows", "macos"].iter().any(|other| value.to_lowercase().starts_with(other));
    if let Some(axes) = section.take("matrix") {
        let Some(found) = entries(&axes.value) else {
            body.note(lines.note(axes, "a matrix is written out: an expression cannot make one"));
            return;
        };
        for axis in found {
            let line = lines.line_of_key(axis);
            if matches!(axis.key.as_str(), "include" | "exclude") {
                let mut combinations = Vec::new();
                for item in items(&axis.value) {
                    let mut combination = Map::default();
                    for value in entries(item).unwrap_or_default() {
                        match text(&value.value) {
                            Some(text) => {
                                combination.set(foreign::name(&value.key), Value::text(text), lines.line_of_key(value))
                            }
                            None => matrix.note(lines.note(value, "the values of a matrix are texts")),
                        }
                    }
                    let elsewhere = combination.entries().any(|entry| {
                        Some(entry.key.as_str()) == os && matches!(&entry.value, Value::Text(value) if !linux(value))
                    });
                    if elsewhere {
                        if axis.key == "include" {
                            combinations.push(Item::Note(Note::new(
                                lines.line_of(item.place),
                                "include",
                                "jobs run in containers on Linux",
                            )));
                        }
                    } else if !combination.is_empty() {
                        combinations.push(Item::Value(combination.into()));
                    }
                }
                matrix.set_filled(&axis.key, Value::List(combinations), line);
                continue;
            }
            let values = list(&axis.value)
                .map(|list| list.iter().map(|item| text(item).map(str::to_owned)).collect::<Option<Vec<_>>>());
            let Some(Some(mut values)) = values else {
                matrix.note(lines.note(axis, "the values of a matrix are texts, written out"));
                continue;
            };
            if os == Some(axis.key.as_str()) && values.iter().any(|value| !linux(value)) {
                let others: Vec<&str> = values.iter().filter(|value| !linux(value)).map(String::as_str).collect();
                matrix.note(lines.note(axis, format!("jobs run in containers on Linux: {} went", others.join(", "))));
                values.retain(|value| linux(value));
                if values.is_empty() {
                    values.push("linux".to_owned());
                }
            }
            if version == Some(axis.key.as_str()) {
                values = values.into_iter().map(|value| actions::tag(&value).unwrap_or(value)).collect();
            }
            let mut seen = std::collections::HashSet::new();
            values.retain(|value| seen.insert(value.clone()));
            matrix.set_filled(&foreign::name(&axis.key), Value::texts(values), line);
        }
    }
    if let Some(flag) = section.take("fail-fast") {
        match boolean(&flag.value) {
            Some(value) => matrix.set("fail-fast", Value::plain(value), lines.line_of_key(flag)),
            None => matrix.note(lines.note(flag, "it is `true` or `false`")),
        }
    }
    if let Some(most) = section.take("max-parallel") {
        match number(&most.value) {
            Some(value) => matrix.set("max-parallel", Value::plain(value), lines.line_of_key(most)),
            None => matrix.note(lines.note(most, "it is a number")),
        }
    }
    section.leave(lines, &mut matrix, |_| None);
    body.set_filled("matrix", matrix, lines.line_of_key(entry));
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
        for variable in entries(&entry.value).unwrap_or_default() {
            match value(variable, scope) {
                Ok(value) => env.set(variable.key.clone(), Value::Text(value), lines.line_of_key(variable)),
                Err(why) => env.note(lines.note(variable, why)),
            }
        }
    }
    section.leave(lines, body, |key| match key {
        "options" => Some("write `resources` and `user`"),
        "credentials" => Some("credentials for registries are the server's"),
        "volumes" => Some("`cache` keeps files between builds"),
        "ports" => Some("not needed: a container's ports are its own"),
        _ => None,
    });
}

/// Converts `services`.
pub(super) fn services(entry: &Entry, scope: &Scope, lines: Lines<'_>) -> Map {
    let mut services = Map::default();
    for one in entries(&entry.value).unwrap_or_default() {
        let Some(section) = Section::read(&one.value) else {
            services.note(lines.note(one, FORM));
            continue;
        };
        let image = section.take("image").and_then(|entry| text(&entry.value)).map(|written| scope.text(written));
        let mut service = Map::default();
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
            for variable in entries(&entry.value).unwrap_or_default() {
                match value(variable, scope) {
                    Ok(value) => env.set(variable.key.clone(), Value::Text(value), lines.line_of_key(variable)),
                    Err(why) => env.note(lines.note(variable, why)),
                }
            }
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
            let moved = texts(&entry.value).unwrap_or_default().into_iter().find(|port| {
                port.split_once(':').is_some_and(|(outer, inner)| outer != inner.split('/').next().unwrap_or(inner))
            });
            let why = match moved {
                Some(port) => format!("it answers on the port that it opens itself, behind the `:` of {port}"),
                None => "not needed: it answers at `localhost` and by its name on the ports that it opens".to_owned(),
            };
            service.note(lines.note(entry, why));
        }
        section.leave(lines, &mut service, |key| match key {
            "credentials" => Some("credentials for registries are the server's"),
            "volumes" => Some("a service's files go with it"),
            _ => None,
        });
        services.set(foreign::name(&one.key).to_lowercase().replace('_', "-"), service, lines.line_of_key(one));
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
