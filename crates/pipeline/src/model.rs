//! A pipeline as read: sound in itself, not yet tied to an event.
//!
//! What a job or a step has whatever the event and the matrix say is kept as the plan's own types, with texts to fill in;
//! beside them stands what the plan has only once it is known.

use std::{collections::BTreeMap, convert::Infallible};

use longshore_core::{JobPlan, Span, StepPlan, Template, Unsupported, expression::Value, template::Part};

use super::{filter::Patterns, input::Input, schedule::Schedule, text::Flag};

/// One pipeline file that has no errors.
#[derive(Debug, Clone)]
pub struct Pipeline {
    pub(super) file: String,
    pub(super) name: String,
    /// Where the name stands, or the file's beginning.
    pub(super) name_at: At,
    pub(super) jobs_at: At,
    pub(super) on: Triggers,
    pub(super) env: BTreeMap<String, Template>,
    pub(super) concurrency: Option<Group>,
    pub(super) jobs: Vec<Job>,
}

impl Pipeline {
    /// The file that it was read from.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What its jobs ask for and this version cannot run, by the job's name.
    pub fn unsupported(&self) -> impl Iterator<Item = (&str, Unsupported)> {
        self.jobs.iter().flat_map(|job| job.unsupported().into_iter().map(|part| (job.name.as_str(), part)))
    }

    /// Its `name`, or else the file's.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its jobs as written, before the matrix.
    pub fn job_names(&self) -> impl Iterator<Item = &str> {
        self.jobs.iter().map(|job| job.name.as_str())
    }

    /// When it is due by itself.
    #[must_use]
    pub fn schedules(&self) -> &[Schedule] {
        &self.on.schedules
    }

    /// What may be said when it is started by hand; `None` where that cannot be done.
    #[must_use]
    pub fn manual_inputs(&self) -> Option<&[Input]> {
        self.on.manual.as_deref()
    }
}

/// A place that is kept for findings that only show when a build is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At {
    pub(super) file: String,
    pub(super) span: Span,
    pub(super) source: Option<String>,
}

/// What starts a pipeline.
#[derive(Debug, Clone, Default)]
pub(super) struct Triggers {
    pub(super) push: Option<Push>,
    pub(super) pull_request: Option<PullRequests>,
    pub(super) schedules: Vec<Schedule>,
    pub(super) manual: Option<Vec<Input>>,
}

/// Which pushes start a pipeline. Without `branches` and `tags`: all; with one of them: only that kind of ref.
#[derive(Debug, Clone, Default)]
pub(super) struct Push {
    pub(super) branches: Option<Patterns>,
    pub(super) tags: Option<Patterns>,
    pub(super) paths: Paths,
}

/// Which pull requests start a pipeline.
#[derive(Debug, Clone)]
pub(super) struct PullRequests {
    /// Those into these branches.
    pub(super) branches: Option<Patterns>,
    pub(super) types: Vec<String>,
    pub(super) paths: Paths,
}

/// Which changed files matter. Without either: all.
#[derive(Debug, Clone, Default)]
pub(super) struct Paths {
    /// One of the changed files fits.
    pub(super) only: Option<Patterns>,
    /// One of the changed files fits none of these.
    pub(super) ignore: Option<Patterns>,
}

impl Paths {
    pub(super) const fn is_any(&self) -> bool {
        self.only.is_none() && self.ignore.is_none()
    }
}

/// `concurrency`.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) group: Template,
    pub(super) cancel_in_progress: Flag,
    pub(super) at: At,
}

#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) name: String,
    /// Where its name stands.
    pub(super) at: At,
    pub(super) image_at: At,
    /// Everything but what follows; key, names and needs are given when it is planned.
    pub(super) draft: JobPlan,
    /// Jobs of the same pipeline, and whether their results do not matter.
    pub(super) needs: Vec<(String, bool)>,
    pub(super) approval: Option<Template>,
    pub(super) runs_on: BTreeMap<String, Template>,
    pub(super) continue_on_error: Flag,
    pub(super) steps: Vec<Step>,
    /// What the template is given; nothing for a job that is written out.
    pub(super) with: Option<BTreeMap<String, With>>,
    pub(super) fail_fast: bool,
    pub(super) max_parallel: Option<u32>,
    /// One job comes of each; a single empty one without a matrix.
    pub(super) combinations: Vec<Combination>,
}

impl Job {
    /// What it asks for and this version cannot run.
    pub(super) fn unsupported(&self) -> Vec<Unsupported> {
        self.draft.unsupported(self.steps.iter().map(|step| &step.draft))
    }

    /// How many expressions are put into the texts of the jobs that come of it.
    pub(super) fn expressions(&self) -> usize {
        let of = |text: &Template| text.parts().iter().filter(|part| matches!(part, Part::Expression(_))).count();
        let mut count = 0;
        self.each_text(|text| count += of(text));
        count * self.combinations.len()
    }

    /// Whether one of its texts asks for this secret.
    pub(super) fn asks_for_secret(&self, name: &str) -> bool {
        let mut asks = false;
        self.each_text(|text| {
            asks |= text.refers().contexts.iter().any(|(context, property)| {
                context == "secrets" && property.as_ref().is_none_or(|property| property == name)
            });
        });
        asks
    }

    fn each_text(&self, mut look: impl FnMut(&Template)) {
        let mut look = |text: &mut Template| {
            look(text);
            Ok::<(), Infallible>(())
        };
        // Only looked at: the copies go.
        let _ = self.draft.clone().change(&mut look);
        for step in &self.steps {
            let _ = step.draft.clone().change(&mut look);
        }
    }
}

/// The value of a template's input.
#[derive(Debug, Clone)]
pub(super) enum With {
    Known(Value),
    /// A text, which the input's type still has to take.
    Text(Template, Input),
}

#[derive(Debug, Clone)]
pub(super) struct Step {
    /// Everything but what follows.
    pub(super) draft: StepPlan,
    pub(super) name: Option<Template>,
    pub(super) shell: Template,
    pub(super) user: Option<Template>,
    pub(super) continue_on_error: Flag,
}

/// The matrix's values for one job, in the order of its axes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Combination {
    pub(super) values: Vec<(String, String)>,
}

impl Combination {
    /// ` (a, b)`, or nothing.
    pub(super) fn suffix(&self) -> String {
        if self.values.is_empty() {
            return String::new();
        }
        let values: Vec<&str> = self.values.iter().map(|(_, value)| value.as_str()).collect();
        format!(" ({})", values.join(", "))
    }

    /// The context `matrix`.
    pub(super) fn value(&self) -> Value {
        Value::map(self.values.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }
}
