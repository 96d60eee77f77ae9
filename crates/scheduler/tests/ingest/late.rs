//! Deliveries that arrive after newer ones of the same pull request, and those of long ago that somebody sends again.

use longshore_core::{Status, Timestamp};
use longshore_store::{
    builds,
    deliveries::{self, Delivery, DeliveryStatus},
};
use serde_json::{Value, json};

use crate::{NONE, PIPELINE, World, at, pull_request, push};

/// What pull request 7 of the branch `topic` went through: `opened`, `edited`, `closed` or `reopened`, the branch that
/// it goes into from then on, and when.
type Happened = (&'static str, &'static str, u32);

/// Returns the event's name and body as the forge tells of it.
fn told(forge: &str, (action, target, time): Happened, head: &str) -> (&'static str, Value) {
    let is_retargeted = action == "edited";
    match forge {
        "gitlab" => {
            let word = match action {
                "opened" => "open",
                "closed" => "close",
                "reopened" => "reopen",
                _ => "update",
            };
            let changes = if is_retargeted { json!({ "target_branch": { "current": target } }) } else { json!({}) };
            let attributes = json!({ "iid": 7, "action": word, "source_branch": "topic", "target_branch": target,
                "source_project_id": 1, "target_project_id": 1, "last_commit": { "id": head },
                "updated_at": format!("2000-01-01 00:00:{time:02} UTC") });
            ("Merge Request Hook", json!({ "object_attributes": attributes, "changes": changes }))
        }
        "bitbucket" => {
            let event = match action {
                "opened" => "pullrequest:created",
                "closed" => "pullrequest:rejected",
                _ => "pullrequest:updated",
            };
            let body = json!({ "pullrequest": { "id": 7, "title": "t", "updated_on": at(time),
                "source": { "branch": { "name": "topic" }, "commit": { "hash": &head[..12] }, "repository": { "uuid": "{1}" } },
                "destination": { "branch": { "name": target }, "repository": { "uuid": "{1}" } } } });
            (event, body)
        }
        _ => {
            let mut body = pull_request(action, head, time);
            body["pull_request"]["head"]["repo"]["id"] = 1.into();
            body["pull_request"]["base"]["ref"] = target.into();
            if is_retargeted {
                let field = if forge == "github" { "base" } else { "ref" };
                body["changes"] = json!({ field: { "from": "another" } });
            }
            ("pull_request", body)
        }
    }
}

/// A repository with pull request 7.
async fn with_pull_request(forge: &str) -> (World, String) {
    let world = World::new(forge, PIPELINE).await;
    let repository = &world.repository;
    repository.git(&["branch", "-q", "lax"]);
    repository.git(&["checkout", "-q", "-b", "topic"]);
    let head = repository.write("a", "1").commit("of the topic");
    repository.git(&["checkout", "-q", "main"]);
    for served_at in ["refs/pull/7/head", "refs/merge-requests/7/head"] {
        repository.git(&["update-ref", served_at, &head]);
    }
    (world, head)
}

impl World {
    async fn tell(&self, forge: &str, happened: Happened, head: &str, key: &str) -> Delivery {
        let (event, body) = told(forge, happened, head);
        self.process(event, &format!("id:{key}"), &body).await
    }

    /// Returns the branch that the only build of a delivery is for, and `""` if there is none.
    async fn target(&self, delivery: &Delivery) -> String {
        match delivery.builds[..] {
            [] => String::new(),
            _ => self.build(delivery).await.event.pull_request.unwrap().target_branch,
        }
    }
}

#[tokio::test]
async fn an_older_event_of_a_pull_request_moves_it_to_no_former_target() {
    let (opened, into_lax, back, again) =
        (("opened", "main", 1), ("edited", "lax", 2), ("edited", "main", 3), ("edited", "lax", 4));
    for forge in ["github", "gitea", "forgejo", "gitlab", "bitbucket"] {
        for (order, targets) in [
            ([opened, into_lax, back, again], ["main", "lax", "main", "lax"]),
            ([opened, back, into_lax, again], ["main", "", "", "lax"]),
            ([into_lax, opened, back, again], ["lax", "", "main", "lax"]),
            ([opened, into_lax, again, back], ["main", "lax", "", ""]),
        ] {
            let (world, head) = with_pull_request(forge).await;
            for (number, (happened, target)) in order.into_iter().zip(targets).enumerate() {
                let delivery = world.tell(forge, happened, &head, &number.to_string()).await;
                assert_eq!(world.target(&delivery).await, target, "{forge} {order:?} {number}: {delivery:?}");
            }
            // None of them once more, in whatever order.
            for (number, (action, target, time)) in order.into_iter().rev().enumerate() {
                let again = world.tell(forge, (action, target, time), &head, &format!("again {number}")).await;
                assert_eq!((again.status, again.builds.len()), (DeliveryStatus::Ignored, 0), "{forge}: {again:?}");
            }
            // Where it goes is what was told last: what comes then is no change of that.
            let titled = world.tell(forge, ("labeled", "lax", 9), &head, "last").await;
            assert_eq!(world.target(&titled).await, "", "{forge} {order:?}: {titled:?}");
        }
    }
}

