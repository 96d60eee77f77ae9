//! The chain of an audit log: a line of JSON for each entry, each with the hash of the line before. Lines that are
//! changed, left out, put in or put elsewhere break the chain. A cut at the end shows only to those who have kept a
//! later hash.
//!
//! The server's log and a guard's are chains of different entries. Nothing here knows what an entry says: it is
//! whatever JSON was written, byte for byte.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

/// The hash that the first line follows.
pub const START: &str = "0000000000000000000000000000000000000000000000000000000000000000";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    number: u64,
    previous: String,
    entry: Box<RawValue>,
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
    /// Returns the next line, without its end.
    ///
    /// # Errors
    /// The entry cannot be written as JSON.
    pub fn append(&mut self, entry: &impl Serialize) -> serde_json::Result<String> {
        let entry = serde_json::value::to_raw_value(entry)?;
        let number = self.number + 1;
        let hash = hash(number, &self.hash, &entry);
        let line = Line { number, previous: self.hash.clone(), entry, hash: hash.clone() };
        let text = serde_json::to_string(&line)?;
        *self = Self { number, hash };
        Ok(text)
    }

    /// Returns where a log begins whose older lines were removed: the place that its first line says it follows.
    ///
    /// # Errors
    /// The text is not a line of a log.
    pub fn before(first: &str) -> Result<Self, Broken> {
        let line: Line = serde_json::from_str(first).map_err(|_| Broken::NotAnEntry(1))?;
        let number = line.number.checked_sub(1).ok_or(Broken::NotAnEntry(1))?;
        if number == 0 { Ok(Self::default()) } else { Ok(Self { number, hash: line.previous }) }
    }

    /// Verifies one line, which has to be the next. `at` numbers it in the error.
    ///
    /// # Errors
    /// It does not follow, or was changed.
    pub fn follow(&self, text: &str, at: usize) -> Result<Self, Broken> {
        let line: Line = serde_json::from_str(text).map_err(|_| Broken::NotAnEntry(at))?;
        if line.number != self.number + 1 || line.previous != self.hash {
            return Err(Broken::NotNext(at));
        }
        // The text itself must be what was written: another spelling of the same line is a change.
        let mut next = self.clone();
        let written = next.append(&line.entry).map_err(|_| Broken::NotAnEntry(at))?;
        if written == text { Ok(next) } else { Err(Broken::Changed(at)) }
    }

    /// Verifies all lines of a log that continues here, and returns where it has got to.
    ///
    /// # Errors
    /// The first line at which it does not hold.
    pub fn follow_all(self, log: &str) -> Result<Self, Broken> {
        let mut chain = self;
        for (at, text) in log.split_inclusive('\n').enumerate() {
            let text = text.strip_suffix('\n').ok_or(Broken::CutOff(at + 1))?;
            chain = chain.follow(text, at + 1)?;
        }
        Ok(chain)
    }
}

fn hash(number: u64, previous: &str, entry: &RawValue) -> String {
    let mut hasher = Sha256::new();
    hasher.update(number.to_be_bytes());
    hasher.update(previous.as_bytes());
    hasher.update(entry.get().as_bytes());
    hex::encode(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn log(count: u64) -> Vec<String> {
        let mut chain = Chain::default();
        let entry = |at: u64| json!({"at": at, "decision": if at.is_multiple_of(2) { "allowed" } else { "denied" }, "reason": "a \"b\""});
        (0..count).map(|at| chain.append(&entry(at)).unwrap() + "\n").collect()
    }

    fn verify(log: &str) -> Result<Chain, Broken> {
        Chain::default().follow_all(log)
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
        for (written, spelled) in [("\"at\":0", "\"at\": 0"), ("{\"number\":1", "{ \"number\":1")] {
            assert_eq!(verify(&lines.concat().replacen(written, spelled, 1)), Err(Broken::Changed(1)), "{spelled}");
        }
        let whole = lines.concat();
        assert_eq!(verify(&whole[..whole.len() - 3]), Err(Broken::CutOff(5)));
        assert_eq!(verify("nonsense\n"), Err(Broken::NotAnEntry(1)));
    }

    #[test]
    fn what_is_left_of_a_log_verifies_from_where_it_begins() {
        let lines = log(5);
        let begins = Chain::before(lines[2].trim_end()).unwrap();
        assert_eq!(begins.number, 2);
        assert_eq!(begins.follow_all(&lines[2..].concat()), verify(&lines.concat()));
        assert_eq!(Chain::before(lines[0].trim_end()), Ok(Chain::default()));
        // A first line that claims to follow something else than the start.
        let forged = lines[0].replace(START, &"1".repeat(64));
        assert!(Chain::before(forged.trim_end()).unwrap().follow_all(&forged).is_err());
    }
}
