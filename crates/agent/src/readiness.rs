//! Finds out when a service is ready: by commands in its own container, and by its ports in the pod's network.
//!
//! Runs on a thread of its own, and posts one event once the service is ready. It uses the pipeline's `ready`, or else
//! the image's HEALTHCHECK, or else its exposed ports. A service with none of these is ready when it has started.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use longshore_agent_protocol::pod::{Healthcheck, ImageConfig};
use longshore_core::plan::Probe;

use crate::account::Account;
use crate::reaper::Children;
use crate::sys;
use crate::wake::{Event, Mailbox};

/// Pause between two probes. A probe that only opens a connection costs little and is repeated sooner.
const PROBE_INTERVAL: Duration = Duration::from_millis(250);
const SHORT_PAUSE: Duration = Duration::from_millis(25);
/// How long a connection may take. It is local, so this is ample.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a command or an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A service that listens on some of its image's ports is ready once it has opened no other for this long.
const SETTLE_TIME: Duration = Duration::from_secs(2);

/// How to find out whether a service is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReadinessCheck {
    Command {
        words: Vec<String>,
        limit: Duration,
    },
    Ports(Vec<u16>),
    Http {
        port: u16,
        path: String,
    },
    /// Ready as soon as it has started.
    None,
}

impl ReadinessCheck {
    /// Chooses the check: the pipeline's own, or what the image says.
    pub(crate) fn choose(own: Option<&Probe>, image: &ImageConfig) -> Self {
        match own {
            Some(Probe::Exec(command)) => {
                Self::Command { words: ["sh", "-c", command].map(str::to_owned).to_vec(), limit: ANSWER_TIMEOUT }
            }
            Some(Probe::Tcp(port)) => Self::Ports(vec![*port]),
            Some(Probe::Http(target)) => {
                let target = target.trim_start_matches(':');
                let at = target.find('/').unwrap_or(target.len());
                let (port, path) = target.split_at(at);
                let path = if path.is_empty() { "/" } else { path };
                Self::Http { port: port.parse().unwrap_or(80), path: path.to_owned() }
            }
            None => match &image.healthcheck {
                Some(Healthcheck { command, timeout_ms }) if !command.is_empty() => {
                    Self::Command { words: command.clone(), limit: Duration::from_millis(*timeout_ms) }
                }
                Some(_) | None if image.ports.is_empty() => Self::None,
                Some(_) | None => Self::Ports(image.ports.clone()),
            },
        }
    }
}

/// The environment, user and directory of a check command, which are the service's own.
#[derive(Debug)]
pub(crate) struct CommandContext {
    pub(crate) env: BTreeMap<OsString, OsString>,
    pub(crate) account: Account,
    pub(crate) directory: std::path::PathBuf,
}

/// Probes until the service is ready, on a thread of its own. The caller applies the time limit.
pub(crate) fn watch(
    check: ReadinessCheck,
    context: CommandContext,
    children: Arc<Children>,
    mailbox: Mailbox,
) -> io::Result<()> {
    thread::Builder::new().name("readiness".to_owned()).spawn(move || {
        wait(&check, &context, &children, &mailbox);
        mailbox.post(Event::ServiceReady);
    })?;
    Ok(())
}

fn wait(check: &ReadinessCheck, context: &CommandContext, children: &Children, mailbox: &Mailbox) {
    match check {
        ReadinessCheck::None => {}
        ReadinessCheck::Command { words, limit } => {
            let mut noted = false;
            loop {
                match succeeds(words, *limit, context, children) {
                    Ok(true) => return,
                    Ok(false) => {}
                    Err(error) if !noted => {
                        noted = true;
                        let program = words.first().map_or("", String::as_str);
                        mailbox.post(Event::ProbeFailed(format!(
                            "`{program}` cannot be run to ask whether it is ready: {error}"
                        )));
                    }
                    Err(_) => {}
                }
                thread::sleep(PROBE_INTERVAL);
            }
        }
        ReadinessCheck::Http { port, path } => {
            while !answers(*port, path) {
                thread::sleep(PROBE_INTERVAL);
            }
        }
        ReadinessCheck::Ports(ports) => wait_for_ports(ports),
    }
}

