//! The server's guard and its host: its own program, which only the guard imports into the engine, and the path
//! of the engine's socket.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use longshore_guard::{Host, own_container, path_on_host, program_start};
use sha2::{Digest as _, Sha256};

use crate::body::{self, Body};
use crate::engine::Engine;
use crate::handle::Failure;

/// The number of pieces of the program that may wait for the engine, and the size of each, in bytes.
const AHEAD: usize = 4;
const PIECE: usize = 256 << 10;

/// Determines the facts about the guard's program and host.
pub(crate) async fn look(engine: &Engine, program: &Path) -> Result<Host, String> {
    let hashed = {
        let program = program.to_owned();
        tokio::task::spawn_blocking(move || hash_of(&program)).await
    };
    let program = hashed
        .map_err(io::Error::other)
        .flatten()
        .map_err(|error| format!("the guard's own program cannot be read: {error}"))?;
    Ok(Host { program, socket: socket_on_host(engine).await? })
}

fn hash_of(program: &Path) -> io::Result<String> {
    let mut file = File::open(program)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; PIECE];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(&hasher.finalize()[..6])),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// Returns the path of the engine's socket on the host. If the guard runs in a container, it differs from the path
/// here.
async fn socket_on_host(engine: &Engine) -> Result<Option<String>, String> {
    let as_it_is = || engine.socket.to_str().map(str::to_owned);
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let Some(container) = own_container(&mountinfo) else { return Ok(as_it_is()) };
    // The container belongs to another engine than the one that starts jobs.
    let Some(inspected) = engine.get(&format!("/containers/{container}/json")).await? else { return Ok(as_it_is()) };
    let mounts =
        inspected["Mounts"].as_array().into_iter().flatten().filter_map(|mount| {
            Some((mount["Destination"].as_str()?.to_owned(), mount["Source"].as_str()?.to_owned()))
        });
    let resolve = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let on_host = path_on_host(&engine.socket, mounts, resolve);
    Ok(on_host.and_then(|path| path.to_str().map(str::to_owned)))
}

/// Sends the guard's own program as a tar. The client's own bytes are read and discarded.
pub(crate) async fn program(path: &Path, mut client: Incoming) -> Result<Body, Failure> {
    while let Some(frame) = client.frame().await {
        frame.map_err(|_| Failure::engine("the client's archive broke off"))?;
    }
    let unreadable = |error: io::Error| Failure::engine(format!("the guard's own program cannot be read: {error}"));
    let mut file = File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    let (sender, body) = body::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Handle::current();
        let send = |bytes: Bytes| runtime.block_on(sender.send(bytes));
        if !send(program_start(size).into()) {
            return;
        }
        let mut left = size;
        let mut buffer = vec![0; PIECE];
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match file.read(&mut buffer[..most]) {
                Ok(count) if count > 0 => {
                    if !send(Bytes::copy_from_slice(&buffer[..count])) {
                        return;
                    }
                    left -= count as u64;
                }
                Ok(_) | Err(_) => return runtime.block_on(sender.abort("the guard's own program is cut off")),
            }
        }
        let padding = usize::try_from(size.next_multiple_of(512) - size).unwrap_or_default();
        send(vec![0; padding + 1024].into());
    });
    Ok(body)
}
