//! A disk that is easily full: a tmpfs of a few megabytes. Only root may mount one; without, a test says so and is
//! skipped, and fails where it is to be relied on (CI).
#![allow(dead_code, reason = "every test file uses its part")]

use std::{
    fs::File,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

/// Whether a skipped test would be taken for one that passed.
fn relied_on() -> bool {
    std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false" && ci != "0")
}

/// Mounted; unmounted and removed when dropped.
pub(crate) struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    #[allow(clippy::print_stderr, reason = "a skipped test says that it is one")]
    pub(crate) fn mount(mebibytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap().keep();
        let size = format!("size={mebibytes}m,mode=0755");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "longshore-test"]).arg(&folder).output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(Self { folder });
        }
        let _ = std::fs::remove_dir(&folder);
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        assert!(!relied_on(), "{test} needs the right to mount a small disk, and CI would take it for passed");
        eprintln!("skipped: {test} needs the right to mount a small disk");
        None
    }

    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    /// Fills the disk to the last byte.
    pub(crate) fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.folder.join("filler")).unwrap();
        for block in [1 << 20, 4096, 1] {
            loop {
                match file.write(&vec![0; block]) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    /// Fills the disk until this many mebibytes are left.
    pub(crate) fn fill_but(&self, mebibytes: u64) {
        self.fill();
        let file = File::options().write(true).open(self.folder.join("filler")).unwrap();
        file.set_len(file.metadata().unwrap().len() - (mebibytes << 20)).unwrap();
    }

    pub(crate) fn free(&self) {
        std::fs::remove_file(self.folder.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
        let _ = std::fs::remove_dir(&self.folder);
    }
}
