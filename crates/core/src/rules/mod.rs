//! The rules of the queue: which jobs may start, which wait and why, and what the end of one job means for others.
//!
//! [`decide`] is one pure function of a [`Snapshot`] and a [`QueueEvent`]. The store loads the snapshot that an event
//! asks for, applies the [`Change`]s of the decision by compare-and-set, and continues with the events that follow from
//! it, in the order of [`Agenda`], within one transaction. Every sentence that tells people why a job waits, was
//! skipped or was canceled is written here.
//!
//! Each file answers one question. [`gates`]: what keeps a ready job out of the queue? [`needs`]: do a job's needs and
//! its `if` let it run? [`graph`]: which jobs does a job depend on? [`ends`]: what does the end of a job mean for those
//! that need it and for its matrix? [`stops`]: which builds are stopped in favor of others? [`approvals`]: which jobs
//! wait for approval? [`queue`]: which job is next? [`state`]: what does an event change in one job? [`build`]: what is
//! the state of a build?

mod agenda;
pub mod approvals;
pub mod build;
mod ends;
mod event;
mod gates;
pub mod graph;
pub mod needs;
pub mod queue;
mod snapshot;
pub mod state;
mod stops;

pub use agenda::Agenda;
pub use event::{Change, Decision, Move, QueueEvent, Refused};
pub use snapshot::{GroupMember, JobFacts, PullRequestBuild, PullRequestFacts, Server, Snapshot, UnderWay};
pub use stops::groups_taken;

/// Decides what an event changes. Only approving and declining a job can fail: if the job does not wait for approval.
pub fn decide(snapshot: &Snapshot, event: &QueueEvent) -> Result<Decision, Refused> {
    let decision = match event {
        QueueEvent::Slot => queue::claim(snapshot),
        QueueEvent::Job { event, .. } => ends::happens(snapshot, event),
        QueueEvent::AttemptEnded { attempt, outcome, .. } => ends::attempt_ended(snapshot, *attempt, outcome),
        QueueEvent::BuildCreated { .. } | QueueEvent::NeedOver { .. } => ends::needs_changed(snapshot),
        QueueEvent::MatrixFailed { name, .. } => ends::matrix_failed(snapshot, name),
        QueueEvent::Room { .. } => gates::room(snapshot),
        QueueEvent::BuildCanceled { .. } => stops::build_canceled(snapshot),
        QueueEvent::GroupsTaken { build, number, .. } => stops::groups_are_taken(snapshot, *build, *number),
        QueueEvent::PullRequestBuilt { build, .. } => stops::pull_request_built(snapshot, *build),
        QueueEvent::PullRequestClosed { number, .. } => stops::pull_request_closed(snapshot, *number),
        QueueEvent::Approved { .. } => approvals::approved(snapshot)?,
        QueueEvent::BuildApproved { .. } => approvals::build_approved(snapshot)?,
        QueueEvent::Declined { by, .. } => approvals::declined(snapshot, by)?,
    };
    Ok(decision)
}
