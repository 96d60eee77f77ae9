//! The containers beside a job's own: each is started once, whoever follows the job, and none is left.

use longshore_agent_protocol::{JobResult, MemberId};
use longshore_core::plan::{Retry, RetryOn, ServicePlan};
use longshore_core::{Outcome, Record, StepPlan};
use longshore_executor::engine::ImageConfig;
use longshore_executor::{EngineError, JobRequest, Refusal};
use tokio_util::sync::CancellationToken;

use crate::agent::Script;
use crate::engine::{MemoryEngine, Verb, away, refused};
use crate::journal::MemoryJournal;
use crate::world::{World, adopt, job, logged, noted, run, until};

/// A job with a service, and with a step in a container of its own.
fn pod() -> JobRequest {
    let mut request = job();
    let service = |name: &str| ServicePlan {
        name: name.to_owned(),
        image: "db".into(),
        pull: None,
        env: std::collections::BTreeMap::new(),
        entrypoint: Vec::new(),
        command: Vec::new(),
        ready: None,
        user: None,
        resources: longshore_core::plan::Resources::default(),
    };
    request.plan.services = vec![service("db")];
    request.plan.steps.push(StepPlan { name: "own".to_owned(), image: Some("tool".into()), ..StepPlan::default() });
    request
}

/// A world with these images.
fn world(images: &[&str]) -> World {
    let world = World::new();
    world.engine.script(Script::Waits);
    for image in images {
        world.engine.tag(image, image);
    }
    world
}

async fn started(engine: &MemoryEngine, members: &[MemberId]) {
    until("the containers run", || engine.members() == members).await;
}

const DB: MemberId = MemberId::Service(0);
const OWN: MemberId = MemberId::Step(1, 1);

