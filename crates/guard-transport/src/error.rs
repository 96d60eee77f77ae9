use std::path::PathBuf;

/// Errors of a guard: why it could not start, or what it could not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the engine at {} cannot be reached: {reason}", socket.display())]
    Away { socket: PathBuf, reason: String },
    #[error("the server at {} is not an engine that the guard supports: {reason}", socket.display())]
    NotAnEngine { socket: PathBuf, reason: String },
    #[error("the socket {} cannot be listened on: {reason}", path.display())]
    Listen { path: PathBuf, reason: String },
    #[error("the file {} cannot be used: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    #[error("the audit log {} was damaged or changed: {reason}; move it away, and keep it", path.display())]
    Audit { path: PathBuf, reason: String },
    #[error("not everything of {client} could be removed from the engine: {reason}")]
    Left { client: String, reason: String },
}
