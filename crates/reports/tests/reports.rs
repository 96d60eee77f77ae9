//! Reports as real tools wrote them (`data/`), and as no tool should write them. After a change,
//! `INSTA_UPDATE=always cargo test -p longshore-reports` rewrites the snapshots; read each one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{fmt::Write as _, path::Path, time::Instant};

use longshore_reports::{
    AnnotationList, Annotations, Coverage, CoverageReader, Level, Remark, TestResults, TestStatus, Tests, limits,
};
use proptest::prelude::*;

fn data(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

fn tests(files: &[(&str, &[u8])]) -> TestResults {
    let mut tests = Tests::default();
    for (path, bytes) in files {
        tests.read_junit(path, bytes);
    }
    tests.finish()
}

fn junit(text: &str) -> TestResults {
    tests(&[("junit.xml", text.as_bytes())])
}

fn coverage(bytes: &[u8]) -> (Option<Coverage>, Vec<Remark>) {
    let mut reader = CoverageReader::default();
    reader.read("report", bytes);
    reader.finish()
}

fn sarif(text: &str) -> AnnotationList {
    let mut annotations = Annotations::default();
    annotations.read_sarif("report.sarif", text.as_bytes());
    annotations.finish()
}

fn shown(results: &TestResults) -> String {
    let mut out = String::new();
    for test in &results.tests {
        let place = test.file.as_ref().map_or(String::new(), |file| match test.line {
            Some(line) => format!(" at {file}:{line}"),
            None => format!(" at {file}"),
        });
        let flaky = if test.flaky { " (flaky)" } else { "" };
        writeln!(out, "{}{flaky}: {} | {}{place}", test.status.as_str(), test.suite, test.name).unwrap();
        if let Some(message) = &test.message {
            writeln!(out, "  message: {message:?}").unwrap();
        }
        for line in test.output.iter().flat_map(|output| output.lines()) {
            writeln!(out, "  | {line}").unwrap();
        }
    }
    for remark in &results.remarks {
        writeln!(out, "remark: {}: {}", remark.file, remark.text).unwrap();
    }
    out
}

#[test]
fn what_tools_write_about_tests_is_read() {
    for name in [
        "pytest",
        "pytest-xunit1",
        "nextest",
        "jest",
        "vitest",
        "mocha",
        "node",
        "surefire",
        "gotestsum",
        "go-junit-report",
        "phpunit",
        "rspec",
    ] {
        let file = format!("{name}.xml");
        let results = tests(&[(&file, &data(&file))]);
        insta::assert_snapshot!(name, shown(&results));
    }
}

#[test]
fn what_tools_write_about_coverage_is_read() {
    let mut out = String::new();
    for name in ["coverage-py.xml", "coverage-py.info", "jest-cobertura.xml", "jest-lcov.info"] {
        let (coverage, remarks) = coverage(&data(name));
        let coverage = coverage.unwrap();
        writeln!(out, "{name}: {:?}, branches {:?}", coverage.lines, coverage.branches).unwrap();
        for file in &coverage.files {
            writeln!(out, "  {}: {:?}, branches {:?}, missed {}", file.path, file.lines, file.branches, file.missed)
                .unwrap();
        }
        assert!(remarks.is_empty());
    }
    insta::assert_snapshot!("coverage", out);
}

#[test]
fn what_tools_write_about_findings_is_read() {
    let mut out = String::new();
    for name in ["ruff.sarif", "eslint.sarif"] {
        let list = sarif(std::str::from_utf8(&data(name)).unwrap());
        for one in &list.items {
            let place = (one.file.as_deref().unwrap(), one.line.unwrap(), one.column.unwrap());
            let (tool, rule) = (one.tool.as_deref().unwrap(), one.rule.as_deref().unwrap());
            writeln!(out, "{} {place:?} {tool} {rule}: {}", one.level.as_str(), one.message).unwrap();
        }
        assert!(list.remarks.is_empty());
    }
    insta::assert_snapshot!("findings", out);
}

#[test]
fn a_test_that_failed_and_passed_in_one_job_is_flaky_and_no_failure_is_hidden() {
    let one =
        |body: &str| format!("<testsuite><testcase classname='a' name='b' time='0.5'>{body}</testcase></testsuite>");
    let (failed, passed) = (one("<failure message='no luck'/>"), one(""));
    let again = tests(&[("1.xml", failed.as_bytes()), ("2.xml", passed.as_bytes())]);
    assert_eq!(again.tests.len(), 1);
    assert_eq!((again.tests[0].status, again.tests[0].flaky), (TestStatus::Failed, true));
    assert_eq!(again.tests[0].duration_ms, Some(1000));
    assert_eq!(again.tests[0].message.as_deref(), Some("no luck"));
    // A test that passes and whose clean-up fails was not tried again.
    let torn = tests(&[("1.xml", passed.as_bytes()), ("2.xml", failed.as_bytes())]);
    assert_eq!((torn.tests[0].status, torn.tests[0].flaky), (TestStatus::Failed, false));
}

#[test]
fn no_entity_of_a_document_is_expanded_and_nothing_is_fetched() {
    let lol: String = (1..10).map(|n| format!("<!ENTITY l{n} \"{}\">", format!("&l{};", n - 1).repeat(10))).collect();
    let text = format!(
        "<!DOCTYPE x SYSTEM 'http://example.org/x.dtd' [<!ENTITY l0 'lol'>{lol}<!ENTITY f SYSTEM 'file:///etc/passwd'>]>
         <testsuite><testcase name='&l9;'><failure message='&f; &lt;&#65;'>&l9;&f;&amp;&#x42;</failure></testcase></testsuite>"
    );
    let results = junit(&text);
    assert_eq!(results.remarks, []);
    let test = &results.tests[0];
    assert_eq!(test.name, "&l9;");
    assert_eq!(test.output.as_deref(), Some("&l9;&f;&B"));
}

#[test]
fn a_report_whose_writer_was_stopped_is_read_up_to_there_and_says_so() {
    let whole = String::from_utf8(data("pytest.xml")).unwrap();
    let all = junit(&whole).tests.len();
    for cut in (0..whole.len()).filter(|cut| whole.is_char_boundary(*cut)) {
        let results = junit(&whole[..cut]);
        assert!(results.tests.len() <= all);
        assert_eq!(results.remarks.len(), 1, "cut at {cut}");
    }
    let results = junit("<testsuite><testcase name='a'/><testcase name='b'/><testcase");
    assert_eq!(results.tests.len(), 2);
    assert!(results.remarks[0].text.ends_with("the 2 tests before it were read"), "{:?}", results.remarks);
}

#[test]
fn what_is_no_report_says_what_it_is() {
    let said = |text: &str| junit(text).remarks[0].text.clone();
    assert!(said("<html><body/></html>").contains("it holds `html`"), "{}", said("<html><body/></html>"));
    assert!(said("").contains("no XML"));
    assert!(said("plain text").contains("no XML"));
    assert!(said(&"<a>".repeat(3)).contains("`a`"));
    let (found, remarks) = coverage(b"PNG");
    assert!(found.is_none() && remarks[0].text.contains("neither Cobertura"));
    let (found, remarks) = coverage(b"<html/>");
    assert!(found.is_none() && remarks[0].text.contains("neither Cobertura"));
    assert!(sarif("{}").remarks[0].text.contains("no `runs`"));
    assert!(sarif("<xml/>").remarks[0].text.contains("not SARIF"));
}

#[test]
fn what_is_beyond_a_limit_is_left_out_and_said() {
    let deep = format!("<testsuite>{}", "<testsuite>".repeat(limits::DEPTH + 1));
    assert!(junit(&deep).remarks[0].text.contains("nested deeper than 100"));

    let mut many = String::from("<testsuite>");
    for n in 0..limits::TESTS + 5 {
        write!(many, "<testcase name='{n}'/>").unwrap();
    }
    let results = junit(&(many + "</testsuite>"));
    assert_eq!(results.tests.len(), limits::TESTS);
    assert!(results.remarks[0].text.contains("reports 200005 tests"), "{:?}", results.remarks);

    let output = "x".repeat(2 * limits::OUTPUT_HALF_BYTES - 1);
    // A few bytes are left over for the ends of lines.
    let count = limits::ALL_OUTPUT_BYTES / output.len();
    let mut loud = String::from("<testsuite>");
    for n in 0..count + 3 {
        write!(loud, "<testcase name='{n}'><failure>{output}</failure></testcase>").unwrap();
    }
    let results = junit(&(loud + "</testsuite>"));
    assert_eq!(results.tests.iter().filter(|test| test.output.is_some()).count(), count);
    assert!(results.remarks[0].text.contains("that of 3 more tests is not"), "{:?}", results.remarks);

    let long = "ä".repeat(10_000);
    let results = junit(&format!(
        "<testsuite name='{long}'><testcase name='{long}'><error message='{long}'/></testcase></testsuite>"
    ));
    let test = &results.tests[0];
    assert!(test.suite.len() < 700 && test.name.len() < 700 && test.message.as_ref().unwrap().len() < 2_100);

    let mut annotations = Annotations::default();
    for n in 0..limits::ANNOTATIONS + 10 {
        annotations.read_line(&format!("::notice::{n}"));
    }
    annotations.read_line("::error file=a.c,line=1::last");
    let list = annotations.finish();
    assert_eq!((list.items.len(), list.items[0].level), (limits::ANNOTATIONS, Level::Error));
    assert!(list.remarks[0].text.contains("has 1011 annotations"), "{:?}", list.remarks);
}

#[test]
fn commands_of_a_log_are_annotations_with_their_place() {
    let mut annotations = Annotations::default();
    for line in [
        "::error file=./src/app.js,line=7,endLine=9,col=5,title=Wrong%2C really::not 100%25%0Asecond line",
        "\x1b[31m##[warning]plain\x1b[0m",
        "::error file=./src/app.js,line=7,endLine=9,col=5,title=Wrong%2C really::not 100%25%0Asecond line",
        "error: not a command",
        "::group::name",
        "::error::",
    ] {
        annotations.read_line(line);
    }
    let list = annotations.finish();
    assert_eq!(list.items.len(), 2);
    let first = &list.items[0];
    assert_eq!(
        (
            first.file.as_deref(),
            first.line,
            first.end_line,
            first.column,
            first.title.as_deref(),
            first.message.as_str()
        ),
        (Some("src/app.js"), Some(7), Some(9), Some(5), Some("Wrong, really"), "not 100%\nsecond line")
    );
    assert_eq!((list.items[1].level, list.items[1].message.as_str()), (Level::Warning, "plain"));
}

#[test]
fn findings_that_are_suppressed_or_gone_are_none_and_levels_come_from_rules() {
    let list = sarif(
        r#"{"runs": [{"tool": {"driver": {"name": "t", "rules": [
            {"id": "A", "defaultConfiguration": {"level": "error"}, "messageStrings": {"m": {"text": "{0} is not {1}"}}},
            {"id": "B", "defaultConfiguration": {"level": "note"}, "shortDescription": {"text": "short"}}]}},
          "results": [
            {"ruleIndex": 0, "message": {"id": "m", "arguments": ["a", "b"]}, "locations": [{"physicalLocation": {
               "artifactLocation": {"uri": "src/with%20space.c"}, "region": {"startLine": 3}}}]},
            {"ruleId": "B"}, {"message": {"text": "plain"}},
            {"ruleId": "A", "message": {"text": "x"}, "suppressions": [{"kind": "inSource"}]},
            {"ruleId": "A", "message": {"text": "x"}, "kind": "pass"},
            {"ruleId": "A", "message": {"text": "x"}, "level": "none"},
            {"ruleId": "A", "message": {"text": "x"}, "baselineState": "absent"}]}]}"#,
    );
    let said: Vec<_> = list.items.iter().map(|one| (one.level.as_str(), one.message.as_str())).collect();
    assert_eq!(said, [("error", "a is not b"), ("warning", "plain"), ("notice", "short")]);
    assert_eq!((list.items[0].file.as_deref(), list.items[0].line), (Some("src/with space.c"), Some(3)));
}

