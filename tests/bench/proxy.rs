//! A proxy for the engine's socket that counts calls. The program opens a connection for each call.

use std::{
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A running proxy. Its threads end with the program.
pub struct Proxy {
    dir: tempfile::TempDir,
    calls: Arc<AtomicU64>,
}

impl Proxy {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(dir.path().join("docker.sock")).expect("a socket");
        let calls = Arc::new(AtomicU64::new(0));
        let engine = PathBuf::from(crate::support::engine::docker_host().trim_start_matches("unix://"));
        let counted = Arc::clone(&calls);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Ordering::SeqCst);
                let engine = UnixStream::connect(&engine).expect("the engine listens");
                let (mut from_client, mut to_engine) =
                    (client.try_clone().expect("cloned"), engine.try_clone().expect("cloned"));
                let (mut from_engine, mut to_client) = (engine, client);
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from_client, &mut to_engine);
                    let _ = to_engine.shutdown(Shutdown::Write);
                });
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from_engine, &mut to_client);
                    let _ = to_client.shutdown(Shutdown::Both);
                });
            }
        });
        Self { dir, calls }
    }

    pub fn host(&self) -> String {
        format!("unix://{}", self.dir.path().join("docker.sock").display())
    }

    /// Returns the number of calls so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }
}
