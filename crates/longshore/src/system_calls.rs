//! The system calls that a server's guard does without. It runs no other program, speaks to sockets of this host alone,
//! and reads no other process's memory, even after an attacker has taken it over.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

/// Refused whatever their arguments are. `io_uring` would do the others' work unseen.
const REFUSED: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_io_uring_setup,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_open_by_handle_at,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
];

/// Refuses them from here on, for this thread and all that it starts.
///
/// # Errors
/// The kernel has no such filters.
pub(crate) fn give_up() -> Result<(), String> {
    let filter = filter().map_err(|error| error.to_string())?;
    apply_filter(&filter).map_err(|error| error.to_string())
}

fn filter() -> Result<BpfProgram, seccompiler::Error> {
    let family = u64::try_from(libc::AF_UNIX).unwrap_or_default();
    let elsewhere = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, family)?;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(vec![elsewhere])?]);
    let refusal = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refusal, std::env::consts::ARCH.try_into()?)?;
    Ok(filter.try_into()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_program_is_run_and_no_other_host_is_spoken_to() {
        let given_up = std::thread::spawn(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            give_up().unwrap();
            assert!(std::net::TcpListener::bind("127.0.0.1:0").is_err());
            assert!(std::process::Command::new("/bin/true").status().is_err());
            assert!(std::os::unix::net::UnixStream::pair().is_ok());
            std::thread::spawn(|| assert!(std::net::UdpSocket::bind("127.0.0.1:0").is_err())).join().unwrap();
        });
        given_up.join().unwrap();
        assert!(std::net::TcpListener::bind("127.0.0.1:0").is_ok(), "other threads are as they were");
    }
}
