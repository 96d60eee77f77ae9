//! From an event's bare names to a build's plan: fetch, read the pipeline files at the commit, check, plan.
//!
//! The one road for deliveries and for manual starts. It writes nothing to the database.

use std::{collections::BTreeMap, sync::Arc};

use longshore_core::{BuildPlan, Diagnostic, Event, EventName};
use longshore_forge::{
    CommitId, RefName,
    git::{CloneUrl, GitError, Mirror, Mirrors, Wanted},
};
use longshore_store::repos::Repo;

use crate::pipeline::{self, Checked, Planned, RepoFacts, SourceFile, TemplateFiles};

/// What is known before git was asked.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) name: EventName,
    pub(crate) git_ref: RefName,
    pub(crate) wanted: Wanted,
    pub(crate) before: Option<CommitId>,
    pub(crate) sender: String,
    pub(crate) url: Option<String>,
    pub(crate) default_branch: Option<String>,
    pub(crate) inputs: BTreeMap<String, String>,
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Prepared {
    Build {
        event: Box<Event>,
        plan: BuildPlan,
        diagnostics: Vec<Diagnostic>,
    },
    /// Nothing of the repository's pipelines is for this event, or there are none; why, for people.
    Nothing(String),
}

/// Fetches and plans. Errors are git's; whatever is wrong with a pipeline file is a diagnostic.
pub(crate) async fn prepare(mirrors: &Mirrors, repo: &Repo, origin: Origin) -> Result<Prepared, GitError> {
    let url: CloneUrl = repo.clone_url.parse().map_err(|error: longshore_forge::git::InvalidCloneUrl| {
        GitError::RefusedAddress { address: "the clone address".to_owned(), detail: error.to_string() }
    })?;
    let mirror: Arc<Mirror> = mirrors.mirror(repo.id).await?;
    let commit = mirror.fetch(&url, &origin.wanted).await?;
    let facts = mirror.commit_facts(&commit).await?;
    let before = origin.before;
    let event = Box::new(Event {
        name: origin.name,
        git_ref: origin.git_ref.as_str().to_owned(),
        commit: commit.as_str().to_owned(),
        before: before.as_ref().map(|before| before.as_str().to_owned()),
        message: facts.message,
        author: facts.author,
        author_email: facts.email,
        sender: origin.sender,
        url: origin.url,
        default_branch: origin.default_branch.or_else(|| repo.default_branch.clone()),
        inputs: origin.inputs,
        pull_request: None,
        schedule: None,
    });
    let files = match mirror.pipeline_files(&commit).await {
        Ok(files) => files,
        Err(error @ (GitError::BothForms | GitError::PipelineFile { .. })) => {
            let diagnostics = vec![pipeline::unreadable(&error.to_string())];
            return Ok(Prepared::Build { event, plan: BuildPlan::new(Vec::new()), diagnostics });
        }
        Err(error) => return Err(error),
    };
    if files.is_empty() {
        let commit: String = event.commit.chars().take(10).collect();
        return Ok(Prepared::Nothing(format!(
            "no pipeline at {commit}: neither .longshore.yml nor a file in .longshore/"
        )));
    }
    let files: Vec<SourceFile> = files.into_iter().map(|file| SourceFile::new(file.path, file.text)).collect();
    let mut templates = TemplateFiles::new();
    for path in pipeline::wanted_templates(&files) {
        let file = mirror.file(&commit, &path).await?;
        templates.insert(path.clone(), file.map(|bytes| SourceFile::from_bytes(path, bytes)));
    }
    let checked = pipeline::check(&files, &templates);
    let changed_files = match checked.asks_for_changes() {
        true => mirror.changed_files(&commit, before.as_ref()).await?,
        false => None,
    };
    Ok(plan(&checked, event, repo, changed_files))
}

fn plan(checked: &Checked, event: Box<Event>, repo: &Repo, changed_files: Option<Vec<String>>) -> Prepared {
    let facts = RepoFacts {
        name: repo.name.clone(),
        clone_url: shown_address(&repo.clone_url),
        forge: repo.forge.clone(),
        default_branch: event.default_branch.clone(),
        changed_files,
    };
    let warnings = checked.diagnostics.clone();
    match checked.plan(&event, &facts) {
        Planned::Build(plan) => Prepared::Build { event, plan, diagnostics: warnings },
        Planned::Broken(diagnostics) => Prepared::Build { event, plan: BuildPlan::new(Vec::new()), diagnostics },
        Planned::Nothing(reasons) => {
            let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            Prepared::Nothing(reasons.join("; "))
        }
        Planned::Refused(reason) => Prepared::Nothing(reason),
    }
}

/// A clone address without the credentials that may stand in it: jobs get to see it.
fn shown_address(clone_url: &str) -> String {
    clone_url.parse::<CloneUrl>().map(|url| url.address().to_owned()).unwrap_or_default()
}
