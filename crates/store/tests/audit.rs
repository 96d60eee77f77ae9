//! The audit log: written with what it is about, and by nobody changed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod world;

use std::{path::Path, time::Duration};

use longshore_core::{
    BuildId, Timestamp,
    access::{Actor, Via},
    anomaly::AnomalyKind,
};
use longshore_store::{
    Store, StoreError, anomalies,
    audit::{self, Decision, Entry, Filter, Pending},
    repo_registries, repos,
    retention::{self, Retention},
    settings,
};
use world::World;

fn entry(action: &str) -> Entry {
    Entry::by(&Actor { name: "ada".to_owned(), via: Via::Token, token: None }, action)
}

async fn record(store: &Store, entry: Entry, at: Timestamp) {
    let mut tx = store.write().await.unwrap();
    audit::record(&mut tx, entry, at).await.unwrap();
    tx.commit().await.unwrap();
}

async fn actions(store: &Store, filter: &Filter) -> Vec<String> {
    audit::list(store, filter, None, 100).await.unwrap().items.into_iter().map(|record| record.entry.action).collect()
}

/// Runs SQL as a person with `sqlite3` would.
async fn sqlite(path: &Path, sql: &'static str) -> Result<(), sqlx::Error> {
    use sqlx::Connection as _;
    let url = format!("sqlite://{}", path.join("longshore.db").display());
    let mut conn = sqlx::SqliteConnection::connect(&url).await?;
    sqlx::query(sql).execute(&mut conn).await.map(drop)
}

#[tokio::test]
async fn a_record_is_there_if_and_only_if_what_it_is_about_is() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let pending = Pending::new(Entry { repo: Some(repo.id), ..entry("repo.change") });
    Pending::carry(Some(pending.clone()), async {
        let mut tx = world.store.write().await.unwrap();
        settings::set(&mut tx, "a", "1").await.unwrap();
        drop(tx);
        assert!(!pending.outcome().1, "rolled back");
        let mut tx = world.store.write().await.unwrap();
        repos::delete(&mut tx, repo.id).await.unwrap();
        tx.commit().await.unwrap();
        // A request is one act, whatever number of transactions it takes.
        let mut tx = world.store.write().await.unwrap();
        settings::set(&mut tx, "a", "2").await.unwrap();
        tx.commit().await.unwrap();
    })
    .await;
    assert!(pending.outcome().1);
    let all = audit::list(&world.store, &Filter::default(), None, 100).await.unwrap().items;
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].entry.repo_name.as_str(), all[0].entry.decision), ("app", Decision::Allowed));
}

#[tokio::test]
async fn records_are_found_by_who_what_where_and_words() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let now = Timestamp::now();
    record(&world.store, Entry { repo: Some(repo.id), object: "TOKEN".to_owned(), ..entry("secret.set") }, now).await;
    record(&world.store, Entry { decision: Decision::Denied, ..entry("secret.remove") }, now).await;
    record(&world.store, Entry { who: "bob".to_owned(), ..entry("secretary.hire") }, now).await;
    let found = async |filter| actions(&world.store, &filter).await;
    let all = Filter::default;
    assert_eq!(found(all()).await, ["secretary.hire", "secret.remove", "secret.set"]);
    assert_eq!(found(Filter { action: Some("secret".to_owned()), ..all() }).await, ["secret.remove", "secret.set"]);
    assert_eq!(found(Filter { action: Some("secret.set".to_owned()), ..all() }).await, ["secret.set"]);
    assert_eq!(found(Filter { repo: Some(repo.id), ..all() }).await, ["secret.set"]);
    assert_eq!(found(Filter { who: Some("bob".to_owned()), ..all() }).await, ["secretary.hire"]);
    assert_eq!(found(Filter { decision: Some(Decision::Denied), ..all() }).await, ["secret.remove"]);
    let words = |words: &[&str]| Filter { words: words.iter().map(|word| (*word).to_owned()).collect(), ..all() };
    assert_eq!(found(words(&["token", "ADA"])).await, ["secret.set"]);
    assert_eq!(found(words(&["token", "%"])).await, [""; 0]);

    let first = audit::list(&world.store, &all(), None, 2).await.unwrap();
    let rest = audit::list(&world.store, &all(), first.next, 2).await.unwrap();
    assert_eq!((first.items.len(), rest.items.len(), rest.next), (2, 1, None));
}

