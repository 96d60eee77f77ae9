//! Ids: version 7 UUIDs, which sort by the time of their creation.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Text that is not an id (a UUID in its hyphenated form).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an id: expected a UUID such as 0197c5a0-7d3e-7000-8000-000000000000")]
pub struct NotAnId(pub String);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Creates an id. It sorts after all ids that this process created before.
            #[must_use]
            #[expect(clippy::new_without_default, reason = "a new id is never a default")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// Returns the last 12 hexadecimal digits. They are random and short enough for a container's name, but do
            /// not identify anything.
            #[must_use]
            pub fn short(&self) -> String {
                let text = self.0.simple().to_string();
                text[20..].to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                Uuid::try_parse(text).map(Self).map_err(|_| NotAnId(text.to_owned()))
            }
        }
    };
}

id!(
    /// A signed-in browser.
    SessionId
);
id!(
    /// A registered repository.
    RepoId
);
id!(
    /// One run of a repository's pipelines for one event.
    BuildId
);
id!(
    /// One job of a build.
    JobId
);
id!(
    /// One webhook delivery in the inbox.
    DeliveryId
);
id!(
    /// An entry of a cache.
    CacheId
);
id!(
    /// An API token. Not its secret value.
    TokenId
);
id!(
    /// A forge that the server may call.
    ConnectionId
);
id!(
    /// An artifact of a job.
    ArtifactId
);
id!(
    /// A place where people are notified of builds: a channel, a mailbox, a webhook.
    NotificationId
);
id!(
    /// One message to one such place.
    NoticeId
);
