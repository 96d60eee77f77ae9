//! The policy for a job with Docker: it may do anything with its own objects, and nothing with others.

use serde_json::json;

use crate::bodies::{NetworkCreate, Update, VolumeContent, VolumeCreate};
use crate::call::{Build, Call, ContainerAction};
use crate::check::Check;
use crate::decision::{Context, Decision, Effect, EngineCall, Forward, LineShape, Local, Push, Reply, Shape};
use crate::guard::{Guard, check_platform, container_call};
use crate::host_config::NetworkMode;
use crate::image_ref::{ImageName, ImageRef};
use crate::job_create;
use crate::names::chosen;
use crate::policy::{JobPolicy, unreserved};
use crate::refusal::{Judged, refuse};

/// The memory that a build may use.
const BUILD_MEMORY: i64 = 2 << 30;

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
            check_platform(platform)?;
            let name = if name.is_empty() { format!("c-{nonce}") } else { chosen("container", name)? };
            let created = job_create::judge(guard, policy, &name, body)?;
            let call = EngineCall::new("POST", "/containers/create")
                .query("name", policy.engine_name(&name))
                .query("platform", platform)
                .json(created.body.write()?);
            let effect = Effect::ContainerCreated { container: created.entry, volumes: created.volumes };
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
            forward(call, Reply::Json(Shape::Same), Effect::None)
        }
        Call::ImageDigest { .. } => {
            refuse!(Route, "digests of names are not looked up at registries here: pull the image")
        }
        Call::ImagePull { image, platform, auth } => {
            policy.may_pull(image)?;
            guard.has_pull_left(policy)?;
            check_platform(platform)?;
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

fn judge_container(guard: &Guard, policy: &JobPolicy, reference: &str, action: &ContainerAction) -> Judged<Decision> {
    let (id, _) = guard.table.container(reference)?;
    let call = container_call(id, action);
    match action {
        ContainerAction::Inspect { .. } => forward(call, Reply::Json(Shape::Container), Effect::None),
        ContainerAction::Top { .. } | ContainerAction::Changes => forward(call, Reply::Json(Shape::Same), Effect::None),
        ContainerAction::Logs(_)
        | ContainerAction::Stats { .. }
        | ContainerAction::Wait { .. }
        | ContainerAction::Export => forward(call, Reply::Stream, Effect::None),
        ContainerAction::Start { .. } | ContainerAction::Restart { .. } => {
            forward(call, Reply::Status, Effect::ContainerStarted { id: id.to_owned() })
        }
        ContainerAction::Resize(_)
        | ContainerAction::Stop { .. }
        | ContainerAction::Kill { .. }
        | ContainerAction::Pause
        | ContainerAction::Unpause => forward(call, Reply::Status, Effect::None),
        ContainerAction::Rename { name } => {
            let name = chosen("container", name)?;
            let call = container_call(id, &ContainerAction::Rename { name: policy.engine_name(&name) });
            forward(call, Reply::Status, Effect::ContainerRenamed { id: id.to_owned(), name })
        }
        ContainerAction::Update(update) => {
            let (update, entry) = judge_update(guard, id, update)?;
            let call = container_call(id, &ContainerAction::Update(update));
            forward(call, Reply::Json(Shape::Same), Effect::ContainerUpdated { id: id.to_owned(), container: entry })
        }
        ContainerAction::Attach(_) => forward(call, Reply::Hijack, Effect::None),
        ContainerAction::Remove { force, .. } => {
            // Together with its anonymous volumes, which nobody could find afterwards.
            let call = container_call(id, &ContainerAction::Remove { volumes: true, force: *force });
            forward(call, Reply::Status, Effect::ContainerRemoved { id: id.to_owned() })
        }
        ContainerAction::ArchiveInfo { .. } | ContainerAction::ArchivePut { .. } => {
            let reply =
                if matches!(action, ContainerAction::ArchiveInfo { .. }) { Reply::Files } else { Reply::Status };
            // Its image may have volumes that nobody asked for: the engine says whether there are any.
            let checks = vec![Check::Stopped { container: id.to_owned() }];
            let forward = Forward { call, reply, effect: Effect::None, checks, build: None };
            Ok(Decision::Forward(Box::new(forward)))
        }
        ContainerAction::ArchiveGet { .. } => forward(call, Reply::Files, Effect::None),
        ContainerAction::Exec(_) => {
            if guard.table.running_execs() >= policy.budget.execs {
                return refuse!(Budget, "the job has {} execs running, its most", policy.budget.execs);
            }
            forward(call, Reply::Json(Shape::Created), Effect::ExecCreated { container: id.to_owned() })
        }
    }
}

/// Judges an update of a container. Limits may only be lowered: they were taken from the budget when the container was created.
fn judge_update(guard: &Guard, id: &str, update: &Update) -> Judged<(Update, crate::table::Container)> {
    let mut entry = guard.table.containers.get(id).cloned().unwrap_or_default();
    let mut update = update.clone();
    for (name, asked, has) in [
        ("Memory", update.memory, &mut entry.memory),
        ("NanoCpus", update.nano_cpus, &mut entry.nano_cpus),
        ("PidsLimit", update.pids_limit.unwrap_or_default(), &mut entry.pids),
    ] {
        match asked {
            0 => {}
            asked if asked > 0 && asked <= *has => *has = asked,
            _ => return refuse!(Budget, "{name} may only be lowered: the container has {has}"),
        }
    }
    if update.memory_reservation > entry.memory || update.memory_reservation < 0 {
        return refuse!(Budget, "MemoryReservation is larger than the container's memory");
    }
    if update.memory != 0 || update.memory_swap != 0 {
        update.memory = entry.memory;
        update.memory_swap = entry.memory;
    }
    Ok((update, entry))
}

/// Returns the id of one of the job's own networks, or of the job's network, which clients call `bridge`.
pub(crate) fn network_of<'a>(guard: &'a Guard, policy: &'a JobPolicy, reference: &str) -> Judged<&'a str> {
    match (reference, policy.network.as_deref()) {
        ("bridge" | "default", Some(network)) => Ok(network),
        (id, Some(network)) if id == network => Ok(network),
        _ => guard.table.network(reference),
    }
}

/// Returns the call that pulls an image under its own name.
pub(crate) fn pull_call(image: &ImageRef, platform: &str) -> EngineCall {
    EngineCall::new("POST", "/images/create")
        .query("fromImage", image.name())
        .query("tag", image.version())
        .query("platform", platform)
}

/// Returns the call that gives an image a name on the engine.
pub(crate) fn tag_call(id: &str, reference: &str) -> EngineCall {
    let (repository, tag) = reference.rsplit_once(':').unwrap_or((reference, "latest"));
    EngineCall::new("POST", format!("/images/sha256:{id}/tag")).query("repo", repository).query("tag", tag)
}

fn remove_image(guard: &Guard, image: &ImageName) -> Judged<Decision> {
    let (id, reference) = guard.table.image(image)?;
    let references: Vec<String> = match reference {
        Some(reference) => vec![reference.to_owned()],
        None => guard.table.references(id).into_iter().map(str::to_owned).collect(),
    };
    let [reference] = references.as_slice() else {
        return Ok(Decision::Answer(Local::Json {
            status: 409,
            body: json!({ "message": format!("conflict: image {image} has several names: remove each of them") }),
        }));
    };
    match guard.table.images.get(reference).and_then(|image| image.kept_as.clone()) {
        Some(kept_as) => forward(
            EngineCall::new("DELETE", format!("/images/{kept_as}")),
            Reply::Json(Shape::RemovedImage { reference: Some(reference.clone()) }),
            Effect::ImageUntagged { references },
        ),
        // The image is not the job's alone, so only the job's name for it goes. The engine is never told to remove an id: it would
        // remove somebody else's last name with it.
        None => Ok(Decision::Answer(Local::Json {
            status: 200,
            body: json!([{ "Untagged": ImageRef::parse(reference).map_or_else(|_| reference.clone(), |r| r.familiar()) }]),
        })),
    }
}

fn create_network(guard: &Guard, policy: &JobPolicy, network: &NetworkCreate) -> Judged<Decision> {
    let name = chosen("network", &network.name)?;
    if matches!(name.as_str(), "bridge" | "host" | "none" | "default")
        || guard.table.networks.values().any(|n| *n == name)
    {
        return Ok(Decision::Answer(Local::Json {
            status: 409,
            body: json!({ "message": format!("network with name {name} already exists") }),
        }));
    }
    if guard.table.networks.len() >= policy.budget.networks {
        return refuse!(Budget, "the job has used all of its {} networks", policy.budget.networks);
    }
    if !network.subnets.is_empty() {
        return refuse!(Network, "a network may not choose its subnet: leave IPAM out");
    }
    if network.ipv6 {
        return refuse!(Network, "networks with IPv6 are not allowed here");
    }
    let stamped = NetworkCreate {
        name: policy.engine_name(&name),
        labels: policy.stamp(network.labels.clone(), &name)?,
        ..network.clone()
    };
    let call = EngineCall::new("POST", "/networks/create").json(stamped.write());
    forward(call, Reply::Json(Shape::Created), Effect::NetworkCreated { name })
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

/// Refuses names of images beyond the budget.
fn has_names_left<'a>(guard: &Guard, policy: &JobPolicy, names: impl Iterator<Item = &'a String>) -> Judged<()> {
    let is_named = |name: &&String| guard.table.images.get(*name).is_some_and(|image| image.kept_as.is_some());
    if guard.table.named_images() + names.filter(|name| !is_named(name)).count() > policy.budget.images {
        return refuse!(
            Budget,
            "the job has named {} images, its most: remove some with `docker rmi` first",
            policy.budget.images
        );
    }
    Ok(())
}

fn judge_build(guard: &Guard, policy: &JobPolicy, build: &Build, nonce: &str) -> Judged<Decision> {
    if !policy.build {
        return refuse!(Build, "building images is not allowed in this job");
    }
    check_platform(&build.platform)?;
    let network = match build.network.as_str() {
        "" | "default" | "bridge" => match &policy.network {
            Some(network) => NetworkMode::Named(network.clone()),
            None => NetworkMode::None,
        },
        "none" => NetworkMode::None,
        other => NetworkMode::Named(network_of(guard, policy, other)?.to_owned()),
    };
    let network = match &network {
        NetworkMode::Named(id) => id.as_str(),
        NetworkMode::None | NetworkMode::Default | NetworkMode::Container(_) => "none",
    };
    // A built image always gets a name on the engine, because only names are ever removed.
    let mut references: std::collections::BTreeMap<String, String> =
        build.tags.iter().map(|tag| (tag.to_string(), policy.engine_image(&tag.to_string()))).collect();
    if build.tags.iter().any(|tag| tag.tag().is_none()) {
        return refuse!(Build, "an image that is built cannot be named by a digest");
    }
    if references.is_empty() {
        let made_up = format!("{}-guard/unnamed:{nonce}", crate::names::RESERVED);
        references.insert(made_up.clone(), policy.engine_image(&made_up));
    }
    has_names_left(guard, policy, references.keys())?;
    let args: std::collections::BTreeMap<_, _> =
        build.args.iter().filter_map(|(name, value)| value.as_ref().map(|value| (name, value))).collect();
    // Without ours: the builder makes a layer of each, and every stage of the Dockerfile begins with the scope's.
    let labels = unreserved(build.labels.clone())?;
    let memory = policy.budget.memory.min(BUILD_MEMORY);
    let written_as = format!(".longshore-{nonce}");
    let mut call = EngineCall::new("POST", "/build").query("dockerfile", format!(".longshore-{nonce}"));
    for kept_as in references.values() {
        call = call.query("t", kept_as);
    }
    let mut call = call
        // No cached layer of another build is used, and nothing but the image is left of this one.
        .flag("nocache", true)
        .flag("rm", true)
        .flag("forcerm", true)
        .flag("q", build.quiet)
        .query("networkmode", network)
        .query("memory", memory.to_string())
        .query("memswap", memory.to_string())
        .query("cpuperiod", "100000")
        .query("cpuquota", (policy.budget.nano_cpus / 10_000).to_string())
        .query("cgroupparent", policy.cgroup_parent.as_deref().unwrap_or_default())
        // Not our own labels: the builder makes a layer of each, and the image has the scope from its first instruction.
        .query("labels", if labels.is_empty() { String::new() } else { json!(labels).to_string() })
        .query("buildargs", if args.is_empty() { String::new() } else { json!(args).to_string() })
        .query("target", &build.target)
        .query("platform", &build.platform)
        .query("version", "1")
        .tar();
    let registries = build.registries.iter().filter(|(server, _)| policy.registries.contains(&registry_of(server)));
    let registries = registries.map(|(server, auth)| (server.clone(), auth.clone())).collect();
    call.credentials = Some(("X-Registry-Config", crate::registry_auth::registry_config_header(&registries)));
    let effect = Effect::ImagesMade { references, kept: true };
    Ok(Decision::Forward(Box::new(Forward {
        call,
        reply: Reply::Lines(LineShape::Progress),
        effect,
        checks: Vec::new(),
        build: Some(Box::new(Context { build: build.clone(), written_as })),
    })))
}

/// Returns the registry that an address of `docker login` stands for.
pub(crate) fn registry_of(server: &str) -> String {
    let bare = server.trim_start_matches("https://").trim_start_matches("http://");
    match bare.split('/').next().unwrap_or_default() {
        "" | "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        host => host.to_owned(),
    }
}
