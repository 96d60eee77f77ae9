//! The policy for a job with Docker: it may do anything with its own objects, and nothing with others.

mod build;
mod containers;
mod images;
mod networks;

use serde_json::json;

use self::build::judge_build;
use self::containers::judge_container;
use self::images::{check_platform, remove_image};
pub(crate) use self::images::{has_names_left, pull_call, registry_of, tag_call};
use self::networks::create_network;
pub(crate) use self::networks::network_of;
use crate::bodies::{VolumeContent, VolumeCreate};
use crate::call::Call;
use crate::decision::{Decision, Effect, EngineCall, Forward, LineShape, Local, Push, Reply, Shape};
use crate::guard::Guard;
use crate::image_ref::{ImageName, ImageRef};
use crate::job_create::{self, Created};
use crate::names::chosen;
use crate::policy::JobPolicy;
use crate::refusal::{Judged, NO_LOAD, refuse};

pub(crate) fn forward(call: EngineCall, reply: Reply, effect: Effect) -> Judged<Decision> {
    Ok(Decision::Forward(Box::new(Forward { call, reply, effect, checks: Vec::new(), build: None })))
}

pub(crate) fn answer(body: serde_json::Value) -> Judged<Decision> {
    Ok(Decision::Answer(Local::Json { status: 200, body }))
}

