//! Decides whether a commit's message asks that it is not built: `[skip ci]`, as at GitHub and GitLab.

use longshore_core::{Event, EventName};

/// These words may stand anywhere in the message, in letters of any case, as at GitHub and GitLab.
const SKIP_MARKERS: [&str; 7] =
    ["[skip ci]", "[ci skip]", "[skip-ci]", "[ci-skip]", "[skip_ci]", "[ci_skip]", "[no ci]"];
/// This may stand on a line of its own in the message's last paragraph, as at GitHub.
const TRAILER: &str = "skip-checks: true";

/// Returns the words by which the message of an event's commit asks that nothing is built. Only pushes to branches and
/// pull requests heed them: a person who pushes a tag or starts a build by hand wants it, and a schedule does not
/// depend on what was written last. Nor does a closed pull request whose commit is gone: the message is another
/// commit's.
pub(crate) fn skip_words(event: &Event) -> Option<&'static str> {
    match event.name {
        EventName::PullRequest if event.pull_request.as_ref().is_some_and(|request| request.gone.is_some()) => None,
        EventName::Push | EventName::PullRequest => skip_words_in(&event.message),
        EventName::Tag | EventName::Schedule | EventName::Manual | EventName::Release | EventName::MergeGroup => None,
    }
}

fn skip_words_in(message: &str) -> Option<&'static str> {
    let message = message.to_ascii_lowercase();
    if let Some(words) = SKIP_MARKERS.into_iter().find(|skip_words| message.contains(skip_words)) {
        return Some(words);
    }
    let mut lines = message.lines().rev().map(str::trim).skip_while(|line| line.is_empty());
    let is_trailer = |line: &str| {
        line.split_once(':').is_some_and(|(key, value)| key.trim_end() == "skip-checks" && value.trim() == "true")
    };
    lines.by_ref().take_while(|line| !line.is_empty()).any(is_trailer).then_some(TRAILER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_brackets_anywhere_and_a_trailer_at_the_end_ask_for_no_build() {
        for (message, found) in [
            ("docs [skip ci]", Some("[skip ci]")),
            ("docs\n\nmore [CI Skip] text\n", Some("[ci skip]")),
            ("[ci-skip] docs", Some("[ci-skip]")),
            ("docs [no ci]", Some("[no ci]")),
            ("docs\n\nSkip-Checks: true\nSigned-off-by: Eve <eve@example.org>\n\n", Some(TRAILER)),
            ("docs\n\n\nskip-checks:true", Some(TRAILER)),
            ("skip ci", None),
            ("[skip  ci]", None),
            ("docs\n\nskip-checks: true\n\nand then more", None),
            ("docs\n\nskip-checks: false", None),
            ("", None),
        ] {
            assert_eq!(skip_words_in(message), found, "{message:?}");
        }
    }
}
