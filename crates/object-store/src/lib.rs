//! A client for S3-compatible object stores: puts files, reads parts of them, removes them. Blocking; knows neither the
//! database nor the runtime.
//!
//! Requests are signed in their addresses (AWS signature version 4) by `rusty-s3`, and sent by `ureq`. A bucket needs
//! no rights but those to put, get and delete objects under its prefix, and to abandon uploads.

mod error;
mod parts;
mod reader;
mod settings;
mod store;

pub use error::{NotUsable, ObjectError};
pub use parts::Upload;
pub use reader::ObjectReader;
pub use settings::Settings;
pub use store::ObjectStore;
pub use ureq::tls::TlsConfig;
