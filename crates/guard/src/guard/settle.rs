//! How the effect of a call gets into the table, once the engine has answered.

use serde_json::Value;

use super::Guard;
use crate::decision::Effect;
use crate::policy::Policy;
use crate::pushing::{has_only_for_a_push, is_of_registry};
use crate::table::{Image, full_id};

impl Guard {
    /// Records the effect of a call in the table. `created` is the id in the engine's answer, if it has one.
    pub fn settle(&mut self, effect: &Effect, succeeded: bool, created: Option<&str>) {
        let table = &mut self.table;
        // A create call that failed may have created its volumes. A job's have names that nobody else can choose.
        let is_sure = succeeded || matches!(self.policy, Policy::Job(_));
        if let Effect::ContainerCreated { volumes, .. } = effect
            && is_sure
        {
            table.volumes.extend(volumes.iter().cloned());
        }
        if let Effect::ContainerCreated { filled, .. } = effect {
            self.end_filling(filled);
        }
        let table = &mut self.table;
        if !succeeded {
            // Whatever the reason: another network may have it, one of the job's own among them whose creation was cut off.
            if let Effect::NetworkCreated { subnet: Some(subnet), .. } = effect {
                table.subnets.entry(subnet.clone()).or_default();
            }
            return;
        }
        if let Effect::ContainerCreated { joined, .. } = effect {
            for id in joined {
                if let Some(container) = table.containers.get_mut(id) {
                    container.is_alone = false;
                }
            }
        }
        let created = created.and_then(full_id);
        match (effect, created) {
            (Effect::ContainerCreated { container, .. }, Some(id)) => table.add_container(id, container.clone()),
            (Effect::ExecCreated { container }, Some(id)) => {
                table.add_exec(id, container.clone());
            }
            (Effect::NetworkCreated { name, subnet }, Some(id)) => {
                table.subnets.extend(subnet.clone().map(|subnet| (subnet, id.clone())));
                table.add_network(id, name.clone());
            }
            (Effect::ContainerCreated { .. } | Effect::ExecCreated { .. } | Effect::NetworkCreated { .. }, None) => {}
            (Effect::ContainerRenamed { id, name }, _) => table.name_container(id, name.clone()),
            (Effect::ContainerUpdated { id, container }, _) => {
                if let Some(known) = table.containers.get_mut(id) {
                    (known.memory, known.nano_cpus, known.pids) =
                        (container.memory, container.nano_cpus, container.pids);
                }
            }
            (Effect::ContainerRemoved { id }, _) => {
                table.containers.remove(id);
                table.forget_execs_of(id);
            }
            (Effect::NetworkRemoved { id }, _) => {
                table.networks.remove(id);
            }
            (Effect::VolumeCreated { name, .. }, _) => {
                table.volumes.insert(name.clone());
            }
            (Effect::VolumeRemoved { name }, _) => {
                table.volumes.remove(name);
                table.access.remove(name);
            }
            (Effect::ImageTagged { reference, id, kept_as }, _) => {
                table.add_image(reference.clone(), Image { id: id.clone(), kept_as: kept_as.clone() });
            }
            (Effect::ImageUntagged { references }, _) => {
                for reference in references {
                    table.images.remove(reference);
                }
            }
            (
                Effect::ImagesMade { .. }
                | Effect::ContainerStarted { .. }
                | Effect::ContainerUnpaused { .. }
                | Effect::FilesCopied { .. }
                | Effect::None,
                _,
            ) => {}
        }
    }

    /// Records the image that the import of the guard's own program has made, from a line of the engine's output.
    pub fn settle_import(&mut self, line: &Value) {
        if let Some(id) = line["status"].as_str().filter(|text| text.starts_with("sha256:")).and_then(full_id) {
            self.table.programs.insert(id);
        }
    }

    /// Records an image that a pull or a build has made, as the engine describes it.
    pub fn settle_image(&mut self, reference: &str, engine_reference: &str, kept: bool, image: &Value) {
        // Another job has begun to push one since the pull.
        if !kept && has_only_for_a_push(engine_reference, image) && !is_of_registry(engine_reference, image) {
            return;
        }
        if let Some(id) = self.learn_content(image, kept) {
            if !kept {
                self.count_pulled(&id, image);
            } else if !self.is_labelled(image) {
                // What a build has made is measured by its layers.
                self.table.loaded.insert(id.clone(), image["Size"].as_u64().unwrap_or_default());
            }
            let kept_as = kept.then(|| engine_reference.to_owned());
            self.table.add_image(reference.to_owned(), Image { id, kept_as });
        }
    }
}
