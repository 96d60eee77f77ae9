//! Tars that are forwarded: the context of a build, and files for a container. Compressed ones are refused: engines
//! from 24.0 on unpack them with a program from the container, as root on the host. So are device files and attributes
//! that root in a container may not make itself: the engine unpacks them as root of the host.

mod header;
mod images;
mod written;

use self::{
    header::{decimal, is_header, may_be_set, name_of, named, pax, plain_name, size_of, text, with_kind, with_size},
    written::file,
};
pub use self::{
    images::{ImageReader, LoadedNames},
    written::program_start,
};
use crate::refusal::{Judged, refuse};

pub(crate) const BLOCK: usize = 512;
/// The largest context of a build, in bytes.
pub(crate) const LARGEST_CONTEXT: u64 = 4 << 30;
/// What a file takes on a disk besides its bytes: the rest of its last block, and its node.
const LARGEST_OVERHEAD: u64 = 4096;
/// The largest Dockerfile, `.dockerignore` and name of an entry, in bytes.
const LONGEST_CAPTURED: usize = 256 << 10;

/// Checks that a body starts like a plain tar. The engine detects compression by the first bytes, which in a tar are
/// the name of the first file: a body that could be taken for either is refused.
fn check_start(start: &[u8]) -> Judged<()> {
    if is_compressed(start) {
        return refuse!(MediaType, "a compressed archive is not accepted: send a plain tar");
    }
    let empty = !start.is_empty() && start.len().is_multiple_of(BLOCK) && start.iter().all(|byte| *byte == 0);
    if empty || start.get(257..262) == Some(b"ustar") {
        return Ok(());
    }
    refuse!(MediaType, "the body is not a tar")
}

/// Whether an engine would take bytes that start like this for compressed ones.
fn is_compressed(start: &[u8]) -> bool {
    const COMPRESSED: [&[u8]; 5] = [b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"\x5d\x00\x00"];
    start.get(1..4) == Some(b"*M\x18") || COMPRESSED.iter().any(|magic| start.starts_with(magic))
}

