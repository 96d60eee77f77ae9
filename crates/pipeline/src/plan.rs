//! Makes the frozen plan from pipelines and an event. Pure: the same input always makes the same plan.

mod fill;
mod step;

use std::{collections::BTreeMap, fmt};

use longshore_core::{
    BuildPlan, Diagnostic, Event, EventName, ImageRef, JobPlan, Severity, StepPlan, Template,
    expression::{CHANGED, EvalError, Value, Values},
    plan::{Concurrency, MatrixGroup, Need},
};

use self::{
    fill::{Fixed, evaluate_flag, fill, fill_env, fill_script},
    step::plan_step,
};
use super::{
    changes,
    code::Code,
    contexts, input, limits,
    model::{self, At, Combination, InputValue, Job, Pipeline},
    triggers::starts,
    variables,
};

/// The facts about the repository that planning needs, besides the event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepoFacts {
    /// The full name: `owner/name` if there is an owner.
    pub name: String,
    /// Without credentials, because jobs can see it.
    pub clone_url: String,
    /// `github`, `gitea`, `forgejo`, `git`, ...
    pub forge: String,
    pub default_branch: Option<String>,
    /// Paths of the files that the event changed, from the repository's root. `None` if they are not known; then every
    /// path filter lets the event pass, and `changed()` is true. Needed if
    /// [`Checked::asks_for_changes`](super::Checked::asks_for_changes) says so.
    pub changed_files: Option<Vec<String>>,
}

/// The result of planning an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planned {
    /// Jobs to run.
    Build(BuildPlan),
    /// No pipeline matches; the reason for each file. Empty if there are no files.
    Nothing(Vec<NoMatch>),
    /// The files have errors, or ask for more than a build may have.
    Broken(Vec<Diagnostic>),
    /// A manual start is refused: an input is missing or does not have its type.
    Refused(String),
}

/// Why a pipeline does not run for an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoMatch {
    pub file: String,
    pub pipeline: String,
    pub reason: String,
}

impl fmt::Display for NoMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({}): {}", self.pipeline, self.file, self.reason)
    }
}

/// Why a valid pipeline cannot be planned for an event.
struct Unplannable {
    code: Code,
    at: At,
    message: String,
    help: Option<String>,
}

impl Unplannable {
    fn new(code: Code, at: &At, message: impl Into<String>, help: &str) -> Self {
        Self { code, at: at.clone(), message: message.into(), help: Some(help.to_owned()) }
    }

    /// Returns the error for an expression whose value the checks did not foresee.
    fn no_value(at: &At, what: &str, error: &EvalError) -> Self {
        Self::new(
            Code::NoValue,
            at,
            format!("{what}: {error}"),
            "the event's values do not fit what the expression makes of them",
        )
    }

    fn into_diagnostic(self) -> Diagnostic {
        Diagnostic {
            code: self.code.as_str().to_owned(),
            severity: Severity::Error,
            file: self.at.file,
            span: self.at.span,
            message: self.message,
            help: self.help,
            source: self.at.source,
        }
    }
}

/// Plans all `pipelines` that `event` starts.
pub(super) fn plan(pipelines: &[Pipeline], event: &Event, facts: &RepoFacts, most_jobs: usize) -> Planned {
    let mut unmatched = Vec::new();
    let mut started: Vec<&Pipeline> = Vec::new();
    for pipeline in pipelines {
        match starts(&pipeline.on, event, facts) {
            Ok(()) => started.push(pipeline),
            Err(reason) => {
                unmatched.push(NoMatch { file: pipeline.file.clone(), pipeline: pipeline.name.clone(), reason });
            }
        }
    }
    if started.is_empty() {
        return Planned::Nothing(unmatched);
    }
    let by_hand = event.name == EventName::Manual;
    let declared = contexts::declared(started.iter().copied());
    if let Some(unknown) = event.inputs.keys().find(|name| by_hand && !declared.contains(&name.as_str())) {
        let shown: String = unknown.chars().take(60).collect();
        let known = super::suggest::listed(declared.iter().copied());
        return Planned::Refused(format!("unknown input `{shown}`; the inputs are {known}"));
    }
    let mut jobs: Vec<JobPlan> = Vec::new();
    let mut bytes = 0;
    for pipeline in started {
        let declared = pipeline.on.manual.as_deref().unwrap_or_default();
        let inputs = match input::values(declared, &event.inputs, by_hand) {
            Ok(inputs) => inputs,
            Err(reason) => return Planned::Refused(reason),
        };
        let mut known = contexts::of_pipeline(event, facts, inputs);
        known.contexts.insert(CHANGED.to_owned(), changes::answers(pipeline, event, facts));
        let count = jobs.len() + pipeline.jobs.iter().map(|job| job.combinations.len()).sum::<usize>();
        if count > most_jobs {
            let message = format!("with this pipeline the build has {count} jobs, more than the limit of {most_jobs}");
            let help = "make the matrices smaller, or start this pipeline on other events (`on`)";
            let unplannable = Unplannable::new(Code::TooManyJobs, &pipeline.jobs_at, message, help);
            return Planned::Broken(vec![unplannable.into_diagnostic()]);
        }
        match plan_pipeline(pipeline, event, facts, &known, &mut jobs, &mut bytes) {
            Ok(()) => {}
            Err(unplannable) => return Planned::Broken(vec![unplannable.into_diagnostic()]),
        }
    }
    Planned::Build(BuildPlan::new(jobs))
}

