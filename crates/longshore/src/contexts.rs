//! What a job gets that is not in its plan: values for its expressions, and the secrets that it names.
//!
//! Called by the runner when a job starts or is adopted. Secrets leave the store here and nowhere else, and go into the job's orders
//! and nowhere else.

use std::collections::BTreeMap;

use longshore_core::{
    ErrorKind, JobId, JobPlan, Outcome, SecretName,
    expression::{Context as _, Value, Values},
    needs::needs_context,
};
use longshore_store::{Store, builds::Build, jobs, repos::Repo, secrets};

/// A job's secrets.
#[derive(Default)]
pub(crate) struct Secrets {
    /// By the variables that carry them.
    pub(crate) variables: BTreeMap<String, String>,
    /// By the variables that carry the path of a file with them.
    pub(crate) files: BTreeMap<String, String>,
    /// By their names, for expressions.
    by_name: BTreeMap<String, String>,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// A job that starts: without a secret it does not.
    Refuse,
    /// A job that runs already, with what it was given then.
    PassOver,
}

/// The secrets that a plan names: those given on the command line first, then the repository's.
pub(crate) async fn secrets(
    store: &Store,
    repo: &Repo,
    plan: &JobPlan,
    given: &[(String, String)],
    missing: Missing,
) -> Result<Secrets, Outcome> {
    let error = |message: String| Outcome::Error { kind: ErrorKind::SecretMissing, message };
    let mut found = Secrets::default();
    let given: BTreeMap<&str, &str> = given.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut names = Vec::new();
    for wanted in plan.secrets.iter().filter(|wanted| !given.contains_key(wanted.name.as_str())) {
        names.push(wanted.name.parse::<SecretName>().map_err(|invalid| error(invalid.to_string()))?);
    }
    let opened = match secrets::open(store, repo.id, &names).await {
        Ok(opened) => opened,
        Err(_) if missing == Missing::PassOver => BTreeMap::new(),
        Err(reason) => return Err(error(format!("the job's secrets cannot be had: {reason}"))),
    };
    let mut absent = Vec::new();
    for wanted in &plan.secrets {
        let of_store = || opened.iter().find(|(name, _)| name.as_str() == wanted.name).map(|(_, value)| value.expose());
        let Some(value) = given.get(wanted.name.as_str()).copied().or_else(of_store) else {
            absent.push(wanted.name.as_str());
            continue;
        };
        let carriers = if wanted.file { &mut found.files } else { &mut found.variables };
        carriers.insert(wanted.variable.clone(), value.to_owned());
        found.by_name.insert(wanted.name.clone(), value.to_owned());
    }
    if let [first, ..] = absent.as_slice()
        && missing == Missing::Refuse
    {
        let all = absent.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let (noun, them) = if absent.len() == 1 { ("the secret", "it") } else { ("the secrets", "them") };
        return Err(error(format!(
            "the job names {noun} {all}, and {} has none of that name: set {them} with `longshore secret set {} {first}`, or \
             give {them} to `longshore run` with `--secret {first}`",
            repo.name, repo.name
        )));
    }
    Ok(found)
}

/// The contexts that the server knows and the plan does not.
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

/// The plan with the image's name filled in, which the engine needs before there is an agent.
pub(crate) fn with_image(mut plan: JobPlan, known: &BTreeMap<String, Value>) -> Result<JobPlan, Outcome> {
    if plan.image.as_known().is_none() {
        let mut values = Values { contexts: plan.known.clone(), progress: None };
        values.contexts.extend(known.iter().map(|(name, value)| (name.clone(), value.clone())));
        debug_assert!(values.context("build").is_some(), "the server's contexts are there");
        let image = plan.image.evaluate(&values).map_err(|error| Outcome::Error {
            kind: ErrorKind::Expression,
            message: format!("`image` of the job: {error}"),
        })?;
        plan.image = image.into();
    }
    Ok(plan)
}
