//! What a job reaches: not the addresses that the server denies, and nothing outside its pod where its pipeline says
//! so.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::net::TcpListener;
use std::thread;

use bollard::models::NetworkCreateRequest;
use bollard::query_parameters::ListNetworksOptions;
use longshore_core::plan::{Network, Probe};
use longshore_core::{DeniedAddresses, JobPlan, Outcome, StepPlan};
use support::{World, job};

/// The kernel's immediate error for a denied address.
const DENIED: &str = "permission denied";
/// The agent's own program, which answers what `longshore doctor` asks.
const PROGRAM: &str = "/.longshore/longshore";

/// Listens on every address of this host, and accepts whoever comes.
fn listen_on_the_host() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || listener.incoming().for_each(drop));
    port
}

fn ask_the_host(port: u16) -> String {
    format!(
        "host=$(ip route | awk '/^default/ {{ print $3 }}'); (nc -w 5 $host {port} </dev/null 2>&1 && echo reached || true) | tail -n 1"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_does_not_reach_denied_addresses_and_cannot_undo_that() {
    let port = listen_on_the_host();
    let open = World::new().await;
    let ran = open.run(job(&[&ask_the_host(port)])).await;
    // An engine in a network namespace of its own has another host, where nobody listens.
    let said = ran.journal.stdout_text().to_lowercase();
    assert!(said == "reached\n" || said.contains("refused"), "{said}");
    open.end().await;

    let world =
        World::with(|options| options.denied = DeniedAddresses::parse_list(DeniedAddresses::DEFAULT).unwrap()).await;
    let undo = "ip rule flush 2>&- || true; ip rule add pref 1 lookup main 2>&- || true; ip rule | grep -c prohibit";
    let metadata = "nc -w 5 169.254.169.254 80 </dev/null 2>&1 || true";
    // The host's address on a network of a job with Docker that somebody makes later.
    let later = "nc -w 5 198.19.255.1 80 </dev/null 2>&1 || true";
    let mut request = job(&[undo, &ask_the_host(port), metadata, later]);
    // A socket may name its interface, which no routing rule holds.
    let probe = support::step("probe", "route host\nroute 169.254.0.0/16");
    request.plan.steps.push(StepPlan { shell: format!("{PROGRAM} probe"), ..probe });
    let ran = world.run(request).await;
    assert_eq!(ran.outcome, Outcome::Success, "{} {}", ran.journal.notes(), ran.journal.stdout_text());
    let said = ran.journal.stdout_text();
    let lines: Vec<&str> = said.lines().collect();
    // The denied routes: link-local addresses, the gateway, and the engine's other networks.
    assert!(lines[0].parse::<u32>().unwrap() >= 2, "{said}");
    for line in &lines[1..4] {
        assert!(line.to_lowercase().contains(DENIED), "{said}");
    }
    assert_eq!(lines[4..], ["route host denied", "route 169.254.0.0/16 denied"], "{said}");
    world.end().await;
}

fn with_network(network: Network, scripts: &[&str]) -> longshore_executor::JobRequest {
    let mut request = job(scripts);
    request.plan = JobPlan { network, ..request.plan };
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_without_a_network_has_its_own_loopback_only_and_leaves_its_sandbox_to_its_like() {
    let world = World::new().await;
    let interfaces = "ls /sys/class/net";
    for network in [Network::None, Network::Default, Network::Internal] {
        let ran = world.run(with_network(network, &[interfaces])).await;
        assert_eq!(ran.outcome, Outcome::Success, "{}", ran.journal.notes());
        let alone = ran.journal.stdout_text() == "lo\n";
        assert_eq!(alone, network != Network::Default, "{network:?}: {}", ran.journal.stdout_text());
        world.engine.settled().await;
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_internal_job_reaches_its_services_by_their_names_and_nothing_else() {
    let port = listen_on_the_host();
    let world = World::new().await;
    let serve = "mkdir www; echo here > www/index.html; httpd -f -p 8080 -h www";
    let mut request = with_network(
        Network::Internal,
        &["wget -qO- http://web:8080/", &format!("nc -w 5 172.17.0.1 {port} </dev/null || echo none")],
    );
    request.plan.services = vec![support::shell_service("web", serve, Probe::Tcp(8080), 300_000)];
    let ran = world.run(request).await;
    assert_eq!(ran.outcome, Outcome::Success, "{}", ran.journal.notes());
    assert_eq!(ran.journal.stdout_text(), "here\nnone\n");
    world.end().await;
}

/// Engines before 25 create a network for each of two processes that ask for it, and start nothing on either.
#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_two_processes_have_created_is_one_again() {
    let world = World::new().await;
    let name = world.instance.network_name().to_string();
    let labels = [("longshore.instance", world.instance.as_str()), ("longshore.kind", "network")];
    let isolated = ("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned());
    let request = NetworkCreateRequest {
        name: name.clone(),
        options: Some([isolated].into()),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
        ..NetworkCreateRequest::default()
    };
    for _ in 0..2 {
        // Later engines refuse it.
        let _ = world.docker.create_network(request.clone()).await;
    }
    for _ in 0..2 {
        let ran = world.run(job(&["true"])).await;
        assert_eq!(ran.outcome, Outcome::Success, "{}", ran.journal.notes());
    }
    let listed = world.docker.list_networks(None::<ListNetworksOptions>).await.unwrap();
    assert_eq!(listed.iter().filter(|network| network.name.as_ref() == Some(&name)).count(), 1);
    world.end().await;
}
