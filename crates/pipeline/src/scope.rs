//! What an expression may refer to where it stands, and whose values may not get into a script.

mod missing;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
};

use longshore_core::{
    Template,
    expression::{self, Expression, Scope, Type, script::is_closed},
    template::Part,
};

/// Where a text stands: that decides who fills it in, and so what it may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Stands {
    /// `env`, `defaults` and `concurrency` of the pipeline: filled in when the build is planned, the same for all jobs.
    Pipeline,
    /// Keys of a job and of its steps that have to be known when the build is planned.
    Planned,
    /// `shell` and `working-directory` that have to be known then.
    PlannedScript,
    /// `image` in `defaults`.
    PlannedImage,
    /// Keys of a job: filled in when its needs are over.
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
    /// `run` of a step: filled in by the agent when its turn comes.
    Script,
    /// `working-directory`, `entrypoint` and `command` of a step.
    Argument,
    /// `image` of a step.
    StepImage,
    /// `env` and `with` of a step.
    StepEnv,
    StepIf,
    /// `outputs` of a job: filled in when its steps are over.
    Outputs,
}

/// What a text becomes into which only what the file says may be put, and what is closed: numbers, booleans, choices, results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Becomes {
    Script,
    /// A program's name, arguments or place.
    Argument,
    Image,
}

impl Stands {
    /// Nothing where any text may stand.
    pub(super) const fn becomes(self) -> Option<Becomes> {
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

/// Whose value may get into a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Taint {
    /// Of a program, of whoever starts the build, or of the server: nobody who wrote the file.
    Elsewhere,
    /// Of somebody who may push or open a pull request, or only name a branch.
    Outsider,
    Secret,
}

/// Values of the event that outsiders write, and where a step finds each in its environment.
const OUTSIDERS: &[(&str, &str)] = &[
    ("event.branch", "CI_COMMIT_BRANCH"),
    ("event.tag", "CI_COMMIT_TAG"),
    ("event.ref", "CI_COMMIT_REF"),
    ("event.title", "CI_COMMIT_TITLE"),
    ("event.message", "CI_COMMIT_MESSAGE"),
    ("event.author", "CI_COMMIT_AUTHOR"),
    ("event.author-email", "CI_COMMIT_AUTHOR_EMAIL"),
    ("event.sender", "CI_PIPELINE_AUTHOR"),
    ("event.url", "CI_PIPELINE_FORGE_URL"),
    ("event.source-branch", "CI_COMMIT_SOURCE_BRANCH"),
    ("event.target-branch", "CI_COMMIT_TARGET_BRANCH"),
];

/// More values that the file does not say, and where a step finds each in its environment.
const ELSEWHERE: &[(&str, &str)] = &[
    ("event.action", "CI_PIPELINE_EVENT_REASON"),
    ("repo.name", "CI_REPO"),
    ("repo.owner", "CI_REPO_OWNER"),
    ("repo.short-name", "CI_REPO_NAME"),
    ("repo.clone-url", "CI_REPO_CLONE_URL"),
    ("repo.forge", "CI_FORGE_TYPE"),
    ("repo.default-branch", "CI_REPO_DEFAULT_BRANCH"),
    ("build.url", "CI_PIPELINE_URL"),
];

/// The one variable that says the same in every job.
pub(super) const WORKSPACE: &str = "CI_WORKSPACE";

/// Names of contexts that people write by other systems' habit.
pub(super) const FOREIGN: &[(&str, &str)] = &[
    ("github.ref_name", "event.branch"),
    ("github.head_ref", "event.source-branch"),
    ("github.base_ref", "event.target-branch"),
    ("github.ref", "event.ref"),
    ("github.sha", "event.sha"),
    ("github.actor", "event.sender"),
    ("github.event_name", "event.name"),
    ("github.repository", "repo.name"),
    ("github.run_number", "build.number"),
    ("github.run_id", "build.id"),
    ("github.event.inputs", "inputs"),
    ("github.event.pull_request.title", "event.title"),
    ("github.event.pull_request.number", "event.number"),
    ("github.event.head_commit.message", "event.message"),
    ("github.workspace", "env.CI_WORKSPACE"),
    ("vars", "env"),
    ("strategy", "matrix"),
    ("runner", "matrix"),
    ("job", "steps"),
    ("variables", "env"),
    ("pipeline", "build"),
];

/// What `event` has. Whatever an event does not have is nothing.
fn event() -> Type {
    let mut entries = BTreeMap::new();
    for key in [
        "name",
        "ref",
        "branch",
        "tag",
        "sha",
        "sha-short",
        "before",
        "title",
        "message",
        "author",
        "author-email",
        "sender",
        "url",
        "default-branch",
        "action",
        "source-branch",
        "target-branch",
        "cron",
    ] {
        entries.insert(key.to_owned(), Type::Text);
    }
    entries.insert("number".to_owned(), Type::Number);
    entries.insert("fork".to_owned(), Type::Bool);
    Type::Record(entries)
}

fn repo() -> Type {
    Type::record(["name", "owner", "short-name", "clone-url", "forge", "default-branch"].map(|key| (key, Type::Text)))
}

/// The values of a job's matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MatrixNames {
    /// The job has none.
    None,
    /// It cannot be read, so that anything may be in it.
    Broken,
    Of(Vec<String>),
}