fn plan_pipeline(
    pipeline: &Pipeline,
    event: &Event,
    facts: &RepoFacts,
    known: &Values,
    jobs: &mut Vec<JobPlan>,
    bytes: &mut usize,
) -> Result<(), Unplannable> {
    let mut env: BTreeMap<String, Template> = variables::of_pipeline(&pipeline.name, event, facts)
        .into_iter()
        .map(|(name, value)| (name, value.into()))
        .collect();
    let own = fill_env(&pipeline.env, known)
        .map_err(|error| Unplannable::no_value(&pipeline.name_at, "`env` of the pipeline", &error))?;
    env.extend(own);
    let with_env = Fixed::new(known, &env, pipeline.env.keys()).values;
    let concurrency = match &pipeline.concurrency {
        None => None,
        Some(group) => {
            let failed = |error: &EvalError| Unplannable::no_value(&group.at, "`concurrency`", error);
            let name = group.group.evaluate(&with_env).map_err(|error| failed(&error))?;
            let cancel = evaluate_flag(&group.cancel_in_progress, &with_env).map_err(|error| failed(&error))?;
            // An empty name makes no group: everything whose expression is empty would share it.
            (!name.trim().is_empty()).then_some(Concurrency { group: name, cancel_in_progress: cancel })
        }
    };
    let planner = PipelinePlanner { pipeline, env: &env, concurrency: concurrency.as_ref() };
    for job in &pipeline.jobs {
        for combination in &job.combinations {
            let planned = planner.plan_job(job, combination, &contexts::of_job(known, combination))?;
            let size = size(&planned);
            if size > limits::JOB_BYTES * 2 {
                let message = format!("the job `{}` is larger than {} KiB", planned.name, limits::JOB_BYTES * 2 / 1024);
                return Err(Unplannable::new(Code::PlanTooLarge, &job.at, message, LONG_SCRIPTS));
            }
            *bytes += size;
            jobs.push(planned);
        }
        if *bytes > limits::PLAN_BYTES {
            let message = format!(
                "with this pipeline the build's scripts and variables have more than {} MiB",
                limits::PLAN_BYTES / 1024 / 1024
            );
            return Err(Unplannable::new(Code::PlanTooLarge, &pipeline.jobs_at, message, LONG_SCRIPTS));
        }
    }
    Ok(())
}

const LONG_SCRIPTS: &str = "move long scripts into files in the repository";

/// The parts that the jobs of one pipeline share.
struct PipelinePlanner<'a> {
    pipeline: &'a Pipeline,
    /// `CI_*` and the pipeline's own `env`.
    env: &'a BTreeMap<String, Template>,
    concurrency: Option<&'a Concurrency>,
}

