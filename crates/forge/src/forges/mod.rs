//! One file a forge. To add one, see `docs/extending.md`.

mod bitbucket;
mod forgejo;
mod gitea;
mod github;
mod gitlab;
mod gogs;
mod plain;

pub(crate) use bitbucket::Bitbucket;
pub(crate) use forgejo::Forgejo;
pub(crate) use gitea::Gitea;
pub(crate) use github::Github;
pub(crate) use gitlab::Gitlab;
pub(crate) use gogs::Gogs;
pub(crate) use plain::Plain;
