//! Reads the reports that jobs leave behind: the results of tests ([`Tests`], JUnit's XML), coverage
//! ([`CoverageReader`], Cobertura and lcov), and annotations ([`Annotations`], SARIF and the log's own
//! `::error file=…::`).
//!
//! Reports come from jobs, so whatever they hold is read within the limits of [`limits`], and reading never fails: what
//! can be read of a broken or oversized report is returned, with a [`Remark`] that says what is missing and why. Called
//! by the server when a job ends, and by `longshore run`. Pure.

mod annotations;
mod budget;
mod cobertura;
mod coverage;
mod excerpt;
mod json;
mod junit;
mod lcov;
pub mod limits;
mod paths;
mod remark;
mod sarif;
mod tests;
mod text;
mod xml;

pub use annotations::{Annotation, AnnotationList, Annotations, Level};
pub use budget::Budget;
pub use coverage::{Coverage, CoverageReader, CoveredFile, Share};
pub use remark::{Remark, Remarks};
pub use tests::{TestCase, TestResults, TestStatus, Tests};
