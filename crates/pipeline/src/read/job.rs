//! Reads a job: one container on one workspace.

use std::collections::{BTreeMap, HashMap};

use longshore_core::{
    JobPlan, Template,
    plan::{Reports, SecretUse},
};

use super::super::{
    code::Code,
    fields::{Fields, mapping},
    findings::Findings,
    input as inputs, keys, limits,
    model::{Combination, InputValue, Job, Need},
    scalar::check_name,
    scope::{MatrixNames, Names, Position, Taint, need_type},
    source::Place,
    templates::Expanded,
    text,
    tree::{Entry, Kind, Node},
};
use super::{
    Defaults, advice, at, env, env::Env, image, job_settings::JobSettings, keep, matrix, needs, settings, step, waits,
    with,
};

/// The pipeline around a job. `None` for a part that is wrong itself.
#[derive(Debug)]
pub(super) struct PipelineContext<'a> {
    pub(super) defaults: Option<&'a Defaults>,
    pub(super) env: Option<&'a Env>,
    pub(super) names: &'a Names,
    /// The parts of each job that other jobs can refer to.
    pub(super) heads: &'a HashMap<String, Head>,
    /// Whether the pipeline has `concurrency`.
    pub(super) exclusive: bool,
}

impl PipelineContext<'_> {
    /// Checks that texts of `defaults` mean the same in a job from a template. A template has its own `inputs`, so they
    /// must not refer to the pipeline's.
    fn defaults_fit<'t>(
        &self,
        texts: impl IntoIterator<Item = &'t Template>,
        expanded: &Expanded,
        job: &Entry,
        findings: &mut Findings<'_>,
    ) -> bool {
        let fit = expanded.template.is_none() || texts.into_iter().all(|text| !text.refers().to("inputs"));
        if !fit {
            findings.error(
                Code::NotKnownHere,
                job.key_place,
                "`defaults` uses the pipeline's `inputs`, but a job that uses a template has its own",
                "write the key in the template's job, and pass what it needs in `with`".to_owned(),
            );
        }
        fit
    }

    /// Adds the names of the other jobs, and those of the outputs of the jobs that this one needs.
    fn add_jobs(&self, job: &str, needs: Option<&[Need]>, names: &mut Names) {
        names.set_jobs(self.heads.keys().map(String::as_str).filter(|other| *other != job));
        for Need { job: need, .. } in needs.into_iter().flatten() {
            let head = self.heads.get(need);
            names.add_need(need, need_type(head.and_then(|head| head.outputs.as_deref())));
            for (output, taint) in head.into_iter().flat_map(|head| &head.tainted) {
                names.taint_path(format!("needs.{need}.outputs.{output}"), *taint);
            }
        }
        if needs.is_none() {
            names.allow_any_need();
        }
    }
}

/// The parts of a job that other jobs can refer to, known before the job is read.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// `None` if they cannot be read.
    outputs: Option<Vec<String>>,
    /// Outputs that hold text written by an outsider.
    tainted: Vec<(String, Taint)>,
    /// The names of its artifacts; `None` if they are not all known.
    pub(super) artifacts: Option<Vec<String>>,
}

impl Head {
    pub(super) fn read(job: Option<&Node>, names: &Names) -> Self {
        let Some(Node { kind: Kind::Map(entries), .. }) = job else { return Self::default() };
        let artifacts = keep::names(entries.iter().find(|entry| entry.key == "artifacts").map(|entry| &entry.value));
        let Some(outputs) = entries.iter().find(|entry| entry.key == "outputs") else {
            return Self { outputs: Some(Vec::new()), tainted: Vec::new(), artifacts };
        };
        let Kind::Map(outputs) = &outputs.value.kind else { return Self { artifacts, ..Self::default() } };
        let mut tainted = Vec::new();
        for output in outputs {
            let Kind::Scalar(scalar) = &output.value.kind else { continue };
            if let Some(taint) = text::parse_parts(&scalar.text).and_then(|text| names.taint(&text)) {
                tainted.push((output.key.clone(), taint));
            }
        }
        Self { outputs: Some(outputs.iter().map(|output| output.key.clone()).collect()), tainted, artifacts }
    }
}

/// Reads a job that is valid in itself; its needs are checked together with those of all jobs.
pub(super) fn read(
    entry: &Entry,
    expanded: Option<&Expanded>,
    around: &PipelineContext<'_>,
    findings: &mut Findings<'_>,
) -> Option<Job> {
    let named = check_name(&entry.key, entry.key_place, "a job's name", findings);
    let expanded = expanded?;
    findings.set_using_job(expanded.template.is_some().then_some(entry.key.as_str()));
    let job = read_expanded(entry, expanded, around, findings);
    findings.set_using_job(None);
    job.filter(|_| named)
}

