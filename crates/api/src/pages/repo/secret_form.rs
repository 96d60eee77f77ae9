//! The form of a secret, on the page of a repository's settings.

use longshore_core::{EventName, SecretValue};
use longshore_store::secrets::SecretPatch;
use serde::Deserialize;

use crate::error::ApiError;

/// A secret as the form sends it. Lists are words separated by spaces or commas.
#[derive(Default, Deserialize)]
pub(crate) struct SecretForm {
    pub(super) name: String,
    /// Empty keeps the stored value.
    #[serde(default)]
    pub(super) value: String,
    #[serde(default)]
    pub(super) branches: String,
    #[serde(default)]
    pub(super) tags: String,
    #[serde(default)]
    pub(super) events: String,
    #[serde(default)]
    pub(super) jobs: String,
    /// Empty lists remove the stored rules; without it, an empty list keeps them.
    pub(super) no_rules: Option<String>,
}

impl SecretForm {
    pub(super) fn patch(&self) -> Result<SecretPatch, ApiError> {
        // Browsers send line ends as CRLF; key files have LF.
        let value = Some(self.value.replace("\r\n", "\n")).filter(|value| !value.is_empty());
        let event = |word: String| {
            serde_json::from_value::<EventName>(word.as_str().into()).map_err(|_| {
                ApiError::bad_request(format!(
                    "unknown event `{}`: use {}",
                    word.chars().take(60).flat_map(char::escape_debug).collect::<String>(),
                    EventName::ALL.map(EventName::as_str).join(", ")
                ))
            })
        };
        let given = |list: &str| Some(split_words(list)).filter(|list| !list.is_empty() || self.no_rules.is_some());
        let events = given(&self.events).map(|words| words.into_iter().map(event).collect::<Result<_, _>>());
        Ok(SecretPatch {
            value: value.map(SecretValue::new).transpose()?,
            branches: given(&self.branches),
            tags: given(&self.tags),
            events: events.transpose()?,
            jobs: given(&self.jobs),
        })
    }
}

/// Splits a list into words. Refs contain no spaces; a comma separates unless it is within braces.
pub(super) fn split_words(text: &str) -> Vec<String> {
    let mut depth = 0_usize;
    let separates = |c: char| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c.is_whitespace() || (c == ',' && depth == 0)
    };
    text.split(separates).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}
