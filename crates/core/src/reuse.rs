//! The sentence that says that an earlier success was used in place of a job.

const SAME: &str = "same as build ";

/// Returns the reason of a job that has not run because nothing that it depends on has changed since that build.
#[must_use]
pub fn reason(build: u64) -> String {
    format!("{SAME}{build}")
}

/// Returns whether a job's reason is this sentence.
#[must_use]
pub fn is_reason(text: &str) -> bool {
    text.strip_prefix(SAME).is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}
