//! Keyset pages: newest first; the next page starts before the last row's `seq`.

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// `before` for the next page; `None` if this was the last page.
    pub next: Option<i64>,
}

/// The most rows of a page, whatever the caller asks for.
pub(crate) const MAX_LIMIT: u32 = 500;

impl<T> Page<T> {
    /// Makes a page of rows that were queried with one more than `limit`. `seq` returns a row's `seq`.
    pub(crate) fn from_rows(mut items: Vec<T>, limit: u32, seq: impl Fn(&T) -> i64) -> Self {
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = if more { items.last().map(seq) } else { None };
        Self { items, next }
    }
}

/// Returns the limit to use for the requested one: at least 1, at most [`MAX_LIMIT`].
pub(crate) fn clamp(limit: u32) -> u32 {
    limit.clamp(1, MAX_LIMIT)
}
