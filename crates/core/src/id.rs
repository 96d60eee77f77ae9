//! Identities: version 7 UUIDs, so that they sort by the time of their making.

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
            /// A new id, later in order than every one made before it by this process.
            #[must_use]
            #[expect(clippy::new_without_default, reason = "a new id is never a default")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The last 12 hexadecimal digits: random, short enough for a container's name, never an identity.
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
    /// A browser that is signed in.
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
    /// An API token (its name in lists, never its secret).
    TokenId
);
