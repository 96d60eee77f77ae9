//! Which objects are a server's own.

use longshore_guard::{Guard, Policy, Rule, Table};
use serde_json::{Value, json};

use super::*;

#[test]
fn a_guard_that_was_told_no_instance_serves_the_first_that_is_named() {
    let list = |instance: &str| {
        format!("/containers/json?all=1&filters=%7B%22label%22%3A%5B%22longshore.instance%3D{instance}%22%5D%7D")
    };
    let mut guard = Guard::new(Policy::parse(r#"{"server":{}}"#).unwrap(), facts(41), Table::default());
    let learn = |guard: &mut Guard, instance: &str| {
        let request = read(guard, "GET", &list(instance), longshore_guard::Headers::default(), b"").unwrap();
        guard.learn_instance(&request);
        guard.policy().client()
    };
    assert_eq!(learn(&mut guard, "doctor"), "server ");
    assert_eq!(learn(&mut guard, "abc123"), "server abc123");
    assert_eq!(learn(&mut guard, "other"), "server abc123");
    let network = r#"{"Name":"longshore-other","Labels":{"longshore.instance":"other"},"Options":{"com.docker.network.bridge.enable_icc":"false"}}"#;
    refused(&guard, Rule::Server, "POST", "/networks/create", network);
}

#[test]
fn a_guard_that_starts_anew_knows_the_servers_containers_by_name_and_label() {
    let mut guard = Guard::new(Policy::parse(POLICY).unwrap(), facts(41), Table::default());
    let path = format!("/containers/{OWN}/json");
    let request =
        |guard: &Guard, target: &str| read(guard, "GET", target, longshore_guard::Headers::default(), b"").unwrap();
    assert_eq!(guard.unknown_containers(&request(&guard, &path)), [OWN]);
    let container =
        |name: &str, instance: &str| json!({"Id":OWN,"Name":name,"Config":{"Labels":{"longshore.instance":instance}}});
    for (name, instance) in [("/longshore-abc-1", "other"), ("/web", "abc123"), ("/longshore", "abc123")] {
        guard.learn_container(OWN, Some(&container(name, instance)));
        refused(&guard, Rule::Foreign, "GET", &path, "");
    }
    guard.learn_container(OWN, Some(&container("/longshore-abc-1", "abc123")));
    assert!(ask(&guard, "GET", &path, "").is_ok() && guard.unknown_containers(&request(&guard, &path)).is_empty());
    // A name is asked for each time: it may be another's by now. The start of an id is never asked for.
    let by_name = request(&guard, "/containers/longshore-abc-1/json");
    assert_eq!(guard.unknown_containers(&by_name), ["longshore-abc-1"]);
    guard.learn_container("longshore-abc-1", Some(&container("/longshore-abc-1", "other")));
    refused(&guard, Rule::Foreign, "GET", "/containers/longshore-abc-1/json", "");
    for foreign in ["victim", "dddd", "longshore"] {
        let unknown = guard.unknown_containers(&request(&guard, &format!("/containers/{foreign}/json")));
        assert!(foreign == "longshore" || unknown.is_empty(), "{foreign}");
    }
}

#[test]
fn lists_show_a_server_its_own_objects_and_nothing_of_others() {
    let guard = server();
    let rewritten = |target: &str, answer: Value| {
        let asked = ask(&guard, "GET", target, "").unwrap();
        let longshore_guard::Reply::Json(shape) = asked.reply else { panic!("{target}") };
        guard.rewrite(&shape, answer).unwrap()
    };
    let [own, other] = ["abc123", "other"].map(|instance| json!({"longshore.instance":instance}));
    let labels = "filters=%7B%22label%22%3A%5B%22longshore.instance%22%5D%7D";
    let containers = json!([
        {"Names":["/longshore-a-1"],"Labels":own}, {"Names":["/longshore-b-1"],"Labels":other}, {"Names":["/web"],"Labels":own}
    ]);
    assert_eq!(rewritten(&format!("/containers/json?all=1&{labels}"), containers).as_array().unwrap().len(), 1);
    let volumes = json!({"Volumes":[
        {"Name":"longshore-job-a-1","Labels":own}, {"Name":"longshore-job-b-1","Labels":other}, {"Name":"longshore-agent-0123456789ab","Labels":other}
    ]});
    let shown = rewritten(&format!("/volumes?{labels}"), volumes);
    assert_eq!(
        shown["Volumes"],
        json!([{"Name":"longshore-job-a-1","Labels":own}, {"Name":"longshore-agent-0123456789ab","Labels":{}}])
    );
    let addresses = json!({"Config":[{"Subnet":"10.0.0.0/8","Gateway":"10.0.0.1"}]});
    let networks = json!([{"Name":"lan","Id":"1","IPAM":addresses,"Containers":{"x":{}}}]);
    assert_eq!(rewritten("/networks", networks), json!([{"IPAM":addresses}]));
    let image = json!({"Id":"sha256:1","Config":{"Labels":{"longshore.instance":"other","maintainer":"x"}}});
    assert_eq!(
        rewritten("/images/node/json", image)["Config"]["Labels"],
        json!({"longshore.instance":"","maintainer":"x"})
    );
}
