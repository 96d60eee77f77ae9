//! Entries that the guard itself adds or sends.

use super::BLOCK;

/// Returns the start of a tar with our own program. The program's bytes follow.
#[must_use]
pub fn program_start(size: u64) -> Vec<u8> {
    let folder = header(".longshore/", 0, "755", '5');
    [folder, header(".longshore/longshore", size, "755", '0')].concat()
}

/// Returns a file as an entry of a tar.
pub(super) fn file(name: &str, content: &[u8]) -> Vec<u8> {
    let mut file = header(name, content.len() as u64, "644", '0');
    file.extend_from_slice(content);
    file.resize(file.len().next_multiple_of(BLOCK), 0);
    file
}

pub(super) fn header(name: &str, size: u64, mode: &str, kind: char) -> Vec<u8> {
    let mut header = vec![0_u8; BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, &format!("0000{mode}\0"));
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{size:011o}\0"));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, kind.encode_utf8(&mut [0; 4]));
    put(257, "ustar\0");
    put(263, "00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}
