//! What to write where an expression asks for a name that is not there.

use std::rc::Rc;

use super::{Names, Stands};

impl Names {
    /// A name for a variable that carries the value at a path, which no variable of the file has: `LEVEL` for `inputs.level`.
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

    /// The other jobs of the pipeline.
    pub(in super::super) fn know_jobs<'n>(&mut self, jobs: impl Iterator<Item = &'n str>) {
        self.jobs = jobs.map(Rc::from).collect();
    }

    /// The ids of all steps of the job, of those too that have not run yet where something stands.
    pub(in super::super) fn know_ids<'n>(&mut self, ids: impl Iterator<Item = &'n str>) {
        self.ids = ids.map(Rc::from).collect();
    }

    /// Whether `word` exists, and `of` does not have it here: then nothing else is meant.
    pub(in super::super) fn is_elsewhere(&self, of: &str, word: &str) -> bool {
        let known = match of {
            "needs" => &self.jobs,
            "steps" => &self.ids,
            _ => return false,
        };
        known.iter().any(|name| **name == *word)
    }

    /// What to write so that `of`, a path such as `needs`, has `word` there.
    pub(in super::super) fn remedy(&self, of: &str, word: &str, stands: Stands) -> Option<String> {
        let shown: String = word.chars().take(60).collect();
        Some(match of {
            "secrets" => format!("name it at the job: `secrets: [{shown}]`"),
            "needs" if self.is_elsewhere(of, word) => format!("name it at the job: `needs: [{shown}]`"),
            "needs" => format!("no other job of this pipeline is called `{shown}`"),
            "steps" if self.is_elsewhere(of, word) => {
                format!("the step `{shown}` has not run yet here: `steps` has those before this one")
            }
            "steps" => format!("no step of this job has `id: {shown}`"),
            "inputs" if self.in_template => {
                format!("declare it in the template: `inputs: {{ {shown}: {{ type: string }} }}`")
            }
            "inputs" => format!("declare it: `on: {{ manual: {{ inputs: {{ {shown}: {{ type: string }} }} }} }}`"),
            "env" if stands == Stands::JobEnv => format!(
                "write its value here, or set `{shown}` in an `env` around this one: variables of one `env` do not know each other"
            ),
            "env" if stands == Stands::Pipeline => format!(
                "write its value here, or set `{shown}` in `env` of the pipeline: variables of one `env` do not know each other"
            ),
            "env" => format!("set it at the job or the pipeline: `env: {{ {shown}: ... }}`"),
            _ => {
                let job = of.strip_prefix("needs.")?.strip_suffix(".outputs")?;
                format!(
                    "put it out at the job `{job}`: `outputs: {{ {shown}: '${{{{ steps.<id>.outputs.{shown} }}}}' }}`"
                )
            }
        })
    }
}
