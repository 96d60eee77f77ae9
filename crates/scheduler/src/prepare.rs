//! Makes a build's plan from the bare names in an event: fetches, reads the pipeline files at the commit, checks and
//! plans.
//!
//! Deliveries, schedules and manual starts all go through here. Writes nothing to the database.

mod default_branch;

use std::{collections::BTreeMap, sync::Arc};

use longshore_core::{
    BuildPlan, Diagnostic, DueSchedule, Event, EventName, Timestamp,
    event::{Merge, PullRequest, Release},
    stranger,
};
use longshore_forge::{CloneUrl, CommitId, Head, PullRequestHook, Revision};
use longshore_git::{Changed, FetchTarget, GitError, Merged, Mirror, Mirrors};
use longshore_store::repos::Repo;

use longshore_pipeline as pipeline;
use longshore_pipeline::{Checked, Planned, RepoFacts, SourceFile, TemplateFiles};

pub(crate) use self::default_branch::{MAIN, default_branch_of};
use self::default_branch::{default_branch_head, default_branch_or_main, is_newest_of_default_branch, newest};
use crate::{logins::Logins, never_sent::never_sent, schedules, schedules::Schedules, skip};

/// What is known of an event before git is asked.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) name: EventName,
    /// The full name.
    pub(crate) git_ref: String,
    pub(crate) fetch_target: FetchTarget,
    pub(crate) before: Option<CommitId>,
    pub(crate) sender: String,
    pub(crate) url: Option<String>,
    pub(crate) default_branch: Option<String>,
    pub(crate) inputs: BTreeMap<String, String>,
    pub(crate) pull_request: Option<PullRequest>,
    pub(crate) schedule: Option<DueSchedule>,
    pub(crate) release: Option<Release>,
    /// Whether no webhook reported it.
    pub(crate) found: bool,
    /// The push option that asks for no build.
    pub(crate) skip: Option<&'static str>,
}

impl Origin {
    /// Creates an origin with only a name, a ref and what is to be fetched.
    pub(crate) fn new(name: EventName, git_ref: impl Into<String>, fetch_target: FetchTarget) -> Self {
        Self {
            name,
            git_ref: git_ref.into(),
            fetch_target,
            before: None,
            sender: String::new(),
            url: None,
            default_branch: None,
            inputs: BTreeMap::new(),
            pull_request: None,
            schedule: None,
            release: None,
            found: false,
            skip: None,
        }
    }
}

/// The result of [`Planner::prepare`].
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) outcome: EventOutcome,
    /// The repository's schedules, if the commit is the newest of the default branch and its files could be read.
    pub(crate) schedules: Option<Schedules>,
    /// The reason why the event starts nothing, if it does not.
    pub(crate) passed_over: Option<PassedOver>,
}

/// Pipelines that an event would start, if it were not for a path filter or for what the commit's message says.
#[derive(Debug)]
pub(crate) struct PassedOver {
    pub(crate) event: Event,
    /// Their names, each with the reason.
    pub(crate) pipelines: Vec<(String, String)>,
}

impl PassedOver {
    fn new(event: &Event, pipelines: Vec<(String, String)>) -> Option<Self> {
        (!pipelines.is_empty()).then(|| Self { event: event.clone(), pipelines })
    }
}

/// The outcome of an event.
#[derive(Debug)]
pub(crate) enum EventOutcome {
    Build {
        event: Box<Event>,
        plan: BuildPlan,
        diagnostics: Vec<Diagnostic>,
    },
    /// No pipeline of the repository is for this event, or there are none. The reason is for people.
    Nothing(String),
}

/// The settings for planning: where repositories are fetched to, the most jobs of a build, and how forges are asked.
/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Planner {
    pub mirrors: Arc<Mirrors>,
    /// Counted after the matrix; [`pipeline::limits::JOBS`] unless the server sets another number.
    pub most_jobs: usize,
    /// The credentials that repositories are fetched with.
    pub logins: Logins,
}

impl Planner {
    /// Fetches and plans. Errors are git's; anything wrong with a pipeline file is a diagnostic.
    pub(crate) async fn prepare(&self, repo: &Repo, origin: Origin) -> Result<Prepared, GitError> {
        prepare(self, repo, origin).await
    }

