//! Attacks on a job's guard, each with its legitimate twin.

mod catalogue;
mod containers;
mod disk;
mod images;
mod mounts;
mod names;
mod networks;
mod requests;

const CREATE: &str = "/v1.41/containers/create";
