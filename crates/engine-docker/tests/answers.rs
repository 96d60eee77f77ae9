//! A program on the socket that is not an engine: its answers are an error, never an engine that is away, and never
//! more than we can hold.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::path::Path;

use longshore_core::ImageRef;
use longshore_engine_docker::{DockerEngine, DockerOptions};
use longshore_executor::names::{ContainerId, Instance};
use longshore_executor::{Engine as _, EngineError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

const OK: &str = "200 OK";
const VERSION: &str = r#"{"Version":"20.10.24","ApiVersion":"1.41","MinAPIVersion":"1.12"}"#;

/// Answers like an engine when it is asked for its version, and everything else with `status`, `start` and then `more`,
/// for as long as somebody reads.
async fn answer(socket: &Path, status: &'static str, start: &'static str, more: Option<&'static [u8]>) {
    let listener = UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let count = client.read(&mut head).await.unwrap();
            let body = if head[..count].starts_with(b"GET /version") { VERSION } else { start };
            let is_version = body == VERSION;
            let length = match more {
                Some(_) if !is_version => u64::MAX >> 8,
                _ => body.len() as u64,
            };
            let status = if is_version { OK } else { status };
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            let _ = client.write_all(answer.as_bytes()).await;
            while let Some(more) = more.filter(|_| !is_version)
                && client.write_all(more).await.is_ok()
            {}
        }
    });
}

async fn connected(dir: &tempfile::TempDir, start: &'static str, more: Option<&'static [u8]>) -> DockerEngine {
    answering(dir, OK, start, more).await
}

async fn answering(
    dir: &tempfile::TempDir,
    status: &'static str,
    start: &'static str,
    more: Option<&'static [u8]>,
) -> DockerEngine {
    let socket = dir.path().join("docker.sock");
    answer(&socket, status, start, more).await;
    let host = format!("unix://{}", socket.display());
    DockerEngine::connect(DockerOptions::new(host, Instance::new("answers").unwrap())).await.unwrap()
}

#[tokio::test]
async fn an_answer_that_never_ends_is_cut_off_at_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let engine = connected(&dir, "[", Some(&[b' '; 1 << 16])).await;
    let error = engine.list(None).await.unwrap_err();
    assert!(matches!(error, EngineError::NotUnderstood { .. }), "{error:?}");
    assert!(error.to_string().contains("longer than 64 MiB") && !error.is_transient(), "{error}");
}

#[tokio::test]
async fn what_a_registry_says_is_cut_off_at_its_limit_in_an_error_and_in_a_line_of_progress() {
    const LINES: &[u8] = &[b'\n'; 1 << 16];
    const LINE: &[u8] = &[b' '; 1 << 16];
    for (status, more) in [("403 Forbidden", LINES), (OK, LINE)] {
        let dir = tempfile::tempdir().unwrap();
        let engine = answering(&dir, status, r#"{"message":"#, Some(more)).await;
        let (notes, _noted) = tokio::sync::mpsc::channel(64);
        let error = engine.pull(&ImageRef::parse("busybox").unwrap(), None, &notes).await.unwrap_err();
        // Why a stream broke, bollard does not say.
        let said = if status == OK { "error reading a body" } else { "longer than 64 MiB" };
        assert!(error.to_string().contains(said), "{status}: {error:?}");
    }
}

#[tokio::test]
async fn an_answer_in_another_language_is_an_error_and_no_engine_that_is_away() {
    for body in ["<html>hello</html>", "{}", r#"{"State":{}}"#, r#"{"State":{"Running":"yes"}}"#, ""] {
        let dir = tempfile::tempdir().unwrap();
        let engine = connected(&dir, body, None).await;
        let error = engine.standing(&ContainerId::new("0123456789ab").unwrap()).await.unwrap_err();
        assert!(matches!(error, EngineError::NotUnderstood { .. }) && !error.is_transient(), "{body}: {error:?}");
    }
}
