//! `longshore healthcheck`: the container's health check.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::ExitCode,
    time::Duration,
};

/// Succeeds if the server on this machine answers 200 to `/healthz`.
pub(crate) fn run(listen: &str) -> super::Result {
    let port = listen.rsplit(':').next().unwrap_or("8080");
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(1024).read_to_string(&mut answer)?;
    let healthy = answer.split_whitespace().nth(1) == Some("200");
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
