//! The accounts that steps run as, read from the image's own passwd and group files.
//!
//! A static program has no NSS, so the agent reads these files itself. `job` calls this once per job, and per step that
//! names a user.

use std::path::Path;

pub(crate) use longshore_agent_protocol::Account;
use rustix::fs::OFlags;

use crate::files;

/// The most bytes read of passwd and of group.
const MAX_FILE: u64 = 8 << 20;

/// Returns the account that an image's USER names, as [`Account::find`] does.
pub(crate) fn lookup(user: &str, etc: &Path) -> Result<Account, String> {
    // A step may have replaced the files by now.
    let read = |file: &str| files::read_regular(&etc.join(file), OFlags::empty(), MAX_FILE).unwrap_or_default();
    let text = |file: &str| String::from_utf8_lossy(&read(file)).into_owned();
    Account::find(user, &text("passwd"), &text("group"))
}

/// Returns whether a process of this account may run as another user than the agent; always true if the agent is root.
pub(crate) fn differs_from_ours(account: &Account) -> bool {
    rustix::process::geteuid().as_raw() == 0 || account.uid != rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_step_made_of_the_files_keeps_nobody_waiting() {
        let etc = tempfile::tempdir().unwrap();
        let made = std::process::Command::new("mkfifo").arg(etc.path().join("passwd")).status().unwrap();
        assert!(made.success());
        std::fs::File::create(etc.path().join("group")).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(lookup("", etc.path()).map(|account| account.uid), Ok(0));
        assert!(lookup("somebody", etc.path()).is_err());
    }
}
