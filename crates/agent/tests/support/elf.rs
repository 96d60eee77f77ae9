//! A program that cannot run here, made of its header alone. `engine-docker` puts it into an image.

/// Builds the header of an ELF program for a machine (`e_machine`), with a loader.
pub(crate) fn elf(machine: u8, loader: &str) -> Vec<u8> {
    let mut bytes = vec![0; 64 + 56];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    (bytes[6], bytes[16], bytes[18], bytes[20]) = (1, 2, machine, 1);
    (bytes[32], bytes[52], bytes[54], bytes[56]) = (64, 64, 56, 1);
    bytes[64] = 3;
    bytes[64 + 8] = 64 + 56;
    bytes[64 + 32] = u8::try_from(loader.len() + 1).unwrap();
    bytes.extend_from_slice(loader.as_bytes());
    bytes.push(0);
    bytes
}
