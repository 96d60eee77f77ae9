//! Reads a step: one script of a job, or one container beside it.

use std::{collections::BTreeMap, rc::Rc};

use longshore_core::{
    StepPlan, Template,
    plan::{PullPolicy, Wait},
    template::Part,
};

use super::super::{
    code::Code,
    fields::{Fields, mapping},
    findings::Findings,
    keys,
    model::Step,
    scalar::{boolean, check_name, duration, filled, items, text_or_empty},
    scope::{Names, Position},
    text::{self, Flag},
    tree::{Entry, Kind, Node},
};
use super::{Defaults, env, env::Env, image, settings};

/// A step as read, with the size of its parts.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) step: Step,
    pub(super) env_size: usize,
}

impl Read {
    /// Returns the bytes of its script and variables.
    pub(super) fn size(&self, longest_value: usize) -> usize {
        self.step.draft.run.as_ref().map_or(0, |run| env::template_size(run, longest_value)) + self.env_size
    }
}

/// Reads a step; later steps can refer to its `id`.
pub(super) fn read(
    node: &Node,
    names: &mut Names,
    defaults: Option<&Defaults>,
    findings: &mut Findings<'_>,
) -> Option<Read> {
    if let Kind::Scalar(scalar) = &node.kind
        && !scalar.is_null()
    {
        findings.error(
            Code::WrongType,
            node.place,
            format!("a step must be a mapping, but this is {}", node.describe()),
            "write `- run: ` before the command".to_owned(),
        );
        return None;
    }
    let fields = Fields::read(node, &keys::STEP, findings)?;
    let read = read_fields(node, &fields, names, defaults, findings);
    if let Some(node) = fields.get("id") {
        let id = filled(node, "`id`", findings)?;
        if !check_name(id, node.place, "an id", findings) {
            return None;
        }
        if names.has_step(id) {
            let message = format!("another step of this job has the ID `{id}`");
            findings.error(Code::GivenTwice, node.place, message, "give each step a unique ID".to_owned());
            return None;
        }
        names.add_step(id);
        return read.map(|mut read| {
            read.step.draft.id = Some(id.to_owned());
            read
        });
    }
    read
}

fn read_fields(
    node: &Node,
    fields: &Fields<'_>,
    outer: &Names,
    defaults: Option<&Defaults>,
    findings: &mut Findings<'_>,
) -> Option<Read> {
    let env = match fields.get("env") {
        Some(node) => env::read(node, Position::StepEnv, outer, findings),
        None => Some(Env::default()),
    };
    // The script can use the step's own variables.
    let with_own;
    let names = match &env {
        Some(env) if !env.is_empty() => {
            let mut names = outer.clone();
            names.add_step_env(env);
            with_own = names;
            &with_own
        }
        _ => outer,
    };
    let together = keys_together(fields, findings);
    let run = script(node, fields, names, findings);
    let container = OwnContainer::read(fields, names, findings);
    let mut line = |key: &str, position: Position| {
        fields.read_optional(key, |node| one_line(node, &format!("`{key}`"), position, names, findings))
    };
    let name = line("name", Position::Planned);
    let working_directory = line("working-directory", Position::Argument);
    let user = line("user", Position::Planned);
    let shell = fields.read_optional("shell", |node| shell(node, names, findings));
    let mut flag = |key: &str| match fields.get(key) {
        Some(node) => boolean(node, &format!("`{key}`"), findings),
        None => Some(false),
    };
    let (tty, background) = (flag("tty"), flag("background"));
    let wait = fields.read_optional("wait", |node| wait(node, findings));
    let continue_on_error = match fields.get("continue-on-error") {
        Some(node) => text::flag(node, "`continue-on-error`", names, findings),
        None => Some(Flag::Is(false)),
    };
    let timeout = fields.read_optional("timeout", |node| duration(node, "`timeout`", findings));
    let retry = fields.read_optional("retry", |node| settings::retry(node, true, findings));
    let condition = fields.read_optional("if", |node| text::condition(node, Position::StepIf, names, findings));

    let (env, defaults) = (env?, defaults?);
    if !together {
        return None;
    }
    let OwnContainer { image, pull, with, entrypoint, command } = container?;
    let env_size = env::size(&env, super::matrix::VALUE_CHARS);
    let draft = StepPlan {
        run: run?,
        env,
        working_directory: working_directory?.or_else(|| defaults.working_directory.clone()),
        condition: condition?.filter(|condition| condition.source() != "success()"),
        timeout_ms: timeout?,
        retry: retry?,
        image,
        pull,
        with,
        entrypoint,
        command,
        tty: tty?,
        background: background?,
        wait: wait?,
        ..StepPlan::default()
    };
    let step = Step {
        draft,
        name: name?,
        shell: shell?.or_else(|| defaults.shell.clone()).unwrap_or_else(|| Template::from("sh")),
        user: user?,
        continue_on_error: continue_on_error?,
    };
    Some(Read { step, env_size })
}

