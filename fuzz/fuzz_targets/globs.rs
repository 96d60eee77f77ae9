//! Matches any pattern from a file against any name from a push.
#![no_main]

use libfuzzer_sys::fuzz_target;
use longshore_core::{Event, EventName};
use longshore_pipeline as pipeline;
use longshore_pipeline::{RepoFacts, SourceFile, TemplateFiles};

fuzz_target!(|text: &str| {
    let (pattern, name) = text.split_once('\n').unwrap_or((text, "main"));
    let quoted = serde_json::to_string(pattern).expect("a text is JSON");
    let file = format!(
        "on: {{ push: {{ branches: [{quoted}], paths: [{quoted}], paths-ignore: [{quoted}] }} }}\njobs: {{ a: {{ image: x, steps: [{{ run: y }}] }} }}\n"
    );
    let checked = pipeline::check(&[SourceFile::new(".longshore.yml", file)], &TemplateFiles::new());
    let event = Event {
        name: EventName::Push,
        git_ref: format!("refs/heads/{name}"),
        commit: "0".repeat(40),
        before: None,
        message: String::new(),
        author: String::new(),
        author_email: String::new(),
        sender: String::new(),
        url: None,
        default_branch: None,
        inputs: Default::default(),
        pull_request: None,
        schedule: None,
    };
    let facts = RepoFacts { changed_files: Some(vec![name.to_owned()]), ..RepoFacts::default() };
    assert_eq!(checked.plan(&event, &facts), checked.plan(&event, &facts));
});
