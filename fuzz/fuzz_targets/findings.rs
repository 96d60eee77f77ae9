//! Reads any bytes as SARIF, and any line as a command of a log.
#![no_main]

use libfuzzer_sys::fuzz_target;
use longshore_reports::{Annotations, limits};

fuzz_target!(|bytes: &[u8]| {
    let mut annotations = Annotations::default();
    annotations.read_sarif("report.sarif", bytes);
    for line in String::from_utf8_lossy(bytes).lines() {
        annotations.read_line(line);
    }
    for one in annotations.finish().items {
        assert!(one.message.len() < limits::MESSAGE_BYTES + 10);
    }
});
