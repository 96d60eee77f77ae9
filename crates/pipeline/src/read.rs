//! Reads the tree of a file into a pipeline: what each key means. One submodule for each kind of mapping.
//!
//! A reader reports everything that is wrong with its part and goes on; `None` means that it has reported an error.

mod advice;
mod env;
mod image;
mod input;
mod job;
mod keep;
mod matrix;
mod needs;
mod on;
mod reuse;
mod service;
mod settings;
mod step;
mod with;
mod workspaces;

use std::{collections::HashMap, rc::Rc};

use longshore_core::Template;

use super::{
    code::Code,
    fields::{Fields, named_entries},
    findings::Findings,
    graph,
    input::{self as inputs, Input, InputKind},
    keys, limits,
    model::{At, Group, Job, Pipeline},
    scalar::{check_length, duration, filled},
    scope::{Names, Position, Taint},
    source::Place,
    templates::{Expanded, Library},
    text::{self, Flag},
    tree::{Entry, Kind, Node},
};

/// Reads a file's tree.
pub(super) fn pipeline(root: &Rc<Node>, library: &mut Library, findings: &mut Findings<'_>) -> Option<Pipeline> {
    let top = Fields::read(root, &keys::PIPELINE, findings)?;
    let beginning = Place::new(root.place.start, root.place.start + 1);

    let name = name(&top, beginning, findings);
    let on = match top.get("on") {
        Some(node) => on::read(node, findings),
        None => Some(on::default()),
    };
    let declared = on.as_ref().map(|on| inputs::types(on.manual.as_deref().unwrap_or_default()));
    let mut names = Names::of_pipeline(declared);
    for input in on.iter().flat_map(|on| on.manual.as_deref().unwrap_or_default()) {
        if input.kind == InputKind::String {
            names.taint_path(format!("inputs.{}", input.name), Taint::Elsewhere);
        }
    }
    let env = match top.get("env") {
        Some(node) => env::read(node, Position::Pipeline, &names, findings),
        None => Some(env::Env::default()),
    };
    names.add_env(env.as_ref());
    let defaults = match top.get("defaults") {
        Some(node) => Defaults::read(node, &names, findings),
        None => Some(Defaults::default()),
    };
    let concurrency = valid_or_absent(top.get("concurrency").map(|node| concurrency(node, &names, findings)));

    let Some(jobs_entry) = top.entry("jobs") else {
        if top.is_misnamed("jobs", &keys::PIPELINE) {
            return None;
        }
        findings.error(
            Code::MissingKey,
            beginning,
            "`jobs` is missing",
            "write `jobs: { build: { image: debian:12, steps: [{ run: make }] } }`".to_owned(),
        );
        return None;
    };
    let jobs_at = at(jobs_entry.key_place, findings);
    let entries =
        named_entries(&jobs_entry.value, "`jobs`", "build: { image: debian:12, steps: [{ run: make }] }", findings)?;
    if entries.is_empty() {
        findings.error(
            Code::Empty,
            jobs_entry.value.place,
            "`jobs` is empty",
            "write at least one: `build: { image: debian:12, steps: [{ run: make }] }`".to_owned(),
        );
        return None;
    }
    if entries.len() > findings.most_jobs() {
        too_many_jobs(entries.len(), jobs_entry.key_place, findings);
        return None;
    }
    let expanded: Vec<Option<Expanded>> = entries.iter().map(|entry| library.expand(entry, findings)).collect();
    let heads: HashMap<String, job::Head> = entries
        .iter()
        .zip(&expanded)
        .map(|(entry, expanded)| {
            let node = expanded.as_ref().map(|expanded| &*expanded.node);
            (entry.key.clone(), job::Head::read(node, &names))
        })
        .collect();
    let around = job::Surroundings {
        defaults: defaults.as_ref(),
        env: env.as_ref(),
        names: &names,
        heads: &heads,
        exclusive: concurrency.as_ref().is_some_and(Option::is_some),
    };
    let jobs: Vec<Option<Job>> = entries
        .iter()
        .zip(&expanded)
        .map(|(entry, expanded)| job::read(entry, expanded.as_ref(), &around, findings))
        .collect();

    let needs: Vec<graph::Needs<'_>> = entries
        .iter()
        .zip(&expanded)
        .map(|(entry, expanded)| {
            let node = expanded.as_ref().map_or(&entry.value, |expanded| &expanded.node);
            graph::Needs { job: &entry.key, needs: needs::listed(node) }
        })
        .collect();
    graph::check(&needs, findings);

    let jobs = jobs.into_iter().collect::<Option<Vec<Job>>>()?;
    workspaces::check(&jobs, &needs, findings)?;
    let total: usize = jobs.iter().map(|job| job.combinations.len()).sum();
    if total > findings.most_jobs() {
        too_many_jobs(total, jobs_entry.key_place, findings);
        return None;
    }
    if jobs.iter().map(Job::expressions).sum::<usize>() > limits::EXPRESSIONS {
        findings.error(
            Code::PlanTooLarge,
            jobs_entry.key_place,
            format!("after the matrix, the jobs have more than {} expressions", limits::EXPRESSIONS),
            "put the value into `env` once, and use the variable in scripts".to_owned(),
        );
        return None;
    }
    let (name, name_place) = name?;
    let name_at = at(name_place, findings);
    let file = findings.path().to_owned();
    Some(Pipeline { file, name, name_at, jobs_at, on: on?, env: env?, concurrency: concurrency?, jobs })
}

