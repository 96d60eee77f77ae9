//! Finds out which of the other processes of Longshore may open the engine's socket. Shown by `longshore doctor`.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::separation;

/// Root's right to open what is not its own.
const DAC_OVERRIDE: u64 = 1 << 1;

/// A running Longshore.
#[derive(Debug, PartialEq, Eq)]
struct Process {
    id: u32,
    /// The role: `server`, `guard`, `first process`.
    role: &'static str,
    user: u32,
    groups: Vec<u32>,
    capabilities: u64,
    no_new_privileges: bool,
}

/// A socket's owner, its group, and what each may.
struct Socket {
    user: u32,
    group: u32,
    mode: u32,
}

impl Process {
    fn may_open(&self, socket: &Socket) -> bool {
        let bits = match () {
            () if self.capabilities & DAC_OVERRIDE != 0 => return true,
            () if self.user == socket.user => socket.mode >> 6,
            () if self.groups.contains(&socket.group) => socket.mode >> 3,
            () => socket.mode,
        };
        bits & 0o6 == 0o6
    }
}

/// Returns what is found, and what to do about it. `None` if no server runs here.
pub(super) fn check(docker_host: &str) -> Option<(String, Option<String>)> {
    let path = PathBuf::from(docker_host.strip_prefix("unix://")?);
    let metadata = fs::metadata(&path).ok()?;
    let socket = Socket { user: metadata.uid(), group: metadata.gid(), mode: metadata.mode() };
    judge(&path, &socket, &processes())
}

fn judge(path: &Path, socket: &Socket, processes: &[Process]) -> Option<(String, Option<String>)> {
    let is_server = |process: &&Process| process.role == "server";
    let server = processes.iter().find(is_server)?;
    let list = |may: bool| {
        let names = processes.iter().filter(|process| process.may_open(socket) == may).map(|process| {
            let rights = if process.no_new_privileges { "" } else { ", may get new privileges" };
            format!("the {} ({}, user {}{rights})", process.role, process.id, process.user)
        });
        Some(names.collect::<Vec<_>>().join(", ")).filter(|list| !list.is_empty())
    };
    let (may, may_not) = (list(true), list(false));
    let message = format!(
        "{} may be opened by {}, and not by {}",
        path.display(),
        may.as_deref().unwrap_or("none of them"),
        may_not.as_deref().unwrap_or("none of them")
    );
    let advice = "start the container as root, with the group of the socket or its owner allowed to use it, so that a guard can hold it for the server; or give a guard a container of its own (docker/compose.yaml)";
    Some((message, server.may_open(socket).then(|| advice.to_owned())))
}

fn processes() -> Vec<Process> {
    let in_container = separation::in_container();
    let here = fs::read_link("/proc/self/ns/mnt").ok();
    let is_here = |folder: &Path| fs::read_link(folder.join("ns/mnt")).is_ok_and(|namespace| Some(namespace) == here);
    let mut processes: Vec<Process> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let folder = entry.ok()?.path();
            let id: u32 = folder.file_name()?.to_str()?.parse().ok().filter(|id| *id != std::process::id())?;
            let words = fs::read(folder.join("cmdline")).ok()?;
            let role = role(&String::from_utf8_lossy(&words))?;
            // On a host, processes in containers are left to a doctor in their container. In a container, all that are
            // visible are its own.
            (in_container || is_here(&folder)).then_some(())?;
            read(id, role, &fs::read_to_string(folder.join("status")).ok()?)
        })
        .collect();
    processes.sort_by_key(|process| process.id);
    // A server behind its guard has a parent that was started as `serve`, too. Without such a server, the parent is the
    // server.
    let has_both = processes.iter().any(|process| process.role == "server");
    processes
        .iter_mut()
        .filter(|process| process.role == "first process" && !has_both)
        .for_each(|process| process.role = "server");
    processes
}

fn role(cmdline: &str) -> Option<&'static str> {
    let words: Vec<&str> = cmdline.split('\0').collect();
    let program = Path::new(words.first()?).file_name()?;
    if program != "longshore" {
        return None;
    }
    match *words.get(1)? {
        "guard" => Some("guard"),
        "serve" if words.contains(&"--behind-guard") => Some("server"),
        "serve" => Some("first process"),
        _ => None,
    }
}

fn read(id: u32, role: &'static str, status: &str) -> Option<Process> {
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let numbers = |name| line(name).unwrap_or_default().split_whitespace().filter_map(|text| text.parse().ok());
    // The second of four is the effective one.
    let groups = numbers("Gid").nth(1).into_iter().chain(numbers("Groups")).collect();
    Some(Process {
        id,
        role,
        user: numbers("Uid").nth(1)?,
        groups,
        capabilities: u64::from_str_radix(line("CapEff")?.trim(), 16).ok()?,
        no_new_privileges: line("NoNewPrivs").is_some_and(|text| text.trim() == "1"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(role: &'static str, user: u32, groups: &[u32], capabilities: u64) -> Process {
        Process { id: 7, role, user, groups: groups.to_vec(), capabilities, no_new_privileges: true }
    }

    #[test]
    fn who_may_open_a_socket_follows_from_owner_group_and_capabilities() {
        let socket = Socket { user: 0, group: 999, mode: 0o140_660 };
        assert!(process("guard", 8081, &[999], 0).may_open(&socket));
        assert!(!process("server", 8080, &[8080], 0).may_open(&socket));
        assert!(process("server", 8080, &[8080], DAC_OVERRIDE).may_open(&socket));
        assert!(process("first process", 0, &[0], 0).may_open(&socket));
        assert!(process("server", 8080, &[8080], 0).may_open(&Socket { mode: 0o666, ..socket }));
    }

    #[test]
    fn a_server_that_holds_the_socket_itself_is_told_of() {
        let socket = Socket { user: 0, group: 999, mode: 0o660 };
        let judged = |server| judge(Path::new("/s"), &socket, &[process("guard", 8081, &[999], 0), server]);
        let (message, advice) = judged(process("server", 8080, &[8080], 0)).unwrap();
        assert_eq!(message, "/s may be opened by the guard (7, user 8081), and not by the server (7, user 8080)");
        assert_eq!(advice, None);
        assert!(judged(process("server", 0, &[0], DAC_OVERRIDE)).unwrap().1.is_some());
        assert_eq!(super::judge(Path::new("/s"), &socket, &[]), None);
    }

    #[test]
    fn processes_are_known_by_their_words() {
        assert_eq!(role("/usr/local/bin/longshore\0serve\0"), Some("first process"));
        assert_eq!(role("longshore\0serve\0--behind-guard\0/run/longshore/docker.sock\0"), Some("server"));
        assert_eq!(role("longshore\0guard\0--server\0"), Some("guard"));
        assert_eq!(role("longshore\0doctor\0"), None);
        assert_eq!(role("sh\0serve\0"), None);
        let status = "Name:\tx\nUid:\t0\t8080\t0\t0\nGid:\t1\t8080\t1\t1\nGroups:\t5 6\nNoNewPrivs:\t1\nCapEff:\t0000000000000002\n";
        let read = read(7, "server", status).unwrap();
        assert_eq!(read, process("server", 8080, &[8080, 5, 6], 2));
    }
}
