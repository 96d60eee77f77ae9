//! Archives of images that a job loads (`docker load`, `docker buildx build --load`), in the format of `docker save`.
//!
//! The names in an archive would become names on the engine, which belong to everybody. And an engine that has a layer
//! already takes it for a layer of the archive without looking at it: an archive could name another's layers and get
//! their files. So the archive is read on its way, its layers are compared with what its images say of them, and the
//! engine gets files under names that the guard chooses, with a rewritten list of images.

mod content;
mod list;

pub use self::list::LoadedNames;

use std::collections::BTreeMap;

use self::content::{Content, LARGEST_UNPACKED};
use super::header::{is_header, name_of, octal, pax, plain_text_name};
use super::{BLOCK, check_start, written::header};
use crate::refusal::{Judged, Refusal, refuse};

/// The largest archive, in bytes.
const LARGEST: u64 = 8 << 30;
/// The most files in it.
const MOST_FILES: usize = 2048;
/// The largest list of images, and the largest description of one. All such files are kept until the end.
const LONGEST_KEPT: usize = 256 << 10;
const MOST_KEPT: usize = 16 << 20;
/// The list of images, in the format of `docker save`.
const LIST: &str = "manifest.json";
/// The other lists of the same, which are not forwarded: the engine would have to choose.
const OTHER_LISTS: [&str; 3] = ["index.json", "oci-layout", "repositories"];
/// The longest name of a file, in a header without extensions.
const LONGEST_NAME: usize = 100;

/// Reads an archive while it is forwarded.
#[derive(Debug, Default)]
pub struct ImageReader {
    header: Vec<u8>,
    /// The bytes left of the current entry, including its padding.
    left: u64,
    current: Option<Current>,
    files: BTreeMap<String, File>,
    kept: usize,
    total: u64,
    unpacked: u64,
    ended: bool,
}

/// The file that is being read.
#[derive(Debug)]
struct Current {
    purpose: Purpose,
    /// The bytes left of it, without padding.
    left: u64,
    content: Content,
    /// Its bytes, if it is short.
    kept: Option<Vec<u8>>,
}

#[derive(Debug)]
enum Purpose {
    /// A file of images: forwarded under its name.
    File(String),
    /// The list of images: written anew at the end.
    List,
    /// Further attributes for the next header.
    Header,
    /// Not forwarded.
    Nothing,
}

/// A file that was read.
#[derive(Debug)]
struct File {
    /// The SHA-256 of what is in it, unpacked.
    digest: String,
    /// Why it is no layer that may be loaded.
    fault: Option<Refusal>,
    kept: Option<Vec<u8>>,
}

impl ImageReader {
    /// Takes the next bytes and appends to `out` what is to be forwarded.
    ///
    /// # Errors
    /// If it is not an unambiguous archive of files, or too large.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        self.total += bytes.len() as u64;
        if self.total > LARGEST {
            return refuse!(Limit, "the archive is larger than {} GiB", LARGEST >> 30);
        }
        while !bytes.is_empty() && !self.ended {
            if let Some(current) = &mut self.current {
                let (now, rest) = bytes.split_at(within(self.left, bytes));
                let content = &now[..within(current.left, now)];
                current.left -= content.len() as u64;
                if let Some(kept) = &mut current.kept {
                    kept.extend_from_slice(content);
                }
                // Nobody asks what others are when they are unpacked.
                if matches!(current.purpose, Purpose::File(_) | Purpose::List) {
                    current.content.take(content, current.left == 0)?;
                }
                if matches!(current.purpose, Purpose::File(_)) {
                    out.extend_from_slice(now);
                }
                self.left -= now.len() as u64;
                bytes = rest;
                if self.left == 0 {
                    self.end()?;
                }
                continue;
            }
            let (now, rest) = bytes.split_at((BLOCK - self.header.len()).min(bytes.len()));
            self.header.extend_from_slice(now);
            bytes = rest;
            if self.header.len() == BLOCK {
                let header = std::mem::take(&mut self.header);
                if self.files.is_empty() {
                    check_start(&header)?;
                }
                match header.iter().all(|byte| *byte == 0) {
                    true => self.ended = true,
                    false => self.begin(&header, out)?,
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, entry: &[u8], out: &mut Vec<u8>) -> Judged<()> {
        let Some(size) = size_of(entry) else {
            return refuse!(Archive, "the archive is not a tar");
        };
        let purpose = match entry[156] {
            b'0' | 0 => match plain_text_name(&name_of(entry))? {
                name if name == LIST => Purpose::List,
                name if OTHER_LISTS.contains(&name.as_str()) => Purpose::Nothing,
                name if name.is_empty() || name.len() > LONGEST_NAME => {
                    return refuse!(
                        Archive,
                        "the archive has a file without a name, or of more than {LONGEST_NAME} bytes"
                    );
                }
                name => Purpose::File(name),
            },
            b'5' => Purpose::Nothing,
            b'x' | b'g' => Purpose::Header,
            _ => return refuse!(Archive, "the archive has an entry that is neither a file nor a folder"),
        };
        let name = match &purpose {
            Purpose::File(name) => Some(name.as_str()),
            Purpose::List => Some(LIST),
            Purpose::Header | Purpose::Nothing => None,
        };
        if name.is_some_and(|name| self.files.contains_key(name)) || self.files.len() >= MOST_FILES {
            return refuse!(Archive, "the archive has a file twice, or more than {MOST_FILES} files");
        }
        if let Purpose::File(name) = &purpose {
            let header = header(name, size, "644", '0');
            // The client's name may have begun in another way.
            check_start(&header)?;
            out.extend(header);
        }
        let is_needed = matches!(purpose, Purpose::List | Purpose::Header);
        let short = usize::try_from(size).ok().filter(|size| *size <= LONGEST_KEPT && self.kept + size <= MOST_KEPT);
        if is_needed && short.is_none() {
            return refuse!(Limit, "the archive's list of images is too long");
        }
        self.kept += short.unwrap_or_default();
        self.left = size.next_multiple_of(BLOCK as u64);
        let content = Content::Begins(Vec::new());
        self.current = Some(Current { purpose, left: size, content, kept: short.map(Vec::with_capacity) });
        if self.left == 0 { self.end() } else { Ok(()) }
    }

    fn end(&mut self) -> Judged<()> {
        let Some(Current { purpose, content, kept, .. }) = self.current.take() else { return Ok(()) };
        let name = match purpose {
            Purpose::File(name) => name,
            Purpose::List => LIST.to_owned(),
            Purpose::Nothing => return Ok(()),
            Purpose::Header => {
                let records = pax(&kept.unwrap_or_default())?;
                let tells = |key: &str| matches!(key, "path" | "size" | "linkpath") || key.starts_with("GNU.sparse");
                if records.keys().any(|key| tells(key)) {
                    return refuse!(Archive, "the archive has a file whose name or size is not in its own header");
                }
                return Ok(());
            }
        };
        let counted = content.end()?;
        self.unpacked = self.unpacked.saturating_add(counted.on_disk());
        if self.unpacked > LARGEST_UNPACKED {
            return refuse!(Limit, "the archive is larger than {} GiB when unpacked", LARGEST_UNPACKED >> 30);
        }
        let (digest, fault) = counted.digest();
        self.files.insert(name, File { digest, fault, kept });
        Ok(())
    }
}

/// Returns the size that a header says, if it is a header.
fn size_of(entry: &[u8]) -> Option<u64> {
    is_header(entry).then(|| octal(&entry[124..136]))?
}

fn within(left: u64, bytes: &[u8]) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len())
}

#[cfg(test)]
mod tests;
