//! The objects of a fork's pull request.

use std::sync::Mutex;

use longshore_forge::CloneUrl;
use longshore_git::GitError;

use super::{
    PASSWORD, World, content,
    store::{Answer, Store, offers, oid, pointer},
};

/// A host with a repository and a fork of it, each with a store of its own.
fn two_stores(own: Vec<u8>, of_fork: Vec<u8>) -> Answer {
    Box::new(move |asked| {
        let (base, content) = match asked.path.starts_with("/eve/") {
            true => ("/eve/app.git/info/lfs", &of_fork),
            false => ("/app.git/info/lfs", &own),
        };
        if !asked.path.ends_with("/objects/batch") {
            return if asked.path.ends_with(&oid(content)) {
                (200, vec![], content.clone())
            } else {
                (404, vec![], vec![])
            };
        }
        let (status, headers, body) = offers(asked, &format!("http://{}{base}/o", asked.host));
        let mut answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
        for object in answer["objects"].as_array_mut().unwrap() {
            if object["oid"] != oid(content).as_str() {
                *object = serde_json::json!({ "oid": object["oid"], "error": { "code": 404, "message": "none" } });
            }
        }
        (status, headers, answer.to_string().into_bytes())
    })
}

#[tokio::test]
async fn what_the_repository_does_not_have_comes_from_the_fork_as_anybody_may_have_it() {
    let (own, new) = (b"of the repository".to_vec(), b"of the fork".to_vec());
    let store = Store::start(two_stores(own.clone(), new.clone()));
    let world = World::new(&store, &[("own.bin", &pointer(&own)), ("new.bin", &pointer(&new))]).await;
    let fork: CloneUrl = format!("http://{}/eve/app.git", store.address).parse().unwrap();
    let place = world.of_fork(true, true, Some(&fork)).await.unwrap();
    assert_eq!((content(&place, "own.bin"), content(&place, "new.bin")), (own, new));
    let asked = store.asked();
    assert_eq!(asked.len(), 4, "each store was asked for one object: {asked:?}");
    for (path, authorization) in &asked {
        assert_eq!(authorization.is_empty(), path.starts_with("/eve/"), "{path}");
    }
    // It is kept for the fork's next commit, and is not the repository's.
    world.repository.write("plain", "q\n").commit("second");
    world.of_fork(true, true, Some(&fork)).await.unwrap();
    assert_eq!(store.asked().len(), 4);
    let error = world.unpacked(true, false).await.unwrap_err();
    assert!(matches!(&error, GitError::LfsMissing { path, .. } if path == "new.bin"), "{error}");
}

#[tokio::test]
async fn an_object_that_neither_the_repository_nor_the_fork_has_names_both() {
    let wanted = b"nowhere".to_vec();
    let closed = Mutex::new(false);
    let both = two_stores(Vec::new(), Vec::new());
    let store = Store::start(Box::new(move |asked| {
        let mut closed = closed.lock().unwrap();
        if asked.path.starts_with("/eve/") && std::mem::replace(&mut *closed, true) {
            return (401, vec![], br#"{"message": "private"}"#.to_vec());
        }
        both(asked)
    }));
    let fork: CloneUrl = format!("http://{}/eve/app.git", store.address).parse().unwrap();
    for word in ["(none)", "private"] {
        let world = World::new(&store, &[("a.bin", &pointer(&wanted))]).await;
        let error = world.of_fork(true, true, Some(&fork)).await.unwrap_err().to_string();
        assert!(
            error.contains("/app.git/info/lfs") && error.contains("/eve/app.git") && error.contains(word),
            "{error}"
        );
        assert!(!error.contains(PASSWORD), "{error}");
    }
}
