//! The parts that Woodpecker and Drone share: a pipeline is a row of containers on one workspace, which is one job
//! here. The steps with the image that most steps have run in the job's own container, all others in containers beside
//! it.

use std::collections::{BTreeMap, BTreeSet};

use longshore_pipeline::tree::{Kind, Node};

use super::{
    DEFAULT_IMAGE, Language,
    draft::{After, Item, Job, Map, Note, Value},
    foreign::{Lines, text, texts},
    gate,
    plugin::SecretNames,
    sequence::{LostStep, Step, choose_image, is_independent, order},
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
    pub(super) around: when::PipelineFacts,
}

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
            around: when::PipelineFacts::default(),
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
                Err(note) => Err(self.lost_step(name.as_deref(), node, note, gates)),
            });
        }
        Self::add_steps(parts, job, line);
    }

    /// Returns what is left of a step that could not be converted. If it `gates` others, a step stands in for it.
    fn lost_step(&self, name: Option<&str>, node: &Node, note: Note, gates: bool) -> LostStep {
        let own = self.condition_of(node).filter(|_| gates);
        let field = |key: &str| super::entry(node, key);
        let named = field("name").and_then(|entry| text(&entry.value)).or(name);
        LostStep {
            name: named.unwrap_or_default().to_owned(),
            after: field("depends_on").and_then(|entry| texts(&entry.value)).unwrap_or_default(),
            stand_in: own.map(|own| gate::stand_in(&note, None, own.as_deref())),
            note,
        }
    }

    /// Adds the steps to the job in an order that fits, and the image that most of them have.
    fn add_steps(mut parts: Vec<Result<Step, LostStep>>, job: &mut Job, line: u32) {
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
