//! The webhooks that a forge may send, and their answers.

use std::time::Duration;

use longshore_core::{DeliveryId, Timestamp};
use longshore_forge::{Forge, signature::sign};
use longshore_store::{
    deliveries::{self, DeliveryStatus},
    refused_hooks::{self, RefusedHook},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    client::{Answer, send},
    world::World,
};

const PUSH: &str = r#"{"ref":"refs/heads/main","before":"0000000000000000000000000000000000000000","after":"0123456789abcdef0123456789abcdef01234567"}"#;

async fn deliver(world: &World, repo: &longshore_store::repos::Repo, body: &[u8], headers: &[(&str, &str)]) -> Answer {
    let signature = sign(Forge::Git, body, repo.hook_secret.expose().unwrap().as_bytes());
    let mut headers = headers.to_vec();
    headers.push(("x-longshore-signature-256", &signature));
    send(world.addr, "POST", &format!("/hooks/{}", repo.id), &headers, body.to_vec()).await
}

async fn pending(world: &World) -> u64 {
    longshore_store::counts::get(&world.store).await.unwrap().pending_deliveries
}

#[tokio::test]
async fn a_signed_delivery_is_in_the_inbox_when_it_is_answered_and_a_repeat_is_the_same() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let first = deliver(&world, &repo, PUSH.as_bytes(), &[]).await;
    assert_eq!(first.status, 202, "{}", first.text());
    let id: DeliveryId = first.json()["delivery"].as_str().unwrap().parse().unwrap();
    let stored = deliveries::get(&world.store, id).await.unwrap().unwrap();
    assert_eq!((stored.status, stored.event.as_str()), (DeliveryStatus::Pending, "push"));

    let again = deliver(&world, &repo, PUSH.as_bytes(), &[]).await;
    assert_eq!((again.status, again.json()), (202, first.json()));
    let named = deliver(&world, &repo, PUSH.as_bytes(), &[("x-longshore-delivery", "one")]).await;
    let renamed = deliver(&world, &repo, br#"{"other":1}"#, &[("x-longshore-delivery", "one")]).await;
    assert_ne!(named.json(), first.json());
    assert_eq!(named.json(), renamed.json());
    assert_eq!(pending(&world).await, 2);

    let shown = world.get(&format!("/api/v1/deliveries/{id}")).await.json();
    assert_eq!((shown["status"].as_str(), shown["builds"].as_array().unwrap().len()), (Some("pending"), 0));
    let list = world.get(&format!("/api/v1/repos/{}/deliveries?limit=1", repo.id)).await.json();
    assert_eq!(list["items"][0]["id"], named.json()["delivery"]);
    let next = list["next"].as_str().unwrap();
    let list = world.get(&format!("/api/v1/repos/{}/deliveries?limit=1&before={next}", repo.id)).await.json();
    assert_eq!(
        (list["items"][0]["id"].as_str().unwrap(), &list["next"]),
        (id.to_string().as_str(), &serde_json::Value::Null)
    );
}

#[tokio::test]
async fn a_wrong_or_missing_signature_is_refused_before_anything_is_parsed() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let path = format!("/hooks/{}", repo.id);
    let wrong = format!("sha256={}", "0".repeat(64));
    for headers in
        [vec![], vec![("x-longshore-signature-256", wrong.as_str())], vec![("x-longshore-signature-256", "sha256=")]]
    {
        for body in [PUSH, "no json"] {
            let answer = send(world.addr, "POST", &path, &headers, body).await;
            assert_eq!(answer.status, 401, "{}", answer.text());
            assert!(answer.error().contains("x-longshore-signature-256"));
        }
    }
    // Another forge's header proves nothing for this repository.
    let github = sign(Forge::Github, PUSH.as_bytes(), repo.hook_secret.expose().unwrap().as_bytes());
    let answer = send(world.addr, "POST", &path, &[("x-hub-signature-256", &github)], PUSH).await;
    assert_eq!(answer.status, 401);
    assert_eq!(pending(&world).await, 0);
}

