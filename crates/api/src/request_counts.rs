//! Counts answers by the class of their status, for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;

/// Answers since the start, by the first digit of their status.
#[derive(Debug, Default)]
pub(crate) struct RequestCounts([AtomicU64; 5]);

impl RequestCounts {
    pub(crate) fn count(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100);
        if let Some(counter) = class.checked_sub(1).and_then(|index| self.0.get(index)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns each class (`2xx`) with its count.
    pub(crate) fn by_class(&self) -> impl Iterator<Item = (String, u64)> {
        self.0.iter().enumerate().map(|(index, counter)| (format!("{}xx", index + 1), counter.load(Ordering::Relaxed)))
    }
}
