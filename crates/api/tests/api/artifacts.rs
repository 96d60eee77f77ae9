//! Artifacts, as clients and browsers get them.

use std::{io::Write as _, process::Command};

use longshore_store::artifacts;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::World;

const PAGE: &[u8] = b"<script>alert(1)</script>";

async fn with_files(files: &[(&str, &[u8])]) -> (World, String, String) {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let job = world.finished_with(repo.id, b"x", files).await;
    let id = artifacts::of_job(&world.store, job).await.unwrap()[0].id;
    (world, job.to_string(), id.to_string())
}

#[tokio::test]
async fn a_jobs_artifacts_are_listed_with_their_files_sizes_and_sums() {
    let (world, job, id) = with_files(&[("a/b.txt", b"hello"), ("c", b"")]).await;
    let listed = world.get(&format!("/api/v1/jobs/{job}/artifacts")).await.json();
    let item = &listed["items"][0];
    assert_eq!(
        (&item["id"], &item["name"], &item["files"], &item["bytes"]),
        (&json!(id), &json!("out"), &json!(2), &json!(5))
    );
    let first = world.get(&format!("/api/v1/artifacts/{id}/files?limit=1")).await.json();
    assert_eq!(first["items"][0]["path"], "a/b.txt");
    assert_eq!(first["items"][0]["sha256"], "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    assert_eq!(first["next"], "a/b.txt");
    let second = world.get(&format!("/api/v1/artifacts/{id}/files?after=a/b.txt")).await.json();
    assert_eq!((second["items"].as_array().unwrap().len(), &second["next"]), (1, &json!(null)));
}

#[tokio::test]
async fn a_file_is_answered_whole_or_in_the_range_that_is_asked_for() {
    let long: Vec<u8> = (0..700_000_u32).map(|n| (n % 253) as u8).collect();
    let (world, _, id) = with_files(&[("long.bin", &long), ("empty", b"")]).await;
    let path = format!("/api/v1/artifacts/{id}/files/long.bin");
    let whole = world.get(&path).await;
    assert_eq!((whole.status, whole.body == long), (200, true));
    assert!(whole.header("content-disposition").starts_with("attachment"));
    let part = world.get_with(&path, &[("range", "bytes=600000-600009")]).await;
    assert_eq!((part.status, &part.body[..]), (206, &long[600_000..600_010]));
    assert_eq!(part.header("content-range"), "bytes 600000-600009/700000");
    let last = world.get_with(&path, &[("range", "bytes=-3")]).await;
    assert_eq!(&last.body[..], &long[699_997..]);
    assert_eq!(world.get_with(&path, &[("range", "bytes=700000-")]).await.status, 416);
    let tag = whole.header("etag").to_owned();
    assert_eq!(world.get_with(&path, &[("if-none-match", &tag)]).await.status, 304);
    let empty = world.get(&format!("/api/v1/artifacts/{id}/files/empty")).await;
    assert_eq!((empty.status, empty.body.len()), (200, 0));
    for bad in ["nothing", "../long.bin", "..%2flong.bin", "%2e%2e/x", "long.bin/"] {
        assert_eq!(world.get(&format!("/api/v1/artifacts/{id}/files/{bad}")).await.status, 404, "{bad}");
    }
}

#[tokio::test]
async fn a_zip_holds_every_file_and_is_had_by_id_and_by_name() {
    let long = vec![7; 300_000];
    let (world, job, id) = with_files(&[("a/b.txt", b"hello"), ("long", &long)]).await;
    for path in [format!("/api/v1/artifacts/{id}.zip"), format!("/api/v1/jobs/{job}/artifacts/out")] {
        let zip = world.get(&path).await;
        assert_eq!((zip.status, zip.header("content-type")), (200, "application/zip"));
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&zip.body).unwrap();
        let script = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\nprint([(i.filename, len(z.read(i))) for i in z.infolist()])";
        let read = Command::new("python3").args(["-c", script]).arg(file.path()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&read.stdout).trim(), "[('a/b.txt', 5), ('long', 300000)]");
    }
    assert_eq!(world.get(&format!("/api/v1/artifacts/{id}")).await.status, 404);
}

