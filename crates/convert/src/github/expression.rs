//! Translates expressions of GitHub Actions, which are nearly the same small language with other names.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use super::super::{condition::quote, foreign};
use super::{
    artifacts::Upload,
    tokens::{Token, is_operand, tokens},
};

/// The surroundings of an expression.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// The workflow's name, and the job's.
    pub(super) workflow: String,
    pub(super) job: String,
    /// Inputs that are booleans.
    pub(super) booleans: BTreeSet<String>,
    /// Inputs with a closed set of values: booleans, numbers and choices.
    pub(super) closed: BTreeSet<String>,
    /// The keys of the job's matrix, if all of it was carried over. Other keys are missing, and are the empty text
    /// there.
    pub(super) axes: Option<BTreeSet<String>>,
    /// The inputs of a start by hand. Other inputs are missing, too.
    pub(super) inputs: BTreeSet<String>,
    /// Axes of the matrix with values that are booleans.
    pub(super) flags: BTreeSet<String>,
    /// Steps that were caches, which say nothing of hits here.
    pub(super) caches: BTreeSet<String>,
    /// Inputs of an action whose steps are written out, with their expressions here.
    pub(super) given: Option<BTreeMap<String, String>>,
    /// The prefix of the ids of steps of an action that is written out.
    pub(super) prefix: Option<String>,
    /// The folder of an action that is written out.
    pub(super) folder: Option<String>,
    /// Outputs of actions that were written out: the id of the step, the output, and its expression here.
    pub(super) outputs: RefCell<BTreeMap<(String, String), String>>,
    /// The artifacts that jobs of the workflow upload.
    pub(super) uploads: Rc<Vec<Upload>>,
    /// The jobs that this one waits for, by their names there.
    pub(super) before: BTreeSet<String>,
    /// Jobs of a called workflow, by their names there, and what they are called here.
    pub(super) renamed: BTreeMap<String, String>,
    /// The secrets of a called workflow, as expressions, if it does not have all of its caller's.
    pub(super) called_secrets: Option<BTreeMap<String, String>>,
    /// The outputs of called workflows: the job that calls, the output, and its expression here.
    pub(super) called: Rc<BTreeMap<(String, String), String>>,
    /// The values that were read from other files.
    pub(super) texts: Rc<RefCell<String>>,
    /// Whether another job needs this one.
    pub(super) needed: bool,
    /// Artifacts that the job takes over, by the names of the jobs there.
    pub(super) takes: RefCell<BTreeMap<String, BTreeSet<String>>>,
    /// Variables of the workflow and the job whose values are literals.
    pub(super) literals: BTreeMap<String, String>,
    /// Variables whose values could not be carried over.
    pub(super) lost: BTreeSet<String>,
    /// Whether it names a group: another number for each build would do for it, too.
    pub(super) of_group: bool,
    /// Secrets that expressions have referred to.
    pub(super) secrets: RefCell<BTreeSet<String>>,
}

/// Paths of `github` and their names here.
const PATHS: &[(&str, &str)] = &[
    ("ref", "event.ref"),
    // The branch of a pull request is its target here.
    ("ref_name", "(event.name == 'pull-request' && format('{0}/merge', event.number) || event.branch || event.tag)"),
    ("head_ref", "event.source-branch"),
    ("base_ref", "event.target-branch"),
    ("sha", "event.sha"),
    ("actor", "event.sender"),
    ("triggering_actor", "event.sender"),
    (
        "event_name",
        "(event.name == 'pull-request' && 'pull_request' || event.name == 'manual' && 'workflow_dispatch' || event.name == 'tag' && 'push' || event.name == 'merge-group' && 'merge_group' || event.name)",
    ),
    ("repository", "repo.name"),
    ("repository_owner", "repo.owner"),
    ("run_id", "build.id"),
    ("run_number", "build.number"),
    ("workspace", "'/longshore/workspace'"),
    ("event.action", "event.action"),
    ("event.after", "event.sha"),
    ("event.before", "event.before"),
    ("event.head_commit.id", "event.sha"),
    // Only a push has a head commit.
    ("event.head_commit.message", "((event.name == 'push' || event.name == 'tag') && event.message || '')"),
    ("event.number", "event.number"),
    ("event.pull_request.base.ref", "event.target-branch"),
    ("event.pull_request.head.ref", "event.source-branch"),
    ("event.pull_request.head.repo.fork", "event.fork"),
    ("event.pull_request.head.sha", "event.sha"),
    ("event.pull_request.html_url", "event.url"),
    ("event.pull_request.number", "event.number"),
    ("event.pull_request.title", "event.title"),
    ("event.pull_request.user.login", "event.sender"),
    ("event.release.tag_name", "event.tag"),
    ("event.repository.default_branch", "repo.default-branch"),
    ("event.repository.clone_url", "repo.clone-url"),
    ("event.repository.full_name", "repo.name"),
    ("event.repository.name", "repo.short-name"),
    ("event.repository.owner.login", "repo.owner"),
    ("event.ref", "event.ref"),
    ("event.schedule", "event.cron"),
];

