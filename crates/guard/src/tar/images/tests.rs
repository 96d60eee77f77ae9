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
