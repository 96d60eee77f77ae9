//! The results of a job's tests, from all its report files.

use std::collections::HashMap;

use crate::{
    junit, limits,
    remark::{Remark, Remarks},
    text,
};

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TestStatus {
    Skipped,
    Passed,
    /// It failed, or broke with an error.
    Failed,
}

impl TestStatus {
    pub const ALL: [Self; 3] = [Self::Failed, Self::Passed, Self::Skipped];

    /// Returns the word used in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Passed => "passed",
            Self::Failed => "failed",
        }
    }
}

impl std::str::FromStr for TestStatus {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|status| status.as_str() == word);
        found.ok_or_else(|| format!("`{word}` is not a status of a test: write passed, failed or skipped"))
    }
}

/// One test of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestCase {
    /// What the test belongs to: a class, a module, a file. With `name`, it is the same in every build.
    pub suite: String,
    pub name: String,
    pub status: TestStatus,
    /// `None` if the report does not say.
    pub duration_ms: Option<u64>,
    /// One line or a few: why it failed or was skipped.
    pub message: Option<String>,
    /// A failed test's details and what it printed.
    pub output: Option<String>,
    /// The source file, relative to the workspace.
    pub file: Option<String>,
    pub line: Option<u32>,
    /// Whether it failed first and passed when it was tried again in the same job.
    pub flaky: bool,
}

/// The tests of a job, as far as they were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TestResults {
    /// In the order of the files and in each file; no two have the same suite and name.
    pub tests: Vec<TestCase>,
    pub remarks: Vec<Remark>,
}

/// Collects the tests of one job from its files.
#[derive(Debug, Default)]
pub struct Tests {
    tests: Vec<TestCase>,
    /// The index in `tests` of each suite and name.
    places: HashMap<(String, String), usize>,
    /// Bytes of names, paths and messages in `tests`.
    name_bytes: usize,
    output_bytes: usize,
    /// Tests beyond the limits.
    left_out: usize,
    messages_left_out: usize,
    outputs_left_out: usize,
    remarks: Remarks,
}

impl Tests {
    /// Reads a file of JUnit's XML, in any dialect.
    pub fn read_junit(&mut self, path: &str, bytes: &[u8]) {
        if bytes.len() > limits::FILE_BYTES {
            let limit = limits::FILE_BYTES >> 20;
            self.remarks.add(path, format!("it has {} MiB, and the limit is {limit} MiB", bytes.len() >> 20));
            return;
        }
        let before = self.tests.len() + self.left_out;
        if let Err(problem) = junit::read(&text::decode(bytes), self) {
            let read = self.tests.len() + self.left_out - before;
            self.remarks.add(
                path,
                match read {
                    0 => problem,
                    1 => format!("{problem}; the one test before that is read"),
                    _ => format!("{problem}; the {read} tests before it were read"),
                },
            );
        }
    }

    /// Adds a remark of the caller.
    pub fn remark(&mut self, path: &str, text: impl Into<String>) {
        self.remarks.add(path, text);
    }

    /// Adds a test. If its name is there already, it is the same test tried again, or another one of the same name: it
    /// is failed if any of them is, so that no failure is hidden.
    pub(crate) fn add(&mut self, mut test: TestCase) {
        let key = (test.suite.clone(), test.name.clone());
        if let Some(place) = self.places.get(&key).copied() {
            let known = &mut self.tests[place];
            known.flaky |= test.flaky || (known.status == TestStatus::Failed && test.status == TestStatus::Passed);
            known.duration_ms = match (known.duration_ms, test.duration_ms) {
                (Some(one), Some(other)) => Some(one.saturating_add(other)),
                (one, other) => one.or(other),
            };
            if test.status > known.status {
                self.charge_texts(&mut test);
                let known = &mut self.tests[place];
                (known.status, known.message, known.output) = (test.status, test.message, test.output);
            }
            return;
        }
        let names = test.suite.len() + test.name.len() + test.file.as_ref().map_or(0, String::len);
        if self.tests.len() >= limits::TESTS || self.name_bytes + names > limits::ALL_NAME_BYTES {
            self.left_out += 1;
            return;
        }
        self.name_bytes += names;
        self.charge_texts(&mut test);
        self.places.insert(key, self.tests.len());
        self.tests.push(test);
    }

    /// Counts a test's message and output against the job's limits, and removes them if they exceed those.
    fn charge_texts(&mut self, test: &mut TestCase) {
        if !keep_within(&mut self.name_bytes, limits::ALL_NAME_BYTES, &mut test.message) {
            self.messages_left_out += 1;
        }
        if !keep_within(&mut self.output_bytes, limits::ALL_OUTPUT_BYTES, &mut test.output) {
            self.outputs_left_out += 1;
        }
    }

    #[must_use]
    pub fn finish(mut self) -> TestResults {
        if self.left_out > 0 {
            let (kept, all) = (self.tests.len(), self.tests.len() + self.left_out);
            self.remarks.add("", format!("the job reports {all} tests, and the first {kept} of them are kept"));
        }
        if self.messages_left_out > 0 {
            let (limit, count) = (limits::ALL_NAME_BYTES >> 20, self.messages_left_out);
            self.remarks
                .add("", format!("{limit} MiB of tests' names and messages are kept; {count} more messages are not"));
        }
        if self.outputs_left_out > 0 {
            let (limit, count) = (limits::ALL_OUTPUT_BYTES >> 20, self.outputs_left_out);
            self.remarks
                .add("", format!("{limit} MiB of failed tests' output are kept; that of {count} more tests is not"));
        }
        TestResults { tests: self.tests, remarks: self.remarks.into_vec() }
    }
}

/// Adds a text's bytes to those that are used. Removes the text if they are too many, and returns whether it stays.
fn keep_within(used: &mut usize, limit: usize, text: &mut Option<String>) -> bool {
    let bytes = text.as_ref().map_or(0, String::len);
    let fits = *used + bytes <= limit;
    if fits {
        *used += bytes
    } else {
        *text = None
    }
    fits
}
