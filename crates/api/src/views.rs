//! The JSON shapes of answers: which parts of the store's rows are shown, and under which names.

mod build;
mod job;
mod repo_ref;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

pub(crate) use self::{
    build::BuildView,
    job::{AttemptView, JobView, StepView},
    repo_ref::RepoRef,
};

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    items: Vec<T>,
    /// Pass this as `before` to get the next page; `null` on the last page.
    next: Option<String>,
}

impl<T> Page<T> {
    pub(crate) fn from_page<R>(page: longshore_store::Page<R>, view: impl FnMut(R) -> T) -> Self {
        Self { items: page.items.into_iter().map(view).collect(), next: page.next.map(|place| place.to_string()) }
    }

    /// Returns a page with at most one item.
    pub(crate) fn single(item: Option<T>) -> Self {
        Self { items: item.into_iter().collect(), next: None }
    }

    pub(crate) fn with_next(items: Vec<T>, next: Option<String>) -> Self {
        Self { items, next }
    }

    pub(crate) fn complete(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}

/// Pagination parameters.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// The `next` of the previous page
    pub(crate) before: Option<String>,
    /// Maximum number of items to return: 50 by default, at most 200
    pub(crate) limit: Option<u32>,
}