/// Reads the inputs that a template declares.
pub(super) fn inputs(entries: &[Entry], findings: &mut Findings<'_>) -> Option<Vec<Input>> {
    input::read_all(entries, findings)
}

fn too_many_jobs(count: usize, place: Place, findings: &mut Findings<'_>) {
    findings.error(
        Code::TooManyJobs,
        place,
        format!("{count} jobs, more than the limit of {} in a build", findings.most_jobs()),
        "make the matrices smaller, or combine jobs".to_owned(),
    );
}

fn at(place: Place, findings: &Findings<'_>) -> At {
    At {
        file: findings.source(place.file).path.to_owned(),
        span: findings.span(place),
        source: findings.shown_line(place),
    }
}

/// Reads `concurrency: deploy`, or a mapping with a group and `cancel-in-progress`.
fn concurrency(node: &Node, names: &Names, findings: &mut Findings<'_>) -> Option<Group> {
    if !matches!(node.kind, Kind::Map(_)) {
        let group = step::one_line(node, "`concurrency`", Position::Pipeline, names, findings)?;
        return Some(Group { group, cancel_in_progress: Flag::Is(false), at: at(node.place, findings) });
    }
    let fields = Fields::read(node, &keys::CONCURRENCY, findings)?;
    let group = match fields.get("group") {
        Some(node) => step::one_line(node, "`group`", Position::Pipeline, names, findings).zip(Some(node.place)),
        None => {
            if !fields.is_misnamed("group", &keys::CONCURRENCY) {
                let help = "write `group: deploy`";
                findings.error(Code::MissingKey, node.place, "`concurrency` has no `group`", help.to_owned());
            }
            None
        }
    };
    let cancel_in_progress = match fields.get("cancel-in-progress") {
        Some(node) => text::flag(node, "`cancel-in-progress`", names, findings),
        None => Some(Flag::Is(false)),
    };
    let (group, place) = group?;
    Some(Group { group, cancel_in_progress: cancel_in_progress?, at: at(place, findings) })
}

/// Returns the pipeline's name and the place that it comes from.
fn name(top: &Fields<'_>, beginning: Place, findings: &mut Findings<'_>) -> Option<(String, Place)> {
    let (name, place, what) = match top.get("name") {
        Some(node) => (filled(node, "`name`", findings)?.to_owned(), node.place, "a pipeline's name"),
        None => (stem(findings.path()), beginning, "the file's name, which is the pipeline's without a `name`,"),
    };
    if name.contains("${{") {
        findings.error(
            Code::ExpressionNotSupported,
            place,
            "a pipeline's name cannot have expressions",
            "write a fixed name".to_owned(),
        );
        return None;
    }
    if name.is_empty() || name.contains('/') || name.chars().any(char::is_control) || name.trim() != name {
        let message = format!("{what} is one line without `/`, and does not begin or end with a space");
        findings.error(Code::BadName, place, message, "write `name: ci`".to_owned());
        return None;
    }
    check_length(&name, place, what, findings).then_some((name, place))
}

/// The default name of a file: `.longshore/ci.yml` is `ci`, `.longshore.yml` is `longshore`.
fn stem(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.strip_suffix(".yml").or_else(|| file.strip_suffix(".yaml")).unwrap_or(file);
    stem.trim_start_matches('.').to_owned()
}

/// The values of jobs and steps that set none themselves.
#[derive(Debug, Default)]
struct Defaults {
    image: Option<Template>,
    shell: Option<Template>,
    working_directory: Option<Template>,
    timeout_ms: Option<u64>,
}

impl Defaults {
    fn read(node: &Node, names: &Names, findings: &mut Findings<'_>) -> Option<Self> {
        let fields = Fields::read(node, &keys::DEFAULTS, findings)?;
        let image = fields.get("image").map(|node| image::read(node, Position::PlannedImage, names, &[], findings));
        let shell = fields.get("shell").map(|node| step::shell(node, names, findings));
        let working_directory = fields
            .get("working-directory")
            .map(|node| step::one_line(node, "`working-directory`", Position::PlannedScript, names, findings));
        let timeout_ms = fields.get("timeout").map(|node| duration(node, "`timeout`", findings));
        // An outer `None` means that the key is absent, an inner one that its value is wrong.
        Some(Self {
            image: valid_or_absent(image)?,
            shell: valid_or_absent(shell)?,
            working_directory: valid_or_absent(working_directory)?,
            timeout_ms: valid_or_absent(timeout_ms)?,
        })
    }
}

/// Turns "absent, wrong or right" into "wrong, or absent or right".
#[expect(clippy::option_option, reason = "a key may be absent, wrong or right")]
fn valid_or_absent<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        None => Some(None),
        Some(None) => None,
        Some(Some(value)) => Some(Some(value)),
    }
}