#[tokio::test]
async fn a_pull_request_that_was_opened_again_is_not_closed_by_the_delivery_of_before() {
    for forge in ["github", "gitea", "gitlab"] {
        let (world, head) = with_pull_request(forge).await;
        world.tell(forge, ("opened", "main", 1), &head, "1").await;
        let reopened = world.tell(forge, ("reopened", "main", 3), &head, "3").await;
        let closed = world.tell(forge, ("closed", "main", 2), &head, "2").await;
        let reason = closed.reason.as_ref().unwrap();
        assert!(reason.starts_with("arrived late"), "{forge}: {closed:?}");
        let build = world.build(&reopened).await;
        assert_eq!(build.status, Status::Queued, "{forge}");
    }
}

#[tokio::test]
async fn a_pull_request_is_closed_also_if_what_happened_to_it_afterwards_is_told_first() {
    for (forge, state) in [("github", "closed"), ("forgejo", "closed"), ("gitlab", "merged"), ("bitbucket", "DECLINED")]
    {
        let (world, head) = with_pull_request(forge).await;
        let opened = world.tell(forge, ("opened", "main", 1), &head, "1").await;
        let (event, mut body) = told(forge, ("labeled", "main", 3), &head);
        let fields = ["pull_request", "object_attributes", "pullrequest"];
        let field = fields.into_iter().find(|field| body.get(*field).is_some()).unwrap();
        body[field]["state"] = state.into();
        assert_eq!(world.process(event, "id:3", &body).await.builds.len(), 0, "{forge}");
        let closed = world.tell(forge, ("closed", "main", 2), &head, "2").await;
        assert!(closed.reason.as_ref().unwrap().contains("canceled 1 build"), "{forge}: {closed:?}");
        assert_eq!(world.build(&opened).await.status, Status::Canceled, "{forge}");
    }
}

#[tokio::test]
async fn a_commit_that_a_pull_request_has_now_is_built_whatever_the_forges_clock_says() {
    let (world, head) = with_pull_request("github").await;
    world.tell("github", ("opened", "main", 5), &head, "1").await;
    let tree = world.repository.git(&["rev-parse", "topic^{tree}"]);
    let next = world.repository.git(&["commit-tree", &tree, "-p", &head, "-m", "next"]);
    for moved in ["refs/heads/topic", "refs/pull/7/head"] {
        world.repository.git(&["update-ref", moved, &next]);
    }
    let pushed = world.tell("github", ("synchronize", "main", 3), &next, "2").await;
    assert_eq!(world.build(&pushed).await.event.commit, next);
    // And what it had before is not.
    let late = world.tell("github", ("synchronize", "main", 2), &head, "3").await;
    assert!(late.builds.is_empty() && late.reason.unwrap().starts_with("arrived late"));
}

#[tokio::test]
async fn a_delivery_of_long_ago_that_somebody_sends_again_is_built_and_moves_nothing() {
    let again = async |world: &World, delivery: &Delivery| {
        let mut tx = world.store.write().await.unwrap();
        let (_, again) = deliveries::redeliver(&mut tx, delivery.id, Timestamp::now()).await.unwrap();
        tx.commit().await.unwrap();
        world.end(again).await
    };
    let world = World::new("github", PIPELINE).await;
    world.scheduler.check_for_missed_pushes(world.repo.id).await.unwrap();
    let (main, a) = ("refs/heads/main", world.repository.git(&["rev-parse", "HEAD"]));
    let first = world.process("push", "id:1", &push(main, NONE, &a, 1)).await;
    let b = world.repository.commit("b");
    world.process("push", "id:2", &push(main, &a, &b, 2)).await;
    assert_eq!(world.build(&again(&world, &first).await).await.event.commit, a);
    assert_eq!(
        world.scheduler.check_for_missed_pushes(world.repo.id).await.unwrap().found,
        [],
        "the branch is where it was told to be"
    );

    let (world, head) = with_pull_request("github").await;
    let opened = world.tell("github", ("opened", "main", 1), &head, "1").await;
    world.tell("github", ("edited", "lax", 2), &head, "2").await;
    let repeated = again(&world, &opened).await;
    assert_eq!(world.target(&repeated).await, "main");
    let titled = world.tell("github", ("labeled", "lax", 3), &head, "3").await;
    assert_eq!(world.target(&titled).await, "", "it goes into `lax`, as before");
    let all = builds::list(&world.store, &builds::BuildFilter::default(), None, 10).await.unwrap();
    assert_eq!(all.items.len(), 3);
}
