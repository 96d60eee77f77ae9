//! Large amounts: bytes, steps, jobs. And how few calls they take.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

mod support;

use std::time::Instant;

use longshore_core::Outcome;
use longshore_core::plan::Probe;
use support::{World, job};

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_megabytes_arrive_byte_for_byte() {
    let world = World::new().await;
    let began = Instant::now();
    let ran = world.run(job(&["seq 1 13000000"])).await;
    let took = began.elapsed();
    assert_eq!(ran.outcome, Outcome::Success, "{}", ran.journal.notes());
    let mut expected = Vec::with_capacity(110 << 20);
    for number in 1..=13_000_000_u32 {
        expected.extend_from_slice(number.to_string().as_bytes());
        expected.push(b'\n');
    }
    assert!(ran.journal.stdout() == expected, "not byte for byte");
    println!("{} MB in {} ms, start included", expected.len() / 1_000_000, took.as_millis());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_quick_failures_lose_no_byte_and_no_exit_code() {
    let world = World::with(|options| options.sandboxes_ready = 1).await;
    for _ in 0..50 {
        let mut request = job(&["printf x; exit 7"; 200]);
        for step in &mut request.plan.steps {
            step.continue_on_error = true;
        }
        let ran = world.run(request).await;
        assert_eq!(ran.journal.stdout().len(), 200);
        let codes: Vec<_> = ran.journal.steps_finished().into_iter().map(|(_, result)| result.exit_code).collect();
        assert_eq!(codes, vec![Some(7); 200]);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_jobs_at_once_finish_without_an_error_of_ours() {
    let world = World::with(|options| options.sandboxes_ready = 2).await;
    let outcomes = futures_util::future::join_all((0..50).map(|number| {
        let world = &world;
        async move {
            let ran = world.run(job(&[&format!("echo {number}")])).await;
            (ran.outcome, ran.journal.stdout_text() == format!("{number}\n"))
        }
    }))
    .await;
    for outcome in outcomes {
        assert_eq!(outcome, (Outcome::Success, true));
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_jobs_with_a_service_each_finish_at_once_without_an_error_of_ours() {
    let world = World::with(|options| options.sandboxes_ready = 2).await;
    let outcomes = futures_util::future::join_all((0..50).map(|number| {
        let world = &world;
        async move {
            let mut request = job(&["wget -q -O - http://web:8080/number"]);
            let serve = format!("mkdir /www; echo {number} >/www/number; exec httpd -f -p 8080 -h /www");
            request.plan.services = vec![support::shell_service("web", &serve, Probe::Tcp(8080), 600_000)];
            let ran = world.run(request).await;
            (ran.outcome, ran.journal.step_text(0) == format!("{number}\n"))
        }
    }))
    .await;
    for outcome in outcomes {
        assert_eq!(outcome, (Outcome::Success, true));
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_build_of_one_job_takes_at_most_eight_calls_and_its_steps_none() {
    let proxy = support::proxy::Proxy::before(&support::docker_host());
    let world = World::with(|options| options.docker_host = proxy.host()).await;
    world.run(job(&["true"])).await;
    world.engine.settled().await;
    calls(&proxy);
    assert_eq!(world.run(job(&["true"])).await.outcome, Outcome::Success);
    world.engine.settled().await;
    let one_step = calls(&proxy);
    assert_eq!(world.run(job(&["true"; 50])).await.outcome, Outcome::Success);
    world.engine.settled().await;
    let fifty_steps = calls(&proxy);
    // On a busy machine a sandbox goes on only once its container is removed, with one call less. So the two are not
    // compared with each other.
    assert!(one_step.len() <= 8, "{one_step:#?}");
    assert!(fifty_steps.len() <= 8, "{fifty_steps:#?}");
    println!("calls of a warm build: {one_step:#?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_of_very_many_files_is_empty_before_the_engine_is_asked_to_remove_it() {
    let proxy = support::proxy::Proxy::before(&support::docker_host());
    let world = World::with(|options| options.docker_host = proxy.host()).await;
    // The agent is on the engine from here on.
    world.run(job(&["true"])).await;
    world.engine.settled().await;
    proxy.take_targets();
    let many = "for d in $(seq 25); do mkdir $d; (cd $d; seq 1000 | xargs touch); done; ln -s /etc link";
    assert_eq!(world.run(job(&[many])).await.outcome, Outcome::Success);
    world.engine.settled().await;
    let calls = proxy.take_targets();
    let at = |method: &str, what: &str| calls.iter().position(|(of, target)| of == method && target.contains(what));
    let emptied = at("POST", "/containers/create?name=longshore-agent-");
    assert!(emptied.is_some() && emptied < at("DELETE", "/volumes/"), "{calls:#?}");
    world.end().await;
}

/// Counts repeated calls of a removal as one, because the number of tries depends on the engine.
fn calls(proxy: &support::proxy::Proxy) -> Vec<String> {
    let mut calls = proxy.take_calls();
    calls.dedup();
    calls
}
