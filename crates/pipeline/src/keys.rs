//! The keys of the language, mapping by mapping. A key that is in no list is a mistake.

/// The keys of one kind of mapping.
#[derive(Debug)]
pub(super) struct Keys {
    /// What has these keys, as messages call it.
    pub(super) subject: &'static str,
    pub(super) known: &'static [&'static str],
    /// Keys that other CI systems use here, and what to write instead.
    pub(super) foreign: &'static [(&'static str, &'static str)],
}

pub(super) const PIPELINE: Keys = Keys {
    subject: "a pipeline",
    known: &["name", "on", "env", "defaults", "concurrency", "jobs"],
    foreign: &[
        ("steps", "steps belong to a job: write `jobs: { build: { image: ..., steps: [...] } }`"),
        ("pipeline", "steps belong to a job: write `jobs: { build: { image: ..., steps: [...] } }`"),
        ("stages", "write `needs` in the jobs that have to wait"),
        ("image", "write it in the job, or in `defaults`"),
        ("default", "did you mean `defaults`?"),
        ("variables", "did you mean `env`?"),
        ("environment", "did you mean `env`?"),
        ("when", "did you mean `on`?"),
        ("trigger", "did you mean `on`?"),
        ("workflow", "did you mean `on`?"),
        ("clone", "write `checkout` in the job"),
        ("services", "services belong to a job"),
        ("matrix", "a matrix belongs to a job"),
        ("secrets", "secrets are listed by the jobs that use them: write `secrets: [NAME]` in the job"),
        ("inputs", "write `on: { manual: { inputs: ... } }`"),
        ("include", "a job can use a template: write `use: ./ci/name.yml` in the job"),
        ("run-name", "write `name`"),
        ("permissions", "remove it: jobs get no forge token"),
    ],
};

pub(super) const ON: Keys = Keys {
    subject: "`on`",
    known: &["push", "pull-request", "schedule", "manual", "release", "merge-group"],
    foreign: &[
        ("workflow_dispatch", "did you mean `manual`?"),
        ("pull_request", "did you mean `pull-request`?"),
        ("pull_request_target", "did you mean `pull-request`? It never has secrets for forks"),
        ("merge_request", "did you mean `pull-request`?"),
        ("merge-request", "did you mean `pull-request`?"),
        ("cron", "did you mean `schedule`?"),
        ("tag", "write `push: { tags: ['v*'] }`"),
        ("tags", "write `push: { tags: [...] }`"),
        ("branch", "write `push: { branches: [...] }`"),
        ("branches", "write `push: { branches: [...] }`"),
        ("paths", "write `push: { paths: [...] }`"),
        ("event", "write the event itself: `push`, `pull-request`, `release`, `merge-group`, `schedule` or `manual`"),
        ("workflow_call", "a job can use a template: write `use: ./ci/name.yml` in the job"),
        ("merge_group", "did you mean `merge-group`?"),
    ],
};

pub(super) const PUSH: Keys = Keys {
    subject: "`push`",
    known: &["branches", "tags", "paths", "paths-ignore"],
    foreign: &[
        ("branch", "did you mean `branches`?"),
        ("tag", "did you mean `tags`?"),
        ("branches-ignore", "write the pattern in `branches` with a `!` before it: `branches: ['**', '!wip/**']`"),
        ("tags-ignore", "write the pattern in `tags` with a `!` before it: `tags: ['**', '!nightly-*']`"),
        ("path", "did you mean `paths`?"),
        ("changes", "did you mean `paths`?"),
    ],
};

pub(super) const PULL_REQUEST: Keys = Keys {
    subject: "`pull-request`",
    known: &["branches", "types", "paths", "paths-ignore", "build"],
    foreign: &[
        ("branch", "did you mean `branches`? It names the branch to merge into"),
        ("branches-ignore", "write the pattern in `branches` with a `!` before it: `branches: ['**', '!wip/**']`"),
        ("path", "did you mean `paths`?"),
        ("actions", "did you mean `types`?"),
    ],
};

pub(super) const RELEASE: Keys = Keys {
    subject: "`release`",
    known: &["types"],
    foreign: &[("tags", "a release is of any tag: write an `if` for the job"), ("actions", "did you mean `types`?")],
};

pub(super) const MERGE_GROUP: Keys =
    Keys { subject: "`merge-group`", known: &[], foreign: &[("types", "remove it: only requested checks start it")] };

pub(super) const SCHEDULE: Keys = Keys {
    subject: "an entry of `schedule`",
    known: &["cron", "timezone", "branch"],
    foreign: &[("tz", "did you mean `timezone`?"), ("branches", "did you mean `branch`? A schedule builds one branch")],
};

