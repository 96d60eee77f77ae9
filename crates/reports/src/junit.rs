//! JUnit's XML, as the tools of all languages write it. There is no standard; this reads what they have in common, and
//! what each adds: suites in suites (PHPUnit, Node), names of files and lines, and tests that failed and passed on
//! another try (Surefire, nextest).

use crate::{
    excerpt::Excerpt,
    limits, paths,
    tests::{TestCase, TestStatus, Tests},
    text,
    xml::{Element, Item, Xml},
};

/// The role of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Suite,
    Test,
    /// A failure or an error.
    Failure,
    Skipped,
    /// A failure of an earlier try; the test passed in the end.
    Flake,
    /// A failure of a later try.
    Rerun,
    Printed,
    Other,
}

impl Kind {
    fn of(name: &str) -> Self {
        match name {
            "testsuite" => Self::Suite,
            "testcase" => Self::Test,
            "failure" | "error" => Self::Failure,
            "skipped" | "ignored" | "disabled" => Self::Skipped,
            "flakyFailure" | "flakyError" => Self::Flake,
            "rerunFailure" | "rerunError" => Self::Rerun,
            "system-out" | "system-err" => Self::Printed,
            _ => Self::Other,
        }
    }
}

/// Messages that say nothing: the first line of the details says more.
const EMPTY_WORDS: [&str; 4] = ["Failed", "failed", "Skipped", "Error"];

/// A test that is being read.
#[derive(Debug, Default)]
struct Open {
    class: String,
    name: String,
    duration_ms: Option<u64>,
    file: Option<String>,
    line: Option<u32>,
    failed: bool,
    skipped: bool,
    flaky: bool,
    message: String,
    details: Excerpt,
    printed: Excerpt,
}

/// Reads a file into `tests`. The error says where reading stopped.
pub(crate) fn read(text: &str, tests: &mut Tests) -> Result<(), String> {
    let mut xml = Xml::new(text);
    let mut kinds: Vec<Kind> = Vec::new();
    let mut suites: Vec<String> = Vec::new();
    let mut open: Option<Open> = None;
    while let Some(item) = xml.next()? {
        match item {
            Item::Open(element) => {
                let kind = match (Kind::of(element.name()), &open) {
                    // Everything but suites and tests counts inside a test only; no test is inside another.
                    (Kind::Suite, None) => Kind::Suite,
                    (Kind::Test, None) => Kind::Test,
                    (Kind::Suite | Kind::Test, Some(_)) | (_, None) => Kind::Other,
                    (kind, Some(_)) => kind,
                };
                if kinds.is_empty() && kind == Kind::Other && element.name() != "testsuites" {
                    let root = text::cut(element.name(), 50).into_owned();
                    return Err(format!(
                        "it is not a report of tests: it holds `{root}`, not `testsuites` or `testsuite`"
                    ));
                }
                kinds.push(kind);
                open_element(kind, &element, &mut suites, &mut open);
            }
            Item::Text(text) => {
                let Some(test) = &mut open else { continue };
                let within = |kind| kinds.contains(&kind);
                // The output of other tries would appear twice.
                if within(Kind::Rerun) || (within(Kind::Flake) && within(Kind::Printed)) {
                } else if within(Kind::Printed) {
                    test.printed.push(&text);
                } else if within(Kind::Failure) || within(Kind::Skipped) || within(Kind::Flake) {
                    test.details.push(&text);
                }
            }
            Item::Close => match kinds.pop() {
                Some(Kind::Suite) => drop(suites.pop()),
                Some(Kind::Test) => {
                    if let Some(test) = open.take() {
                        tests.add(test.finish(&suites));
                    }
                }
                Some(Kind::Failure | Kind::Flake | Kind::Skipped) => {
                    if let Some(test) = &mut open {
                        test.details.push("\n");
                    }
                }
                Some(Kind::Rerun | Kind::Printed | Kind::Other) | None => {}
            },
        }
    }
    Ok(())
}

