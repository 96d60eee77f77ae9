//! Events that start pipelines and that the repository's forge has no webhook for.

use longshore_core::Diagnostic;
use longshore_forge::{Forge, Sends};
use longshore_pipeline::{Checked, OptionalEvent};

/// Returns warnings about events that start pipelines and that a forge never sends.
#[must_use]
pub fn never_sent(checked: &Checked, forge: Forge) -> Vec<Diagnostic> {
    checked.never_sent(forge.shown(), |event| forge.sends(kind(event)))
}

/// Returns the forge's kind of event for the language's.
const fn kind(event: OptionalEvent) -> Sends {
    match event {
        OptionalEvent::PullRequests => Sends::PullRequests,
        OptionalEvent::Labels => Sends::Labels,
        OptionalEvent::Drafts => Sends::Drafts,
        OptionalEvent::Reopened => Sends::Reopened,
        OptionalEvent::Releases => Sends::Releases,
        OptionalEvent::MergeGroups => Sends::MergeGroups,
    }
}
