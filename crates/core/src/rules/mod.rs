//! The rules of the queue, all of them pure: [`needs`] whether a job's needs and its `if` let it run, [`queue`] whose turn it is,
//! [`state`] what an event does to one job and how a build stands.

pub mod needs;
pub mod queue;
pub mod state;
