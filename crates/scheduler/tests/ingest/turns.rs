//! Whose turn it is among repositories: a git host that hangs holds up nobody else.

use longshore_core::Timestamp;
use longshore_store::{
    deliveries::{self, NewDelivery},
    repos::{self, NewRepo},
};

use crate::{
    NONE, PIPELINE, World, push,
    support::{GitHost, Options},
};

#[tokio::test]
async fn a_git_host_that_hangs_holds_up_no_other_however_many_repositories_it_has() {
    let world = World::new("git", PIPELINE).await;
    let folder = tempfile::tempdir().unwrap();
    let hangs = GitHost::start(folder.path(), Options { silent: true, ..Options::default() });
    let commit = world.repository.git(&["rev-parse", "HEAD"]);
    let body = push("refs/heads/main", NONE, &commit, 1);
    let mut tx = world.store.write().await.unwrap();
    let delivery = |repo, key: &str| NewDelivery {
        repo,
        key: key.to_owned(),
        event: "push".to_owned(),
        body: body.to_string().into_bytes(),
        body_key: None,
        is_unique: false,
        received_at: Timestamp::now(),
    };
    // More than are fetched at once.
    for n in 0..12 {
        let new = NewRepo {
            name: format!("hangs-{n}"),
            forge: "git".to_owned(),
            clone_url: hangs.url(&format!("{n}.git")),
            public: false,
            default_branch: Some("main".to_owned()),
        };
        let repo = repos::create(&mut tx, &new, Timestamp::now()).await.unwrap();
        for key in ["1", "2"] {
            deliveries::accept(&mut tx, &delivery(repo.id, key)).await.unwrap();
        }
    }
    let own = deliveries::accept(&mut tx, &delivery(world.repo.id, "own")).await.unwrap().id;
    tx.commit().await.unwrap();
    world.build(&world.end(own).await).await;
}
