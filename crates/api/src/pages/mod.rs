//! Plain pages for people, complete without a script: what runs, builds, jobs. Everything from outside is escaped by [`Html`].

pub(crate) mod build;
pub(crate) mod home;
mod html;
pub(crate) mod job;

pub(crate) use html::Html;
