//! Removes what jobs have on the engine, and what nobody keeps.

pub(crate) mod cleaning;
pub(crate) mod cleanup;
pub(crate) mod removal;