/// The names that are known around a job, or around a pipeline.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// Whether these are a job's.
    in_job: bool,
    /// The pipeline's, or the template's.
    inputs: Option<BTreeMap<String, Type>>,
    /// Whether the job comes of a template: then `inputs` are the template's, and the pipeline's file has none.
    in_template: bool,
    matrix: MatrixNames,
    needs: Option<BTreeMap<String, Type>>,
    /// Variables of pipeline and job that are known when the build is planned; nothing where they cannot be read.
    env: Option<BTreeMap<String, Type>>,
    /// Variables of the file around a text, those of a step too.
    variables: BTreeSet<String>,
    /// Those of them whose values are not known when the build is planned.
    late: BTreeSet<String>,
    /// By their names in the store.
    secrets: Option<BTreeMap<String, Type>>,
    steps: BTreeMap<String, Type>,
    /// The other jobs of the pipeline, and the ids of all steps of the job.
    jobs: Rc<[Rc<str>]>,
    ids: Rc<[Rc<str>]>,
    /// Paths of values that are not what they seem: `env.TITLE` that holds an outsider's.
    tainted: BTreeMap<String, Taint>,
    scopes: RefCell<HashMap<(Stands, bool), Rc<Scope>>>,
}

/// How an id of `steps` looks.
pub(super) fn step_type() -> Type {
    let outputs = Type::Map(Box::new(Type::Text));
    Type::record([("outputs", outputs), ("outcome", Type::Text), ("conclusion", Type::Text)])
}

/// How a job of `needs` looks; with outputs that nobody can read, any will do.
pub(super) fn need_type(outputs: Option<&[String]>) -> Type {
    let outputs = match outputs {
        Some(names) => Type::record(names.iter().map(|name| (name.as_str(), Type::Text))),
        None => Type::Any,
    };
    Type::record([("result", Type::Text), ("outputs", outputs)])
}

impl Names {
    /// Around the jobs.
    pub(super) fn of_pipeline(inputs: Option<BTreeMap<String, Type>>) -> Self {
        Self {
            in_job: false,
            inputs,
            in_template: false,
            matrix: MatrixNames::None,
            needs: Some(BTreeMap::new()),
            env: Some(BTreeMap::new()),
            variables: BTreeSet::new(),
            late: BTreeSet::new(),
            secrets: Some(BTreeMap::new()),
            steps: BTreeMap::new(),
            jobs: Rc::default(),
            ids: Rc::default(),
            tainted: BTreeMap::new(),
            scopes: RefCell::default(),
        }
    }

    /// Around one job of that pipeline.
    pub(super) fn of_job(&self, matrix: MatrixNames) -> Self {
        Self { in_job: true, matrix, scopes: RefCell::default(), ..self.clone() }
    }

