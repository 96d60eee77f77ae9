//! Reads smaller settings of a job: `secrets`, `checkout`, `resources`, `retry`, `runs-on`.

use std::{collections::BTreeMap, rc::Rc};

use longshore_core::{
    Template,
    capability::GRANTABLE,
    docker::Docker,
    plan::{Checkout, Network, PullPolicy, Resources, Retry, RetryOn, SecretUse},
};

use super::super::{
    code::Code,
    fields::{Fields, mapping},
    findings::Findings,
    keys,
    scalar::{boolean, check_name, filled, items},
    scope::{Names, Position},
    size,
    tree::{Kind, Node},
};
use super::{
    env,
    on::{word, words},
    step::one_line,
    valid_or_absent,
};

/// Limit for the secrets of one job.
const MAX_SECRETS: usize = 100;
/// Limit for the attempts after the first one.
const MAX_RETRIES: u32 = 10;

/// Reads when a registry is asked for an image.
pub(super) fn pull(node: &Rc<Node>, findings: &mut Findings<'_>) -> Option<PullPolicy> {
    word(node, "`pull`", &PullPolicy::ALL.map(PullPolicy::as_str), findings)?.parse().ok()
}

/// Reads what a job's containers can reach.
pub(super) fn network(node: &Rc<Node>, findings: &mut Findings<'_>) -> Option<Network> {
    let written = word(node, "`network`", &Network::ALL.map(Network::as_str), findings)?;
    Network::ALL.into_iter().find(|network| network.as_str() == written)
}

/// Reads the capabilities that a job asks for.
pub(super) fn capabilities(node: &Rc<Node>, findings: &mut Findings<'_>) -> Option<Vec<String>> {
    words(node, "`capabilities`", &GRANTABLE, findings)
}

/// Reads what a job asks for of Docker.
pub(super) fn docker(node: &Node, findings: &mut Findings<'_>) -> Option<Docker> {
    if let Kind::Scalar(scalar) = &node.kind
        && scalar.boolean().is_none()
    {
        if scalar.text == "raw" {
            return Some(Docker::Raw);
        }
        let message = format!("`docker` is `true`, `false` or `raw`, but this is {}", node.describe());
        findings.error(
            Code::WrongType,
            node.place,
            message,
            "write `docker: true` for a guarded Docker API".to_owned(),
        );
        return None;
    }
    let asked = boolean(node, "`docker`", findings)?;
    Some(if asked { Docker::Guarded } else { Docker::None })
}

/// Reads the secrets that a job gets, each with its place.
pub(super) fn secrets(
    node: &Rc<Node>,
    findings: &mut Findings<'_>,
) -> Option<Vec<(SecretUse, super::super::source::Place)>> {
    const HELP: &str = "write `secrets: [NPM_TOKEN]`, or `{ name: DEPLOY_KEY, as: SSH_KEY, file: true }`";
    if matches!(node.kind, Kind::Map(_)) || node.is_null() {
        let message = format!("`secrets` must be a list of names, but this is {}", node.describe());
        findings.error(Code::WrongType, node.place, message, HELP.to_owned());
        return None;
    }
    let items = items(node);
    if items.len() > MAX_SECRETS {
        findings.error(Code::BadSize, node.place, format!("a job can use at most {MAX_SECRETS} secrets"), None);
        return None;
    }
    let mut found: Vec<(SecretUse, _)> = Vec::new();
    let mut valid = true;
    for item in items {
        let Some(secret) = secret(item, HELP, findings) else {
            valid = false;
            continue;
        };
        if !secret.by_name && found.iter().any(|(other, _)| !other.by_name && other.variable == secret.variable) {
            let message = format!("two secrets would set the variable `{}`", secret.variable);
            findings.error(Code::GivenTwice, item.place, message, "rename one of them with `as`".to_owned());
            valid = false;
        }
        found.push((secret, item.place));
    }
    valid.then_some(found)
}

fn secret(node: &Rc<Node>, help: &str, findings: &mut Findings<'_>) -> Option<SecretUse> {
    if let Kind::Scalar(_) = &node.kind {
        let name = filled(node, "a secret's name", findings)?;
        let named = env::check_name(name, node.place, findings);
        return named.then(|| SecretUse {
            name: name.to_owned(),
            variable: name.to_owned(),
            file: false,
            by_name: false,
        });
    }
    let fields = Fields::read(node, &keys::SECRET, findings)?;
    let named = |key: &str, what: &str, findings: &mut Findings<'_>| {
        fields.get(key).map(|node| {
            let name = filled(node, what, findings)?;
            env::check_name(name, node.place, findings).then(|| name.to_owned())
        })
    };
    let name = named("name", "a secret's name", findings);
    if name.is_none() && !fields.is_misnamed("name", &keys::SECRET) {
        findings.error(Code::MissingKey, node.place, "this secret has no `name`", help.to_owned());
    }
    let variable = valid_or_absent(named("as", "`as`", findings));
    let file = match fields.get("file") {
        Some(node) => boolean(node, "`file`", findings),
        None => Some(false),
    };
    let everywhere = match fields.get("env") {
        Some(node) => boolean(node, "`env`", findings),
        None => Some(true),
    };
    let name = name??;
    let (variable, by_name) = (variable?, !everywhere?);
    if by_name && (variable.is_some() || fields.get("file").is_some()) {
        let message = "no variable holds this secret, and `as` and `file` are about one".to_owned();
        findings.error(Code::NotTogether, node.place, message, "remove them, or remove `env`".to_owned());
        return None;
    }
    Some(SecretUse { variable: variable.unwrap_or_else(|| name.clone()), name, file: file?, by_name })
}

