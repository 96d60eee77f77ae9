//! Parses the header `Range`, for one range of bytes.

use axum::http::{HeaderMap, header};

/// Which part of an answer the client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ByteRange {
    /// From an offset to the end.
    From(u64),
    /// From the first to the last byte, both included.
    Between(u64, u64),
    /// This many bytes at the end.
    Last(u64),
}

impl ByteRange {
    /// Parses the header. `None` if there is no range, or one that is not understood: the answer is then sent whole.
    pub(crate) fn parse(headers: &HeaderMap) -> Option<Self> {
        // Nobody needs `If-Range`: logs have no validator that it could name, and files of artifacts never change.
        if headers.contains_key(header::IF_RANGE) {
            return None;
        }
        let (first, last) = headers.get(header::RANGE)?.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
        let (first, last) = (first.trim(), last.trim());
        match (first.is_empty(), last.is_empty()) {
            (true, false) => last.parse().ok().map(Self::Last),
            (false, true) => first.parse().ok().map(Self::From),
            (false, false) => {
                let (first, last) = (first.parse().ok()?, last.parse().ok()?);
                (first <= last).then_some(Self::Between(first, last))
            }
            (true, true) => None,
        }
    }

    /// Returns the part within `length` bytes, as its first byte and the byte behind its last. `None` if it is empty.
    pub(crate) fn within(self, length: u64) -> Option<(u64, u64)> {
        let (from, to) = match self {
            Self::From(from) => (from, length),
            Self::Between(first, last) => (first, last.saturating_add(1).min(length)),
            Self::Last(count) => (length.saturating_sub(count), length),
        };
        (from < to).then_some((from, to))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn within(value: &'static str, length: u64) -> Option<Option<(u64, u64)>> {
        let headers = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_static(value))]);
        ByteRange::parse(&headers).map(|range| range.within(length))
    }

    #[test]
    fn a_range_is_cut_to_what_is_there() {
        assert_eq!(within("bytes=0-0", 10), Some(Some((0, 1))));
        assert_eq!(within("bytes=2-99", 10), Some(Some((2, 10))));
        assert_eq!(within("bytes=9-", 10), Some(Some((9, 10))));
        assert_eq!(within("bytes=-3", 10), Some(Some((7, 10))));
        assert_eq!(within("bytes=-30", 10), Some(Some((0, 10))));
        assert_eq!(within("bytes=0-18446744073709551615", 10), Some(Some((0, 10))));
        for nothing in ["bytes=10-", "bytes=10-11", "bytes=-0"] {
            assert_eq!(within(nothing, 10), Some(None), "{nothing}");
        }
        for odd in ["bytes=-", "bytes=a-b", "bytes=5-2", "lines=1-2", "bytes=0-1,3-4"] {
            assert_eq!(within(odd, 10), None, "{odd}");
        }
    }
}
