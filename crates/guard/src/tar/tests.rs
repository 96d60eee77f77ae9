use super::header::{octal, sum_of};
use super::*;

/// Makes another kind of entry of it.
fn as_kind(kind: u8, mut entry: Vec<u8>) -> Vec<u8> {
    entry[156] = kind;
    entry[148..156].copy_from_slice(b"        ");
    let sum: u32 = entry[..BLOCK].iter().map(|byte| u32::from(*byte)).sum();
    entry[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    entry
}

/// Gives it the mark of the program star, for whose readers the prefix of a name is shorter.
fn with_stars_mark(mut entry: Vec<u8>) -> Vec<u8> {
    entry[508..512].copy_from_slice(b"tar\0");
    let kind = entry[156];
    as_kind(kind, entry)
}

fn link(name: &str) -> Vec<u8> {
    as_kind(b'2', file(name, b""))
}

fn pax(record: &str) -> Vec<u8> {
    // With its own length, of two digits.
    as_kind(b'x', file("pax", format!("{} {record}\n", record.len() + 4).as_bytes()))
}

fn files(tar: &[u8]) -> Result<Vec<u8>, crate::Refusal> {
    let mut reader = TarReader::files(1 << 20);
    let mut out = Vec::new();
    for piece in tar.chunks(100) {
        reader.push(piece, &mut out)?;
    }
    out.extend(reader.finish()?);
    Ok(out)
}

#[test]
fn files_for_a_container_are_no_devices_and_have_no_attributes_that_root_in_it_may_not_set() {
    let end = vec![0; 1024];
    for tar in [
        as_kind(b'3', file("null", b"")),
        [file("a", b"1"), as_kind(b'4', file("sda", b""))].concat(),
        [pax("SCHILY.xattr.trusted.overlay.opaque=y"), file("a", b"1")].concat(),
        [pax("SCHILY.xattr.security.selinux=a"), file("a", b"1")].concat(),
        [pax("GNU.sparse.major=1"), file("a", b"1")].concat(),
        as_kind(b'S', file("a", b"1")),
        // What follows is the content of the file for some, and an entry for the engine.
        [as_kind(0, file("a/", &as_kind(b'3', file("null", b"")))), file("b", b"1")].concat(),
        [pax("size=10"), as_kind(b'5', file("a/", b""))].concat(),
        [pax("size=+1"), file("a", b"1")].concat(),
        [pax("size=a"), file("a", b"1")].concat(),
        [as_kind(b'x', file("pax", b"10 size=1\n10 size=9\n")), file("a", b"1")].concat(),
        [pax("path=a\0b"), file("a", b"1")].concat(),
        // Readers differ in which of several headers is about the next entry, and in what an empty name means.
        [pax("mtime=10"), pax("atime=10"), file("a", b"1")].concat(),
        [pax("mtime=10"), as_kind(b'g', file("pax", b"14 comment=ab\n")), file("a", b"1")].concat(),
        [as_kind(b'L', file("l", b"a/\0")), pax("path=bb"), file("a", b"1")].concat(),
        [as_kind(b'L', file("l", b"\0")), file("a", b"1")].concat(),
        [pax("path=a/"), as_kind(0, file("a", b"1"))].concat(),
        // About an entry that the guard appends.
        [file("a", b"1"), pax("mtime=10")].concat(),
        [file("a", b"1"), as_kind(b'K', file("l", b"abc\0"))].concat(),
        [with_stars_mark(file("a", b"1")), end.clone()].concat(),
        file("a", &[1; 700])[..600].to_vec(),
        vec![1; 600],
    ] {
        assert!(files(&[tar, end.clone()].concat()).is_err());
    }
    let tar = [
        file("a/", b""),
        pax("SCHILY.xattr.user.a=b"),
        file("/abs/../b", b"1"),
        as_kind(b'6', file("fifo", b"")),
        link("x"),
        as_kind(b'g', file("pax", b"14 comment=ab\n")),
        [as_kind(b'K', file("l", b"to\0")), as_kind(b'L', file("l", b"c\0")), link("c")].concat(),
        pax("SCHILY.xattr.security.capability=1"),
        file("c", b"1"),
        end,
    ]
    .concat();
    assert_eq!(files(&tar).unwrap(), tar, "and goes on as it is");
    let end = [0; 1024];
    let unmarked = [&as_kind(0, file("a", b"1"))[..], &end].concat();
    assert_eq!(files(&unmarked).unwrap(), [&file("a", b"1")[..], &end].concat(), "and without a mark as a file");
    let (mut large, content) = (file("a", b""), file("b", b"1"));
    large[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0]);
    let large = as_kind(b'0', large);
    assert!(files(&[large, content, vec![0; 1024]].concat()).is_ok());
}