pub(crate) fn judge(guard: &Guard, policy: &JobPolicy, call: &Call, nonce: &str) -> Judged<Decision> {
    let table = &guard.table;
    match call {
        Call::Ping => Ok(Decision::Answer(Local::Pong)),
        Call::Version => answer(crate::answer::version(&guard.engine)),
        Call::Info => forward(EngineCall::new("GET", "/info"), Reply::Json(Shape::Info), Effect::None),
        Call::Auth(auth) => {
            // The client keeps the credentials and sends them with each pull. The engine is not asked: it would call the registry from
            // the host.
            let server = registry_of(auth.server());
            if policy.registries.contains(&server) {
                return answer(json!({ "Status": "Login Succeeded", "IdentityToken": "" }));
            }
            refuse!(Registry, "the registry {server} is not allowed here")
        }
        Call::Events { since, until, filters } => {
            let call = EngineCall::new("GET", "/events")
                .query("since", since)
                .query("until", until)
                .query("filters", r#"{"type":["container","network","volume","image"]}"#);
            forward(call, Reply::Lines(LineShape::Events(filters.clone())), Effect::None)
        }
        Call::ContainerCreate { name, platform, body } => {
            check_platform(guard, platform)?;
            let name = if name.is_empty() { format!("c-{nonce}") } else { chosen("container", name)? };
            let Created { body, entry, volumes, joined } = job_create::judge(guard, policy, &name, body)?;
            let call = EngineCall::new("POST", "/containers/create")
                .query("name", policy.engine_name(&name))
                .query("platform", platform)
                .json(body.write()?);
            let effect = Effect::ContainerCreated { container: entry, volumes, joined };
            forward(call, Reply::Json(Shape::Created), effect)
        }
        Call::ContainerList { all, limit, size, filters } => {
            let mut filters = filters.clone();
            let shape = Shape::Containers {
                names: filters.take("name"),
                ids: filters.take("id"),
                ancestors: filters.take("ancestor"),
                networks: filters.take("network"),
                volumes: filters.take("volume"),
                limit: *limit,
            };
            let call = EngineCall::new("GET", "/containers/json")
                .flag("all", *all || limit.is_some())
                .flag("size", *size)
                .query("filters", filters.with_label(&policy.label()).write().to_string());
            forward(call, Reply::Json(shape), Effect::None)
        }
        Call::Container { container, action } => judge_container(guard, policy, container, action),
        Call::ExecStart { exec, body } => {
            let id = table.exec(exec)?;
            let reply = if body.detach { Reply::Status } else { Reply::Hijack };
            forward(EngineCall::new("POST", format!("/exec/{id}/start")).json(body.write()), reply, Effect::None)
        }
        Call::ExecResize { exec, size } => {
            let call = EngineCall::new("POST", format!("/exec/{}/resize", table.exec(exec)?));
            let call = call.query("h", size.height.to_string()).query("w", size.width.to_string());
            forward(call, Reply::Status, Effect::None)
        }
        Call::ExecInspect { exec } => {
            let call = EngineCall::new("GET", format!("/exec/{}/json", table.exec(exec)?));
            forward(call, Reply::Json(Shape::Exec), Effect::None)
        }
        Call::ImageList { all, digests, filters } => {
            let mut filters = filters.clone();
            // Applied here: on the engine, the references name other clients' images.
            let references = filters.take("reference");
            if references.iter().any(|text| ImageRef::parse(text).is_err() && !text.contains('*')) {
                return refuse!(Image, "a filter contains an invalid image reference");
            }
            let call = EngineCall::new("GET", "/images/json")
                .flag("all", *all)
                .flag("digests", *digests)
                .query("filters", if filters.0.is_empty() { String::new() } else { filters.write().to_string() });
            forward(call, Reply::Json(Shape::Images { references }), Effect::None)
        }
        Call::ImageInspect { image } => {
            let (id, _) = table.image(image)?;
            forward(
                EngineCall::new("GET", format!("/images/sha256:{id}/json")),
                Reply::Json(Shape::Image),
                Effect::None,
            )
        }
        Call::ImageHistory { image } => {
            let (id, _) = table.image(image)?;
            let call = EngineCall::new("GET", format!("/images/sha256:{id}/history"));
            forward(call, Reply::Json(Shape::History), Effect::None)
        }
        Call::ImageDigest { .. } => {
            refuse!(Route, "digests of names are not looked up at registries here: pull the image")
        }
        Call::ImagePull { image, platform, auth } => {
            policy.may_pull(image)?;
            guard.has_pull_left(policy)?;
            check_platform(guard, platform)?;
            let mut call = pull_call(image, platform);
            call.credentials = Some(("X-Registry-Auth", auth.to_header()));
            let references = [(image.to_string(), image.to_string())].into();
            forward(call, Reply::Lines(LineShape::Progress), Effect::ImagesMade { references, kept: false })
        }
        Call::ImageImport { .. } => refuse!(Image, "importing images is not allowed: build them"),
        Call::ImageTag { image, target } => {
            let (id, _) = table.image(image)?;
            if target.tag().is_none() {
                return refuse!(Image, "{} has no tag", target.familiar());
            }
            let reference = target.to_string();
            has_names_left(guard, policy, [&reference].into_iter())?;
            let kept_as = policy.engine_image(&reference);
            let call = tag_call(id, &kept_as);
            let effect = Effect::ImageTagged { reference, id: id.to_owned(), kept_as: Some(kept_as) };
            forward(call, Reply::Status, effect)
        }
        Call::ImagePush { image, auth } => {
            policy.may_push(image)?;
            let (id, _) = table.image(&ImageName::Ref { reference: image.clone(), prefix: None })?;
            let (name, Some(tag)) = (image.name(), image.tag()) else {
                return refuse!(Image, "{} cannot be pushed: it has no tag", image.familiar());
            };
            let mut push = EngineCall::new("POST", format!("/images/{name}/push")).query("tag", tag);
            push.credentials = Some(("X-Registry-Auth", auth.to_header()));
            let untag = EngineCall::new("DELETE", format!("/images/{image}")).flag("noprune", true);
            let tag = tag_call(id, &image.to_string());
            Ok(Decision::Push(Box::new(Push { reference: image.to_string(), tag, push, untag })))
        }
        Call::ImageRemove { image, .. } => remove_image(guard, image),
        Call::ImageLoad { quiet } => {
            if !policy.load {
                return refuse!(Build, "{NO_LOAD}");
            }
            let call = EngineCall::new("POST", "/images/load").flag("quiet", *quiet).images();
            let effect = Effect::ImagesMade { references: std::collections::BTreeMap::new(), kept: true };
            forward(call, Reply::Lines(LineShape::Loaded(std::collections::BTreeMap::new())), effect)
        }
        Call::Build(build) => judge_build(guard, policy, build, nonce),
        Call::NetworkList { filters } => {
            let mut filters = filters.clone();
            let shape = Shape::Networks { names: filters.take("name"), ids: filters.take("id") };
            let filters = if filters.0.is_empty() { String::new() } else { filters.write().to_string() };
            forward(EngineCall::new("GET", "/networks").query("filters", filters), Reply::Json(shape), Effect::None)
        }
        Call::NetworkInspect { network } => {
            let id = network_of(guard, policy, network)?;
            forward(EngineCall::new("GET", format!("/networks/{id}")), Reply::Json(Shape::Network), Effect::None)
        }
        Call::NetworkCreate(network) => create_network(guard, policy, network),
        Call::NetworkConnect { network, body } => {
            let id = network_of(guard, policy, network)?;
            let (container, entry) = table.container(&body.container)?;
            let own = policy.network.as_deref() != Some(id);
            let endpoint = job_create::endpoint(guard, &body.endpoint, &entry.name, own)?;
            let call = EngineCall::new("POST", format!("/networks/{id}/connect"))
                .json(json!({ "Container": container, "EndpointConfig": endpoint.write() }));
            forward(call, Reply::Status, Effect::None)
        }
        Call::NetworkDisconnect { network, body } => {
            let id = network_of(guard, policy, network)?;
            let (container, _) = table.container(&body.container)?;
            let call = EngineCall::new("POST", format!("/networks/{id}/disconnect"))
                .json(json!({ "Container": container, "Force": body.force }));
            forward(call, Reply::Status, Effect::None)
        }
        Call::NetworkRemove { network } => {
            let id = table.network(network)?.to_owned();
            forward(EngineCall::new("DELETE", format!("/networks/{id}")), Reply::Status, Effect::NetworkRemoved { id })
        }
        Call::VolumeList { filters } => {
            let mut filters = filters.clone();
            let shape = Shape::Volumes { names: filters.take("name") };
            let filters = filters.with_label(&policy.label()).write().to_string();
            forward(EngineCall::new("GET", "/volumes").query("filters", filters), Reply::Json(shape), Effect::None)
        }
        Call::VolumeCreate(volume) => create_volume(guard, policy, volume, nonce),
        Call::VolumeInspect { volume } => {
            let name = policy.engine_name(table.volume(volume)?);
            forward(EngineCall::new("GET", format!("/volumes/{name}")), Reply::Json(Shape::Volume), Effect::None)
        }
        Call::VolumeRemove { volume, force } => {
            let name = table.volume(volume)?.to_owned();
            let call =
                EngineCall::new("DELETE", format!("/volumes/{}", policy.engine_name(&name))).flag("force", *force);
            forward(call, Reply::Status, Effect::VolumeRemoved { name })
        }
    }
}

fn create_volume(guard: &Guard, policy: &JobPolicy, volume: &VolumeCreate, nonce: &str) -> Judged<Decision> {
    let name = if volume.name.is_empty() { format!("v-{nonce}") } else { chosen("volume", &volume.name)? };
    if !guard.table.volumes.contains(&name) && guard.table.volumes.len() >= policy.budget.volumes {
        return refuse!(Budget, "the job has used all of its {} volumes", policy.budget.volumes);
    }
    if volume.content != VolumeContent::Plain {
        return refuse!(Volume, "a volume may have no driver options: they can mount paths of the host");
    }
    let stamped = VolumeCreate {
        name: policy.engine_name(&name),
        labels: policy.stamp(volume.labels.clone(), &name)?,
        content: VolumeContent::Plain,
    };
    let call = EngineCall::new("POST", "/volumes/create").json(stamped.write());
    forward(call, Reply::Json(Shape::Volume), Effect::VolumeCreated { name })
}
