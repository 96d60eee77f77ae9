//! Previews a start by hand: which pipelines it would start and which inputs they take. The start itself decides
//! again, at the commit that it gets.

use std::collections::BTreeMap;

use longshore_forge::CommitId;
use longshore_git::{GitError, Mirror};
use longshore_store::repos::Repo;

use crate::prepare::Planner;
use longshore_pipeline as pipeline;
use longshore_pipeline::{Input, SourceFile};

/// The pipelines that can be started by hand at a commit.
#[derive(Debug, Clone, PartialEq)]
pub struct ManualStart {
    pub commit: String,
    /// Names of the pipelines that a start by hand starts; empty if no `on` has `manual`.
    pub pipelines: Vec<String>,
    /// The inputs of these pipelines, each name once.
    pub inputs: Vec<Input>,
    /// A file has errors: a start would show them and run nothing.
    pub broken: bool,
}

impl ManualStart {
    /// Returns what is wrong with the given inputs, by name.
    #[must_use]
    pub fn input_errors(&self, given: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let judge = |input: &Input| match given.get(&input.name) {
            Some(text) => input.take(text).err(),
            None if input.required && input.default.is_none() => Some("it is required".to_owned()),
            None => None,
        };
        self.inputs.iter().filter_map(|input| Some((input.name.clone(), judge(input)?))).collect()
    }
}

/// Previews a start at a commit that is in the mirror.
pub(crate) async fn preview(planner: &Planner, repo: &Repo, commit: &CommitId) -> Result<ManualStart, GitError> {
    let mirror = planner.mirrors.mirror(repo.id).await?;
    let (pipelines, broken) = read(planner, &mirror, commit).await?;
    let by_hand: Vec<_> = pipelines.iter().filter(|pipeline| pipeline.manual_inputs().is_some()).collect();
    let mut inputs: Vec<Input> = Vec::new();
    for input in by_hand.iter().filter_map(|pipeline| pipeline.manual_inputs()).flatten() {
        match inputs.iter_mut().find(|known| known.name == input.name) {
            Some(known) => known.required |= input.required,
            None => inputs.push(input.clone()),
        }
    }
    let names = by_hand.iter().map(|pipeline| pipeline.name().to_owned()).collect();
    Ok(ManualStart { commit: commit.as_str().to_owned(), pipelines: names, inputs, broken })
}

/// Returns the pipelines that can be read, and whether some cannot.
async fn read(
    planner: &Planner,
    mirror: &Mirror,
    commit: &CommitId,
) -> Result<(Vec<pipeline::Pipeline>, bool), GitError> {
    let files = match mirror.pipeline_files(commit).await {
        Ok(files) => files,
        Err(GitError::BothForms | GitError::PipelineFile { .. }) => return Ok((Vec::new(), true)),
        Err(error) => return Err(error),
    };
    let files: Vec<SourceFile> = files.into_iter().map(|file| SourceFile::new(file.path, file.text)).collect();
    let checked = planner.check(mirror, commit, &files).await?;
    let broken = checked.has_errors();
    Ok((checked.pipelines, broken))
}
