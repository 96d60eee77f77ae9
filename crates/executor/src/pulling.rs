//! Which images jobs may use, and how they come to the engine.

pub(crate) mod image_access;
pub(crate) mod images;
pub(crate) mod pull_failure;
