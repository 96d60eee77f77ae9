//! What the guard asks of the engine before it judges a request, and how the answers get into the table.

use serde_json::Value;

use super::Guard;
use crate::call::Call;
use crate::check::INSTANCE;
use crate::dockerfile::growth::Base;
use crate::dockerfile::{is_harmless_trigger, makes_a_layer};
use crate::host_config::NetworkMode;
use crate::image_ref::{ImageName, ImageRef};
use crate::listed::{length, text_length};
use crate::names::is_full_id;
use crate::policy::Policy;
use crate::pushing::has_only_for_a_push;
use crate::route::Request;
use crate::table::{Container, Image, full_id};
use crate::{server, server_own};

/// The longest triggers of an image together, in bytes.
const LONGEST_TRIGGERS: usize = 64 << 10;

impl Guard {
    /// Learns a server's instance from a request, if the policy does not set one. Returns it if it is new.
    pub fn learn_instance<'a>(&mut self, request: &'a Request) -> Option<&'a str> {
        let Policy::Server(server) = &mut self.policy else { return None };
        server::instance_of(&request.call).filter(|instance| server.learn(instance))
    }

    /// Returns references in a server's request to containers that the table does not know. Before the request is
    /// judged, the caller asks the engine for them and passes the answers to [`Guard::learn_container`]. So a guard
    /// that was restarted knows containers that are older than itself.
    #[must_use]
    pub fn unknown_containers(&self, request: &Request) -> Vec<String> {
        let Policy::Server(_) = &self.policy else { return Vec::new() };
        let reference = match &request.call {
            Call::Container { container, .. } => Some(container),
            Call::ContainerCreate { body, .. } => match &body.host.network {
                NetworkMode::Container(container) => Some(container),
                NetworkMode::Default | NetworkMode::None | NetworkMode::Named(_) => None,
            },
            _ => None,
        };
        // The engine is not asked for prefixes of ids, which may match other containers. Names are always asked for:
        // they may belong to another container by now.
        let is_asked = |reference: &&String| match is_full_id(reference) {
            true => !self.table.containers.contains_key(*reference),
            false => reference.starts_with(crate::names::RESERVED),
        };
        reference.filter(is_asked).cloned().into_iter().collect()
    }

    /// Adds a container that the engine has described, if it is the server's: it has the label, and a name that no job
    /// can choose.
    pub fn learn_container(&mut self, reference: &str, container: Option<&Value>) {
        let Policy::Server(policy) = &self.policy else { return };
        self.table.forget_name(reference);
        let Some(container) = container else { return };
        let name = container["Name"].as_str().unwrap_or_default().trim_start_matches('/');
        let is_own = container["Config"]["Labels"][INSTANCE].as_str().is_some_and(|instance| policy.is_own(instance));
        if let Some(id) = container["Id"].as_str().and_then(full_id)
            && is_own
            && server_own::is_ours(name)
        {
            let written = container["Mounts"].as_array().into_iter().flatten().filter(|mount| mount["RW"] != false);
            let volumes = written.filter_map(|mount| mount["Name"].as_str().map(str::to_owned)).collect();
            self.table.add_container(id, Container { name: name.to_owned(), volumes, ..Container::default() });
        }
    }

    /// Returns image references in a request that the policy allows and the table does not know. Before the request is
    /// judged, the caller asks the engine for them and passes the answers to [`Guard::learn_answer`].
    #[must_use]
    pub fn unknown_images(&self, request: &Request) -> Vec<String> {
        let reference = match &request.call {
            Call::ContainerCreate { body, .. } => match ImageName::parse(&body.image) {
                Ok(ImageName::Ref { reference, .. }) => Some(reference),
                Ok(ImageName::Id(_)) | Err(_) => None,
            },
            Call::ImageInspect { image } | Call::ImageHistory { image } | Call::ImageTag { image, .. } => match image {
                ImageName::Ref { reference, .. } => Some(reference.clone()),
                ImageName::Id(_) => None,
            },
            _ => None,
        };
        reference
            .into_iter()
            .filter(|reference| self.is_unknown(reference))
            .map(|reference| reference.to_string())
            .collect()
    }

    fn is_unknown(&self, reference: &ImageRef) -> bool {
        match &self.policy {
            Policy::Job(job) => !self.table.knows_image(reference) && job.may_look_up(reference),
            Policy::Server(_) => false,
        }
    }

    /// Whether the table knows an image by this full reference.
    #[must_use]
    pub fn knows_image(&self, reference: &str) -> bool {
        self.table.images.contains_key(reference)
    }

    /// Adds an image of the engine that the policy lets the client use, as the engine describes it.
    pub fn learn_image(&mut self, reference: &str, image: &Value) {
        if let Some(id) = self.learn_content(image, false).filter(|_| !self.table.images.contains_key(reference)) {
            self.table.add_image(reference.to_owned(), Image { id, kept_as: None });
        }
    }

    /// Notes what an image that others have built would run in builds, and what its containers take in lists. Returns
    /// its id. `is_made` says that the client has built or loaded it: a label from another registry or job has no
    /// effect.
    pub(super) fn learn_content(&mut self, image: &Value, is_made: bool) -> Option<String> {
        let id = image["Id"].as_str().and_then(full_id)?;
        self.table.listed.insert(id.clone(), crate::listed::image(&image["Config"]));
        let is_own = is_made && self.is_labelled(image);
        // What a trigger of another's image makes has no label of the job yet: no limit, no budget and no removal would
        // find it.
        let is_harmless = |trigger: &str| is_harmless_trigger(trigger) && (is_own || !makes_a_layer(trigger));
        let texts = |key: &str| {
            let texts = image["Config"][key].as_array().into_iter().flatten().filter_map(Value::as_str);
            texts.map(str::to_owned).collect::<Vec<_>>()
        };
        let triggers = texts("OnBuild");
        let is_long = triggers.iter().map(String::len).sum::<usize>() > LONGEST_TRIGGERS;
        let harmful = triggers.iter().find(|trigger| is_long || !is_harmless(trigger)).cloned();
        let base = Base {
            longest: texts("Env").iter().map(|text| text_length(text)).max().unwrap_or_default(),
            volumes: image["Config"]["Volumes"].as_object().map_or(0, |volumes| volumes.len()),
            triggers: if harmful.is_some() { Vec::new() } else { triggers },
            labels: length(&image["Config"]["Labels"]),
            described: length(&image["Config"]),
        };
        self.table.bases.insert(id.clone(), base);
        if let Some(harmful) = harmful {
            self.table.triggers.insert(id.clone(), harmful.chars().take(200).collect());
        }
        Some(id)
    }

    /// Whether an image has the label of the client's scope, which builds alone give.
    pub(super) fn is_labelled(&self, image: &Value) -> bool {
        let scope = image["Config"]["Labels"][crate::SCOPE_LABEL].as_str();
        matches!(&self.policy, Policy::Job(policy) if scope == Some(policy.scope.as_str()))
    }

    /// Adds an image that the engine has described, if the policy lets the client use it. An image with a digest came
    /// from a registry: the client has to pull it from there, with credentials of its own.
    pub fn learn_answer(&mut self, reference: &str, image: &Value) {
        let Policy::Job(policy) = &self.policy else { return };
        let Ok(parsed) = ImageRef::parse(reference) else { return };
        if has_only_for_a_push(reference, image) {
            return;
        }
        let is_local = image.get("RepoDigests").and_then(Value::as_array).is_none_or(Vec::is_empty);
        let may_use = policy.may_use(&parsed) || (is_local && policy.may_look_up(&parsed));
        if may_use {
            self.learn_image(reference, image);
        }
    }
}
