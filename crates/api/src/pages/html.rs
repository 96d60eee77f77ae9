//! A page being written. Text gets in escaped or not at all: only literals are markup.

use std::{fmt::Write as _, sync::LazyLock};

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use longshore_core::{Status, Timestamp};
use sha2::{Digest as _, Sha256};

const STYLE: &str = include_str!("style.css");

/// The style is allowed by its hash, and nothing else is.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// A page.
#[derive(Debug)]
pub(crate) struct Html(String);

impl Html {
    /// Opens a page, with its head and the way home.
    pub(crate) fn new(title: &str) -> Self {
        let mut page = Self(String::with_capacity(8 << 10));
        page.raw("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>").text(title).raw(
            "</title><meta name=\"viewport\" content=\"width=device-width\">\
             <meta name=\"color-scheme\" content=\"light dark\"><style>",
        );
        page.raw(STYLE).raw("</style></head><body><header><a href=\"/\">Longshore</a></header><main>\n");
        page
    }

    /// Markup of ours.
    pub(crate) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Anybody's text.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Bidirectional overrides and other controls would make a line read as another.
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => self.0.push('\u{fffd}'),
                c if c.is_control() && !matches!(c, '\n' | '\t') => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
        self
    }

    /// What displays as itself, escaped.
    pub(crate) fn show(&mut self, value: impl std::fmt::Display) -> &mut Self {
        self.text(&value.to_string())
    }

    /// A status: a word, with a class for its colour.
    pub(crate) fn status(&mut self, status: Status) -> &mut Self {
        let _ = write!(self.0, "<span class=\"status {status}\">{status}</span>");
        self
    }

    /// A time, to the second.
    pub(crate) fn time(&mut self, time: Timestamp) -> &mut Self {
        let exact = time.to_string();
        let shown = exact.get(..19).unwrap_or(&exact).replace('T', " ");
        let _ = write!(self.0, "<time datetime=\"{exact}\" title=\"{exact}\">{shown}</time>");
        self
    }

    /// How long something took, or has taken so far.
    pub(crate) fn duration(&mut self, from: Option<Timestamp>, to: Option<Timestamp>) -> &mut Self {
        if let Some(from) = from {
            let ms = to.unwrap_or_else(Timestamp::now).since(from);
            self.text(&longshore_core::outcome::human_duration(ms));
        }
        self
    }
}

impl IntoResponse for Html {
    fn into_response(mut self) -> Response {
        self.raw("</main></body></html>\n");
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
            (header::CONTENT_SECURITY_POLICY, POLICY.clone()),
        ];
        (headers, self.0).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outsiders_text_is_never_markup() {
        let mut page = Html(String::new());
        page.text("<script>alert(\"1\")</script>&'\u{202e}\u{7}\u{1b}[31m");
        assert_eq!(page.0, "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#39;\u{fffd}\u{fffd}\u{fffd}[31m");
    }
}
