//! A step: one script of a job.

use super::super::{
    code::Code,
    condition,
    fields::Fields,
    findings::Findings,
    keys,
    model::Step,
    scalar::{boolean, duration, filled},
    template::{Scope, Template},
    tree::{Kind, Node},
};
use super::{Defaults, env, env::Env, wanted};

/// A step, and how much it carries.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) step: Step,
    env_size: usize,
}

impl Read {
    /// The bytes of script and variables.
    pub(super) fn size(&self, longest_value: usize) -> usize {
        self.step.run.size(longest_value) + self.env_size
    }
}

pub(super) fn read(
    node: &Node,
    scope: Scope<'_>,
    defaults: Option<&Defaults>,
    findings: &mut Findings<'_>,
) -> Option<Read> {
    if let Kind::Scalar(scalar) = &node.kind
        && !scalar.is_null()
    {
        findings.error(
            Code::WrongType,
            node.place,
            format!("a step is a mapping, and this is {}", node.describe()),
            "write `- run: ` before the command".to_owned(),
        );
        return None;
    }
    let fields = Fields::of(node, &keys::STEP, findings)?;
    let run = match fields.get("run") {
        Some(node) => {
            filled(node, "`run`", findings).and_then(|text| Template::read(text, node.place, scope, findings))
        }
        None => {
            missing_run(node, &fields, findings);
            None
        }
    };
    let name = wanted(fields.get("name").map(|node| one_line(node, "`name`", scope, findings)));
    let env = match fields.get("env") {
        Some(node) => env::read(node, scope, findings),
        None => Some(Env::default()),
    };
    let working_directory =
        wanted(fields.get("working-directory").map(|node| one_line(node, "`working-directory`", scope, findings)));
    let shell = wanted(fields.get("shell").map(|node| one_line(node, "`shell`", scope, findings)));
    let continue_on_error = match fields.get("continue-on-error") {
        Some(node) => boolean(node, "`continue-on-error`", findings),
        None => Some(false),
    };
    let timeout = wanted(fields.get("timeout").map(|node| duration(node, "`timeout`", findings)));
    let condition = match fields.get("if") {
        Some(node) => condition::read(node, findings),
        None => Some(None),
    };

    let (env, defaults) = (env?, defaults?);
    let env_size = env.size(super::matrix::VALUE_CHARS);
    let step = Step {
        name: name?,
        run: run?,
        env: env.into_variables(),
        working_directory: working_directory?.or_else(|| defaults.working_directory.clone()),
        shell: shell?.or_else(|| defaults.shell.clone()).unwrap_or_else(|| Template::literal("sh")),
        condition: condition?,
        continue_on_error: continue_on_error?,
        timeout_ms: timeout?,
    };
    Some(Read { step, env_size })
}

/// A text that is one line.
pub(super) fn one_line(node: &Node, what: &str, scope: Scope<'_>, findings: &mut Findings<'_>) -> Option<Template> {
    let text = filled(node, what, findings)?;
    // A block's last line ends with a line break that nobody means.
    let text = text.trim();
    if text.chars().any(char::is_control) || text.len() > 1024 {
        findings.error(
            Code::BadCharacter,
            node.place,
            format!("{what} is one line of at most 1024 bytes"),
            "take the line breaks and control characters out".to_owned(),
        );
        return None;
    }
    Template::read(text, node.place, scope, findings)
}

fn missing_run(node: &Node, fields: &Fields<'_>, findings: &mut Findings<'_>) {
    // What stands in its place has been refused already, with what to write.
    let replaced = ["image", "uses", "with", "command"];
    if fields.is_misnamed("run", &keys::STEP) || replaced.iter().any(|key| fields.entry(key).is_some()) {
        return;
    }
    let place = match &node.kind {
        Kind::Map(entries) => entries.first().map_or(node.place, |entry| entry.key_place),
        Kind::List(_) | Kind::Scalar(_) => node.place,
    };
    findings.error(
        Code::MissingKey,
        place,
        "this step has no `run`",
        "write what it does: `run: make test`".to_owned(),
    );
}
