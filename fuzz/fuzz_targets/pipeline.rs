//! Checks and plans any bytes as a pipeline file: the result is findings or a plan, never a panic, and the plan
//! survives JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use longshore_core::{BuildPlan, Event, EventName};
use longshore_pipeline as pipeline;
use longshore_pipeline::{Planned, RepoFacts, SourceFile, TemplateFiles, report};

fuzz_target!(|bytes: &[u8]| {
    // The same bytes serve as the template.
    let template = SourceFile::from_bytes("ci/t.yml", bytes.to_vec());
    let templates = TemplateFiles::from([("ci/t.yml".to_owned(), Ok(template))]);
    let files = [SourceFile::from_bytes(".longshore.yml", bytes.to_vec())];
    let _ = pipeline::wanted_templates(&files);
    let checked = pipeline::check(&files, &templates);
    let _ = report::human(&checked.diagnostics);
    let _ = report::sarif(&checked.diagnostics);
    let event = Event {
        name: EventName::Push,
        git_ref: "refs/heads/main".to_owned(),
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
    if let Planned::Build(plan) = checked.plan(&event, &RepoFacts::default()) {
        let json = serde_json::to_string(&plan).expect("a plan is JSON");
        assert_eq!(serde_json::from_str::<BuildPlan>(&json).expect("a plan reads back"), plan);
    }
});