fn read_expanded(
    entry: &Entry,
    expanded: &Expanded,
    around: &PipelineContext<'_>,
    findings: &mut Findings<'_>,
) -> Option<Job> {
    let fields = Fields::read(&expanded.node, &keys::JOB, findings)?;
    let matrix = fields.entry("matrix").map(|entry| matrix::read(entry, findings));
    // The values of a broken matrix are not known, so the rest is read as if the matrix had every name that is used.
    let broken_matrix = matches!(matrix, Some(None));
    let matrix = matrix.flatten();
    let single = [Combination::default()];
    let combinations: &[Combination] = matrix.as_ref().map_or(&single, |matrix| &matrix.combinations);
    let mut names = around.names.of_job(match &matrix {
        Some(matrix) => MatrixNames::Of(matrix.keys.clone()),
        None if broken_matrix => MatrixNames::Broken,
        None => MatrixNames::None,
    });

    let needs = fields.read_or("needs", Vec::new(), |node| needs::read(node, around.heads, findings));
    let workspace_of = fields.read_or("needs", None, |node| needs::workspace_job(node, findings));
    around.add_jobs(&entry.key, needs.as_deref(), &mut names);
    let with = template_inputs(entry, expanded, &mut names, findings);
    let secrets = secrets(&fields, &mut names, findings);
    let env = fields.read_or("env", Env::default(), |node| env::read(node, Position::JobEnv, &names, findings));
    names.add_env(env.as_ref());

    let image = image(&fields, entry, expanded, around, &names, combinations, findings);
    let on_workspace = matches!(&workspace_of, Some(Some(_)));
    let settings = JobSettings::read(&fields, &names, on_workspace, findings);
    if !settings.network_fits(&fields, findings) {
        return None;
    }
    let reports = fields.read_or("reports", Reports::default(), |node| keep::reports(node, &names, findings));
    let steps = steps(&fields, entry, expanded, &mut names, around, findings);
    let outputs = fields.read_or("outputs", BTreeMap::new(), |node| outputs(node, &names, findings));

    if broken_matrix {
        return None;
    }
    let (env, steps, defaults, secrets) = (env?, steps?, around.defaults?, secrets?);
    if !has_room(&env, around.env, &steps, combinations, entry.key_place, findings) {
        return None;
    }
    let (image, image_place) = image?;
    let settings = settings.validated()?;
    let draft = JobPlan {
        image,
        env,
        secrets: secrets.iter().map(|(secret, _)| secret.clone()).collect(),
        // Its key is known when the build is planned.
        workspace_of: workspace_of?,
        outputs: outputs?,
        reports: reports?,
        timeout_ms: settings.timeout_ms.or(defaults.timeout_ms).unwrap_or(limits::DEFAULT_TIMEOUT_MS),
        ..settings.plan
    };
    let job = Job {
        name: entry.key.clone(),
        at: at(entry.key_place, findings),
        image_at: at(image_place, findings),
        draft,
        needs: needs?,
        approval: settings.approval,
        runs_on: settings.runs_on,
        continue_on_error: settings.continue_on_error,
        steps: steps.into_iter().map(|read| read.step).collect(),
        with: with?,
        fail_fast: matrix.as_ref().is_none_or(|matrix| matrix.fail_fast),
        max_parallel: matrix.as_ref().and_then(|matrix| matrix.max_parallel),
        combinations: combinations.to_vec(),
    };
    advice::unseen_secrets(&job, &secrets, findings);
    advice::floating_tags(&job, image_place, fields.get("steps"), around.exclusive, findings);
    advice::early_values(&job, fields.get("steps"), findings);
    Some(job)
}

/// Reads what the job passes to its template. `Some(None)` for a job that uses no template.
#[expect(clippy::option_option, reason = "a job may use no template, or pass wrong inputs")]
fn template_inputs(
    entry: &Entry,
    expanded: &Expanded,
    names: &mut Names,
    findings: &mut Findings<'_>,
) -> Option<Option<BTreeMap<String, InputValue>>> {
    let Some(template) = &expanded.template else { return Some(None) };
    let own = entry_of(&entry.value, "with").map(|entry| &*entry.value);
    let mut tainted = Vec::new();
    let with =
        template.inputs.as_ref().and_then(|inputs| with::read(inputs, own, entry, names, &mut tainted, findings));
    names.use_template(template.inputs.as_ref().map(|inputs| inputs::types(inputs)), tainted);
    with.map(Some)
}

/// Reads the secrets of a job, with their places. `names` learns them.
fn secrets(fields: &Fields<'_>, names: &mut Names, findings: &mut Findings<'_>) -> Option<Vec<(SecretUse, Place)>> {
    let secrets = fields.read_or("secrets", Vec::new(), |node| settings::secrets(node, findings));
    for (secret, _) in secrets.iter().flatten() {
        names.add_secret(&secret.name, (!secret.by_name).then_some(secret.variable.as_str()));
    }
    if secrets.is_none() {
        names.allow_any_secret();
    }
    secrets
}

