//! Conditions on the engine that are checked before a call: which question the engine is asked, and which answers are accepted.

use serde_json::Value;

use crate::refusal::{Judged, Refusal, Rule, refuse};

/// The label with the instance that an object belongs to. Volumes and networks get no labels of images; a container counts as the
/// server's only if its name, too, is one that only a server can choose.
pub(crate) const INSTANCE: &str = "longshore.instance";

/// A condition on the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// The paths that this container's volumes are mounted at stay what they are. For a copy, the engine mounts them once more, on the
    /// host: whoever swaps such a path for a link meanwhile could make it mount over the host's own files. So none of them is within
    /// another volume, and a container that runs is paused. With `alone`, there is one at most: links of the container's image, too, can
    /// lead one into another.
    Still { container: String, alone: bool },
    /// This volume belongs to one of these instances, or does not exist. With `place`, it has to exist, to be a plain folder, and to
    /// be at that path.
    Volume { name: String, instances: Vec<String>, place: Option<String> },
    /// This network belongs to one of these instances.
    Network { reference: String, instances: Vec<String> },
    /// This image came from a registry, or was made in a job.
    Replaceable { image: String },
}

impl Check {
    /// Returns the path of the request to the engine.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::Still { container, .. } => format!("/containers/{container}/json"),
            Self::Volume { name, .. } => format!("/volumes/{name}"),
            Self::Network { reference, .. } => format!("/networks/{reference}"),
            Self::Replaceable { image } => format!("/images/{image}/json"),
        }
    }

    /// Judges the engine's answer. `found` is `None` if there is no such object.
    ///
    /// # Errors
    /// If the condition does not hold.
    pub fn judge(&self, found: Option<&Value>) -> Result<(), Refusal> {
        match (self, found) {
            (Self::Still { alone: true, .. }, Some(container))
                if container["Mounts"]
                    .as_array()
                    .is_none_or(|mounts| mounts.len() > 1 || (runs(container) && !mounts.is_empty())) =>
            {
                refuse!(
                    Archive,
                    "this engine (before Docker 24) copies no files into or out of a container that runs with a mount, or has several: stop it first, or copy them in a container without"
                )
            }
            (Self::Still { .. }, Some(container)) => match nested(container) {
                Some(path) => refuse!(
                    Archive,
                    "files cannot be copied into or out of this container, because its mount {path} is within another one: copy them in a container without it"
                ),
                None => Ok(()),
            },
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
            (Self::Replaceable { image }, Some(found)) => {
                let from_registry = found["RepoDigests"].as_array().is_some_and(|digests| !digests.is_empty());
                if from_registry || found["Config"]["Labels"][crate::SCOPE_LABEL].is_string() {
                    return Ok(());
                }
                refuse!(Server, "{image} was made on this engine and is in no registry: the server does not remove it")
            }
            (Self::Still { .. } | Self::Volume { .. } | Self::Network { .. } | Self::Replaceable { .. }, _) => Ok(()),
        }
    }
}

/// Files that the engine mounts in every container that has run, beside its volumes.
const OF_THE_ENGINE: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

fn runs(container: &Value) -> bool {
    container["State"]["Running"].as_bool() != Some(false)
}

/// Returns whether a container has to be paused for a copy.
#[must_use]
pub fn has_to_pause(container: &Value) -> bool {
    runs(container) && container["State"]["Paused"].as_bool() != Some(true)
}

/// Returns the first mount that is within another one.
fn nested(container: &Value) -> Option<&str> {
    let mounts = container["Mounts"].as_array()?;
    let paths: Vec<&str> = mounts.iter().filter_map(|mount| mount["Destination"].as_str()).collect();
    let is_within = |path: &str, other: &str| {
        path.strip_prefix(other.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'))
    };
    let all = paths.iter().copied().chain(OF_THE_ENGINE);
    all.into_iter().find(|path| paths.iter().any(|other| other != path && is_within(path, other)))
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
    fn volumes_are_mounted_side_by_side_and_a_container_that_runs_is_paused_for_a_copy() {
        let check = |alone| Check::Still { container: "c".into(), alone };
        let container = |running: bool, paused: bool, mounts: &[&str]| {
            let mounts: Vec<Value> = mounts.iter().map(|path| json!({ "Destination": path })).collect();
            json!({ "State": { "Running": running, "Paused": paused }, "Mounts": mounts })
        };
        for (container, pauses) in [
            (container(true, false, &["/a", "/ab", "/b/c"]), true),
            (container(true, true, &["/a"]), false),
            (container(false, false, &["/a"]), false),
            (container(true, false, &[]), true),
            (json!({}), true),
        ] {
            assert!(check(false).judge(Some(&container)).is_ok(), "{container}");
            assert_eq!(has_to_pause(&container), pauses, "{container}");
        }
        for mounts in [&["/a", "/a/b"][..], &["/a/b/c", "/x", "/a"], &["/etc"], &["/"]] {
            assert!(check(false).judge(Some(&container(false, false, mounts))).is_err(), "{mounts:?}");
        }
        assert!(check(true).judge(Some(&container(false, false, &["/a", "/b"]))).is_err());
        assert!(check(true).judge(Some(&container(true, false, &["/a"]))).is_err());
        assert!(check(true).judge(Some(&container(false, false, &["/a"]))).is_ok());
        assert!(check(true).judge(Some(&container(true, false, &[]))).is_ok());
    }

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
