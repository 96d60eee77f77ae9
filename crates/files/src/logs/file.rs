//! A journal's file, opened for reading: either the one that is appended to or, some time after its job's end, the
//! packed file (see [`pack`](super::pack)). Offsets are those of the unpacked journal in both cases.

use std::{
    fs::File,
    io::{self, Read, Seek as _, SeekFrom},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use zeekstd::Decoder;

/// A file that can be read at any offset.
pub(super) trait ReadAt {
    /// Reads some bytes at `offset`; none at the end.
    fn read_from(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_from(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_at(buffer, offset)
    }
}

/// A journal opened for reading; see the module. Stays readable if the file is packed or removed meanwhile.
#[derive(Debug)]
pub struct JournalFile(Kind);

enum Kind {
    Plain(File),
    /// The decoder stays after the bytes read last, so that reading on is quick.
    Packed(Box<Mutex<Decoder<'static, File>>>),
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Packed(_) => "Packed",
        })
    }
}

/// Returns the path of the packed journal.
pub(super) fn packed_path(journal: &Path) -> PathBuf {
    journal.with_extension("zst")
}

impl JournalFile {
    /// Opens a journal. Returns `None` if nothing has been printed. A damaged packed file is an
    /// [`io::ErrorKind::InvalidData`] error.
    pub fn open(journal: &Path) -> io::Result<Option<Self>> {
        // Packing creates the packed file first and then removes the plain one, so one of them always exists.
        for (path, packed) in [(journal, false), (&packed_path(journal), true)] {
            match File::open(path) {
                Ok(file) if packed => return Self::open_packed(file).map(Some),
                Ok(file) => return Ok(Some(Self(Kind::Plain(file)))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    pub(super) fn open_packed(file: File) -> io::Result<Self> {
        Ok(Self(Kind::Packed(Box::new(Mutex::new(Decoder::new(file).map_err(damaged)?)))))
    }

    /// Returns the length of the unpacked journal.
    #[expect(clippy::len_without_is_empty, reason = "a length in bytes, not a collection")]
    pub fn len(&self) -> io::Result<u64> {
        match &self.0 {
            Kind::Plain(file) => Ok(file.metadata()?.len()),
            Kind::Packed(decoder) => {
                Ok(decoder.lock().unwrap_or_else(PoisonError::into_inner).seek_table().size_decomp())
            }
        }
    }

    /// Returns a reader from the journal's beginning.
    pub fn reader(&self) -> impl Read + '_ {
        FromStart { file: self, offset: 0 }
    }
}

impl ReadAt for JournalFile {
    fn read_from(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match &self.0 {
            Kind::Plain(file) => file.read_at(buffer, offset),
            Kind::Packed(decoder) => {
                let mut decoder = decoder.lock().unwrap_or_else(PoisonError::into_inner);
                if offset >= decoder.seek_table().size_decomp() {
                    return Ok(0);
                }
                if decoder.offset() != offset {
                    decoder.seek(SeekFrom::Start(offset))?;
                }
                decoder.decompress(buffer).map_err(damaged)
            }
        }
    }
}

struct FromStart<'a> {
    file: &'a JournalFile,
    offset: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_from(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

pub(super) fn damaged(error: zeekstd::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}
