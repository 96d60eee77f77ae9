//! The reports of a build's jobs: a section on the build's page, and separate pages that show them in full.

pub(crate) mod annotations;
pub(crate) mod coverage;
pub(super) mod section;
pub(crate) mod test_history;
pub(crate) mod tests;

use longshore_store::{coverage::FileCoverage, tests::TestResult};

use super::{escape::escaped_len, show::fitting};

/// Bytes of a failure's output on a page of tests.
const MAX_OUTPUT_BYTES: usize = 3 << 10;

/// A test as a row of a list.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) test: TestResult,
    /// The output, cut to what the page can take.
    pub(crate) output: Option<String>,
    /// Whether the output is cut.
    pub(crate) is_cut: bool,
}

impl Row {
    /// `budget` is how many bytes of output the page still has room for. It is reduced by what this row uses.
    fn new(mut test: TestResult, max_len: usize, budget: &mut usize) -> Self {
        let whole = test.output.take().unwrap_or_default();
        let shown = fitting(&whole, max_len.min(*budget));
        *budget = budget.saturating_sub(shown.chars().map(escaped_len).sum());
        let is_cut = shown.len() < whole.len();
        Self { output: (!shown.is_empty()).then(|| shown.to_owned()), is_cut, test }
    }

    /// Returns the CSS class of the status.
    pub(crate) fn status(&self) -> &'static str {
        self.test.status.as_str()
    }
}

/// Cuts the name of a suite or test to what a list has room for.
pub(crate) fn name(name: &str) -> &str {
    fitting(name, 160)
}

/// Returns the first line of a message, cut to what a list has room for.
pub(crate) fn line(message: &str) -> &str {
    fitting(message.trim().lines().next().unwrap_or_default(), 240)
}

/// Formats hundredths of a percent as `85.71 %`.
pub(crate) fn percent(points: &u64) -> String {
    format!("{}.{:02} %", points / 100, points % 100)
}

/// Formats a change in hundredths of a percent as `+1.50 %` or `−0.30 %`.
pub(crate) fn change(points: &i64) -> String {
    let sign = match points {
        0 => "±",
        1.. => "+",
        ..0 => "−",
    };
    let points = points.unsigned_abs();
    format!("{sign}{}.{:02} %", points / 100, points % 100)
}

/// Returns the percentage of a file's lines, for a list.
pub(crate) fn lines_of(file: &FileCoverage) -> String {
    percent(&file.file.lines.basis_points().unwrap_or(0))
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn percentages_have_two_places_and_changes_a_sign() {
        assert_eq!([0, 5, 8571, 10_000].map(|points| percent(&points)), ["0.00 %", "0.05 %", "85.71 %", "100.00 %"]);
        assert_eq!([0, 150, -30].map(|points| change(&points)), ["±0.00 %", "+1.50 %", "−0.30 %"]);
    }
}
