//! Reads any bytes as a report of coverage.
#![no_main]

use libfuzzer_sys::fuzz_target;
use longshore_reports::CoverageReader;

fuzz_target!(|bytes: &[u8]| {
    let mut reader = CoverageReader::default();
    reader.read("coverage", bytes);
    if let Some(coverage) = reader.finish().0 {
        let sum: u64 = coverage.files.iter().map(|file| file.lines.covered).sum();
        assert_eq!(sum, coverage.lines.covered);
        assert!(coverage.lines.covered <= coverage.lines.total && coverage.branches.covered <= coverage.branches.total);
    }
});
