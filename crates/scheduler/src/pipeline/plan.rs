//! Pipelines and an event to the frozen plan. Pure: the same input always makes the same plan.

use std::{collections::BTreeMap, fmt};

use longshore_core::{
    BuildPlan, Diagnostic, Event, EventName, JobPlan, Severity, StepPlan, Template as PlannedText,
    plan::{Checkout, MatrixGroup, Need},
};

use super::{
    code::Code,
    filter::Patterns,
    limits,
    model::{Combination, Job, Pipeline, Step, Triggers},
    template::Template,
    variables,
};

/// What a plan needs to know of the repository, besides the event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepoFacts {
    /// The whole name, `owner/name` where there is an owner.
    pub name: String,
    /// Without credentials: jobs get to see it.
    pub clone_url: String,
    /// `github`, `gitea`, `forgejo`, `git`, ...
    pub forge: String,
    pub default_branch: Option<String>,
}

/// What an event becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planned {
    /// Jobs to run.
    Build(BuildPlan),
    /// No pipeline is meant; why, file by file. Empty where there are no files.
    Nothing(Vec<NoMatch>),
    /// The files have errors, or ask for more than a build may have.
    Broken(Vec<Diagnostic>),
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

/// The plan of all `pipelines` that `event` starts.
pub(super) fn plan(pipelines: &[Pipeline], event: &Event, facts: &RepoFacts) -> Planned {
    let mut unmatched = Vec::new();
    let mut jobs: Vec<JobPlan> = Vec::new();
    let mut bytes = 0;
    for pipeline in pipelines {
        if let Err(reason) = starts(&pipeline.on, event) {
            unmatched.push(NoMatch { file: pipeline.file.clone(), pipeline: pipeline.name.clone(), reason });
            continue;
        }
        let count: usize = pipeline.jobs.iter().map(|job| job.combinations.len()).sum();
        if jobs.len() + count > limits::JOBS {
            let message = format!(
                "with this pipeline the build has {} jobs, and it may have {}",
                jobs.len() + count,
                limits::JOBS
            );
            let help = "make the matrices smaller, or start this pipeline by other events (`on`)";
            return Planned::Broken(vec![refusal(Code::TooManyJobs, pipeline, message, help)]);
        }
        let env = variables::of_pipeline(&pipeline.name, event, facts);
        for job in &pipeline.jobs {
            for combination in &job.combinations {
                let job = plan_job(pipeline, job, combination, &env);
                bytes += size(&job);
                jobs.push(job);
            }
        }
        if bytes > limits::PLAN_BYTES {
            let message = format!(
                "with this pipeline the build's scripts and variables have more than {} MiB",
                limits::PLAN_BYTES / 1024 / 1024
            );
            let help = "put long scripts into files of the repository and run those";
            return Planned::Broken(vec![refusal(Code::PlanTooLarge, pipeline, message, help)]);
        }
    }
    if jobs.is_empty() { Planned::Nothing(unmatched) } else { Planned::Build(BuildPlan::new(jobs)) }
}

fn refusal(code: Code, pipeline: &Pipeline, message: String, help: &str) -> Diagnostic {
    Diagnostic {
        code: code.as_str().to_owned(),
        severity: Severity::Error,
        file: pipeline.file.clone(),
        span: pipeline.jobs_at.span,
        message,
        help: Some(help.to_owned()),
        source: pipeline.jobs_at.source.clone(),
    }
}

/// Whether an event starts a pipeline; if not, why.
fn starts(on: &Triggers, event: &Event) -> Result<(), String> {
    match event.name {
        EventName::Push | EventName::Tag => {
            let Some(push) = &on.push else { return Err("pushes do not start it: its `on` has no `push`".to_owned()) };
            let (branch, tag) = (event.branch(), event.tag());
            match (&push.branches, &push.tags) {
                (None, None) => Ok(()),
                (Some(branches), _) if branch.is_some() => fits(branches, "branch", branch),
                (_, Some(tags)) if tag.is_some() => fits(tags, "tag", tag),
                (Some(_), None) => Err("only pushes of branches start it: its `push` has `branches`".to_owned()),
                (None, Some(_)) => Err("only pushes of tags start it: its `push` has `tags`".to_owned()),
                (Some(_), Some(_)) => Err("only pushes of branches and tags start it".to_owned()),
            }
        }
        EventName::Manual if on.manual => Ok(()),
        EventName::Manual => Err("nobody can start it by hand: its `on` has no `manual`".to_owned()),
        EventName::PullRequest => Err("pull requests are not supported yet".to_owned()),
        EventName::Schedule => Err("schedules are not supported yet".to_owned()),
    }
}

