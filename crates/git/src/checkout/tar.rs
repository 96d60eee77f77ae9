//! Writes the tar of a checkout.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, BufWriter, Read as _},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use super::{Part, now};
use crate::{TarSource, tar_writer::TarWriter};

const BUFFER_BYTES: usize = 256 * 1024;

/// Writes the tar of all parts, each with its `.git` and its entries; `objects` holds one reader per part.
pub(super) fn write_tar(out: File, parts: &[Part], objects: Vec<File>) -> io::Result<TarSource> {
    let mut tar = TarWriter::new(BufWriter::with_capacity(BUFFER_BYTES, out), now());
    for (part, objects) in parts.iter().zip(objects) {
        write_part(&mut tar, part, objects)?;
    }
    let out = tar.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    TarSource::new(out)
}

fn write_part<W: io::Write>(tar: &mut TarWriter<W>, part: &Part, objects: File) -> io::Result<()> {
    let in_tar = |path: &[u8]| [part.prefix.as_slice(), path].concat();
    if !part.bare {
        write_folder(tar, &part.root.join(".git"), &in_tar(b".git"))?;
    }
    let mut objects = BufReader::with_capacity(BUFFER_BYTES, objects);
    for entry in &part.entries {
        let (path, executable) = (in_tar(&entry.path), entry.mode & 0o100 != 0);
        if entry.is_gitlink() {
            // Git creates an empty folder where a submodule belongs.
            tar.folder(&path)?;
        } else if let Some(pointer) = part.lfs.pointers.get(&entry.path) {
            let file = File::open(part.lfs.path(pointer))?;
            tar.older_file(&path, executable, part.lfs_time, pointer.size(), file)?;
        } else if part.converted.contains(&entry.path) {
            let file = File::open(part.root.join(std::ffi::OsStr::from_bytes(&entry.path)))?;
            tar.file(&path, executable, file.metadata()?.len(), file)?;
        } else {
            let size = object_size(&mut objects, &entry.object)?;
            let mut data = (&mut objects).take(size);
            if entry.is_link() {
                let mut target = Vec::new();
                data.read_to_end(&mut target)?;
                tar.link(&path, &target)?;
            } else {
                tar.file(&path, executable, size, &mut data)?;
            }
            if data.limit() > 0 {
                return Err(io::Error::other("git ended in the middle of a file"));
            }
            let mut newline = [0];
            objects.read_exact(&mut newline)?;
        }
    }
    Ok(())
}

/// Reads `<object> blob <size>`.
fn object_size(objects: &mut impl io::BufRead, object: &str) -> io::Result<u64> {
    let mut line = Vec::new();
    objects.by_ref().take(200).read_until(b'\n', &mut line)?;
    let line = String::from_utf8_lossy(&line);
    let size = line.trim_end().strip_prefix(object).and_then(|rest| rest.strip_prefix(" blob "));
    size.and_then(|size| size.parse().ok())
        .ok_or_else(|| io::Error::other(format!("git does not give the file {object}: {}", line.trim_end())))
}

/// Writes a folder of our own, with everything in it, as `path`.
pub(crate) fn write_folder<W: io::Write>(tar: &mut TarWriter<W>, folder: &Path, path: &[u8]) -> io::Result<()> {
    tar.folder(path)?;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        names.push((entry.file_name(), entry.file_type()?.is_dir()));
    }
    names.sort();
    for (name, is_folder) in names {
        let (on_disk, path) = (folder.join(&name), [path, b"/", name.as_bytes()].concat());
        if is_folder {
            write_folder(tar, &on_disk, &path)?;
        } else {
            let file = File::open(on_disk)?;
            tar.file(&path, false, file.metadata()?.len(), file)?;
        }
    }
    Ok(())
}
