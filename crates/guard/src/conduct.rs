//! How a client behaves: what it was refused, which ids of others it tried, and when it is refused everything.
//!
//! Kept in the table, so that a guard that is started again goes on with it, and what it says is whole when the audit
//! log is not.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::image_ref::ImageRef;
use crate::refusal::{Refusal, Rule};

/// The time within which refusals are counted, in milliseconds.
const WITHIN_MS: u64 = 60_000;
/// The most refusals that are kept one by one.
const MOST_REFUSED: usize = 50;
/// The most ids of others, and the most registries, that are kept.
const MOST_KEPT: usize = 64;
/// This many different ids that never were the client's are no accident. A client may know one or two on its own, such
/// as the id of the container that it runs in.
const MANY_PROBES: usize = 3;

/// A request that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// The method and the route.
    pub call: String,
    pub rule: String,
    pub reason: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conduct {
    /// All refusals but those for what is not there.
    pub refusals: u64,
    /// The first of them.
    pub refused: Vec<Refused>,
    /// Requests for what is not there, or is somebody else's, or newer than the engine.
    pub not_there: u64,
    /// Ids and reserved names that were asked for and never were the client's.
    pub probes: BTreeSet<String>,
    /// Pulls that were begun.
    pub pulls: u64,
    /// The registries that images were pulled from.
    pub registries: BTreeSet<String>,
    /// Why every request is refused.
    pub frozen: Option<String>,
    /// When the newest refusals were that count for that, in milliseconds since 1970.
    recent: VecDeque<u64>,
}

impl Conduct {
    /// Notes a refusal. Returns the reason if the client is refused everything from now on: `most` refusals within a
    /// minute are an attack, or a script that would go on for ever.
    pub(crate) fn note(&mut self, refusal: &Refusal, call: &str, at_ms: u64, most: usize) -> Option<&str> {
        let asks_only = call.starts_with("GET ") || call.starts_with("HEAD ");
        match refusal.rule {
            // Clients ask for a newer version of the API first, and go on with an older one.
            rule if rule == Rule::Foreign || (rule == Rule::Version && asks_only) => {
                self.not_there += 1;
                return None;
            }
            Rule::Frozen => return None,
            Rule::Probe => {
                self.not_there += 1;
                if let Some((_, id)) = refusal.reason.rsplit_once(": ").filter(|_| self.probes.len() < MOST_KEPT) {
                    self.probes.insert(id.to_owned());
                }
            }
            rule => {
                self.refusals += 1;
                if self.refused.len() < MOST_REFUSED {
                    let reason = refusal.reason.clone();
                    self.refused.push(Refused { call: call.to_owned(), rule: rule.to_string(), reason });
                }
            }
        }
        // Whoever waits for room asks again, and tools ask for routes that they can do without.
        if self.frozen.is_some() || refusal.rule == Rule::Budget || (asks_only && refusal.rule != Rule::Probe) {
            return None;
        }
        self.recent.push_back(at_ms);
        while self.recent.front().is_some_and(|first| first.saturating_add(WITHIN_MS) < at_ms) {
            self.recent.pop_front();
        }
        if self.recent.len() < most {
            return None;
        }
        self.recent.clear();
        let reason = format!(
            "the job's Docker API is frozen, because {most} requests were refused within {} s, the last one by the rule {} ({call}): no \
             request is answered until the job ends",
            WITHIN_MS / 1000,
            refusal.rule,
        );
        Some(self.frozen.insert(reason).as_str())
    }

    /// Notes a pull that begins.
    pub(crate) fn note_pull(&mut self, image: &ImageRef) {
        self.pulls += 1;
        if self.registries.len() < MOST_KEPT {
            self.registries.insert(image.registry.clone());
        }
    }

    /// Whether the client has tried ids of others, and not by accident.
    #[must_use]
    pub fn is_probing(&self) -> bool {
        self.probes.len() >= MANY_PROBES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREATE: &str = "POST containers/create";

    fn refusal(rule: Rule) -> Refusal {
        Refusal::new(rule, "no")
    }

    #[test]
    fn many_refusals_within_a_minute_freeze_and_slow_ones_and_harmless_ones_do_not() {
        let mut conduct = Conduct::default();
        for at in 0..100 {
            assert_eq!(conduct.note(&refusal(Rule::Privileged), CREATE, at * 3000, 30), None, "{at}");
            assert_eq!(conduct.note(&refusal(Rule::Foreign), "DELETE containers/*", at * 3000, 30), None);
            assert_eq!(conduct.note(&refusal(Rule::Version), "GET /v1.44/_ping", at * 3000, 30), None);
            assert_eq!(conduct.note(&refusal(Rule::Budget), CREATE, at * 3000, 30), None);
            assert_eq!(conduct.note(&refusal(Rule::Route), "GET system/df", at * 3000, 30), None);
        }
        assert_eq!((conduct.refusals, conduct.not_there, conduct.refused.len()), (300, 200, MOST_REFUSED));
        let mut conduct = Conduct::default();
        let mut frozen =
            (0..30).filter_map(|at| conduct.note(&refusal(Rule::Privileged), CREATE, at * 10, 30).map(str::to_owned));
        let reason = frozen.next().unwrap();
        assert!(frozen.next().is_none());
        assert!(reason.contains("30 requests") && reason.contains("the rule privileged"), "{reason}");
        assert_eq!(conduct.frozen, Some(reason));
        assert_eq!(conduct.note(&refusal(Rule::Privileged), CREATE, 300, 1), None, "it is told once");
    }
}
