//! Writes a zip as a stream: without seeking, and with only a few bytes per file in memory.
//!
//! Sizes and checksums follow each file's data, in a data descriptor (PKWARE's APPNOTE.TXT, 4.3.9), and are in the
//! central directory at the end. Files of 4 GiB and more, and archives of more than 65,535 files, use the
//! format's 64-bit fields.

use std::io::{self, Read, Write};

use flate2::{Compression, write::DeflateEncoder};

/// Bit 3: sizes follow the data. Bit 11: names are UTF-8.
const FLAGS: u16 = 1 << 3 | 1 << 11;
const DEFLATED: u16 = 8;
/// 4.5 of the format: 64-bit fields. Made on Unix.
const ZIP64_VERSION: u16 = 45;
const MADE_BY: u16 = 3 << 8 | ZIP64_VERSION;
/// A field of 32 bits whose value stands in a field of 64 bits.
const IN_ZIP64_FIELD: u32 = u32::MAX;
/// The length from which a file gets 64-bit fields. Packing may make it a little longer.
const ZIP64_FROM_BYTES: u64 = 0xff00_0000;
/// 1980-01-01, the format's first day: files have no time of their own, so that the same files make the same zip.
const FILE_DATE: u16 = 1 << 5 | 1;

/// A zip in progress.
#[derive(Debug)]
pub struct ZipWriter<W: Write> {
    out: Counting<W>,
    directory: Vec<u8>,
    files: u64,
}

impl<W: Write> ZipWriter<W> {
    pub fn new(out: W) -> Self {
        Self { out: Counting { out, written: 0 }, directory: Vec::new(), files: 0 }
    }

    /// Adds a file of `bytes` bytes. Its path is one that [`path_fault`](longshore_core::artifact::path_fault) accepts.
    pub fn add(&mut self, path: &str, executable: bool, bytes: u64, mut content: impl Read) -> io::Result<()> {
        let name_length = u16::try_from(path.len()).map_err(io::Error::other)?;
        let is_large = bytes >= ZIP64_FROM_BYTES;
        let begins = self.out.written;
        let mut local_header = Vec::new();
        put32(&mut local_header, &[0x0403_4b50]);
        put16(&mut local_header, &[ZIP64_VERSION, FLAGS, DEFLATED, 0, FILE_DATE]);
        let later = if is_large { IN_ZIP64_FIELD } else { 0 };
        put32(&mut local_header, &[0, later, later]);
        put16(&mut local_header, &[name_length, if is_large { 20 } else { 0 }]);
        put(&mut local_header, &[path.as_bytes()]);
        if is_large {
            put16(&mut local_header, &[1, 16]);
            put64(&mut local_header, &[0, 0]);
        }
        self.out.write_all(&local_header)?;

        let before = self.out.written;
        let mut packer = DeflateEncoder::new(&mut self.out, Compression::fast());
        let (mut sum, mut read, mut buffer) = (crc32fast::Hasher::new(), 0, vec![0; 64 << 10]);
        loop {
            let count = content.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            sum.update(&buffer[..count]);
            read += count as u64;
            packer.write_all(&buffer[..count])?;
        }
        packer.finish()?;
        if read != bytes {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the length of a file has changed"));
        }
        let (packed, checksum) = (self.out.written - before, sum.finalize());
        let mut descriptor = Vec::new();
        put32(&mut descriptor, &[0x0807_4b50, checksum]);
        if is_large {
            put64(&mut descriptor, &[packed, bytes]);
        } else {
            put32(&mut descriptor, &[small(packed), small(bytes)]);
        }
        self.out.write_all(&descriptor)?;

        let mut extra = Vec::new();
        if is_large {
            put64(&mut extra, &[bytes, packed]);
        }
        if begins >= u64::from(IN_ZIP64_FIELD) {
            put64(&mut extra, &[begins]);
        }
        let extra_length = if extra.is_empty() { 0 } else { extra.len() as u16 + 4 };
        let entry = &mut self.directory;
        put32(entry, &[0x0201_4b50]);
        put16(entry, &[MADE_BY, ZIP64_VERSION, FLAGS, DEFLATED, 0, FILE_DATE]);
        let sizes = if is_large { [IN_ZIP64_FIELD; 2] } else { [small(packed), small(bytes)] };
        put32(entry, &[checksum, sizes[0], sizes[1]]);
        put16(entry, &[name_length, extra_length, 0, 0, 0]);
        let mode: u32 = if executable { 0o100_755 } else { 0o100_644 };
        put32(entry, &[mode << 16, small(begins)]);
        put(entry, &[path.as_bytes()]);
        if !extra.is_empty() {
            put16(entry, &[1, extra.len() as u16]);
            put(entry, &[&extra]);
        }
        self.files += 1;
        Ok(())
    }