impl PipelinePlanner<'_> {
    fn job_key(&self, job: &str) -> String {
        format!("{}/{job}", self.pipeline.name)
    }

    /// Returns the needs of a job; a need of a job with a matrix means all jobs that the matrix makes.
    fn needs(&self, job: &Job) -> Vec<Need> {
        let mut needs = Vec::new();
        for model::Need { job: name, optional, artifacts } in &job.needs {
            let Some(other) = self.pipeline.jobs.iter().find(|other| other.name == *name) else { continue };
            needs.extend(other.combinations.iter().map(|combination| Need {
                key: self.job_key(&format!("{name}{}", combination.suffix())),
                job: name.clone(),
                optional: *optional,
                artifacts: artifacts.clone(),
            }));
        }
        needs
    }

    /// Returns the key of the job whose workspace this one begins on.
    fn workspace_of(&self, job: &Job) -> Option<String> {
        let name = job.draft.workspace_of.as_ref()?;
        let other = self.pipeline.jobs.iter().find(|other| other.name == *name)?;
        Some(self.job_key(&format!("{name}{}", other.combinations.first()?.suffix())))
    }

    fn plan_job(&self, job: &Job, combination: &Combination, known: &Values) -> Result<JobPlan, Unplannable> {
        let name = format!("{}{}", job.name, combination.suffix());
        let failed = |error: &EvalError| Unplannable::no_value(&job.at, &format!("the job `{name}`"), error);
        let mut known = known.clone();
        let outer = Fixed::new(&known, self.env, self.pipeline.env.keys()).values;
        let mut of_job = outer.clone();
        if let Some(with) = &job.with {
            let inputs = template_inputs(with, &outer, &job.at)?;
            known.contexts.insert("inputs".to_owned(), inputs.clone());
            of_job.contexts.insert("inputs".to_owned(), inputs);
        }

        let mut plan = job.draft.clone();
        plan.env = self.env.clone();
        if !plan.reuse.is_empty() {
            plan.env.retain(|name, _| !variables::is_passing(name) || self.pipeline.env.contains_key(name));
        }
        plan.env.extend(fill_env(&job.draft.env, &of_job).map_err(|error| failed(&error))?);
        let fixed = Fixed::new(&known, &plan.env, self.pipeline.env.keys().chain(job.draft.env.keys()));
        let env = std::mem::take(&mut plan.env);
        plan.change_own(&mut |text: &mut Template| fill(text, &fixed)).map_err(|error| failed(&error))?;
        plan.env = env;
        let of_services = plan.services.iter_mut().flat_map(|service| {
            [&mut service.image].into_iter().chain(&mut service.entrypoint).chain(&mut service.command)
        });
        for text in of_services.chain([&mut plan.image]) {
            fill_script(text, &fixed).map_err(|error| failed(&error))?;
        }
        // `env` is not filled in here: its value in `outputs` is the one that the steps have left.
        for text in plan.outputs.values_mut() {
            fill(text, &known).map_err(|error| failed(&error))?;
        }
        let steps = job
            .steps
            .iter()
            .enumerate()
            .map(|(at, step)| plan_step(at, step, &plan.env, &known, &fixed, !plan.reuse.is_empty()));
        plan.steps = steps.collect::<Result<_, _>>().map_err(|error| failed(&error))?;

        plan.approval =
            job.approval.as_ref().map(|text| text.evaluate(&fixed)).transpose().map_err(|error| failed(&error))?;
        for (label, value) in &job.runs_on {
            plan.runs_on.insert(label.clone(), value.evaluate(&fixed).map_err(|error| failed(&error))?);
        }
        plan.continue_on_error = evaluate_flag(&job.continue_on_error, &fixed).map_err(|error| failed(&error))?;
        for image in plan.images() {
            let Some(known) = image.as_known() else { continue };
            if let Err(bad) = ImageRef::parse(known) {
                let shown: String = known.chars().take(100).collect();
                let message = format!("the image of the job `{name}` would be `{shown}`: {bad}");
                let help = "make sure that every event results in a name";
                return Err(Unplannable::new(Code::BadImage, &job.image_at, message, help));
            }
        }
        plan.scripts_judged = true;
        plan.key = self.job_key(&name);
        plan.pipeline.clone_from(&self.pipeline.name);
        plan.job.clone_from(&job.name);
        plan.name = name;
        plan.matrix.clone_from(&combination.values);
        plan.matrix_group = (!combination.values.is_empty())
            .then_some(MatrixGroup { fail_fast: job.fail_fast, max_parallel: job.max_parallel });
        plan.needs = self.needs(job);
        plan.workspace_of = self.workspace_of(job);
        plan.concurrency = self.concurrency.cloned();
        plan.known = contexts::referenced_values(&mut plan, &known);
        Ok(plan)
    }
}

fn template_inputs(with: &BTreeMap<String, InputValue>, known: &Values, at: &At) -> Result<Value, Unplannable> {
    let mut inputs = BTreeMap::new();
    for (name, value) in with {
        let value = match value {
            InputValue::Known(value) => value.clone(),
            InputValue::Text(text, input) => {
                let text = text
                    .evaluate(known)
                    .map_err(|error| Unplannable::no_value(at, &format!("`{name}` of `with`"), &error))?;
                let refused = |reason| {
                    Unplannable::new(Code::BadInput, at, reason, "pass a value that the template's input accepts")
                };
                input.take(&text).map_err(refused)?
            }
        };
        inputs.insert(name.clone(), value);
    }
    Ok(Value::Map(inputs))
}

fn size(job: &JobPlan) -> usize {
    let env =
        |env: &BTreeMap<String, Template>| env.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    let step = |step: &StepPlan| step.run.as_ref().map_or(0, Template::len) + env(&step.env) + env(&step.with);
    env(&job.env)
        + job.steps.iter().map(step).sum::<usize>()
        + job.services.iter().map(|service| env(&service.env)).sum::<usize>()
}