/// The settings of a step that runs in a container of its own.
struct OwnContainer {
    image: Option<Template>,
    pull: Option<PullPolicy>,
    with: BTreeMap<String, Template>,
    entrypoint: Vec<Template>,
    command: Vec<Template>,
}

impl OwnContainer {
    fn read(fields: &Fields<'_>, names: &Names, findings: &mut Findings<'_>) -> Option<Self> {
        let image = fields.read_optional("image", |node| image::read(node, Position::StepImage, names, &[], findings));
        let pull = fields.read_optional("pull", |node| settings::pull(node, findings));
        let with = fields.read_or("with", BTreeMap::new(), |node| with(node, names, findings));
        let entrypoint = texts(fields.get("entrypoint"), "`entrypoint`", Position::Argument, names, findings);
        let command = texts(fields.get("command"), "`command`", Position::Argument, names, findings);
        Some(Self { image: image?, pull: pull?, with: with?, entrypoint: entrypoint?, command: command? })
    }
}

/// Reads `run`, which only a step with an `image` or a `wait` does not need.
#[expect(clippy::option_option, reason = "a step may have no script, or a wrong one")]
fn script(node: &Node, fields: &Fields<'_>, names: &Names, findings: &mut Findings<'_>) -> Option<Option<Template>> {
    if fields.get("run").is_none() && fields.get("image").is_none() && fields.get("wait").is_none() {
        missing_run(node, fields, findings);
        return None;
    }
    fields.read_optional("run", |node| {
        text::read(filled(node, "`run`", findings)?, node.place, Position::Script, names, findings)
    })
}

/// Reads `shell`. It has to be known when the build is planned, and no text from an outsider may be part of it.
pub(super) fn shell(node: &Node, names: &Names, findings: &mut Findings<'_>) -> Option<Template> {
    one_line(node, "`shell`", Position::PlannedScript, names, findings)
}

/// Checks that keys that exclude each other are not used together.
fn keys_together(fields: &Fields<'_>, findings: &mut Findings<'_>) -> bool {
    let has = |key: &str| fields.entry(key).is_some();
    let mut valid = true;
    let mut refuse = |key: &str, message: &str, help: &str, findings: &mut Findings<'_>| {
        if let Some(entry) = fields.entry(key) {
            findings.error(Code::NotTogether, entry.key_place, message, help.to_owned());
            valid = false;
        }
    };
    if has("wait") {
        let own = ["name", "id", "if", "timeout", "continue-on-error", "wait"];
        for key in keys::STEP.known.iter().filter(|key| !own.contains(key)) {
            let message = format!("a step with `wait` runs nothing, but this one has `{key}`");
            refuse(key, &message, "write another step for it", findings);
        }
    } else if !has("image") {
        let help = "write `image`: the step then runs in a container of its own";
        refuse("pull", "`pull` needs an `image` in the step", help, findings);
        refuse("with", "`with` needs an `image` in the step", help, findings);
        refuse("entrypoint", "`entrypoint` needs an `image` in the step", help, findings);
        refuse("command", "`command` needs an `image` in the step", help, findings);
    } else if has("run") {
        let help = "remove `run` to start the image's own program, or write it in `run`";
        refuse(
            "with",
            "a plugin runs its image's own program, but this step has `run`",
            "use `env` to pass variables to a script",
            findings,
        );
        refuse("entrypoint", "a script and an `entrypoint` cannot both run", help, findings);
        refuse("command", "a script and a `command` cannot both run", help, findings);
    } else {
        let help = "write `run`, or remove it to run the image's own program";
        refuse("shell", "a step without `run` has no shell", help, findings);
    }
    valid
}

/// Reads `wait`: `true`, or the IDs of steps. Whether they are in the background and come before is checked with all of
/// them.
fn wait(node: &Rc<Node>, findings: &mut Findings<'_>) -> Option<Wait> {
    if let Kind::Scalar(scalar) = &node.kind
        && scalar.boolean() == Some(true)
    {
        return Some(Wait::All);
    }
    let ids: Option<Vec<String>> =
        items(node).iter().map(|id| filled(id, "an ID in `wait`", findings).map(str::to_owned)).collect();
    let ids = ids?;
    if ids.is_empty() {
        let help = "write `wait: true` to wait for all steps in the background";
        findings.error(Code::Empty, node.place, "`wait` names no step", help.to_owned());
        return None;
    }
    Some(Wait::Steps(ids))
}

