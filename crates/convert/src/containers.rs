//! The parts that Woodpecker and Drone share: a pipeline is a row of containers on one workspace, which is one job
//! here. The steps with the image that most steps have run in the job's own container, all others in containers beside
//! it.

use std::collections::{BTreeMap, BTreeSet};

use longshore_core::ImageRef;
use longshore_pipeline::tree::{Kind, Node};

use super::{
    DEFAULT_IMAGE, Language,
    draft::{After, Item, Job, Map, Note, Value},
    foreign::{self, FORM, Lines, Section, boolean, entries, items, text, texts},
    gate,
    plugin::SecretNames,
    sequence::{LostStep, Step, choose_image, is_independent, order},
    shell,
    variables::{self, Known},
    when::{self, When},
};

/// The containers of one pipeline while they are converted to a job.
pub(super) struct Containers<'s> {
    pub(super) language: Language,
    pub(super) lines: Lines<'s>,
    /// Names of the matrix's values.
    pub(super) axes: Vec<String>,
    /// Variables of the pipeline's own mapping, which every step has.
    pub(super) secrets: BTreeSet<String>,
    /// Expressions for variables that the steps use and Longshore does not set.
    pub(super) wanted: BTreeMap<String, &'static str>,
    pub(super) docker: bool,
    pub(super) secret_names: SecretNames,
    /// Comments for the job.
    pub(super) remarks: Vec<String>,
    /// The line of the first step that asks for a schedule.
    pub(super) schedule: Option<u32>,
    /// Texts that a step before the one that is being converted has to make.
    pub(super) made: Vec<String>,
    /// How many such steps there are.
    pub(super) made_steps: usize,
    /// Whether the step that is being converted lost a setting or a variable.
    pub(super) lost: bool,
    /// Whether the file has the old form, in which a plugin's settings are beside its image.
    pub(super) legacy: bool,
    /// Whether another pipeline waits for this one.
    pub(super) followed: bool,
    /// The facts that hold for the filters of all steps.
    pub(super) around: when::Around,
}

const LOST: &str =
    "it lost a setting, and would do something else without it: nothing runs until that is written by hand";

/// Keys of a step that are not carried over, and why.
pub(super) const NOT_CARRIED_OVER: &[(&str, &str)] = &[
    ("pull", "an image is pulled where it is not there yet; name a version to be sure of it"),
    ("privileged", "no job is privileged: `docker: true` at the job gives it a guarded Docker API"),
    ("network_mode", "all containers of a job share one network"),
    ("dns", "all containers of a job share one network"),
    ("dns_search", "all containers of a job share one network"),
    ("extra_hosts", "all containers of a job share one network: a service answers by its name"),
    ("group", "steps run one after another; jobs run at the same time"),
    ("backend_options", "write `resources` at the job"),
    ("resources", "write `resources` at the job"),
    (
        "ports",
        "not needed: a container beside the job answers at `localhost` and by its name on the ports that it opens",
    ),
    ("devices", "no job gets the host's devices"),
    ("tmpfs", "leave it out: a container's own file system goes with it"),
    ("when", "a service runs with its job"),
    ("failure", "a service that ends before its job fails it"),
    ("depends_on", "services start before the steps"),
    ("detach", "a service runs beside its job"),
    ("volumes", "`cache` keeps files between builds, the workspace between steps"),
    ("shm_size", "write `resources: { shm: 256MiB }` at the job"),
];

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

impl<'s> Containers<'s> {
    pub(super) fn new(language: Language, lines: Lines<'s>) -> Self {
        Self {
            language,
            lines,
            axes: Vec::new(),
            secrets: BTreeSet::new(),
            wanted: BTreeMap::new(),
            docker: false,
            secret_names: SecretNames::default(),
            remarks: Vec::new(),
            schedule: None,
            made: Vec::new(),
            made_steps: 0,
            lost: false,
            legacy: false,
            followed: false,
            around: when::Around::default(),
        }
    }

