//! Finds the processes that descend from the agent, which have to end with the job.
//!
//! Read from /proc, so that it works both as PID 1 and as an ordinary process, and never touches foreign processes. In
//! a container, where the agent is PID 1, all other processes belong to the job or to someone who inspects it.

use std::collections::HashMap;
use std::fs;

/// Returns the living descendants of this process, without zombies.
pub(crate) fn descendants() -> Vec<i32> {
    let mut children: HashMap<i32, Vec<(i32, bool)>> = HashMap::new();
    for process in list_processes().unwrap_or_default() {
        children.entry(process.parent).or_default().push((process.pid, process.alive));
    }
    let mut found = Vec::new();
    let mut queue = vec![rustix::process::getpid().as_raw_nonzero().get()];
    while let Some(parent) = queue.pop() {
        for (pid, alive) in children.remove(&parent).unwrap_or_default() {
            queue.push(pid);
            if alive {
                found.push(pid);
            }
        }
    }
    found
}

/// Returns whether another process lives that could still write the files that the job's container shares with others.
/// `true` if unknown.
pub(crate) fn other_process_is_left() -> bool {
    if !rustix::process::getpid().is_init() {
        return !descendants().is_empty();
    }
    let own = rustix::process::getpid().as_raw_nonzero().get();
    list_processes().is_none_or(|all| all.iter().any(|process| process.alive && process.pid != own))
}

/// Returns the name and the resident bytes of the process with the most memory, except this one.
pub(crate) fn biggest() -> Option<(String, u64)> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let page = rustix::param::page_size() as u64;
    let resident = |pid: i32| {
        let pages = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        Some(pages.split(' ').nth(1)?.parse::<u64>().ok()? * page)
    };
    let others = list_processes()?.into_iter().filter(|process| process.alive && process.pid != own);
    let (bytes, pid) = others.filter_map(|process| Some((resident(process.pid)?, process.pid))).max()?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    // A process names itself.
    Some((name.trim_end().escape_debug().to_string(), bytes))
}

struct Process {
    pid: i32,
    parent: i32,
    alive: bool,
}

/// Returns all processes; `None` if they cannot be listed.
fn list_processes() -> Option<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").ok()? {
        let entry = entry.ok()?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        if let Some((state, parent)) = parse(&stat) {
            found.push(Process { pid, parent, alive: state != 'Z' && state != 'X' });
        }
    }
    Some(found)
}

/// Parses state and parent from a stat line. The name in it may contain anything, including spaces and parentheses.
fn parse(stat: &str) -> Option<(char, i32)> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_process_name_does_not_confuse_the_reader() {
        assert_eq!(parse("42 (a) S 1 (b) R 7 42 42 0"), Some(('R', 7)));
        assert_eq!(parse("42 (sh) S 9 42"), Some(('S', 9)));
        assert_eq!(parse(""), None);
    }
}
