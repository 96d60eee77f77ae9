//! Writes plain tars exactly as requested: names of any bytes and length (as GNU tar writes them), and unchanged link
//! targets. The `tar` crate's builder splits and rejoins paths, which changes link targets.

use std::{
    collections::HashSet,
    io::{self, Read, Write},
};

use tar::{EntryType, Header};

const BLOCK_BYTES: u64 = 512;

/// The length of a name in a header.
const NAME_LEN: usize = 100;

/// A tar in progress. Paths are relative to the workspace, with `/` between their parts.
#[derive(Debug)]
pub(crate) struct TarWriter<W> {
    out: W,
    /// The time of every entry, in seconds since 1970.
    mtime: u64,
    folders: HashSet<Vec<u8>>,
    links: HashSet<Vec<u8>>,
}

impl<W: Write> TarWriter<W> {
    pub(crate) fn new(out: W, mtime: u64) -> Self {
        Self { out, mtime, folders: HashSet::new(), links: HashSet::new() }
    }

    /// Returns whether one of the folders above `path` was written as a symbolic link.
    pub(crate) fn is_behind_link(&self, path: &[u8]) -> bool {
        !self.links.is_empty() && parents(path).any(|parent| self.links.contains(parent))
    }

    /// Writes a folder and those above it, each once.
    pub(crate) fn folder(&mut self, path: &[u8]) -> io::Result<()> {
        self.write_parents(path)?;
        if self.folders.insert(path.to_vec()) {
            let name = [path, b"/"].concat();
            self.entry(EntryType::Directory, &name, b"", 0o755, 0)?;
        }
        Ok(())
    }

    /// Writes a file of exactly `size` bytes: cuts longer data, and fills shorter data with zeros, because a user's
    /// file may change while it is read.
    pub(crate) fn file(&mut self, path: &[u8], executable: bool, size: u64, data: impl Read) -> io::Result<()> {
        self.write_parents(path)?;
        self.entry(EntryType::Regular, path, b"", if executable { 0o755 } else { 0o644 }, size)?;
        io::copy(&mut data.chain(io::repeat(0)).take(size), &mut self.out)?;
        self.pad(size)
    }

    /// Writes a file with a time of its own, in seconds since 1970.
    pub(crate) fn older_file(
        &mut self,
        path: &[u8],
        executable: bool,
        mtime: u64,
        size: u64,
        data: impl Read,
    ) -> io::Result<()> {
        self.write_parents(path)?;
        let usual = std::mem::replace(&mut self.mtime, mtime);
        let written = self.file(path, executable, size, data);
        self.mtime = usual;
        written
    }

    pub(crate) fn link(&mut self, path: &[u8], target: &[u8]) -> io::Result<()> {
        self.write_parents(path)?;
        self.entry(EntryType::Symlink, path, target, 0o777, 0)?;
        self.links.insert(path.to_vec());
        Ok(())
    }

    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK_BYTES as usize])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn write_parents(&mut self, path: &[u8]) -> io::Result<()> {
        for parent in parents(path) {
            if !self.folders.contains(parent) {
                self.folders.insert(parent.to_vec());
                let name = [parent, b"/"].concat();
                self.entry(EntryType::Directory, &name, b"", 0o755, 0)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, kind: EntryType, name: &[u8], target: &[u8], mode: u32, size: u64) -> io::Result<()> {
        self.long_name(EntryType::GNULongLink, target)?;
        self.long_name(EntryType::GNULongName, name)?;
        self.header(kind, name, target, mode, size)
    }

    /// Writes an entry that carries only a name too long for the next header.
    fn long_name(&mut self, kind: EntryType, name: &[u8]) -> io::Result<()> {
        if name.len() <= NAME_LEN {
            return Ok(());
        }
        let size = name.len() as u64 + 1;
        self.header(kind, b"././@LongLink", b"", 0o644, size)?;
        self.out.write_all(name)?;
        self.out.write_all(&[0])?;
        self.pad(size)
    }

    fn header(&mut self, kind: EntryType, name: &[u8], target: &[u8], mode: u32, size: u64) -> io::Result<()> {
        let mut header = Header::new_gnu();
        let old = header.as_old_mut();
        for (field, value) in [(&mut old.name, name), (&mut old.linkname, target)] {
            let length = value.len().min(NAME_LEN);
            field[..length].copy_from_slice(&value[..length]);
        }
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.mtime);
        header.set_size(size);
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let padding = (BLOCK_BYTES - size % BLOCK_BYTES) % BLOCK_BYTES;
        self.out.write_all(&[0; BLOCK_BYTES as usize][..padding as usize])
    }
}

/// Returns `a`, `a/b` for `a/b/c`.
fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at])
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn names_and_links_of_any_bytes_and_length_read_back_the_same() {
        let long = [b"d/".repeat(120), b"\xff\xfe".to_vec()].concat();
        let target = [b".//x/../".repeat(40), b"y/".to_vec()].concat();
        let mut writer = TarWriter::new(Vec::new(), 7);
        writer.file(&long, true, 5, &b"hello world"[..]).unwrap();
        writer.file(b"short", false, 4, &b"a"[..]).unwrap();
        writer.link(b"link", &target).unwrap();
        assert!(writer.is_behind_link(b"link/x") && !writer.is_behind_link(b"links/x"));
        let bytes = writer.finish().unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut data = Vec::new();
            entry.read_to_end(&mut data).unwrap();
            let link = entry.link_name_bytes().map(|link| link.into_owned());
            if !entry.header().entry_type().is_dir() {
                assert!(!entry.path().unwrap().as_os_str().as_bytes().is_empty());
                seen.push((entry.path_bytes().into_owned(), data, link, entry.header().mode().unwrap()));
            }
        }
        let expected = vec![
            (long, b"hello".to_vec(), None, 0o755),
            (b"short".to_vec(), b"a\0\0\0".to_vec(), None, 0o644),
            (b"link".to_vec(), vec![], Some(target), 0o777),
        ];
        assert_eq!(seen, expected);
    }
}