fn fits(patterns: &Patterns, what: &str, name: Option<&str>) -> Result<(), String> {
    let name = name.unwrap_or("");
    if patterns.admit(name) {
        return Ok(());
    }
    let written: Vec<&str> = patterns.written().take(10).collect();
    Err(format!("the {what} `{name}` does not fit its patterns: {}", written.join(", ")))
}

fn plan_job(
    pipeline: &Pipeline,
    job: &Job,
    combination: &Combination,
    variables: &BTreeMap<String, String>,
) -> JobPlan {
    let name = format!("{}{}", job.name, combination.suffix());
    let mut env = plain(variables.clone());
    env.extend(rendered(&pipeline.env, &Combination::default()));
    env.extend(rendered(&job.env, combination));
    // A need means every job that comes of its matrix.
    let needs = job
        .needs
        .iter()
        .filter_map(|need| pipeline.jobs.iter().find(|other| other.name == *need))
        .flat_map(|other| {
            other.combinations.iter().map(|c| Need {
                key: key(pipeline, &format!("{}{}", other.name, c.suffix())),
                job: other.name.clone(),
                optional: false,
            })
        })
        .collect();
    JobPlan {
        key: key(pipeline, &name),
        pipeline: pipeline.name.clone(),
        job: job.name.clone(),
        name,
        matrix_group: (!combination.values.is_empty()).then_some(MatrixGroup { fail_fast: true, max_parallel: None }),
        matrix: combination.values.clone(),
        needs,
        image: job.image.render(combination).into(),
        env,
        steps: job.steps.iter().enumerate().map(|(at, step)| plan_step(at, step, combination)).collect(),
        timeout_ms: job.timeout_ms,
        checkout: job.checkout.then(Checkout::default),
        ..JobPlan::default()
    }
}

fn key(pipeline: &Pipeline, job: &str) -> String {
    format!("{}/{job}", pipeline.name)
}

fn plan_step(at: usize, step: &Step, combination: &Combination) -> StepPlan {
    let run = step.run.render(combination);
    let name = match &step.name {
        Some(name) => name.render(combination),
        None => default_name(&run),
    };
    let mut env = plain(variables::of_step(at, &name));
    env.extend(rendered(&step.env, combination));
    StepPlan {
        name,
        run: Some(run.into()),
        env,
        working_directory: step.working_directory.as_ref().map(|path| path.render(combination).into()),
        shell: step.shell.render(combination),
        condition: step.condition.clone(),
        continue_on_error: step.continue_on_error,
        timeout_ms: step.timeout_ms,
        ..StepPlan::default()
    }
}

fn rendered(env: &BTreeMap<String, Template>, combination: &Combination) -> BTreeMap<String, PlannedText> {
    env.iter().map(|(name, value)| (name.clone(), value.render(combination).into())).collect()
}

fn plain(env: BTreeMap<String, String>) -> BTreeMap<String, PlannedText> {
    env.into_iter().map(|(name, value)| (name, value.into())).collect()
}

/// Characters of a step's name that nobody wrote.
const DEFAULT_NAME_CHARS: usize = 60;

/// The script's first line that says something.
fn default_name(run: &str) -> String {
    let line = run.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("");
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().count() <= DEFAULT_NAME_CHARS {
        return line;
    }
    let cut: String = line.chars().take(DEFAULT_NAME_CHARS - 1).collect();
    format!("{}…", cut.trim_end())
}

fn size(job: &JobPlan) -> usize {
    let env =
        |env: &BTreeMap<String, PlannedText>| env.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    env(&job.env)
        + job.steps.iter().map(|step| step.run.as_ref().map_or(0, PlannedText::len) + env(&step.env)).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::default_name;

    #[test]
    fn a_step_without_a_name_is_called_by_its_first_line() {
        assert_eq!(default_name("\n  make test\nmake more\n"), "make test");
        let long = default_name(&"x".repeat(100));
        assert_eq!(long.chars().count(), 60);
        assert!(long.ends_with('…'));
    }
}
