//! The sandbox: holds a network namespace for the jobs that join it, and knows whether a job is placed in it.
//!
//! Each agent holds a connection to an abstract socket, which belongs to the network namespace, for as long as it
//! lives. A job's agent begins only after the sandbox has answered that nothing of another job is in it: no other
//! connection, and the files that the engine shares among all jobs of the sandbox are what they were at first. The
//! sandbox is a process of its own, out of every job's reach, so a job cannot make it say so.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as Name, UnixListener, UnixStream};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use longshore_core::DeniedAddresses;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::denied_addresses;
use crate::shared_files::SharedFiles;
use crate::sys;

const NAME: &[u8] = b"longshore-sandbox";
/// No sandbox has this many jobs; further connections wait.
const MAX_CONNECTIONS: usize = 64;
/// How long an agent waits for a sandbox that has only just been started, and for its answer. A sandbox of an earlier
/// version never answers.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause between two tries to connect.
const CONNECT_INTERVAL: Duration = Duration::from_millis(2);

/// What an agent says when it connects.
const CONDUCTOR: u8 = b'C';
const MEMBER: u8 = b'M';
/// What the sandbox answers a conductor that may begin.
const FIT: u8 = b'y';
const UNFIT: u8 = b'n';

/// The container that joins a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joins {
    /// A job's agent, the first of its pod.
    Conductor,
    /// The agent of a container beside the job's.
    Member,
}

/// Joins the sandbox of this network namespace; the agent is placed until the connection is dropped.
pub(crate) fn join(who: Joins) -> io::Result<UnixStream> {
    join_at(&Name::from_abstract_name(NAME)?, who)
}

fn join_at(address: &Name, who: Joins) -> io::Result<UnixStream> {
    let begun = Instant::now();
    let mut stream = loop {
        match UnixStream::connect_addr(address) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && begun.elapsed() < CONNECT_TIMEOUT => {
                thread::sleep(CONNECT_INTERVAL);
            }
            connected => break connected?,
        }
    };
    match who {
        Joins::Member => stream.write_all(&[MEMBER])?,
        Joins::Conductor => {
            stream.write_all(&[CONDUCTOR])?;
            stream.set_read_timeout(Some(CONNECT_TIMEOUT))?;
            let mut answer = [0];
            stream.read_exact(&mut answer)?;
            if answer[0] != FIT {
                return Err(io::Error::other("something of another job is in it"));
            }
        }
    }
    Ok(stream)
}

