//! The kinds of places where a text is written, and what a text becomes there.

/// The kind of place where a text is written. It decides who fills the text in, and so what the text may refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in super::super) enum Position {
    /// `env`, `defaults` and `concurrency` of the pipeline: filled in when the build is planned, the same for all jobs.
    Pipeline,
    /// Keys of a job and of its steps that have to be known when the build is planned.
    Planned,
    /// `shell` and `working-directory` that have to be known when the build is planned.
    PlannedScript,
    /// `image` in `defaults`.
    PlannedImage,
    /// Keys of a job: filled in when its needs have ended.
    Job,
    /// `image` of a job and of its services.
    JobImage,
    /// `entrypoint` and `command` of a service.
    JobArgument,
    /// `env` of a job and of its services.
    JobEnv,
    JobIf,
    /// Keys of a cache: filled in when the workspace has its files.
    CacheKey,
    /// `run` of a step: filled in by the agent when the step's turn comes.
    Script,
    /// `working-directory`, `entrypoint` and `command` of a step.
    Argument,
    /// `image` of a step.
    StepImage,
    /// `env` and `with` of a step.
    StepEnv,
    StepIf,
    /// `outputs` of a job: filled in when its steps have ended.
    Outputs,
}

/// What a restricted text becomes. Only what the file itself says may be put into it, and values from a closed set:
/// numbers, booleans, choices, results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Becomes {
    Script,
    /// A program's name, arguments or directory.
    Argument,
    Image,
}

impl Position {
    /// `None` for a place that takes any text.
    pub(in super::super) const fn becomes(self) -> Option<Becomes> {
        match self {
            Self::Script => Some(Becomes::Script),
            Self::PlannedScript | Self::JobArgument | Self::Argument => Some(Becomes::Argument),
            Self::PlannedImage | Self::JobImage | Self::StepImage => Some(Becomes::Image),
            Self::Pipeline
            | Self::Planned
            | Self::Job
            | Self::JobEnv
            | Self::JobIf
            | Self::CacheKey
            | Self::StepEnv
            | Self::StepIf
            | Self::Outputs => None,
        }
    }
}
