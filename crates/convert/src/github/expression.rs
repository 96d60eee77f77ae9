//! Translates expressions of GitHub Actions, which are nearly the same small language with other names.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use longshore_core::expression::{Expression, Scope as Known, check, script::is_closed};

use super::super::{
    condition::quote,
    draft::{Map, Value},
    foreign,
    quoting::Place,
    shell,
};
use super::tokens::{Token, is_operand, tokens};

/// What is known around an expression.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// The workflow's name, and the job's.
    pub(super) workflow: String,
    pub(super) job: String,
    /// Inputs that are booleans.
    pub(super) booleans: BTreeSet<String>,
    /// Inputs with a closed set of values: booleans, numbers and choices.
    pub(super) closed: BTreeSet<String>,
    /// The keys of the job's matrix, if all of it was carried over. Another one is missing, and is the empty text there.
    pub(super) axes: Option<BTreeSet<String>>,
    /// The inputs of a start by hand. Another one is missing, too.
    pub(super) inputs: BTreeSet<String>,
    /// Axes of the matrix with values that are booleans.
    pub(super) flags: BTreeSet<String>,
    /// Steps that were caches, which say nothing of hits here.
    pub(super) caches: BTreeSet<String>,
    /// Inputs of an action whose steps are written out, with their expressions here.
    pub(super) given: Option<BTreeMap<String, String>>,
    /// What stands before the ids of steps of an action that is written out.
    pub(super) prefix: Option<String>,
    /// The folder of an action that is written out.
    pub(super) folder: Option<String>,
    /// Outputs of actions that were written out: the id of the step, the output, and its expression here.
    pub(super) outputs: RefCell<BTreeMap<(String, String), String>>,
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
        "(event.name == 'pull-request' && 'pull_request' || event.name == 'manual' && 'workflow_dispatch' || event.name == 'tag' && 'push' || event.name)",
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

    fn path(&self, path: &[String]) -> Result<String, String> {
        let whole = path.join(".");
        let Some((context, rest)) = path.split_first() else { return Err(whole) };
        let below = rest.join(".");
        match context.to_ascii_lowercase().as_str() {
            "true" | "false" | "null" if rest.is_empty() => Ok(context.to_ascii_lowercase()),
            _ if rest.iter().any(|part| part == "*") => Err(whole),
            "github" => match below.as_str() {
                "workflow" => Ok(quote(&self.workflow)),
                "action_path" if self.folder.is_some() => {
                    Ok(quote(&format!("/longshore/workspace/{}", self.folder.as_deref().unwrap_or_default())))
                }
                "job" => Ok(quote(&self.job)),
                "run_id" | "run_number" | "run_attempt" if self.of_group => Ok("event.sha".to_owned()),
                _ => match below.strip_prefix("event.inputs.") {
                    Some(input) if !self.inputs.contains(input) => Ok("''".to_owned()),
                    Some(input) => Ok(format!("inputs.{input}")),
                    None => PATHS
                        .iter()
                        .find(|(theirs, _)| *theirs == below)
                        .map(|(_, ours)| (*ours).to_owned())
                        .ok_or(whole),
                },
            },
            "runner" => match below.as_str() {
                "os" => Ok("'Linux'".to_owned()),
                "arch" => Ok("'X64'".to_owned()),
                "temp" => Ok("'/tmp'".to_owned()),
                _ => Err(whole),
            },
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
            "steps" => {
                if let [id, outputs, name] = rest
                    && outputs == "outputs"
                    && let Some(known) = self.outputs.borrow().get(&(id.clone(), name.clone()))
                {
                    return Ok(if known.contains(' ') { format!("({known})") } else { known.clone() });
                }
                match (&self.prefix, rest) {
                    (Some(prefix), [id, behind @ ..]) => {
                        Ok(format!("steps.{prefix}-{}", [&[id.clone()][..], behind].concat().join(".")))
                    }
                    (None, [_, ..]) => Ok(whole),
                    (_, []) => Err(whole),
                }
            }
            "matrix" if !rest.is_empty() && self.axes.as_ref().is_some_and(|axes| !axes.contains(&rest.join("_"))) => {
                Ok("''".to_owned())
            }
            "inputs" if matches!(rest, [input] if !self.inputs.contains(input)) => Ok("''".to_owned()),
            // An axis of mappings became one axis for each of their keys.
            "matrix" if rest.len() == 2 => Ok(format!("matrix.{}_{}", rest[0], rest[1])),
            "matrix" | "needs" | "inputs" | "env" if !rest.is_empty() => Ok(whole),
            _ => Err(whole),
        }
    }

    /// Translates a sequence of tokens with a meaning of its own. Returns the expression and the number of tokens.
    fn idiom(&self, tokens: &[Token]) -> Result<Option<(String, usize)>, String> {
        let path = |at: usize| match tokens.get(at) {
            Some(Token::Path(path)) => path.join("."),
            _ => String::new(),
        };
        let sign = |at: usize| match tokens.get(at) {
            Some(Token::Sign(sign)) => *sign,
            _ => "",
        };
        let text = |at: usize| match tokens.get(at) {
            Some(Token::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        let equal = |sign: &str| match sign {
            "==" => Some(true),
            "!=" => Some(false),
            _ => None,
        };
        if path(0).eq_ignore_ascii_case("contains") && path(2) == "needs.*.result" && sign(3) == "," && sign(5) == ")" {
            return match text(4) {
                Some("failure") => Ok(Some(("failure()".to_owned(), 6))),
                Some("cancelled") => Ok(Some(("cancelled()".to_owned(), 6))),
                _ => Err("needs.*.result".to_owned()),
            };
        }
        let Some(same) = equal(sign(1)) else {
            // Whether a cache was hit is not known here: it counts as missed.
            let hit = |at: usize| matches!(tokens.get(at), Some(Token::Path(path)) if self.is_cache_hit(path));
            return match tokens.first() {
                Some(Token::Sign("!")) if hit(1) => Ok(Some(("true".to_owned(), 2))),
                _ if hit(0) && tokens.len() > 1 => Ok(Some(("false".to_owned(), 1))),
                _ => Ok(None),
            };
        };
        if let (Some(Token::Text(text)), Some(Token::Path(path))) = (tokens.first(), tokens.get(2)) {
            // `'' == x` is `x == ''`.
            let turned = [Token::Path(path.clone()), tokens[1].clone(), Token::Text(text.clone())];
            return self.idiom(&turned);
        }
        let first = path(0);
        if let (Some(Token::Path(parts)), Some(Token::Text(text))) = (tokens.first(), tokens.get(2)) {
            if self.is_cache_hit(parts) {
                return Ok(Some((((text == "true") != same).to_string(), 3)));
            }
            if first == "runner.os" {
                return Ok(Some((((text == "Linux") == same).to_string(), 3)));
            }
            // What is missing is nothing here, which is never equal to a text.
            if text.is_empty() {
                let value = self.path(parts)?;
                return Ok(Some((format!("{}{value}", if same { "!" } else { "!!" }), 3)));
            }
        }
        let pair = [first.as_str(), &path(2)];
        if pair.contains(&"github.event.pull_request.head.repo.full_name") && pair.contains(&"github.repository") {
            let condition = match same {
                true => "(event.name == 'pull-request' && !event.fork)",
                false => "(event.name != 'pull-request' || event.fork)",
            };
            return Ok(Some((condition.to_owned(), 3)));
        }
        let operator = sign(1);
        let first = match tokens.first() {
            Some(Token::Path(parts)) if parts.len() == 3 && parts[0] == "matrix" => self.path(parts)?,
            _ => first,
        };
        match (first.as_str(), tokens.get(2)) {
            ("github.event_name", Some(Token::Text(name))) => {
                let event = match name.as_str() {
                    "push" if same => return Ok(Some(("(event.name == 'push' || event.name == 'tag')".to_owned(), 3))),
                    "push" => return Ok(Some(("(event.name != 'push' && event.name != 'tag')".to_owned(), 3))),
                    "pull_request" | "pull_request_target" => "pull-request",
                    "workflow_dispatch" => "manual",
                    name => name,
                };
                Ok(Some((format!("event.name {operator} {}", quote(event)), 3)))
            }
            ("github.event.action", Some(Token::Text(action))) => {
                Ok(Some((format!("event.action {operator} {}", quote(&action.replace('_', "-"))), 3)))
            }
            ("github.ref_name", Some(Token::Text(name))) => {
                let refs = ["heads", "tags"]
                    .map(|kind| format!("event.ref {operator} {}", quote(&format!("refs/{kind}/{name}"))));
                Ok(Some((format!("({})", refs.join(if same { " || " } else { " && " })), 3)))
            }
            ("github.ref_type", Some(Token::Text(kind))) => {
                let operator = if (kind == "tag") == same { "==" } else { "!=" };
                Ok(Some((format!("event.name {operator} 'tag'"), 3)))
            }
            (first, Some(Token::Path(word)))
                if first.starts_with("matrix.")
                    && matches!(word.as_slice(), [word] if word == "true" || word == "false") =>
            {
                // A missing value counts as false there.
                Ok(Some(match (word[0].as_str(), same) {
                    ("false", true) => (format!("(!{first} || {first} == 'false')"), 3),
                    ("false", false) => (format!("({first} && {first} != 'false')"), 3),
                    (word, _) => (format!("{first} {operator} '{word}'"), 3),
                }))
            }
            (first, Some(Token::Number(number))) if first.starts_with("matrix.") || first.starts_with("steps.") => {
                Ok(Some((format!("{first} {operator} '{number}'"), 3)))
            }
            (first, Some(Token::Text(word))) if word == "true" || word == "false" => {
                let input = first.strip_prefix("github.event.inputs.").or_else(|| first.strip_prefix("inputs."));
                match input.filter(|input| self.booleans.contains(*input)) {
                    Some(input) => Ok(Some((format!("inputs.{input} {operator} {word}"), 3))),
                    None => Ok(None),
                }
            }
            _ => Ok(None),
        }
    }

    fn is_cache_hit(&self, path: &[String]) -> bool {
        matches!(path, [context, id, outputs, hit]
            if context == "steps" && outputs == "outputs" && hit == "cache-hit" && self.caches.contains(id))
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

    /// Whether a value can be put into a script as it is, because the file says all of it or its set of values is
    /// closed.
    fn is_harmless(&self, expression: &str) -> bool {
        let Ok(expression) = Expression::parse(expression) else { return false };
        check(&expression, &Known::default()).carries.iter().all(|carried| match carried.path.as_slice() {
            [context, ..] if context == "matrix" => true,
            [context, name] if context == "inputs" => self.closed.contains(name),
            path => is_closed(path),
        })
    }

    /// Translates a script. Values that others write are passed in variables, which are added to `env`.
    pub(super) fn script(&self, written: &str, env: &mut Map) -> Result<String, String> {
        let mut used: BTreeMap<String, String> = BTreeMap::new();
        // A new variable must not have a name that the script uses itself.
        let own = replace(written, |_, _| Ok(String::new()))?;
        let taken: BTreeSet<String> = shell::assigned(&own).union(&shell::names(&own)).cloned().collect();
        let script = replace(written, |source, before| {
            if source.trim() == super::step::BASE_COMMIT {
                let place = Place::after(before).ok_or_else(|| NO_PLACE.to_owned())?;
                return Ok(match place {
                    Place::Single => "'\"origin/${CI_COMMIT_TARGET_BRANCH}\"'".to_owned(),
                    Place::Bare => "\"origin/${CI_COMMIT_TARGET_BRANCH}\"".to_owned(),
                    Place::Double | Place::Here => "origin/${CI_COMMIT_TARGET_BRANCH}".to_owned(),
                });
            }
            let expression = self.expression(source)?;
            if self.is_harmless(&expression) {
                return Ok(shown(&expression));
            }
            let line = before.rsplit('\n').next().unwrap_or(before);
            if READ_AGAIN.iter().any(|words| line.contains(words)) {
                return Err(READ_TWICE.to_owned());
            }
            let place = Place::after(before).ok_or_else(|| NO_PLACE.to_owned())?;
            if let Some(name) =
                expression.strip_prefix("env.").filter(|name| foreign::variable(name).as_deref() == Some(*name))
            {
                return Ok(place.variable(name));
            }
            // Its name in the source: `secrets.TOKEN` is `TOKEN`, `github.head_ref` is `GITHUB_HEAD_REF`.
            let source = source.trim();
            let base =
                ["secrets.", "github.event."].iter().find_map(|prefix| source.strip_prefix(prefix)).unwrap_or(source);
            let mut name = String::new();
            for c in base.chars().take(50) {
                match c {
                    c if c.is_ascii_alphanumeric() => name.push(c.to_ascii_uppercase()),
                    _ if name.ends_with('_') || name.is_empty() => {}
                    _ => name.push('_'),
                }
            }
            name.truncate(name.trim_end_matches('_').len());
            if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
                name = format!("VALUE_{name}");
            }
            while used.get(&name).is_some_and(|other| *other != expression)
                || env.get(&name).is_some_and(|value| *value != Value::Text(shown(&expression)))
                || taken.contains(&name)
                || TAKEN.contains(&name.as_str())
            {
                name.push('_');
            }
            used.insert(name.clone(), expression);
            Ok(place.variable(&name))
        })?;
        for (name, expression) in used {
            env.set(name, Value::Text(shown(&expression)), None);
        }
        Ok(script)
    }
}

/// Variables that mean something to shells and programs.
const TAKEN: &[&str] =
    &["PATH", "HOME", "USER", "SHELL", "PWD", "OLDPWD", "IFS", "ENV", "TMPDIR", "LANG", "TERM", "CI"];

/// Commands that run an argument as a program: a value from others in that argument would be run too, even from a
/// variable.
const READ_AGAIN: &[&str] = &["eval ", " -c ", " -lc ", " -ec ", "node -e", "perl -e", "ruby -e", "ssh "];

const READ_TWICE: &str = "a value of others within what another program reads as a script";

const NO_PLACE: &str = "a value of others within a here document or quotes that a shell reads in another way";

/// Writes an expression into a text: a literal as it is.
fn shown(expression: &str) -> String {
    super::super::variables::written(expression)
}

/// Replaces each expression of a text; `by` gets its source and the result so far.
fn replace(written: &str, mut by: impl FnMut(&str, &str) -> Result<String, String>) -> Result<String, String> {
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

    #[test]
    fn what_others_write_comes_into_a_script_by_its_environment() {
        let scope = Scope::default();
        let mut env = Map::default();
        let script = "echo \"${{ github.head_ref }}\" '${{ github.head_ref }}' ${{ matrix.os }} ${{ env.X }} ${{ secrets.T }} ${{ runner.os }}";
        assert_eq!(
            scope.script(script, &mut env).as_deref(),
            Ok("echo \"${GITHUB_HEAD_REF}\" ''\"${GITHUB_HEAD_REF}\"'' ${{ matrix.os }} ${X} ${T} Linux")
        );
        assert_eq!(env.get("T"), Some(&Value::text("${{ secrets.T }}")));
        assert_eq!(env.get("GITHUB_HEAD_REF"), Some(&Value::text("${{ event.source-branch }}")));
    }

    #[test]
    fn only_what_is_closed_stays_in_a_script() {
        let scope = Scope {
            closed: ["level".to_owned()].into(),
            inputs: ["level", "free", "x"].map(str::to_owned).into(),
            ..Scope::default()
        };
        let script = |written: &str| {
            let mut env = Map::default();
            let script = scope.script(written, &mut env);
            let env: Vec<String> = env.entries().map(|entry| entry.key.clone()).collect();
            (script, env.join(" "))
        };
        for same in [
            "echo ${{ matrix.os }} ${{ inputs.level }}",
            "echo ${{ steps.a.outcome }}",
            "echo ${{ needs.a.result }}",
            "x ${{ matrix.a == 'x' && 'y' || 'z' }}",
        ] {
            assert_eq!(script(same), (Ok(same.to_owned()), String::new()));
        }
        for (written, expected, env) in [
            ("echo ${{ steps.x.outputs.y }}", "echo ${STEPS_X_OUTPUTS_Y}", "STEPS_X_OUTPUTS_Y"),
            ("echo ${{ needs.x.outputs.y }}", "echo ${NEEDS_X_OUTPUTS_Y}", "NEEDS_X_OUTPUTS_Y"),
            ("echo ${{ inputs.free }}", "echo ${INPUTS_FREE}", "INPUTS_FREE"),
            ("echo ${{ github.repository }}", "echo ${GITHUB_REPOSITORY}", "GITHUB_REPOSITORY"),
            ("A=1; a 'b ${{ inputs.x }} c'", "A=1; a 'b '\"${INPUTS_X}\"' c'", "INPUTS_X"),
            ("INPUTS_X=1; echo ${{ inputs.x }}", "INPUTS_X=1; echo ${INPUTS_X_}", "INPUTS_X_"),
            ("cat <<END\n'${{ inputs.x }}'\nEND\n", "cat <<END\n'${INPUTS_X}'\nEND\n", "INPUTS_X"),
            ("echo 'a\n${{ inputs.x }}\nb'", "echo 'a\n'\"${INPUTS_X}\"'\nb'", "INPUTS_X"),
            ("echo ${{ secrets.PATH }}", "echo ${PATH_}", "PATH_"),
        ] {
            assert_eq!(script(written), (Ok(expected.to_owned()), env.to_owned()), "{written}");
        }
        for left in [
            "cat <<'END'\n${{ inputs.x }}\nEND",
            "echo $'${{ inputs.x }}'",
            "echo `echo '${{ inputs.x }}'`",
            "bash -c 'echo ${{ inputs.x }}'",
        ] {
            assert!(script(left).0.is_err(), "{left}");
        }
    }
}