    pub(super) fn add_need(&mut self, job: &str, ty: Type) {
        if let Some(needs) = &mut self.needs {
            needs.insert(job.to_owned(), ty);
        }
        self.scopes.get_mut().clear();
    }

    /// The job's needs cannot be read.
    pub(super) fn any_need(&mut self) {
        self.needs = None;
        self.scopes.get_mut().clear();
    }

    /// The job's secrets cannot be read.
    pub(super) fn any_secret(&mut self) {
        self.secrets = None;
        self.scopes.get_mut().clear();
    }

    /// The job comes of a template with these inputs; nothing where they cannot be read, and any may be asked for. `tainted` are
    /// those that are given what may not get into a script.
    pub(super) fn use_template(
        &mut self,
        inputs: Option<BTreeMap<String, Type>>,
        tainted: impl IntoIterator<Item = (String, Taint)>,
    ) {
        self.inputs = inputs;
        self.in_template = true;
        self.tainted.retain(|path, _| !below(path, "inputs"));
        self.tainted.extend(tainted.into_iter().map(|(input, taint)| (format!("inputs.{input}"), taint)));
        self.scopes.get_mut().clear();
    }

    /// Variables of a pipeline or job.
    pub(super) fn add_env(&mut self, variables: Option<&BTreeMap<String, Template>>) {
        match (variables, &mut self.env) {
            (Some(variables), Some(env)) => {
                env.extend(variables.keys().map(|name| (name.clone(), Type::Text)));
            }
            _ => self.env = None,
        }
        self.judge_env(variables, false);
    }

    /// Variables of a step: they are forgotten with the copy that knows them.
    pub(super) fn add_step_env(&mut self, variables: &BTreeMap<String, Template>) {
        self.judge_env(Some(variables), true);
    }

    /// What variables hold: what may not get into a script, and what is not known when the build is planned. What a step asks of
    /// `env` is what the steps before it have made of it.
    fn judge_env(&mut self, variables: Option<&BTreeMap<String, Template>>, of_step: bool) {
        let is_late = |value: &Template| !self.is_planned(value) || of_step && value.refers().to("env");
        let judged: Vec<(&String, Option<Taint>, bool)> =
            variables.into_iter().flatten().map(|(name, value)| (name, self.taint(value), is_late(value))).collect();
        for (name, taint, late) in judged {
            let path = format!("env.{name}");
            match taint.or_else(|| late.then_some(Taint::Elsewhere)) {
                Some(taint) => self.tainted.insert(path, taint),
                None => self.tainted.remove(&path),
            };
            match late {
                true => self.late.insert(name.clone()),
                false => self.late.remove(name),
            };
            self.variables.insert(name.clone());
        }
        self.scopes.get_mut().clear();
    }

    /// Whether a text is known when the build is planned.
    fn is_planned(&self, text: &Template) -> bool {
        let refers = text.refers();
        !refers.files
            && refers.contexts.iter().all(|(context, property)| match (context.as_str(), property) {
                ("event" | "repo" | "matrix" | "inputs", _) => true,
                ("env", Some(name)) => self.variables.contains(name) && !self.late.contains(name),
                _ => false,
            })
    }

    pub(super) fn add_secret(&mut self, name: &str, variable: &str) {
        if let Some(secrets) = &mut self.secrets {
            secrets.insert(name.to_owned(), Type::Text);
        }
        self.tainted.insert(format!("env.{variable}"), Taint::Secret);
        self.scopes.get_mut().clear();
    }

    pub(super) fn add_step(&mut self, id: &str) {
        self.steps.insert(id.to_owned(), step_type());
        self.scopes.get_mut().clear();
    }

    pub(super) fn has_step(&self, id: &str) -> bool {
        self.steps.contains_key(id)
    }

    pub(super) fn taint_path(&mut self, path: String, taint: Taint) {
        self.tainted.insert(path, taint);
    }

    /// What an expression may refer to; `in_file` where it stands in the pipeline's file and not in a template.
    pub(super) fn scope(&self, stands: Stands, in_file: bool) -> Rc<Scope> {
        let mut scopes = self.scopes.borrow_mut();
        let foreign = in_file && self.in_template;
        Rc::clone(scopes.entry((stands, foreign)).or_insert_with(|| Rc::new(self.make(stands, foreign))))
    }

