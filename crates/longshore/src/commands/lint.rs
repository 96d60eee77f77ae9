//! `longshore lint` and `longshore schema`: check pipeline files without running anything, and print their JSON Schema.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use longshore_core::{Diagnostic, Severity};
use longshore_git::{GitError, link_refused, read_pipeline_files};
use longshore_pipeline as pipeline;
use longshore_pipeline::{Checked, SourceFile, TemplateFiles, report};

use super::ExitError;
use crate::args::{Lint, LintFormat};

pub(crate) fn run(args: Lint) -> super::Result {
    let paths = if args.paths.is_empty() { vec![".".into()] } else { args.paths };
    let (mut diagnostics, mut pipelines) = (Vec::new(), 0);
    // Each path is checked on its own: the pipelines of one working tree belong together, those of two do not.
    for path in &paths {
        let checked = check(path, args.limits.max_jobs)?;
        pipelines += checked.pipelines.len();
        let never_sent = args.forge.map(|forge| longshore_scheduler::never_sent(&checked, forge));
        diagnostics.extend(checked.diagnostics);
        diagnostics.extend(never_sent.into_iter().flatten());
    }
    let text = match args.format {
        LintFormat::Human => report::human(&diagnostics),
        LintFormat::Json => report::json(&diagnostics),
        LintFormat::Sarif => report::sarif(&diagnostics),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    if diagnostics.is_empty() && matches!(args.format, LintFormat::Human) {
        let found = if pipelines == 1 { "1 pipeline".to_owned() } else { format!("{pipelines} pipelines") };
        writeln!(std::io::stderr(), "{found}: no problems")?;
    }
    let broken = diagnostics.iter().any(|d| d.severity == Severity::Error);
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

pub(crate) fn schema() -> super::Result {
    writeln!(std::io::stdout(), "{:#}", pipeline::json_schema())?;
    Ok(ExitCode::SUCCESS)
}

/// Checks the pipelines of a working tree, or one file, with the templates that they use. Findings contain paths that
/// can be opened from the current folder.
pub(crate) fn check(path: &Path, most_jobs: usize) -> anyhow::Result<Checked> {
    let files = match files_at(path) {
        Ok(files) => files,
        Err(error @ (GitError::BothForms | GitError::PipelineFile { .. })) => {
            let mut checked = pipeline::check_within(&[], &TemplateFiles::new(), most_jobs);
            let found = pipeline::unreadable(error.pipeline_file(), &error.to_string());
            let file = if path.is_dir() { path_from_here(path, &found.file) } else { path.display().to_string() };
            checked.diagnostics.push(Diagnostic { file, ..found });
            return Ok(checked);
        }
        Err(GitError::Io { source, .. }) => {
            return Err(ExitError::new(2, format!("cannot read {}: {source}", path.display())).into());
        }
        Err(error) => return Err(ExitError::new(2, error.to_string()).into()),
    };
    if files.is_empty() {
        let help = match top_with_pipeline(path) {
            Some(top) => format!("the repository's top has one, name that folder: {}", top.display()),
            None => "write a .longshore.yml, or files in .longshore/".to_owned(),
        };
        return Err(ExitError::new(2, format!("no pipeline in {}: {help}", path.display())).into());
    }
    // The path of a template is relative to the repository's root.
    let root = if path.is_dir() { path.to_owned() } else { root_of(path) };
    let wanted = pipeline::wanted_templates(&files);
    let templates = wanted.into_iter().map(|name| (name.clone(), template(&root, &name))).collect();
    Ok(pipeline::check_within(&files, &templates, most_jobs))
}

/// Returns the path of a working tree's file, relative to the current folder.
fn path_from_here(root: &Path, name: &str) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let root = if root == Path::new(".") { Path::new("") } else { root.strip_prefix(here).unwrap_or(root) };
    root.join(name).display().to_string()
}

/// Returns the folder around `path` that has a `.git`.
fn top_around(path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    let top = absolute.ancestors().skip(1).find(|folder| folder.join(".git").exists());
    top.map(Path::to_owned)
}

/// Like [`top_around`], if the folder has a pipeline, even an unreadable one.
fn top_with_pipeline(folder: &Path) -> Option<PathBuf> {
    top_around(folder).filter(|top| match read_pipeline_files(top) {
        Ok(files) => !files.is_empty(),
        Err(error) => matches!(error, GitError::BothForms | GitError::PipelineFile { .. }),
    })
}

/// Returns the working tree of a pipeline file: the folder around it that has a `.git`, or else the one that contains
/// the file or its `.longshore`.
fn root_of(file: &Path) -> PathBuf {
    if let Some(top) = top_around(file) {
        return top;
    }
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let folder = absolute.parent().unwrap_or(&absolute);
    let above = folder.parent().filter(|_| folder.file_name().is_some_and(|name| name == ".longshore"));
    above.unwrap_or(folder).to_owned()
}

fn template(root: &Path, name: &str) -> Result<SourceFile, String> {
    let path = root.join(name);
    let metadata = path.symlink_metadata().map_err(|_| format!("is not in {}", root.display()))?;
    if !metadata.is_file() {
        return Err("is not a regular file: links and folders are not allowed".to_owned());
    }
    let bytes = std::fs::read(&path).map_err(|error| format!("cannot be read: {error}"))?;
    Ok(SourceFile::from_bytes(path_from_here(root, name), bytes))
}

/// Reads the pipeline file at `path`, or those of the working tree at `path`, as a server does.
fn files_at(path: &Path) -> Result<Vec<SourceFile>, GitError> {
    if path.is_dir() {
        let files = read_pipeline_files(path)?;
        return Ok(files
            .into_iter()
            .map(|file| SourceFile::new(path_from_here(path, &file.path), file.text))
            .collect());
    }
    let shown = path.display().to_string();
    let in_place = path.file_name().is_some_and(|name| name == ".longshore.yml")
        || path.parent().and_then(Path::file_name).is_some_and(|folder| folder == ".longshore");
    if in_place && path.is_symlink() {
        return Err(link_refused(&shown));
    }
    let bytes = std::fs::read(path).map_err(|source| GitError::Io { what: "reading the file", source })?;
    Ok(vec![SourceFile::from_bytes(shown, bytes)])
}
