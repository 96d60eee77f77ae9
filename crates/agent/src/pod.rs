//! The pod, as its conductor sees it: the members that have joined, and the sessions with their agents.
//!
//! The conductor is the job's agent. Members join over an abstract socket in the network namespace of the pod, each
//! with a key of its own. The conductor is a client of each, as a runner is of the conductor: it sends the plan, and
//! takes what the member reports. `job` calls this; one thread waits for members that join.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::thread;
use std::time::Duration;

use longshore_agent_protocol::pod::PodSecret;
use longshore_agent_protocol::{
    FromAgent, FromAgentDecoder, JobSpec, MemberId, ToAgent, VERSION, encode_marker, encode_to_agent,
};

use crate::wake::{Event, Mailbox};

/// How long a connection may take to send its key, on a machine that has much else to do.
const KEY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a member may take to read what it is sent. Its agent always reads.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// A member has one session only: it ends together with its conductor.
const SESSION: u32 = 1;
/// The most bytes read from a member at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Connects a member's agent to its conductor, which may not listen yet.
pub(crate) fn join(address: &str, key: [u8; 16]) -> io::Result<UnixStream> {
    let address = SocketAddr::from_abstract_name(address)?;
    let mut pause = Duration::from_millis(2);
    loop {
        match UnixStream::connect_addr(&address) {
            Ok(mut stream) => {
                stream.write_all(&key)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            Err(error) => return Err(error),
        }
    }
}

/// The members of a job's pod.
#[derive(Debug, Default)]
pub(crate) struct Pod {
    secret: PodSecret,
    /// Members that have joined and wait for their plans.
    joined: HashMap<MemberId, UnixStream>,
    links: Vec<Link>,
    /// Why members cannot be started.
    failed: HashMap<MemberId, String>,
    /// Members whose link has ended.
    gone: HashSet<MemberId>,
}

/// A session with a member's agent.
#[derive(Debug)]
struct Link {
    member: MemberId,
    stream: UnixStream,
    decoder: FromAgentDecoder,
}

impl Pod {
    /// Begins to listen for the members of the pod.
    pub(crate) fn listen(&mut self, secret: PodSecret, members: Vec<MemberId>, mailbox: Mailbox) -> io::Result<()> {
        self.secret = secret;
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(secret.conductor_address())?)?;
        let keys: HashMap<[u8; 16], MemberId> =
            members.into_iter().map(|member| (secret.member_key(member), member)).collect();
        thread::Builder::new().name("members".to_owned()).spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else {
                    thread::sleep(Duration::from_millis(50));
                    continue;
                };
                if let Some((member, stream)) = greet(stream, &keys) {
                    mailbox.post(Event::Joined(member, stream));
                }
            }
        })?;
        Ok(())
    }

    /// Adds a member that has joined, unless one with this id has joined before or is gone.
    pub(crate) fn add(&mut self, member: MemberId, stream: UnixStream) {
        if !self.links.iter().any(|link| link.member == member) && !self.gone.contains(&member) {
            self.joined.entry(member).or_insert(stream);
        }
    }

    /// Records that a member cannot be started. Does nothing if it has joined: it then reports its own end.
    pub(crate) fn fail(&mut self, member: MemberId, message: String) {
        if !self.has_joined(member) && !self.links.iter().any(|link| link.member == member) {
            self.failed.insert(member, message);
        }
    }

    pub(crate) fn has_joined(&self, member: MemberId) -> bool {
        self.joined.contains_key(&member)
    }

    /// Returns why the member cannot be started.
    pub(crate) fn failure(&self, member: MemberId) -> Option<&str> {
        self.failed.get(&member).map(String::as_str)
    }

    /// Returns whether the member's agent is gone, or has been dismissed.
    pub(crate) fn is_gone(&self, member: MemberId) -> bool {
        self.gone.contains(&member)
    }

    /// Sends the plan to a member that has joined. If that fails, the member counts as gone.
    pub(crate) fn start(&mut self, member: MemberId, plan: JobSpec) {
        let Some(stream) = self.joined.remove(&member) else { return };
        let key = self.secret.member_key(member);
        let mut bytes = Vec::new();
        encode_marker(key, &mut bytes);
        let hello = ToAgent::Hello { version: VERSION, last_seq: 0, nonce: key };
        let encoded = encode_to_agent(SESSION, &hello, &mut bytes)
            .and_then(|()| encode_to_agent(SESSION, &ToAgent::Plan(Box::new(plan)), &mut bytes));
        let sent = encoded.map_err(io::Error::other).and_then(|()| {
            stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
            (&stream).write_all(&bytes)
        });
        match sent {
            Ok(()) => self.links.push(Link { member, stream, decoder: FromAgentDecoder::new(SESSION, key, 0) }),
            Err(_) => drop(self.gone.insert(member)),
        }
    }

    /// Tells a member to stop its process: TERM, grace period, KILL.
    pub(crate) fn cancel(&mut self, member: MemberId) {
        if let Some(link) = self.links.iter().find(|link| link.member == member) {
            let _ = link.send(&ToAgent::Cancel);
        }
    }

    /// Closes the link to a member, whose agent then ends all its processes.
    pub(crate) fn dismiss(&mut self, member: MemberId) {
        self.joined.remove(&member);
        self.links.retain(|link| link.member != member);
        self.gone.insert(member);
    }

    /// Returns the links to wait for.
    pub(crate) fn links(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.links.iter().map(|link| link.stream.as_fd())
    }

    pub(crate) fn link_count(&self) -> usize {
        self.links.len()
    }

    /// Reads once from the link at `index`, which is readable. Passes on what its member reports.
    pub(crate) fn read<E>(
        &mut self,
        index: usize,
        buffer: &mut Vec<u8>,
        mut pass_on: impl FnMut(MemberId, FromAgent) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(link) = self.links.get_mut(index) else { return Ok(()) };
        buffer.resize(CHUNK_BYTES, 0);
        let member = link.member;
        let mut last_seq = 0;
        let usable = match (&link.stream).read(buffer) {
            Ok(0) => false,
            Ok(count) => {
                link.decoder.push(&buffer[..count]);
                loop {
                    match link.decoder.next() {
                        None => break true,
                        Some(Ok(item)) => {
                            last_seq = last_seq.max(item.seq);
                            pass_on(member, item.message)?;
                        }
                        Some(Err(_)) => break false,
                    }
                }
            }
            Err(error) => error.kind() == io::ErrorKind::Interrupted,
        };
        let acknowledged = last_seq == 0 || link.send(&ToAgent::Ack { seq: last_seq }).is_ok();
        if !(usable && acknowledged) {
            self.dismiss(member);
        }
        Ok(())
    }
}

impl Link {
    fn send(&self, message: &ToAgent) -> io::Result<()> {
        let mut frame = Vec::new();
        encode_to_agent(SESSION, message, &mut frame).map_err(io::Error::other)?;
        (&self.stream).write_all(&frame)
    }
}

/// Reads a connection's key, and returns the member that the key belongs to. Every other connection is closed.
fn greet(mut stream: UnixStream, keys: &HashMap<[u8; 16], MemberId>) -> Option<(MemberId, UnixStream)> {
    let mut key = [0; 16];
    stream.set_read_timeout(Some(KEY_TIMEOUT)).ok()?;
    stream.read_exact(&mut key).ok()?;
    stream.set_read_timeout(None).ok()?;
    Some((*keys.get(&key)?, stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_has_joined_cannot_be_marked_failed_by_the_runner() {
        let mut pod = Pod::default();
        let (joined, absent) = (MemberId::Service(0), MemberId::Service(1));
        pod.add(joined, UnixStream::pair().unwrap().0);
        pod.fail(joined, "gone".to_owned());
        pod.fail(absent, "gone".to_owned());
        assert_eq!((pod.failure(joined), pod.failure(absent)), (None, Some("gone")));
    }
}
