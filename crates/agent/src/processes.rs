//! Which processes descend from the agent: those the job's end has to end.
//!
//! Read from /proc, so that it is right as PID 1 and as an ordinary process, and never touches what is not ours.
//! A container's PID 1 knows that all others in there are the job's, or somebody's who looks at it.

use std::collections::HashMap;
use std::fs;

/// Living descendants of this process, zombies left out.
pub(crate) fn descendants() -> Vec<i32> {
    let mut children: HashMap<i32, Vec<(i32, bool)>> = HashMap::new();
    for process in all().unwrap_or_default() {
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

/// Whether another process lives that could still write what the job's container shares with others. What cannot be told is yes.
pub(crate) fn someone_is_left() -> bool {
    if !rustix::process::getpid().is_init() {
        return !descendants().is_empty();
    }
    let own = rustix::process::getpid().as_raw_nonzero().get();
    all().is_none_or(|all| all.iter().any(|process| process.alive && process.pid != own))
}

struct Process {
    pid: i32,
    parent: i32,
    alive: bool,
}

/// Every process there is; nothing where they cannot be listed.
fn all() -> Option<Vec<Process>> {
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

/// State and parent of a stat line. The name in it may hold anything, spaces and parentheses too.
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
