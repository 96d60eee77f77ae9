//! Repositories of a connection that get another name at their forge, and deliveries that say so without its being
//! true.

use longshore_core::Timestamp;
use longshore_store::{
    connections::{self, NewConnection},
    deliveries::{self, Delivery, DeliveryStatus},
    repos::{self, RepoPatch},
};
use serde_json::json;

use crate::{
    NONE, PIPELINE, World,
    forge::{ACCOUNT, Forge, Kind, TOKEN},
    push,
};

/// A repository, number 41 of a forge, where its connection reaches `team/other` too.
struct Connected {
    world: World,
    forge: Forge,
}

impl Connected {
    async fn new() -> Self {
        let world = World::new("forgejo", PIPELINE).await;
        let host = &world._host;
        // The forge serves every repository from there.
        std::os::unix::fs::symlink(host.root.join("app/.git"), host.root.join("app.git")).unwrap();
        let forge = Forge::start(Kind::Forgejo).with_git(&host.url("app.git"));
        let login = format!("{ACCOUNT}:{TOKEN}");
        let new = NewConnection {
            name: None,
            kind: "forgejo".to_owned(),
            url: forge.url(),
            account: ACCOUNT.to_owned(),
            token: TOKEN.to_owned(),
            clone_login: login.clone(),
        };
        let mut tx = world.store.write().await.unwrap();
        let (connection, _) = connections::set(&mut tx, &new, "admin", Timestamp::now()).await.unwrap();
        connections::attach(&mut tx, world.repo.id, connection.id, "41").await.unwrap();
        let address = connections::with_login(&format!("{}/team/app.git", forge.url()), &login);
        let patch = RepoPatch { clone_url: Some(address), ..RepoPatch::default() };
        repos::patch(&mut tx, world.repo.id, &patch).await.unwrap();
        tx.commit().await.unwrap();
        Self { world, forge }
    }

    /// Delivers a push of a new commit to repository 41 under this name, correctly signed.
    async fn process(&self, name: &str) -> Delivery {
        let (key, body) = self.push_of(name);
        self.world.process("push", &key, &body).await
    }

    fn push_of(&self, name: &str) -> (String, serde_json::Value) {
        let commit = self.world.repository.commit("next");
        let mut body = push("refs/heads/main", NONE, &commit, 1);
        body["repository"] = json!({ "id": 41, "full_name": name, "default_branch": "main" });
        (format!("id:{commit}"), body)
    }

    async fn address(&self) -> String {
        let repo = repos::get(&self.world.store, self.world.repo.id).await.unwrap().unwrap();
        assert!(repo.clone_url.contains(TOKEN), "its login");
        repo.clone_url.rsplit_once('@').unwrap().1.split_once('/').unwrap().1.to_owned()
    }
}

#[tokio::test]
async fn a_delivery_does_not_point_a_repository_to_another_one_that_the_connection_reads() {
    let connected = Connected::new().await;
    for name in ["team/other", "team/nothing", "team/app.git/../other"] {
        let before = connected.forge.state().calls;
        let delivery = connected.process(name).await;
        assert_eq!(connected.address().await, "team/app.git", "{name}");
        if name.contains("..") {
            // This is not a name at all: the repository is built from where it is.
            assert_eq!((delivery.builds.len(), connected.forge.state().calls), (1, before), "{delivery:?}");
        } else {
            assert_eq!((delivery.status, delivery.builds.len()), (DeliveryStatus::Ignored, 0), "{delivery:?}");
            let reason = delivery.reason.unwrap();
            assert!(
                reason.starts_with("refused: the delivery gives the repository a new name, and the forge does not say")
                    && !reason.contains(name),
                "{reason}"
            );
        }
    }
    // Its own name is nothing to ask about.
    let before = connected.forge.state().calls;
    assert_eq!(connected.process("team/app").await.builds.len(), 1);
    assert_eq!(connected.forge.state().calls, before);
}

#[tokio::test]
async fn a_rename_that_the_forge_confirms_is_followed_and_its_old_name_does_not_lead_back() {
    let connected = Connected::new().await;
    connected.forge.rename(41, "other/renamed");
    let delivery = connected.process("other/renamed").await;
    assert_eq!(delivery.builds.len(), 1, "{delivery:?}");
    assert_eq!(connected.address().await, "other/renamed.git");
    assert_eq!(connected.process("team/app").await.status, DeliveryStatus::Ignored);
    assert_eq!(connected.address().await, "other/renamed.git");
}

#[tokio::test]
async fn a_rename_waits_for_a_forge_that_is_down_and_changes_nothing_until_then() {
    let connected = Connected::new().await;
    connected.forge.rename(41, "other/renamed");
    connected.forge.state().down = true;
    let (key, body) = connected.push_of("other/renamed");
    let store = &connected.world.store;
    let [id] = connected.world.deliver("push", &[(&key, &body)]).await[..] else { panic!("one") };
    let mut changed = store.watch();
    let mut went_up = false;
    let delivery = loop {
        changed.borrow_and_update();
        let delivery = deliveries::get(store, id).await.unwrap().unwrap();
        if delivery.attempts > 0 && !went_up {
            assert_eq!(connected.address().await, "team/app.git");
            assert!(
                delivery.reason.as_ref().unwrap().contains("has to confirm the repository's new name"),
                "{delivery:?}"
            );
            connected.forge.state().down = false;
            went_up = true;
        }
        if delivery.status != DeliveryStatus::Pending {
            break delivery;
        }
        changed.changed().await.unwrap();
    };
    assert_eq!(delivery.builds.len(), 1, "{delivery:?}");
    assert_eq!(connected.address().await, "other/renamed.git");
}
