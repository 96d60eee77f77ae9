//! System calls without a safe wrapper: `wait4`, SO_BINDTODEVICE, changing the user between fork and exec, the agent's
//! own ids, and descriptors by number.
//!
//! All unsafe code of this crate is here. Called by `reaper`, `step` and at the start.

#![expect(
    unsafe_code,
    reason = "wait4, setsockopt, pre_exec, setresuid, kill of everyone and descriptors by number have no safe form"
)]

use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::account::{self, Account};
use crate::memory;

/// A child that ended, with its resource usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reaped {
    pub(crate) pid: i32,
    pub(crate) end: End,
    pub(crate) cpu_ms: u64,
    pub(crate) peak_memory_bytes: u64,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Exited(i32),
    Signaled(i32),
}

/// Reaps one child that has ended, if there is one. Never waits.
pub(crate) fn reap_one() -> Option<Reaped> {
    loop {
        let mut status = 0;
        // SAFETY: all zeroes is a valid rusage (plain numbers).
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to live, writable locals of the right types.
        let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage) };
        if pid <= 0 {
            return None;
        }
        let end = if libc::WIFEXITED(status) {
            End::Exited(libc::WEXITSTATUS(status))
        } else if libc::WIFSIGNALED(status) {
            End::Signaled(libc::WTERMSIG(status))
        } else {
            continue;
        };
        let cpu_ms = millis(usage.ru_utime) + millis(usage.ru_stime);
        let peak_memory_bytes = u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024;
        return Some(Reaped { pid, end, cpu_ms, peak_memory_bytes });
    }
}

/// Lets a socket send by this interface only.
pub(crate) fn bind_to_device(socket: &impl AsRawFd, interface: &str) -> io::Result<()> {
    let length = libc::socklen_t::try_from(interface.len()).map_err(io::Error::other)?;
    // SAFETY: the pointer is to that many live bytes, and the descriptor is open.
    let set = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_BINDTODEVICE, interface.as_ptr().cast(), length)
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes `command` run in its own session (and so process group) as `account`, with the terminal on its standard input
/// as controlling terminal, if it has one. When memory runs out, the kernel ends it before it ends the agent.
pub(crate) fn detach_as(command: &mut Command, account: &Account, terminal: bool) {
    let (uid, gid) = (account.uid, account.gid);
    let groups = account.groups.clone();
    let become_user = account::differs_from_ours(account);
    let out_of_memory_score = memory::score_of_children().to_string();
    // SAFETY: the closure runs between fork and exec; it makes plain system calls on values made before, and allocates
    // nothing.
    unsafe {
        command.pre_exec(move || {
            check(libc::setsid())?;
            if terminal {
                check(libc::ioctl(0, libc::TIOCSCTTY, 0))?;
            }
            prefer_to_end(out_of_memory_score.as_bytes());
            if become_user {
                check(libc::setgroups(groups.len(), groups.as_ptr()))?;
                check(libc::setgid(gid))?;
                check(libc::setuid(uid))?;
            }
            Ok(())
        });
    }
}

/// Writes this process's part in the kernel's choice of what to end when memory runs out. Where that is not possible,
/// the choice stays the kernel's. Makes plain system calls, and allocates nothing.
fn prefer_to_end(score: &[u8]) {
    // SAFETY: the path ends with a null byte, `score` is a live slice, and the descriptor is this function's own.
    unsafe {
        let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if file >= 0 {
            libc::write(file, score.as_ptr().cast(), score.len());
            libc::close(file);
        }
    }
}

/// Makes `command` exec its program directly or fail. Otherwise a shell would run a file that the kernel does not
/// accept as a program.
pub(crate) fn exec_without_shell(command: &mut Command) -> io::Result<()> {
    let string = |parts: &[&[u8]]| CString::new(parts.concat()).map_err(io::Error::other);
    let program = string(&[command.get_program().as_bytes()])?;
    let mut arguments = vec![program.clone()];
    for argument in command.get_args() {
        arguments.push(string(&[argument.as_bytes()])?);
    }
    let mut env = Vec::new();
    for (name, value) in command.get_envs() {
        env.push(string(&[name.as_bytes(), b"=", value.unwrap_or_default().as_bytes()])?);
    }
    // Addresses as numbers, because pointers cannot be sent between threads.
    let addresses = |strings: &[CString]| {
        strings.iter().map(|string| string.as_ptr().expose_provenance()).chain([0]).collect::<Vec<usize>>()
    };
    let (argv, envp) = (addresses(&arguments), addresses(&env));
    // SAFETY: the closure runs between fork and exec and allocates nothing. Both arrays end with a null pointer, and
    // the strings that they point to live as long as the closure, which owns them.
    unsafe {
        command.pre_exec(move || {
            let _owned = (&arguments, &env);
            check(libc::execve(program.as_ptr(), argv.as_ptr().cast(), envp.as_ptr().cast()))
        });
    }
    Ok(())
}

/// Where real and saved ids are taken from: ids that no system assigns, then ids that even the smallest user namespaces
/// have.
const OWN_IDS: [u32; 2] = [3 << 30, 65_500];

/// Gives the agent real and saved ids that nobody else has; its effective ids stay root's.
///
/// The kernel lets a process set another's limits, or inspect it, without a capability if its ids equal all three of
/// the other's (`check_prlimit_permission`, `__ptrace_may_access`). A step may be root, or may become any user. The
/// agent's three ids differ from each other, so no process can match them. Files that the agent creates are owned by
/// its effective ids, and steps set all three of theirs.
///
/// Without permission, the ids stay as they are.
pub(crate) fn take_own_ids() {
    if rustix::process::geteuid().as_raw() != 0 {
        return;
    }
    for real in OWN_IDS {
        // SAFETY: plain system calls on numbers. The C library sets the ids of all threads.
        let taken = unsafe { libc::setresgid(real, 0, real + 1) == 0 && libc::setresuid(real, 0, real + 1) == 0 };
        if taken {
            return;
        }
    }
}

/// Gives up all rights of root for good: the ids become nobody's, which also drops all capabilities.
pub(crate) fn give_up_privileges() -> io::Result<()> {
    const NOBODY: u32 = 65534;
    if rustix::process::geteuid().as_raw() != 0 {
        return Ok(());
    }
    // SAFETY: plain system calls on numbers; an empty list has no elements that could be read. The C library sets the
    // ids of all threads.
    unsafe {
        check(libc::setgroups(0, std::ptr::null()))?;
        check(libc::setresgid(NOBODY, NOBODY, NOBODY))?;
        check(libc::setresuid(NOBODY, NOBODY, NOBODY))
    }
}

/// Kills everyone in the agent's PID namespace at once, so that no process can outrun it. Only as PID 1.
pub(crate) fn kill_everyone() {
    if rustix::process::getpid().is_init() {
        // SAFETY: a plain system call; -1 leaves out the caller.
        unsafe { libc::kill(-1, libc::SIGKILL) };
    }
}

/// Marks all inherited descriptors except the three standard ones close-on-exec. (The agent's own are created so.)
pub(crate) fn keep_descriptors_from_children() -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Some(fd) = entry?.file_name().to_str().and_then(|name| name.parse::<libc::c_int>().ok()) else { continue };
        if fd > 2 {
            // SAFETY: sets a flag of a descriptor by its number; one that is closed meanwhile gives an error, and
            // nothing else.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn millis(time: libc::timeval) -> u64 {
    u64::try_from(time.tv_sec * 1000 + time.tv_usec / 1000).unwrap_or(0)
}
