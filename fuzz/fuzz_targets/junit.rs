//! Reads any bytes as a report of tests.
#![no_main]

use libfuzzer_sys::fuzz_target;
use longshore_reports::{Tests, limits};

fuzz_target!(|bytes: &[u8]| {
    let mut tests = Tests::default();
    tests.read_junit("junit.xml", bytes);
    for test in tests.finish().tests {
        assert!(test.suite.len() < limits::NAME_BYTES + 30 && test.name.len() < limits::NAME_BYTES + 30);
        assert!(test.message.is_none_or(|message| message.len() < limits::MESSAGE_BYTES + 10));
        assert!(test.output.is_none_or(|output| output.len() < 5 * limits::OUTPUT_HALF_BYTES));
    }
});