    /// Writes the central directory. Returns what the zip was written to.
    pub fn finish(mut self) -> io::Result<W> {
        let (begins, length) = (self.out.written, self.directory.len() as u64);
        self.out.write_all(&self.directory)?;
        let mut end = Vec::new();
        if self.files >= 0xffff || begins + length >= u64::from(IN_ZIP64_FIELD) {
            let at = self.out.written;
            put32(&mut end, &[0x0606_4b50]);
            put64(&mut end, &[44]);
            put16(&mut end, &[MADE_BY, ZIP64_VERSION]);
            put32(&mut end, &[0, 0]);
            put64(&mut end, &[self.files, self.files, length, begins]);
            put32(&mut end, &[0x0706_4b50, 0]);
            put64(&mut end, &[at]);
            put32(&mut end, &[1]);
        }
        let files = u16::try_from(self.files).unwrap_or(u16::MAX);
        put32(&mut end, &[0x0605_4b50]);
        put16(&mut end, &[0, 0, files, files]);
        put32(&mut end, &[small(length), small(begins)]);
        put16(&mut end, &[0]);
        self.out.write_all(&end)?;
        self.out.flush()?;
        Ok(self.out.out)
    }
}

fn small(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(IN_ZIP64_FIELD)
}

fn put(out: &mut Vec<u8>, pieces: &[&[u8]]) {
    pieces.iter().for_each(|piece| out.extend_from_slice(piece));
}

fn put16(out: &mut Vec<u8>, values: &[u16]) {
    values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
}

fn put32(out: &mut Vec<u8>, values: &[u32]) {
    values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
}

fn put64(out: &mut Vec<u8>, values: &[u64]) {
    values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
}

#[derive(Debug)]
struct Counting<W> {
    out: W,
    written: u64,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn what_python_reads_out_of_a_zip_is_what_was_written_into_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.zip");
        let mut zip = ZipWriter::new(std::fs::File::create(&path).unwrap());
        let long: Vec<u8> = (0..300_000_u32).map(|n| (n % 509 * n % 251) as u8).collect();
        zip.add("a/ä.txt", false, 5, &b"hello"[..]).unwrap();
        zip.add("bin/tool", true, long.len() as u64, long.as_slice()).unwrap();
        zip.add("empty", false, 0, io::empty()).unwrap();
        assert!(zip.add("short", false, 9, &b"x"[..]).is_err());
        let mut zip = ZipWriter::new(std::fs::File::create(&path).unwrap());
        zip.add("a/ä.txt", false, 5, &b"hello"[..]).unwrap();
        zip.add("bin/tool", true, long.len() as u64, long.as_slice()).unwrap();
        zip.add("empty", false, 0, io::empty()).unwrap();
        zip.finish().unwrap();
        let script = "import sys, zipfile, hashlib\nz = zipfile.ZipFile(sys.argv[1])\nassert z.testzip() is None\n\
                      for i in z.infolist():\n    print(i.filename, i.file_size, oct(i.external_attr >> 16), hashlib.sha256(z.read(i)).hexdigest()[:8])";
        let output = Command::new("python3").args(["-c", script]).arg(&path).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{}", String::from_utf8_lossy(&output.stderr));
        assert!(lines[0].starts_with("a/ä.txt 5 0o100644 2cf24dba"), "{text}");
        assert!(lines[1].starts_with("bin/tool 300000 0o100755"), "{text}");
        assert!(lines[2].starts_with("empty 0 0o100644 e3b0c442"), "{text}");
    }

    #[test]
    fn a_zip_of_more_files_than_16_bits_can_count_is_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("many.zip");
        let out = io::BufWriter::new(std::fs::File::create(&path).unwrap());
        let mut zip = ZipWriter::new(out);
        for n in 0..70_000 {
            zip.add(&format!("{n}"), false, 0, io::empty()).unwrap();
        }
        zip.finish().unwrap().into_inner().unwrap();
        let script = "import sys, zipfile; print(len(zipfile.ZipFile(sys.argv[1]).namelist()))";
        let output = Command::new("python3").args(["-c", script]).arg(&path).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "70000");
    }
}
