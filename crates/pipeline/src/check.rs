//! Turns pipeline files into pipelines: reads each file, then checks what concerns several of them.

use std::collections::HashMap;

use longshore_core::{Diagnostic, Event, EventName, Severity, Span};

use super::{
    code::Code,
    findings::Findings,
    limits,
    model::{OptionalEvent, Pipeline},
    plan::{self, Planned, RepoFacts},
    read,
    source::{Place, Source, SourceFile},
    templates::{Library, TemplateFiles},
    triggers::{only_paths_keep, starts},
    yaml,
};

/// The result of checking all of a repository's pipeline files.
#[derive(Debug)]
pub struct Checked {
    /// The files without errors, in the order they were given.
    pub pipelines: Vec<Pipeline>,
    /// All findings, file by file, each file's in the order of its lines.
    pub diagnostics: Vec<Diagnostic>,
    most_jobs: usize,
}

impl Checked {
    /// Returns whether an error stops every build of these files.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|found| found.severity == Severity::Error)
    }

    /// Returns what a build for `event` does. An error in any file stops every build, because nobody can say what that
    /// file would have asked for.
    #[must_use]
    pub fn plan(&self, event: &Event, facts: &RepoFacts) -> Planned {
        if self.has_errors() {
            return Planned::Broken(self.diagnostics.clone());
        }
        plan::plan(&self.pipelines, event, facts, self.most_jobs)
    }

    /// Returns the names of the pipelines that an event would start if it had changed other files, each with the filter
    /// that keeps it from starting. Empty if a file has errors.
    #[must_use]
    pub fn kept_by_paths(&self, event: &Event, facts: &RepoFacts) -> Vec<(String, String)> {
        if self.has_errors() {
            return Vec::new();
        }
        let kept = |pipeline: &Pipeline| Some((pipeline.name.clone(), only_paths_keep(&pipeline.on, event, facts)?));
        self.pipelines.iter().filter_map(kept).collect()
    }

    /// Returns the names of the pipelines that an event starts. Empty if a file has errors.
    #[must_use]
    pub fn started_by(&self, event: &Event, facts: &RepoFacts) -> Vec<String> {
        if self.has_errors() {
            return Vec::new();
        }
        let started = |pipeline: &&Pipeline| starts(&pipeline.on, event, facts).is_ok();
        self.pipelines.iter().filter(started).map(|pipeline| pipeline.name.clone()).collect()
    }

    /// Returns whether a plan depends on [`RepoFacts::changed_files`].
    #[must_use]
    pub fn asks_for_changes(&self) -> bool {
        self.pipelines.iter().any(|pipeline| {
            let on = &pipeline.on;
            on.push.as_ref().is_some_and(|push| !push.paths.is_any())
                || on.pull_request.as_ref().is_some_and(|pull_request| !pull_request.paths.is_any())
                || asks_changed(pipeline)
        })
    }

    /// Returns the note on a build whose changed files are not known, so that `paths` and `paths-ignore` did not filter
    /// it, or `changed()` is true. `None` if no pipeline asks which files events of that name change. `why` ends a
    /// sentence.
    #[must_use]
    pub fn changes_not_known(&self, event: EventName, why: &str) -> Option<Diagnostic> {
        let filters = |pipeline: &&Pipeline| match event {
            EventName::Push => pipeline.on.push.as_ref().is_some_and(|push| !push.paths.is_any()),
            EventName::PullRequest => {
                pipeline.on.pull_request.as_ref().is_some_and(|pull_request| !pull_request.paths.is_any())
            }
            EventName::Tag | EventName::Schedule | EventName::Manual | EventName::Release | EventName::MergeGroup => {
                false
            }
        };
        let warning = |pipeline, message| Some(of_file(Code::ChangesNotKnown, Severity::Warning, pipeline, message));
        if let Some(pipeline) = self.pipelines.iter().find(filters) {
            return warning(pipeline, format!("`paths` and `paths-ignore` let this event pass: {why}"));
        }
        let pipeline = self.pipelines.iter().find(|pipeline| asks_changed(pipeline))?;
        warning(pipeline, format!("`changed()` is true whatever the event changes: {why}"))
    }

    /// Returns whether pull requests are built as merging them would give, and not their newest commits.
    #[must_use]
    pub fn merges_pull_requests(&self) -> bool {
        let mut of_pull_requests = self.pipelines.iter().filter_map(|pipeline| pipeline.on.pull_request.as_ref());
        of_pull_requests.any(|pull_request| pull_request.merge)
    }

    /// Returns the error of a build whose pull request cannot be merged. `why` ends a sentence.
    #[must_use]
    pub fn not_mergeable(&self, why: &str) -> Option<Diagnostic> {
        let merges = |pipeline: &&Pipeline| pipeline.on.pull_request.as_ref().is_some_and(|on| on.merge);
        let pipeline = self.pipelines.iter().find(merges)?;
        let message = format!("the pull request cannot be merged: {why}");
        Some(of_file(Code::NotMergeable, Severity::Error, pipeline, message))
    }

    /// Returns warnings about events that start pipelines and that a forge never sends. `sends` says whether it sends
    /// them, `forge` is its name.
    #[must_use]
    pub fn never_sent(&self, forge: &str, sends: impl Fn(OptionalEvent) -> bool) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for pipeline in &self.pipelines {
            for (kind, word) in pipeline.on.optional_events() {
                if !sends(kind) {
                    let message =
                        format!("`{word}` never starts `{}`: {forge} does not send that event", pipeline.name);
                    found.push(of_file(Code::NeverSent, Severity::Warning, pipeline, message));
                }
            }
        }
        found
    }
}

