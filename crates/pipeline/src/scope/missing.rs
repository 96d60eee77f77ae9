//! Suggests what to write when an expression refers to a name that does not exist.

use std::rc::Rc;

use super::{Names, Position};

impl Names {
    /// Returns a name for a variable that could carry the value at a path, and that no variable of the file has:
    /// `LEVEL` for `inputs.level`.
    pub(in super::super) fn free_variable(&self, path: &str) -> String {
        let last = path.rsplit('.').next().unwrap_or(path);
        let mut name: String =
            last.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            name.insert_str(0, "VALUE_");
        }
        name.truncate(60);
        while self.variables.contains(&name)
            || matches!(name.as_str(), "PATH" | "HOME" | "USER" | "SHELL" | "PWD" | "IFS")
        {
            name.push_str("_VALUE");
        }
        name
    }

    /// Records the names of the other jobs of the pipeline.
    pub(in super::super) fn set_jobs<'n>(&mut self, jobs: impl Iterator<Item = &'n str>) {
        self.jobs = jobs.map(Rc::from).collect();
    }

    /// Records the ids of all steps of the job, including those that run later than the text in question.
    pub(in super::super) fn set_step_ids<'n>(&mut self, ids: impl Iterator<Item = &'n str>) {
        self.ids = ids.map(Rc::from).collect();
    }

    /// Returns whether `word` exists but cannot be used in `of` here; then no similar name is suggested.
    pub(in super::super) fn is_known_elsewhere(&self, of: &str, word: &str) -> bool {
        let known = match of {
            "needs" => &self.jobs,
            "steps" => &self.ids,
            _ => return false,
        };
        known.iter().any(|name| **name == *word)
    }

    /// Returns what to write so that `of`, a path such as `needs`, contains `word` at this place.
    pub(in super::super) fn remedy(&self, of: &str, word: &str, position: Position) -> Option<String> {
        let shown: String = word.chars().take(60).collect();
        Some(match of {
            "secrets" => format!("add it to the job: `secrets: [{shown}]`"),
            "needs" if self.is_known_elsewhere(of, word) => format!("add it to the job: `needs: [{shown}]`"),
            "needs" => format!("this pipeline has no other job `{shown}`"),
            "steps" if self.is_known_elsewhere(of, word) => {
                format!("the step `{shown}` has not run yet: `steps` contains only earlier steps")
            }
            "steps" => format!("no step of this job has `id: {shown}`"),
            "inputs" if self.in_template => {
                format!("declare it in the template: `inputs: {{ {shown}: {{ type: string }} }}`")
            }
            "inputs" => format!("declare it: `on: {{ manual: {{ inputs: {{ {shown}: {{ type: string }} }} }} }}`"),
            "env" if position == Position::JobEnv => format!(
                "write its value here, or set `{shown}` in an outer `env`: variables of one `env` cannot refer to each other"
            ),
            "env" if position == Position::Pipeline => format!(
                "write its value here, or set `{shown}` in the pipeline's `env`: variables of one `env` cannot refer to each other"
            ),
            "env" => format!("set it in the job or the pipeline: `env: {{ {shown}: ... }}`"),
            _ => {
                let job = of.strip_prefix("needs.")?.strip_suffix(".outputs")?;
                format!("add it to the job `{job}`: `outputs: {{ {shown}: '${{{{ steps.<id>.outputs.{shown} }}}}' }}`")
            }
        })
    }
}