#[test]
fn a_file_has_one_size_for_every_reader_and_a_name_of_any_bytes() {
    // As Python writes a file of more than 8 GiB, and Go one with such a name.
    let (content, end) = (vec![7; 1024], vec![0; 1024]);
    let name = as_kind(b'x', file("pax", b"13 path=d\xe9j\xe0\n"));
    let tar = [pax("size=1000"), file("a", b""), content.clone(), name, file("b", b"1"), end].concat();
    let out = files(&tar).unwrap();
    assert_eq!(size_of(&out[1024..][124..136]), Some(1000));
    assert_eq!(octal(&out[1024..][148..156]), Some(sum_of(&out[1024..1536])));
    assert_eq!((&out[..1024], &out[1536..]), (&tar[..1024], &tar[1536..]), "and nothing else changes");
    let mut latin = file("d?j?", b"1");
    (latin[1], latin[3]) = (0xe9, 0xe0);
    assert_eq!(files(&[as_kind(b'0', latin.clone()), vec![0; 1024]].concat()).unwrap()[..4], *b"d\xe9j\xe0");
    let context = [as_kind(b'0', latin), file("Dockerfile", b"FROM a"), vec![0; 1024]].concat();
    assert_eq!(read(&context, 512).unwrap().0, "FROM a");
    let sized = [pax("size=7"), file("Dockerfile", b""), file("", b"")].concat();
    let mut sized = [sized[..1536].to_vec(), b"FROM b\n".to_vec()].concat();
    sized.resize(2048, 0);
    sized.resize(3072, 0);
    assert_eq!(read(&sized, 512).unwrap().0, "FROM b\n");
}

fn read(tar: &[u8], piece: usize) -> Result<(String, Vec<u8>), crate::Refusal> {
    let mut reader = TarReader::context("Dockerfile");
    let mut out = Vec::new();
    for piece in tar.chunks(piece) {
        reader.push(piece, &mut out)?;
    }
    Ok((reader.dockerfile()?, out))
}

#[test]
fn the_dockerfile_that_counts_is_the_last_file_of_its_name_in_any_pieces() {
    let tar = [file("./a", &[1; 700]), file("Dockerfile", b"FROM a"), file("./Dockerfile", b"FROM b"), vec![0; 1024]]
        .concat();
    for piece in [1, 7, 512, 100_000] {
        let (dockerfile, out) = read(&tar, piece).unwrap();
        assert_eq!(dockerfile, "FROM b");
        assert_eq!(out, tar[..tar.len() - 1024], "all but the end goes on");
    }
    let after = [file("Dockerfile", b"FROM a"), vec![0; 1024], file("Dockerfile", b"FROM b")].concat();
    assert_eq!(read(&after, 512).unwrap().0, "FROM a");
}

#[test]
fn a_context_that_hides_its_dockerfile_is_refused() {
    let good = file("Dockerfile", b"FROM a");
    for tar in [
        link("Dockerfile"),
        [good.clone(), link("Dockerfile")].concat(),
        file("x/../Dockerfile", b"FROM a"),
        file("/Dockerfile", b"FROM a"),
        good[..300].to_vec(),
        b"\x1f\x8b\x08rest".to_vec(),
        [b"BZh9".to_vec(), good[4..].to_vec()].concat(),
        vec![7; 1024],
        Vec::new(),
    ] {
        assert!(read(&tar, 100).is_err());
    }
}

#[test]
fn what_the_engine_could_unpack_is_no_plain_tar() {
    let mut named = file("BZh91AY", b"");
    assert!(check_start(&named).is_err(), "a name that looks like bzip2");
    named[0] = b'C';
    assert!(check_start(&named).is_ok());
    for start in [&b"\xfd7zXZ\0"[..], b"\x28\xb5\x2f\xfd", b"P*M\x18", b"", b"PK\x03\x04"] {
        assert!(check_start(start).is_err(), "{start:?}");
    }
    assert!(check_start(&[0; 512]).is_ok());
}

#[test]
fn folders_take_room_on_a_disk_though_they_have_no_bytes() {
    let folders: Vec<u8> = (0..300).flat_map(|at| as_kind(b'5', file(&format!("f{at}"), b""))).collect();
    let mut reader = TarReader::files(1 << 20);
    let refused = folders.chunks(BLOCK).find_map(|block| reader.push(block, &mut Vec::new()).err());
    assert_eq!(refused.unwrap().rule, crate::Rule::Limit);
    let mut reader = TarReader::files(2 << 20);
    assert!(folders.chunks(BLOCK).all(|block| reader.push(block, &mut Vec::new()).is_ok()));
}