#[tokio::test]
async fn a_page_of_an_artifact_runs_in_a_sandbox_of_its_own_and_nowhere_else() {
    let (world, job, id) = with_files(&[("html/index.html", PAGE), ("html/app.js", b"1"), ("notes.txt", b"n")]).await;
    // Where it is an answer of ours, it is saved, and nothing in it would run.
    let raw = world.get(&format!("/api/v1/artifacts/{id}/files/html/index.html")).await;
    assert!(raw.header("content-disposition").starts_with("attachment"));
    assert!(raw.header("content-security-policy").starts_with("sandbox;"));
    let notes = world.get(&format!("/api/v1/artifacts/{id}/files/notes.txt")).await;
    assert_eq!((notes.header("content-disposition"), notes.header("x-content-type-options")), ("", "nosniff"));

    let opened = world.get(&format!("/artifacts/{id}/open/html/index.html")).await;
    assert_eq!(opened.status, 303);
    let view = opened.header("location").to_owned();
    // Without any cookie or token: the ticket is the right.
    let page = world.call("GET", &view, None, "").await;
    assert_eq!((page.status, &page.body[..]), (200, PAGE));
    let policy = page.header("content-security-policy");
    assert!(
        policy.starts_with("sandbox allow-scripts allow-popups;") && !policy.contains("allow-same-origin"),
        "{policy}"
    );
    assert!(!policy.contains("allow-forms") && !policy.contains("allow-top-navigation"), "{policy}");
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let script = view.replace("index.html", "app.js");
    assert_eq!(world.call("GET", &script, None, "").await.status, 200);
    let folder = view.trim_end_matches("index.html");
    assert_eq!(&world.call("GET", folder, None, "").await.body[..], PAGE);
    let other = world.finished_with(world.repo("o/other", "git", false).await.id, b"x", &[("index.html", PAGE)]).await;
    let other = artifacts::of_job(&world.store, other).await.unwrap()[0].id.to_string();
    assert_eq!(
        world.call("GET", &view.replace(&id, &other), None, "").await.status,
        404,
        "a ticket opens one artifact"
    );

    let build = world.get(&format!("/api/v1/jobs/{job}")).await.json()["build"].as_str().unwrap().to_owned();
    for page in [format!("/builds/{build}"), format!("/jobs/{job}")] {
        let shown = world.get(&page).await;
        let text = shown.text();
        for part in [format!("/artifacts/{id}\""), format!("/artifacts/{id}/open/html/index.html"), format!("{id}.zip")]
        {
            assert!(text.contains(&part), "{page} has no {part}");
        }
    }
    let shown = world.get(&format!("/artifacts/{id}")).await;
    let text = shown.text();
    assert!(text.contains("notes.txt") && text.contains("/files/html/app.js"), "{text}");
}

#[tokio::test]
async fn names_of_files_stay_text_on_pages_and_addresses() {
    let nasty = "<img src=x onerror=alert(1)>/a b?c#d%.html";
    let (world, _, id) = with_files(&[(nasty, PAGE), ("x.txt", b"x")]).await;
    let shown = world.get(&format!("/artifacts/{id}")).await;
    let text = shown.text();
    assert!(!text.contains("<img"), "{text}");
    let address = text.split("/files/").nth(1).unwrap().split('"').next().unwrap().to_owned();
    assert_eq!(&world.get(&format!("/api/v1/artifacts/{id}/files/{address}")).await.body[..], PAGE);
}

#[test]
fn readers_that_take_nothing_of_a_file_hold_no_thread_that_others_need() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.max_blocking_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        // More than the sockets between the two hold.
        let long: Vec<u8> = (0..40_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let (world, _, id) = with_files(&[("long", &long), ("short", b"short")]).await;
        let mut readers = Vec::new();
        for _ in 0..6 {
            let mut reader = ask(&world, &format!("/api/v1/artifacts/{id}/files/long"), crate::world::ADMIN).await;
            let mut begin = [0; 12];
            reader.read_exact(&mut begin).await.unwrap();
            assert_eq!(&begin, b"HTTP/1.1 200");
            readers.push(reader);
        }
        let short = world.get(&format!("/api/v1/artifacts/{id}/files/short")).await;
        assert_eq!((short.status, &short.body[..]), (200, &b"short"[..]));
    });
}