fn open_element(kind: Kind, element: &Element<'_>, suites: &mut Vec<String>, open: &mut Option<Open>) {
    match kind {
        Kind::Suite => {
            let name = element.attributes().find(|(key, _)| *key == "name").map(|(_, name)| name);
            let name = text::cut_name(name.as_deref().unwrap_or_default().trim(), limits::NAME_BYTES);
            suites.push(path_of(suites.last().map_or("", String::as_str), &name));
        }
        Kind::Test => {
            let mut test = Open::default();
            for (key, value) in element.attributes() {
                match key {
                    "name" => test.name = value.into_owned(),
                    "classname" => test.class = value.into_owned(),
                    "class" if test.class.is_empty() => test.class = value.into_owned(),
                    "time" => test.duration_ms = milliseconds(&value),
                    "file" => test.file = Some(paths::relative(&value)),
                    "line" => test.line = value.parse().ok(),
                    // GoogleTest.
                    "status" => test.skipped |= value == "notrun",
                    _ => {}
                }
            }
            *open = Some(test);
        }
        Kind::Failure | Kind::Skipped | Kind::Flake => {
            let Some(test) = open else { return };
            let first = !test.failed;
            test.failed |= kind == Kind::Failure;
            test.skipped |= kind == Kind::Skipped;
            test.flaky |= kind == Kind::Flake;
            let (mut message, mut class) = (None, None);
            for (key, value) in element.attributes() {
                match key {
                    "message" => message = Some(value),
                    "type" => class = Some(value),
                    _ => {}
                }
            }
            let has_text = |value: &Option<std::borrow::Cow<'_, str>>| {
                value.as_deref().is_some_and(|text| !text.trim().is_empty())
            };
            if first
                && let Some(message) = message
                    .filter(|message| has_text(&Some(message.clone())))
                    .or(class.filter(|_| kind == Kind::Failure))
            {
                test.message = message.into_owned();
            }
        }
        Kind::Rerun | Kind::Printed | Kind::Other => {}
    }
}

impl Open {
    fn finish(mut self, suites: &[String]) -> TestCase {
        let status = match (self.failed, self.skipped) {
            (true, _) => TestStatus::Failed,
            (false, true) => TestStatus::Skipped,
            (false, false) => TestStatus::Passed,
        };
        let failed_once = status == TestStatus::Failed || self.flaky;
        let mut details = self.details.finish();
        let mut message = text::clean(self.message.trim()).into_owned();
        let first_line = message.lines().map(str::trim).find(|line| !line.is_empty() && !is_frame_of_go(line));
        let says_nothing = first_line
            .is_none_or(|first_line| EMPTY_WORDS.contains(&first_line) || (failed_once && !first_line.contains(' ')));
        if says_nothing || first_line.is_some_and(|first_line| !message.starts_with(first_line)) {
            // PHPUnit repeats the test's name.
            let title = format!("{}::{}", self.class, self.name);
            let clean = text::clean(&details);
            let mut lines = clean.lines().map(str::trim);
            let line = lines.find(|line| !line.is_empty() && !is_frame_of_go(line) && !line.starts_with(&title));
            if let Some(line) = line.or(first_line.filter(|_| !says_nothing)) {
                message = line.to_owned();
            }
        }
        if failed_once && !self.printed.is_blank() {
            details = format!("{}\n\n{}", details.trim_end(), self.printed.finish());
        }
        let details = text::clean(details.trim_matches(['\n', '\r'])).trim_end().to_owned();
        let suite = self.suite(suites);
        TestCase {
            suite: text::cut_name(&text::clean(suite.trim()), limits::NAME_BYTES).into_owned(),
            name: text::cut_name(&text::clean(self.name.trim()), limits::NAME_BYTES).into_owned(),
            status,
            duration_ms: self.duration_ms,
            message: (!message.is_empty() && (failed_once || status == TestStatus::Skipped))
                .then(|| text::cut(&message, limits::MESSAGE_BYTES).into_owned()),
            output: (failed_once && !details.is_empty()).then_some(details),
            file: self.file.filter(|file| !file.is_empty()),
            line: self.line,
            flaky: self.flaky && status == TestStatus::Passed,
        }
    }

    /// Returns what the test belongs to: its class; if that only repeats the test's name (Jest, Mocha) or says nothing
    /// (Node), its suite.
    fn suite(&self, suites: &[String]) -> String {
        let class = self.class.trim();
        if !class.is_empty() && class != "test" && !self.name.trim().ends_with(class) {
            return class.to_owned();
        }
        match suites.last() {
            Some(path) if !path.is_empty() => path.clone(),
            Some(_) | None => class.to_owned(),
        }
    }
}

/// Returns the path of a suite in others. Mocha puts everything into a suite that has no name of its own.
fn path_of(above: &str, name: &str) -> String {
    match (above, name) {
        (_, "" | "Root Suite") => above.to_owned(),
        ("", name) => name.to_owned(),
        (above, name) => text::cut_name(&format!("{above} > {name}"), limits::NAME_BYTES).into_owned(),
    }
}

/// Returns whether a line is one of those that `go test -v` puts around a test's output.
fn is_frame_of_go(line: &str) -> bool {
    ["=== ", "--- FAIL", "--- SKIP"].iter().any(|frame| line.starts_with(frame))
}

/// Returns seconds as milliseconds. Surefire writes `1,234.5`.
fn milliseconds(time: &str) -> Option<u64> {
    let seconds: f64 = time.trim().replace(',', "").parse().ok()?;
    // Casts of numbers that are too large, negative, or none saturate.
    seconds.is_finite().then_some((seconds * 1000.0).round() as u64)
}
