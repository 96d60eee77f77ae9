//! What is in a file of an archive of images: its digest once unpacked.

use std::io::Write;

use flate2::write::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use super::super::{BLOCK, LARGEST_OVERHEAD, TarReader, is_compressed};
use crate::refusal::{Judged, Refusal, refuse};

/// The most bytes that the files may have together when they are unpacked.
pub(super) const LARGEST_UNPACKED: u64 = 32 << 30;
const GZIP: &[u8] = b"\x1f\x8b\x08";

#[derive(Debug)]
pub(super) enum Content {
    /// The first bytes, too few to show whether it is compressed.
    Begins(Vec<u8>),
    Plain(Box<Counted>),
    Gzip(Box<MultiGzDecoder<Counted>>),
}

/// Digests what is unpacked, and reads it as a layer.
#[derive(Debug)]
pub(super) struct Counted {
    digest: Sha256,
    bytes: u64,
    layer: TarReader,
    /// Why it is no layer that may be loaded. Descriptions are none.
    fault: Option<Refusal>,
    /// What the reader would forward.
    read: Vec<u8>,
}

impl Default for Counted {
    fn default() -> Self {
        Self { digest: Sha256::default(), bytes: 0, layer: TarReader::layer(), fault: None, read: Vec::new() }
    }
}

impl Counted {
    pub(super) fn digest(self) -> (String, Option<Refusal>) {
        let fault = self.fault.or_else(|| self.layer.finish().err());
        (hex::encode(self.digest.finalize()), fault)
    }

    /// Returns the bytes that it takes on a disk, or more.
    pub(super) fn on_disk(&self) -> u64 {
        self.bytes.saturating_add(self.layer.entries().saturating_mul(LARGEST_OVERHEAD))
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
        if self.fault.is_none() {
            self.fault = self.layer.push(bytes, &mut self.read).err();
            self.read.clear();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Content {
    /// Takes the next bytes. `is_last` says that no more follow.
    pub(super) fn take(&mut self, bytes: &[u8], is_last: bool) -> Judged<()> {
        let Self::Begins(start) = self else { return self.write(bytes) };
        start.extend_from_slice(bytes);
        if !is_last && start.len() < BLOCK {
            return Ok(());
        }
        let start = std::mem::take(start);
        *self = if start.starts_with(GZIP) {
            Self::Gzip(Box::new(MultiGzDecoder::new(Counted::default())))
        } else if is_compressed(&start) {
            return refuse!(MediaType, "a layer is compressed in another way than with gzip");
        } else {
            Self::Plain(Box::default())
        };
        self.write(&start)
    }

    fn write(&mut self, bytes: &[u8]) -> Judged<()> {
        let written = match self {
            Self::Begins(_) => Ok(()),
            Self::Plain(counted) => counted.write_all(bytes),
            Self::Gzip(decoder) => decoder.write_all(bytes),
        };
        let unpacked = match self {
            Self::Gzip(decoder) => decoder.get_ref().on_disk(),
            Self::Plain(counted) => counted.on_disk(),
            Self::Begins(_) => 0,
        };
        match written {
            Ok(()) if unpacked <= LARGEST_UNPACKED => Ok(()),
            Ok(()) => refuse!(Limit, "a layer is larger than {} GiB when unpacked", LARGEST_UNPACKED >> 30),
            Err(_) => refuse!(Archive, "a layer cannot be unpacked"),
        }
    }

    pub(super) fn end(self) -> Judged<Counted> {
        match self {
            Self::Begins(_) => Ok(Counted::default()),
            Self::Plain(counted) => Ok(*counted),
            Self::Gzip(decoder) => match decoder.finish() {
                Ok(counted) => Ok(counted),
                Err(_) => refuse!(Archive, "a layer cannot be unpacked"),
            },
        }
    }
}
