//! A repository that routes are asked about.

use std::sync::LazyLock;

use longshore_core::{
    CacheAccess, NotificationEvent, RegistryCredentials,
    access::{Actor, Via},
};
use longshore_notification::{Kind as NotificationKind, Target};
use longshore_store::{
    acts::{self, ActKind, ActTarget},
    artifacts, caches,
    connections::{self, NewConnection},
    deploy_keys::{self, DeployKey},
    notifications::{self, NewNotification},
    registries, repos, secrets,
};

use crate::{
    forge::{Forge, Kind, TOKEN},
    world::World,
};

/// The forge that the connections lead to.
static FORGE: LazyLock<Forge> = LazyLock::new(|| Forge::start(Kind::Gitea));

/// A repository with one of everything.
pub(crate) struct Scene {
    pub(crate) repo: repos::Repo,
    /// What no answer may contain if the repository is hidden.
    pub(super) marks: Vec<String>,
    fill: Vec<(&'static str, String)>,
}

impl Scene {
    pub(crate) async fn new(world: &World, name: &str, public: bool) -> Self {
        let repo = world.repo(name, "git", public).await;
        let job = world.finished_with(repo.id, b"x", &[("out.txt", b"x")]).await;
        let artifact = artifacts::of_job(&world.store, job).await.unwrap()[0].id;
        let done = longshore_store::jobs::get(&world.store, job).await.unwrap().unwrap();
        let build = longshore_store::builds::get(&world.store, done.build).await.unwrap().unwrap();
        let test = crate::reports::reported(world, &build, job, "<testsuite><testcase name='a'/></testsuite>").await;
        let waiting = world.build_of_jobs(repo.id, 1, |job| job.approval = Some("now?".to_owned())).await;
        let asks = world.job_of(&waiting).await;
        let delivery = world.deliver(repo.id, "key").await;
        let value = longshore_core::SecretValue::new("value".to_owned()).unwrap();
        let patch = secrets::SecretPatch { value: Some(value), ..Default::default() };
        let now = longshore_core::Timestamp::now();
        let by = Actor { name: "ada".to_owned(), via: Via::Token, token: None };
        let mut tx = world.store.write().await.unwrap();
        secrets::set(&mut tx, repo.id, &"TOKEN".parse().unwrap(), &patch, "x", now).await.unwrap();
        let key = DeployKey::new("ssh-ed25519 AAAA".to_owned(), "value".to_owned(), String::new());
        deploy_keys::set(&mut tx, repo.id, &key).await.unwrap();
        for owner in [None, Some(repo.id)] {
            let host = "registry.example".parse().unwrap();
            let credentials = RegistryCredentials::new("ada".to_owned(), "value".to_owned()).unwrap();
            registries::set(&mut tx, owner, &host, &credentials, "x", now).await.unwrap();
        }
        let mut channels = Vec::new();
        // All scenes share the server's channel.
        let of_server = notifications::list(&world.store, None).await.unwrap().pop();
        channels.extend(of_server.iter().map(|(one, _)| one.id));
        for owner in of_server.is_none().then_some(None).into_iter().chain([Some(repo.id)]) {
            let target = Target::new(NotificationKind::Webhook, "http://127.0.0.1:1/hook", None).unwrap();
            let new = NewNotification {
                repo: owner,
                kind: "webhook".to_owned(),
                name: "told".to_owned(),
                shown: target.shown(),
                target: target.to_sealed(),
                events: NotificationEvent::ALL.to_vec(),
                branches: Vec::new(),
                internal: true,
            };
            channels.push(notifications::add(&mut tx, &new, "x", now).await.unwrap().id);
        }
        let new = NewConnection {
            name: Some("forge".to_owned()),
            kind: "gitea".to_owned(),
            url: FORGE.url(),
            account: "robot".to_owned(),
            token: TOKEN.to_owned(),
            clone_login: String::new(),
        };
        let (connection, _) = connections::set(&mut tx, &new, "x", now).await.unwrap();
        let wanted = caches::RequestedCache {
            key: "k".to_owned(),
            paths: vec!["target".to_owned()],
            fallback: Vec::new(),
            shared: None,
        };
        let trusted = CacheAccess { saves: Some("refs/heads/main".to_owned()), reads: Vec::new() };
        caches::begin(&mut tx, repo.id, (job, 1), &trusted, &[wanted], now).await.unwrap();
        caches::save(&mut tx, (job, 1), 0, &vec![vec!["layer".to_owned()]], now).await.unwrap();
        acts::record(&mut tx, ActKind::Started, ActTarget::build(build.id), &by, now).await.unwrap();
        tx.commit().await.unwrap();
        let cache = caches::list(&world.store, repo.id).await.unwrap()[0].id;
        let ids =
            [repo.id.to_string(), build.id.to_string(), job.to_string(), waiting.id.to_string(), delivery.to_string()];
        Self {
            marks: ids.iter().cloned().chain([name.to_owned(), asks.id.to_string()]).collect(),
            fill: vec![
                ("{repo}/notifications/{notification}", format!("{}/notifications/{}", repo.id, channels[1])),
                ("{notification}", channels[0].to_string()),
                ("{repo}", repo.id.to_string()),
                ("{cache}", cache.to_string()),
                // The API's address of all files has a name's end.
                ("v1/artifacts/{artifact}/", format!("v1/artifacts/{artifact}/")),
                ("v1/artifacts/{artifact}", format!("v1/artifacts/{artifact}.zip")),
                ("{artifact}", artifact.to_string()),
                ("{*path}", "out.txt".to_owned()),
                ("{path}", "out.txt".to_owned()),
                ("/artifacts/{name}", "/artifacts/out".to_owned()),
                ("{ticket}", "none".to_owned()),
                // Approvals act on the job that waits, everything else on what has ended.
                ("{build}/approve", format!("{}/approve", waiting.id)),
                ("{build}", build.id.to_string()),
                ("{job}/approve", format!("{}/approve", asks.id)),
                ("{job}/decline", format!("{}/decline", asks.id)),
                ("{job}/log/search", format!("{job}/log/search?q=x")),
                ("{job}", job.to_string()),
                ("{delivery}", delivery.to_string()),
                ("{test}", test.to_string()),
                ("{place}", build.seq.to_string()),
                ("{name}", "TOKEN".to_owned()),
                ("{host}", "registry.example".to_owned()),
                ("{connection}", connection.id.to_string()),
                ("/badges/{file}", format!("/badges/{}.svg", repo.id)),
            ],
            repo,
        }
    }

    pub(crate) fn address(&self, path: &str, more: &[(&str, String)]) -> String {
        let fill =
            self.fill.iter().map(|(what, with)| (*what, with)).chain(more.iter().map(|(what, with)| (*what, with)));
        fill.fold(path.to_owned(), |path, (what, with)| path.replace(what, with))
    }
}