/// Asks for something and reads nothing of the answer.
async fn ask(world: &World, path: &str, token: &str) -> tokio::net::TcpStream {
    let mut reader = tokio::net::TcpStream::connect(world.addr).await.unwrap();
    let asked = format!("GET {path} HTTP/1.1\r\nHost: ci.example\r\nAuthorization: Bearer {token}\r\n\r\n");
    reader.write_all(asked.as_bytes()).await.unwrap();
    reader
}

#[test]
fn slow_readers_of_one_tokens_zips_leave_threads_for_all_others() {
    const OF_TOKEN: usize = 8;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.max_blocking_threads(OF_TOKEN + 2).enable_all().build().unwrap();
    runtime.block_on(async {
        // More than the sockets between the two hold: whoever writes the zip waits for its reader.
        let long: Vec<u8> = (0..20_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let (world, _, id) = with_files(&[("long", &long), ("short", b"short")]).await;
        let token = world.token(longshore_store::tokens::Scope::Read).await;
        let mut readers = Vec::new();
        for nth in 0..3 * OF_TOKEN {
            let mut reader = ask(&world, &format!("/api/v1/artifacts/{id}.zip"), &token).await;
            if nth < OF_TOKEN {
                reader.read_exact(&mut [0; 12]).await.unwrap();
            }
            readers.push(reader);
        }
        let short = world.get(&format!("/api/v1/artifacts/{id}/files/short")).await;
        assert_eq!((short.status, &short.body[..]), (200, &b"short"[..]));
        let mut of_another = ask(&world, &format!("/api/v1/artifacts/{id}.zip"), crate::world::ADMIN).await;
        of_another.read_exact(&mut [0; 12]).await.unwrap();
        // The rest waits for its turn, and is told if that takes long.
        let mut began = OF_TOKEN;
        for reader in &readers[OF_TOKEN..] {
            let mut begin = [0; 12];
            began += usize::from(reader.try_read(&mut begin).is_ok() && &begin == b"HTTP/1.1 200");
        }
        assert_eq!(began, OF_TOKEN);
    });
}

#[tokio::test]
async fn opening_a_page_that_is_not_there_leads_nowhere() {
    let (world, _, id) = with_files(&[("html/index.html", PAGE)]).await;
    assert_eq!(world.get(&format!("/artifacts/{id}/open/html")).await.status, 303, "a folder with an index.html");
    for bad in ["nothing.html", "%2e%2e%2f%2e%2e%2fsettings", "..%2f..%2fsettings", "html%2f..%2findex.html"] {
        let answer = world.get(&format!("/artifacts/{id}/open/{bad}")).await;
        assert_eq!((answer.status, answer.header("location")), (404, ""), "{bad}");
    }
}

#[tokio::test]
async fn every_answer_that_holds_bytes_of_a_job_is_sandboxed_and_keeps_its_type() {
    let names = ["a.html", "a.svg", "a.xml", "a.js", "a.txt", "a.png", "a.pdf", "a", "a.xhtml", "a.html.txt"];
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, PAGE)).collect();
    let (world, _, id) = with_files(&files).await;
    for name in names {
        let answer = world.get(&format!("/api/v1/artifacts/{id}/files/{name}")).await;
        let policy = answer.header("content-security-policy").to_owned();
        assert!(policy.starts_with("sandbox;") && policy.contains("default-src 'none'"), "{name}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{name}");
        let shown = matches!(name, "a.txt" | "a.png" | "a.html.txt");
        assert_eq!(answer.header("content-disposition").is_empty(), shown, "{name}");

        let opened = world.get(&format!("/artifacts/{id}/open/{name}")).await;
        let view = world.call("GET", opened.header("location"), None, "").await;
        let policy = view.header("content-security-policy").to_owned();
        assert!(policy.starts_with("sandbox allow-scripts") && !policy.contains("same-origin"), "{name}: {policy}");
        assert_eq!(view.header("content-type"), answer.header("content-type"), "{name}");
        assert_eq!(
            (view.header("x-content-type-options"), view.header("referrer-policy")),
            ("nosniff", "same-origin"),
            "{name}"
        );
    }
}
