//! Distinguishes a call that the engine never answers from an engine that is away.
//!
//! An engine holds a container's lock while it starts it, and opens files of the container meanwhile. What waits for such
//! a file, or for the lock, waits for ever; other calls do not. An engine that deletes the files of a large volume starts
//! nothing either, but lists no volumes meanwhile: that one is waited for.

use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error as ApiError;
use bollard::query_parameters::ListVolumesOptionsBuilder;
use longshore_executor::EngineError;

use crate::error::ApiResult as _;
use crate::labels;

/// How long an engine may take to list volumes that is not busy with one.
const LIST: Duration = Duration::from_secs(10);

/// Returns the result of a call about a container. `what` completes "the engine refused to …".
pub(crate) async fn unless_unanswered<T>(
    docker: &Docker,
    what: &'static str,
    call: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, EngineError> {
    match call.await {
        Err(ApiError::RequestTimeoutError) if is_there(docker).await => Err(EngineError::Unanswered { what }),
        answer => answer.api(what),
    }
}

async fn is_there(docker: &Docker) -> bool {
    let filters = labels::filter(&[(labels::INSTANCE, "")]);
    let volumes = docker.list_volumes(Some(ListVolumesOptionsBuilder::new().filters(&filters).build()));
    tokio::time::timeout(LIST, volumes).await.is_ok_and(|answer| answer.is_ok())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bollard::API_DEFAULT_VERSION;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixListener;

    use super::*;
    use crate::transport::transport;

    /// Returns the error of a call to the engine at this socket that was not answered in time.
    async fn of_a_timeout(socket: &Path) -> EngineError {
        let transport = transport(socket.to_owned(), String::new());
        let docker =
            Docker::connect_with_custom_transport(transport, Some("http://docker"), 120, API_DEFAULT_VERSION).unwrap();
        let call = async { Err::<(), _>(ApiError::RequestTimeoutError) };
        unless_unanswered(&docker, "start a container", call).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_call_without_an_answer_is_no_engine_that_is_away_as_long_as_it_answers_others() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("engine.sock");
        assert!(of_a_timeout(&socket).await.is_away(), "nobody listens");
        let listener = UnixListener::bind(&socket).unwrap();
        let engine = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            let read = client.read(&mut head).await.unwrap();
            assert!(String::from_utf8_lossy(&head[..read]).contains("/volumes"));
            let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
            client.write_all(answer.as_bytes()).await.unwrap();
        });
        let error = of_a_timeout(&socket).await;
        assert!(error.is_unanswered() && !error.is_away() && !error.is_transient(), "{error}");
        engine.await.unwrap();
    }
}