    /// Converts the steps of a pipeline to `steps` (and `image`) of a job.
    pub(super) fn steps(&mut self, node: &std::rc::Rc<Node>, job: &mut Job, line: u32) {
        let mut parts: Vec<Result<Step, LostStep>> = Vec::new();
        let nodes = list_containers(node);
        let whens: Vec<When> = nodes.iter().map(|(_, node)| self.when_of(node)).collect();
        for (at, (name, node)) in nodes.iter().enumerate() {
            let followed =
                self.followed || nodes[at + 1..].iter().any(|(name, later)| !is_independent(name.as_deref(), later));
            let gates = followed && !is_independent(name.as_deref(), node);
            parts.push(match self.step(name.as_deref(), node) {
                Ok(mut step) if gates && !step.runs && self.lost => {
                    let note = Note::new(self.lines.line_of(node.place), step.name.as_str(), "");
                    step.behind = self.condition_of(node).map(|own| gate::stand_in(&note, None, own.as_deref()));
                    Ok(step)
                }
                Ok(mut step) => {
                    // Later steps ran only if this one had succeeded, or had not run.
                    let mut later = whens[at + 1..]
                        .iter()
                        .zip(&nodes[at + 1..])
                        .filter(|(_, (name, node))| !is_independent(name.as_deref(), node));
                    let own = &whens[at];
                    if let Some(missed) = own.missed.as_deref().filter(|_| gates)
                        && (self.followed || later.any(|(later, _)| own.is_missed_before(later)))
                    {
                        let note = Note::new(self.lines.line_of(node.place), step.name.as_str(), "");
                        step.behind = Some(gate::stand_in(&note, None, Some(missed)));
                    }
                    Ok(step)
                }
                Err(note) => {
                    let own = self.condition_of(node).filter(|_| gates);
                    let field = |key: &str| super::entry(node, key);
                    Err(LostStep {
                        name: field("name")
                            .and_then(|entry| text(&entry.value))
                            .or(name.as_deref())
                            .unwrap_or_default()
                            .to_owned(),
                        after: field("depends_on").and_then(|entry| texts(&entry.value)).unwrap_or_default(),
                        stand_in: own.map(|own| gate::stand_in(&note, None, own.as_deref())),
                        note,
                    })
                }
            });
        }
        let made = parts.iter().any(|part| match part {
            Ok(step) => step.before.is_some() || step.behind.is_some(),
            Err(lost) => lost.stand_in.is_some(),
        });
        let scripts = parts.iter().any(|part| part.as_ref().is_ok_and(|step| step.runs));
        // An image of a plugin need not have a shell.
        let chosen = choose_image(&parts).filter(|_| scripts || !made);
        match &chosen {
            Some(image) => job.body.set("image", Value::text(image.as_str()), line),
            None => {
                job.body.remark(format!("no step names an image that could be taken: {DEFAULT_IMAGE} stands in"));
                job.body.set("image", Value::text(DEFAULT_IMAGE), None);
            }
        }
        if parts.iter().any(|part| part.as_ref().is_ok_and(|step| !step.after.is_empty())) {
            job.body.remark("steps ran side by side where `depends_on` let them: here they run one after another, in an order that fits");
        }
        let mut list = Vec::new();
        for at in order(&parts) {
            match &mut parts[at] {
                Err(lost) => {
                    list.push(Item::Note(lost.note.clone()));
                    list.extend(lost.stand_in.take().map(|step| Item::Value(step.into())));
                }
                Ok(step) => {
                    if step.runs && step.image == chosen {
                        step.body
                            .parts
                            .retain(|part| !matches!(part, super::draft::Part::Entry(entry) if entry.key == "image"));
                    }
                    list.extend(step.before.take().map(|before| Item::Value(before.into())));
                    list.push(Item::Value(std::mem::take(&mut step.body).into()));
                    list.extend(step.behind.take().map(|behind| Item::Value(behind.into())));
                }
            }
        }
        job.body.set_filled("steps", Value::List(list), line);
    }

