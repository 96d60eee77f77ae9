//! The memory and time that hostile reports cost. A single test, since the peak is the whole process's.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::{Duration, Instant};

use longshore_reports::{Annotations, CoverageReader, Tests, limits};

const MIB: usize = 1 << 20;
/// The size of each file.
const BYTES: usize = 2 * MIB;

/// Returns the most memory that this process has had, in MiB, since the last call.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: usize = line.trim().trim_end_matches(" kB").parse().unwrap();
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    kib >> 10
}

/// A name, a file, and what reads it and returns the bytes of its remarks.
type Case<'a> = (&'a str, String, &'a dyn Fn(&str) -> usize);

fn filled(begin: &str, item: &str, end: &str) -> String {
    format!("{begin}{}{end}", item.repeat(BYTES / item.len()))
}

#[test]
fn few_bytes_of_a_report_do_not_become_many_and_no_report_takes_the_square_of_its_length() {
    let sarif = |text: &str| {
        let mut annotations = Annotations::default();
        annotations.read_sarif("a", text.as_bytes());
        annotations.finish().remarks.iter().map(|remark| remark.text.len()).sum()
    };
    let cobertura = |text: &str| {
        let mut reader = CoverageReader::default();
        reader.read("a", text.as_bytes());
        reader.finish().1.iter().map(|remark| remark.text.len()).sum()
    };
    let junit = |text: &str| {
        let mut tests = Tests::default();
        tests.read_junit("a", text.as_bytes());
        tests.finish().remarks.iter().map(|remark| remark.text.len()).sum()
    };
    let class = "<class filename='a'/>";
    let long = "n".repeat(600);
    let cases: Vec<Case<'_>> = vec![
        ("results", filled(r#"{"runs":[{"results":["#, "{},", "{}]}]}"), &sarif),
        ("rules", filled(r#"{"runs":[{"tool":{"driver":{"rules":["#, "{},", "{}]}}}]}"), &sarif),
        ("runs", filled(r#"{"runs":["#, "{},", "{}]}"), &sarif),
        ("locations", filled(r#"{"runs":[{"results":[{"locations":["#, "{},", "{}]}]}]}"), &sarif),
        ("suppressions", filled(r#"{"runs":[{"results":[{"suppressions":["#, "{},", "{}]}]}]}"), &sarif),
        ("arguments", filled(r#"{"runs":[{"results":[{"message":{"arguments":["#, r#""","#, r#"""]}}]}]}"#), &sarif),
        ("a quoted text", filled(r#"{"runs":[{"results":""#, "x", r#""}]}"#), &sarif),
        (
            "sources",
            format!("<coverage><source>{}</source>{}</coverage>", "s".repeat(BYTES / 2), class.repeat(20_000)),
            &cobertura,
        ),
        (
            "branches",
            format!(
                "<coverage><class filename='a'>{}</class></coverage>",
                (0..40_000).map(|n| format!("<line number='{n}' condition-coverage='(0/64)'/>")).collect::<String>()
            ),
            &cobertura,
        ),
        ("a quoted name", format!("<coverage>{}", filled("<a>", "x", "</b>")), &cobertura),
        ("an unclosed name", filled("<testsuite></", "x", ">"), &junit),
        (
            "names",
            format!(
                "<testsuite name='{long}'>{}</testsuite>",
                (0..100_000)
                    .map(|n| format!("<testcase name='{}{n}'><skipped message='{n}'/></testcase>", &long[..500]))
                    .collect::<String>()
            ),
            &junit,
        ),
    ];
    let mut wrong = Vec::new();
    for (what, text, read) in cases {
        assert!(text.len() <= limits::FILE_BYTES, "{what}");
        let _ = peak();
        let before = peak();
        let begun = Instant::now();
        let said = read(&text);
        // Names are kept twice: in the tests, and to find them.
        let most = if what == "names" { 130 } else { 40 };
        let (took, grown) = (begun.elapsed(), peak().saturating_sub(before));
        println!("{what}: {grown} MiB, {took:?}, {said} bytes of remarks");
        if grown > most || took > Duration::from_secs(60) || said > 2 * limits::MESSAGE_BYTES {
            wrong.push(format!("{what}: {grown} MiB, {took:?}, {said} bytes of remarks"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
