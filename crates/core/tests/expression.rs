//! The language of expressions: what it means, what it refuses, and that nothing makes it panic.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;

use longshore_core::expression::{
    Context, EvalError, Expression, ProblemKind, Progress, Scope, Type, Value, Values, check, evaluate, limits, runs,
};
use proptest::prelude::*;

fn values() -> Values {
    let json = r#"{
        "event": {"name": "push", "branch": "main", "tag": null, "title": "a \"quoted\" title"},
        "matrix": {"rust": "1.95", "os-name": "bookworm"},
        "steps": {"meta": {"outputs": {"version": "1.2.3", "list": "[\"a\",\"b\"]", "count": "12"}}},
        "inputs": {"level": 3, "dry": false},
        "needs": {"build": {"result": "success", "outputs": {}}},
        "changed": {"[\"src/**\"]": true, "[\"**\",\"!src/**\"]": false}
    }"#;
    let Value::Map(contexts) = serde_json::from_str(json).unwrap() else { panic!("a mapping") };
    Values { contexts, progress: Some(Progress::default()) }
}

fn eval(source: &str) -> Result<Value, EvalError> {
    evaluate(&Expression::parse(source).unwrap(), &values())
}

fn text(source: &str) -> String {
    eval(source).unwrap().to_text()
}

