//! Keyset pages: newest first, the next page begins before the last row's `seq`.

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// What to give as `before` for the next page; nothing when this was the last.
    pub next: Option<i64>,
}

/// No page is longer, whatever is asked.
pub(crate) const MAX_LIMIT: u32 = 500;

impl<T> Page<T> {
    /// From rows that were asked for with one more than `limit`, each with its `seq`.
    pub(crate) fn from_rows(mut items: Vec<T>, limit: u32, seq: impl Fn(&T) -> i64) -> Self {
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = if more { items.last().map(seq) } else { None };
        Self { items, next }
    }
}

/// The limit that is used for the one asked: at least 1, at most [`MAX_LIMIT`].
pub(crate) fn clamp(limit: u32) -> u32 {
    limit.clamp(1, MAX_LIMIT)
}
