//! What goes wrong and when: a schedule from a seed.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::proxy::Trick;

/// One thing that goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// SIGKILL after a while, wherever the server is.
    Kill { after: Duration },
    /// SIGKILL in the middle of a call to the engine.
    KillAt { call: (&'static str, &'static str), trick: Trick },
    /// SIGKILL while it starts again: before, while and after it looks for what ran.
    KillInBoot { after: Duration },
    /// Every connection to the engine ends.
    Cut { after: Duration },
    /// The engine hangs for a while: it takes everything and says nothing.
    Hang { length: Duration },
    /// The engine is slow for a while.
    Slow { length: Duration, delay: Duration },
    /// The engine does what it was asked, and its answer is lost.
    LoseAnswer { call: (&'static str, &'static str) },
}

impl Fault {
    /// A few words, for the figures.
    pub fn name(&self) -> String {
        match self {
            Self::Kill { .. } => "kill at any moment".to_owned(),
            Self::KillAt { call: (method, path), trick } => {
                let when = if *trick == Trick::HoldBefore { "before" } else { "after" };
                format!("kill {when} {method} {path}")
            }
            Self::KillInBoot { .. } => "kill while starting".to_owned(),
            Self::Cut { .. } => "cut all connections".to_owned(),
            Self::Hang { .. } => "an engine that hangs".to_owned(),
            Self::Slow { .. } => "an engine that is slow".to_owned(),
            Self::LoseAnswer { call: (method, path) } => format!("lose the answer of {method} {path}"),
        }
    }

    pub fn kills(&self) -> bool {
        matches!(self, Self::Kill { .. } | Self::KillAt { .. } | Self::KillInBoot { .. })
    }
}

/// The calls of a build: creating, attaching, starting; looking for what ran; removing.
const CALLS: [(&str, &str); 6] = [
    ("POST", "/containers/create"),
    ("POST", "/attach"),
    ("POST", "/start"),
    ("GET", "/json"),
    ("DELETE", "/containers/"),
    ("DELETE", "/volumes/"),
];

/// The `at`th fault of a seed. Every seventh kill or so hits the server while it starts.
pub fn fault(seed: u64, at: u64) -> Fault {
    let mut random = StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(at));
    let call = CALLS[random.random_range(0..CALLS.len())];
    match random.random_range(0..22) {
        0..=7 => Fault::Kill { after: Duration::from_millis(random.random_range(50..1500)) },
        8..=13 => {
            let trick = if random.random_bool(0.5) { Trick::HoldBefore } else { Trick::HoldAfter };
            Fault::KillAt { call, trick }
        }
        14..=16 => Fault::KillInBoot { after: Duration::from_millis(random.random_range(5..250)) },
        17..=18 => Fault::Cut { after: Duration::from_millis(random.random_range(50..800)) },
        19 => Fault::Hang { length: Duration::from_millis(random.random_range(500..4000)) },
        20 => {
            let length = Duration::from_millis(random.random_range(500..2000));
            Fault::Slow { length, delay: Duration::from_millis(random.random_range(20..200)) }
        }
        _ => Fault::LoseAnswer { call },
    }
}
