//! The members of a pod: the containers beside the job's own, which run its services and the steps with an image of
//! their own.
//!
//! A member's agent joins the job's agent, the conductor, over a socket in the network namespace that they share. There
//! the conductor is its only client: it speaks this protocol with it as a runner does.

use std::fmt;
use std::str::FromStr;

use longshore_core::Record;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A member of a job's pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberId {
    /// A service, by its place in the plan from 0.
    Service(u16),
    /// A try of a step with its own image: the step's place from 0, the try from 1.
    Step(u16, u32),
}

impl MemberId {
    /// Returns the number of its messages in the job's log: a step's own, a service's above all steps.
    #[must_use]
    pub const fn step(self) -> u16 {
        match self {
            Self::Service(at) => Record::FIRST_SERVICE.saturating_add(at),
            Self::Step(step, _) => step,
        }
    }
}

/// `service-0`, or `step-3-1`: part of the container's name.
impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(at) => write!(f, "service-{at}"),
            Self::Step(step, attempt) => write!(f, "step-{step}-{attempt}"),
        }
    }
}

/// A text that names no member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no member of a pod: write `service-0` or `step-3-1`")]
pub struct InvalidMemberId(String);

impl FromStr for MemberId {
    type Err = InvalidMemberId;

    fn from_str(text: &str) -> Result<Self, InvalidMemberId> {
        let parsed = || match text.split('-').collect::<Vec<_>>()[..] {
            ["service", at] => Some(Self::Service(at.parse().ok()?)),
            ["step", step, attempt] => Some(Self::Step(step.parse().ok()?, attempt.parse().ok()?)),
            _ => None,
        };
        // Other spellings of the numbers, such as `service-00`, are refused.
        parsed().filter(|member| member.to_string() == text).ok_or_else(|| InvalidMemberId(text.to_owned()))
    }
}

/// What the keys of a pod's members derive from. Runner and conductor know it, and no command line, since each process
/// of a container can read that of its agent.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PodSecret(pub [u8; 16]);

impl PodSecret {
    /// Returns the key with which a member's agent authenticates itself and its session. It is a hash, so that no
    /// member can derive the key of another one.
    #[must_use]
    pub fn member_key(self, member: MemberId) -> [u8; 16] {
        self.derive(&member.to_string())
    }

    /// Returns the name of the conductor's abstract socket in the pod's network namespace.
    #[must_use]
    pub fn conductor_address(self) -> String {
        let name: String = self.derive("conductor").iter().map(|byte| format!("{byte:02x}")).collect();
        format!("longshore-pod-{name}")
    }

    fn derive(self, purpose: &str) -> [u8; 16] {
        let digest = Sha256::new().chain_update(self.0).chain_update(purpose).finalize();
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        key
    }
}

impl fmt::Debug for PodSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PodSecret(..)")
    }
}

/// What an image says about its containers, as a member's agent needs it. It travels on the member's command line.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// WORKDIR; empty for `/`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub directory: String,
    /// USER; empty for root.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// The TCP ports that it exposes, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
}

/// An image's HEALTHCHECK.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healthcheck {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How long one probe may take.
    pub timeout_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_members_name_is_read_back_and_nothing_else_is() {
        for member in [MemberId::Service(0), MemberId::Service(19), MemberId::Step(3, 1), MemberId::Step(199, 12)] {
            assert_eq!(member.to_string().parse(), Ok(member));
        }
        for text in
            ["", "service", "service-", "service-x", "service-00", "step-1", "step-1-2-3", "Service-1", "step--1-1"]
        {
            assert!(text.parse::<MemberId>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_member_has_a_key_of_its_own() {
        let keys = [MemberId::Service(0), MemberId::Service(1), MemberId::Step(0, 1), MemberId::Step(0, 2)]
            .map(|member| PodSecret([7; 16]).member_key(member));
        let distinct: std::collections::HashSet<_> = keys.iter().chain([&[7; 16]]).collect();
        assert_eq!(distinct.len(), 5);
        assert_ne!(PodSecret([8; 16]).member_key(MemberId::Service(0)), keys[0]);
    }
}
