//! The data folder as a whole: one server, one writer, nobody turned away.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

use std::{collections::HashSet, sync::Arc, time::Duration};

use longshore_core::{
    Outcome, Status,
    access::{Rights, Visible},
};
use longshore_files::FilesError;
use longshore_store::{
    ChangeKind, FeedItem, Store, StoreError,
    builds::{self, BuildFilter},
    changes, counts,
    deliveries::{self, Accepted, DeliveryEnd, DeliveryStatus, NewDelivery},
    jobs,
    repos::{self, RepoPatch},
    sessions::{self, Opener},
    settings,
    tokens::{self, NewToken, Scope},
};

mod world;
use world::{World, new_build, now};

#[tokio::test]
async fn a_second_server_on_the_same_folder_is_refused_until_the_first_is_gone() {
    let world = World::new().await;
    let refused = Store::open(world.path()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Files(FilesError::Locked(_))), "{refused}");
    assert!(refused.to_string().contains("another Longshore server"), "{refused}");
    let World { store, dir } = world;
    store.close().await;
    drop(store);
    Store::open(dir.path()).await.unwrap().close().await;
}

#[tokio::test]
async fn opening_again_keeps_everything_and_migrates_nothing_twice() {
    let world = World::new().await;
    let repo = world.repo("owner/app").await;
    let build = world.build(&repo, &[("ci/test", &[])]).await;
    let (instance, cursor) = (world.store.instance().to_owned(), *world.store.watch().borrow());
    assert_eq!(instance.len(), 12);
    let World { store, dir } = world;
    store.close().await;
    drop(store);
    let store = Store::open(dir.path()).await.unwrap();
    assert_eq!(store.instance(), instance);
    assert_eq!(*store.watch().borrow(), cursor);
    assert_eq!(repos::by_name(&store, "owner/app").await.unwrap().unwrap(), repo);
    assert_eq!(builds::get(&store, build.id).await.unwrap().unwrap(), build);
    store.close().await;
}