fn asks_changed(pipeline: &Pipeline) -> bool {
    pipeline.jobs.iter().any(|job| !job.changes().is_empty())
}

/// Returns a finding about a file as a whole.
fn of_file(code: Code, severity: Severity, pipeline: &Pipeline, message: String) -> Diagnostic {
    Diagnostic {
        code: code.as_str().to_owned(),
        severity,
        file: pipeline.file.clone(),
        span: Span { line: 1, column: 1, length: 1 },
        message,
        help: None,
        source: None,
    }
}

/// Checks all of a repository's pipeline files. `templates` are the files that [`wanted_templates`] named.
///
/// [`wanted_templates`]: super::wanted_templates
#[must_use]
pub fn check(files: &[SourceFile], templates: &TemplateFiles) -> Checked {
    check_within(files, templates, limits::JOBS)
}

/// Like [`check`], with another limit than [`limits::JOBS`] for the jobs of a build after the matrix.
#[must_use]
pub fn check_within(files: &[SourceFile], templates: &TemplateFiles, most_jobs: usize) -> Checked {
    let mut pipelines: Vec<Pipeline> = Vec::new();
    let mut diagnostics: Vec<Diagnostic> = Vec::new();
    for file in files {
        let (pipeline, found) = check_file(file, templates, most_jobs);
        diagnostics.extend(found);
        pipelines.extend(pipeline);
    }
    // A build has one commit.
    let mut ways = pipelines.iter().filter_map(|pipeline| Some((pipeline, pipeline.on.pull_request.as_ref()?.merge)));
    if let Some((_, first)) = ways.next()
        && let Some((pipeline, _)) = ways.find(|(_, merge)| *merge != first)
    {
        let message = "the repository's pipelines build pull requests in different ways".to_owned();
        diagnostics.push(Diagnostic {
            help: Some("use the same `build` under `pull-request` in all of them".to_owned()),
            ..of_file(Code::MergesDiffer, Severity::Error, pipeline, message)
        });
    }
    let mut first_of: HashMap<String, String> = HashMap::new();
    for pipeline in &pipelines {
        match first_of.get(&pipeline.name) {
            Some(first) => diagnostics.push(Diagnostic {
                code: Code::DuplicatePipeline.as_str().to_owned(),
                severity: Severity::Error,
                file: pipeline.file.clone(),
                span: pipeline.name_at.span,
                message: format!("the pipeline in {first} is also named `{}`", pipeline.name),
                help: Some("give one of them a different `name`".to_owned()),
                source: pipeline.name_at.source.clone(),
            }),
            None => {
                first_of.insert(pipeline.name.clone(), pipeline.file.clone());
            }
        }
    }
    Checked { pipelines, diagnostics, most_jobs }
}

/// Returns the finding for a pipeline file that could not be read at all, for example because it is a link; `reason`
/// says why.
#[must_use]
pub fn unreadable(file: &str, reason: &str) -> Diagnostic {
    Diagnostic {
        code: Code::Unreadable.as_str().to_owned(),
        severity: Severity::Error,
        file: file.to_owned(),
        span: Span { line: 1, column: 1, length: 1 },
        message: reason.to_owned(),
        help: Some("write one .longshore.yml, or files in .longshore/".to_owned()),
        source: None,
    }
}

/// Checks one file by itself. Returns the pipeline if the file has no errors, and all findings.
fn check_file(file: &SourceFile, templates: &TemplateFiles, most_jobs: usize) -> (Option<Pipeline>, Vec<Diagnostic>) {
    let source = Source::new(file);
    let readable = templates.values().filter_map(|template| template.as_ref().ok());
    let sources: Vec<Source<'_>> = readable.map(Source::new).collect();
    let mut findings = Findings::new(&source).within(most_jobs);
    let mut library = Library::new(templates, &sources, &mut findings);
    let pipeline = read_file(file, &mut library, &mut findings);
    let diagnostics = findings.finish();
    let valid = diagnostics.iter().all(|found| found.severity == Severity::Warning);
    (pipeline.filter(|_| valid), diagnostics)
}

fn read_file(file: &SourceFile, library: &mut Library, findings: &mut Findings<'_>) -> Option<Pipeline> {
    let start = Place::default();
    if file.text.len() > limits::FILE_BYTES {
        findings.error(
            Code::FileTooLarge,
            start,
            format!(
                "the file is {} KiB, more than the limit of {} KiB",
                file.text.len().div_ceil(1024),
                limits::FILE_BYTES / 1024
            ),
            "move long scripts into files in the repository".to_owned(),
        );
        return None;
    }
    if let Some(at) = file.invalid_utf8 {
        findings.error(
            Code::NotUtf8,
            Place::new(at, at + 1),
            "the file is not valid UTF-8 from here on",
            "save it as UTF-8".to_owned(),
        );
        return None;
    }
    let root = yaml::parse(0, findings);
    match root {
        Some(root) if !root.is_null() => read::pipeline(&root, library, findings),
        _ if findings.is_empty() => {
            findings.error(
                Code::EmptyFile,
                start,
                "the file is empty",
                "write `jobs: { build: { image: debian:12, steps: [{ run: make }] } }`, or remove the file".to_owned(),
            );
            None
        }
        _ => None,
    }
}
