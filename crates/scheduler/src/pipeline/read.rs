//! Tree to pipeline: what every key means. One file below for each kind of mapping.
//!
//! A reader says everything that is wrong with its part and goes on; `None` means that it said something.

mod env;
mod job;
mod matrix;
mod on;
mod step;

use std::rc::Rc;

use super::{
    code::Code,
    fields::{Fields, mapping},
    findings::Findings,
    graph, keys, limits,
    model::{At, Job, Pipeline},
    scalar::{check_length, duration, filled},
    source::Place,
    template::{Scope, Template},
    tree::Node,
};

/// Reads a file's tree.
pub(super) fn pipeline(root: &Rc<Node>, findings: &mut Findings<'_>) -> Option<Pipeline> {
    let top = Fields::of(root, &keys::PIPELINE, findings)?;
    let beginning = Place::new(root.place.start, root.place.start + 1);

    let name = name(&top, beginning, findings);
    let on = match top.get("on") {
        Some(node) => on::read(node, findings),
        None => Some(on::default()),
    };
    let env = match top.get("env") {
        Some(node) => env::read(node, Scope::Outside, findings),
        None => Some(env::Env::default()),
    };
    let defaults = match top.get("defaults") {
        Some(node) => Defaults::read(node, findings),
        None => Some(Defaults::default()),
    };

    let Some(jobs_entry) = top.entry("jobs") else {
        if top.is_misnamed("jobs", &keys::PIPELINE) {
            return None;
        }
        findings.error(
            Code::MissingKey,
            beginning,
            "a pipeline has `jobs`, and this one has none",
            "write `jobs: { build: { image: debian:12, steps: [{ run: make }] } }`".to_owned(),
        );
        return None;
    };
    let jobs_at = at(jobs_entry.key_place, findings);
    let entries = mapping(&jobs_entry.value, "`jobs`", findings)?;
    if entries.is_empty() {
        findings.error(
            Code::Empty,
            jobs_entry.value.place,
            "`jobs` has no job",
            "write at least one: `build: { image: debian:12, steps: [{ run: make }] }`".to_owned(),
        );
        return None;
    }
    if entries.len() > limits::JOBS {
        too_many_jobs(entries.len(), jobs_entry.key_place, findings);
        return None;
    }
    let context = job::Context { defaults: defaults.as_ref(), pipeline_env: env.as_ref() };
    let jobs: Vec<Option<Job>> = entries.iter().map(|entry| job::read(entry, &context, findings)).collect();

    let needs: Vec<graph::Needs<'_>> =
        entries.iter().map(|entry| graph::Needs { job: &entry.key, needs: job::needs(&entry.value) }).collect();
    graph::check(&needs, findings);

    let jobs = jobs.into_iter().collect::<Option<Vec<Job>>>()?;
    let total: usize = jobs.iter().map(|job| job.combinations.len()).sum();
    if total > limits::JOBS {
        too_many_jobs(total, jobs_entry.key_place, findings);
        return None;
    }
    let (name, name_place) = name?;
    let name_at = at(name_place, findings);
    let file = findings.source.path.to_owned();
    Some(Pipeline { file, name, name_at, jobs_at, on: on?, env: env?.into_variables(), jobs })
}

fn too_many_jobs(count: usize, place: Place, findings: &mut Findings<'_>) {
    findings.error(
        Code::TooManyJobs,
        place,
        format!("{count} jobs, and a build has at most {}", limits::JOBS),
        "make the matrices smaller, or let one job do the work of several".to_owned(),
    );
}

fn at(place: Place, findings: &Findings<'_>) -> At {
    At { span: findings.source.span(place), source: findings.source.shown_line(place) }
}

/// The pipeline's name and where it comes from.
fn name(top: &Fields<'_>, beginning: Place, findings: &mut Findings<'_>) -> Option<(String, Place)> {
    let (name, place, what) = match top.get("name") {
        Some(node) => (filled(node, "`name`", findings)?.to_owned(), node.place, "a pipeline's name"),
        None => (stem(findings.source.path), beginning, "the file's name, which is the pipeline's without a `name`,"),
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

/// `.longshore/ci.yml` is `ci`; `.longshore.yml` is `longshore`.
fn stem(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.strip_suffix(".yml").or_else(|| file.strip_suffix(".yaml")).unwrap_or(file);
    stem.trim_start_matches('.').to_owned()
}

/// What jobs and steps take that say nothing themselves.
#[derive(Debug, Default)]
struct Defaults {
    image: Option<Template>,
    shell: Option<Template>,
    working_directory: Option<Template>,
    timeout_ms: Option<u64>,
}

impl Defaults {
    fn read(node: &Node, findings: &mut Findings<'_>) -> Option<Self> {
        let fields = Fields::of(node, &keys::DEFAULTS, findings)?;
        let image = fields.get("image").map(|node| job::image(node, Scope::Outside, &[], findings));
        let shell = fields.get("shell").map(|node| step::one_line(node, "`shell`", Scope::Outside, findings));
        let working_directory = fields
            .get("working-directory")
            .map(|node| step::one_line(node, "`working-directory`", Scope::Outside, findings));
        let timeout_ms = fields.get("timeout").map(|node| duration(node, "`timeout`", findings));
        // An outer `None` says that the key is absent, an inner one that it is wrong.
        Some(Self {
            image: wanted(image)?,
            shell: wanted(shell)?,
            working_directory: wanted(working_directory)?,
            timeout_ms: wanted(timeout_ms)?,
        })
    }
}

/// From "absent, wrong or right" to "wrong, or absent or right".
#[expect(clippy::option_option, reason = "a key may be absent, wrong or right")]
fn wanted<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        None => Some(None),
        Some(None) => None,
        Some(Some(value)) => Some(Some(value)),
    }
}
