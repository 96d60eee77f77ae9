//! The files by which the guard beside a server tells it more than its answers do: its audit log, and why it does not answer yet. The
//! server may read both, and only the guard may write them.

use std::path::{Path, PathBuf};

/// The audit log. Older files stand beside it, as `guard.jsonl.1` and so on.
pub(crate) const FILE: &str = "/var/log/longshore/guard.jsonl";

/// Returns the file that says why the guard does not listen on its socket yet.
pub(crate) fn trouble(socket: &Path) -> PathBuf {
    socket.with_extension("trouble")
}
