//! The names that an expression may refer to, depending on where it is written, and which values must not get into a
//! script.

mod missing;
mod position;
mod taint;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
};

use longshore_core::{
    Template,
    expression::{Scope, Type},
};

use self::taint::below;
pub(super) use self::{
    position::{Becomes, Position},
    taint::{Taint, WORKSPACE, is_written_by_outsiders, variable},
};

/// Why a value is absent that is known only when jobs run.
const LATE: &str = "this must be known when the build is created: use `event`, `repo`, `matrix` or `inputs`";

/// Names of contexts in other systems, and what they are called here.
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

/// Returns the properties of `event`. A property that an event does not have is empty.
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
    for key in ["fork", "merged", "draft"] {
        entries.insert(key.to_owned(), Type::Bool);
    }
    Type::Record(entries)
}

fn repo() -> Type {
    Type::record(["name", "owner", "short-name", "clone-url", "forge", "default-branch"].map(|key| (key, Type::Text)))
}

/// The values of a job's matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MatrixNames {
    /// The job has no matrix.
    None,
    /// The matrix cannot be read, so it may contain anything.
    Broken,
    Of(Vec<String>),
}

/// The names that are known around a job, or around a pipeline.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// Whether these are the names of a job.
    in_job: bool,
    /// The inputs of the pipeline, or of the template.
    inputs: Option<BTreeMap<String, Type>>,
    /// Whether the job comes from a template: then `inputs` are the template's, and texts of the pipeline's file cannot
    /// use any.
    in_template: bool,
    matrix: MatrixNames,
    needs: Option<BTreeMap<String, Type>>,
    /// Variables of the pipeline and the job that are known when the build is planned; `None` if they cannot be read.
    env: Option<BTreeMap<String, Type>>,
    /// Variables that the file defines around a text, including those of a step.
    variables: BTreeSet<String>,
    /// Those of `variables` whose values are not known when the build is planned.
    late: BTreeSet<String>,
    /// Secrets by their names in the store.
    secrets: Option<BTreeMap<String, Type>>,
    steps: BTreeMap<String, Type>,
    /// The other jobs of the pipeline, and the ids of all steps of the job.
    jobs: Rc<[Rc<str>]>,
    ids: Rc<[Rc<str>]>,
    /// Paths that hold tainted values although they look harmless, such as `env.TITLE` with an outsider's text.
    tainted: BTreeMap<String, Taint>,
    scopes: RefCell<HashMap<(Position, bool), Rc<Scope>>>,
}

/// Returns the type of an entry of `steps`.
pub(super) fn step_type() -> Type {
    let outputs = Type::Map(Box::new(Type::Text));
    Type::record([("outputs", outputs), ("outcome", Type::Text), ("conclusion", Type::Text)])
}

/// Returns the type of an entry of `needs`; if the outputs cannot be read, every name is allowed.
pub(super) fn need_type(outputs: Option<&[String]>) -> Type {
    let outputs = match outputs {
        Some(names) => Type::record(names.iter().map(|name| (name.as_str(), Type::Text))),
        None => Type::Any,
    };
    Type::record([("result", Type::Text), ("outputs", outputs)])
}

impl Names {
    /// Returns the names that are known outside of the jobs.
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

    /// Returns the names that are known in one job of that pipeline.
    pub(super) fn of_job(&self, matrix: MatrixNames) -> Self {
        Self { in_job: true, matrix, scopes: RefCell::default(), ..self.clone() }
    }

    pub(super) fn add_need(&mut self, job: &str, ty: Type) {
        if let Some(needs) = &mut self.needs {
            needs.insert(job.to_owned(), ty);
        }
        self.scopes.get_mut().clear();
    }

    /// Allows any need, because the job's needs cannot be read.
    pub(super) fn allow_any_need(&mut self) {
        self.needs = None;
        self.scopes.get_mut().clear();
    }

    /// Allows any secret, because the job's secrets cannot be read.
    pub(super) fn allow_any_secret(&mut self) {
        self.secrets = None;
        self.scopes.get_mut().clear();
    }

    /// Sets the inputs of the template that the job comes from. `None` if they cannot be read, which allows any input.
    /// `tainted` are the inputs whose values must not get into a script.
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

    /// Adds the variables of a pipeline or job.
    pub(super) fn add_env(&mut self, variables: Option<&BTreeMap<String, Template>>) {
        match (variables, &mut self.env) {
            (Some(variables), Some(env)) => {
                env.extend(variables.keys().map(|name| (name.clone(), Type::Text)));
            }
            _ => self.env = None,
        }
        self.record_env(variables, false);
    }

    /// Adds the variables of a step. The caller drops this copy after the step.
    pub(super) fn add_step_env(&mut self, variables: &BTreeMap<String, Template>) {
        self.record_env(Some(variables), true);
    }

