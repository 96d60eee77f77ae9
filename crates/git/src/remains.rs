//! Removes what a killed or interrupted git leaves in one of our repositories: locks that block every later git, and
//! partial packs that nothing ever reads and git itself keeps for weeks.

use std::{
    fs::{read_dir, remove_file},
    io,
    path::Path,
};

/// Removes locks, partial packs, and what was being received, objects of Git LFS too. Nothing else may use the
/// repository.
pub(super) fn remove_all(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder.join(super::incoming::FOLDER)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    super::lfs::Objects::of_mirror(folder).remove_halves()?;
    super::lfs::Objects::of_named_store(folder).remove_halves()?;
    super::lfs::Objects::of_forks(folder).remove_halves()?;
    remove_locks(folder)?;
    remove_halves(folder)
}

fn remove_locks(folder: &Path) -> io::Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(path) = folders.pop() {
        for entry in read_dir(path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                // Objects have no locks, and there are many of them.
                if entry.file_name() != "objects" {
                    folders.push(entry.path());
                }
            } else if entry.path().extension().is_some_and(|extension| extension == "lock") {
                remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

/// Removes packs and objects that were not received completely. No fetch may be running.
pub(super) fn remove_halves(folder: &Path) -> io::Result<()> {
    for entry in read_dir(folder.join("objects"))? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        for entry in read_dir(entry.path())? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if ["tmp_pack_", "tmp_idx_", "tmp_rev_", "tmp_obj_"].iter().any(|prefix| name.starts_with(prefix)) {
                remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}