    fn make(&self, stands: Stands, foreign: bool) -> Scope {
        use Stands::{
            Argument, CacheKey, Job, JobArgument, JobEnv, JobIf, JobImage, Outputs, Pipeline, Planned, PlannedImage,
            PlannedScript, Script, StepEnv, StepIf, StepImage,
        };
        let mut scope = Scope {
            progress: matches!(stands, JobIf | StepIf),
            files: matches!(stands, CacheKey | Script | Argument | StepImage | StepEnv | StepIf | Outputs),
            ..Scope::default()
        };
        let mut add = |name: &'static str, has: Result<Type, &str>| match has {
            Ok(ty) => {
                scope.contexts.insert(name, ty);
            }
            Err(why) => {
                scope.absent.insert(name, why.to_owned());
            }
        };
        let late = "this text has to be known when the build is planned: `event`, `repo`, `matrix` and `inputs` are";
        let planned = matches!(stands, Pipeline | Planned | PlannedScript | PlannedImage);
        let in_steps = matches!(stands, Script | Argument | StepImage | StepEnv | StepIf | Outputs);
        add("event", Ok(event()));
        add("repo", Ok(repo()));
        add(
            "inputs",
            if foreign {
                Err("beside `use`, hand inputs to the template in `with`, and ask for them there")
            } else {
                Ok(self.inputs.clone().map_or(Type::Any, Type::Record))
            },
        );
        add(
            "matrix",
            match &self.matrix {
                _ if !self.in_job => Err("`matrix` has values only within a job"),
                _ if stands == Pipeline => Err("the group is the whole pipeline's, and a matrix is one job's"),
                MatrixNames::None => Err("this job has no `matrix`: give it one, such as `matrix: { version: [...] }`"),
                MatrixNames::Broken => Ok(Type::Any),
                MatrixNames::Of(names) => Ok(Type::record(names.iter().map(|name| (name.as_str(), Type::Text)))),
            },
        );
        add(
            "build",
            if planned {
                Err(late)
            } else {
                Ok(Type::record([("number", Type::Number), ("id", Type::Text), ("url", Type::Text)]))
            },
        );
        add("needs", if planned { Err(late) } else { Ok(self.needs.clone().map_or(Type::Any, Type::Record)) });
        add(
            "env",
            match (&self.env, in_steps) {
                // Steps add to it, and so does what the image says.
                (_, true) => Ok(Type::Map(Box::new(Type::Text))),
                _ if stands == JobIf => {
                    Err("`if` of a job asks before there is an environment: use what its variables are made of")
                }
                (Some(env), false) if planned => {
                    let known = env.iter().filter(|(name, _)| !self.late.contains(*name));
                    Ok(Type::record(known.map(|(name, ty)| (name.as_str(), ty.clone()))))
                }
                (Some(env), false) => Ok(Type::Record(env.clone())),
                (None, false) => Ok(Type::Any),
            },
        );
        add(
            "secrets",
            match stands {
                JobEnv | StepEnv => Ok(self.secrets.clone().map_or(Type::Any, Type::Record)),
                Job | JobImage | JobArgument | CacheKey | Script | Argument | StepImage | Outputs | JobIf | StepIf => {
                    Err(
                        "a secret is put into `env` (or `with` of a plugin) and nowhere else; name it in `secrets` of the job and it is a variable already",
                    )
                }
                Pipeline | Planned | PlannedScript | PlannedImage => {
                    Err("secrets are named by the jobs that get them: write `secrets: [NAME]` at the job")
                }
            },
        );
        add(
            "steps",
            if in_steps {
                Ok(Type::Record(self.steps.clone()))
            } else if planned {
                Err(late)
            } else {
                Err(
                    "`steps` has values only in steps and in `outputs`; for other jobs, write `outputs` and ask for `needs.<job>.outputs.<name>`",
                )
            },
        );
        scope
    }

    /// Whose value a text may carry into where it is used.
    pub(super) fn taint(&self, text: &Template) -> Option<Taint> {
        text.parts()
            .iter()
            .filter_map(|part| match part {
                Part::Expression(expression) => self.taint_of(expression),
                Part::Text(_) => None,
            })
            .max()
    }

    fn taint_of(&self, expression: &Expression) -> Option<Taint> {
        let carries = expression::check(expression, &Scope::default()).carries;
        carries.iter().filter_map(|carried| self.taint_at(&carried.path)).max()
    }

    /// Whose value stands at a path, or somewhere below it; nothing where the file says it, or where it is closed.
    pub(super) fn taint_at(&self, path: &[String]) -> Option<Taint> {
        let joined = path.join(".");
        let meets = |known: &str| below(&joined, known) || below(known, &joined);
        if meets("secrets") {
            return Some(Taint::Secret);
        }
        let own = || self.tainted.iter().filter(|(known, _)| meets(known)).map(|(_, taint)| *taint).max();
        match path {
            // All of its values are literals.
            [context, ..] if context == "matrix" => None,
            // Those that are free texts are known to be.
            [context, ..] if context == "inputs" => own(),
            [context, name] if context == "env" && self.variables.contains(name) => own(),
            [context, name] if context == "env" && name == WORKSPACE => own(),
            [context, rest @ ..] if context == "env" => {
                // Under their names in the environment they are the same values.
                let of_event = |variable: &str| rest.first().is_none_or(|name| name == variable);
                let outsider = OUTSIDERS.iter().any(|(_, variable)| of_event(variable)).then_some(Taint::Outsider);
                own().max(outsider).or(Some(Taint::Elsewhere))
            }
            _ if is_closed(path) => None,
            _ => {
                let outsider = OUTSIDERS.iter().any(|(known, _)| meets(known)).then_some(Taint::Outsider);
                own().max(outsider).or(Some(Taint::Elsewhere))
            }
        }
    }
}

