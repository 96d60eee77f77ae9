//! One step of Woodpecker or Drone, which is a container of its own there.

use longshore_core::ImageRef;
use longshore_pipeline::tree::{Entry, Node};

use super::{
    containers::{Containers, NOT_CARRIED_OVER},
    draft::{After, Map, Note, Value},
    foreign::{self, FORM, LOST, Section, boolean, entries, items, text, texts},
    sequence::Step,
    shell,
    variables::{self, Known},
    when,
};

/// Keys of a step in the order in which people read them.
const STEP: &[&str] = &[
    "name",
    "image",
    "if",
    "env",
    "shell",
    "working-directory",
    "user",
    "background",
    "continue-on-error",
    "run",
    "with",
    "entrypoint",
    "command",
];

impl Containers<'_> {
    /// Converts a step. The error says why it has to be left out.
    pub(super) fn step(&mut self, name: Option<&str>, node: &Node) -> Result<Step, Note> {
        let lines = self.lines;
        let line = lines.line_of(node.place);
        let Some(section) = Section::read(node) else {
            return Err(Note::new(line, name.unwrap_or("a step"), FORM));
        };
        self.lost = false;
        let named = section.take("name").and_then(|entry| text(&entry.value)).or(name);
        let what = named.unwrap_or("a step").to_owned();
        let mut body = Map::default();
        if let Some(name) = named {
            let shown: String = name.chars().filter(|c| !c.is_control()).take(200).collect();
            if !shown.trim().is_empty() {
                body.set("name", Value::text(shown.replace("${{", "$ {{")), line);
            }
        }
        let image = self.image_of(&section, &what, &mut body)?;
        let mut after = Vec::new();
        if let Some(entry) = section.take("depends_on") {
            after = texts(&entry.value).unwrap_or_default();
        }
        self.conditions(&section, &mut body);
        for (theirs, ours) in [("directory", "working-directory"), ("user", "user")] {
            if let Some(entry) = section.take(theirs) {
                match text(&entry.value).map(|text| self.fill(text)) {
                    Some(Ok(value)) => body.set(ours, Value::Text(value), lines.line_of_key(entry)),
                    _ => body.note(lines.note(entry, FORM)),
                }
            }
        }
        self.volumes(&section, &mut body);
        let settings = section.take("settings");
        let commands = section.take("commands");
        let runs = commands.is_some();
        let made = self.environment(&section, &mut body, runs);
        match (commands, settings) {
            (Some(entry), settings) => {
                self.commands(entry, made, image.as_deref(), &mut body).map_err(|why| Note::new(line, &*what, why))?;
                if let Some(settings) = settings {
                    body.note(lines.note(settings, "a step with commands gets no settings: write `env`"));
                }
            }
            (None, Some(entry)) => self.plugin_settings(entry, &mut body),
            (None, None) => {}
        }
        self.program(&section, runs, &mut body);
        if self.legacy && !runs {
            self.legacy_settings(&section, line, &mut body);
        }
        if !runs && image.is_none() {
            return Err(Note::new(line, what, "it has no commands and no image"));
        }
        let mut before = self.step_before();
        if !runs && self.lost {
            body.note(Note::new(line, what.as_str(), LOST));
            body.set("if", Value::text("false"), None);
            before = None;
        }
        if let (Some(before), Some(Value::Text(condition))) = (&mut before, body.get("if")) {
            before.set("if", Value::text(condition.as_str()), None);
            before.arrange(&["id", "if", "run"]);
        }
        section.note_rest(lines, &mut body, |key| foreign::reason(NOT_CARRIED_OVER, key));
        body.arrange(STEP);
        Ok(Step { name: what, image, after, body, runs, before, behind: None })
    }

    /// Converts the image of a step; `None` if it has none.
    fn image_of(&self, section: &Section<'_>, what: &str, body: &mut Map) -> Result<Option<String>, Note> {
        let Some(entry) = section.take("image") else { return Ok(None) };
        let why = match text(&entry.value).map(|image| self.fill(image)) {
            Some(Ok(image)) if image.contains("${{") || ImageRef::parse(&image).is_ok() => {
                body.set("image", Value::text(image.as_str()), self.lines.line_of_key(entry));
                return Ok(Some(image));
            }
            Some(Err(name)) => format!("it has no image whose name is known: {name} is not set here"),
            _ => "this is not an image's name".to_owned(),
        };
        Err(Note::new(self.lines.line_of_key(entry), what, why))
    }

    /// Converts when a step runs, and what its end means for the others.
    fn conditions(&mut self, section: &Section<'_>, body: &mut Map) {
        let lines = self.lines;
        if let Some(entry) = section.take("when") {
            let when = when::read(entry, self.language, lines, &self.around);
            body.notes(when.notes);
            self.schedule = self.schedule.or(when.schedule);
            let asks = match when.after.unwrap_or_default() {
                After::Success => None,
                After::Failure => Some("failure()".to_owned()),
                After::Either => Some("success() || failure()".to_owned()),
            };
            let parts: Vec<String> = asks.into_iter().chain(when.condition).collect();
            if let Some(condition) = super::condition::all(&parts) {
                body.set("if", Value::Text(condition), lines.line_of_key(entry));
            }
        }
        match section.take("failure") {
            Some(entry) if text(&entry.value) == Some("ignore") => {
                body.set("continue-on-error", Value::plain(true), lines.line_of_key(entry));
            }
            Some(entry) if text(&entry.value) != Some("fail") => body.note(lines.note(entry, FORM)),
            _ => {}
        }
        match section.take("detach") {
            Some(entry) if boolean(&entry.value) == Some(true) => {
                body.set("background", Value::plain(true), lines.line_of_key(entry))
            }
            Some(entry) if boolean(&entry.value).is_none() => body.note(lines.note(entry, FORM)),
            _ => {}
        }
    }

    /// Converts `commands` to a script, after the lines that compute values for it. The error says why there is none.
    fn commands(
        &mut self,
        entry: &Entry,
        made: Vec<String>,
        image: Option<&str>,
        body: &mut Map,
    ) -> Result<(), &'static str> {
        let line = self.lines.line_of_key(entry);
        let commands = texts(&entry.value).ok_or(FORM)?;
        let script = made.into_iter().chain(commands).collect::<Vec<_>>().join("\n");
        let script = self.script(&script, body, line);
        if script.trim().is_empty() {
            return Err("it has no command");
        }
        self.set_script(script, image, line, body);
        Ok(())
    }

    /// Converts `settings` of a plugin.
    fn plugin_settings(&mut self, entry: &Entry, body: &mut Map) {
        let with = entries(&entry.value).map(|entries| self.settings(&entries.iter().collect::<Vec<_>>()));
        match with {
            Some(with) => body.set("with", with, self.lines.line_of_key(entry)),
            None => {
                self.lost = true;
                body.note(self.lines.note(entry, FORM));
            }
        }
    }

    /// Converts the settings of a plugin in the old form, where they are beside its image.
    fn legacy_settings(&mut self, section: &Section<'_>, line: u32, body: &mut Map) {
        let mut settings = section.rest();
        settings.retain(|entry| foreign::reason(NOT_CARRIED_OVER, &entry.key).is_none());
        for entry in &settings {
            section.take(&entry.key);
        }
        let with = self.settings(&settings);
        body.set_filled("with", with, line);
    }

    /// Adds the script of a step, the shell that it needs, and the variables that it uses.
    fn set_script(&mut self, script: String, image: Option<&str>, line: u32, body: &mut Map) {
        self.add_used_variables(&script, body, line);
        // Scripts ran in the image's `sh`. Bash's own syntax was replaced before, or `sh` is bash in that image.
        if shell::is_bash(&script) && !image.is_some_and(shell::has_no_bash) {
            body.remark("bash, because the script uses what only it understands; its image has to have it");
            body.set("shell", Value::text("bash"), None);
        }
        body.set("run", Value::Script(script), line);
    }

    /// Converts `entrypoint` and `command`, which a step with commands cannot have.
    fn program(&mut self, section: &Section<'_>, runs: bool, body: &mut Map) {
        let lines = self.lines;
        for key in ["entrypoint", "command"] {
            let Some(entry) = section.take(key) else { continue };
            match texts(&entry.value) {
                Some(words) if !runs && !words.is_empty() => {
                    let words: Result<Vec<String>, String> = words.iter().map(|word| self.fill(word)).collect();
                    match words {
                        Ok(words) => body.set(key, Value::texts(words), lines.line_of_key(entry)),
                        Err(unknown) => {
                            self.lost = true;
                            body.note(lines.note(entry, format!("{unknown} is not known here: write the value")));
                        }
                    }
                }
                _ => body.note(lines.note(entry, "a step with commands has the shell of `shell`")),
            }
        }
    }

    /// Turns a mounted engine socket into `docker`; other volumes are left out.
    fn volumes(&mut self, section: &Section<'_>, body: &mut Map) {
        let Some(entry) = section.peek("volumes") else { return };
        let socket = items(&entry.value).iter().any(|item| {
            let path = entries(item).and_then(|entries| entries.iter().find(|entry| entry.key == "path"));
            let written = path.map_or_else(|| text(item), |path| text(&path.value));
            written.is_some_and(|written| written.contains("docker.sock"))
        });
        if socket {
            self.docker = true;
            body.remark("the engine's socket is a guarded one here: `docker: true` at the job");
            if items(&entry.value).len() == 1 {
                section.take("volumes");
            }
        }
    }

    /// Adds the variables that a script expects from the source's system.
    fn add_used_variables(&mut self, script: &str, body: &mut Map, line: u32) {
        for name in shell::names(script) {
            match variables::known(self.language, &name) {
                Known::Expression(expression) => {
                    self.wanted.insert(name, expression);
                }
                Known::Missing => body.note(Note::new(line, format!("${name}"), "Longshore does not set it")),
                Known::Given | Known::NotSet => {}
            }
        }
    }
}