#[tokio::test]
async fn a_transaction_that_is_dropped_changes_nothing_and_wakes_nobody() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let before = *world.store.watch().borrow();
    let mut tx = world.store.write().await.unwrap();
    settings::set(&mut tx, "color", "red").await.unwrap();
    builds::create(&mut tx, &new_build(&repo, &[("a", &[])]), now()).await.unwrap();
    drop(tx);
    assert_eq!(settings::get(&world.store, "color").await.unwrap(), None);
    assert_eq!(*world.store.watch().borrow(), before);
    // The number was not used up.
    assert_eq!(world.build(&repo, &[("a", &[])]).await.number, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_hooks_at_once_with_claims_and_readers_never_meet_a_busy_database() {
    let world = Arc::new(World::new().await);
    let repo = world.repo("app").await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..50 {
        let (world, repo) = (Arc::clone(&world), repo.clone());
        tasks.spawn(async move {
            let mut tx = world.store.write().await.unwrap();
            let accepted = deliveries::accept(&mut tx, &delivery(&repo, &format!("d{n}"))).await.unwrap();
            tx.commit().await.unwrap();
            assert!(!accepted.repeated);
            let mut new = new_build(&repo, &[("a", &[]), ("b", &["a"])]);
            new.delivery = Some(accepted.id);
            let mut tx = world.store.write().await.unwrap();
            builds::create(&mut tx, &new, now()).await.unwrap();
            deliveries::finish(&mut tx, accepted.id, &DeliveryEnd::Done { note: None }, now()).await.unwrap();
            tx.commit().await.unwrap();
        });
    }
    for _ in 0..8 {
        let world = Arc::clone(&world);
        tasks.spawn(async move {
            let mut watch = world.store.watch();
            loop {
                watch.borrow_and_update();
                let mut tx = world.store.write().await.unwrap();
                if let Some(claimed) = jobs::claim_next(&mut tx, now()).await.unwrap() {
                    jobs::end_attempt(&mut tx, claimed.job.id, claimed.attempt, Outcome::Success, now()).await.unwrap();
                    tx.commit().await.unwrap();
                    continue;
                }
                drop(tx);
                let page = builds::list(&world.store, &builds::BuildFilter::default(), None, 100).await.unwrap();
                if page.items.len() == 50 && page.items.iter().all(|build| build.status == Status::Success) {
                    return;
                }
                tokio::time::timeout(Duration::from_secs(300), watch.changed()).await.unwrap().unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let page = builds::list(&world.store, &builds::BuildFilter::default(), None, 100).await.unwrap();
    let mut numbers: Vec<u64> = page.items.iter().map(|build| build.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=50).collect::<Vec<_>>(), "numbers have gaps");
    let counts = counts::get(&world.store).await.unwrap();
    assert_eq!((counts.jobs, counts.pending_deliveries), (vec![], 0));
}

#[tokio::test]
async fn a_repeated_delivery_is_the_same_delivery() {
    let world = World::new().await;
    let (app, other) = (world.repo("app").await, world.repo("other").await);
    let mut tx = world.store.write().await.unwrap();
    let first = deliveries::accept(&mut tx, &delivery(&app, "k")).await.unwrap();
    let again = deliveries::accept(&mut tx, &delivery(&app, "k")).await.unwrap();
    let elsewhere = deliveries::accept(&mut tx, &delivery(&other, "k")).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!((first.repeated, again.repeated, elsewhere.repeated), (false, true, false));
    assert_eq!(first.id, again.id);
    assert_ne!(first.id, elsewhere.id);
}

#[tokio::test]
async fn a_delivery_becomes_a_build_exactly_once() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let mut tx = world.store.write().await.unwrap();
    let id = deliveries::accept(&mut tx, &delivery(&repo, "k")).await.unwrap().id;
    tx.commit().await.unwrap();

    let pending = deliveries::next_pending(&world.store, repo.id, now()).await.unwrap().unwrap();
    assert_eq!((pending.id, pending.body.as_slice()), (id, b"\x00{}\xff".as_slice()));

    assert_eq!(deliveries::due_repos(&world.store, now()).await.unwrap(), [repo.id]);

    let later = longshore_core::Timestamp::from_millis(now().as_millis() + 60_000);
    let mut tx = world.store.write().await.unwrap();
    deliveries::retry_later(&mut tx, id, later, "the git host does not answer").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(deliveries::next_pending(&world.store, repo.id, now()).await.unwrap(), None);
    assert_eq!(deliveries::due_repos(&world.store, now()).await.unwrap(), []);
    assert_eq!(deliveries::next_due(&world.store, now()).await.unwrap(), Some(later));
    assert_eq!(deliveries::next_pending(&world.store, repo.id, later).await.unwrap().unwrap().attempts, 1);

    let mut new = new_build(&repo, &[("a", &[])]);
    new.delivery = Some(id);
    let mut tx = world.store.write().await.unwrap();
    let build = builds::create(&mut tx, &new, now()).await.unwrap();
    deliveries::finish(&mut tx, id, &DeliveryEnd::Done { note: None }, now()).await.unwrap();
    tx.commit().await.unwrap();

    let mut tx = world.store.write().await.unwrap();
    let again = deliveries::finish(&mut tx, id, &DeliveryEnd::Done { note: None }, now()).await.unwrap_err();
    assert!(matches!(again, StoreError::Conflict(_)), "{again}");
    drop(tx);
    let delivery = deliveries::get(&world.store, id).await.unwrap().unwrap();
    assert_eq!((delivery.status, delivery.builds), (DeliveryStatus::Done, vec![build.id]));
    assert_eq!(deliveries::next_due(&world.store, now()).await.unwrap(), None);
}

#[tokio::test]
async fn lists_go_on_where_the_page_before_ended_whatever_comes_in_between() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    for _ in 0..7 {
        world.build(&repo, &[("a", &[])]).await;
    }
    let filter = builds::BuildFilter { repo: Some(repo.id), branch: Some("main".to_owned()), ..Default::default() };
    let first = builds::list(&world.store, &filter, None, 3).await.unwrap();
    world.build(&repo, &[("a", &[])]).await;
    let second = builds::list(&world.store, &filter, first.next, 3).await.unwrap();
    let third = builds::list(&world.store, &filter, second.next, 3).await.unwrap();
    let numbers: Vec<u64> = [first, second, third.clone()].iter().flat_map(|p| &p.items).map(|b| b.number).collect();
    assert_eq!(numbers, [7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(third.next, None);
    let queued = builds::BuildFilter { status: Some(Status::Running), ..Default::default() };
    assert!(builds::list(&world.store, &queued, None, 3).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_repository_is_removed_with_all_that_is_its_but_not_while_it_builds() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let build = world.build(&repo, &[("a", &[])]).await;
    let mut tx = world.store.write().await.unwrap();
    let refused = repos::delete(&mut tx, repo.id).await.unwrap_err();
    assert!(matches!(refused, StoreError::Conflict(_)), "{refused}");
    let job = jobs::claim_next(&mut tx, now()).await.unwrap().unwrap().job;
    tx.commit().await.unwrap();
    drop(world.store.logs().open_writer(job.id, 1).unwrap());
    let log = world.store.logs().path(job.id, 1);
    assert!(log.exists());

    let mut tx = world.store.write().await.unwrap();
    jobs::end_attempt(&mut tx, job.id, 1, Outcome::Success, now()).await.unwrap();
    repos::delete(&mut tx, repo.id).await.unwrap();
    tx.commit().await.unwrap();
    assert!(!log.exists());
    assert_eq!(builds::get(&world.store, build.id).await.unwrap(), None);
    assert_eq!(jobs::get(&world.store, job.id).await.unwrap(), None);
    assert_eq!(repos::get(&world.store, repo.id).await.unwrap(), None);
}

#[tokio::test]
async fn a_name_is_taken_once_and_a_patch_changes_only_what_it_names() {
    let world = World::new().await;
    let repo = world.repo("owner/app").await;
    let mut tx = world.store.write().await.unwrap();
    let new = repos::NewRepo {
        name: "owner/app".to_owned(),
        forge: "git".to_owned(),
        clone_url: "x".to_owned(),
        public: true,
        default_branch: None,
    };
    let taken = repos::create(&mut tx, &new, now()).await.unwrap_err();
    assert!(matches!(taken, StoreError::Conflict(_)), "{taken}");
    let patch = RepoPatch { public: Some(true), renew_hook_secret: true, ..Default::default() };
    let patched = repos::patch(&mut tx, repo.id, &patch).await.unwrap();
    tx.commit().await.unwrap();
    assert!(
        patched.public && patched.hook_secret != repo.hook_secret && patched.hook_secret.expose().unwrap().len() == 64
    );
    assert_eq!(patched.clone_url, repo.clone_url);
    assert_eq!(repos::public_of(&world.store, &[repo.id]).await.unwrap(), HashSet::from([repo.id]));
}

#[tokio::test]
async fn a_token_is_its_secret_and_nothing_else() {
    let world = World::new().await;
    let mut tx = world.store.write().await.unwrap();
    let new = |name: &str, scope, expires_at| NewToken {
        name: name.to_owned(),
        rights: Rights::new(vec![scope], None),
        expires_at,
    };
    let created = tokens::create(&mut tx, &new("ci", Scope::Build, None), now()).await.unwrap();
    let expired = tokens::create(&mut tx, &new("old", Scope::Admin, Some(now())), now()).await.unwrap();
    tx.commit().await.unwrap();
    let token = tokens::verify(&world.store, &created.secret, now()).await.unwrap().unwrap();
    assert_eq!(token.id, created.token.id);
    assert_eq!(token.rights, Rights::new(vec![Scope::Build], None));
    assert!(tokens::list(&world.store).await.unwrap()[0].last_used_at.is_some());
    for wrong in ["", "lsh_", &created.secret[4..], &format!("{}0", created.secret), &expired.secret] {
        assert_eq!(tokens::verify(&world.store, wrong, now()).await.unwrap(), None, "{wrong}");
    }
    assert!(!format!("{created:?}").contains(&created.secret));
    let mut tx = world.store.write().await.unwrap();
    tokens::revoke(&mut tx, token.id).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(tokens::verify(&world.store, &created.secret, now()).await.unwrap(), None);
}

#[tokio::test]
async fn sessions_of_the_administrator_end_when_another_token_is_given() {
    let world = World::new().await;
    let admin = Opener { name: "admin".to_owned(), token: None, until: None };
    for (token, left) in [("the first of them", 1), ("the first of them", 2), ("another than that", 1)] {
        let mut tx = world.store.write().await.unwrap();
        sessions::set_admin_token(&mut tx, token).await.unwrap();
        sessions::open(&mut tx, admin.clone(), "a browser", now()).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(sessions::list(&world.store, now()).await.unwrap().len(), left, "{token}");
    }
}

#[tokio::test]
async fn a_feed_resumes_at_a_cursor_across_a_restart_and_says_what_it_missed() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let after = *world.store.watch().borrow();
    let build = world.build(&repo, &[("a", &[])]).await;
    let World { store, dir } = world;
    store.close().await;
    drop(store);

    let store = Store::open(dir.path()).await.unwrap();
    let mut feed = store.feed(Some(after));
    let Some(FeedItem::Change(change)) = feed.next().await.unwrap() else { panic!("no change") };
    assert_eq!((change.kind, change.build, change.cursor), (ChangeKind::Build, Some(build.id), after + 1));

    // Far more changes than are buffered and kept, while the feed does not read.
    let mut tx = store.write().await.unwrap();
    for _ in 0..11_000 {
        let patch = RepoPatch { public: Some(true), ..Default::default() };
        repos::patch(&mut tx, repo.id, &patch).await.unwrap();
    }
    let newest = tx.commit().await.unwrap().unwrap();
    assert_eq!(feed.next().await.unwrap(), Some(FeedItem::Missed { resumed_at: newest }));
    let changes::Since::Changes(kept) = changes::since(&store, newest - 9_999, 20_000).await.unwrap() else {
        panic!("the newest changes are not kept")
    };
    assert_eq!(kept.len(), 9_999);

    // A lag within what is kept loses nothing.
    let mut tx = store.write().await.unwrap();
    for _ in 0..3_000 {
        repos::patch(&mut tx, repo.id, &RepoPatch::default()).await.unwrap();
    }
    tx.commit().await.unwrap();
    for n in 1..=3_000 {
        let Some(FeedItem::Change(change)) = feed.next().await.unwrap() else { panic!("no change") };
        assert_eq!(change.cursor, newest + n);
    }
    store.close().await;
}

#[tokio::test]
async fn a_body_is_kept_once_where_it_tells_of_one_event_and_a_hundred_times_at_most_otherwise() {
    let world = World::new().await;
    let repo = world.repo("app").await;
    let accept = async |is_unique: bool, body: &str, key: String| {
        let new = NewDelivery { body_key: Some(body.to_owned()), is_unique, ..delivery(&repo, &key) };
        let mut tx = world.store.write().await.unwrap();
        let accepted = deliveries::accept(&mut tx, &new).await.unwrap();
        tx.commit().await.unwrap();
        accepted
    };
    let end = async |id, end: DeliveryEnd| {
        let mut tx = world.store.write().await.unwrap();
        deliveries::finish(&mut tx, id, &end, now()).await.unwrap();
        tx.commit().await.unwrap();
    };
    let failed = || DeliveryEnd::Failed { reason: "the host is down".to_owned() };
    // The forge may send once more what failed.
    let first = accept(true, "unique", "1".to_owned()).await;
    assert_eq!(accept(true, "unique", "2".to_owned()).await, Accepted { id: first.id, repeated: true });
    end(first.id, failed()).await;
    let second = accept(true, "unique", "3".to_owned()).await;
    assert!(!second.repeated);
    end(second.id, DeliveryEnd::Done { note: None }).await;
    assert_eq!(accept(true, "unique", "4".to_owned()).await, Accepted { id: second.id, repeated: true });
    // What happens again is told in the same words.
    for number in 0..100 {
        assert!(!accept(false, "again", format!("again {number}")).await.repeated);
    }
    let newest = accept(false, "again", "again 100".to_owned()).await;
    assert!(newest.repeated);
    end(newest.id, DeliveryEnd::Done { note: None }).await;
    assert!(!accept(false, "again", "again 101".to_owned()).await.repeated);
    for number in 0..100 {
        let accepted = accept(true, "fails", format!("fails {number}")).await;
        assert!(!accepted.repeated);
        end(accepted.id, failed()).await;
    }
    assert!(accept(true, "fails", "fails 100".to_owned()).await.repeated);
}

fn delivery(repo: &repos::Repo, key: &str) -> NewDelivery {
    NewDelivery {
        repo: repo.id,
        key: key.to_owned(),
        event: "push".to_owned(),
        body: b"\x00{}\xff".to_vec(),
        body_key: None,
        is_unique: false,
        received_at: now(),
    }
}

#[tokio::test]
async fn a_list_of_public_builds_has_those_of_all_public_repositories_and_no_others() {
    let world = World::new().await;
    let [one, hidden, two] = [world.repo("one").await, world.repo("hidden").await, world.repo("two").await];
    let filter = BuildFilter { visible: Visible::Public, ..BuildFilter::default() };
    let list = async |before| builds::list(&world.store, &filter, before, 2).await.unwrap().items;
    assert!(list(None).await.is_empty());
    let mut tx = world.store.write().await.unwrap();
    for repo in [&one, &two] {
        let public = RepoPatch { public: Some(true), ..RepoPatch::default() };
        repos::patch(&mut tx, repo.id, &public).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut public = Vec::new();
    for repo in [&one, &hidden, &two, &hidden, &one, &hidden] {
        let build = world.build(repo, &[("ci/test", &[])]).await;
        if repo.id != hidden.id {
            public.insert(0, build.id);
        }
    }
    let newest = list(None).await;
    assert_eq!(newest.iter().map(|build| build.id).collect::<Vec<_>>(), public[..2]);
    assert_eq!(list(Some(newest[1].seq)).await[0].id, public[2]);
}
