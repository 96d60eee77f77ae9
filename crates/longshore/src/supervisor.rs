//! The first process of a server with a guard of its own: starts the guard, then the server, and watches both. Neither
//! needs the other to start: the server waits for the guard as for an engine, and jobs run on.
//!
//! It does nothing else: it opens no socket and reads no file of anybody's.

use std::{
    ffi::OsString,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::PathBuf,
    process::{Command, ExitCode, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use crate::{
    guard_files,
    separation::{Separation, User},
};

/// The pause before a process that ended is started again: it doubles each time in a row.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// A process that has run for so long did not end in a row.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// A server and its guard.
#[derive(Debug)]
pub(crate) struct Supervised {
    /// The engine's socket.
    pub(crate) socket: PathBuf,
    /// The users that they run as; without it, the user of this process.
    pub(crate) separation: Option<Separation>,
    pub(crate) folder: PathBuf,
    /// The guard's words beside its sockets.
    pub(crate) guard: Vec<String>,
}

/// A process that is watched.
struct Watched {
    name: &'static str,
    words: Vec<OsString>,
    user: Option<User>,
    /// Whether it gets this process's environment, in which the server's keys may be.
    has_secrets: bool,
    running: Option<Pid>,
    /// When it is started again.
    due: Option<Instant>,
    started: Instant,
    /// The last pause.
    pause: Duration,
}

impl Watched {
    fn new(name: &'static str, words: Vec<OsString>, user: Option<User>, has_secrets: bool) -> Self {
        Self {
            name,
            words,
            user,
            has_secrets,
            running: None,
            due: None,
            started: Instant::now(),
            pause: Duration::ZERO,
        }
    }

    fn start(&mut self) -> std::io::Result<()> {
        let mut command = Command::new("/proc/self/exe");
        command.arg0("longshore").args(&self.words).stdin(Stdio::null());
        if !self.has_secrets {
            let kept = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LONGSHORE_LOG"));
            command.env_clear().envs(kept);
        }
        if let Some(user) = self.user {
            user.run_as(&mut command);
        }
        let child = command.spawn()?;
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        tracing::info!(process = self.name, pid = child.id(), user = self.user.map(|user| user.id), "started");
        (self.running, self.due, self.started) = (id, None, Instant::now());
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        if let Some(id) = self.running {
            // It may have ended just now.
            let _ = kill_process(id, signal);
        }
    }
}

impl Supervised {
    /// Runs both until this process is told to end, or the server ends by itself with an error.
    pub(crate) fn run(self) -> super::commands::Result {
        // Whatever is started from here on gets no rights by running a program.
        set_no_new_privs(true)?;
        // A guard that is started again serves the same server. That of an earlier start may have had another data
        // folder.
        let instance = self.folder.join("docker.instance");
        let is_new = match std::fs::remove_file(&instance) {
            Ok(()) => true,
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        };
        if self.separation.is_some() {
            let kept = CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::KILL;
            let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
            set_capabilities(None, sets)?;
        }
        let listen = self.folder.join("docker.sock");
        let (server, guard) = (
            self.separation.as_ref().map(|separation| separation.server),
            self.separation.as_ref().map(|separation| separation.guard),
        );
        let mut words: Vec<OsString> = ["guard", "--server", "--child", "--socket"].map(OsString::from).to_vec();
        words.extend([self.socket.into_os_string(), "--listen".into(), listen.clone().into_os_string()]);
        // Nobody else gets to its folder.
        words.extend(["--mode", "666"].map(OsString::from));
        if self.separation.as_ref().is_some_and(|separation| separation.has_log) {
            words.extend(["--audit", guard_files::AUDIT_LOG].map(OsString::from));
        }
        if is_new {
            words.extend(["--instance".into(), instance.into_os_string()]);
        }
        words.extend(self.guard.into_iter().map(OsString::from));
        let guard = Watched::new("guard", words, guard, false);
        let mut words: Vec<OsString> = std::env::args_os().skip(1).collect();
        words.extend(["--behind-guard".into(), listen.into_os_string()]);
        let server = Watched::new("server", words, server, true);
        // The processes end with the thread that has started them, so it is this one.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(watch(guard, server))
    }
}

async fn watch(mut guard: Watched, mut server: Watched) -> super::commands::Result {
    let mut ended = signal(SignalKind::child())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    guard.start()?;
    server.start()?;
    let mut is_ending = false;
    loop {
        let due = [guard.due, server.due].into_iter().flatten().min();
        tokio::select! {
            _ = terminate.recv() => is_ending = true,
            _ = interrupt.recv() => is_ending = true,
            _ = ended.recv() => {}
            () = async { sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {
                for process in [&mut guard, &mut server] {
                    if !is_ending
                        && process.due.is_some_and(|due| due <= Instant::now())
                        && let Err(error) = process.start()
                    {
                        tracing::error!(process = process.name, %error, "cannot be started; tried again");
                        process.due = Some(Instant::now() + RESTART_PAUSE);
                    }
                }
            }
        }
        if is_ending {
            server.signal(Signal::TERM);
            if server.running.is_none() {
                return Ok(ExitCode::SUCCESS);
            }
        }
        // Everything that has lost its parent in this container is this process's too.
        while let Ok(Some((id, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let status = ExitStatus::from_raw(status.as_raw());
            if server.running == Some(id) {
                server.running = None;
                match status.code() {
                    Some(code) if is_ending || code != 0 => {
                        guard.signal(Signal::TERM);
                        return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
                    }
                    _ if is_ending => {
                        guard.signal(Signal::TERM);
                        return Ok(ExitCode::FAILURE);
                    }
                    _ => start_later(&mut server, status),
                }
            } else if guard.running == Some(id) {
                guard.running = None;
                start_later(&mut guard, status);
            }
        }
    }
}

fn start_later(process: &mut Watched, status: ExitStatus) {
    let pause = pause_after(process.started.elapsed(), process.pause);
    tracing::error!(process = process.name, %status, "ended; it is started again in {} s", pause.as_secs());
    process.due = Some(Instant::now() + pause);
    process.pause = pause;
}

/// Returns the pause before the next start of a process that ran for so long after a pause of `last`.
fn pause_after(ran: Duration, last: Duration) -> Duration {
    if ran >= STABLE_AFTER { RESTART_PAUSE } else { (last * 2).clamp(RESTART_PAUSE, MAX_PAUSE) }
}

/// Makes a process that was started by [`Supervised::run`] end with it.
pub(crate) fn end_with_parent() -> std::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ends_at_once_is_started_ever_more_rarely() {
        let mut pause = Duration::ZERO;
        let pauses = [0, 0, 0, 1, 1, 1, 1, 1, 61, 0].map(|ran| {
            pause = pause_after(Duration::from_secs(ran), pause);
            pause.as_secs()
        });
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 1, 2]);
    }
}
