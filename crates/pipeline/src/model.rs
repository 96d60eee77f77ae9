//! A pipeline as read: valid in itself, not yet tied to an event.
//!
//! Parts of a job or step that do not depend on the event or the matrix are kept as the plan's own types, with texts to
//! fill in. The fields beside them are what the plan has only once event and matrix are known.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
};

use longshore_core::{JobPlan, Span, StepPlan, Template, expression::Value, template::Part};

use super::{filter::Patterns, input::Input, schedule::Schedule, text::Flag};

/// One pipeline file that has no errors.
#[derive(Debug, Clone)]
pub struct Pipeline {
    pub(super) file: String,
    pub(super) name: String,
    /// The place of the name, or the beginning of the file.
    pub(super) name_at: At,
    pub(super) jobs_at: At,
    pub(super) on: Triggers,
    pub(super) env: BTreeMap<String, Template>,
    pub(super) concurrency: Option<Group>,
    pub(super) jobs: Vec<Job>,
}

impl Pipeline {
    /// Returns the path of the file that it was read from.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Returns its `name`, or else the name of its file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the names of its jobs as written, before the matrix.
    pub fn job_names(&self) -> impl Iterator<Item = &str> {
        self.jobs.iter().map(|job| job.name.as_str())
    }

    /// Returns the times at which it starts by itself.
    #[must_use]
    pub fn schedules(&self) -> &[Schedule] {
        &self.on.schedules
    }

    /// Returns the inputs of a manual start; `None` if it cannot be started by hand.
    #[must_use]
    pub fn manual_inputs(&self) -> Option<&[Input]> {
        self.on.manual.as_deref()
    }
}

/// A place that is kept for problems that only show when a build is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At {
    pub(super) file: String,
    pub(super) span: Span,
    pub(super) source: Option<String>,
}

/// The events that start a pipeline.
#[derive(Debug, Clone, Default)]
pub(super) struct Triggers {
    pub(super) push: Option<Push>,
    pub(super) pull_request: Option<PullRequests>,
    pub(super) schedules: Vec<Schedule>,
    pub(super) manual: Option<Vec<Input>>,
    /// The actions of a release that start the pipeline.
    pub(super) release: Option<Vec<String>>,
    /// Whether a merge queue starts it.
    pub(super) merge_group: bool,
}

/// A kind of event that some forges never send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionalEvent {
    PullRequests,
    Labels,
    Drafts,
    Reopened,
    Releases,
    MergeGroups,
}

impl Triggers {
    /// Returns the kinds of events, each with its word, without which a part of `on` never starts anything.
    pub(super) fn optional_events(&self) -> Vec<(OptionalEvent, &str)> {
        let mut events = Vec::new();
        if let Some(on) = &self.pull_request {
            let by_hand_or_time = self.manual.is_some() || !self.schedules.is_empty();
            let nothing_else = self.push.is_none() && !by_hand_or_time && self.release.is_none() && !self.merge_group;
            if nothing_else {
                events.push((OptionalEvent::PullRequests, "pull-request"));
            }
            for (words, kind) in [
                (&["labeled", "unlabeled"][..], OptionalEvent::Labels),
                (&["ready-for-review", "converted-to-draft"], OptionalEvent::Drafts),
            ] {
                let named = on.types.iter().find(|named| words.contains(&named.as_str()));
                events.extend(named.map(|word| (kind, word.as_str())));
            }
            if on.types.iter().all(|named| named == "reopened") {
                events.push((OptionalEvent::Reopened, "reopened"));
            }
        }
        events.extend(self.release.as_ref().map(|_| (OptionalEvent::Releases, "release")));
        events.extend(self.merge_group.then_some((OptionalEvent::MergeGroups, "merge-group")));
        events
    }
}

/// Which pushes start a pipeline. With neither `branches` nor `tags`: all; with one of them: only that kind of ref.
#[derive(Debug, Clone, Default)]
pub(super) struct Push {
    pub(super) branches: Option<Patterns>,
    pub(super) tags: Option<Patterns>,
    pub(super) paths: Paths,
}

/// Which pull requests start a pipeline.
#[derive(Debug, Clone)]
pub(super) struct PullRequests {
    /// Patterns for the target branch.
    pub(super) branches: Option<Patterns>,
    pub(super) types: Vec<String>,
    pub(super) paths: Paths,
    /// Whether what merging would give is built, instead of the pull request's newest commit.
    pub(super) merge: bool,
}

