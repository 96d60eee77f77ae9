//! The sandbox: holds a network namespace for the jobs that join it, and knows whether a job is placed in it.
//!
//! Each agent holds a connection to an abstract socket, which belongs to the network namespace, for as long as it
//! lives.

use std::io;
use std::os::fd::AsFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::sys;

const NAME: &[u8] = b"longshore-sandbox";
/// No sandbox has this many jobs; further connections wait.
const MAX_CONNECTIONS: usize = 64;

/// Connects to the sandbox; the job is placed until the connection is dropped. Returns `None` if this network namespace
/// has no sandbox.
pub(crate) fn place() -> Option<UnixStream> {
    let address = SocketAddr::from_abstract_name(NAME).ok()?;
    UnixStream::connect_addr(&address).ok()
}

/// Holds the namespace until TERM, or until nothing has been connected for `idle`.
pub(crate) fn run(idle: Option<Duration>) -> io::Result<ExitCode> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGCHLD])?;
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(NAME)?)?;
    let handle = signals.handle();
    thread::Builder::new().name("placements".to_owned()).spawn(move || {
        // Whether it succeeds or fails, the sandbox is of no use any more.
        let _ = hold_while_used(&listener, idle);
        handle.close();
    })?;
    for signal in signals.forever() {
        if signal != SIGCHLD {
            break;
        }
        while sys::reap_one().is_some() {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Counts connections until there has been none for `idle`.
fn hold_while_used(listener: &UnixListener, idle: Option<Duration>) -> io::Result<()> {
    let mut placed: Vec<UnixStream> = Vec::new();
    let mut unused_since = Instant::now();
    loop {
        let timeout = idle.filter(|_| placed.is_empty()).map(|idle| idle.saturating_sub(unused_since.elapsed()));
        if timeout.is_some_and(|left| left.is_zero()) {
            return Ok(());
        }
        let timeout = timeout.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let accepting = if placed.len() < MAX_CONNECTIONS { PollFlags::IN } else { PollFlags::empty() };
        let mut waiting = vec![PollFd::from_borrowed_fd(listener.as_fd(), accepting)];
        waiting.extend(placed.iter().map(|stream| PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN)));
        match poll(&mut waiting, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = waiting.iter().map(|waited| !waited.revents().is_empty()).collect();
        // An agent sends nothing: any event on its connection is its end.
        let mut ended = ready.iter().skip(1);
        let before = placed.len();
        placed.retain(|_| ended.next() != Some(&true));
        if before > 0 && placed.is_empty() {
            unused_since = Instant::now();
        }
        if ready.first() == Some(&true) {
            placed.push(listener.accept()?.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_lasts_while_someone_is_placed_and_ends_when_idle() {
        let address = SocketAddr::from_abstract_name(format!("longshore-sandbox-test-{}", std::process::id())).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let first = UnixStream::connect_addr(&address).unwrap();
        let sandbox = thread::spawn(move || hold_while_used(&listener, Some(Duration::from_millis(50))));
        let second = UnixStream::connect_addr(&address).unwrap();
        drop(first);
        thread::sleep(Duration::from_millis(150));
        assert!(!sandbox.is_finished());
        drop(second);
        sandbox.join().unwrap().unwrap();
    }
}
