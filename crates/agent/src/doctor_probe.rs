//! The program that `longshore doctor` runs in a container like a job's: reports the kernel's limits, and which
//! addresses are reachable.
//!
//! Serves as a step's shell: each line of its script is a question, answered with a line.

use std::fs;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use longshore_core::DeniedAddresses;

use crate::{denied_addresses, sys};

/// How long a connection that a firewall drops may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The port of a service that discards what it gets.
const DISCARD_PORT: u16 = 9;

/// Answers the script's questions in order.
pub(crate) fn run(script: &Path) -> io::Result<()> {
    let text = fs::read_to_string(script)?;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("limits"), None) => limits()?,
            (Some("loopback"), None) => loopback()?,
            (Some("listen"), None) => listen()?,
            (Some("connect"), Some(address)) => connect(address)?,
            (Some("route"), Some(denied)) => route(denied)?,
            _ => return Err(io::Error::other(format!("`{line}` is not a known question"))),
        }
    }
    Ok(())
}

fn print_line(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Reports the limits that the kernel enforces, which may differ from what the engine claims.
fn limits() -> io::Result<()> {
    let first = |paths: [&str; 2]| {
        let found = paths.into_iter().find_map(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        found.split_whitespace().next().unwrap_or("max").to_owned()
    };
    print_line(&format!("pids {}", first(["/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"])))?;
    let memory = first(["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]);
    print_line(&format!("memory {memory}"))?;
    print_line(&format!("cpu {}", first(["/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"])))?;
    let status = fs::read_to_string("/proc/self/status")?;
    for field in ["Seccomp", "NoNewPrivs"] {
        let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        print_line(&format!("{field} {}", value.unwrap_or("0").trim()))?;
    }
    Ok(())
}

fn loopback() -> io::Result<()> {
    let there = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    print_line(if there { "loopback6 yes" } else { "loopback6 no" })
}

/// Accepts connections until the process is ended.
fn listen() -> io::Result<()> {
    let listener = TcpListener::bind((IpAddr::from([0, 0, 0, 0]), 0))?;
    print_line(&format!("listening {}", SocketAddr::new(own_address()?, listener.local_addr()?.port())))?;
    loop {
        drop(listener.accept()?);
    }
}

/// Returns the address that others see. Sends nothing.
fn own_address() -> io::Result<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.connect(("192.0.2.1", 9))?;
    Ok(socket.local_addr()?.ip())
}

fn connect(address: &str) -> io::Result<()> {
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
        Ok(_) => print_line("reached"),
        Err(error) => print_line(&format!("unreachable {error}")),
    }
}

/// Reports whether packets to an address of a denied network leave the namespace, by its routes or from a socket that
/// names its interface, which no route holds. Such a packet is empty and goes to the port that discards.
fn route(denied: &str) -> io::Result<()> {
    let address = match denied.parse::<DeniedAddresses>().map_err(io::Error::other)? {
        DeniedAddresses::Host => denied_addresses::gateways().into_iter().next(),
        DeniedAddresses::Network(network) => network.hosts().next(),
    };
    let open = address.is_some_and(|address| {
        let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let bound = |interface: Option<&str>| {
            let socket = UdpSocket::bind((any, 0))?;
            interface.map_or(Ok(()), |interface| sys::bind_to_device(&socket, interface))?;
            socket.connect((address, DISCARD_PORT))?;
            socket.send(&[]).map(drop)
        };
        bound(None).is_ok() || interfaces().iter().any(|interface| bound(Some(interface.as_str())).is_ok())
    });
    print_line(&format!("route {denied} {}", if open { "open" } else { "denied" }))
}

/// Returns the names of the namespace's interfaces.
fn interfaces() -> Vec<String> {
    let listed = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    listed.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned()).collect()
}