fn wait_for_ports(ports: &[u16]) {
    let (mut open, mut changed) = (0, Instant::now());
    loop {
        let now = ports.iter().filter(|port| connect(**port).is_some()).count();
        if now != open {
            (open, changed) = (now, Instant::now());
        }
        if open == ports.len() || (open > 0 && changed.elapsed() >= SETTLE_TIME) {
            return;
        }
        thread::sleep(SHORT_PAUSE);
    }
}

fn connect(port: u16) -> Option<TcpStream> {
    // The address that the service's host name resolves to.
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).ok()?;
    // If nothing listens, TCP can connect a local port to itself.
    (stream.local_addr().ok() != stream.peer_addr().ok()).then_some(stream)
}

/// Returns whether a request is answered with 2xx or 3xx.
fn answers(port: u16, path: &str) -> bool {
    let ask = || {
        let mut stream = connect(port)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).ok()?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT)).ok()?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\nAccept: */*\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        // `HTTP/1.1 200`
        let mut head = [0; 12];
        stream.read_exact(&mut head).ok()?;
        Some(head.starts_with(b"HTTP/1.") && matches!(head[9], b'2' | b'3'))
    };
    ask() == Some(true)
}

fn succeeds(words: &[String], limit: Duration, context: &CommandContext, children: &Children) -> io::Result<bool> {
    let Some((program, arguments)) = words.split_first() else { return Ok(true) };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&context.directory).env_clear().envs(&context.env);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    sys::detach_as(&mut command, &context.account, false);
    let (child, ended) = children.spawn_beside(&mut command)?;
    Ok(match ended.recv_timeout(limit) {
        Ok(reaped) => reaped.end == sys::End::Exited(0),
        Err(_) => {
            // It leads a process group of its own.
            if let Some(group) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            false
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(healthcheck: Option<&[&str]>, ports: &[u16]) -> ImageConfig {
        let healthcheck = healthcheck.map(|words| Healthcheck {
            command: words.iter().map(|&word| word.to_owned()).collect(),
            timeout_ms: 1000,
        });
        ImageConfig { healthcheck, ports: ports.to_vec(), ..ImageConfig::default() }
    }

    #[test]
    fn the_pipeline_is_asked_before_the_image_and_a_healthcheck_before_ports() {
        let all = image(Some(&["check"]), &[80]);
        assert_eq!(ReadinessCheck::choose(Some(&Probe::Tcp(5432)), &all), ReadinessCheck::Ports(vec![5432]));
        assert_eq!(
            ReadinessCheck::choose(None, &all),
            ReadinessCheck::Command { words: vec!["check".to_owned()], limit: Duration::from_secs(1) }
        );
        assert_eq!(ReadinessCheck::choose(None, &image(None, &[80, 443])), ReadinessCheck::Ports(vec![80, 443]));
        assert_eq!(ReadinessCheck::choose(None, &image(Some(&[]), &[])), ReadinessCheck::None);
        for (target, port, path) in [(":8080/healthz", 8080, "/healthz"), (":80", 80, "/"), (":1/a?b=c", 1, "/a?b=c")] {
            let check = ReadinessCheck::choose(Some(&Probe::Http(target.to_owned())), &all);
            assert_eq!(check, ReadinessCheck::Http { port, path: path.to_owned() });
        }
    }

    #[test]
    fn a_port_that_opens_late_is_waited_for() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let waiting = thread::spawn(move || wait_for_ports(&[port]));
        let _listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        waiting.join().unwrap();
    }

    #[test]
    fn only_2xx_and_3xx_answers_count_as_ready() {
        for (answer, ready) in [
            ("HTTP/1.1 200 OK", true),
            ("HTTP/1.0 302 Found", true),
            ("HTTP/1.1 503 No", false),
            ("+OK ready ..", false),
        ] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let serving = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 1024];
                let count = stream.read(&mut request).unwrap();
                stream.write_all(format!("{answer}\r\n\r\n").as_bytes()).unwrap();
                String::from_utf8_lossy(&request[..count]).into_owned()
            });
            assert_eq!(answers(port, "/healthz"), ready, "{answer}");
            assert!(serving.join().unwrap().starts_with("GET /healthz HTTP/1.1\r\n"));
        }
    }
}