    /// Fetches the default branch and returns what it has under `schedule`. Files with errors have no schedules.
    pub(crate) async fn schedules_of(&self, repo: &Repo) -> Result<Schedules, GitError> {
        let (url, mirror) = (self.logins.clone_url(repo).await?, self.mirrors.mirror(repo.id).await?);
        let branch = match &repo.default_branch {
            Some(branch) => Some(branch.clone()),
            None => mirror.default_branch(&url).await?,
        };
        let branch = branch.as_deref().unwrap_or(MAIN);
        let Ok(git_ref) = format!("refs/heads/{branch}").parse() else { return Ok(Schedules::new()) };
        let commit = mirror.fetch(&url, &FetchTarget::Ref(git_ref)).await?;
        Ok(match self.read(&mirror, &commit).await? {
            Read::Files(checked) if !checked.has_errors() => {
                schedules::schedules_of(&checked.pipelines, branch, Timestamp::now())
            }
            Read::Files(_) | Read::Unreadable(_) | Read::None => Schedules::new(),
        })
    }

    /// Returns the newest commit of a pull request, as a delivery names it: in full, by its beginning, or not at all.
    pub(crate) async fn head_of(&self, repo: &Repo, request: &PullRequestHook) -> Result<CommitId, GitError> {
        let digits = match &request.head {
            Head::Commit(commit) => return Ok(commit.clone()),
            Head::Short(digits) => Some(digits),
            Head::Newest => None,
        };
        let (url, mirror) = (self.logins.clone_url(repo).await?, self.mirrors.mirror(repo.id).await?);
        let unknown = || GitError::UnknownRevision { revision: request.served_at.clone() };
        let Some(digits) = digits else {
            return mirror.remote_ref(&url, &request.served_at).await?.ok_or_else(unknown);
        };
        let branch = request.served_at.parse().map_err(|_| unknown())?;
        let newest = mirror.fetch(&url, &FetchTarget::Ref(branch)).await?;
        mirror.expand(digits, &newest).await
    }

    /// Returns whether the remote has a ref at that commit, or at that annotated tag, now.
    pub(crate) async fn is_at(&self, repo: &Repo, git_ref: &str, commit: &CommitId) -> Result<bool, GitError> {
        let mirror = self.mirrors.mirror(repo.id).await?;
        let found = mirror.remote_ref(&self.logins.clone_url(repo).await?, git_ref).await?;
        Ok(found.as_ref() == Some(commit))
    }

    /// Returns whether a branch or tag does not point at `object`, and pointed at it before it was moved to `last`, as
    /// far as the mirror knows. It knows enough after a fetch of `object`. `false` for everything else that has refs.
    pub(crate) async fn has_moved_on(
        &self,
        repo: &Repo,
        git_ref: &str,
        object: &CommitId,
        last: &str,
    ) -> Result<bool, GitError> {
        let (Ok(name), Ok(last)) = (git_ref.parse(), last.parse()) else { return Ok(false) };
        let mirror = self.mirrors.mirror(repo.id).await?;
        let found = async |revision| match mirror.resolve(&revision).await {
            Ok(commit) => Ok(Some(commit)),
            Err(GitError::UnknownRevision { .. } | GitError::NotACommit { .. }) => Ok(None),
            Err(error) => Err(error),
        };
        let tip = found(Revision::Ref(name)).await?;
        let (object, last) = (found(Revision::Commit(object.clone())).await?, found(Revision::Commit(last)).await?);
        match (tip, object, last) {
            (Some(tip), Some(object), Some(last)) if tip != object => {
                Ok(tip == last || mirror.is_on(&object, &last).await?)
            }
            (_, _, _) => Ok(false),
        }
    }

    /// Reads the pipelines at a commit, with the templates that they use.
    async fn read(&self, mirror: &Mirror, commit: &CommitId) -> Result<Read, GitError> {
        let files = match mirror.pipeline_files(commit).await {
            Ok(files) => files,
            Err(error @ (GitError::BothForms | GitError::PipelineFile { .. })) => {
                return Ok(Read::Unreadable(vec![pipeline::unreadable(error.pipeline_file(), &error.to_string())]));
            }
            Err(error) => return Err(error),
        };
        if files.is_empty() {
            return Ok(Read::None);
        }
        let files: Vec<SourceFile> = files.into_iter().map(|file| SourceFile::new(file.path, file.text)).collect();
        self.check(mirror, commit, &files).await.map(Read::Files)
    }

    /// Checks pipeline files with the templates that they use at that commit.
    pub(crate) async fn check(
        &self,
        mirror: &Mirror,
        commit: &CommitId,
        files: &[SourceFile],
    ) -> Result<Checked, GitError> {
        let mut templates = TemplateFiles::new();
        for path in pipeline::wanted_templates(files) {
            let file = mirror.file(commit, &path).await?;
            templates.insert(path.clone(), file.map(|bytes| SourceFile::from_bytes(path, bytes)));
        }
        Ok(pipeline::check_within(files, &templates, self.most_jobs))
    }
}