pub(super) const MANUAL: Keys = Keys { subject: "`manual`", known: &["inputs"], foreign: &[] };

pub(super) const INPUT: Keys = Keys {
    subject: "an input",
    known: &["type", "required", "default", "options", "description"],
    foreign: &[("values", "did you mean `options`?"), ("choices", "did you mean `options`?")],
};

pub(super) const CONCURRENCY: Keys = Keys {
    subject: "`concurrency`",
    known: &["group", "cancel-in-progress"],
    foreign: &[("limit", "only one build at a time runs in the group: remove it")],
};

pub(super) const DEFAULTS: Keys = Keys {
    subject: "`defaults`",
    known: &["image", "shell", "timeout", "working-directory"],
    foreign: &[
        ("run", "write `shell` and `working-directory` directly in `defaults`"),
        ("env", "write `env` at the top level"),
    ],
};

pub(super) const JOB: Keys = Keys {
    subject: "a job",
    known: &[
        "image",
        "pull",
        "network",
        "needs",
        "if",
        "matrix",
        "env",
        "secrets",
        "services",
        "cache",
        "docker",
        "capabilities",
        "approval",
        "runs-on",
        "checkout",
        "reuse",
        "resources",
        "timeout",
        "retry",
        "continue-on-error",
        "outputs",
        "steps",
        "artifacts",
        "reports",
        "use",
        "with",
    ],
    foreign: &[
        ("name", "the job's key is its name"),
        ("container", "did you mean `image`?"),
        ("script", "write `steps: [{ run: ... }]`"),
        ("run", "write `steps: [{ run: ... }]`"),
        ("commands", "write `steps: [{ run: ... }]`"),
        ("before_script", "write it as the first of `steps`"),
        ("after_script", "write it as the last of `steps`, with `if: always()`"),
        ("strategy", "write `matrix` directly in the job"),
        ("parallel", "did you mean `matrix`?"),
        ("fail-fast", "write it in `matrix`"),
        ("max-parallel", "write it in `matrix`"),
        ("depends_on", "did you mean `needs`?"),
        ("dependencies", "did you mean `needs`?"),
        ("stage", "write `needs` with the jobs that come before"),
        ("variables", "did you mean `env`?"),
        ("environment", "did you mean `env`?"),
        ("timeout-minutes", "write `timeout: 30m`"),
        ("tags", "did you mean `runs-on`?"),
        ("labels", "did you mean `runs-on`?"),
        ("when", "did you mean `if`?"),
        ("rules", "did you mean `if`?"),
        ("only", "write `on` at the top level, or `if` in the job"),
        ("allow_failure", "write `continue-on-error: true`"),
        ("concurrency", "write it at the top level: it applies to all jobs"),
        ("permissions", "remove it: jobs get no forge token"),
        ("extends", "did you mean `use`?"),
        ("uses", "did you mean `use`?"),
        ("privileged", "jobs are never privileged: `docker: true` gives the job a guarded Docker API"),
        ("volumes", "use `cache` for what to keep between builds"),
        ("defaults", "write `defaults` at the top level"),
        ("working-directory", "write it in the steps, or in `defaults`"),
        ("shell", "write it in the steps, or in `defaults`"),
    ],
};

/// A need that is written as a mapping.
pub(super) const NEED: Keys = Keys {
    subject: "an entry of `needs`",
    known: &["job", "optional", "artifacts", "workspace"],
    foreign: &[("name", "did you mean `job`?"), ("artifact", "did you mean `artifacts`?")],
};

/// The keys of a matrix that are not axes. The reader of a matrix takes every other key as an axis.
#[cfg(test)]
pub(super) const MATRIX: Keys =
    Keys { subject: "`matrix`", known: &["include", "exclude", "fail-fast", "max-parallel"], foreign: &[] };

pub(super) const SECRET: Keys = Keys {
    subject: "an entry of `secrets`",
    known: &["name", "as", "file", "env"],
    foreign: &[
        ("source", "did you mean `name`?"),
        ("from_secret", "did you mean `name`?"),
        ("target", "did you mean `as`?"),
    ],
};

