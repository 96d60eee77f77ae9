//! Scripts of GitHub Actions, into which expressions are put before a shell sees them: what others write comes in by
//! the environment here.

use std::collections::{BTreeMap, BTreeSet};

use longshore_core::expression::{Expression, Scope as Known, check, script::is_closed};

use super::super::{
    draft::{Map, Value},
    foreign,
    quoting::Place,
    shell,
};
use super::expression::{Scope, replace, shown};

impl Scope {
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

#[cfg(test)]
mod tests {
    use super::*;

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
