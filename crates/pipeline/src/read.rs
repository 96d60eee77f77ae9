//! Reads the tree of a file into a pipeline: what each key means. One submodule for each kind of mapping.
//!
//! A reader reports everything that is wrong with its part and goes on; `None` means that it has reported an error.

mod advice;
mod env;
mod image;
mod input;
mod job;
mod job_settings;
mod keep;
mod matrix;
mod needs;
mod on;
mod reuse;
mod service;
mod settings;
mod step;
mod waits;
mod with;
mod workspaces;

use std::{
    collections::{BTreeSet, HashMap},
    rc::Rc,
};

use longshore_core::Template;

use super::{
    code::Code,
    fields::{Fields, named_entries},
    findings::Findings,
    graph,
    input::{self as inputs, Input, InputKind},
    keys, limits,
    model::{At, Group, Job, Pipeline, Triggers},
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
    let on = top.get("on").map_or_else(|| Some(on::default()), |node| on::read(node, findings));
    let mut names = names_of(on.as_ref());
    let env = top.read_or("env", env::Env::default(), |node| env::read(node, Position::Pipeline, &names, findings));
    names.add_env(env.as_ref());
    let defaults = top.read_or("defaults", Defaults::default(), |node| Defaults::read(node, &names, findings));
    let concurrency = top.read_optional("concurrency", |node| concurrency(node, &names, findings));
    let (jobs_place, entries) = job_entries(&top, beginning, findings)?;

    let expanded: Vec<Option<Expanded>> = entries.iter().map(|entry| library.expand(entry, findings)).collect();
    let heads: HashMap<String, job::Head> = entries
        .iter()
        .zip(&expanded)
        .map(|(entry, expanded)| {
            let node = expanded.as_ref().map(|expanded| &*expanded.node);
            (entry.key.clone(), job::Head::read(node, &names))
        })
        .collect();
    let around = job::PipelineContext {
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
            graph::Needs { job: &entry.key, needs: needs::needed_names(node) }
        })
        .collect();
    graph::check(&needs, findings);

    let jobs = jobs.into_iter().collect::<Option<Vec<Job>>>()?;
    workspaces::check(&jobs, &needs, findings)?;
    check_size(&jobs, jobs_place, findings)?;
    let (name, name_place) = name?;
    let name_at = at(name_place, findings);
    let file = findings.path().to_owned();
    let jobs_at = at(jobs_place, findings);
    Some(Pipeline { file, name, name_at, jobs_at, on: on?, env: env?, concurrency: concurrency?, jobs })
}

/// Returns the names that expressions of the whole pipeline may use.
fn names_of(on: Option<&Triggers>) -> Names {
    let declared = on.map(|on| inputs::types(on.manual.as_deref().unwrap_or_default()));
    let mut names = Names::of_pipeline(declared);
    for input in on.iter().flat_map(|on| on.manual.as_deref().unwrap_or_default()) {
        if input.kind == InputKind::String {
            names.taint_path(format!("inputs.{}", input.name), Taint::Elsewhere);
        }
    }
    names
}

/// Returns the place of `jobs`, and its entries: at least one, and not more than a build may have.
fn job_entries<'n>(top: &Fields<'n>, beginning: Place, findings: &mut Findings<'_>) -> Option<(Place, &'n [Entry])> {
    let Some(jobs) = top.entry("jobs") else {
        if !top.is_misnamed("jobs", &keys::PIPELINE) {
            findings.error(
                Code::MissingKey,
                beginning,
                "`jobs` is missing",
                "write `jobs: { build: { image: debian:12, steps: [{ run: make }] } }`".to_owned(),
            );
        }
        return None;
    };
    let example = "build: { image: debian:12, steps: [{ run: make }] }";
    let entries = named_entries(&jobs.value, "`jobs`", example, findings)?;
    if entries.is_empty() {
        let help = format!("write at least one: `{example}`");
        findings.error(Code::Empty, jobs.value.place, "`jobs` is empty", help);
        return None;
    }
    if entries.len() > findings.most_jobs() {
        too_many_jobs(entries.len(), jobs.key_place, findings);
        return None;
    }
    Some((jobs.key_place, entries))
}

/// Checks how many jobs and expressions there are, with each combination of the matrices.
fn check_size(jobs: &[Job], place: Place, findings: &mut Findings<'_>) -> Option<()> {
    let total: usize = jobs.iter().map(|job| job.combinations.len()).sum();
    if total > findings.most_jobs() {
        too_many_jobs(total, place, findings);
        return None;
    }
    if jobs.iter().map(Job::expressions).sum::<usize>() > limits::EXPRESSIONS {
        findings.error(
            Code::PlanTooLarge,
            place,
            format!("after the matrix, the jobs have more than {} expressions", limits::EXPRESSIONS),
            "put the value into `env` once, and use the variable in scripts".to_owned(),
        );
        return None;
    }
    let patterns: BTreeSet<String> = jobs.iter().flat_map(Job::changes).flatten().collect();
    if patterns.len() > limits::CHANGED_PATTERNS {
        let most = limits::CHANGED_PATTERNS;
        let message =
            format!("{} patterns in `changed()`, more than the limit of {most} in a pipeline", patterns.len());
        findings.error(Code::TooManyValues, place, message, "write wider patterns".to_owned());
        return None;
    }
    Some(())
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

/// Returns the default name of a file: `.longshore/ci.yml` is `ci`, `.longshore.yml` is `longshore`.
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
        let image =
            fields.read_optional("image", |node| image::read(node, Position::PlannedImage, names, &[], findings));
        let shell = fields.read_optional("shell", |node| step::shell(node, names, findings));
        let working_directory = fields.read_optional("working-directory", |node| {
            step::one_line(node, "`working-directory`", Position::PlannedScript, names, findings)
        });
        let timeout_ms = fields.read_optional("timeout", |node| duration(node, "`timeout`", findings));
        Some(Self { image: image?, shell: shell?, working_directory: working_directory?, timeout_ms: timeout_ms? })
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
