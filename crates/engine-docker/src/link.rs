//! A link over Docker's attach: bytes to a container's standard input, bytes from its standard output.

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::query_parameters::AttachContainerOptionsBuilder;
use futures_util::{StreamExt as _, future};
use longshore_executor::names::ContainerId;
use longshore_executor::{EngineError, FromLink, Link};

use crate::error::ApiResult as _;

/// Attaches to a container; returns when the engine has attached.
pub(crate) async fn attach(docker: &Docker, container: &ContainerId) -> Result<Link, EngineError> {
    let options = AttachContainerOptionsBuilder::new().stream(true).stdin(true).stdout(true).stderr(true).build();
    let attached = docker.attach_container(container.as_str(), Some(options)).await.api("attach to a container")?;
    let output = attached.output.scan((), |(), output| {
        future::ready(match output {
            Ok(LogOutput::StdOut { message }) => Some(FromLink::Stdout(message)),
            // The engine's runtime writes this in the container, instead of the program.
            Ok(LogOutput::StdErr { message }) if is_exec_error(&message) => Some(FromLink::CannotRun(message)),
            Ok(LogOutput::StdErr { message } | LogOutput::Console { message } | LogOutput::StdIn { message }) => {
                Some(FromLink::Stderr(message))
            }
            Err(error) => {
                tracing::debug!(%error, "the attached stream broke");
                None
            }
        })
    });
    Ok(Link { output: output.boxed(), input: attached.input })
}

fn is_exec_error(message: &[u8]) -> bool {
    String::from_utf8_lossy(message).contains(EXEC_ERROR)
}

/// The kernel's ENOEXEC in the texts of engines and runtimes.
pub(crate) const EXEC_ERROR: &str = "exec format error";
