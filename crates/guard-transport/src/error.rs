use std::path::PathBuf;

/// Errors of a guard: why it does not start, or what it failed to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the engine at {} cannot be reached: {reason}", socket.display())]
    Away { socket: PathBuf, reason: String },
    #[error("what answers at {} is no engine that the guard can speak to: {reason}", socket.display())]
    NotAnEngine { socket: PathBuf, reason: String },
    #[error("the socket {} cannot be listened on: {reason}", path.display())]
    Listen { path: PathBuf, reason: String },
    #[error("the file {} cannot be used: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    #[error("the audit log {} does not hold: {reason}; move it away, and keep it", path.display())]
    Audit { path: PathBuf, reason: String },
    #[error("not everything of {client} could be removed from the engine: {reason}")]
    Left { client: String, reason: String },
}