/// Holds the namespace until TERM, until nothing has been connected for `idle`, or until it is fit for no further job.
/// `denied` is what its jobs may not reach, except `allowed`.
pub(crate) fn run(idle: Option<Duration>, denied: &[DeniedAddresses], allowed: &[SocketAddr]) -> io::Result<ExitCode> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGCHLD])?;
    let listener = UnixListener::bind_addr(&Name::from_abstract_name(NAME)?)?;
    if let Err(error) = denied_addresses::deny(denied, allowed) {
        // `longshore doctor` finds out, from inside a job.
        let _ = writeln!(io::stderr(), "longshore sandbox: not every address is out of its jobs' reach: {error}");
    }
    sys::give_up_privileges()?;
    let files = SharedFiles::open(Path::new("/etc"));
    let handle = signals.handle();
    thread::Builder::new().name("placements".to_owned()).spawn(move || {
        // Whether it succeeds or fails, the sandbox has done its work.
        let _ = hold_while_used(&listener, idle, &files);
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

/// Counts connections until there has been none for `idle`, or until a conductor may not begin.
fn hold_while_used(listener: &UnixListener, idle: Option<Duration>, files: &SharedFiles) -> io::Result<()> {
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
        // After its first byte an agent sends nothing: any event on its connection is its end.
        let mut ended = ready.iter().skip(1);
        let before = placed.len();
        placed.retain(|_| ended.next() != Some(&true));
        if before > 0 && placed.is_empty() {
            unused_since = Instant::now();
        }
        if ready.first() == Some(&true) {
            let mut stream = listener.accept()?.0;
            match admit(&mut stream, placed.is_empty(), files) {
                Admission::Placed => placed.push(stream),
                Admission::Gone => {}
                Admission::Unfit => return Ok(()),
            }
        }
    }
}

/// The outcome of a connection.
enum Admission {
    Placed,
    /// It ended before it said who it is.
    Gone,
    /// Something of another job is in this sandbox.
    Unfit,
}

/// Hears who connects, and answers a conductor.
fn admit(stream: &mut UnixStream, is_empty: bool, files: &SharedFiles) -> Admission {
    let mut who = [0];
    // A process of a job may connect and say nothing; the sandbox serves its own pod alone, so it delays nobody else.
    if stream.set_read_timeout(Some(CONNECT_TIMEOUT)).and_then(|()| stream.read_exact(&mut who)).is_err() {
        return Admission::Gone;
    }
    if who[0] != CONDUCTOR {
        return Admission::Placed;
    }
    let fit = if is_empty { files.compare() } else { Err("a job is still in it".to_owned()) };
    let answer = if fit.is_ok() { FIT } else { UNFIT };
    if let Err(why) = &fit {
        let _ = writeln!(io::stderr(), "longshore sandbox: it is not as it was before its last job: {why}");
    }
    let answered = stream.write_all(&[answer]);
    match (fit, answered) {
        (Ok(()), Ok(())) => Admission::Placed,
        (Ok(()), Err(_)) => Admission::Gone,
        (Err(_), _) => Admission::Unfit,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn listener(name: &str) -> (Name, UnixListener) {
        let name = format!("longshore-sandbox-test-{name}-{}", std::process::id());
        let address = Name::from_abstract_name(name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        (address, listener)
    }

    fn held(listener: UnixListener, etc: &Path, idle: Option<Duration>) -> thread::JoinHandle<io::Result<()>> {
        let files = SharedFiles::open(etc);
        thread::spawn(move || hold_while_used(&listener, idle, &files))
    }

    /// Returns a sandbox of its own name that shares the files in `etc`.
    fn sandbox(name: &str, etc: &Path) -> (Name, thread::JoinHandle<io::Result<()>>) {
        let (address, listener) = listener(name);
        (address, held(listener, etc, None))
    }

    fn etc() -> tempfile::TempDir {
        let etc = tempfile::tempdir().unwrap();
        fs::write(etc.path().join("hosts"), "127.0.0.1 localhost\n").unwrap();
        etc
    }

    #[test]
    fn a_sandbox_lasts_while_someone_is_placed_and_ends_when_idle() {
        let etc = etc();
        let (address, listener) = listener("idle");
        // It is there before the sandbox's idle time begins.
        let first = join_at(&address, Joins::Member).unwrap();
        let sandbox = held(listener, etc.path(), Some(Duration::from_millis(50)));
        let second = join_at(&address, Joins::Member).unwrap();
        drop(first);
        thread::sleep(Duration::from_millis(150));
        assert!(!sandbox.is_finished());
        drop(second);
        sandbox.join().unwrap().unwrap();
    }

    #[test]
    fn a_job_does_not_begin_in_a_sandbox_whose_files_an_earlier_one_has_changed() {
        let etc = etc();
        let (address, sandbox) = sandbox("changed", etc.path());
        drop(join_at(&address, Joins::Conductor).unwrap());
        drop(join_at(&address, Joins::Conductor).expect("the first one left it as it was"));
        fs::write(etc.path().join("hosts"), "203.0.113.66 registry.example\n").unwrap();
        assert!(join_at(&address, Joins::Conductor).is_err());
        sandbox.join().unwrap().expect("it serves nobody again");
    }

    #[test]
    fn a_job_does_not_begin_beside_another() {
        let etc = etc();
        let (address, sandbox) = sandbox("beside", etc.path());
        let first = join_at(&address, Joins::Conductor).unwrap();
        assert!(join_at(&address, Joins::Conductor).is_err());
        drop(first);
        sandbox.join().unwrap().unwrap();
    }
}