async fn prepare(planner: &Planner, repo: &Repo, origin: Origin) -> Result<Prepared, GitError> {
    let (before, skip) = (origin.before.clone(), origin.skip);
    let (mirror, commit, mut event) = fetch(planner, repo, origin).await?;
    let has_current_schedules = is_newest_of_default_branch(&mirror, &commit, &event).await?;
    let target = match &event.pull_request {
        Some(pull_request) => Some(newest(&mirror, &pull_request.target_branch).await?),
        None => None,
    };
    // Strangers do not decide what runs here: a fork's pull request is built by the files of its target branch.
    let files_of = target.as_ref().filter(|_| stranger::brings(&event)).unwrap_or(&commit);
    let skipped = skip_reason(&event, &commit, skip);
    let mut checked = match planner.read(&mirror, files_of).await? {
        Read::Files(checked) => checked,
        Read::Unreadable(diagnostics) => {
            let outcome = skipped.map_or_else(|| broken(event, diagnostics), EventOutcome::Nothing);
            return Ok(Prepared { outcome, schedules: None, passed_over: None });
        }
        Read::None => {
            let commit: String = files_of.as_str().chars().take(10).collect();
            let outcome = EventOutcome::Nothing(format!(
                "no pipeline at {commit}: no `.longshore.yml` and no file in `.longshore/`"
            ));
            return Ok(Prepared { outcome, schedules: has_current_schedules.then(Schedules::new), passed_over: None });
        }
    };
    // Nobody can say what files with errors would have scheduled: the previous schedules stay.
    let schedules = (has_current_schedules && !checked.has_errors())
        .then(|| schedules::schedules_of(&checked.pipelines, default_branch_or_main(&event), Timestamp::now()));
    if let Some(reason) = skipped {
        let passed_over = PassedOver::new(&event, skipped_pipelines(repo, &checked, &event, &reason));
        return Ok(Prepared { outcome: EventOutcome::Nothing(reason), schedules, passed_over });
    }
    // The commit that the event is about; what is built may be what merging it would give.
    let head = commit;
    if let Some(target) = target.as_ref().filter(|_| merges(&checked, &event))
        && let Some(refusal) = merge(planner, &mirror, (target, &head), &mut event, &mut checked).await?
    {
        let found = checked.not_mergeable(&refusal).into_iter().collect();
        return Ok(Prepared { outcome: broken(event, found), schedules, passed_over: None });
    }
    let changed = find_changes(&mirror, &checked, &event, &head, before.as_ref(), target.as_ref()).await?;
    let (changed_files, note) = match changed {
        Some(Changed::Files(files)) => (Some(files.into_iter().collect()), None),
        Some(Changed::Unknown(why)) => (None, checked.changes_not_known(event.name, why)),
        None => (None, None),
    };
    let facts = repo_facts(repo, &event, changed_files);
    let passed_over = PassedOver::new(&event, checked.kept_by_paths(&event, &facts));
    let mut outcome = plan(&checked, event, &facts);
    if let EventOutcome::Build { diagnostics, .. } = &mut outcome {
        diagnostics.extend(note);
        if let Ok(forge) = repo.forge.parse() {
            diagnostics.extend(never_sent(&checked, forge));
        }
    }
    Ok(Prepared { outcome, schedules, passed_over })
}

/// Fetches the commit that an event is about, and returns the event with what git knows of it.
async fn fetch(
    planner: &Planner,
    repo: &Repo,
    origin: Origin,
) -> Result<(Arc<Mirror>, CommitId, Box<Event>), GitError> {
    let url = planner.logins.clone_url(repo).await?;
    let mirror = planner.mirrors.mirror(repo.id).await?;
    let named = origin.default_branch.or_else(|| repo.default_branch.clone());
    let lookup = async { Ok(default_branch_of(&mirror, &url, named).await) };
    let (commit, default_branch) = tokio::try_join!(mirror.fetch(&url, &origin.fetch_target), lookup)?;
    let facts = mirror.commit_facts(&commit).await?;
    let event = Box::new(Event {
        name: origin.name,
        git_ref: origin.git_ref,
        commit: commit.as_str().to_owned(),
        before: origin.before.as_ref().map(|before| before.as_str().to_owned()),
        message: facts.message,
        author: facts.author,
        author_email: facts.email,
        sender: origin.sender,
        url: origin.url,
        default_branch,
        inputs: origin.inputs,
        pull_request: origin.pull_request,
        schedule: origin.schedule,
        release: origin.release,
        found: origin.found,
    });
    if stranger::brings(&event) {
        mirror.check_size(&commit).await?;
    }
    Ok((mirror, commit, event))
}

