//! Counts how often the kernel has killed a process of this container for memory, and finds out which process was the
//! largest.
//!
//! Only a change of the counter during a step counts. `job` reads it around each step. The kernel does not tell a
//! container which process it has killed, so a thread watches the processes while memory runs short.

use std::fs;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::processes;

/// cgroup v2, then v1, as seen from inside a container.
const OOM_KILL_FILES: [&str; 2] = ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];

/// Returns the counter; `None` if it cannot be read.
pub(crate) fn oom_kills() -> Option<u64> {
    OOM_KILL_FILES.iter().find_map(|path| parse(&fs::read_to_string(path).ok()?))
}

/// Returns whether the counter rose; `false` if unknown.
pub(crate) fn rose(before: Option<u64>, after: Option<u64>) -> bool {
    matches!((before, after), (Some(before), Some(after)) if after > before)
}

/// Makes the kernel kill what the agent starts before the agent: each process counts as if it used half of the memory
/// in addition to its own.
const AHEAD_OF_AGENT: i32 = 500;

/// The `oom_score_adj` of what the agent starts. A process may always raise its own.
pub(crate) fn score_of_children() -> i32 {
    let own =
        fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    i32::min(own + AHEAD_OF_AGENT, 1_000)
}

/// The files of a memory control group: its limit, its use, and its statistics with the entry for what the kernel can
/// reclaim. Version 2, then 1.
const CGROUP_FILES: [[&str; 4]; 2] = [
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat", "inactive_file "],
    [
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
        "total_inactive_file ",
    ],
];
/// A limit above this means no limit: version 1 writes a huge number.
const NO_LIMIT: u64 = 1 << 50;
/// How fast processes can fill memory, in bytes per millisecond: decides when to check again.
const FILLED_BYTES_PER_MS: u64 = 4 << 20;
const MIN_INTERVAL: Duration = Duration::from_millis(50);
const MAX_INTERVAL: Duration = Duration::from_secs(1);

/// A process that had more memory than the others.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LargestProcess {
    name: String,
    bytes: u64,
}

/// Watches the memory of this container.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The container's limit in bytes.
    limit: Option<u64>,
    /// The largest process when memory was last short.
    biggest: Arc<Mutex<Option<LargestProcess>>>,
}

impl Watch {
    /// Starts to watch. Without a limit there is nothing to watch.
    pub(crate) fn start() -> io::Result<Self> {
        let biggest = Arc::new(Mutex::new(None));
        let group = CGROUP_FILES.into_iter().find_map(|files| Some((files, number(files[0])?)));
        let limited = group.filter(|(_, limit)| *limit < NO_LIMIT);
        if let Some((files, limit)) = limited {
            let seen = Arc::clone(&biggest);
            thread::Builder::new().name("memory".to_owned()).spawn(move || watch(files, limit, &seen))?;
        }
        Ok(Self { limit: limited.map(|(_, limit)| limit), biggest })
    }

    /// Returns why memory ran out: the limit, and the largest process if one was seen.
    pub(crate) fn explain(&self) -> String {
        let limit = self.limit.map_or_else(
            || "the kernel killed a process because memory ran out; this container has no known limit".to_owned(),
            |limit| format!("out of memory: this container may use {} MiB", limit >> 20),
        );
        let biggest = self.biggest.lock().unwrap_or_else(PoisonError::into_inner).take();
        let biggest = biggest
            .map(|LargestProcess { name, bytes }| {
                format!("; the largest process was `{name}` with {} MiB", bytes >> 20)
            })
            .unwrap_or_default();
        let advice = self.limit.map_or("", |_| " (request more with `resources: { memory: ... }`)");
        format!("{limit}{biggest}{advice}")
    }
}

/// Remembers the largest process whenever less than a quarter of the memory is left.
fn watch([_, used, statistics, reclaimable]: [&str; 4], limit: u64, biggest: &Mutex<Option<LargestProcess>>) {
    let mut was_short = false;
    while let Some(used) = number(used) {
        let text = fs::read_to_string(statistics).unwrap_or_default();
        let cached = text.lines().find_map(|line| line.strip_prefix(reclaimable)?.parse::<u64>().ok()).unwrap_or(0);
        let left = limit.saturating_sub(used.saturating_sub(cached));
        let is_short = left < limit / 4;
        if is_short && let Some((name, bytes)) = processes::biggest() {
            let mut biggest = biggest.lock().unwrap_or_else(PoisonError::into_inner);
            // A process that was killed gives its memory back before the group's use falls.
            if !was_short || biggest.as_ref().is_none_or(|before| bytes > before.bytes) {
                *biggest = Some(LargestProcess { name, bytes });
            }
        }
        was_short = is_short;
        thread::sleep(Duration::from_millis(left / FILLED_BYTES_PER_MS).clamp(MIN_INTERVAL, MAX_INTERVAL));
    }
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn parse(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_cgroup_versions_are_read() {
        assert_eq!(parse("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\n"), Some(2));
        assert_eq!(parse("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"), Some(1));
        assert_eq!(parse("oom_kill_disable 0\nunder_oom 0\n"), None);
        assert!(rose(Some(1), Some(2)) && !rose(Some(2), Some(2)) && !rose(None, Some(2)));
    }
}