#[test]
fn expressions_mean_what_they_mean_at_github() {
    for (source, expected) in [
        ("matrix.rust", "1.95"),
        ("matrix['os-name']", "bookworm"),
        ("matrix.os-name", "bookworm"),
        ("event.tag", ""),
        ("event.nothing.below", ""),
        ("event.name == 'push' && event.branch == 'main'", "true"),
        ("event.name != 'push' || !false", "true"),
        ("event.tag && 'release' || 'nightly'", "nightly"),
        ("event.branch == \"main\"", "true"),
        ("'it''s'", "it's"),
        ("\"a \"\"b\"\"\"", "a \"b\""),
        ("inputs.level >= 3", "true"),
        ("inputs.level < -1.5", "false"),
        ("1 < 2 == true", "true"),
        ("!(inputs.dry || false)", "true"),
        ("contains('hello world', 'lo w')", "true"),
        ("contains(from-json('[\"a\", 1]'), 1)", "true"),
        ("starts-with(event.branch, 'ma') && ends-with(event.branch, 'in')", "true"),
        ("matches(event.branch, '^ma[a-z]+$')", "true"),
        ("matches(event.branch, 'x?y')", "false"),
        ("changed('src/**') && !changed('**', '!src/**')", "true"),
        (r"matches('v1.20', '^v\d+\.\d+$')", "true"),
        // Nothing matches nothing.
        ("matches(event.tag, '.*')", "false"),
        ("format('{1}-{0} {{}}', 'a', 2)", "2-a {}"),
        ("join(from-json(steps.meta.outputs.list), ' + ')", "a + b"),
        ("join(from-json('[1,2]'))", "1,2"),
        ("from-json(steps.meta.outputs.list)[1]", "b"),
        ("from-json(steps.meta.outputs.list)[7]", ""),
        ("from-json(steps.meta.outputs.count) > 3", "true"),
        ("to-json(matrix)", r#"{"os-name":"bookworm","rust":"1.95"}"#),
        ("needs.build.result == 'success'", "true"),
        ("null == event.tag", "true"),
        ("'1' == 1", "false"),
        ("'Main' == 'main'", "false"),
    ] {
        assert_eq!(text(source), expected, "{source}");
    }
}

#[test]
fn what_is_no_expression_says_where_and_why() {
    for (source, at, message) in [
        ("", "", "the expression is empty"),
        ("a = b", "=", "`=` is not allowed in expressions"),
        ("a == ", "=", "unexpected end of expression: a value is missing"),
        ("(a", "a", "unexpected end of expression: `)` is missing"),
        ("'abc", "'abc", "unterminated string"),
        ("event.", ".", "unexpected end of expression: a name after the `.` is missing"),
        ("a b", "b", "unexpected `b`"),
        ("1.2.3", "1.2.3", "`1.2.3` is not a number"),
        ("formt('x')", "formt", "unknown function `formt`"),
        ("success", "success", "`success` is a function"),
        ("a + b", "+", "`+` is not allowed in expressions"),
        ("needs.*.result", "*", "a name after the `.` is missing before this"),
        ("contains(a b)", "b", "`,` or `)` is missing before this"),
    ] {
        let error = Expression::parse(source).unwrap_err();
        assert_eq!((&source[error.at.clone()], error.message.as_str()), (at, message), "{source}");
    }
}

#[test]
fn sizes_and_depths_are_bounded() {
    let deep = "(".repeat(limits::DEPTH + 1) + "1" + &")".repeat(limits::DEPTH + 1);
    assert!(Expression::parse(&deep).is_err());
    assert!(Expression::parse(&"!".repeat(5000)).is_err());
    assert!(Expression::parse(&vec!["true"; limits::NODES].join("||")).is_err());
    assert!(Expression::parse(&format!("a{}", ".a".repeat(limits::NODES))).is_err());
    assert!(Expression::parse(&"a".repeat(limits::SOURCE_BYTES + 1)).is_err());
    // Ten times ten times ten: a text that would not fit anywhere is refused while it grows.
    let mut source = "'0123456789'".to_owned();
    for _ in 0..8 {
        source = format!("format('{{0}}{{0}}{{0}}{{0}}{{0}}{{0}}{{0}}{{0}}{{0}}{{0}}', {source})");
    }
    assert_eq!(eval(&source), Err(EvalError::TooLarge));
    // A regular expression that would take much memory is refused.
    assert!(matches!(eval("matches('a', '(((a{1000}){1000}){1000}){1000}')"), Err(EvalError::NotRegular(_))));
}

#[test]
fn a_condition_that_does_not_ask_runs_only_after_success() {
    let mut after = values();
    let holds = |source: &str, after: &Values| runs(Some(&Expression::parse(source).unwrap()), after).unwrap();
    assert!(runs(None, &after).unwrap());
    assert!(holds("event.branch == 'main'", &after));
    assert!(!holds("failure()", &after));
    after.progress = Some(Progress { failed: true, ..Progress::default() });
    assert!(!runs(None, &after).unwrap());
    assert!(!holds("event.branch == 'main'", &after));
    assert!(holds("failure() && event.branch == 'main'", &after));
    assert!(holds("always()", &after));
    after.progress = Some(Progress { canceled: true, ..Progress::default() });
    assert!(holds("cancelled() || failure()", &after));
    assert!(!holds("success()", &after));
    after.progress = Some(Progress { skipped: true, ..Progress::default() });
    assert!(!runs(None, &after).unwrap());
    assert!(!holds("failure()", &after));
}

fn scope() -> Scope {
    let event = Type::record([("name", Type::Text), ("branch", Type::Text), ("title", Type::Text)]);
    let outputs = Type::Map(Box::new(Type::Text));
    let steps = Type::record([("meta", Type::record([("outputs", outputs)]))]);
    Scope {
        contexts: BTreeMap::from([
            ("event", event),
            ("matrix", Type::record([("rust", Type::Text)])),
            ("steps", steps),
            ("inputs", Type::record([("level", Type::Number)])),
        ]),
        absent: BTreeMap::from([("secrets", "name it in `secrets` of the job".to_owned())]),
        condition: false,
        files: false,
    }
}

#[test]
fn what_cannot_work_is_found_before_any_value_is_known() {
    for (source, at, message) in [
        ("evnt.branch", "evnt", "unknown context `evnt`"),
        ("event.brnch", "brnch", "`event` has no `brnch`"),
        ("matrix['os']", "os", "`matrix` has no `os`"),
        ("steps.other.outputs.x", "other", "`steps` has no `other`"),
        ("event.name.x", "x", "`event.name` is a string, which has no `x`"),
        ("secrets.TOKEN", "secrets", "`secrets` has no value here"),
        ("matrix.rust == 1", "matrix.rust == 1", "a string is never equal to a number"),
        ("matrix.rust > '1.9'", "matrix.rust", "`>` compares numbers, but this is a string"),
        ("contains(event.name)", "contains(event.name)", "`contains` takes 2 arguments, but got 1"),
        ("join(event.name)", "event.name", "`join` cannot take a string here"),
        ("format('{1}', 'a')", "'{1}'", "`format` has no argument for `{1}`"),
        ("success()", "success", "`success()` is available in `if` only"),
        ("hash-files('x')", "hash-files", "`hash-files` has no files here"),
        ("changed()", "changed()", "`changed` takes 1 to 32 arguments, but got 0"),
        ("changed('a', matrix.rust)", "matrix.rust", "`changed` takes patterns in quotes, and no other values"),
        ("changed('a')", "changed", "`changed()` is available in `if` only"),
    ] {
        let checked = check(&Expression::parse(source).unwrap(), &scope());
        let problem = checked.problems.first().unwrap_or_else(|| panic!("{source} was taken"));
        assert_eq!((&source[problem.at.clone()], problem.message.as_str()), (at, message), "{source}");
    }
    let broken = check(&Expression::parse("matches(event.branch, '[a')").unwrap(), &scope()).problems.remove(0);
    assert!(broken.message.starts_with("`matches`: invalid regular expression"), "{broken:?}");
    let unknown = check(&Expression::parse("event.brnch").unwrap(), &scope()).problems.remove(0);
    let ProblemKind::Unknown { of, word, known } = unknown.kind else { panic!("{unknown:?}") };
    assert_eq!((of.as_str(), word.as_str(), known.contains(&"branch".to_owned())), ("event", "brnch", true));
    for source in ["matrix.rust == '1'", "inputs.level > 2", "steps.meta.outputs.anything", "event[matrix.rust]"] {
        assert_eq!(check(&Expression::parse(source).unwrap(), &scope()).problems, [], "{source}");
    }
}

#[test]
fn what_should_be_a_text_is_quoted_as_it_is_written() {
    for (source, text) in [
        ("matrix.rust == 1.10", "`'1.10'`"),
        ("1e3 != matrix.rust", "`'1e3'`"),
        ("matrix.rust == (007)", "`'007'`"),
        ("matrix.rust == true", "`'true'`"),
    ] {
        let problem = check(&Expression::parse(source).unwrap(), &scope()).problems.remove(0);
        assert_eq!(problem.help, Some(format!("compare it with a string: {text}")), "{source}");
    }
}

#[test]
fn a_value_is_carried_unless_it_is_only_compared() {
    for (source, expected) in [
        ("event.title", vec!["event.title"]),
        ("event['title']", vec!["event.title"]),
        ("event[matrix.rust]", vec!["event"]),
        ("to-json(event)", vec!["event"]),
        ("format('{0}', event.title)", vec!["event.title"]),
        ("from-json(to-json(event)).title", vec!["event"]),
        ("event.title == 'x' && 'a' || 'b'", vec![]),
        ("event.title && matrix.rust", vec!["matrix.rust"]),
        ("event.title || matrix.rust", vec!["event.title", "matrix.rust"]),
        ("contains(event.title, 'x')", vec![]),
        ("!event.title", vec![]),
    ] {
        let checked = check(&Expression::parse(source).unwrap(), &scope());
        let carried: Vec<String> = checked.carries.iter().map(|carried| carried.path.join(".")).collect();
        assert_eq!(carried, expected, "{source}");
    }
}

/// Knows everything, and gives every file the same hash.
struct Everything(Values);

impl Context for Everything {
    fn context(&self, name: &str) -> Option<&Value> {
        self.0.context(name)
    }

    fn progress(&self) -> Option<Progress> {
        self.0.progress
    }

    fn hash_files(&self, patterns: &[String]) -> Option<Result<String, String>> {
        Some(Ok(patterns.join("+")))
    }

    fn has_files(&self) -> bool {
        true
    }
}

fn holds_of(source: &str) {
    let Ok(expression) = Expression::parse(source) else { return };
    let json = serde_json::to_string(&expression).unwrap();
    assert_eq!(serde_json::from_str::<Expression>(&json).unwrap(), expression);
    let checked = check(&expression, &scope());
    for problem in &checked.problems {
        assert!(source.get(problem.at.clone()).is_some(), "{problem:?} of {source}");
    }
    let everything = Everything(values());
    let first = evaluate(&expression, &everything);
    assert_eq!(first, evaluate(&expression, &everything), "the same each time");
    if let Ok(value) = first {
        let json = value.to_json();
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), value, "values survive JSON");
    }
}

fn expression_like() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "event",
        ".",
        "branch",
        "matrix",
        "[",
        "]",
        "'x'",
        "\"y\"",
        "1",
        "-2.5",
        "(",
        ")",
        "==",
        "!=",
        "<",
        "&&",
        "||",
        "!",
        ",",
        "contains(",
        "format(",
        "'{0}'",
        "from-json(",
        "'[1,{}]'",
        "to-json(",
        "join(",
        "matches(",
        "'^[a-z]+$'",
        "always()",
        "true",
        "null",
        " ",
        "é",
        "'",
        "steps.meta.outputs.version",
        "hash-files(",
        "changed(",
        "'src/**'",
        "1e999",
        "0x",
    ]);
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_an_expression_panic(source in any::<String>()) {
        holds_of(&source);
    }

    #[test]
    fn nothing_that_looks_like_an_expression_panics(source in expression_like()) {
        holds_of(&source);
    }

    #[test]
    fn a_text_in_quotes_is_that_text(value in any::<String>()) {
        let source = format!("'{}'", value.replace('\'', "''"));
        if source.len() <= limits::SOURCE_BYTES {
            prop_assert_eq!(eval(&source).unwrap(), Value::Text(value));
        }
    }
}