#[test]
fn coverage_of_several_reports_is_one() {
    let mut reader = CoverageReader::default();
    reader.read(
        "1.info",
        b"TN:\nSF:a.c\nDA:1,1\nDA:2,0\nDA:3,0\nDA:4,0\nDA:6,1\nDA:8,0\nBRDA:2,0,0,-\nBRDA:2,0,1,1\nend_of_record\n",
    );
    reader.read("2.info", b"SF:a.c\nDA:3,5\nBRDA:2,0,0,1\nend_of_record\nSF:b.c\nDA:1,0\nend_of_record\n");
    reader.read("3.info", b"SF:a.c\nDA:nonsense\n");
    let (coverage, remarks) = reader.finish();
    let coverage = coverage.unwrap();
    assert_eq!((coverage.lines.covered, coverage.lines.total), (3, 7));
    assert_eq!((coverage.branches.covered, coverage.branches.total), (2, 2));
    assert_eq!(coverage.files[0].missed, "2, 4, 8");
    assert_eq!(coverage.lines.basis_points(), Some(4285));
    assert!(remarks[0].text.contains("line 2"), "{remarks:?}");
}

/// `make bench` measures how long it takes; this only catches what grows with the square.
#[test]
fn a_hundred_thousand_tests_are_read_in_a_time_that_grows_with_their_number() {
    let mut text = String::from("<testsuites>");
    for suite in 0..100 {
        write!(text, "<testsuite name='suite {suite}'>").unwrap();
        for n in 0..1_000 {
            write!(
                text,
                "<testcase classname='shop.suite{suite}' name='does a thing that has a name {n}' time='0.012'/>"
            )
            .unwrap();
        }
        text.push_str("</testsuite>");
    }
    text.push_str("</testsuites>");
    let begun = Instant::now();
    let results = junit(&text);
    assert_eq!(results.tests.len(), 100_000);
    println!("{:?}", begun.elapsed());

    // Names at their longest, on every level.
    let long = "n".repeat(100_000);
    let text = format!(
        "<testsuites>{}{}{}</testsuites>",
        format!("<testsuite name='{long}'>").repeat(50),
        "<testcase classname='test' name='a'/>".repeat(100_000),
        "</testsuite>".repeat(50)
    );
    assert_eq!(junit(&text).tests.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn anything_is_read_without_a_panic(pieces in proptest::collection::vec(prop_oneof![
        "[<>&;/='\"a-z#x0-9 \\[\\]!-]{0,12}",
        Just("<testsuite name='a'>".to_owned()), Just("<testcase name='b' time='1,0.5'>".to_owned()), Just("<failure message='c'>".to_owned()),
        Just("<![CDATA[x]]>".to_owned()), Just("</failure>".to_owned()), Just("</testcase>".to_owned()), Just("&#x1b;[3".to_owned()),
        Just("\nSF:a\nDA:1,1\n".to_owned()), Just("<coverage><class filename='a'><line number='1' hits='1' condition-coverage='5% (1/2)'/>".to_owned()),
        ".{0,5}",
    ], 0..30)) {
        let text = pieces.concat();
        junit(&text);
        coverage(text.as_bytes());
        sarif(&text);
        let mut annotations = Annotations::default();
        annotations.read_line(&text);
        annotations.read_line(&format!("::error {text}"));
    }
}
