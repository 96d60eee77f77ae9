//! Tickets: addresses under which a browser reads the files of one artifact for a while, without a cookie.
//!
//! A page of an artifact (a coverage report, documentation) runs its scripts in a sandbox that has an origin of its
//! own, so that they can do nothing with the reader's session; then nothing that such a page loads carries the cookie
//! either. Those who may see the artifact get a ticket, which opens this artifact and nothing else.

use longshore_core::{ArtifactId, Timestamp};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// How long a ticket is valid at least.
const VALID_MS: i64 = 12 * HOUR_MS;
const HOUR_MS: i64 = 60 * 60 * 1000;

/// Makes and checks tickets. Its key lives as long as the process.
#[derive(Debug)]
pub(crate) struct Tickets {
    key: [u8; 32],
}

impl Default for Tickets {
    fn default() -> Self {
        Self { key: rand::random() }
    }
}

impl Tickets {
    /// Returns a ticket for the artifact: the same one for an hour, so that a browser keeps what it has loaded.
    pub(crate) fn issue(&self, artifact: ArtifactId, now: Timestamp) -> String {
        let until = (now.as_millis() / HOUR_MS + 1) * HOUR_MS + VALID_MS;
        format!("{until:x}-{}", self.sign(artifact, until))
    }

    /// Returns whether the ticket opens the artifact now.
    pub(crate) fn opens(&self, ticket: &str, artifact: ArtifactId, now: Timestamp) -> bool {
        let Some((until, signature)) = ticket.split_once('-') else { return false };
        let Ok(until) = i64::from_str_radix(until, 16) else { return false };
        let signed = self.sign(artifact, until);
        now.as_millis() < until && bool::from(signed.as_bytes().ct_eq(signature.as_bytes()))
    }

    fn sign(&self, artifact: ArtifactId, until: i64) -> String {
        // The inner hash has a fixed length, so nothing can be appended to what is signed.
        let inner = Sha256::new().chain_update(artifact.to_string()).chain_update(until.to_le_bytes()).finalize();
        let hash = Sha256::new().chain_update(self.key).chain_update(inner).finalize();
        hash.iter().take(20).map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_opens_one_artifact_for_a_while_and_cannot_be_made_up() {
        let (tickets, now) = (Tickets::default(), Timestamp::now());
        let (one, other) = (ArtifactId::new(), ArtifactId::new());
        let ticket = tickets.issue(one, now);
        assert!(tickets.opens(&ticket, one, now));
        assert!(!tickets.opens(&ticket, other, now));
        assert!(!Tickets::default().opens(&ticket, one, now), "another server's");
        let after = |ms| Timestamp::from_millis(now.as_millis() + ms);
        assert!(tickets.opens(&ticket, one, after(VALID_MS)));
        assert!(!tickets.opens(&ticket, one, after(VALID_MS + HOUR_MS)));
        let (until, signature) = ticket.split_once('-').unwrap();
        let longer = i64::from_str_radix(until, 16).unwrap() + 1;
        for bad in ["", "-", "x-y", &format!("{longer:x}-{signature}"), &format!("{until}-"), &format!("{until}-0")] {
            assert!(!tickets.opens(bad, one, now), "{bad}");
        }
    }
}