#[tokio::test]
async fn the_database_refuses_to_change_the_log_and_what_is_forced_is_seen() {
    let world = World::new().await;
    for action in ["a.b", "c.d", "e.f"] {
        record(&world.store, entry(action), Timestamp::now()).await;
    }
    let verified = audit::verify(world.path()).await.unwrap();
    assert_eq!((verified.from.number, verified.to.number), (0, 3));
    for sql in [
        "UPDATE audit SET line = replace(line, 'ada', 'bob')",
        "DELETE FROM audit WHERE number = 2",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit (number, line) SELECT 2, line FROM audit WHERE number = 1",
        "INSERT INTO audit (number, line) SELECT 4, line FROM audit WHERE number = 1",
        "UPDATE audit_start SET number = 2",
        "UPDATE audit_start SET hash = 'x'",
        "DELETE FROM audit_start",
    ] {
        let refused = sqlite(world.path(), sql).await.unwrap_err().to_string();
        assert!(refused.contains("the audit log"), "{sql}: {refused}");
    }
    assert_eq!(audit::verify(world.path()).await.unwrap(), verified);

    sqlite(world.path(), "DROP TRIGGER audit_stays").await.unwrap();
    sqlite(world.path(), "UPDATE audit SET line = replace(line, 'ada', 'bob') WHERE number = 2").await.unwrap();
    let broken = audit::verify(world.path()).await.unwrap_err();
    assert!(matches!(&broken, StoreError::Corrupt(why) if why.contains("line 2 was changed")), "{broken}");
}

#[tokio::test]
async fn by_age_the_oldest_records_go_and_the_rest_verifies_from_where_it_begins() {
    let world = World::new().await;
    let day = |n: i64| Timestamp::from_millis(n * 24 * 60 * 60 * 1000);
    for n in 0..5 {
        record(&world.store, entry("a.b"), day(n)).await;
    }
    let whole = audit::verify(world.path()).await.unwrap();
    let keep = Retention { max_audit_age: Some(Duration::from_secs(24 * 60 * 60)), ..Retention::default() };
    assert_eq!(retention::remove_old(&world.store, &keep, day(4)).await.unwrap().audit_records, 3);
    let rest = audit::verify(world.path()).await.unwrap();
    assert_eq!((rest.from.number, &rest.to), (3, &whole.to));
    // Nothing is left, and the chain goes on.
    assert_eq!(retention::remove_old(&world.store, &keep, day(400)).await.unwrap().audit_records, 2);
    record(&world.store, entry("a.b"), day(400)).await;
    let rest = audit::verify(world.path()).await.unwrap();
    assert_eq!((rest.from, rest.to.number), (whole.to, 6));
}

#[tokio::test]
async fn the_first_refusal_of_a_repositorys_job_and_many_of_one_actor_stand_out_once() {
    let world = World::new().await;
    let (app, other) = (world.repo("app").await, world.repo("other").await);
    let at = |seconds: i64| Timestamp::from_millis(1_000_000_000_000 + seconds * 1000);
    let of_job = |repo: &repos::Repo| Entry {
        repo: Some(repo.id),
        via: "job".to_owned(),
        decision: Decision::Denied,
        reason: "privileged".to_owned(),
        ..entry("docker.request")
    };
    let found = async || {
        anomalies::judge(&world.store).await.unwrap();
        let all = anomalies::list(&world.store, None, 100).await.unwrap().items;
        all.into_iter().rev().map(|one| (one.kind, one.repo, one.times)).collect::<Vec<_>>()
    };
    record(&world.store, Entry { decision: Decision::Allowed, ..of_job(&app) }, at(0)).await;
    assert_eq!(found().await, []);
    record(&world.store, of_job(&app), at(1)).await;
    record(&world.store, of_job(&app), at(2)).await;
    let first = (AnomalyKind::FirstRefusal, Some(app.id), 1);
    assert_eq!(found().await, [first]);
    record(&world.store, of_job(&other), at(3)).await;
    let second = (AnomalyKind::FirstRefusal, Some(other.id), 1);
    assert_eq!(found().await, [first, second]);

    // Nineteen at once and one much later are not many.
    let denied = || Entry { decision: Decision::Denied, who: "bob".to_owned(), ..entry("token.create") };
    for n in 0..19 {
        record(&world.store, denied(), at(1000 + n)).await;
    }
    record(&world.store, denied(), at(2000)).await;
    assert_eq!(found().await, [first, second]);
    for n in 0..25 {
        record(&world.store, denied(), at(3000 + n)).await;
        // Judged one by one or together, it is the same.
        if n < 10 {
            found().await;
        }
    }
    assert_eq!(found().await, [first, second, (AnomalyKind::ManyRefusals, None, 6)]);
    let counts = anomalies::counts(&world.store).await.unwrap();
    let of = |kind| counts.iter().find(|(of, _)| *of == kind).map(|(_, count)| *count);
    assert_eq!(
        (of(AnomalyKind::FirstRefusal), of(AnomalyKind::ManyRefusals), of(AnomalyKind::Frozen)),
        (Some(2), Some(1), Some(0))
    );
}

