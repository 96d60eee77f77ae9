//! Counts how often the kernel has killed a process of this container for memory.
//!
//! Only a change of the counter during a step counts. `job` reads it around each step.

use std::fs;

/// cgroup v2, then v1, as seen from inside a container.
const COUNTERS: [&str; 2] = ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];

/// Returns the counter; `None` if it cannot be read.
pub(crate) fn oom_kills() -> Option<u64> {
    COUNTERS.iter().find_map(|path| parse(&fs::read_to_string(path).ok()?))
}

/// Returns whether the counter rose; `false` if unknown.
pub(crate) fn rose(before: Option<u64>, after: Option<u64>) -> bool {
    matches!((before, after), (Some(before), Some(after)) if after > before)
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
