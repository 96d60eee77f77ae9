//! Looks up what a job needs beyond its plan: the values of contexts, and the secrets that it names.
//!
//! The runner calls this when it starts or adopts a job. This is the only place where secrets leave the store, and they
//! go only into the job's request. A secret that its rules withhold stays in the store; the job fails as if it did not
//! exist.

use std::collections::BTreeMap;

use longshore_core::{
    ErrorKind, Event, ImageRef, JobId, JobPlan, Outcome, SecretName, Template,
    expression::{Context as _, Value, Values},
    rules::needs::needs_context,
};
use longshore_pipeline::secret_rules::{self, RequestingJob};
use longshore_store::{Store, builds::Build, jobs, repos::Repo, secrets};

/// A job's secrets.
#[derive(Default)]
pub(crate) struct Secrets {
    /// Values by environment variable.
    pub(crate) variables: BTreeMap<String, String>,
    /// Contents of files by the environment variable with the path.
    pub(crate) files: BTreeMap<String, String>,
    /// Values that no variable holds, to be masked as all others are.
    pub(crate) masks: Vec<String>,
    /// Values by name, for expressions.
    by_name: BTreeMap<String, String>,
}

/// Why a job does not start.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) outcome: Outcome,
    /// The secrets that were withheld, each with its rule: for the build and the job's log.
    pub(crate) withheld: Vec<String>,
}

impl From<Outcome> for Refusal {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, withheld: Vec::new() }
    }
}

/// The treatment of secrets that are missing or withheld.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// For a job that starts: apply the rules, and refuse the job if a secret is missing.
    Refuse,
    /// For a job that runs already, with the secrets that it got when it started, or whose images are only pulled
    /// ahead: leave them out.
    PassOver,
}

/// Returns the secrets that a plan names. Secrets from the command line take precedence over the repository's.
pub(crate) async fn secrets(
    store: &Store,
    (build, repo): (&Build, &Repo),
    plan: &JobPlan,
    given: &[(String, String)],
    missing: Missing,
) -> Result<Secrets, Refusal> {
    let error = |message: String| Refusal::from(Outcome::Error { kind: ErrorKind::SecretMissing, message });
    let mut found = Secrets::default();
    let given: BTreeMap<&str, &str> = given.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut names = Vec::new();
    for wanted in plan.secrets.iter().filter(|wanted| !given.contains_key(wanted.name.as_str())) {
        names.push(wanted.name.parse::<SecretName>().map_err(|invalid| error(invalid.to_string()))?);
    }
    let withheld = match missing {
        Missing::Refuse => withheld(store, build, repo, plan, &names)
            .await
            .map_err(|reason| error(format!("cannot read the rules of the job's secrets: {reason}")))?,
        Missing::PassOver => Vec::new(),
    };
    if !withheld.is_empty() {
        let message = format!("the job does not get its secrets: {}", withheld.join("; "));
        return Err(Refusal { withheld, ..error(message) });
    }
    let opened = match secrets::open(store, repo.id, &names).await {
        Ok(opened) => opened,
        Err(_) if missing == Missing::PassOver => BTreeMap::new(),
        Err(reason) => return Err(error(format!("cannot read the job's secrets: {reason}"))),
    };
    let mut absent = Vec::new();
    for wanted in &plan.secrets {
        let of_store = || opened.iter().find(|(name, _)| name.as_str() == wanted.name).map(|(_, value)| value.expose());
        let Some(value) = given.get(wanted.name.as_str()).copied().or_else(of_store) else {
            absent.push(wanted.name.as_str());
            continue;
        };
        if wanted.by_name {
            found.masks.push(value.to_owned());
        } else {
            let carriers = if wanted.file { &mut found.files } else { &mut found.variables };
            carriers.insert(wanted.variable.clone(), value.to_owned());
        }
        found.by_name.insert(wanted.name.clone(), value.to_owned());
    }
    if let [first, ..] = absent.as_slice()
        && missing == Missing::Refuse
    {
        let all = absent.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let (noun, them) = if absent.len() == 1 { ("secret", "it") } else { ("secrets", "them") };
        return Err(error(format!(
            "{noun} {all} not found in {}: set {them} with `longshore secret set {} {first}`, or \
             pass {them} to `longshore run` with `--secret {first}`",
            repo.name, repo.name
        )));
    }
    Ok(found)
}

/// Returns a sentence for each of these secrets that its rules withhold from the job.
async fn withheld(
    store: &Store,
    build: &Build,
    repo: &Repo,
    plan: &JobPlan,
    names: &[SecretName],
) -> Result<Vec<String>, longshore_store::StoreError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let job = RequestingJob { event: &build.event, pipeline: &plan.pipeline, job: &plan.job };
    let all = secrets::list(store, repo.id).await?;
    let named = all.iter().filter(|secret| names.contains(&secret.name));
    let withheld = named.filter_map(|secret| {
        let why = secret_rules::withheld(&secret.rules, job)?;
        Some(format!("the secret `{}` is withheld: {why}", secret.name))
    });
    Ok(withheld.collect())
}

/// Returns the contexts that are known when a job starts, but not when it is planned.
pub(crate) async fn contexts(
    store: &Store,
    build: &Build,
    job: JobId,
    plan: &JobPlan,
    secrets: &Secrets,
    url: &str,
) -> Result<BTreeMap<String, Value>, longshore_store::StoreError> {
    let needs = jobs::needs(store, job).await?;
    Ok(BTreeMap::from([
        ("build".to_owned(), longshore_scheduler::build_context(build.id, build.number, url)),
        ("needs".to_owned(), needs_context(plan, &needs)),
        ("secrets".to_owned(), Value::map(secrets.by_name.clone())),
    ]))
}

