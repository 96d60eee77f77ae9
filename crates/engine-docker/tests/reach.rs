//! What an operator gives every container of a job: variables and certificate authorities.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;

use longshore_core::plan::{Probe, Ready, Resources, ServicePlan};
use longshore_core::{Outcome, StepPlan, Template};
use longshore_executor::JobRequest;
use support::images::{BUSYBOX, TOOL};
use support::{World, job, step};

/// Made by `scripts/images.sh`; it has a bundle of authorities.
const DEBIAN: &str = "longshore/debian:bookworm";
const OWN: &str = "-----BEGIN CERTIFICATE-----\nb3du\n-----END CERTIFICATE-----\n";

/// A service that runs a script and goes on.
fn service(script: &str) -> ServicePlan {
    let script = format!("{script}; sleep 100");
    ServicePlan {
        name: "side".to_owned(),
        image: BUSYBOX.into(),
        env: BTreeMap::new(),
        entrypoint: Vec::new(),
        command: ["sh", "-c", &script].map(Into::into).to_vec(),
        ready: Some(Ready { probe: Probe::Exec("test -e /tmp/said".to_owned()), timeout_ms: 300_000 }),
        user: None,
        pull: None,
        resources: Resources::default(),
    }
}

/// A job of one script, with the same script in a service and in a step with an image of its own.
fn everywhere(script: &str) -> JobRequest {
    let mut request = job(&[script]);
    request.plan.services = vec![service(&format!("{script}; touch /tmp/said"))];
    request.plan.steps.push(StepPlan { image: Some(TOOL.into()), ..step("own", script) });
    request
}

fn texts(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn env(entries: &[(&str, &str)]) -> BTreeMap<String, Template> {
    entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_variables_are_in_every_container_of_a_job_and_the_pipelines_own_win() {
    let world = World::new().await;
    let mut request = everywhere("echo \"$SITE $COLOR $SHARED $HTTP_PROXY $http_proxy\"");
    let proxy = "http://operator:3128";
    request.operator.variables = texts(&[
        ("SITE", "here"),
        ("COLOR", "red"),
        ("SHARED", "operator's"),
        ("HTTP_PROXY", proxy),
        ("http_proxy", proxy),
    ]);
    request.plan.env = env(&[("SHARED", "job's")]);
    request.plan.services[0].env = env(&[("SHARED", "service's")]);
    // Whichever of the two a program reads, it reads what the pipeline says.
    request.plan.steps[1].env = env(&[("SHARED", "step's"), ("http_proxy", "http://pipeline")]);
    let ran = world.run(request).await;
    assert_eq!(ran.outcome, Outcome::Success, "{}", ran.journal.notes());
    assert_eq!(ran.journal.step_text(0), format!("here red job's {proxy} {proxy}\n"));
    assert_eq!(ran.journal.step_text(0x8000), format!("here red service's {proxy} {proxy}\n"));
    assert_eq!(ran.journal.step_text(1), "here red step's http://pipeline http://pipeline\n");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_authorities_are_in_every_container_as_a_file_that_all_its_users_can_read() {
    let world = World::new().await;
    let mut request = everywhere("id -un; cat \"$SSL_CERT_FILE\" && cmp \"$CURL_CA_BUNDLE\" \"$NODE_EXTRA_CA_CERTS\"");
    request.operator.authorities = OWN.to_owned();
    request.plan.steps[0].user = Some("app".to_owned());
    request.plan.image = TOOL.into();
    let ran = world.run(request).await;
    assert_eq!(ran.outcome, Outcome::Success, "{}", ran.journal.notes());
    // These images have no authorities of their own.
    for (of, user) in [(0, "app"), (1, "app"), (0x8000, "root")] {
        assert_eq!(ran.journal.step_text(of), format!("{user}\n{OWN}"));
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_images_own_authorities_are_trusted_still_and_what_the_pipeline_says_wins() {
    let world = World::new().await;
    let mut request = job(&[
        "(cat /etc/ssl/certs/ca-certificates.crt; cat \"$LONGSHORE_CA_FILE\") | cmp - \"$GIT_SSL_CAINFO\"; cat \"$LONGSHORE_CA_FILE\"",
        "echo \"$SSL_CERT_FILE ${CURL_CA_BUNDLE-unset}\"",
    ]);
    request.plan.image = DEBIAN.into();
    request.operator.authorities = OWN.to_owned();
    request.plan.steps[1].env = env(&[("SSL_CERT_FILE", "/mine.pem")]);
    let ran = world.run(request).await;
    assert_eq!(ran.outcome, Outcome::Success, "{}", ran.journal.notes());
    assert_eq!(ran.journal.step_text(0), OWN);
    assert_eq!(ran.journal.step_text(1), "/mine.pem unset\n");
    world.end().await;
}
