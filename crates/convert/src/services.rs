//! Services of Woodpecker and Drone.

use longshore_pipeline::tree::Node;

use super::{
    containers::{Containers, NOT_CARRIED_OVER, list_containers},
    draft::{Item, Job, Map, Note, Value},
    foreign::{self, FORM, Section, entries, text, texts},
    ports::Ports,
};

impl Containers<'_> {
    /// Converts `services`.
    pub(super) fn services(&mut self, node: &std::rc::Rc<Node>, job: &mut Job, line: u32) {
        let lines = self.lines;
        let mut services = Map::default();
        let mut ports = Ports::default();
        for (name, node) in list_containers(node) {
            let at = lines.line_of(node.place);
            let Some(section) = Section::read(node) else {
                services.note(Note::new(at, name.unwrap_or_else(|| "a service".to_owned()), FORM));
                continue;
            };
            let written = section.take("name").and_then(|entry| text(&entry.value)).map(str::to_owned).or(name);
            let written = written.unwrap_or_else(|| "service".to_owned());
            let host = foreign::name(&written).to_lowercase().replace('_', "-");
            let mut service = Map::default();
            let image = section.take("image").and_then(|entry| self.fill(text(&entry.value)?).ok());
            match image {
                Some(image) if image.starts_with("docker:") && image.contains("dind") => {
                    self.docker = true;
                    services.note(Note::new(
                        at,
                        written,
                        "`docker: true` gives the job a guarded Docker API in its place",
                    ));
                    continue;
                }
                Some(image) => service.set("image", Value::Text(image), at),
                None => {
                    services.note(Note::new(at, written, "it has no image whose name is known"));
                    continue;
                }
            }
            if let Some(Value::Text(image)) = service.get("image") {
                let written = section.peek("ports").and_then(|entry| texts(&entry.value)).unwrap_or_default();
                ports.add(&host, &image.clone(), &written, at, &mut services);
            }
            if host != written {
                service.remark(format!("its host name was `{written}`"));
            }
            self.environment(&section, &mut service, false);
            for (theirs, ours) in [("entrypoint", "entrypoint"), ("command", "command")] {
                if let Some(entry) = section.take(theirs) {
                    service.set_filled(
                        ours,
                        Value::texts(texts(&entry.value).unwrap_or_default()),
                        lines.line_of_key(entry),
                    );
                }
            }
            if let Some(entry) = section.take("settings") {
                let settings = entries(&entry.value).map(|entries| self.settings(&entries.iter().collect::<Vec<_>>()));
                let Some(settings) = settings else {
                    services.note(Note::new(at, written, FORM));
                    continue;
                };
                set_plugin_variables(settings, lines.line_of_key(entry), &mut service);
            }
            if let Some(entry) = section.take("commands") {
                let script = texts(&entry.value).unwrap_or_default().join("\n").replace("$$", "$");
                service.set("entrypoint", Value::texts(["sh", "-ec", script.as_str()]), lines.line_of_key(entry));
            }
            section.note_rest(lines, &mut service, |key| foreign::reason(NOT_CARRIED_OVER, key));
            services.set(host, service, at);
        }
        job.body.set_filled("services", services, line);
    }
}

/// Gives a service the settings of a plugin as the variables that they are.
fn set_plugin_variables(settings: Map, line: u32, service: &mut Map) {
    let mut env = match service.get("env") {
        Some(Value::Map(env)) => env.clone(),
        _ => Map::default(),
    };
    for part in settings.parts {
        let super::draft::Part::Entry(entry) = part else {
            env.parts.push(part);
            continue;
        };
        let name = format!("PLUGIN_{}", entry.key.to_uppercase().replace('-', "_"));
        match entry.value {
            Value::List(items) => {
                let texts: Option<Vec<String>> = items
                    .into_iter()
                    .map(|item| match item {
                        Item::Value(Value::Text(text)) => Some(text),
                        Item::Value(_) | Item::Note(_) => None,
                    })
                    .collect();
                match texts {
                    Some(texts) => env.set(name, Value::Text(texts.join(",")), entry.line),
                    None => env.note(Note::new(entry.line.unwrap_or(line), entry.key, FORM)),
                }
            }
            Value::Map(_) => env.note(Note::new(entry.line.unwrap_or(line), entry.key, FORM)),
            value => env.set(name, value, entry.line),
        }
    }
    service.set_filled("env", env, line);
}
