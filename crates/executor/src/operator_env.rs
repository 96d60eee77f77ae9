//! The variables and files that the operator of a server gives every container of every job.

use std::collections::BTreeMap;
use std::fmt;

use longshore_core::Template;

/// The variables in which programs look for proxies. Some programs read them in lower case, some in upper case.
pub const PROXY_VARIABLES: [&str; 5] = ["http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"];

/// Variables and authorities for every container of a job.
#[derive(Clone, Default)]
pub struct OperatorEnv {
    /// They win over the image's variables, and the pipeline's win over them.
    pub variables: BTreeMap<String, String>,
    /// Certificates, as PEM, that are trusted besides those that the image trusts. Empty for none.
    pub authorities: String,
}

impl OperatorEnv {
    /// Adds these variables to those of a job or a service, which win.
    pub(crate) fn below(&self, env: BTreeMap<String, Template>) -> BTreeMap<String, Template> {
        let mut env = self.in_both_cases(env);
        for (name, value) in &self.variables {
            env.entry(name.clone()).or_insert_with(|| value.as_str().into());
        }
        env
    }

    /// Sets a proxy variable that a pipeline gives in one case in the other case as well, if the operator has set that:
    /// a program that looks there first would get the operator's value.
    pub(crate) fn in_both_cases(&self, mut env: BTreeMap<String, Template>) -> BTreeMap<String, Template> {
        for name in self.variables.keys() {
            if let Some(other) = other_case(name)
                && !env.contains_key(name)
                && let Some(given) = env.get(&other).cloned()
            {
                env.insert(name.clone(), given);
            }
        }
        env
    }
}

impl fmt::Debug for OperatorEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A proxy's address may hold a password.
        f.debug_struct("OperatorEnv").field("names", &self.variables.keys()).finish_non_exhaustive()
    }
}

/// Returns a proxy variable's name in the other case. `None` for every other variable.
#[must_use]
pub fn other_case(name: &str) -> Option<String> {
    let lower = PROXY_VARIABLES.iter().find(|lower| lower.eq_ignore_ascii_case(name))?;
    Some(if *lower == name { lower.to_uppercase() } else { (*lower).to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(variables: &[(&str, &str)]) -> OperatorEnv {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        OperatorEnv { variables, authorities: String::new() }
    }

    fn env(variables: &[(&str, &str)]) -> BTreeMap<String, Template> {
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect()
    }

    #[test]
    fn the_pipelines_variables_win_over_the_operators_and_a_proxy_in_whatever_case_it_is_written() {
        let operator = operator(&[("A", "1"), ("B", "1"), ("HTTP_PROXY", "http://o"), ("http_proxy", "http://o")]);
        assert_eq!(
            operator.below(env(&[("B", "2"), ("HTTP_PROXY", "http://p")])),
            env(&[("A", "1"), ("B", "2"), ("HTTP_PROXY", "http://p"), ("http_proxy", "http://p")])
        );
        let step = operator.in_both_cases(env(&[("http_proxy", ""), ("C", "3")]));
        assert_eq!(step, env(&[("C", "3"), ("HTTP_PROXY", ""), ("http_proxy", "")]));
    }

    #[test]
    fn without_an_operators_proxy_a_pipelines_is_left_as_it_is() {
        let own = env(&[("HTTPS_PROXY", "http://p")]);
        assert_eq!(operator(&[("A", "1")]).in_both_cases(own.clone()), own);
    }

    #[test]
    fn only_proxy_variables_have_another_case() {
        assert_eq!(other_case("no_proxy").as_deref(), Some("NO_PROXY"));
        assert_eq!(other_case("ALL_PROXY").as_deref(), Some("all_proxy"));
        assert_eq!((other_case("path"), other_case("GOPROXY")), (None, None));
    }
}