    fn step(&mut self, name: Option<&str>, node: &Node) -> Result<Step, Note> {
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
                let Some(commands) = texts(&entry.value) else { return Err(Note::new(line, what, FORM)) };
                let script = made.into_iter().chain(commands).collect::<Vec<_>>().join("\n");
                let script = self.script(&script, &mut body, lines.line_of_key(entry));
                if script.trim().is_empty() {
                    return Err(Note::new(line, what, "it has no command"));
                }
                self.set_script(script, image.as_deref(), lines.line_of_key(entry), &mut body);
                if let Some(settings) = settings {
                    body.note(lines.note(settings, "a step with commands gets no settings: write `env`"));
                }
            }
            (None, Some(entry)) => {
                let with = entries(&entry.value).map(|entries| self.settings(&entries.iter().collect::<Vec<_>>()));
                match with {
                    Some(with) => body.set("with", with, lines.line_of_key(entry)),
                    None => {
                        self.lost = true;
                        body.note(lines.note(entry, FORM));
                    }
                }
            }
            (None, None) => {}
        }
        self.program(&section, runs, &mut body);
        if self.legacy && !runs {
            let mut settings = section.rest();
            settings.retain(|entry| foreign::reason(NOT_CARRIED_OVER, &entry.key).is_none());
            for entry in &settings {
                section.take(&entry.key);
            }
            let with = self.settings(&settings);
            body.set_filled("with", with, line);
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

    /// The filters of a step.
    fn when_of(&self, node: &Node) -> When {
        let Some(entry) = super::entry(node, "when") else { return When::always() };
        when::read(entry, self.language, self.lines, &self.around)
    }

    /// The condition of a step; `None` if it never runs, or after failures only.
    fn condition_of(&self, node: &Node) -> Option<Option<String>> {
        let Some(entry) = super::entry(node, "when") else { return Some(None) };
        let when = when::read(entry, self.language, self.lines, &self.around);
        let runs = when.after.unwrap_or_default() == After::Success && when.condition.as_deref() != Some("false");
        runs.then_some(when.condition)
    }

    /// Lets the job set a variable that the source's system sets and Longshore does not.
    pub(super) fn want(&mut self, name: &str) {
        if let Known::Expression(expression) = variables::known(self.language, name) {
            self.wanted.insert(name.to_owned(), expression);
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

    /// Adds what the steps need to the job: secrets, variables, the engine.
    pub(super) fn finish(&mut self, job: &mut Job, head: &mut Map) {
        let mut of_job = match job.body.get("env") {
            Some(Value::Map(env)) => env.clone(),
            _ => Map::default(),
        };
        let mut of_pipeline = match head.get("env") {
            Some(Value::Map(env)) => env.clone(),
            _ => Map::default(),
        };
        for (name, expression) in std::mem::take(&mut self.wanted) {
            let planned = variables::is_planned(expression);
            let env = if planned { &mut of_pipeline } else { &mut of_job };
            if env.get(&name).is_none() {
                env.set(name, Value::Text(variables::written(expression)), None);
            }
        }
        for axis in &self.axes {
            if of_job.get(axis).is_none() {
                of_job.set(axis.as_str(), Value::Text(format!("${{{{ matrix.{axis} }}}}")), None);
            }
        }
        head.set_filled("env", of_pipeline, None);
        job.body.set_filled("env", of_job, None);
        when::note_schedule(self.schedule.take(), head);
        for remark in std::mem::take(&mut self.remarks) {
            job.body.remark(remark);
        }
        let secrets = std::mem::take(&mut self.secrets);
        job.body.set_filled("secrets", Value::secrets(secrets), None);
        if std::mem::take(&mut self.docker) {
            job.body.set("docker", Value::plain(true), None);
        }
    }
}

/// Lists containers that are written as a list, or as a mapping by their names.
pub(super) fn list_containers(node: &std::rc::Rc<Node>) -> Vec<(Option<String>, &Node)> {
    match &node.kind {
        Kind::Map(entries) => entries.iter().map(|entry| (Some(entry.key.clone()), &*entry.value)).collect(),
        Kind::List(items) => items.iter().map(|item| (None, &**item)).collect(),
        Kind::Scalar(_) => Vec::new(),
    }
}