/// Reads `checkout`; an inner `None` means that the workspace starts empty.
#[expect(clippy::option_option, reason = "it may be wrong, off or on")]
pub(super) fn checkout(node: &Node, findings: &mut Findings<'_>) -> Option<Option<Checkout>> {
    if !matches!(node.kind, Kind::Map(_)) {
        return boolean(node, "`checkout`", findings).map(|wanted| wanted.then(Checkout::default));
    }
    let fields = Fields::read(node, &keys::CHECKOUT, findings)?;
    let depth = match fields.get("depth") {
        Some(node) => number(node, "`depth`", 0, 1_000_000, "write a number of commits, or 0 for all", findings),
        None => Some(1),
    };
    let mut flag = |key: &str| match fields.get(key) {
        Some(node) => boolean(node, &format!("`{key}`"), findings),
        None => Some(false),
    };
    let (submodules, lfs) = (flag("submodules"), flag("lfs"));
    Some(Some(Checkout { depth: depth?, submodules: submodules?, lfs: lfs? }))
}

pub(super) fn resources(node: &Node, findings: &mut Findings<'_>) -> Option<Resources> {
    let fields = Fields::read(node, &keys::RESOURCES, findings)?;
    let cpu = fields.read_optional("cpu", |node| sized(node, "`cpu`", size::cpu_millis, findings));
    let memory = fields.read_optional("memory", |node| sized(node, "`memory`", size::bytes, findings));
    let pids = fields
        .read_optional("pids", |node| number(node, "`pids`", 1, 4_000_000, "write a number of processes", findings));
    let shm = fields.read_optional("shm", |node| sized(node, "`shm`", size::bytes, findings));
    Some(Resources { cpu_millis: cpu?, memory_bytes: memory?, pids: pids?, shm_bytes: shm? })
}

fn sized<T>(
    node: &Node,
    what: &str,
    parse: fn(&str) -> Result<T, &'static str>,
    findings: &mut Findings<'_>,
) -> Option<T> {
    let text = filled(node, what, findings)?;
    match parse(text.trim()) {
        Ok(value) => Some(value),
        Err(help) => {
            let shown: String = text.chars().take(40).collect();
            findings.error(Code::BadSize, node.place, format!("{what} cannot be `{shown}`"), help.to_owned());
            None
        }
    }
}

/// Reads a whole number in a range.
pub(super) fn number(
    node: &Node,
    what: &str,
    least: u32,
    most: u32,
    help: &str,
    findings: &mut Findings<'_>,
) -> Option<u32> {
    let text = filled(node, what, findings)?;
    match text.trim().parse::<u32>() {
        Ok(number) if (least..=most).contains(&number) => Some(number),
        _ => {
            let message = format!("{what} must be a whole number between {least} and {most}");
            findings.error(Code::BadSize, node.place, message, help.to_owned());
            None
        }
    }
}

/// Reads `retry: 2`, or a mapping that says how often and after which results.
pub(super) fn retry(node: &Node, of_step: bool, findings: &mut Findings<'_>) -> Option<Retry> {
    const HELP: &str = "write how many times to retry: `retry: 2`";
    let known: &[&str] = if of_step { &["failure", "timeout"] } else { &["error", "failure", "timeout"] };
    let all = || known.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let (max, on) = if matches!(node.kind, Kind::Map(_)) {
        let fields = Fields::read(node, &keys::RETRY, findings)?;
        let max = match fields.get("max") {
            Some(node) => number(node, "`max`", 0, MAX_RETRIES, HELP, findings),
            None => {
                if !fields.is_misnamed("max", &keys::RETRY) {
                    findings.error(Code::MissingKey, node.place, "`retry` has no `max`", HELP.to_owned());
                }
                None
            }
        };
        let on = match fields.get("on") {
            Some(node) => words(node, "`on`", known, findings),
            None => Some(all()),
        };
        (max?, on?)
    } else {
        (number(node, "`retry`", 0, MAX_RETRIES, HELP, findings)?, all())
    };
    let on = on.iter().map(|word| match word.as_str() {
        "error" => RetryOn::Error,
        "failure" => RetryOn::Failure,
        _ => RetryOn::Timeout,
    });
    Some(Retry { max, on: on.collect() })
}

pub(super) fn runs_on(node: &Node, names: &Names, findings: &mut Findings<'_>) -> Option<BTreeMap<String, Template>> {
    if !matches!(node.kind, Kind::Map(_)) {
        let message = format!("`runs-on` must be a mapping of labels, but this is {}", node.describe());
        let help = "write `runs-on: { arch: amd64 }`, or remove it to run on any server";
        findings.error(Code::WrongType, node.place, message, help.to_owned());
        return None;
    }
    let mut labels = BTreeMap::new();
    let mut valid = true;
    for entry in mapping(node, "`runs-on`", findings)? {
        let named = check_name(&entry.key, entry.key_place, "a label", findings);
        match one_line(&entry.value, &format!("`{}`", entry.key), Position::Planned, names, findings) {
            Some(value) if named => {
                labels.insert(entry.key.clone(), value);
            }
            _ => valid = false,
        }
    }
    valid.then_some(labels)
}
