//! Converts any text as a file of each other system: the result is a pipeline without errors or a refusal, never a
//! panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use longshore_convert as convert;
use longshore_convert::Language;
use longshore_pipeline as pipeline;
use longshore_pipeline::{SourceFile, TemplateFiles};

fuzz_target!(|bytes: &[u8]| {
    let source = SourceFile::from_bytes("source.yml", bytes.to_vec());
    let _ = convert::guess(&source);
    for language in [Language::Woodpecker, Language::Drone, Language::GitLab, Language::GitHub] {
        if let Ok(converted) = convert::convert(language, &source, ".longshore.yml") {
            let file = SourceFile::new(".longshore.yml", converted.text.as_str());
            assert!(!pipeline::check(&[file], &TemplateFiles::new()).has_errors(), "{}", converted.text);
        }
    }
});