/// Whether `path` is `prefix` or stands below it.
fn below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether a path is itself one that outsiders write.
pub(super) fn is_outsiders(path: &str) -> bool {
    OUTSIDERS.iter().any(|(known, _)| *known == path)
}

/// The environment variable that has the value at a path.
pub(super) fn variable(path: &str) -> Option<String> {
    if let Some(name) = path.strip_prefix("env.").or_else(|| path.strip_prefix("secrets.")) {
        return Some(name.to_owned());
    }
    let known = OUTSIDERS.iter().chain(ELSEWHERE).find(|(known, _)| *known == path);
    known.map(|(_, variable)| (*variable).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(source: &str) -> Template {
        Template::new([Part::Expression(Expression::parse(source).unwrap())])
    }

    #[test]
    fn what_outsiders_write_is_known_wherever_it_went() {
        let mut names = Names::of_pipeline(Some(BTreeMap::new()));
        for source in
            ["event.branch", "event", "to-json(event)", "event[inputs.x]", "format('{0}', event.title) || 'x'"]
        {
            assert_eq!(names.taint(&template(source)), Some(Taint::Outsider), "{source}");
        }
        for source in ["event.sha", "event.name", "event.title == 'x'", "matrix.x", "steps.a.outcome", "needs.a.result"]
        {
            assert_eq!(names.taint(&template(source)), None, "{source}");
        }
        for source in ["env.X", "steps.a.outputs.x", "needs.a.outputs.x", "to-json(needs)", "repo.name", "build.url"] {
            assert_eq!(names.taint(&template(source)), Some(Taint::Elsewhere), "{source}");
        }
        names.add_env(Some(&BTreeMap::from([("X".to_owned(), Template::from("x"))])));
        assert_eq!(names.taint(&template("env.X")), None);
        names.add_env(Some(&BTreeMap::from([("X".to_owned(), template("event.title"))])));
        assert_eq!(names.taint(&template("env.X")), Some(Taint::Outsider));
        assert_eq!(names.taint(&template("secrets.T || event.title")), Some(Taint::Secret));
    }
}
