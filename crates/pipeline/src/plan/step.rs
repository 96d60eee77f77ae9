//! Plans a step, and names it.

use std::collections::BTreeMap;

use longshore_core::{
    StepPlan, Template,
    expression::{EvalError, Values},
    plan::Wait,
};

use super::{
    super::{model::Step, variables},
    fill::{Fixed, evaluate_flag, fill, fill_script},
};

pub(super) fn plan_step(
    at: usize,
    step: &Step,
    job_env: &BTreeMap<String, Template>,
    known: &Values,
    fixed: &Fixed,
    reuses: bool,
) -> Result<StepPlan, EvalError> {
    let mut plan = step.draft.clone();
    for text in plan.env.values_mut() {
        fill(text, known)?;
    }
    let within = fixed.within(&plan.env);
    for text in plan.scripts_mut() {
        fill_script(text, &within)?;
    }
    plan.change(&mut |text: &mut Template| fill(text, known))?;
    plan.name = match &step.name {
        Some(name) => one_line(&name.evaluate(fixed)?),
        None => default_name(&plan),
    };
    plan.shell = step.shell.evaluate(fixed)?;
    plan.user = step.user.as_ref().map(|user| user.evaluate(fixed)).transpose()?;
    plan.continue_on_error = evaluate_flag(&step.continue_on_error, fixed)?;
    let own = std::mem::take(&mut plan.env);
    plan.env = variables::of_step(at, &plan.name).into_iter().map(|(name, value)| (name, value.into())).collect();
    if plan.run.is_none() && plan.wait.is_none() {
        plan.env.extend(variables::of_plugin(job_env, &plan.env, reuses));
    }
    plan.env.extend(own);
    Ok(plan)
}

/// Limit for the characters of a step's default name.
const DEFAULT_NAME_CHARS: usize = 60;

/// Returns the first line of the script that is not empty, the image of a plugin, or what the step waits for.
fn default_name(step: &StepPlan) -> String {
    match (&step.run, &step.image, &step.wait) {
        (_, _, Some(Wait::All)) => "Wait for all background steps".to_owned(),
        (_, _, Some(Wait::Steps(ids))) => short_line(&format!("Wait for {}", ids.join(", "))),
        (None, Some(image), None) => short_line(&image.shown()),
        (Some(_), _, None) | (None, None, None) => short_line(&step.shown_script()),
    }
}

fn short_line(text: &str) -> String {
    let line = one_line(text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or(""));
    if line.chars().count() <= DEFAULT_NAME_CHARS {
        return line;
    }
    let cut: String = line.chars().take(DEFAULT_NAME_CHARS - 1).collect();
    format!("{}…", cut.trim_end())
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::short_line;

    #[test]
    fn a_step_without_a_name_is_called_by_its_first_line() {
        assert_eq!(short_line("\n  make test\nmake more\n"), "make test");
        let long = short_line(&"x".repeat(100));
        assert_eq!(long.chars().count(), 60);
        assert!(long.ends_with('…'));
    }
}
