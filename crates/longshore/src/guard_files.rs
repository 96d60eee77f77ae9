//! The files that the guard writes for the server beside it: its audit log, and the reason why it does not listen yet.
//! The server may read both, and only the guard may write them.

use std::path::{Path, PathBuf};

/// The audit log. Older files are beside it, as `guard.jsonl.1` and so on.
pub(crate) const AUDIT_LOG: &str = "/var/log/longshore/guard.jsonl";

/// Returns the file that says why the guard does not listen on its socket yet.
pub(crate) fn trouble_file(socket: &Path) -> PathBuf {
    socket.with_extension("trouble")
}
