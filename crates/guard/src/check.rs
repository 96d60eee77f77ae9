//! Conditions on the engine that are checked before a call: which question the engine is asked, and which answers are
//! accepted.

use serde_json::Value;

use crate::copy::was_started;
use crate::job_guard::PROGRAM;
use crate::pushing::has_only_for_a_push;
use crate::refusal::{Judged, Refusal, Rule, refuse};
use crate::server_own::{AGENT, is_ours};

/// The label with the instance that an object belongs to. Volumes and networks get no labels of images; a container
/// counts as the server's only if its name, too, is one that only a server can choose.
pub(crate) const INSTANCE: &str = "longshore.instance";

/// A condition on the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// This volume belongs to one of these instances, or does not exist. With `place`, it has to exist, to be a plain
    /// folder, and to be at that path.
    Volume { name: String, instances: Vec<String>, place: Option<String> },
    /// This network belongs to one of these instances.
    Network { reference: String, instances: Vec<String> },
    /// This container does not run, or runs a job's guard, so that nothing in it changes its paths while the engine
    /// reads files of it.
    Still { container: String },
    /// This container was never started, and mounts only new volumes that are removed with it: nobody has been in them.
    Unshared { container: String },
    /// Nobody is on this network but the sandbox.
    Unused { network: String, sandbox: Option<String> },
    /// This image came from a registry, or was made in a job.
    Replaceable { image: String },
}

impl Check {
    /// Returns the path of the request to the engine.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::Volume { name, .. } => format!("/volumes/{name}"),
            Self::Network { reference, .. } => format!("/networks/{reference}"),
            Self::Still { container } | Self::Unshared { container } => format!("/containers/{container}/json"),
            Self::Unused { network, .. } => format!("/networks/{network}"),
            Self::Replaceable { image } => format!("/images/{image}/json"),
        }
    }

    /// Judges the engine's answer. `found` is `None` if there is no such object.
    ///
    /// # Errors
    /// If the condition does not hold.
    pub fn judge(&self, found: Option<&Value>) -> Result<(), Refusal> {
        match (self, found) {
            (Self::Volume { name, instances, place }, Some(volume)) => {
                if !is_of(instances, volume) || place.as_ref().is_some_and(|place| !is_at(volume, place)) {
                    return absent_volume(name);
                }
                Ok(())
            }
            (Self::Volume { name, place: Some(_), .. }, None) => absent_volume(name),
            (Self::Network { reference, instances }, Some(network)) if !is_of(instances, network) => {
                Err(Refusal::new(Rule::Foreign, format!("network {reference} not found")))
            }
            (Self::Still { .. }, Some(found)) => {
                let config = &found["Config"];
                let is_ours = config["Image"].as_str().is_some_and(|image| image.starts_with(&format!("{AGENT}:")));
                let is_guard = is_ours && config["Entrypoint"][0] == PROGRAM && config["Entrypoint"][1] == "guard";
                if is_guard || found["State"]["Running"] == false {
                    return Ok(());
                }
                refuse!(Server, "the server may read files of containers that do not run, and of jobs' guards")
            }
            (Self::Unshared { .. }, Some(found)) => {
                let is_new = |mount: &Value| {
                    mount["Type"] == "volume" && mount["Name"].as_str().is_some_and(|name| !is_ours(name))
                };
                if !was_started(found) && found["Mounts"].as_array().is_some_and(|mounts| mounts.iter().all(is_new)) {
                    return Ok(());
                }
                refuse!(
                    Server,
                    "for an archive, this engine (before Docker 24) mounts the container's volumes on the host, where others may have a way in: export the container"
                )
            }
            (Self::Unused { network, sandbox }, Some(found)) => {
                let mut others = found["Containers"].as_object().into_iter().flat_map(serde_json::Map::keys);
                match others.any(|container| Some(container) != sandbox.as_ref()) {
                    true => refuse!(Network, "network {network} has active endpoints"),
                    false => Ok(()),
                }
            }
            (Self::Replaceable { image }, Some(found)) => {
                let from_registry = found["RepoDigests"].as_array().is_some_and(|digests| !digests.is_empty());
                let of_job = found["Config"]["Labels"][crate::SCOPE_LABEL].is_string();
                if from_registry || of_job || has_only_for_a_push(image, found) {
                    return Ok(());
                }
                refuse!(Server, "{image} was made on this engine and is in no registry: the server does not remove it")
            }
            (
                Self::Volume { .. }
                | Self::Network { .. }
                | Self::Still { .. }
                | Self::Unshared { .. }
                | Self::Unused { .. }
                | Self::Replaceable { .. },
                _,
            ) => Ok(()),
        }
    }
}

fn absent_volume(name: &str) -> Judged<()> {
    Err(Refusal::new(Rule::Foreign, format!("get {name}: no such volume")))
}

fn is_of(instances: &[String], object: &Value) -> bool {
    object["Labels"][INSTANCE].as_str().is_some_and(|of| instances.iter().any(|own| own == of))
}

fn is_at(volume: &Value, place: &str) -> bool {
    let options = volume["Options"].as_object();
    volume["Driver"] == "local"
        && volume["Mountpoint"] == place
        && options.is_none_or(|options| options.keys().all(|option| option == "size"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_layer_is_an_own_plain_volume_at_its_place() {
        let check = |place: Option<&str>| Check::Volume {
            name: "v".into(),
            instances: vec!["own".into()],
            place: place.map(str::to_owned),
        };
        let volume = |instance: &str, options: Value| json!({"Driver":"local","Mountpoint":"/x/v/_data","Labels":{INSTANCE:instance},"Options":options});
        let there = check(Some("/x/v/_data"));
        assert!(there.judge(Some(&volume("own", Value::Null))).is_ok());
        assert!(there.judge(Some(&volume("own", json!({"size":"1"})))).is_ok());
        for (check, volume) in [
            (check(None), Some(volume("other", Value::Null))),
            (check(None), Some(json!({"Driver":"local","Labels":null}))),
            (check(Some("/etc")), Some(volume("own", Value::Null))),
            (there.clone(), Some(volume("own", json!({"device":"/"})))),
            (there, None),
        ] {
            assert!(check.judge(volume.as_ref()).is_err(), "{volume:?}");
        }
        assert!(check(None).judge(None).is_ok(), "a new one");
    }
}
