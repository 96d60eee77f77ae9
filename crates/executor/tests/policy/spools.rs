//! A spool is the job's own statement: however long it is, no more of it becomes records and updates than plan and log
//! limit have.

use longshore_agent_protocol::{FromAgent, JobResult};
use longshore_core::record::RecordKind;
use longshore_core::{ErrorKind, Outcome};
use longshore_executor::JobUpdate;
use tokio_util::sync::CancellationToken;

use crate::agent::Script;
use crate::journal::MemoryJournal;
use crate::world::{World, adopt_and_hear, job, logged, run};

/// How many bytes a log has besides what was printed, for each record.
const HEADER: u64 = longshore_core::record::HEADER_LEN as u64;

fn records(journal: &MemoryJournal, kind: RecordKind) -> usize {
    let mut count = 0;
    journal.each(|record| count += usize::from(record.kind == kind));
    count
}

#[tokio::test(start_paused = true)]
async fn a_spool_that_reports_more_than_its_plan_has_is_read_no_further() {
    for forged in [
        FromAgent::StepStarted { step: 0, time_ms: 0 },
        FromAgent::StepStarted { step: 7, time_ms: 0 },
        FromAgent::ServiceReady { step: Some(0x8000), time_ms: 0 },
        FromAgent::Note { step: 7, time_ms: 0, text: "of no step".to_owned() },
    ] {
        let world = World::new();
        world.engine.script(Script::Waits);
        let request = job();
        let journal = world.run_and_die(&request).await;
        let agent = world.engine.agent(request.attempt_id());
        (0..1000).for_each(|_| agent.say(forged.clone()));
        agent.print("behind");
        agent.finish(JobResult::Success);
        crate::world::until("the container ends", || agent.exit_code().is_some()).await;
        let (outcome, heard) = adopt_and_hear(&world.next_process(), &request, &journal).await;
        assert!(!matches!(outcome, Outcome::Success), "{forged:?}");
        let begun = heard.iter().filter(|update| matches!(update, JobUpdate::StepStarted { .. })).count();
        assert_eq!((begun, records(&journal, RecordKind::StepStarted)), (1, 1), "{forged:?}");
        assert_eq!(journal.stdout_text(), "up\n", "{forged:?}");
        world.swept().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_running_agent_that_reports_more_than_its_plan_has_is_heard_no_further() {
    let world = World::new();
    world.engine.script(Script::Waits);
    let (request, journal) = (job(), MemoryJournal::default());
    let forging = async {
        logged(&journal, "up\n").await;
        let agent = world.engine.agent(request.attempt_id());
        (0..1000).for_each(|_| agent.say(FromAgent::StepStarted { step: 0, time_ms: 0 }));
    };
    let running = run(&world.executor, request.clone(), &journal, CancellationToken::new());
    let (outcome, ()) = tokio::join!(running, forging);
    assert!(matches!(outcome, Outcome::Error { kind: ErrorKind::Lost, .. }), "{outcome:?}");
    assert_eq!(records(&journal, RecordKind::StepStarted), 1);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_log_limit_counts_what_an_earlier_process_wrote_and_the_headers_of_records() {
    let world = World::new();
    world.engine.script(Script::Waits);
    let mut request = job();
    // The beginning, `up`, and four more lines.
    request.limits.log = HEADER + 5 * (HEADER + 3) + 40;
    let journal = world.run_and_die(&request).await;
    let agent = world.engine.agent(request.attempt_id());
    (10..99).for_each(|line| agent.print(&line.to_string()));
    let outcome = world.adopt(&request, &journal).await;
    assert!(matches!(outcome, Outcome::Error { kind: ErrorKind::LogTooLong, .. }), "{outcome:?}");
    assert_eq!(journal.stdout_text(), "up\n10\n11\n12\n13\n14\n");
    world.swept().await;
}
