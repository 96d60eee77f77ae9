//! Lists that forges give page by page.

use serde::de::DeserializeOwned;

use crate::{error::CallError, http::Endpoint};

/// Items of a page; every forge gives at least as many.
pub(crate) const PER_PAGE: usize = 50;
/// Pages that are read at most: 2,000 repositories.
pub(crate) const MAX_PAGES: usize = 40;

/// Reads all pages of a list.
pub(crate) fn read_all<T: DeserializeOwned>(
    endpoint: &Endpoint,
    path: &str,
    size_parameter: &str,
) -> Result<Vec<T>, CallError> {
    let sign = if path.contains('?') { '&' } else { '?' };
    let mut all = Vec::new();
    for page in 1..=MAX_PAGES {
        let answer = endpoint.get(&format!("{path}{sign}{size_parameter}={PER_PAGE}&page={page}"))?;
        let items: Vec<T> = answer.read().ok_or_else(|| endpoint.not_understood())?;
        let is_last = items.len() < PER_PAGE;
        all.extend(items);
        if is_last {
            break;
        }
    }
    Ok(all)
}
