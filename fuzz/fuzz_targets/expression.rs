//! Parses any text as an expression: it is refused at a place within it, or checked and always evaluated to the same
//! value. It never panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use longshore_core::{
    Template,
    expression::{Expression, Progress, Scope, Value, Values, check, evaluate, runs},
    template::Part,
};

fuzz_target!(|text: &str| {
    // The first line is a JSON value that the expression may refer to.
    let (first, source) = text.split_once('\n').unwrap_or(("{}", text));
    let event: Value = serde_json::from_str(first).unwrap_or_default();
    let known = Values {
        contexts: [("event".to_owned(), event)].into(),
        progress: Some(Progress { failed: source.len() % 2 == 0, ..Progress::default() }),
    };
    let expression = match Expression::parse(source) {
        Ok(expression) => expression,
        Err(error) => {
            assert!(source.get(error.at).is_some(), "an error stands within its source");
            return;
        }
    };
    for problem in check(&expression, &Scope::default()).problems {
        assert!(source.get(problem.at).is_some(), "a problem stands within its source");
    }
    assert_eq!(evaluate(&expression, &known), evaluate(&expression, &known));
    let _ = runs(Some(&expression), &known);
    let template = Template::new([Part::Text("a".to_owned()), Part::Expression(expression)]);
    if let Ok(filled) = template.fill(&known) {
        let json = serde_json::to_string(&filled).expect("a text is JSON");
        assert_eq!(serde_json::from_str::<Template>(&json).expect("a text reads back"), filled);
    }
});
