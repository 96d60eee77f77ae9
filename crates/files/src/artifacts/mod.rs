//! The files that jobs leave, in the data folder's `artifacts`.
//!
//! `blobs/` holds the bytes, each under its SHA-256, so the same file of many builds is stored once. `incoming/` holds
//! what arrives of attempts that are not over: unfinished files, and the list of those that are whole
//! (see [`Incoming`]). The database has the names of everything else. A blob that neither the database nor a list in
//! `incoming/` names may be removed at any time; the store does that (see [`Blobs::begin_removal`]). `elsewhere/` says
//! which blobs are in an object store.

mod blobs;
mod incoming;
mod offloading;
mod patient;
mod pieces;
mod zip;

pub use blobs::{BlobFile, Blobs, Removal};
pub use incoming::{Incoming, IncomingLimits, ReceivedFile, ReceivedFiles};
pub use longshore_object_store::{ObjectError, ObjectStore};
pub use offloading::OffloadProblem;
pub use pieces::Pieces;
pub use zip::ZipWriter;