pub(super) const SERVICE: Keys = Keys {
    subject: "a service",
    known: &["image", "pull", "env", "entrypoint", "command", "user", "ready", "resources"],
    foreign: &[
        ("name", "the service's key is its name"),
        ("alias", "the service's key is its name"),
        ("environment", "did you mean `env`?"),
        ("variables", "did you mean `env`?"),
        ("ports", "leave it out: a service is reached at `localhost` and by its name on the ports that it opens"),
        ("options", "write `ready` for a health check"),
        ("pull_policy", "did you mean `pull`?"),
        ("healthcheck", "did you mean `ready`?"),
        ("commands", "did you mean `command`?"),
    ],
};

pub(super) const READY: Keys = Keys {
    subject: "`ready`",
    known: &["exec", "tcp", "http", "timeout"],
    foreign: &[("cmd", "did you mean `exec`?"), ("port", "did you mean `tcp`?"), ("url", "did you mean `http`?")],
};

pub(super) const CACHE: Keys = Keys {
    subject: "an entry of `cache`",
    known: &["path", "key", "fallback", "save", "mode"],
    foreign: &[
        ("paths", "did you mean `path`? It may be a list"),
        ("restore-keys", "did you mean `fallback`?"),
        ("fallback_keys", "did you mean `fallback`?"),
    ],
};

pub(super) const CHECKOUT: Keys = Keys {
    subject: "`checkout`",
    known: &["depth", "submodules", "lfs"],
    foreign: &[("fetch-depth", "did you mean `depth`?"), ("recursive", "did you mean `submodules`?")],
};

pub(super) const RESOURCES: Keys = Keys {
    subject: "`resources`",
    known: &["cpu", "memory", "pids", "shm"],
    foreign: &[("cpus", "did you mean `cpu`?"), ("mem", "did you mean `memory`?"), ("shm-size", "did you mean `shm`?")],
};

pub(super) const RETRY: Keys = Keys {
    subject: "`retry`",
    known: &["max", "on"],
    foreign: &[("when", "did you mean `on`?"), ("attempts", "did you mean `max`? It counts retries, not attempts")],
};

pub(super) const ARTIFACT: Keys = Keys {
    subject: "an entry of `artifacts`",
    known: &["name", "paths", "expire-in", "when"],
    foreign: &[
        ("path", "did you mean `paths`?"),
        ("expire_in", "did you mean `expire-in`?"),
        ("retention-days", "write `expire-in: 30d`"),
        ("if", "did you mean `when`?"),
    ],
};

pub(super) const REPORTS: Keys = Keys {
    subject: "`reports`",
    known: &["junit", "coverage", "sarif"],
    foreign: &[
        ("cobertura", "write it as `coverage`, which takes Cobertura's XML and lcov"),
        ("lcov", "write it as `coverage`, which takes Cobertura's XML and lcov"),
    ],
};

pub(super) const STEP: Keys = Keys {
    subject: "a step",
    known: &[
        "name",
        "id",
        "run",
        "if",
        "env",
        "shell",
        "working-directory",
        "timeout",
        "continue-on-error",
        "retry",
        "image",
        "pull",
        "with",
        "entrypoint",
        "command",
        "user",
        "tty",
        "background",
        "wait",
    ],
    foreign: &[
        ("wait-all", "write `wait: true`"),
        ("parallel", "write `background: true` in each of these steps, and a step `wait: true` after them"),
        ("cancel", "a step in the background ends with its job: remove it"),
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
        ("secrets", "write `secrets` at the job: its steps have them in their environment"),
        ("depends_on", "steps run in their order; write `needs` at the job"),
        ("needs", "steps run in their order; write `needs` at the job"),
    ],
};

/// A template file.
pub(super) const TEMPLATE: Keys = Keys {
    subject: "a template",
    known: &["inputs", "job"],
    foreign: &[
        ("jobs", "did you mean `job`? A template is one job"),
        ("steps", "write it in `job`"),
        ("image", "write it in `job`"),
        ("spec", "did you mean `inputs`?"),
        ("on", "the pipeline that uses the template says when it runs"),
        ("name", "a template is known by its path: leave it out"),
    ],
};

/// All key lists, for the tests that compare them with the schema and the readers.
#[cfg(test)]
pub(super) const ALL: &[&Keys] = &[
    &PIPELINE,
    &ON,
    &PUSH,
    &PULL_REQUEST,
    &RELEASE,
    &MERGE_GROUP,
    &SCHEDULE,
    &MANUAL,
    &INPUT,
    &CONCURRENCY,
    &DEFAULTS,
    &JOB,
    &NEED,
    &MATRIX,
    &SECRET,
    &SERVICE,
    &READY,
    &CACHE,
    &CHECKOUT,
    &RESOURCES,
    &RETRY,
    &ARTIFACT,
    &REPORTS,
    &STEP,
    &TEMPLATE,
];
