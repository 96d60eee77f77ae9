//! Which processes descend from the agent: those the job's end has to end.
//!
//! Read from /proc, so that it is right as PID 1 and as an ordinary process, and never touches what is not ours.

use std::collections::HashMap;
use std::fs;

/// Living descendants of this process, zombies left out.
pub(crate) fn descendants() -> Vec<i32> {
    let Ok(folder) = fs::read_dir("/proc") else { return Vec::new() };
    let mut children: HashMap<i32, Vec<(i32, bool)>> = HashMap::new();
    for entry in folder.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        if let Some((state, parent)) = parse(&stat) {
            children.entry(parent).or_default().push((pid, state != 'Z' && state != 'X'));
        }
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
