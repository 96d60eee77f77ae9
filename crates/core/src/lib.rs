//! The types and rules that all other crates share: ids, statuses and their transitions, events, expressions, the
//! frozen plan, log records, diagnostics, and the rules of the queue.
//!
//! Pure data and pure functions. Nothing here may depend on tokio, SQL, HTTP or Docker.

pub mod access;
pub mod address;
pub mod anomaly;
pub mod artifact;
pub mod authority;
pub mod cache;
pub mod capability;
pub mod commit_status;
pub mod decision;
pub mod denied;
pub mod diagnostic;
pub mod docker;
pub mod event;
pub mod expression;
pub mod id;
pub mod image_ref;
pub mod limits;
pub mod masking;
pub mod notification;
pub mod outcome;
pub mod percent;
pub mod plan;
pub mod record;
pub mod registry;
pub mod result;
pub mod reuse;
pub mod rules;
pub mod sealing;
pub mod secret;
pub mod status;
pub mod stranger;
pub mod template;
pub mod terminal;
pub mod timestamp;

pub use artifact::{ArtifactFile, ArtifactKind, BlobId};
pub use cache::{CacheAccess, CachePath};
pub use commit_status::StatusDetail;
pub use denied::{DeniedAddresses, DeniedAddressesError};
pub use diagnostic::{Diagnostic, Severity, Span};
pub use event::{DueSchedule, Event, EventName};
pub use id::{
    ArtifactId, BuildId, CacheId, ConnectionId, DeliveryId, JobId, NoticeId, NotificationId, RepoId, SessionId, TokenId,
};
pub use image_ref::ImageRef;
pub use notification::NotificationEvent;
pub use outcome::{ErrorKind, Outcome};
pub use plan::{BuildPlan, JobPlan, StepPlan};
pub use record::{Record, RecordKind, Stream};
pub use registry::{RegistryCredentials, RegistryHost};
pub use result::{JobResult, StepResult, StepStatus};
pub use rules::{
    needs::NeedEnd,
    queue::{Lane, Slots},
};
pub use secret::{SecretName, SecretRules, SecretValue};
pub use status::Status;
pub use stranger::{Person, Strangers};
pub use template::Template;
pub use timestamp::Timestamp;
