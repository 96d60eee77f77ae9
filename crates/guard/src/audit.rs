//! The audit log: a line of JSON for each request, each with the hash of the one before. Lines that are changed, left out, put in or
//! put elsewhere break the chain. What is cut off at the end is found by whoever has kept a later hash.
//!
//! An entry has no values of environments, no credentials and no bodies.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The hash that the first line follows.
pub const START: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What was asked, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// When the request came, in milliseconds since 1970.
    pub at: u64,
    /// Whose request it is: `job SCOPE` or `server INSTANCE`.
    pub client: String,
    pub method: String,
    /// The route, with stars where objects are named; the path itself, cut, if there is no such route.
    pub route: String,
    /// The object on the engine, by its full id or name, if there is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub object: String,
    pub decision: Outcome,
    /// The rule of a refusal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rule: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The status of the answer.
    pub status: u16,
    /// From the request's head to the answer's, in milliseconds.
    pub took: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Allowed,
    Denied,
    /// It was allowed, and the engine could not be reached or was not understood.
    Failed,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    number: u64,
    previous: String,
    entry: Entry,
    hash: String,
}

/// Where a chain has got to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The number of the last line; 0 if there is none.
    pub number: u64,
    pub hash: String,
}

impl Default for Chain {
    fn default() -> Self {
        Self { number: 0, hash: START.to_owned() }
    }
}

/// Why a chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("line {0} is not an entry of the audit log")]
    NotAnEntry(usize),
    #[error("line {0} does not follow the one before it: lines were left out, put in or moved")]
    NotNext(usize),
    #[error("line {0} was changed after it was written")]
    Changed(usize),
    #[error("line {0}, the last one, is cut off")]
    CutOff(usize),
}

impl Chain {
    /// The next line, with its end.
    ///
    /// # Errors
    /// The entry cannot be written as JSON.
    pub fn append(&mut self, entry: &Entry) -> serde_json::Result<String> {
        let number = self.number + 1;
        let hash = hash(number, &self.hash, entry)?;
        let line = Line { number, previous: self.hash.clone(), entry: entry.clone(), hash: hash.clone() };
        let mut text = serde_json::to_string(&line)?;
        text.push('\n');
        *self = Self { number, hash };
        Ok(text)
    }
}

fn hash(number: u64, previous: &str, entry: &Entry) -> serde_json::Result<String> {
    let mut hasher = Sha256::new();
    hasher.update(number.to_be_bytes());
    hasher.update(previous.as_bytes());
    hasher.update(serde_json::to_vec(entry)?);
    Ok(hex::encode(hasher.finalize()))
}

/// Verifies a log from its first line, and says where it has got to.
///
/// # Errors
/// The first line at which it does not hold.
pub fn verify(log: &str) -> Result<Chain, Broken> {
    let mut chain = Chain::default();
    for (at, text) in log.split_inclusive('\n').enumerate() {
        let at = at + 1;
        let Some(text) = text.strip_suffix('\n') else { return Err(Broken::CutOff(at)) };
        chain = follow(&chain, text, at)?;
    }
    Ok(chain)
}

/// Verifies one line that follows `chain`.
///
/// # Errors
/// It does not follow, or was changed. `at` numbers it in the error.
pub fn follow(chain: &Chain, text: &str, at: usize) -> Result<Chain, Broken> {
    let line: Line = serde_json::from_str(text).map_err(|_| Broken::NotAnEntry(at))?;
    if line.number != chain.number + 1 || line.previous != chain.hash {
        return Err(Broken::NotNext(at));
    }
    // The text itself must be what was written: another spelling of the same entry is a change.
    let written = Chain::append(&mut chain.clone(), &line.entry).map_err(|_| Broken::NotAnEntry(at))?;
    if written.trim_end_matches('\n') != text {
        return Err(Broken::Changed(at));
    }
    Ok(Chain { number: line.number, hash: line.hash })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(count: u64) -> Vec<String> {
        let mut chain = Chain::default();
        (0..count)
            .map(|at| {
                let entry = Entry {
                    at,
                    client: "job a".into(),
                    method: "POST".into(),
                    route: "containers/create".into(),
                    object: String::new(),
                    decision: if at % 2 == 0 { Outcome::Allowed } else { Outcome::Denied },
                    rule: "privileged".into(),
                    reason: "a \"reason\"".into(),
                    status: 403,
                    took: 1,
                };
                chain.append(&entry).unwrap()
            })
            .collect()
    }

    #[test]
    fn a_log_that_was_touched_anywhere_does_not_verify() {
        let lines = log(5);
        assert_eq!(verify(&lines.concat()).unwrap().number, 5);
        assert_eq!(verify("").unwrap(), Chain::default());
        let without = [&lines[..2], &lines[3..]].concat();
        assert_eq!(verify(&without.concat()), Err(Broken::NotNext(3)));
        let mut moved = lines.clone();
        moved.swap(1, 2);
        assert_eq!(verify(&moved.concat()), Err(Broken::NotNext(2)));
        assert_eq!(verify(&lines[1..].concat()), Err(Broken::NotNext(1)));
        let changed = lines.concat().replacen("\"denied\"", "\"allowed\"", 1);
        assert_eq!(verify(&changed), Err(Broken::Changed(2)));
        let spelled = lines.concat().replacen("\"at\":0", "\"at\": 0", 1);
        assert_eq!(verify(&spelled), Err(Broken::Changed(1)));
        let whole = lines.concat();
        assert_eq!(verify(&whole[..whole.len() - 3]), Err(Broken::CutOff(5)));
        assert_eq!(verify("nonsense\n"), Err(Broken::NotAnEntry(1)));
    }
}