const FUNCTIONS: &[(&str, &str)] = &[
    ("contains", "contains"),
    ("startswith", "starts-with"),
    ("endswith", "ends-with"),
    ("format", "format"),
    ("join", "join"),
    ("tojson", "to-json"),
    ("fromjson", "from-json"),
    ("hashfiles", "hash-files"),
    ("success", "success"),
    ("failure", "failure"),
    ("always", "always"),
    ("cancelled", "cancelled"),
];

impl Scope {
    /// Translates an expression. The error names the part that Longshore has no counterpart for.
    pub(super) fn expression(&self, source: &str) -> Result<String, String> {
        let tokens = tokens(source)?;
        let mut out = String::new();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let before = at.checked_sub(1).and_then(|before| tokens.get(before));
            let (piece, taken) = match self.idiom(&tokens[at..])? {
                Some(found) => found,
                None if tokens.len() > 1 && self.is_flag(token) && is_operand(before, tokens.get(at + 1)) => {
                    (format!("{} == 'true'", self.token(token, None)?), 1)
                }
                None => (self.token(token, tokens.get(at + 1))?, 1),
            };
            // `!` binds more tightly than a comparison that stands in for one value.
            let negated = matches!(before, Some(Token::Sign("!"))) && piece.contains(' ') && !piece.starts_with('(');
            let piece = if negated { format!("({piece})") } else { piece };
            at += taken;
            let operator = matches!(piece.as_str(), "==" | "!=" | "<=" | ">=" | "&&" | "||" | "<" | ">");
            if operator {
                out.push_str(&format!(" {piece} "));
            } else if piece == "," {
                out.push_str(", ");
            } else {
                out.push_str(&piece);
            }
        }
        Ok(out.trim().to_owned())
    }

    /// Whether it is a value of the matrix that is a boolean there, and a text here.
    fn is_flag(&self, token: &Token) -> bool {
        let Token::Path(path) = token else { return false };
        matches!(path.split_first(), Some((context, axis)) if context == "matrix" && self.flags.contains(&axis.join("_")))
    }

    fn token(&self, token: &Token, next: Option<&Token>) -> Result<String, String> {
        match token {
            Token::Text(text) => Ok(quote(text)),
            Token::Number(number) => Ok(number.clone()),
            Token::Sign(sign) => Ok((*sign).to_owned()),
            Token::Path(path) => match (path.as_slice(), next) {
                ([name], Some(Token::Sign("("))) => FUNCTIONS
                    .iter()
                    .find(|(theirs, _)| name.eq_ignore_ascii_case(theirs))
                    .map(|(_, ours)| (*ours).to_owned())
                    .ok_or_else(|| format!("{name}()")),
                _ => self.path(path),
            },
        }
    }

    pub(super) fn path(&self, path: &[String]) -> Result<String, String> {
        let whole = path.join(".");
        let Some((context, rest)) = path.split_first() else { return Err(whole) };
        let below = rest.join(".");
        match context.to_ascii_lowercase().as_str() {
            "true" | "false" | "null" if rest.is_empty() => Ok(context.to_ascii_lowercase()),
            _ if rest.iter().any(|part| part == "*") => Err(whole),
            "github" => self.github(&below).ok_or(whole),
            "runner" => match below.as_str() {
                "os" => Ok("'Linux'".to_owned()),
                "arch" => Ok("'X64'".to_owned()),
                "temp" => Ok("'/tmp'".to_owned()),
                _ => Err(whole),
            },
            "secrets" if self.called_secrets.is_some() => {
                let given = self.called_secrets.as_ref().filter(|_| below != "GITHUB_TOKEN");
                given.and_then(|given| given.get(&below)).cloned().ok_or(whole)
            }
            "needs" if matches!(rest, [job, _, ..] if self.renamed.contains_key(job)) => {
                Ok(format!("needs.{}.{}", self.renamed[&rest[0]], rest[1..].join(".")))
            }
            "needs"
                if matches!(rest, [job, outputs, name] if outputs == "outputs"
                    && self.called.contains_key(&(job.clone(), name.clone()))) =>
            {
                Ok(self.called[&(rest[0].clone(), rest[2].clone())].clone())
            }
            "secrets" => match rest {
                [name]
                    if name != "GITHUB_TOKEN" && foreign::variable(name).is_some_and(|variable| variable == *name) =>
                {
                    self.secrets.borrow_mut().insert(name.clone());
                    Ok(whole)
                }
                _ => Err(whole),
            },
            "inputs" if self.given.is_some() => {
                let given = self.given.as_ref().and_then(|given| given.get(&below.to_lowercase()));
                given.cloned().ok_or(whole)
            }
            "steps" if matches!(rest, [id, outputs, hit] if self.caches.contains(id) && outputs == "outputs" && hit == "cache-hit") => {
                Ok("''".to_owned())
            }
            "steps" => self.of_step(rest).ok_or(whole),
            "matrix" if !rest.is_empty() && self.axes.as_ref().is_some_and(|axes| !axes.contains(&rest.join("_"))) => {
                Ok("''".to_owned())
            }
            "inputs" if matches!(rest, [input] if !self.inputs.contains(input)) => Ok("''".to_owned()),
            // An axis of mappings became one axis for each of their keys.
            "matrix" if rest.len() == 2 => Ok(format!("matrix.{}_{}", rest[0], rest[1])),
            "env" if matches!(rest, [name] if self.lost.contains(name)) => Err(whole),
            "matrix" | "needs" | "inputs" | "env" if !rest.is_empty() => Ok(whole),
            _ => Err(whole),
        }
    }

    /// Translates a path below `github`.
    fn github(&self, below: &str) -> Option<String> {
        match below {
            "workflow" => Some(quote(&self.workflow)),
            "action_path" if self.folder.is_some() => {
                Some(quote(&format!("/longshore/workspace/{}", self.folder.as_deref().unwrap_or_default())))
            }
            "job" => Some(quote(&self.job)),
            "run_id" | "run_number" | "run_attempt" if self.of_group => Some("event.sha".to_owned()),
            _ => match below.strip_prefix("event.inputs.") {
                Some(input) if !self.inputs.contains(input) => Some("''".to_owned()),
                Some(input) => Some(format!("inputs.{input}")),
                None => PATHS.iter().find(|(theirs, _)| *theirs == below).map(|(_, ours)| (*ours).to_owned()),
            },
        }
    }

    /// Translates a path below `steps`.
    fn of_step(&self, path: &[String]) -> Option<String> {
        if let [id, outputs, name] = path
            && outputs == "outputs"
            && let Some(known) = self.outputs.borrow().get(&(id.clone(), name.clone()))
        {
            return Some(if known.contains(' ') { format!("({known})") } else { known.clone() });
        }
        let (id, behind) = path.split_first()?;
        let id = self.prefix.as_ref().map_or_else(|| id.clone(), |prefix| format!("{prefix}-{id}"));
        Some(["steps".to_owned(), id].iter().chain(behind).map(String::as_str).collect::<Vec<_>>().join("."))
    }

    /// Translates a text with expressions in it.
    pub(super) fn text(&self, written: &str) -> Result<String, String> {
        replace(written, |source, _| Ok(shown(&self.expression(source)?)))
    }

    /// Translates a text to an expression that has its value.
    pub(super) fn value(&self, written: &str) -> Result<String, String> {
        if let Some(inner) = written.trim().strip_prefix("${{").and_then(|rest| rest.strip_suffix("}}"))
            && !inner.contains("}}")
        {
            let expression = self.expression(inner)?;
            return Ok(if expression.contains(' ') { format!("({expression})") } else { expression });
        }
        let mut values = Vec::new();
        let doubled = written.replace('{', "{{").replace('}', "}}").replace("${{{{", "${{").replace("}}}}", "}}");
        let pattern = replace(&doubled, |source, _| {
            values.push(self.expression(source)?);
            Ok(format!("{{{}}}", values.len() - 1))
        })?;
        match values.is_empty() {
            true => Ok(quote(written)),
            false => Ok(format!("format({}, {})", quote(&pattern), values.join(", "))),
        }
    }

    /// Translates a condition, with or without `${{ }}` around it.
    pub(super) fn condition(&self, written: &str) -> Result<String, String> {
        let trimmed = written.trim();
        let whole =
            trimmed.strip_prefix("${{").and_then(|rest| rest.strip_suffix("}}")).filter(|inner| !inner.contains("${{"));
        let source = match whole {
            Some(inner) => inner.to_owned(),
            // Parts in braces become parts of one expression when the braces are removed.
            None => trimmed.replace("${{", "").replace("}}", ""),
        };
        let condition = match tokens(&source)?.as_slice() {
            [token] if self.is_flag(token) => format!("{} == 'true'", self.token(token, None)?),
            [Token::Path(path)] if self.is_cache_hit(path) => "false".to_owned(),
            _ => self.expression(&source)?,
        };
        let constant = ["true", "false"].iter().any(|word| condition.contains(word));
        let condition = if constant { super::super::condition::fold(&condition) } else { condition };
        Ok(super::super::condition::bare(&condition).to_owned())
    }
}
/// Writes an expression into a text: a literal as it is.
pub(super) fn shown(expression: &str) -> String {
    super::super::variables::written(expression)
}