/// Refuses a job whose scripts may contain text that the pipeline's author did not write. This version does not plan
/// such jobs. A plan of an earlier version may still refer to such values, or may contain inputs of a manual start.
pub(crate) fn judge_scripts(plan: &JobPlan, event: &Event) -> Result<(), Outcome> {
    let refuse = |why: String| {
        Err(Outcome::Error {
            kind: ErrorKind::Expression,
            message: format!(
                "the job was planned by an earlier version of Longshore, and {why}; pass such values in `env`, and start a new build \
                 of the branch"
            ),
        })
    };
    if let Some((place, path)) = plan.foreign_in_scripts() {
        return refuse(format!("`{path}` would become a part of its `{place}`, which its author did not write"));
    }
    if !plan.scripts_judged && !event.inputs.is_empty() {
        return refuse("what it was started with may be a part of its scripts".to_owned());
    }
    Ok(())
}

/// Returns the plan with the names of its images filled in, which the engine needs before there is an agent. An image
/// of a step that depends on what steps before it do is filled in by the agent.
pub(crate) fn with_image(mut plan: JobPlan, known: &BTreeMap<String, Value>) -> Result<JobPlan, Outcome> {
    let mut values = Values { contexts: plan.known.clone(), progress: None };
    values.contexts.extend(known.iter().map(|(name, value)| (name.clone(), value.clone())));
    debug_assert!(values.context("build").is_some(), "the server's contexts are there");
    plan.image = image("the job", &plan.image, &values)?;
    for service in &mut plan.services {
        service.image = image(&format!("the service `{}`", service.name), &service.image, &values)?;
    }
    for step in &mut plan.steps {
        if let Some(template) = &mut step.image
            && template.evaluate_script(&values).is_ok()
        {
            *template = image(&format!("the step `{}`", step.name), template, &values)?;
        }
    }
    Ok(plan)
}

/// Fills in an image's name, and parses it: what was put into it is known only now.
fn image(whose: &str, template: &Template, values: &Values) -> Result<Template, Outcome> {
    let error = |reason: String| Outcome::Error {
        kind: ErrorKind::Expression,
        message: format!("`image` of {whose}: {reason}"),
    };
    let image = match template.as_known() {
        Some(image) => image.to_owned(),
        None => template.evaluate_script(values).map_err(|reason| error(reason.to_string()))?,
    };
    let image = ImageRef::parse(&image)
        .map_err(|bad| error(format!("`{}`: {bad}", image.chars().take(100).collect::<String>().escape_debug())))?;
    Ok(image.to_string().into())
}

#[cfg(test)]
mod tests {
    use longshore_core::{EventName, StepPlan, expression::Expression, template::Part};

    use super::*;

    fn filled(source: &str) -> Template {
        Template::new([Part::Text("x:".to_owned()), Part::Expression(Expression::parse(source).unwrap())])
    }

    fn event(inputs: &[(&str, &str)]) -> Event {
        Event {
            inputs: inputs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ..Event::new(EventName::Manual, "refs/heads/main", "1f0c2d3e4a5b6c7d8e9f00112233445566778899")
        }
    }

    fn known(output: &str) -> BTreeMap<String, Value> {
        let job = Value::map([("outputs", Value::map([("tag", output)])), ("result", Value::from(output))]);
        BTreeMap::from([("build".to_owned(), Value::default()), ("needs".to_owned(), Value::map([("a", job)]))])
    }

    #[test]
    fn a_plan_of_an_earlier_version_with_foreign_text_in_its_scripts_does_not_run() {
        let step = |run: Template| StepPlan { run: Some(run), ..StepPlan::default() };
        let plan =
            |run: Template, scripts_judged| JobPlan { steps: vec![step(run)], scripts_judged, ..JobPlan::default() };
        for source in ["steps.s.outputs.x", "needs.a.outputs.v || 'x'", "env.X", "inputs.level"] {
            let Err(Outcome::Error { message, .. }) = judge_scripts(&plan(filled(source), true), &event(&[])) else {
                panic!("{source} runs");
            };
            assert!(message.contains("earlier version") && message.contains("`run`"), "{message}");
        }
        assert_eq!(judge_scripts(&plan(filled("steps.s.outcome"), false), &event(&[])), Ok(()));
        assert_eq!(judge_scripts(&plan("make".into(), true), &event(&[("level", "x")])), Ok(()));
        let refused = judge_scripts(&plan("raise $(id)".into(), false), &event(&[("level", "$(id)")]));
        assert!(matches!(refused, Err(Outcome::Error { message, .. }) if message.contains("started with")));
    }

    #[test]
    fn an_image_that_is_filled_in_is_a_name_or_the_job_ends() {
        let plan = |source: &str| JobPlan { image: filled(source), ..JobPlan::default() };
        let image = with_image(plan("needs.a.result"), &known("success")).unwrap().image;
        assert_eq!(image.as_known(), Some("x:success"));
        for hostile in ["1/../../containers/json?limit=1#", "a b", "", "x\n", "A/../b"] {
            let refused = with_image(plan("needs.a.result"), &known(hostile));
            assert!(matches!(refused, Err(Outcome::Error { .. })), "{hostile:?}");
        }
        let refused = with_image(plan("needs.a.outputs.tag"), &known("1"));
        assert!(matches!(refused, Err(Outcome::Error { message, .. }) if message.contains("did not write")));
        let known_already = JobPlan { image: "x/../y".into(), ..JobPlan::default() };
        assert!(with_image(known_already, &known("1")).is_err());
    }
}
