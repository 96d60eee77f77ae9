//! The names of images: how a job pulls, tags and removes them.

use std::collections::BTreeMap;

use serde_json::json;

use super::forward;
use crate::decision::{Decision, Effect, EngineCall, LineShape, Local, Push, Reply, Shape};
use crate::filters::Filters;
use crate::guard::Guard;
use crate::image_ref::{ImageName, ImageRef};
use crate::policy::{JobPolicy, MADE_IN_JOBS};
use crate::pushing;
use crate::refusal::{Judged, NO_LOAD, refuse};
use crate::registry_auth::RegistryAuth;

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

pub(super) fn remove_image(guard: &Guard, image: &ImageName) -> Judged<Decision> {
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
        // The image may not belong to this job alone, so only the job's name for it is removed. The engine is never
        // asked to remove an id: that would remove somebody else's last name for the image, too.
        None => Ok(Decision::Answer(Local::Json {
            status: 200,
            body: json!([{ "Untagged": ImageRef::parse(reference).map_or_else(|_| reference.clone(), |r| r.familiar()) }]),
        })),
    }
}

/// Refuses names of images beyond the budget.
pub(crate) fn check_names_left<'a>(
    guard: &Guard,
    policy: &JobPolicy,
    names: impl Iterator<Item = &'a String>,
) -> Judged<()> {
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

/// Returns the registry that an address of `docker login` stands for.
pub(crate) fn registry_of(server: &str) -> String {
    let bare = server.trim_start_matches("https://").trim_start_matches("http://");
    match bare.split('/').next().unwrap_or_default() {
        "" | "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        host => host.to_owned(),
    }
}

/// Refuses platforms other than the engine's: an image has its name for everybody, who would then get it for another
/// platform.
pub(super) fn check_platform(guard: &Guard, platform: &str) -> Judged<()> {
    let arch = guard.engine.arch.as_str();
    let asked = match platform.strip_prefix("linux/").unwrap_or(platform).split('/').next() {
        Some("x86_64" | "x86-64") => "amd64",
        Some("aarch64") => "arm64",
        Some(asked) => asked,
        None => "",
    };
    if matches!(asked, "" | "linux") || asked == arch {
        return Ok(());
    }
    refuse!(Image, "the platform {platform:?} is not the engine's, which is linux/{arch}")
}

pub(super) fn list_images(all: bool, digests: bool, filters: &Filters) -> Judged<Decision> {
    let mut filters = filters.clone();
    // Applied here: on the engine, the references name other clients' images.
    let references = filters.take("reference");
    if references.iter().any(|text| ImageRef::parse(text).is_err() && !text.contains('*')) {
        return refuse!(Image, "a filter contains an invalid image reference");
    }
    let call = EngineCall::new("GET", "/images/json")
        .flag("all", all)
        .flag("digests", digests)
        .query("filters", if filters.0.is_empty() { String::new() } else { filters.write().to_string() });
    forward(call, Reply::Json(Shape::Images { references }), Effect::None)
}

pub(super) fn pull_image(
    guard: &Guard,
    policy: &JobPolicy,
    image: &ImageRef,
    platform: &str,
    auth: &RegistryAuth,
) -> Judged<Decision> {
    policy.may_pull(image)?;
    check_platform(guard, platform)?;
    let mut call = pull_call(image, platform);
    call.credentials = Some(("X-Registry-Auth", auth.to_header()));
    let references = [(image.to_string(), image.to_string())].into();
    forward(call, Reply::Lines(LineShape::Progress), Effect::ImagesMade { references, kept: false })
}

pub(super) fn tag_image(guard: &Guard, policy: &JobPolicy, image: &ImageName, target: &ImageRef) -> Judged<Decision> {
    let (id, _) = guard.table.image(image)?;
    if target.tag().is_none() {
        return refuse!(Image, "{} has no tag", target.familiar());
    }
    let reference = target.to_string();
    check_names_left(guard, policy, [&reference].into_iter())?;
    let kept_as = policy.engine_image(&reference);
    let call = tag_call(id, &kept_as);
    forward(call, Reply::Status, Effect::ImageTagged { reference, id: id.to_owned(), kept_as: Some(kept_as) })
}

pub(super) fn push_image(guard: &Guard, policy: &JobPolicy, image: &ImageRef, auth: &RegistryAuth) -> Judged<Decision> {
    policy.may_push(image)?;
    let (id, _) = guard.table.image(&ImageName::Ref { reference: image.clone(), prefix: None })?;
    let (name, Some(tag)) = (image.name(), image.tag()) else {
        return refuse!(Image, "{} cannot be pushed: it has no tag", image.familiar());
    };
    let mut push = EngineCall::new("POST", format!("/images/{name}/push")).query("tag", tag);
    push.credentials = Some(("X-Registry-Auth", auth.to_header()));
    let mark = pushing::mark(&policy.image_repository(), image);
    let remove = |name: &str| EngineCall::new("DELETE", format!("/images/{name}")).flag("noprune", true);
    let reference = image.to_string();
    let filters = json!({ "reference": [pushing::mark(&format!("{MADE_IN_JOBS}*"), image)] });
    Ok(Decision::Push(Box::new(Push {
        image: id.to_owned(),
        marked: EngineCall::new("GET", "/images/json").query("filters", filters.to_string()).path,
        mark: tag_call(id, &mark),
        tag: tag_call(id, &reference),
        push,
        untag: remove(&reference),
        unmark: remove(&mark),
        mark_name: mark,
        reference,
    })))
}

pub(super) fn load_images(policy: &JobPolicy, quiet: bool) -> Judged<Decision> {
    if !policy.load {
        return refuse!(Build, "{NO_LOAD}");
    }
    let call = EngineCall::new("POST", "/images/load").flag("quiet", quiet).images();
    let effect = Effect::ImagesMade { references: BTreeMap::new(), kept: true };
    forward(call, Reply::Lines(LineShape::Loaded(BTreeMap::new())), effect)
}