#[tokio::test]
async fn a_refused_call_is_on_the_deliveries_page_before_any_other_came() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let address = format!("/repos/{}/deliveries", repo.id);
    assert!(!world.get(&address).await.text().contains("refused-hook"));
    send(world.addr, "POST", &format!("/hooks/{}", repo.id), &[], PUSH).await;
    let page = world.get(&address).await;
    let page = page.text();
    assert!(page.contains("A webhook call was refused") && page.contains("set the webhook"), "{page}");
    // Others for other reasons stand beside it, and the same one is counted.
    let note = async |reason: &str, calls| {
        let refused = RefusedHook { at: Timestamp::now(), reason: reason.to_owned(), calls };
        let mut tx = world.store.write().await.unwrap();
        refused_hooks::note(&mut tx, repo.id, &refused).await.unwrap();
        tx.commit().await.unwrap();
    };
    note("a form", 1).await;
    note("a form", 41).await;
    let page = world.get(&address).await;
    let page = page.text();
    assert!(page.contains("A webhook call was refused"), "{page}");
    assert!(page.contains("42 webhook calls were refused, the last one"), "{page}");
    for strange in 0..50 {
        note(&format!("strange {strange}"), 1).await;
    }
    let kept = refused_hooks::since_accepted(&world.store, repo.id).await.unwrap();
    assert_eq!((kept.len(), kept[0].calls), (refused_hooks::MAX_REASONS as usize, 1), "{kept:?}");
    let delivered = deliver(&world, &repo, PUSH.as_bytes(), &[]).await;
    assert_eq!(delivered.status, 202);
    assert!(!world.get(&address).await.text().contains("refused-hook"));
}

#[tokio::test]
async fn without_a_signature_the_body_is_not_waited_for() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    for header in ["Host: x", "X-Longshore-Signature-256: sha256=00"] {
        let mut stream = TcpStream::connect(world.addr).await.unwrap();
        let head = format!("POST /hooks/{} HTTP/1.1\r\n{header}\r\nContent-Length: 2000000\r\n\r\nhalf", repo.id);
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        timeout(Duration::from_secs(300), stream.read_exact(&mut status)).await.expect("an answer").unwrap();
        assert_eq!(&status, b"HTTP/1.1 401");
    }
}

#[tokio::test]
async fn an_unknown_repository_malformed_json_and_a_form_have_clear_answers() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    for id in ["0197c5a0-7d3e-7000-8000-000000000000", "x", "..%2f..%2fetc"] {
        let answer = send(world.addr, "POST", &format!("/hooks/{id}"), &[], PUSH).await;
        assert_eq!(answer.status, 404, "{id}: {}", answer.error());
    }
    for body in [&b"{\"ref\": "[..], b"", b"\xff\xfe", "[".repeat(100_000).as_bytes()] {
        let answer = deliver(&world, &repo, body, &[("x-longshore-delivery", "d")]).await;
        assert_eq!(answer.status, 400);
        assert!(answer.error().contains("not JSON"), "{}", answer.error());
    }
    let form =
        deliver(&world, &repo, b"payload=%7B%7D", &[("content-type", "application/x-www-form-urlencoded")]).await;
    assert!(form.error().contains("application/json"), "{}", form.error());
    let github = world.repo("o/g", "github", false).await;
    let signature = sign(Forge::Github, b"{}", github.hook_secret.expose().unwrap().as_bytes());
    let headers = [("x-hub-signature-256", signature.as_str())];
    let answer = send(world.addr, "POST", &format!("/hooks/{}", github.id), &headers, "{}").await;
    assert_eq!((answer.status, answer.error().contains("x-github-event")), (400, true));
    assert_eq!(pending(&world).await, 0);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_never_held() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let path = format!("/hooks/{}", repo.id);
    let body = vec![b'x'; 30 << 20];
    let signature = format!("sha256={}", "0".repeat(64));
    let headers = [("x-longshore-signature-256", signature.as_str())];
    let signed = format!("Host: x\r\nX-Longshore-Signature-256: {signature}");

    let answer = send(world.addr, "POST", &path, &headers, body.clone()).await;
    assert_eq!(answer.status, 413);
    assert!(answer.error().contains("25 MiB"), "{}", answer.error());

    // A sender that reads only after it has sent everything sees the answer too, whether or not it announced the
    // length.
    for chunked in [false, true] {
        let mut stream = TcpStream::connect(world.addr).await.unwrap();
        let length =
            if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {}", body.len()) };
        let head = format!("POST {path} HTTP/1.1\r\n{signed}\r\n{length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        if chunked {
            stream.write_all(format!("{:x}\r\n", body.len()).as_bytes()).await.unwrap();
        }
        stream.write_all(&body).await.unwrap();
        if chunked {
            stream.write_all(b"\r\n0\r\n\r\n").await.unwrap();
        }
        let mut status = [0; 12];
        timeout(Duration::from_secs(300), stream.read_exact(&mut status)).await.expect("an answer").unwrap();
        assert_eq!(std::str::from_utf8(&status).unwrap(), "HTTP/1.1 413", "chunked: {chunked}");
    }

    // A sender that asks first is told before it sends.
    let mut stream = TcpStream::connect(world.addr).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\n{signed}\r\nContent-Length: 31457280\r\nExpect: 100-continue\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    timeout(Duration::from_secs(300), stream.read_exact(&mut status)).await.expect("an answer").unwrap();
    assert_eq!(&status, b"HTTP/1.1 413");
    assert_eq!(pending(&world).await, 0);
}

