//! Messages about builds.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use longshore_core::{
    BuildPlan, Diagnostic, Event, EventName, JobPlan, NotificationEvent, Outcome, RepoId, Severity, Timestamp,
    access::Actor, event::PullRequest,
};
use longshore_notification::Sender;
use longshore_outbox::Notices;
use longshore_store::{
    Store,
    builds::{self, Build, NewBuild},
    jobs, notices, notifications,
};
use tokio_util::sync::CancellationToken;

use crate::{
    killable::Killable,
    receiver::{self, Receiver},
    world::{add_webhook, add_webhook_at, claim, create_build, create_repo, end, failure, job},
};

/// A repository, its store, and a receiver of its webhook.
struct World {
    store: Store,
    repo: RepoId,
    receiver: Receiver,
    _dir: tempfile::TempDir,
}

impl World {
    /// A repository with a webhook for everything.
    async fn new() -> Self {
        let world = Self::without_webhook().await;
        add_webhook(&world.store, &world.receiver, Some(world.repo), &NotificationEvent::ALL, &[]).await;
        world
    }

    async fn without_webhook() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let repo = create_repo(&store, "git", "https://forge.example", "team/app").await;
        Self { store, repo, receiver: Receiver::start(), _dir: dir }
    }

    fn send_notices(&self) -> Killable {
        let notices =
            Notices { store: self.store.clone(), sender: Sender::default(), url: "https://ci.example".to_owned() };
        Killable::start(notices.run(CancellationToken::new()))
    }

    async fn build_of(&self, event: Event, pipelines: &[&str], change: impl Fn(&mut JobPlan)) -> Build {
        let changed = |pipeline: &&str| {
            let mut job = job(pipeline, "run");
            change(&mut job);
            job
        };
        create_build(&self.store, self.repo, event, pipelines.iter().map(changed).collect()).await
    }

    /// Ends a build of a branch, each pipeline so. `None` cancels it.
    async fn ends(&self, branch: &str, outcomes: &[(&str, Option<bool>)]) -> u64 {
        let event = Event::new(EventName::Push, format!("refs/heads/{branch}"), "1".repeat(40));
        let pipelines: Vec<&str> = outcomes.iter().map(|(pipeline, _)| *pipeline).collect();
        let build = self.build_of(event, &pipelines, |_| ()).await;
        for _ in outcomes.iter().filter(|(_, outcome)| outcome.is_some()) {
            let claimed = claim(&self.store).await;
            let works = outcomes.iter().find(|(pipeline, _)| *pipeline == claimed.plan.pipeline).unwrap().1.unwrap();
            end(&self.store, &claimed, if works { Outcome::Success } else { failure(7, "run") }).await;
        }
        if outcomes.iter().any(|(_, outcome)| outcome.is_none()) {
            let mut tx = self.store.write().await.unwrap();
            builds::cancel(&mut tx, build.id, Timestamp::now()).await.unwrap();
            tx.commit().await.unwrap();
        }
        build.number
    }

    /// Waits until nothing waits to be told.
    async fn all_is_told(&self) {
        let start = Instant::now();
        while !notices::due(&self.store, &[], 1).await.unwrap().is_empty() {
            assert!(start.elapsed() < Duration::from_secs(600), "{:?}", self.receiver.state().received);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Returns what has arrived: types and builds.
    fn heard(&self) -> Vec<(String, u64)> {
        let of = |one: &receiver::Received| {
            let body = one.body();
            (body["type"].as_str().unwrap().to_owned(), body["data"]["build"]["number"].as_u64().unwrap())
        };
        self.receiver.messages().iter().map(of).collect()
    }
}

fn is(kind: &str, number: u64) -> (String, u64) {
    (format!("build.{kind}"), number)
}

fn of_stranger(number: u64, commit: &str) -> Event {
    let mut event = Event::new(EventName::PullRequest, format!("refs/pull/{number}/head"), commit.repeat(40));
    event.pull_request = Some(PullRequest {
        title: "@everyone **free**".to_owned(),
        action: "synchronize".to_owned(),
        fork: true,
        ..PullRequest::opened(number, "main", "main")
    });
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_told_and_that_a_pipeline_works_again_once() {
    let world = World::new().await;
    let _sending = world.send_notices();
    world.ends("main", &[("ci", Some(true))]).await;
    let failed = world.ends("main", &[("ci", Some(false))]).await;
    world.ends("other", &[("ci", Some(true))]).await;
    // A build that was canceled says nothing.
    world.ends("main", &[("ci", None)]).await;
    let fixed = world.ends("main", &[("ci", Some(true))]).await;
    world.ends("main", &[("ci", Some(true))]).await;
    world.all_is_told().await;
    assert_eq!(world.heard(), [is("failure", failed), is("fixed", fixed)]);
    let told = world.receiver.messages();
    let body = told[0].body();
    assert_eq!(body["data"]["jobs"][0]["reason"], "step `run` failed with exit code 7");
    assert!(body["data"]["build"]["url"].as_str().unwrap().starts_with("https://ci.example/builds/"));
    assert_eq!(told[1].body()["data"]["pipelines"], serde_json::json!(["ci"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_pipeline_is_fixed_by_itself_and_a_broken_file_broke_all() {
    let world = World::new().await;
    let _sending = world.send_notices();
    let first = world.ends("main", &[("ci", Some(false)), ("docs", Some(true))]).await;
    let second = world.ends("main", &[("ci", Some(true)), ("docs", Some(false))]).await;
    world.all_is_told().await;
    assert_eq!(world.heard(), [is("failure", first), is("failure", second), is("fixed", second)]);
    let event = Event::new(EventName::Push, "refs/heads/main", "2".repeat(40));
    let diagnostic =
        Diagnostic { severity: Severity::Error, ..longshore_pipeline::secret_rules::diagnostic("broken".to_owned()) };
    let broken = NewBuild::new(world.repo, event, BuildPlan::new(Vec::new()), vec![diagnostic]);
    let mut tx = world.store.write().await.unwrap();
    let third = builds::create(&mut tx, &broken, Timestamp::now()).await.unwrap().number;
    tx.commit().await.unwrap();
    let fourth = world.ends("main", &[("ci", Some(true))]).await;
    world.all_is_told().await;
    assert_eq!(world.heard()[3..], [is("failure", third), is("fixed", fourth)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_for_some_branches_or_events_hears_of_nothing_else() {
    let world = World::without_webhook().await;
    let branches = ["main", "release/*"];
    add_webhook(&world.store, &world.receiver, None, &[NotificationEvent::Failure], &branches).await;
    let _sending = world.send_notices();
    world.ends("topic", &[("ci", Some(false))]).await;
    let failed = world.ends("release/1", &[("ci", Some(false))]).await;
    world.ends("release/1", &[("ci", Some(true))]).await;
    world.all_is_told().await;
    assert_eq!(world.heard(), [is("failure", failed)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_kills_and_a_receiver_that_is_away_everything_is_told_in_order_under_the_same_id() {
    let world = World::new().await;
    world.receiver.answer(503, "", "down");
    let sending = world.send_notices();
    let mut expected = Vec::new();
    for n in 0..12 {
        let works = n % 2 == 1;
        let number = world.ends("main", &[("ci", Some(works))]).await;
        expected.push(is(if works { "fixed" } else { "failure" }, number));
    }
    let start = Instant::now();
    while world.receiver.state().received.is_empty() {
        assert!(start.elapsed() < Duration::from_secs(600));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(sending);
    world.receiver.answer(429, "Retry-After: 1\r\n", "slowly");
    let sending = world.send_notices();
    let before = world.receiver.state().received.len();
    let start = Instant::now();
    while world.receiver.state().received.len() == before {
        assert!(start.elapsed() < Duration::from_secs(600));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.receiver.answer(200, "", "ok");
    drop(sending);
    let _sending = world.send_notices();
    world.all_is_told().await;
    assert_eq!(world.heard(), expected);
    // Whatever was sent before it was taken was the same message.
    let received = world.receiver.state().received.clone();
    let first: Vec<_> =
        received.iter().take_while(|one| !one.taken).map(|one| one.header("webhook-id").to_owned()).collect();
    assert!(
        first.iter().all(|id| *id == received.iter().find(|one| one.taken).unwrap().header("webhook-id")),
        "{first:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_is_given_up_and_the_build_says_so() {
    let world = World::new().await;
    world.receiver.answer(410, "", "gone");
    let _sending = world.send_notices();
    world.ends("main", &[("ci", Some(false))]).await;
    world.all_is_told().await;
    let build = builds::list(&world.store, &builds::BuildFilter::default(), None, 1).await.unwrap().items.remove(0);
    let late = notices::late(&world.store, build.id, Timestamp::now()).await.unwrap();
    assert!(late[0].given_up && late[0].problem.as_ref().unwrap().contains("gone"), "{late:?}");
    let (_, standing) = notifications::list(&world.store, Some(world.repo)).await.unwrap().remove(0);
    assert!(standing.problem.unwrap().contains("gone") && standing.told_at.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_asked_for_once_and_no_more_when_it_is_given() {
    let world = World::new().await;
    let asks = |job: &mut JobPlan| job.approval = Some("deploy to production?".to_owned());
    let event = || Event::new(EventName::Push, "refs/heads/main", "1".repeat(40));
    let build = world.build_of(event(), &["ci"], asks).await;
    let sending = world.send_notices();
    world.all_is_told().await;
    assert_eq!(world.heard(), [is("approval", build.number)]);
    assert_eq!(world.receiver.messages()[0].body()["data"]["jobs"][0]["reason"], "deploy to production?");
    drop(sending);
    // Given before anybody was told: nothing is left to tell.
    let other = world.build_of(event(), &["ci"], asks).await;
    let job = jobs::of_build(&world.store, other.id).await.unwrap().remove(0);
    let mut tx = world.store.write().await.unwrap();
    jobs::approve(&mut tx, job.id, &Actor::default(), Timestamp::now()).await.unwrap();
    tx.commit().await.unwrap();
    let _sending = world.send_notices();
    world.all_is_told().await;
    assert_eq!(world.heard().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_makes_no_noise_whatever_they_push() {
    let world = World::new().await;
    let asks = |job: &mut JobPlan| job.stranger = Some("run the pull request?".to_owned());
    // Told of before anything was sent: the newest build counts.
    world.build_of(of_stranger(7, "1"), &["ci"], asks).await;
    let newest = world.build_of(of_stranger(7, "2"), &["ci"], asks).await;
    let _sending = world.send_notices();
    world.all_is_told().await;
    assert_eq!(world.heard(), [is("approval", newest.number)]);
    for commit in ["3", "4", "5"] {
        world.build_of(of_stranger(7, commit), &["ci"], asks).await;
    }
    world.all_is_told().await;
    assert_eq!(world.heard().len(), 1);
    // Of many pull requests, a limited number a day makes messages.
    for number in 100..140 {
        world.build_of(of_stranger(number, "1"), &["ci"], asks).await;
    }
    world.all_is_told().await;
    assert_eq!(world.heard().len(), 20);
    // Their ends are told to nobody.
    let build = world.build_of(of_stranger(500, "9"), &["ci"], |_| ()).await;
    let claimed = claim(&world.store).await;
    assert_eq!(claimed.job.build, build.id);
    end(&world.store, &claimed, failure(7, "run")).await;
    world.all_is_told().await;
    assert_eq!(world.heard().len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_places_of_one_repository_hold_up_those_of_no_other() {
    let world = World::without_webhook().await;
    // It takes connections, and never answers.
    let slow = TcpListener::bind("127.0.0.1:0").unwrap();
    for n in 0..20 {
        let url = format!("http://{}/{n}", slow.local_addr().unwrap());
        let (name, failures) = (format!("slow {n}"), [NotificationEvent::Failure]);
        add_webhook_at(&world.store, &name, &url, Some(world.repo), &failures, &[]).await;
    }
    world.ends("main", &[("ci", Some(false))]).await;
    let repo = create_repo(&world.store, "git", "https://forge.example", "team/other").await;
    add_webhook(&world.store, &world.receiver, Some(repo), &NotificationEvent::ALL, &[]).await;
    let other = World { repo, ..world };
    let failed = other.ends("main", &[("ci", Some(false))]).await;
    let (start, began) = (Instant::now(), Timestamp::now());
    let _sending = other.send_notices();
    while other.heard().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(120), "the other repository's place was told nothing");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(other.heard(), [is("failure", failed)]);
    let owed = notices::due(&other.store, &[], 50).await.unwrap();
    assert!(owed.iter().all(|due| due.try_at <= began), "it waited until slow ones were given up: {owed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_its_place_cannot_take_lets_the_others_pass_and_is_tried_beside_them() {
    let world = World::new().await;
    let stuck = world.ends("main", &[("ci", Some(false))]).await;
    let next = world.ends("other", &[("ci", Some(false))]).await;
    let head = notices::due(&world.store, &[], 9).await.unwrap();
    let [head] = &head[..] else { panic!("{head:?}") };
    let fail = async |try_at: Timestamp| {
        let mut tx = world.store.write().await.unwrap();
        notices::failed(&mut tx, head.id, "it answers 500", Some(try_at), true).await.unwrap();
        tx.commit().await.unwrap();
    };
    fail(Timestamp::from_millis(Timestamp::now().as_millis() + 60 * 60 * 1000)).await;
    let _sending = world.send_notices();
    let start = Instant::now();
    while world.heard().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(600));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(world.heard(), [is("failure", next)]);
    fail(Timestamp::now()).await;
    // Something has to wake the sending, as the next build does.
    let last = world.ends("third", &[("ci", Some(false))]).await;
    world.all_is_told().await;
    let mut heard = world.heard();
    heard.sort_unstable();
    assert_eq!(heard, [is("failure", stuck), is("failure", next), is("failure", last)]);
}
