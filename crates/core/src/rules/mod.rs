//! The rules of the queue: what may start, what waits and why, and what one job's end means for others.
//!
//! [`decide`] is one pure function of a [`Snapshot`] and a [`QueueEvent`]. The store loads the snapshot that an event asks for, applies
//! the [`Change`]s of the decision by compare-and-set, and goes on with the events that follow from it, in the order that [`Agenda`]
//! keeps, within one transaction. Every sentence that tells people why a job waits, was skipped or was canceled is written here.
//!
//! One file a question: [`gates`] what keeps a job from the queue that is ready, [`needs`] whether a job's needs and its `if` let it
//! run, [`graph`] which jobs it sees behind skipped ones, [`ends`] what an end means for those that need the job and for its matrix, [`stops`] which builds end for the sake of others,
//! [`approvals`] who is asked, [`queue`] whose turn it is, [`state`] what an event does to one job, [`build`] how a build stands.

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

/// What an event changes. Only the approval and the refusal of a job can be refused themselves: where nobody is asked.
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
