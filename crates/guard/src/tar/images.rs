//! Archives of images that a job loads (`docker load`, `docker buildx build --load`), in the format of `docker save`.
//!
//! The names in an archive would become names on the engine, which belong to everybody. And an engine that has a layer
//! already takes it for a layer of the archive without looking at it: an archive could name another's layers and get
//! their files. So the archive is read on its way, its layers are compared with what its images say of them, and the
//! engine gets files under names of ours, with a list of images written anew.

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
    /// What the next header says besides.
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
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use serde_json::json;
    use sha2::{Digest as _, Sha256};

    use super::super::written::file;
    use super::list::{LoadedImage, end};
    use super::*;

    fn sha(bytes: &[u8]) -> String {
        hex::encode(Sha256::digest(bytes))
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// A layer with one file.
    fn layer_of(content: &[u8]) -> Vec<u8> {
        archive(&[("file", content)])
    }

    /// The description of an image with these layers.
    fn description(layers: &[&[u8]]) -> Vec<u8> {
        let ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", sha(layer))).collect();
        json!({ "rootfs": { "type": "layers", "diff_ids": ids } }).to_string().into_bytes()
    }

    fn list(config: &str, names: &[&str], layers: &[&str]) -> Vec<u8> {
        json!([{ "Config": config, "RepoTags": names, "Layers": layers }]).to_string().into_bytes()
    }

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let files = files.iter().flat_map(|(name, content)| file(name, content));
        files.chain([0; 2 * BLOCK]).collect()
    }

    fn read(archive: &[u8], piece: usize) -> Result<(Vec<LoadedImage>, Vec<u8>), Refusal> {
        let (mut reader, mut out) = (ImageReader::default(), Vec::new());
        for piece in archive.chunks(piece) {
            reader.push(piece, &mut out)?;
        }
        Ok((reader.images()?, out))
    }

    #[test]
    fn the_files_of_an_image_go_on_and_its_lists_do_not_in_any_pieces() {
        let (one, two) = (layer_of(&[1; 5000]), layer_of(b"two"));
        let (config, packed) = (description(&[&one, &two]), gzip(&two));
        let list = list("c.json", &["app:1"], &["blobs/one", "two/layer.tar"]);
        let whole = archive(&[
            ("blobs/one", &one),
            ("c.json", &config),
            ("index.json", b"{}"),
            ("manifest.json", &list),
            ("oci-layout", b"{}"),
            ("two/layer.tar", &packed),
        ]);
        let forwarded = archive(&[("blobs/one", &one), ("c.json", &config), ("two/layer.tar", &packed)]);
        for piece in [1, 7, 512, 100_000] {
            let (images, out) = read(&whole, piece).unwrap();
            assert_eq!(out, forwarded[..forwarded.len() - 2 * BLOCK]);
            assert_eq!((images[0].digest.as_str(), images[0].names.len()), (sha(&config).as_str(), 1));
            let end = String::from_utf8(end(&[(images[0].clone(), vec!["ours:1".to_owned()])])).unwrap();
            assert!(end.contains(r#""RepoTags":["ours:1"]"#) && !end.contains("app"), "{end}");
        }
    }

    #[test]
    fn an_archive_names_no_layer_that_it_does_not_have() {
        let layer = layer_of(b"layer");
        let (config, foreign) = (description(&[&layer]), description(&[b"another job's"]));
        let of = |config: &[u8], layers: &[&str], content: &[u8]| {
            let list = list("c", &["app:1"], layers);
            read(&archive(&[("l", content), ("c", config), ("manifest.json", &list)]), 512)
        };
        assert!(of(&config, &["l"], &layer).is_ok());
        assert!(of(&config, &["l"], &gzip(&layer)).is_ok());
        for (config, layers, content) in [
            (&foreign, &["l"][..], &layer),
            (&foreign, &[][..], &layer),
            (&config, &[][..], &layer),
            (&config, &["l", "l"][..], &layer),
            (&config, &["x"][..], &layer),
            (&config, &["../l"][..], &layer),
            (&config, &["l"][..], &b"other".to_vec()),
            (&config, &["l"][..], &gzip(b"other")),
            (&config, &["l"][..], &gzip(&layer)[..12].to_vec()),
            (&config, &["l"][..], &b"\x28\xb5\x2f\xfd....".to_vec()),
            (&config, &["l"][..], &b"BZh9".to_vec()),
        ] {
            assert!(of(config, layers, content).is_err(), "{layers:?} {content:?}");
        }
    }

    #[test]
    fn a_description_that_the_engine_reads_in_another_way_is_refused() {
        let layer = layer_of(b"layer");
        let (own, foreign) = (sha(&layer), sha(b"another job's"));
        let of = |description: String| {
            let list = list("c", &["app:1"], &["l"]);
            read(&archive(&[("l", &layer), ("c", description.as_bytes()), ("manifest.json", &list)]), 512)
        };
        let ids = |key: &str, id: &str| format!(r#""{key}":["sha256:{id}"]"#);
        let rootfs = |key: &str, id: &str| format!(r#""{key}":{{{}}}"#, ids("diff_ids", id));
        assert!(of(format!("{{{}}}", rootfs("rootfs", &own))).is_ok());
        for key in ["rootfs", "RootFS", "rootf\u{17f}", "rootf\\u017f", "\\u0072ootfs"] {
            let refused = of(format!("{{{},{}}}", rootfs("rootfs", &own), rootfs(key, &foreign)));
            assert!(refused.is_err(), "{key}");
        }
        for key in ["diff_ids", "DIFF_IDS", "diff_id\u{17f}"] {
            let refused = of(format!(r#"{{"rootfs":{{{},{}}}}}"#, ids("diff_ids", &own), ids(key, &foreign)));
            assert!(refused.is_err(), "{key}");
        }
        assert!(of(format!("{{{}}} {{}}", rootfs("rootfs", &own))).is_err(), "bytes after it");
    }

    #[test]
    fn a_layer_takes_no_more_on_a_disk_than_its_bytes() {
        let of = |layer: &[u8]| {
            let list = list("c", &["app:1"], &["l"]);
            [layer.to_vec(), gzip(layer)].map(|packed| {
                let archive = archive(&[("l", &packed), ("c", &description(&[layer])), ("manifest.json", &list)]);
                read(&archive, 512).map(drop).map_err(|refusal| refusal.reason)
            })
        };
        let kind = |kind, name: &str, content: &[u8]| of_kind(&file(name, content), kind);
        let pax = |record: &str| kind(b'x', "pax", format!("{} {record}\n", record.len() + 4).as_bytes());
        let end = [0; 2 * BLOCK];
        // What layers have: devices, attributes of files, long names, links, and nothing at all.
        let attribute = pax("SCHILY.xattr.trusted.overlay.opaque=y");
        let whole = [
            kind(b'3', "dev/null", b""),
            attribute,
            file("a", b"1"),
            kind(b'L', "l", b"long\0"),
            file("b", b"1"),
            kind(b'1', "c", b""),
            end.to_vec(),
        ];
        for layer in [whole.concat(), end.to_vec()] {
            assert_eq!(of(&layer), [Ok(()), Ok(())]);
        }
        for layer in [
            // Holes that the engine fills.
            [kind(b'S', "a", b"1"), end.to_vec()].concat(),
            [pax("GNU.sparse.realsize=99999999999"), file("a", b"1"), end.to_vec()].concat(),
            // Entries that others read in another way, and what is no layer.
            [kind(0, "a/", b"1"), end.to_vec()].concat(),
            [kind(b'7', "a", b"1"), end.to_vec()].concat(),
            file("a", b"1")[..700].to_vec(),
            vec![1; 1024],
            Vec::new(),
        ] {
            for refused in of(&layer) {
                assert!(refused.unwrap_err().starts_with("a layer of the image"), "{layer:?}");
            }
        }
        let mut counted = super::content::Counted::default();
        counted.write_all(&[file("a", b"1"), file("b", b""), end.to_vec()].concat()).unwrap();
        assert!(counted.on_disk() > 2 * 4096, "files without bytes take room, too");
    }

    #[test]
    fn an_image_with_a_label_of_ours_is_refused() {
        let layer = layer_of(b"layer");
        let of = |config: serde_json::Value| {
            let ids = [format!("sha256:{}", sha(&layer))];
            let description = json!({ "rootfs": { "diff_ids": ids }, "config": config }).to_string();
            let list = list("c", &["app:1"], &["l"]);
            read(&archive(&[("l", &layer), ("c", description.as_bytes()), ("manifest.json", &list)]), 512)
        };
        for config in [json!({ "Labels": { "a": "longshore.x" } }), json!({ "Labels": null }), json!({}), json!(null)] {
            assert!(of(config.clone()).is_ok(), "{config}");
        }
        for config in [
            json!({ "Labels": { "a": "b", "longshore.guard.scope": "job2" } }),
            json!({ "Labels": { "Longshore.x": "" } }),
            json!({ "labels": { "longshore.guard.scope": "job2" } }),
            json!({ "Label\u{17f}": { "longshore.guard.scope": "job2" } }),
        ] {
            assert!(of(config.clone()).is_err(), "{config}");
        }
    }

    /// The archive with another kind of first entry.
    fn of_kind(archive: &[u8], kind: u8) -> Vec<u8> {
        let mut archive = archive.to_vec();
        archive[156] = kind;
        archive[148..156].copy_from_slice(b"        ");
        let sum: u64 = archive[..BLOCK].iter().map(|byte| u64::from(*byte)).sum();
        archive[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive
    }

    #[test]
    fn what_is_no_plain_archive_of_images_is_refused() {
        let layer = layer_of(b"layer");
        let config = description(&[&layer]);
        let list = list("c", &["app:1"], &["l"]);
        let files = |more: &[(&str, &[u8])]| {
            archive(&[&[("l", &layer[..]), ("c", &config[..]), ("manifest.json", &list[..])][..], more].concat())
        };
        let good = files(&[]);
        assert!(read(&good, 512).is_ok());
        assert!(read(&of_kind(&good, b'0'), 512).is_ok());
        let not_gzip = [&b"\x1f\x8b\x08\0\0\0\0\0\0\x03"[..], &[0xff; 600]].concat();
        assert!(read(&files(&[("index.json", &not_gzip)]), 512).is_ok(), "what is not forwarded is not unpacked");
        assert!(read(&files(&[("other", &not_gzip)]), 512).is_err());
        let by_digest = self::list("c", &[&format!("app@sha256:{}", sha(b""))], &["l"]);
        for bad in [
            files(&[("l", b"again")]),
            files(&[("./l", b"again")]),
            files(&[("manifest.json", b"[]")]),
            files(&[("../x", b"")]),
            files(&[("/x", b"")]),
            files(&[(".", b"")]),
            archive(&[("./BZh91AY&SY", b""), ("l", &layer), ("c", &config), ("manifest.json", &list)]),
            archive(&[("l", &layer), ("c", &config)]),
            archive(&[("l", &layer), ("c", &config), ("repositories", b"{}")]),
            archive(&[("l", &layer), ("c", &config), ("manifest.json", b"[]")]),
            archive(&[("l", &layer), ("c", &config), ("manifest.json", b"{}")]),
            archive(&[("l", &layer), ("c", &config), ("manifest.json", &by_digest)]),
            archive(&[("l", &layer), ("manifest.json", &list)]),
            gzip(&good),
            good[..700].to_vec(),
            of_kind(&good, b'2'),
            of_kind(&good, b'3'),
            of_kind(&good, b'L'),
            Vec::new(),
        ] {
            assert!(read(&bad, 512).is_err());
        }
    }
}
