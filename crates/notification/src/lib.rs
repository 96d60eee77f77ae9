//! Messages about builds and anomalies: their wording in e-mails, chats and webhooks, and the calls that send them.
//!
//! One file for each chat service in `shapes`. [`Sender::send`] is the only way out. All calls block; the callers,
//! which are the outbox and the API, make them on threads of their own. Nothing here stores anything, and no error
//! contains a secret.
//!
//! Others write the texts of commits, pull requests, branches and jobs. They pass through [`text`] before they get into
//! a message: in one line, without markup, links and mentions.

mod error;
mod http;
mod kind;
mod mail;
mod message;
mod sender;
mod shapes;
mod signature;
mod target;
pub mod text;

pub use error::SendError;
pub use kind::{Kind, NotAKind};
pub use mail::{InvalidMailSettings, Mail};
pub use message::{AnomalyLine, JobLine, Message, Subject};
pub use sender::Sender;
pub use target::{InvalidTarget, Target};