    /// Records which variables hold values that must not get into a script, and which are not known when the build is
    /// planned. `env` in a step's variable refers to the environment that the previous steps left.
    fn record_env(&mut self, variables: Option<&BTreeMap<String, Template>>, of_step: bool) {
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

    /// Returns whether a text is known when the build is planned.
    fn is_planned(&self, text: &Template) -> bool {
        let refers = text.refers();
        !refers.files
            && refers.contexts.iter().all(|(context, property)| match (context.as_str(), property) {
                ("event" | "repo" | "matrix" | "inputs", _) => true,
                ("env", Some(name)) => self.variables.contains(name) && !self.late.contains(name),
                _ => false,
            })
    }

    /// Adds a secret, and the variable that holds it.
    pub(super) fn add_secret(&mut self, name: &str, variable: Option<&str>) {
        if let Some(secrets) = &mut self.secrets {
            secrets.insert(name.to_owned(), Type::Text);
        }
        if let Some(variable) = variable {
            self.tainted.insert(format!("env.{variable}"), Taint::Secret);
        }
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

    /// Returns what an expression may refer to; `in_file` says that it is written in the pipeline's file and not in a
    /// template.
    pub(super) fn scope(&self, position: Position, in_file: bool) -> Rc<Scope> {
        let mut scopes = self.scopes.borrow_mut();
        let foreign = in_file && self.in_template;
        Rc::clone(scopes.entry((position, foreign)).or_insert_with(|| Rc::new(self.build_scope(position, foreign))))
    }

    fn build_scope(&self, position: Position, foreign: bool) -> Scope {
        use Position::{
            Argument, CacheKey, JobIf, Outputs, Pipeline, Planned, PlannedImage, PlannedScript, Script, StepEnv,
            StepIf, StepImage,
        };
        let mut scope = Scope {
            condition: matches!(position, JobIf | StepIf),
            files: matches!(position, CacheKey | Script | Argument | StepImage | StepEnv | StepIf | Outputs),
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
        let planned = matches!(position, Pipeline | Planned | PlannedScript | PlannedImage);
        let in_steps = matches!(position, Script | Argument | StepImage | StepEnv | StepIf | Outputs);
        add("event", Ok(event()));
        add("repo", Ok(repo()));
        add(
            "inputs",
            if foreign {
                Err("pass inputs to the template in `with`, and use them there")
            } else {
                Ok(self.inputs.clone().map_or(Type::Any, Type::Record))
            },
        );
        add(
            "matrix",
            match &self.matrix {
                _ if !self.in_job => Err("`matrix` is available only in jobs"),
                _ if position == Pipeline => Err("the group belongs to the whole pipeline, but a matrix to one job"),
                MatrixNames::None => Err("this job has no `matrix`: add one, such as `matrix: { version: [...] }`"),
                MatrixNames::Broken => Ok(Type::Any),
                MatrixNames::Of(names) => Ok(Type::record(names.iter().map(|name| (name.as_str(), Type::Text)))),
            },
        );
        add(
            "build",
            if planned {
                Err(LATE)
            } else {
                Ok(Type::record([("number", Type::Number), ("id", Type::Text), ("url", Type::Text)]))
            },
        );
        add("needs", if planned { Err(LATE) } else { Ok(self.needs.clone().map_or(Type::Any, Type::Record)) });
        add("env", self.env_type(position, in_steps, planned));
        add("secrets", self.secrets_type(position));
        add(
            "steps",
            if in_steps {
                Ok(Type::Record(self.steps.clone()))
            } else if planned {
                Err(LATE)
            } else {
                Err("`steps` is available only in steps and `outputs`; in other jobs use `needs.<job>.outputs.<name>`")
            },
        );
        scope
    }

    /// Returns what `env` has, or why it is not available.
    fn env_type(&self, position: Position, in_steps: bool, planned: bool) -> Result<Type, &'static str> {
        match (&self.env, in_steps) {
            // Steps and the image add variables, so every name is allowed.
            (_, true) => Ok(Type::Map(Box::new(Type::Text))),
            _ if position == Position::JobIf => Err(
                "a job's `if` is evaluated before there is an environment: use the values that the variables are made of",
            ),
            (Some(env), false) if planned => {
                let known = env.iter().filter(|(name, _)| !self.late.contains(*name));
                Ok(Type::record(known.map(|(name, ty)| (name.as_str(), ty.clone()))))
            }
            (Some(env), false) => Ok(Type::Record(env.clone())),
            (None, false) => Ok(Type::Any),
        }
    }

    /// Returns what `secrets` has, or why it is not available.
    fn secrets_type(&self, position: Position) -> Result<Type, &'static str> {
        use Position::{
            Argument, CacheKey, Job, JobArgument, JobEnv, JobIf, JobImage, Outputs, Pipeline, Planned, PlannedImage,
            PlannedScript, Script, StepEnv, StepIf, StepImage,
        };
        match position {
            JobEnv | StepEnv => Ok(self.secrets.clone().map_or(Type::Any, Type::Record)),
            Job | JobImage | JobArgument | CacheKey | Script | Argument | StepImage | Outputs | JobIf | StepIf => Err(
                "a secret can be used only in `env` (or a plugin's `with`); listed in the job's `secrets`, it is a variable already",
            ),
            Pipeline | Planned | PlannedScript | PlannedImage => {
                Err("secrets are listed by the jobs that use them: write `secrets: [NAME]` in the job")
            }
        }
    }
}