#[tokio::test]
async fn one_signed_body_under_any_number_of_ids_and_names_is_one_delivery() {
    let world = World::new().await;
    let repo = world.repo("o/r", "github", false).await;
    let secret = repo.hook_secret.expose().unwrap().to_owned();
    let signature = sign(Forge::Github, PUSH.as_bytes(), secret.as_bytes());
    let tell = async |event: &str, id: usize| {
        let id = id.to_string();
        let headers =
            [("x-hub-signature-256", signature.as_str()), ("x-github-event", event), ("x-github-delivery", &id)];
        let path = format!("/hooks/{}", repo.id);
        let answer = send(world.addr, "POST", &path, &headers, PUSH.as_bytes().to_vec()).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()["delivery"].clone()
    };
    // The names are in no signature. Those that make nothing of the body do not stand for it, nor for a flood.
    let nothing = tell("ping", 0).await;
    let first = tell("push", 1).await;
    for (id, event) in (2..).zip(["push", "ping", "push", "create", "star", "pull_request", "push"]) {
        assert_eq!(tell(event, id).await, if event == "push" { first.clone() } else { nothing.clone() }, "{event}");
    }
    assert_eq!(pending(&world).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_webhooks_at_once_are_all_accepted() {
    let world = std::sync::Arc::new(World::new().await);
    let repo = world.repo("o/r", "git", false).await;
    let mut sent = tokio::task::JoinSet::new();
    for number in 0..50 {
        let (world, repo) = (std::sync::Arc::clone(&world), repo.clone());
        sent.spawn(async move {
            let key = format!("delivery {number}");
            deliver(&world, &repo, PUSH.as_bytes(), &[("x-longshore-delivery", &key)]).await
        });
    }
    let answers = sent.join_all().await;
    assert!(answers.iter().all(|answer| answer.status == 202));
    assert_eq!(pending(&world).await, 50);
}

#[tokio::test]
async fn a_hook_secret_that_does_not_open_lets_nobody_in() {
    let world = World::new().await;
    let repo = world.repo("o/r", "git", false).await;
    let key = world.store.data_dir().join(longshore_store::secrets::KEY_FILE);
    let kept = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    let signature = sign(Forge::Git, PUSH.as_bytes(), b"");
    let headers = [("x-longshore-signature-256", signature.as_str())];
    let answer = send(world.addr, "POST", &format!("/hooks/{}", repo.id), &headers, PUSH.as_bytes().to_vec()).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(pending(&world).await, 0);
    std::fs::write(&key, kept).unwrap();
    assert_eq!(deliver(&world, &repo, PUSH.as_bytes(), &[]).await.status, 202);
}