/// Replaces each expression of a text; `by` gets its source and the result so far.
pub(super) fn replace(
    written: &str,
    mut by: impl FnMut(&str, &str) -> Result<String, String>,
) -> Result<String, String> {
    let mut out = String::with_capacity(written.len());
    let mut rest = written;
    while let Some(open) = rest.find("${{") {
        out.push_str(&rest[..open]);
        let inner = &rest[open + 3..];
        let end = inner.find("}}").ok_or("an expression without an end")?;
        let piece = by(&inner[..end], &out)?;
        out.push_str(&piece);
        rest = &inner[end + 2..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_become_ours() {
        let scope = Scope {
            workflow: "CI".to_owned(),
            booleans: ["dry".to_owned()].into(),
            flags: ["flag".to_owned()].into(),
            ..Scope::default()
        };
        for (theirs, ours) in [
            ("github.ref == 'refs/heads/main'", "event.ref == 'refs/heads/main'"),
            (
                "startsWith(github.ref, 'refs/tags/') && !cancelled()",
                "starts-with(event.ref, 'refs/tags/') && !cancelled()",
            ),
            ("github.event_name == 'push'", "(event.name == 'push' || event.name == 'tag')"),
            ("matrix.experimental == true || matrix.v != 3", "matrix.experimental == 'true' || matrix.v != '3'"),
            ("github.event.inputs.dry == 'true'", "inputs.dry == true"),
            ("contains(needs.*.result, 'failure')", "failure()"),
            (
                "github.event.pull_request.head.repo.full_name == github.repository",
                "(event.name == 'pull-request' && !event.fork)",
            ),
            ("matrix.target == ''", "!matrix.target"),
            ("'' != steps.a.outputs.b", "!!steps.a.outputs.b"),
            ("github.ref_name == 'main'", "(event.ref == 'refs/heads/main' || event.ref == 'refs/tags/main')"),
            ("github.ref_name != 'main'", "(event.ref != 'refs/heads/main' && event.ref != 'refs/tags/main')"),
            ("matrix.flag && !matrix.flag", "matrix.flag == 'true' && !(matrix.flag == 'true')"),
            ("matrix.flag == false", "(!matrix.flag || matrix.flag == 'false')"),
            ("github.event.action != 'ready_for_review'", "event.action != 'ready-for-review'"),
            ("github.workflow", "'CI'"),
            ("matrix['os']", "matrix.os"),
        ] {
            assert_eq!(scope.expression(theirs).as_deref(), Ok(ours), "{theirs}");
        }
        for theirs in ["vars.X", "secrets.GITHUB_TOKEN", "github.token", "a +", "github.event.issue.title", "toFoo(1)"]
        {
            assert!(scope.expression(theirs).is_err(), "{theirs}");
        }
    }
}
