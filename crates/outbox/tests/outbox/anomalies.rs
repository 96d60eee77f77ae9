//! Anomalies of the audit log are sent to those who asked for them, on a real store.

use std::time::{Duration, Instant};

use longshore_core::{NotificationEvent, RepoId, Timestamp};
use longshore_notification::Sender;
use longshore_outbox::Notices;
use longshore_store::{
    Store, anomalies,
    audit::{self, Decision, Entry},
    notices,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    killable::Killable,
    receiver::Receiver,
    world::{add_webhook, create_repo},
};

async fn record(store: &Store, entry: Entry) {
    let mut tx = store.write().await.unwrap();
    audit::record(&mut tx, entry, Timestamp::now()).await.unwrap();
    tx.commit().await.unwrap();
    anomalies::judge(store).await.unwrap();
}

fn refused(repo: Option<RepoId>, who: &str, via: &str, action: &str) -> Entry {
    Entry {
        repo,
        who: who.to_owned(),
        via: via.to_owned(),
        action: action.to_owned(),
        object: "POST containers/create".to_owned(),
        decision: Decision::Denied,
        reason: "privileged: <@everyone>\nno".to_owned(),
        ..Entry::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anomaly_is_told_once_to_the_server_and_to_its_own_repository() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let [app, other] = [
        create_repo(&store, "git", "https://forge.example", "team/app").await,
        create_repo(&store, "git", "https://forge.example", "team/other").await,
    ];
    let [of_server, of_app, of_other, of_builds] = std::array::from_fn(|_| Receiver::start());
    // Whatever the branch: nobody should be able to hide on one.
    let main: &[&str] = &["main"];
    add_webhook(&store, &of_server, None, &[NotificationEvent::Anomaly], main).await;
    add_webhook(&store, &of_app, Some(app), &NotificationEvent::ALL, main).await;
    add_webhook(&store, &of_other, Some(other), &[NotificationEvent::Anomaly], main).await;
    add_webhook(&store, &of_builds, None, &[NotificationEvent::Failure], main).await;
    let notices = Notices { store: store.clone(), sender: Sender::default(), url: "https://ci.example".to_owned() };
    let teller = Killable::start(notices.clone().run(CancellationToken::new()));
    record(&store, refused(Some(app), "job test", "job", "docker.request")).await;
    // The same once more is no news, and many of somebody who is in no repository concern the server alone.
    record(&store, refused(Some(app), "job test", "job", "docker.request")).await;
    drop(teller);
    for _ in 0..25 {
        record(&store, refused(None, "bob", "token", "token.create")).await;
    }
    let _teller = Killable::start(notices.run(CancellationToken::new()));
    let begun = Instant::now();
    while !notices::due(&store, &[], 1).await.unwrap().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(300), "{:?}", of_server.state().received);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let heard = |receiver: &Receiver| {
        let kinds =
            receiver.messages().iter().map(|one| one.body()["data"]["anomaly"]["kind"].clone()).collect::<Vec<_>>();
        json!(kinds)
    };
    assert_eq!(heard(&of_server), json!(["first-refusal", "many-refusals"]));
    assert_eq!(heard(&of_app), json!(["first-refusal"]));
    assert_eq!((heard(&of_other), heard(&of_builds)), (json!([]), json!([])));
    let taken = of_server.messages();
    let first = taken[0].body();
    assert_eq!((&first["type"], &first["data"]["repo"]["name"]), (&json!("anomaly"), &json!("team/app")), "{first}");
    let anomaly = &first["data"]["anomaly"];
    assert!(
        anomaly["message"].as_str().unwrap().contains("job test of team/app was denied `docker.request`"),
        "{first}"
    );
    assert_eq!((&anomaly["url"], &anomaly["record"]), (&json!("https://ci.example/audit"), &json!(1)), "{first}");
    assert_eq!(taken[1].body()["data"]["repo"], json!(null));
}