/// Which changed files matter. With neither pattern list: all.
#[derive(Debug, Clone, Default)]
pub(super) struct Paths {
    /// At least one changed file has to match.
    pub(super) only: Option<Patterns>,
    /// At least one changed file has to match none of these.
    pub(super) ignore: Option<Patterns>,
}

impl Paths {
    pub(super) const fn is_any(&self) -> bool {
        self.only.is_none() && self.ignore.is_none()
    }
}

/// The `concurrency` of a pipeline.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) group: Template,
    pub(super) cancel_in_progress: Flag,
    pub(super) at: At,
}

/// A job of the same pipeline that another one needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) job: String,
    /// Whether the other job runs whatever its result is.
    pub(super) optional: bool,
    /// Its artifacts whose files the other job gets; `*` for all.
    pub(super) artifacts: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) name: String,
    /// The place of its name.
    pub(super) at: At,
    pub(super) image_at: At,
    /// Everything but the fields below; key, names and needs are set when the build is planned.
    pub(super) draft: JobPlan,
    pub(super) needs: Vec<Need>,
    pub(super) approval: Option<Template>,
    pub(super) runs_on: BTreeMap<String, Template>,
    pub(super) continue_on_error: Flag,
    pub(super) steps: Vec<Step>,
    /// The template's inputs; `None` for a job that uses no template.
    pub(super) with: Option<BTreeMap<String, InputValue>>,
    pub(super) fail_fast: bool,
    pub(super) max_parallel: Option<u32>,
    /// Each combination makes one job; without a matrix there is a single empty one.
    pub(super) combinations: Vec<Combination>,
}

impl Job {
    /// Returns the number of expressions in the texts of all jobs that it makes.
    pub(super) fn expressions(&self) -> usize {
        let expressions_in =
            |text: &Template| text.parts().iter().filter(|part| matches!(part, Part::Expression(_))).count();
        let mut count = 0;
        self.each_text(|text| count += expressions_in(text));
        count * self.combinations.len()
    }

    /// Returns whether one of its texts refers to this secret.
    pub(super) fn refers_to_secret(&self, name: &str) -> bool {
        let mut refers = false;
        self.each_text(|text| {
            refers |= text.refers().contexts.iter().any(|(context, property)| {
                context == "secrets" && property.as_ref().is_none_or(|property| property == name)
            });
        });
        refers
    }

    /// Returns the patterns of each `changed()` in its `if` and in those of its steps.
    pub(super) fn changes(&self) -> BTreeSet<Vec<String>> {
        let steps = self.steps.iter().filter_map(|step| step.draft.condition.as_ref());
        self.draft.condition.iter().chain(steps).flat_map(|condition| condition.refers().changes).collect()
    }

    fn each_text(&self, mut visit: impl FnMut(&Template)) {
        let mut visit = |text: &mut Template| {
            visit(text);
            Ok::<(), Infallible>(())
        };
        // The closure changes nothing; the copies are dropped.
        let _ = self.draft.clone().change(&mut visit);
        for step in &self.steps {
            let _ = step.draft.clone().change(&mut visit);
        }
    }
}

/// The value given to a template's input.
#[derive(Debug, Clone)]
pub(super) enum InputValue {
    Known(Value),
    /// A text that is parsed as the input's type when the build is planned.
    Text(Template, Input),
}

#[derive(Debug, Clone)]
pub(super) struct Step {
    /// Everything but the fields below.
    pub(super) draft: StepPlan,
    pub(super) name: Option<Template>,
    pub(super) shell: Template,
    pub(super) user: Option<Template>,
    pub(super) continue_on_error: Flag,
}

/// The matrix values of one job, in the order of its axes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Combination {
    pub(super) values: Vec<(String, String)>,
}

impl Combination {
    /// Returns the suffix of the job's name: ` (a, b)`, or empty without a matrix.
    pub(super) fn suffix(&self) -> String {
        if self.values.is_empty() {
            return String::new();
        }
        let values: Vec<&str> = self.values.iter().map(|(_, value)| value.as_str()).collect();
        format!(" ({})", values.join(", "))
    }

    /// Returns the context `matrix`.
    pub(super) fn value(&self) -> Value {
        Value::map(self.values.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }
}
