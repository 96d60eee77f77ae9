//! Converts `services` of GitLab.

use longshore_core::ImageRef;
use longshore_pipeline::tree::Entry;

use super::{
    super::{
        draft::{Map, Note, Value},
        foreign::{self, FORM, Lines, Section, entries, items, text, texts},
        ports::Ports,
    },
    values::{Fill, unknown},
};

/// Converts the services of a job. Returns whether one of them was a Docker engine.
pub(super) fn services(
    entry: &Entry,
    fill: Fill<'_>,
    env: &[(String, Value)],
    lines: Lines<'_>,
    docker: &mut bool,
) -> Map {
    let mut services = Map::default();
    let mut ports = Ports::default();
    for node in items(&entry.value) {
        let at = lines.line_of(node.place);
        let section = Section::read(node);
        let written = section
            .as_ref()
            .and_then(|section| section.take("name"))
            .and_then(|entry| text(&entry.value))
            .or_else(|| text(node));
        let Some(written) = written else {
            services.note(Note::new(at, "services", FORM));
            continue;
        };
        let image = match fill(written) {
            Ok(image) if image.contains("${{") || ImageRef::parse(&image).is_ok() => image,
            Ok(_) => {
                services.note(Note::new(at, written, "this is not an image's name"));
                continue;
            }
            Err(name) => {
                services.note(Note::new(at, written, unknown(&name)));
                continue;
            }
        };
        if image.contains("dind") {
            *docker = true;
            services.note(Note::new(at, written, "`docker: true` gives the job a guarded Docker API in its place"));
            continue;
        }
        let bare = image.split(['@', ':']).next().unwrap_or(&image);
        let alias = section.as_ref().and_then(|section| section.take("alias")).and_then(|entry| text(&entry.value));
        let named = alias.and_then(|alias| alias.split([',', ' ']).next()).unwrap_or(bare);
        let host = foreign::name(named).to_lowercase().replace('_', "-");
        let mut service = Map::default();
        service.set("image", Value::Text(image.clone()), at);
        let mut variables = variables_for(bare, env);
        if let Some(section) = &section {
            settings(section, fill, lines, &mut service, &mut variables);
        }
        service.set_filled("env", variables, None);
        ports.add(&host, &image, &[], at, &mut services);
        services.set(host, service, at);
    }
    services
}

/// Returns the variables of the job that a service gets. In GitLab, it has every one; those that an image knows begin
/// with the image's name.
fn variables_for(image: &str, env: &[(String, Value)]) -> Map {
    let stem = image.rsplit('/').next().unwrap_or(image).to_uppercase();
    let stem = stem.split(['-', '_']).next().unwrap_or(&stem);
    let stems: &[&str] = match stem {
        "POSTGRES" | "POSTGIS" => &["POSTGRES_", "PG"],
        "MARIADB" | "MYSQL" | "PERCONA" => &["MYSQL_", "MARIADB_"],
        other => &[other],
    };
    let mut variables = Map::default();
    for (name, value) in env.iter().filter(|(name, _)| stems.iter().any(|stem| name.starts_with(stem))) {
        variables.set(name.as_str(), value.clone(), None);
    }
    variables
}

/// Converts the keys beside a service's name. Its own variables are added to `variables`.
fn settings(section: &Section<'_>, fill: Fill<'_>, lines: Lines<'_>, service: &mut Map, variables: &mut Map) {
    for key in ["entrypoint", "command"] {
        if let Some(entry) = section.take(key) {
            let words = texts(&entry.value).unwrap_or_default();
            service.set_filled(key, Value::texts(words), lines.line_of_key(entry));
        }
    }
    if let Some(entry) = section.take("variables") {
        for variable in entries(&entry.value).unwrap_or_default() {
            match foreign::text_or_empty(&variable.value).ok_or_else(|| FORM.to_owned()).and_then(fill) {
                Ok(value) => variables.set(variable.key.clone(), Value::Text(value), lines.line_of_key(variable)),
                Err(name) => variables.note(lines.note(variable, unknown(&name))),
            }
        }
    }
    section.note_rest(lines, service, |key| match key {
        "pull_policy" => Some("an image is pulled where it is not there yet"),
        _ => None,
    });
}
