//! The limits for reading reports. Whatever exceeds a limit is left out, and a remark says so.

use std::time::Duration;

/// The bytes of one report file.
pub const FILE_BYTES: usize = 64 << 20;
/// The bytes of all report files of one job together.
pub const JOB_BYTES: u64 = 128 << 20;
/// The time for reading the reports of one job. A file that was begun in time is read to its end.
pub const JOB_TIME: Duration = Duration::from_secs(60);
/// Nested elements of an XML file.
pub const DEPTH: usize = 100;
/// The most attributes of one element. Further ones are ignored.
pub const ATTRIBUTES: usize = 100;
/// The tests of one job, in all its files.
pub const TESTS: usize = 200_000;
/// The bytes of a suite's name, and of a test's.
pub const NAME_BYTES: usize = 600;
/// The bytes of a failure's message.
pub const MESSAGE_BYTES: usize = 2_000;
/// The bytes that are kept of the beginning of a failed test's output, and of its end.
pub const OUTPUT_HALF_BYTES: usize = 8 << 10;
/// The bytes of output that are kept of all failed tests of a job together.
pub const ALL_OUTPUT_BYTES: usize = 16 << 20;
/// The bytes of names, paths and messages of all tests of a job together.
pub const ALL_NAME_BYTES: usize = 32 << 20;
/// The bytes of the sources that a Cobertura file names.
pub const SOURCE_BYTES: usize = 4 << 10;
/// The branches of one line in a Cobertura file.
pub const LINE_BRANCHES: u32 = 64;
/// The source files in a job's coverage.
pub const COVERED_FILES: usize = 50_000;
/// The lines and branches in a job's coverage, of all files together.
pub const COVERED_LINES: usize = 4_000_000;
/// The rules of one tool in a SARIF file.
pub const RULES: usize = 10_000;
/// The annotations of one job.
pub const ANNOTATIONS: usize = 1_000;
/// The remarks about one job's reports.
pub const REMARKS: usize = 50;