#[tokio::test]
async fn what_stands_out_by_itself_is_one_anomaly_a_repository_and_a_registry_is_new_once() {
    let world = World::new().await;
    let (app, other) = (world.repo("app").await, world.repo("other").await);
    let at = |seconds: i64| Timestamp::from_millis(1_000_000_000_000 + seconds * 1000);
    let of = |repo: &repos::Repo, action: &str, decision| Entry {
        repo: Some(repo.id),
        via: "job".to_owned(),
        who: "job test".to_owned(),
        object: "it".to_owned(),
        decision,
        ..entry(action)
    };
    // It had refusals before.
    record(&world.store, of(&app, "docker.request", Decision::Denied), at(0)).await;
    record(&world.store, of(&other, "docker.request", Decision::Denied), at(0)).await;
    for (action, decision) in [
        ("docker.freeze", Decision::Denied),
        ("docker.freeze", Decision::Denied),
        ("docker.probe", Decision::Denied),
        ("docker.remove", Decision::Failed),
        ("image.registry", Decision::Allowed),
        ("docker.use", Decision::Allowed),
    ] {
        record(&world.store, of(&app, action, decision), at(1)).await;
    }
    record(&world.store, of(&other, "docker.freeze", Decision::Denied), at(2)).await;
    anomalies::judge(&world.store).await.unwrap();
    let all = anomalies::list(&world.store, None, 100).await.unwrap().items;
    let found: Vec<_> = all.iter().rev().map(|one| (one.kind, one.repo, one.times)).skip(2).collect();
    let app_has = |kind, times| (kind, Some(app.id), times);
    assert_eq!(
        found,
        [
            app_has(AnomalyKind::Frozen, 2),
            app_has(AnomalyKind::Probing, 1),
            app_has(AnomalyKind::Outlived, 1),
            app_has(AnomalyKind::NewRegistry, 1),
            (AnomalyKind::Frozen, Some(other.id), 1)
        ]
    );
    assert!(all.iter().all(|one| one.message.contains("job test")), "{all:?}");
}

#[tokio::test]
async fn a_registry_is_new_to_a_repository_if_its_first_build_did_not_use_it() {
    let world = World::new().await;
    let (app, other) = (world.repo("app").await, world.repo("other").await);
    let builds: [BuildId; 3] = std::array::from_fn(|_| BuildId::new());
    let note = async |repo: &repos::Repo, build, registries: &[&str]| {
        let registries: Vec<String> = registries.iter().map(|&registry| registry.to_owned()).collect();
        let mut tx = world.store.write().await.unwrap();
        let new = repo_registries::note(&mut tx, repo.id, build, &registries).await.unwrap();
        tx.commit().await.unwrap();
        assert!(repo_registries::has_used(&world.store, repo.id, &registries).await.unwrap());
        new
    };
    let hub = ["docker.io".to_owned()];
    assert!(!repo_registries::has_used(&world.store, app.id, &hub).await.unwrap());
    assert_eq!(note(&app, builds[0], &["docker.io"]).await, [""; 0]);
    assert_eq!(note(&app, builds[0], &["ghcr.io", "docker.io"]).await, [""; 0], "of the first build, too");
    assert_eq!(note(&app, builds[1], &["docker.io", "quay.io"]).await, ["quay.io"]);
    assert_eq!(note(&app, builds[2], &["quay.io"]).await, [""; 0]);
    assert_eq!(note(&other, builds[1], &["quay.io"]).await, [""; 0]);
}