/// Reads the job's image, or takes that of `defaults`. Returns it with its place.
fn image(
    fields: &Fields<'_>,
    entry: &Entry,
    expanded: &Expanded,
    around: &PipelineContext<'_>,
    names: &Names,
    combinations: &[Combination],
    findings: &mut Findings<'_>,
) -> Option<(Template, Place)> {
    if let Some(node) = fields.get("image") {
        let image = image::read(node, Position::JobImage, names, combinations, findings)?;
        return Some((image, node.place));
    }
    if let Some(image) = &around.defaults?.image {
        let fits = around.defaults_fit([image], expanded, entry, findings);
        return fits.then(|| (image.clone(), entry.key_place));
    }
    if !fields.is_misnamed("image", &keys::JOB) {
        findings.error(
            Code::MissingImage,
            entry.key_place,
            format!("the job `{}` has no `image`", entry.key),
            "write `image: debian:12` in the job, or in `defaults` for all jobs".to_owned(),
        );
    }
    None
}

/// Checks that the scripts and variables of a job are within the limit, for each combination of its matrix.
fn has_room(
    env: &Env,
    of_pipeline: Option<&Env>,
    steps: &[step::Read],
    combinations: &[Combination],
    place: Place,
    findings: &mut Findings<'_>,
) -> bool {
    let longest_value = combinations.iter().flat_map(|c| &c.values).map(|(_, value)| value.len()).max().unwrap_or(0);
    let size = env::size(env, longest_value)
        + of_pipeline.map_or(0, |env| env::size(env, 0))
        + steps.iter().map(|step| step.size(longest_value)).sum::<usize>();
    if size <= limits::JOB_BYTES {
        return true;
    }
    findings.error(
        Code::TooMuchText,
        place,
        format!("the scripts and variables of this job are larger than {} KiB", limits::JOB_BYTES / 1024),
        "move long scripts into files in the repository".to_owned(),
    );
    false
}

pub(super) fn entry_of<'n>(node: &'n Node, key: &str) -> Option<&'n Entry> {
    match &node.kind {
        Kind::Map(entries) => entries.iter().find(|entry| entry.key == key),
        Kind::List(_) | Kind::Scalar(_) => None,
    }
}

fn outputs(node: &Node, names: &Names, findings: &mut Findings<'_>) -> Option<BTreeMap<String, Template>> {
    let mut outputs = BTreeMap::new();
    let mut valid = true;
    for entry in mapping(node, "`outputs`", findings)? {
        let named = check_name(&entry.key, entry.key_place, "an output's name", findings);
        let value = super::super::scalar::text_or_empty(&entry.value, "an output", findings)
            .and_then(|value| text::read(value, entry.value.place, Position::Outputs, names, findings));
        match value {
            Some(value) if named => {
                outputs.insert(entry.key.clone(), value);
            }
            _ => valid = false,
        }
    }
    valid.then_some(outputs)
}

fn steps(
    fields: &Fields<'_>,
    job: &Entry,
    expanded: &Expanded,
    names: &mut Names,
    around: &PipelineContext<'_>,
    findings: &mut Findings<'_>,
) -> Option<Vec<step::Read>> {
    let of_defaults =
        around.defaults.into_iter().flat_map(|defaults| defaults.shell.iter().chain(&defaults.working_directory));
    let defaults_fit = around.defaults_fit(of_defaults, expanded, job, findings);
    let Some(entry) = fields.entry("steps") else {
        if !fields.is_misnamed("steps", &keys::JOB) {
            let place: Place = job.key_place;
            findings.error(
                Code::MissingKey,
                place,
                format!("the job `{}` has no `steps`", job.key),
                "write `steps: [{ run: make test }]`".to_owned(),
            );
        }
        return None;
    };
    let Kind::List(items) = &entry.value.kind else {
        findings.error(
            Code::WrongType,
            entry.value.place,
            format!("`steps` must be a list, but this is {}", entry.value.describe()),
            "write each step as a list item: `- run: make test`".to_owned(),
        );
        return None;
    };
    if items.is_empty() {
        let message = format!("the job `{}` has no steps", job.key);
        findings.error(Code::Empty, entry.value.place, message, "write at least one: `- run: make test`".to_owned());
        return None;
    }
    if items.len() > limits::STEPS {
        findings.error(
            Code::TooManySteps,
            entry.key_place,
            format!("{} steps, more than the limit of {} in a job", items.len(), limits::STEPS),
            "combine several steps in one script".to_owned(),
        );
        return None;
    }
    names.set_step_ids(items.iter().filter_map(|item| match &entry_of(item, "id")?.value.kind {
        Kind::Scalar(id) => Some(id.text.as_str()),
        Kind::Map(_) | Kind::List(_) => None,
    }));
    let read: Vec<Option<step::Read>> =
        items.iter().map(|item| step::read(item, names, around.defaults, findings)).collect();
    let waits_fit = waits::check(items, findings);
    read.into_iter().collect::<Option<_>>().filter(|_| defaults_fit && waits_fit)
}