#[tokio::test(start_paused = true)]
async fn services_and_containers_of_steps_are_started_once_and_none_is_left() {
    let world = world(&["db", "tool"]);
    let (mut request, journal) = (pod(), MemoryJournal::default());
    request.plan.steps[1].retry = Some(Retry { max: 1, on: vec![RetryOn::Failure] });
    let running = run(&world.executor, request.clone(), &journal, CancellationToken::new());
    let asking = async {
        started(&world.engine, &[DB, OWN]).await;
        let agent = world.engine.agent(request.attempt_id());
        // Its turn comes, again after a failure, and twice.
        for attempt in [1, 2, 2] {
            agent.ask(1, attempt);
        }
        started(&world.engine, &[DB, OWN, MemberId::Step(1, 2)]).await;
        assert_eq!(agent.failures(), []);
        agent.finish(JobResult::Success);
    };
    let (outcome, ()) = tokio::join!(running, asking);
    assert_eq!(outcome, Outcome::Success);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_not_here_is_pulled_for_a_step_only_when_its_turn_comes_if_the_step_may_be_skipped() {
    let world = world(&["db"]);
    let mut request = pod();
    request.plan.steps[1].condition = Some(longshore_core::expression::Expression::parse("failure()").unwrap());
    let journal = MemoryJournal::default();
    let running = run(&world.executor, request.clone(), &journal, CancellationToken::new());
    let asking = async {
        started(&world.engine, &[DB]).await;
        assert_eq!(world.engine.calls(Verb::Pull), 0);
        let agent = world.engine.agent(request.attempt_id());
        agent.ask(1, 1);
        started(&world.engine, &[DB, OWN]).await;
        noted(&journal, "pulling tool").await;
        agent.finish(JobResult::Success);
    };
    let (outcome, ()) = tokio::join!(running, asking);
    assert_eq!(outcome, Outcome::Success);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_container_that_cannot_be_started_is_reported_to_the_agent_with_the_reason_in_every_session() {
    let world = world(&["tool"]);
    world
        .engine
        .fail(Verb::Pull, EngineError::ImageMissing { image: "db".to_owned(), reason: "manifest unknown".to_owned() });
    let (request, journal) = (pod(), MemoryJournal::default());
    let running = run(&world.executor, request.clone(), &journal, CancellationToken::new());
    let told = async {
        logged(&journal, "up\n").await;
        let agent = world.engine.agent(request.attempt_id());
        until("the agent is told", || agent.failures().len() == 1).await;
        let [failure] = agent.failures().try_into().unwrap();
        assert_eq!(failure.container, DB);
        assert!(failure.message.contains("manifest unknown"), "{}", failure.message);
        agent.cut_links();
        until("the agent is told again", || agent.failures().len() == 2).await;
        agent.finish(JobResult::Success);
    };
    let (outcome, ()) = tokio::join!(running, told);
    assert_eq!(outcome, Outcome::Success);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_for_a_reason_that_passes_is_tried_again() {
    for error in [away(), refused(Refusal::Failed), EngineError::ImageGone("gone".to_owned())] {
        let world = world(&["db", "tool"]);
        world.engine.fail(Verb::CreateMember, error.clone());
        world.engine.lose(Verb::StartMember, away());
        let (request, journal) = (pod(), MemoryJournal::default());
        let running = run(&world.executor, request.clone(), &journal, CancellationToken::new());
        let asking = async {
            started(&world.engine, &[DB, OWN]).await;
            world.engine.agent(request.attempt_id()).finish(JobResult::Success);
        };
        let (outcome, ()) = tokio::join!(running, asking);
        assert_eq!(outcome, Outcome::Success, "{error}");
        world.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_services_that_open_one_port_are_named_before_either_is_started() {
    let world = world(&["tool"]);
    world.engine.tag_with("db", ImageConfig { ports: vec![5432], ..ImageConfig::default() });
    let (mut request, journal) = (pod(), MemoryJournal::default());
    let second = ServicePlan { name: "other".to_owned(), ..request.plan.services[0].clone() };
    request.plan.services.push(second);
    let running = run(&world.executor, request.clone(), &journal, CancellationToken::new());
    let told = async {
        logged(&journal, "up\n").await;
        let agent = world.engine.agent(request.attempt_id());
        until("the agent is told", || agent.failures().len() == 2).await;
        let message = &agent.failures()[0].message;
        assert!(message.contains("`db` and `other` both use port 5432"), "{message}");
        assert!(!world.engine.members().iter().any(|member| matches!(member, MemberId::Service(_))));
        agent.finish(JobResult::Success);
    };
    let (outcome, ()) = tokio::join!(running, told);
    assert_eq!(outcome, Outcome::Success);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_adopts_a_job_finds_its_containers_and_starts_what_was_asked_for_and_is_not_there() {
    let world = world(&["db"]);
    let mut request = pod();
    // Not ahead of its turn.
    request.plan.steps[1].condition = Some(longshore_core::expression::Expression::parse("failure()").unwrap());
    let journal = world.run_and_die(&request).await;
    started(&world.engine, &[DB]).await;
    let agent = world.engine.agent(request.attempt_id());
    agent.ask(1, 1);
    let next = world.next_process();
    let adopting = adopt(&next, &request, &journal, CancellationToken::new());
    let asking = async {
        started(&world.engine, &[DB, OWN]).await;
        agent.finish(JobResult::Success);
    };
    let (outcome, ()) = tokio::join!(adopting, asking);
    assert_eq!(outcome, Outcome::Success);
    next.shutdown(true).await;
    world.swept().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_given_up_leaves_none_of_its_containers() {
    let world = world(&["db", "tool"]);
    let request = pod();
    drop(world.run_and_die(&request).await);
    started(&world.engine, &[DB, OWN]).await;
    world.executor.abandon(request.attempt_id());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_container_that_ended_before_its_agent_could_join_is_reported_when_it_is_asked_for_again() {
    let world = world(&["db", "tool"]);
    let (request, journal) = (pod(), MemoryJournal::default());
    let running = run(&world.executor, request.clone(), &journal, CancellationToken::new());
    let told = async {
        started(&world.engine, &[DB, OWN]).await;
        let agent = world.engine.agent(request.attempt_id());
        world.engine.end_member(request.attempt_id(), DB);
        agent.ask(Record::FIRST_SERVICE, 1);
        until("the agent is told", || agent.failures().len() == 1).await;
        let failure = agent.failures().remove(0);
        assert!(failure.container == DB && failure.message.contains("has ended"), "{failure:?}");
        agent.finish(JobResult::Success);
    };
    let (outcome, ()) = tokio::join!(running, told);
    assert_eq!(outcome, Outcome::Success);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_adopts_a_job_asks_for_no_image_of_a_container_that_runs() {
    let world = world(&["db", "tool"]);
    let request = pod();
    let journal = world.run_and_die(&request).await;
    started(&world.engine, &[DB, OWN]).await;
    let agent = world.engine.agent(request.attempt_id());
    world.engine.untag("db");
    world.engine.untag("tool");
    let next = world.next_process();
    let adopting = adopt(&next, &request, &journal, CancellationToken::new());
    let looked = world.engine.calls(Verb::FindMember);
    let asking = async {
        until("both are looked for", || world.engine.calls(Verb::FindMember) >= looked + 2).await;
        assert_eq!(agent.failures(), []);
        agent.finish(JobResult::Success);
    };
    let (outcome, ()) = tokio::join!(adopting, asking);
    assert_eq!((outcome, world.engine.calls(Verb::Pull)), (Outcome::Success, 0));
    next.shutdown(true).await;
    world.swept().await;
}

#[tokio::test(start_paused = true)]
async fn a_container_of_another_run_of_the_attempt_makes_way() {
    let world = world(&["db", "tool"]);
    let request = pod();
    let journal = world.run_and_die(&request).await;
    started(&world.engine, &[DB, OWN]).await;
    world.engine.disown_member(request.attempt_id(), DB);
    let agent = world.engine.agent(request.attempt_id());
    let created = world.engine.calls(Verb::CreateMember);
    let next = world.next_process();
    let adopting = adopt(&next, &request, &journal, CancellationToken::new());
    let asking = async {
        until("another is created", || world.engine.calls(Verb::CreateMember) > created).await;
        started(&world.engine, &[DB, OWN]).await;
        agent.finish(JobResult::Success);
    };
    let (outcome, ()) = tokio::join!(adopting, asking);
    assert_eq!(outcome, Outcome::Success);
    next.shutdown(true).await;
    world.swept().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_writes_requests_of_its_own_gets_only_what_its_plan_has() {
    let world = world(&["db", "tool"]);
    let (request, journal) = (pod(), MemoryJournal::default());
    let running = run(&world.executor, request.clone(), &journal, CancellationToken::new());
    let asking = async {
        started(&world.engine, &[DB, OWN]).await;
        let agent = world.engine.agent(request.attempt_id());
        // The job's own step, a try too many, no step at all, no service at all.
        for (step, attempt) in [(0, 1), (1, 2), (1, 0), (7, 1), (Record::FIRST_SERVICE + 1, 1), (Record::NO_STEP, 1)] {
            agent.ask(step, attempt);
        }
        agent.print("asked");
        logged(&journal, "asked\n").await;
        world.executor.settled().await;
        assert_eq!(world.engine.members(), [DB, OWN]);
        agent.finish(JobResult::Success);
    };
    let (outcome, ()) = tokio::join!(running, asking);
    assert_eq!(outcome, Outcome::Success);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_process_started_is_removed_at_the_jobs_end() {
    let world = world(&["db", "tool"]);
    let mut request = pod();
    request.plan.steps[1].retry = Some(Retry { max: 2, on: vec![RetryOn::Failure] });
    let running = world.run_and_die(&request).await;
    started(&world.engine, &[DB, OWN]).await;
    let agent = world.engine.agent(request.attempt_id());
    let next = world.next_process();
    // It has started the second try, and dies as well.
    tokio::select! {
        outcome = adopt(&next, &request, &running, CancellationToken::new()) => panic!("{outcome:?}"),
        () = async {
            agent.ask(1, 2);
            started(&world.engine, &[DB, OWN, MemberId::Step(1, 2)]).await;
        } => {}
    }
    let last = world.next_process();
    let adopting = adopt(&last, &request, &running, CancellationToken::new());
    let ending = async { agent.finish(JobResult::Success) };
    let (outcome, ()) = tokio::join!(adopting, ending);
    assert_eq!(outcome, Outcome::Success);
    last.settled().await;
    assert_eq!(world.engine.members(), []);
    next.shutdown(true).await;
    last.shutdown(true).await;
    world.swept().await;
}

#[tokio::test(start_paused = true)]
async fn a_step_that_ended_while_another_process_followed_the_job_is_neither_reported_nor_blamed_on_the_agent() {
    let world = world(&["db", "tool"]);
    let request = pod();
    let journal = world.run_and_die(&request).await;
    started(&world.engine, &[DB, OWN]).await;
    world.engine.end_member(request.attempt_id(), OWN);
    let agent = world.engine.agent(request.attempt_id());
    let looked = world.engine.calls(Verb::FindMember);
    let next = world.next_process();
    let adopting = adopt(&next, &request, &journal, CancellationToken::new());
    let asking = async {
        until("both are looked for", || world.engine.calls(Verb::FindMember) >= looked + 2).await;
        next.settled().await;
        assert_eq!((agent.failures(), world.engine.calls(Verb::RenewAgent)), (vec![], 0));
        agent.finish(JobResult::Success);
    };
    let (outcome, ()) = tokio::join!(adopting, asking);
    assert_eq!(outcome, Outcome::Success);
    next.shutdown(true).await;
    world.swept().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_left_beside_an_ended_container_when_its_spool_is_read() {
    let world = world(&["db", "tool"]);
    let (request, journal) = (pod(), MemoryJournal::default());
    let running = run(&world.executor, request.clone(), &journal, CancellationToken::new());
    let ending = async {
        started(&world.engine, &[DB, OWN]).await;
        logged(&journal, "up\n").await;
        // Its first try to read fails, and the second is late.
        world.engine.fail(Verb::ReadSpool, away());
        world.engine.agent(request.attempt_id()).end(137);
        world.engine.called(Verb::ReadSpool, 1).await;
        assert_eq!(world.engine.members(), []);
    };
    let (outcome, ()) = tokio::join!(running, ending);
    assert!(matches!(outcome, Outcome::Error { .. }), "{outcome:?}");
    world.end().await;
}