/// Reads a tar while it is forwarded. Of a build's context, it keeps the Dockerfile.
#[derive(Debug)]
pub struct TarReader {
    purpose: Purpose,
    largest: u64,
    entries: u64,
    header: Vec<u8>,
    /// The bytes left of the current entry, including its padding.
    left: u64,
    capture: Option<(Captured, usize)>,
    captured: Vec<u8>,
    next_name: Option<Vec<u8>>,
    /// The size of the next entry, in the pax format.
    next_size: Option<u64>,
    /// What came before the next entry and is about it: nothing, a pax header, or GNU's long names. Readers differ in
    /// what a mixture means.
    pending: Option<u8>,
    dockerfile: Option<Vec<u8>>,
    ignored: Option<Vec<u8>>,
    total: u64,
    started: bool,
    ended: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Purpose {
    /// The context of a build with this Dockerfile.
    Context(String),
    /// Files for a container.
    Files,
    /// A layer of an image. It may have devices, which no container may open, and attributes of its files.
    Layer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Captured {
    Dockerfile,
    Ignored,
    /// The name of the next entry, in the pax or the GNU format.
    Pax,
    LongName,
}

impl TarReader {
    /// A build's context, with this Dockerfile.
    #[must_use]
    pub fn context(dockerfile: &str) -> Self {
        Self::of(Purpose::Context(dockerfile.to_owned()), LARGEST_CONTEXT)
    }

    /// Files for a container.
    #[must_use]
    pub fn files(largest: u64) -> Self {
        Self::of(Purpose::Files, largest)
    }

    /// A layer of an image.
    pub(crate) fn layer() -> Self {
        Self::of(Purpose::Layer, u64::MAX)
    }

    fn of(purpose: Purpose, largest: u64) -> Self {
        Self {
            purpose,
            largest,
            entries: 0,
            header: Vec::new(),
            left: 0,
            capture: None,
            captured: Vec::new(),
            next_name: None,
            next_size: None,
            pending: None,
            dockerfile: None,
            ignored: None,
            total: 0,
            started: false,
            ended: false,
        }
    }

    /// Takes the next bytes and appends to `out` what is to be forwarded. Nothing after the end of the archive is.
    ///
    /// # Errors
    /// If it is not an unambiguous tar, or too large.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), crate::Refusal> {
        self.total += bytes.len() as u64;
        // A folder has hardly any bytes in an archive, and a block on a disk.
        if self.total.saturating_add(self.entries.saturating_mul(LARGEST_OVERHEAD)) > self.largest {
            let of_each = LARGEST_OVERHEAD >> 10;
            return refuse!(
                Limit,
                "the archive is larger than {} GiB, with {of_each} KiB more for each file and folder in it",
                self.largest >> 30
            );
        }
        while !bytes.is_empty() && !self.ended {
            if self.left > 0 {
                let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                let (now, rest) = bytes.split_at(count);
                if let Some((_, size)) = self.capture {
                    let wanted = size.saturating_sub(self.captured.len()).min(now.len());
                    self.captured.extend_from_slice(&now[..wanted]);
                }
                out.extend_from_slice(now);
                self.left -= count as u64;
                bytes = rest;
                if self.left == 0 {
                    self.entry_ends()?;
                }
                continue;
            }
            let count = (BLOCK - self.header.len()).min(bytes.len());
            let (now, rest) = bytes.split_at(count);
            self.header.extend_from_slice(now);
            bytes = rest;
            if self.header.len() == BLOCK {
                let header = std::mem::take(&mut self.header);
                if !self.started {
                    check_start(&header)?;
                    self.started = true;
                }
                if header.iter().all(|byte| *byte == 0) {
                    self.ended = true;
                } else {
                    out.extend(self.entry(header)?);
                }
            }
        }
        Ok(())
    }

    /// Takes the header of an entry. Returns it as it goes on: with the size that counts, if a pax header has another
    /// one.
    fn entry(&mut self, mut header: Vec<u8>) -> Judged<Vec<u8>> {
        if !is_header(&header) {
            return refuse!(Archive, "the archive is not a tar");
        }
        let Some(mut size) = size_of(&header[124..136]) else {
            return refuse!(Archive, "the size of an entry of the archive is not a number");
        };
        // Files had no mark once. Some readers take one for a folder, depending on its name. In a layer, no mark can be
        // added: its digest counts.
        let name = match header[156] {
            // These describe the next entry.
            b'x' | b'g' | b'L' | b'K' => Vec::new(),
            _ => self.next_name.take().unwrap_or_else(|| name_of(&header)),
        };
        if header[156] == 0 && size > 0 && self.purpose != Purpose::Layer && !name.ends_with(b"/") {
            header = with_kind(header, b'0');
        }
        if let Some(next) = self.next_size.take() {
            if header[156] != b'0' {
                return refuse!(Archive, "the archive has a size for an entry that is no file");
            }
            size = next;
            header = with_size(header, size);
        }
        let kind = header[156];
        let is_file = matches!(kind, b'0' | 0);
        let size = match kind {
            b'x' | b'g' | b'L' | b'K' => size,
            b'0' => size,
            0 if size > 0 => return refuse!(Archive, "the archive has a file of a kind that is not written any more"),
            0 => 0,
            b'1' | b'2' | b'5' | b'6' => 0,
            b'3' | b'4' if self.purpose == Purpose::Layer => 0,
            b'3' | b'4' => return refuse!(Archive, "the archive has a device file, which may not be made here"),
            b'S' => return refuse!(Archive, "the archive has a sparse file: write it whole"),
            _ => return refuse!(Archive, "the archive has an entry that is neither a file, a folder nor a link"),
        };
        self.pending = match (kind, self.pending) {
            (b'L' | b'K', None | Some(b'L')) => Some(b'L'),
            (b'x', None) => Some(b'x'),
            (b'x' | b'g' | b'L' | b'K', Some(_)) => {
                return refuse!(Archive, "the archive describes an entry twice");
            }
            _ => None,
        };
        self.left = size.div_ceil(BLOCK as u64) * BLOCK as u64;
        self.entries += 1;
        self.captured.clear();
        let meaning = match kind {
            b'x' => Some(Captured::Pax),
            b'L' => Some(Captured::LongName),
            b'g' | b'K' => None,
            _ => self.meaning(&name, is_file)?,
        };
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if (meaning.is_some() || matches!(kind, b'g' | b'K')) && size > LONGEST_CAPTURED {
            return refuse!(
                Limit,
                "the Dockerfile, or a name in the archive, is longer than {} KiB",
                LONGEST_CAPTURED >> 10
            );
        }
        self.capture = meaning.map(|meaning| (meaning, size));
        if self.left == 0 {
            self.entry_ends()?;
        }
        Ok(header)
    }

    /// Returns what an entry of a build's context means beyond a file. The last entry of a name counts, if it is a
    /// file.
    fn meaning(&mut self, name: &[u8], is_file: bool) -> Judged<Option<Captured>> {
        let Purpose::Context(dockerfile) = &self.purpose else { return Ok(None) };
        let name = plain_name(name)?;
        if name == dockerfile.as_bytes() {
            self.dockerfile = is_file.then(Vec::new);
            return Ok(is_file.then_some(Captured::Dockerfile));
        }
        if name == b".dockerignore" {
            self.ignored = is_file.then(Vec::new);
            return Ok(is_file.then_some(Captured::Ignored));
        }
        Ok(None)
    }

    fn entry_ends(&mut self) -> Judged<()> {
        let captured = std::mem::take(&mut self.captured);
        match self.capture.take() {
            None => {}
            Some((Captured::Dockerfile, _)) => self.dockerfile = Some(captured),
            Some((Captured::Ignored, _)) => self.ignored = Some(captured),
            Some((Captured::LongName, _)) => {
                let name = captured.split(|byte| *byte == 0).next().unwrap_or_default();
                self.next_name = Some(named(name)?);
            }
            Some((Captured::Pax, _)) => {
                for (key, value) in pax(&captured)? {
                    match key.as_str() {
                        "path" => self.next_name = Some(named(&value)?),
                        "size" => self.next_size = Some(decimal(&value)?),
                        key if key.starts_with("GNU.sparse") => {
                            return refuse!(Archive, "the archive has a sparse file: write it whole");
                        }
                        key if self.purpose != Purpose::Layer
                            && key.strip_prefix("SCHILY.xattr.").is_some_and(|attribute| !may_be_set(attribute)) =>
                        {
                            return refuse!(
                                Archive,
                                "the archive has the attribute {key:?}, which may not be set here"
                            );
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the number of entries so far, of which each takes room on a disk.
    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    /// Whether the first entry has been read.
    #[must_use]
    pub fn has_started(&self) -> bool {
        self.started
    }

    /// Returns the end of an archive once all of it has been read.
    ///
    /// # Errors
    /// If it is cut off.
    pub fn finish(&self) -> Result<Vec<u8>, crate::Refusal> {
        if self.left > 0 || !self.header.is_empty() || !self.started || self.pending.is_some() {
            return refuse!(Archive, "the archive is cut off");
        }
        Ok(vec![0; 2 * BLOCK])
    }

    /// Returns the Dockerfile once the whole context has been read.
    ///
    /// # Errors
    /// If there is none, the archive is cut off, or the file is not text.
    pub fn dockerfile(&self) -> Result<String, crate::Refusal> {
        self.finish()?;
        match &self.dockerfile {
            Some(bytes) => text(bytes),
            None => match &self.purpose {
                Purpose::Context(name) => refuse!(Build, "the context has no file {name}"),
                Purpose::Files | Purpose::Layer => refuse!(Build, "the archive is no context"),
            },
        }
    }

    /// Returns the end of a build's context: the rewritten Dockerfile, a `.dockerignore` that keeps it out of copies,
    /// and the end of the archive.
    #[must_use]
    pub fn end(&self, written_as: &str, dockerfile: &str) -> Vec<u8> {
        let mut ignored = self.ignored.clone().unwrap_or_else(|| b".dockerignore".to_vec());
        ignored.extend_from_slice(format!("\n{written_as}\n").as_bytes());
        let mut out = file(".dockerignore", &ignored);
        out.extend(file(written_as, dockerfile.as_bytes()));
        out.extend([0; 2 * BLOCK]);
        out
    }
}

#[cfg(test)]
mod tests;
