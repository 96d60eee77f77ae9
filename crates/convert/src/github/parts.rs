//! Converts what surrounds the steps of a job of a workflow: its matrix, its container, its services.

use std::collections::{BTreeMap, BTreeSet};

use longshore_pipeline::tree::{Entry, Kind, Node};

use super::super::{
    DEFAULT_IMAGE,
    draft::{Item, Map, Note, Part, Value},
    foreign::{self, FORM, Lines, Section, boolean, entries, items, list, number, text, text_or_empty, texts},
    ports::Ports,
};
use super::{
    expression::Scope,
    setups::{self, Tool},
    unknown, value,
};

/// What became of a matrix.
#[derive(Debug, Default)]
pub(super) struct Matrix {
    /// Whether a part of it could not be carried over, so that the job would not be what it was.
    pub(super) lost: bool,
    /// Whether every combination ran on another system than Linux.
    pub(super) elsewhere: bool,
    /// The axis with the images of those values that need one of their own.
    pub(super) image: Option<&'static str>,
}

const LINUX: &str = "jobs run in containers on Linux";
const IMAGE: &str = "image";

/// Whether a label of a machine is one of a system that jobs do not run on.
pub(super) fn is_elsewhere(label: &str) -> bool {
    let label = label.to_lowercase();
    label.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| {
        ["windows", "macos", "osx"].iter().any(|other| word.starts_with(other)) || matches!(word, "win" | "mac")
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

/// The axes of which some value is a boolean.
pub(super) fn flags(strategy: &Entry) -> BTreeSet<String> {
    let Some(matrix) = super::super::entry(&strategy.value, "matrix") else { return BTreeSet::new() };
    let is_flag = |node: &Node| matches!(&node.kind, Kind::Scalar(scalar) if scalar.boolean().is_some());
    let mut found = BTreeSet::new();
    for axis in entries(&matrix.value).unwrap_or_default() {
        for item in items(&axis.value) {
            if is_flag(item) {
                found.insert(foreign::name(&axis.key));
            }
            let inner = entries(item).unwrap_or_default();
            let of_combination = matches!(axis.key.as_str(), "include" | "exclude");
            for value in inner.iter().filter(|value| is_flag(&value.value)) {
                found.insert(match of_combination {
                    true => foreign::name(&value.key),
                    false => format!("{}_{}", foreign::name(&axis.key), foreign::name(&value.key)),
                });
            }
        }
    }
    found
}

/// The rows of an axis, whose values may be mappings: each becomes keys and values.
type Rows = Vec<Vec<(String, String)>>;

fn rows(axis: &Entry) -> Option<Rows> {
    let name = foreign::name(&axis.key);
    let row = |item: &std::rc::Rc<Node>| match entries(item) {
        Some(inner) => inner
            .iter()
            .map(|value| {
                Some((format!("{name}_{}", foreign::name(&value.key)), text_or_empty(&value.value)?.to_owned()))
            })
            .collect(),
        None => Some(vec![(name.clone(), text(item)?.to_owned())]),
    };
    list(&axis.value)?.iter().map(row).collect()
}

/// Converts `strategy`, the matrix. `machines` are the axes that name the machine, and `version` the one that names the
/// version of a tool.
pub(super) fn strategy(
    entry: &Entry,
    machines: &[String],
    version: Option<(&str, &Tool)>,
    lines: Lines<'_>,
    body: &mut Map,
) -> Matrix {
    let mut result = Matrix::default();
    let Some(section) = Section::read(&entry.value) else {
        body.note(lines.note(entry, FORM));
        return Matrix { lost: true, ..result };
    };
    let mut matrix = Map::default();
    if let Some(axes) = section.take("matrix") {
        match entries(&axes.value) {
            Some(found) => combinations(found, machines, version, lines, &mut matrix, &mut result),
            None => {
                matrix.note(
                    lines.note(axes, "a matrix is written out, and no expression makes one: nothing runs until it is"),
                );
                result.lost = true;
            }
        }
        if matrix.is_empty() && !result.lost {
            result.elsewhere = true;
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
    if result.lost
        || ["fail-fast", "max-parallel"].iter().filter(|key| matrix.get(key).is_some()).count()
            == matrix.entries().count()
    {
        matrix.parts.retain(|part| !matches!(part, Part::Entry(_)));
    }
    body.set_filled("matrix", matrix, lines.line_of_key(entry));
    result
}

fn combinations(
    found: &[Entry],
    machines: &[String],
    version: Option<(&str, &Tool)>,
    lines: Lines<'_>,
    matrix: &mut Map,
    result: &mut Matrix,
) {
    let is_axis = |axis: &&Entry| !matches!(axis.key.as_str(), "include" | "exclude");
    let elsewhere =
        |row: &[(String, String)]| row.iter().any(|(key, value)| machines.contains(key) && is_elsewhere(value));
    let mut of_axes: Vec<(&Entry, Rows)> = Vec::new();
    for axis in found.iter().filter(is_axis) {
        let Some(rows) = rows(axis) else {
            matrix.note(lines.note(axis, "the values of a matrix are texts, written out: nothing runs until they are"));
            result.lost = true;
            continue;
        };
        let kept: Rows = rows.iter().filter(|row| !elsewhere(row)).cloned().collect();
        if kept.len() < rows.len() {
            let gone: Vec<&str> = rows
                .iter()
                .filter(|row| elsewhere(row))
                .flat_map(|row| row.iter().find(|(key, _)| machines.contains(key)).map(|(_, value)| value.as_str()))
                .collect();
            matrix.note(lines.note(axis, format!("{LINUX}: {} went", gone.join(", "))));
        }
        let mut seen = std::collections::HashSet::new();
        let all_gone = kept.is_empty() && !rows.is_empty();
        let kept: Rows = kept.into_iter().filter(|row| seen.insert(row.clone())).collect();
        if !kept.is_empty() {
            of_axes.push((axis, kept));
        }
        if all_gone && found.iter().all(|entry| is_axis(&entry)) {
            result.elsewhere = true;
            return;
        } else if all_gone {
            matrix.note(
                lines
                    .note(axis, "what is left of the matrix stands in `include`: nothing runs until it is written out"),
            );
            result.lost = true;
        }
    }
    if result.lost {
        return;
    }
    let (mut include, mut exclude): (Vec<Item>, Vec<Item>) = (Vec::new(), Vec::new());
    // A value's image stands in an entry of `include` that fits it.
    let mut chosen = BTreeSet::new();
    let (mut own, mut none) = (BTreeMap::new(), BTreeMap::new());
    if let Some((axis, tool)) = version {
        let of_include = found.iter().filter(|entry| entry.key == "include").flat_map(|entry| items(&entry.value));
        let of_include = of_include.filter_map(|item| text(&super::super::entry(item, axis)?.value).map(str::to_owned));
        let of_axes = of_axes.iter().flat_map(|(_, rows)| rows.iter().flatten()).filter(|(key, _)| key == axis);
        let values: Vec<String> = of_axes.map(|(_, value)| value.clone()).chain(of_include).collect();
        (own, none) = setups::images(tool, &values);
    }
    let without_image = |row: &[(String, String)]| {
        let (axis, _) = version?;
        let (_, value) = row.iter().find(|(key, _)| key == axis)?;
        Some(format!("{value}: {}", none.get(value)?))
    };
    let mappings =
        of_axes.iter().any(|(axis, rows)| rows.iter().flatten().any(|(key, _)| *key != foreign::name(&axis.key)));
    if mappings {
        if found.iter().any(|entry| !is_axis(&entry)) {
            for (axis, _) in &of_axes {
                matrix.note(lines.note(
                    axis,
                    "its values are mappings, beside `include` or `exclude`: nothing runs until it is written out",
                ));
            }
            result.lost = true;
            return;
        }
        // Axes of mappings become their combinations.
        let mut all: Rows = vec![Vec::new()];
        for (_, rows) in &of_axes {
            all = all
                .iter()
                .flat_map(|so_far| rows.iter().map(|row| [so_far.clone(), row.clone()].concat()))
                .take(257)
                .collect();
        }
        let line = of_axes.first().map(|(axis, _)| lines.line_of_key(axis));
        for row in all {
            let mut combination = Map::default();
            row.iter().for_each(|(key, value)| combination.set(key.as_str(), Value::text(value.as_str()), line));
            include.push(Item::Value(combination.into()));
        }
    } else {
        for (axis, rows) in &of_axes {
            let line = lines.line_of_key(axis);
            for why in rows.iter().filter_map(|row| without_image(row)) {
                matrix.note(lines.note(axis, why));
            }
            let values: Vec<&str> = rows
                .iter()
                .filter(|row| without_image(row).is_none())
                .flatten()
                .map(|(_, value)| value.as_str())
                .collect();
            if values.is_empty() {
                // Without its axis, the job would run once more, with another version.
                result.lost = true;
                continue;
            }
            matrix.set(foreign::name(&axis.key), Value::texts(values.iter().copied()), line);
            let is_version = version.is_some_and(|(name, _)| name == foreign::name(&axis.key));
            for value in values.into_iter().filter(|value| is_version && own.contains_key(*value)) {
                let mut with_image = Map::default();
                with_image.set(foreign::name(&axis.key), Value::text(value), None);
                with_image.set(IMAGE, Value::text(own[value].as_str()), None);
                include.push(Item::Value(with_image.into()));
                chosen.insert(value.to_owned());
            }
        }
    }
    for axis in found.iter().filter(|entry| !is_axis(entry)) {
        let mut kept = Vec::new();
        for item in items(&axis.value) {
            let line = lines.line_of(item.place);
            let mut combination = Map::default();
            let mut sound = true;
            for value in entries(item).unwrap_or_default() {
                match text_or_empty(&value.value) {
                    Some(text) => {
                        combination.set(foreign::name(&value.key), Value::text(text), lines.line_of_key(value))
                    }
                    None => sound = false,
                }
            }
            let row: Vec<(String, String)> = combination
                .entries()
                .filter_map(|entry| match &entry.value {
                    Value::Text(text) => Some((entry.key.clone(), text.clone())),
                    _ => None,
                })
                .collect();
            if row.is_empty() && sound {
                kept.push(Item::Note(Note::new(line, axis.key.as_str(), FORM)));
                result.lost = true;
            } else if !sound {
                // An entry of `exclude` without one of its values would exclude more, one of `include` would be another job.
                kept.push(Item::Note(Note::new(
                    line,
                    axis.key.as_str(),
                    "the values of a matrix are texts: this entry is left out",
                )));
            } else if elsewhere(&row) {
                if axis.key == "include" {
                    kept.push(Item::Note(Note::new(line, "include", LINUX)));
                    // It says where combinations of the axes ran, which go with it.
                    let of_axes = |key: &str| of_axes.iter().any(|(axis, _)| foreign::name(&axis.key) == key);
                    if !machines.iter().any(|key| of_axes(key)) {
                        let mut gone = Map::default();
                        row.iter()
                            .filter(|(key, _)| of_axes(key))
                            .for_each(|(key, value)| gone.set(key.as_str(), Value::text(value.as_str()), line));
                        result.lost |= gone.is_empty() && found.iter().any(|entry| is_axis(&entry));
                        exclude.extend((!gone.is_empty()).then(|| Item::Value(gone.into())));
                    }
                }
            } else if let Some(why) = without_image(&row).filter(|_| axis.key == "include") {
                kept.push(Item::Note(Note::new(line, "include", why)));
            } else {
                let value =
                    version.and_then(|(name, _)| row.iter().find(|(key, _)| key == name)).map(|(_, value)| value);
                if let Some((value, image)) = value.and_then(|value| Some((value, own.get(value)?)))
                    && axis.key == "include"
                {
                    combination.set(IMAGE, Value::text(image.as_str()), None);
                    chosen.insert(value.clone());
                }
                kept.push(Item::Value(combination.into()));
            }
        }
        match axis.key.as_str() {
            "include" => include.extend(kept),
            _ => exclude.extend(kept),
        }
    }
    let line = found.iter().find(|entry| entry.key == "exclude").map(|entry| lines.line_of_key(entry));
    matrix.set_filled("exclude", Value::List(exclude), line);
    let line = found.iter().find(|entry| entry.key == "include").map(|entry| lines.line_of_key(entry));
    matrix.set_filled("include", Value::List(include), line);
    if !chosen.is_empty() {
        result.image = Some(IMAGE);
    }
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
        section.leave(lines, &mut service, |key| match key {
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
