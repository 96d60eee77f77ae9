//! What `longshore doctor` has run in a container of a job's kind: what the kernel holds it to, and whom it reaches.
//!
//! A step's shell: its script's lines are questions, each answered with a line.

use std::fs;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

/// How long a connection may take that nobody lets through.
const PATIENCE: Duration = Duration::from_secs(2);

/// Answers the script's questions in their order.
pub(crate) fn run(script: &Path) -> io::Result<()> {
    let text = fs::read_to_string(script)?;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("limits"), None) => limits()?,
            (Some("loopback"), None) => loopback()?,
            (Some("listen"), None) => listen()?,
            (Some("connect"), Some(address)) => connect(address)?,
            _ => return Err(io::Error::other(format!("`{line}` is no question"))),
        }
    }
    Ok(())
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// What the kernel says, not the engine.
fn limits() -> io::Result<()> {
    let first = |paths: [&str; 2]| {
        let found = paths.into_iter().find_map(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        found.split_whitespace().next().unwrap_or("max").to_owned()
    };
    say(&format!("pids {}", first(["/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"])))?;
    let memory = first(["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]);
    say(&format!("memory {memory}"))?;
    say(&format!("cpu {}", first(["/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"])))?;
    let status = fs::read_to_string("/proc/self/status")?;
    for field in ["Seccomp", "NoNewPrivs"] {
        let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        say(&format!("{field} {}", value.unwrap_or("0").trim()))?;
    }
    Ok(())
}

fn loopback() -> io::Result<()> {
    let there = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    say(if there { "loopback6 yes" } else { "loopback6 no" })
}

/// Lets anybody connect, until somebody ends it.
fn listen() -> io::Result<()> {
    let listener = TcpListener::bind((IpAddr::from([0, 0, 0, 0]), 0))?;
    say(&format!("listening {}", SocketAddr::new(own_address()?, listener.local_addr()?.port())))?;
    loop {
        drop(listener.accept()?);
    }
}

/// The one that others see. Nothing is sent.
fn own_address() -> io::Result<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.connect(("192.0.2.1", 9))?;
    Ok(socket.local_addr()?.ip())
}

fn connect(address: &str) -> io::Result<()> {
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    match TcpStream::connect_timeout(&address, PATIENCE) {
        Ok(_) => say("reached"),
        Err(error) => say(&format!("unreachable {error}")),
    }
}