/// Returns why the event is to start nothing, if a push option or the commit's message says so.
fn skip_reason(event: &Event, commit: &CommitId, option: Option<&str>) -> Option<String> {
    if let Some(option) = option {
        return Some(format!("the push option `{option}` was given"));
    }
    let words = skip::skip_words(event)?;
    Some(format!("the commit message of {} says `{words}`", &commit.as_str()[..10]))
}

/// Returns the pipelines that a skipped event would have started. A stranger's are not among them: a stranger does not
/// decide that a required status exists without a build.
fn skipped_pipelines(repo: &Repo, checked: &Checked, event: &Event, reason: &str) -> Vec<(String, String)> {
    if stranger::brings(event) {
        return Vec::new();
    }
    let started = checked.started_by(event, &repo_facts(repo, event, None));
    started.into_iter().map(|name| (name, reason.to_owned())).collect()
}

/// Merges a pull request into its target, and makes the event and the pipelines those of the merge. Returns why it
/// cannot be merged, if so.
async fn merge(
    planner: &Planner,
    mirror: &Mirror,
    (target, head): (&CommitId, &CommitId),
    event: &mut Event,
    checked: &mut Checked,
) -> Result<Option<String>, GitError> {
    let number = event.pull_request.as_ref().map_or(0, |pull_request| pull_request.number);
    match mirror.merge(target, head, number).await? {
        Merged::Commit(merged) => {
            if stranger::brings(event) {
                mirror.check_size(&merged).await?;
            } else if let Read::Files(of_merged) = planner.read(mirror, &merged).await? {
                *checked = of_merged;
            }
            event.commit = merged.as_str().to_owned();
            if let Some(pull_request) = &mut event.pull_request {
                let (head, target) = (head.as_str().to_owned(), target.as_str().to_owned());
                pull_request.merge = Some(Merge { head, target });
            }
            Ok(None)
        }
        refused @ (Merged::Conflict(_) | Merged::Unrelated | Merged::TooLong(_)) => {
            Ok(Some(refused.refusal().unwrap_or_default()))
        }
    }
}

/// Returns which files the event changes, if a pipeline asks for that.
async fn find_changes(
    mirror: &Mirror,
    checked: &Checked,
    event: &Event,
    head: &CommitId,
    before: Option<&CommitId>,
    target: Option<&CommitId>,
) -> Result<Option<Changed>, GitError> {
    if !checked.asks_for_changes() {
        return Ok(None);
    }
    match target {
        Some(_) if event.pull_request.as_ref().is_some_and(|request| request.gone.is_some()) => {
            Ok(Some(Changed::Unknown("the pull request's newest commit is gone")))
        }
        Some(target) => Ok(Some(mirror.changed_since_merge_base(head, target).await?)),
        None if event.name == EventName::Push => {
            let default = default_branch_head(mirror, event).await?;
            Ok(Some(mirror.changed_by_push(head, before, default.as_ref()).await?))
        }
        None => Ok(None),
    }
}

/// Returns a build that shows what is wrong and has no jobs.
fn broken(event: Box<Event>, diagnostics: Vec<Diagnostic>) -> EventOutcome {
    EventOutcome::Build { event, plan: BuildPlan::new(Vec::new()), diagnostics }
}

/// Returns whether to build the merge of the pull request with its target. A closed pull request is not merged.
fn merges(checked: &Checked, event: &Event) -> bool {
    let open = event.pull_request.as_ref().is_some_and(|pull_request| pull_request.action != PullRequest::CLOSED);
    open && !checked.has_errors() && checked.merges_pull_requests()
}

/// The pipeline files of a commit.
enum Read {
    Files(Checked),
    /// The files are there and cannot be read.
    Unreadable(Vec<Diagnostic>),
    None,
}

fn repo_facts(repo: &Repo, event: &Event, changed_files: Option<Vec<String>>) -> RepoFacts {
    RepoFacts {
        name: repo.name.clone(),
        clone_url: shown_address(&repo.clone_url),
        forge: repo.forge.clone(),
        default_branch: event.default_branch.clone(),
        changed_files,
    }
}

fn plan(checked: &Checked, event: Box<Event>, facts: &RepoFacts) -> EventOutcome {
    let warnings = checked.diagnostics.clone();
    match checked.plan(&event, facts) {
        Planned::Build(plan) => EventOutcome::Build { event, plan, diagnostics: warnings },
        Planned::Broken(diagnostics) => broken(event, diagnostics),
        Planned::Nothing(reasons) => {
            let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            EventOutcome::Nothing(reasons.join("; "))
        }
        Planned::Refused(reason) => EventOutcome::Nothing(reason),
    }
}

/// Returns a clone address without its credentials, since jobs get to see it.
fn shown_address(clone_url: &str) -> String {
    clone_url.parse::<CloneUrl>().map(|url| url.address().to_owned()).unwrap_or_default()
}