/// Reads `with` of a plugin: texts, lists of texts (joined by commas), or mappings (as JSON).
fn with(node: &Node, names: &Names, findings: &mut Findings<'_>) -> Option<BTreeMap<String, Template>> {
    let mut settings = BTreeMap::new();
    let mut valid = true;
    for entry in mapping(node, "`with`", findings)? {
        let named = setting_name(entry, findings);
        let value = match &entry.value.kind {
            Kind::Scalar(_) => setting(&entry.value, names, findings),
            Kind::List(items) if items.iter().all(|item| matches!(item.kind, Kind::Scalar(_))) => {
                let read: Vec<Option<Template>> = items.iter().map(|item| setting(item, names, findings)).collect();
                read.into_iter().collect::<Option<Vec<_>>>().map(|values| joined(&values))
            }
            Kind::List(_) | Kind::Map(_) => json(&entry.value, findings),
        };
        match value {
            Some(value) if named => {
                settings.insert(entry.key.clone(), value);
            }
            _ => valid = false,
        }
    }
    valid.then_some(settings)
}

fn setting_name(entry: &Entry, findings: &mut Findings<'_>) -> bool {
    check_name(&entry.key.replace('.', "-"), entry.key_place, "a setting's name", findings)
}

fn setting(node: &Node, names: &Names, findings: &mut Findings<'_>) -> Option<Template> {
    let written = text_or_empty(node, "a setting", findings)?;
    text::read(written, node.place, Position::StepEnv, names, findings)
}

fn joined(values: &[Template]) -> Template {
    let mut parts = Vec::new();
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            parts.push(Part::Text(",".to_owned()));
        }
        parts.extend(value.parts().iter().cloned());
    }
    Template::new(parts)
}

/// Reads a nested setting as JSON. Expressions are refused in it, because their values would have to be escaped.
fn json(node: &Node, findings: &mut Findings<'_>) -> Option<Template> {
    fn value(node: &Node, findings: &mut Findings<'_>) -> Option<serde_json::Value> {
        use serde_json::Value;
        Some(match &node.kind {
            Kind::Scalar(scalar) if scalar.is_null() => Value::Null,
            Kind::Scalar(scalar) if scalar.text.contains("${{") => {
                findings.error(
                    Code::ExpressionNotSupported,
                    node.place,
                    "a mapping in `with` becomes JSON and cannot contain expressions",
                    "write the whole setting as one string, with `to-json(...)` for its values".to_owned(),
                );
                return None;
            }
            Kind::Scalar(scalar) => match (scalar.boolean(), scalar.text.parse::<i64>()) {
                (Some(boolean), _) => Value::Bool(boolean),
                (None, Ok(number)) if scalar.plain => Value::from(number),
                _ => Value::String(scalar.text.clone()),
            },
            Kind::List(items) => Value::Array(items.iter().map(|item| value(item, findings)).collect::<Option<_>>()?),
            Kind::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|entry| Some((entry.key.clone(), value(&entry.value, findings)?)))
                    .collect::<Option<_>>()?,
            ),
        })
    }
    value(node, findings).map(|json| Template::from(json.to_string()))
}

/// Reads a program with its arguments: a list, or a single text.
pub(super) fn texts(
    node: Option<&Rc<Node>>,
    what: &str,
    position: Position,
    names: &Names,
    findings: &mut Findings<'_>,
) -> Option<Vec<Template>> {
    let Some(node) = node else { return Some(Vec::new()) };
    let read: Vec<Option<Template>> = super::super::scalar::items(node)
        .iter()
        .map(|item| {
            let text = text_or_empty(item, what, findings)?;
            text::read(text, item.place, position, names, findings)
        })
        .collect();
    read.into_iter().collect()
}

/// Reads a text of one line.
pub(super) fn one_line(
    node: &Node,
    what: &str,
    position: Position,
    names: &Names,
    findings: &mut Findings<'_>,
) -> Option<Template> {
    let text = filled(node, what, findings)?;
    // A block scalar ends with a line break that nobody means.
    let text = text.trim();
    if text.chars().any(char::is_control) || text.len() > 1024 {
        findings.error(
            Code::BadCharacter,
            node.place,
            format!("{what} must be a single line of at most 1024 bytes"),
            "remove line breaks and control characters".to_owned(),
        );
        return None;
    }
    text::read(text, node.place, position, names, findings)
}

fn missing_run(node: &Node, fields: &Fields<'_>, findings: &mut Findings<'_>) {
    // The key that was written in its place has been refused, with what to write instead.
    let replaced = ["uses", "with", "command", "entrypoint"];
    if fields.is_misnamed("run", &keys::STEP)
        || fields.is_misnamed("image", &keys::STEP)
        || replaced.iter().any(|key| fields.entry(key).is_some())
    {
        return;
    }
    let place = match &node.kind {
        Kind::Map(entries) => entries.first().map_or(node.place, |entry| entry.key_place),
        Kind::List(_) | Kind::Scalar(_) => node.place,
    };
    findings.error(Code::MissingKey, place, "this step has no `run`", "write `run: make test`".to_owned());
}
