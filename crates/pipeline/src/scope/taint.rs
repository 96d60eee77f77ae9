//! Which values must not get into a script, and through which variable a step finds them instead.

use longshore_core::{
    Template,
    expression::{self, Expression, Scope, script::is_closed},
    template::Part,
};

use super::Names;

/// The possible authors of a value that gets into a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Taint {
    /// A program, the person who starts the build, or the server: anyone but the authors of the file.
    Elsewhere,
    /// Somebody who can push, open a pull request, or only name a branch.
    Outsider,
    Secret,
}

/// Values of the event that outsiders write, and the environment variable in which a step finds each.
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

/// More values that the file does not say, and the environment variable in which a step finds each.
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

/// The one variable that has the same value in every job.
pub(in super::super) const WORKSPACE: &str = "CI_WORKSPACE";

impl Names {
    /// Returns the worst taint of the values that a text refers to.
    pub(in super::super) fn taint(&self, text: &Template) -> Option<Taint> {
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

    /// Returns the taint of the value at a path, or of a value below it; `None` if the file says the value, or if it is
    /// from a closed set.
    pub(in super::super) fn taint_at(&self, path: &[String]) -> Option<Taint> {
        let joined = path.join(".");
        let meets = |known: &str| below(&joined, known) || below(known, &joined);
        if meets("secrets") {
            return Some(Taint::Secret);
        }
        let own = || self.tainted.iter().filter(|(known, _)| meets(known)).map(|(_, taint)| *taint).max();
        match path {
            // All matrix values are literals.
            [context, ..] if context == "matrix" => None,
            // Tainted inputs are recorded in `tainted`.
            [context, ..] if context == "inputs" => own(),
            [context, name] if context == "env" && self.variables.contains(name) => own(),
            [context, name] if context == "env" && name == WORKSPACE => own(),
            [context, rest @ ..] if context == "env" => {
                // The environment has the same values under other names.
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

/// Returns whether `path` is `prefix` or below it.
pub(super) fn below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Returns whether a path is one of the values that outsiders write.
pub(in super::super) fn is_written_by_outsiders(path: &str) -> bool {
    OUTSIDERS.iter().any(|(known, _)| *known == path)
}

/// Returns the environment variable that has the value at a path.
pub(in super::super) fn variable(path: &str) -> Option<String> {
    if let Some(name) = path.strip_prefix("env.").or_else(|| path.strip_prefix("secrets.")) {
        return Some(name.to_owned());
    }
    let known = OUTSIDERS.iter().chain(ELSEWHERE).find(|(known, _)| *known == path);
    known.map(|(_, variable)| (*variable).to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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
