//! Removes what jobs have on the engine, and what nobody keeps.

pub(crate) mod cleaning;
pub(crate) mod cleanup;
mod late_images;
pub(crate) mod removal;
pub(crate) mod unanswered;
