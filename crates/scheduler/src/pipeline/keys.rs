//! The language's keys, mapping by mapping. What is in no list is a mistake; what is in `later` is refused by name.

/// The keys of one kind of mapping.
#[derive(Debug)]
pub(super) struct Keys {
    /// What has these keys, as a message says it.
    pub(super) of: &'static str,
    pub(super) known: &'static [&'static str],
    /// Keys of the language that are not built yet.
    pub(super) later: &'static [&'static str],
    /// Words that other CI systems use here, and what to write instead.
    pub(super) foreign: &'static [(&'static str, &'static str)],
}

pub(super) const PIPELINE: Keys = Keys {
    of: "a pipeline",
    known: &["name", "on", "env", "defaults", "jobs"],
    later: &["concurrency"],
    foreign: &[
        ("steps", "steps belong to a job: write `jobs: { build: { image: ..., steps: [...] } }`"),
        ("pipeline", "steps belong to a job: write `jobs: { build: { image: ..., steps: [...] } }`"),
        ("stages", "write `needs` at the jobs that have to wait"),
        ("image", "write it at the job, or in `defaults`"),
        ("default", "did you mean `defaults`?"),
        ("variables", "did you mean `env`?"),
        ("environment", "did you mean `env`?"),
        ("when", "did you mean `on`?"),
        ("trigger", "did you mean `on`?"),
        ("workflow", "did you mean `on`?"),
        ("clone", "write `checkout` at the job"),
        ("services", "services belong to a job"),
        ("run-name", "write `name`"),
        ("permissions", "leave it out: jobs get no token of the forge"),
    ],
};

pub(super) const ON: Keys = Keys {
    of: "`on`",
    known: &["push", "manual"],
    later: &["pull-request", "schedule"],
    foreign: &[
        ("workflow_dispatch", "did you mean `manual`?"),
        ("tag", "write `push: { tags: ['v*'] }`"),
        ("tags", "write `push: { tags: [...] }`"),
        ("branch", "write `push: { branches: [...] }`"),
        ("branches", "write `push: { branches: [...] }`"),
        ("event", "write the event itself: `push` or `manual`"),
    ],
};

/// Words of other systems that mean a key of `ON.later`.
pub(super) const ON_LATER_ALIASES: &[&str] = &["pull_request", "pull_request_target", "merge_request", "cron"];

pub(super) const PUSH: Keys = Keys {
    of: "`push`",
    known: &["branches", "tags"],
    later: &["paths", "paths-ignore"],
    foreign: &[
        ("branch", "did you mean `branches`?"),
        ("tag", "did you mean `tags`?"),
        ("branches-ignore", "write the pattern in `branches` with a `!` before it: `branches: ['**', '!wip/**']`"),
        ("tags-ignore", "write the pattern in `tags` with a `!` before it: `tags: ['**', '!nightly-*']`"),
        ("path", "`paths` is not supported yet"),
    ],
};

pub(super) const MANUAL: Keys = Keys { of: "`manual`", known: &[], later: &["inputs"], foreign: &[] };

pub(super) const DEFAULTS: Keys = Keys {
    of: "`defaults`",
    known: &["image", "shell", "timeout", "working-directory"],
    later: &[],
    foreign: &[
        ("run", "write `shell` and `working-directory` directly in `defaults`"),
        ("env", "write `env` at the pipeline"),
    ],
};

pub(super) const JOB: Keys = Keys {
    of: "a job",
    known: &["image", "needs", "env", "steps", "timeout", "matrix", "checkout"],
    later: &[
        "if",
        "secrets",
        "services",
        "cache",
        "docker",
        "approval",
        "runs-on",
        "resources",
        "retry",
        "continue-on-error",
        "outputs",
        "artifacts",
        "reports",
        "use",
        "with",
        "concurrency",
    ],
    foreign: &[
        ("name", "the job's key is its name"),
        ("container", "did you mean `image`?"),
        ("script", "write `steps: [{ run: ... }]`"),
        ("run", "write `steps: [{ run: ... }]`"),
        ("commands", "write `steps: [{ run: ... }]`"),
        ("before_script", "write it as the first of `steps`"),
        ("after_script", "write it as the last of `steps`, with `if: always()`"),
        ("strategy", "write `matrix` directly at the job"),
        ("parallel", "did you mean `matrix`?"),
        ("depends_on", "did you mean `needs`?"),
        ("dependencies", "did you mean `needs`?"),
        ("stage", "write `needs` with the jobs that come before"),
        ("variables", "did you mean `env`?"),
        ("environment", "did you mean `env`?"),
        ("timeout-minutes", "write `timeout: 30m`"),
        ("tags", "did you mean `runs-on`?"),
        ("when", "write `on` at the pipeline"),
        ("rules", "write `on` at the pipeline"),
        ("only", "write `on` at the pipeline"),
        ("defaults", "write `defaults` at the pipeline"),
        ("working-directory", "write it at the steps, or in `defaults`"),
        ("shell", "write it at the steps, or in `defaults`"),
    ],
};

/// The keys of a matrix that are not axes.
pub(super) const MATRIX: Keys =
    Keys { of: "`matrix`", known: &["include", "exclude"], later: &["fail-fast", "max-parallel"], foreign: &[] };

pub(super) const STEP: Keys = Keys {
    of: "a step",
    known: &["run", "name", "env", "working-directory", "shell", "continue-on-error", "timeout", "if"],
    later: &["id", "retry", "image", "with", "entrypoint", "command", "user", "tty", "background"],
    foreign: &[
        ("uses", "actions do not run here: write what it does as `run`"),
        ("script", "did you mean `run`?"),
        ("commands", "write them as one `run`, a line each: `run: |`"),
        ("environment", "did you mean `env`?"),
        ("variables", "did you mean `env`?"),
        ("settings", "did you mean `with`?"),
        ("when", "did you mean `if`?"),
        ("timeout-minutes", "write `timeout: 30m`"),
        ("failure", "write `continue-on-error: true`"),
        ("allow_failure", "write `continue-on-error: true`"),
        ("working-dir", "did you mean `working-directory`?"),
        ("directory", "did you mean `working-directory`?"),
        ("detach", "did you mean `background`?"),
        ("depends_on", "steps run in their order; write `needs` at the job"),
        ("needs", "steps run in their order; write `needs` at the job"),
    ],
};

/// All of them, for the tests that hold this list, the schema and the readers together.
#[cfg(test)]
pub(super) const ALL: &[&Keys] = &[&PIPELINE, &ON, &PUSH, &MANUAL, &DEFAULTS, &JOB, &MATRIX, &STEP];
