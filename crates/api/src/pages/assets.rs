//! Serves style, scripts and icons from the binary. Their names contain a hash of their content, so a browser asks for
//! each once.
//!
//! `app.css` and `app.js` are on every page; the three files of `log.js` are joined into one, on a job's page only.
//! There is no framework and no bundler: the files in `assets/` are served as they are. A new file is one more line of
//! [`ASSETS`].

use std::{io::Write as _, sync::LazyLock};

use axum::{
    extract::Path,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use longshore_core::Status;
use sha2::{Digest as _, Sha256};

use crate::error::ApiError;

const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// One file, ready to be served.
#[derive(Debug)]
pub(crate) struct Asset {
    /// `/assets/app.0123456789.css`.
    pub(crate) address: String,
    content_type: &'static str,
    plain: Bytes,
    gzipped: Bytes,
}

impl Asset {
    fn new(name: &str, extension: &str, content_type: &'static str, content: &str) -> Self {
        let hash: String = Sha256::digest(content).iter().take(5).map(|byte| format!("{byte:02x}")).collect();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        // Writing to memory cannot fail; if it did, the plain form would be served.
        let gzipped = encoder.write_all(content.as_bytes()).and_then(|()| encoder.finish()).unwrap_or_default();
        Self {
            address: format!("/assets/{name}.{hash}.{extension}"),
            content_type,
            plain: Bytes::copy_from_slice(content.as_bytes()),
            gzipped: gzipped.into(),
        }
    }
}

/// The files that pages refer to.
#[derive(Debug)]
pub(crate) struct Assets {
    pub(crate) style: Asset,
    pub(crate) script: Asset,
    /// For a job's page.
    pub(crate) log_script: Asset,
    /// In the order of [`Status::ALL`]; the last one has no status.
    icons: Vec<Asset>,
}

pub(crate) static ASSETS: LazyLock<Assets> = LazyLock::new(|| Assets {
    style: Asset::new(
        "app",
        "css",
        "text/css; charset=utf-8",
        concat!(include_str!("../../assets/app.css"), include_str!("../../assets/log.css")),
    ),
    script: Asset::new("app", "js", "text/javascript; charset=utf-8", include_str!("../../assets/app.js")),
    log_script: Asset::new(
        "log",
        "js",
        "text/javascript; charset=utf-8",
        concat!(
            include_str!("../../assets/log_text.js"),
            include_str!("../../assets/log_view.js"),
            include_str!("../../assets/log.js")
        ),
    ),
    icons: Status::ALL.into_iter().map(Some).chain([None]).map(status_icon).collect(),
});

impl Assets {
    /// Returns the icon of a status, or the plain one.
    pub(crate) fn icon(&self, status: Option<Status>) -> &str {
        let place = status.and_then(|status| Status::ALL.iter().position(|one| *one == status));
        let icon = place.map_or_else(|| self.icons.last(), |place| self.icons.get(place));
        icon.map_or("", |icon| &icon.address)
    }

    fn all(&self) -> impl Iterator<Item = &Asset> {
        [&self.style, &self.script, &self.log_script].into_iter().chain(&self.icons)
    }
}

/// `GET /assets/{file}`.
pub(super) async fn serve(Path(file): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    let asset = ASSETS.all().find(|asset| asset.address.strip_prefix("/assets/") == Some(&file));
    let asset = asset.ok_or_else(|| ApiError::not_found("asset"))?;
    let accepts = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let gzip = !asset.gzipped.is_empty() && accepts.split(',').any(|coding| coding.trim().starts_with("gzip"));
    let body = if gzip { asset.gzipped.clone() } else { asset.plain.clone() };
    let mut response = (StatusCode::OK, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    headers.insert(header::CACHE_CONTROL, FOR_EVER);
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

/// Draws the icon for the browser's tab, with the colours and shapes of the style: they must be recognizable at 16
/// pixels.
fn status_icon(status: Option<Status>) -> Asset {
    let (name, colour, shape) = match status {
        Some(status @ Status::Success) => (status.as_str(), "#1f883d", "M4.5 8.5l2.5 2.5 4.5-5.5"),
        Some(status @ (Status::Failure | Status::TimedOut)) => (status.as_str(), "#cf222e", "M5 5l6 6M11 5l-6 6"),
        Some(status @ Status::Error) => (status.as_str(), "#8250df", "M8 4v5M8 11.6v.4"),
        Some(status @ (Status::Running | Status::Canceling)) => (status.as_str(), "#bf8700", "M8 4.5v4l2.5 2"),
        Some(status @ (Status::Blocked | Status::Queued)) => (status.as_str(), "#6e7781", "M4.5 8h.1M8 8h.1M11.5 8h.1"),
        Some(status @ (Status::Canceled | Status::Skipped)) => (status.as_str(), "#6e7781", "M4.5 8h7"),
        // A bollard with its rope.
        None => ("longshore", "#0f6b75", "M5 4.5h6M8 4.5v7M4.5 11.5h7M6 8h4"),
    };
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 16 16\"><circle cx=\"8\" cy=\"8\" r=\"8\" fill=\"{colour}\"/>\
         <path d=\"{shape}\" fill=\"none\" stroke=\"#fff\" stroke-width=\"2\" stroke-linecap=\"round\" \
         stroke-linejoin=\"round\"/></svg>"
    );
    Asset::new(name, "svg", "image/svg+xml", &svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn style_and_scripts_are_at_most_40_kib_compressed() {
        let bytes: usize = ASSETS.all().filter(|asset| !asset.address.ends_with(".svg")).map(|a| a.gzipped.len()).sum();
        assert!((1000..40 << 10).contains(&bytes), "{bytes}");
    }
}
