//! Faults, and their random schedule, which a seed determines.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::proxy::Trick;

/// A fault.
#[derive(Debug, Clone)]
pub enum Fault {
    /// SIGKILL after a while, whatever the server does.
    Kill { after: Duration },
    /// SIGKILL during a call to the engine.
    KillAt { call: (&'static str, &'static str), trick: Trick },
    /// SIGKILL during a restart: before, while and after the server looks for running jobs.
    KillInBoot { after: Duration },
    /// Closes every connection to the engine.
    Cut { after: Duration },
    /// The engine hangs for a while: it accepts everything and never answers.
    Hang { length: Duration },
    /// The engine is slow for a while.
    Slow { length: Duration, delay: Duration },
    /// The engine does what it was asked to, but its answer is lost.
    LoseAnswer { call: (&'static str, &'static str) },
}

impl Fault {
    /// Describes the fault for the figures.
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

/// The calls during a build: create, attach, start; look for running jobs; remove.
const CALLS: [(&str, &str); 6] = [
    ("POST", "/containers/create"),
    ("POST", "/attach"),
    ("POST", "/start"),
    ("GET", "/json"),
    ("DELETE", "/containers/"),
    ("DELETE", "/volumes/"),
];

/// Returns fault number `at` of a seed. About every seventh kill hits the server while it starts.
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
