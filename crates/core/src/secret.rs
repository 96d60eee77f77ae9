//! Secrets of repositories: names, values, and the rules that restrict them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    EventName,
    limits::{Unfit, check_secret_value},
};

/// The longest accepted name.
pub const MAX_SECRET_NAME_LEN: usize = 100;

/// The name of a repository's secret. Also the name of its variable, unless the pipeline gives another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(String);

impl SecretName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A secret's value. It is never printed by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(String);

impl SecretValue {
    /// Takes a value that somebody gives.
    pub fn new(value: String) -> Result<Self, Unfit> {
        check_secret_value(&value)?;
        Ok(Self(value))
    }

    /// Takes a value that was stored. It was checked by the rules of its time.
    #[must_use]
    pub fn stored(value: String) -> Self {
        Self(value)
    }

    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(..)")
    }
}

/// Restricts which builds and jobs get a secret. An empty list does not restrict anything.
/// `longshore_pipeline::secret_rules` applies the rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRules {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventName>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<String>,
}

/// A text that is not a valid name for a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is not a valid secret name: use at most {MAX_SECRET_NAME_LEN} letters, digits and underscores, not starting with a digit, \
     `LONGSHORE_` or `CI_`",
    .0.chars().take(MAX_SECRET_NAME_LEN).flat_map(char::escape_debug).collect::<String>()
)]
pub struct NotASecretName(pub String);

impl FromStr for SecretName {
    type Err = NotASecretName;

    fn from_str(text: &str) -> Result<Self, NotASecretName> {
        let fine = (1..=MAX_SECRET_NAME_LEN).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !text.starts_with(|c: char| c.is_ascii_digit())
            && !["LONGSHORE_", "CI_"].iter().any(|taken| text.to_ascii_uppercase().starts_with(taken));
        if fine { Ok(Self(text.to_owned())) } else { Err(NotASecretName(text.to_owned())) }
    }
}

impl TryFrom<String> for SecretName {
    type Error = NotASecretName;

    fn try_from(text: String) -> Result<Self, NotASecretName> {
        text.parse()
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> Self {
        name.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MAX_SECRET_VALUE_LEN;

    #[test]
    fn a_name_is_what_a_variable_may_be_called() {
        for good in ["A", "NPM_TOKEN", "_x9", "deploy_key"] {
            assert_eq!(good.parse::<SecretName>().map(String::from), Ok(good.to_owned()));
        }
        let long = "A".repeat(MAX_SECRET_NAME_LEN + 1);
        for bad in ["", "9A", "A-B", "A B", "A.B", "Ä", "A\n", "CI_TOKEN", "longshore_token", &long] {
            assert!(bad.parse::<SecretName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_value_that_no_variable_can_carry_or_that_hides_nothing_is_refused() {
        let longest = "x".repeat(MAX_SECRET_VALUE_LEN);
        for (bad, why) in [
            (String::new(), Unfit::EmptySecret),
            (format!("{longest}x"), Unfit::SecretTooLong),
            ("a\0b".to_owned(), Unfit::SecretWithNul),
        ] {
            assert_eq!(SecretValue::new(bad).unwrap_err(), why);
        }
        assert!(SecretValue::new(longest).is_ok());
        assert_eq!(format!("{:?}", SecretValue::new("hidden".to_owned()).unwrap()), "SecretValue(..)");
    }
}
