//! Images.

use serde_json::{Map, Value, json};

use super::names::{familiar, without_labels};
use super::{list, object, text_of};
use crate::guard::Guard;
use crate::image_ref::{ImageName, ImageRef};
use crate::policy::Policy;
use crate::table::full_id;

/// Rewrites one image.
pub(super) fn image(guard: &Guard, answer: Value) -> Result<Value, String> {
    let mut image = object(answer)?;
    for key in ["GraphDriver", "Parent", "Container", "ContainerConfig", "DockerVersion"] {
        image.remove(key);
    }
    name_image(guard, &mut image);
    // Where docker-compose 1 looks for the image's volumes. Newer engines have none.
    if let Some(config) = image.get("Config").cloned() {
        image.insert("ContainerConfig".to_owned(), config);
    }
    Ok(Value::Object(image))
}

/// Rewrites the layers of an image: others' names for them are not shown.
pub(super) fn history(guard: &Guard, answer: Value) -> Result<Value, String> {
    let layers = list(answer)?.into_iter().map(|layer| {
        let mut layer = object(layer)?;
        let id = text_of(&layer, "Id").and_then(full_id).unwrap_or_default();
        let tags: Vec<String> = guard.table.references(&id).into_iter().map(familiar).collect();
        layer.insert("Tags".to_owned(), if tags.is_empty() { Value::Null } else { json!(tags) });
        Ok(Value::Object(layer))
    });
    layers.collect::<Result<Vec<_>, String>>().map(Value::Array)
}

/// Rewrites a list of images, reduced to the client's own that match one of `references`, if there are any.
pub(super) fn images(guard: &Guard, references: &[String], answer: Value) -> Result<Value, String> {
    let mut kept = Vec::new();
    for image in list(answer)? {
        let mut image = object(image)?;
        let id = text_of(&image, "Id").and_then(full_id).unwrap_or_default();
        let known = guard.table.references(&id);
        let wanted = references.is_empty() || known.iter().any(|known| matches_any(references, known));
        if !known.is_empty() && wanted {
            name_image(guard, &mut image);
            if let Some(Value::Array(names)) = image.get_mut("RepoTags").filter(|_| !references.is_empty()) {
                names.retain(|name| name.as_str().is_some_and(|name| matches_any(references, name)));
            }
            image.remove("ParentId");
            kept.push(Value::Object(image));
        }
    }
    Ok(Value::Array(kept))
}

/// Rewrites the answer about an image that was removed by the client's `reference`.
pub(super) fn removed(reference: Option<&str>, answer: Value) -> Result<Value, String> {
    let name = reference.map(familiar);
    let removed = list(answer)?.into_iter().map(|line| match (line.get("Untagged"), &name) {
        (Some(_), Some(name)) => json!({ "Untagged": name }),
        _ => line,
    });
    Ok(Value::Array(removed.collect()))
}

/// Clears the values of labels that look like ours: they could name other instances. A job's scope is a digest, and
/// names none.
pub(super) fn unlabelled(mut answer: Value) -> Value {
    let clear = |labels: Option<&mut Value>| {
        if let Some(Value::Object(labels)) = labels {
            let ours =
                labels.iter_mut().filter(|(name, _)| name.starts_with("longshore.") && *name != crate::SCOPE_LABEL);
            ours.for_each(|(_, value)| *value = json!(""));
        }
    };
    match &mut answer {
        Value::Array(images) => images.iter_mut().for_each(|image| clear(image.get_mut("Labels"))),
        image => {
            clear(image.get_mut("Config").and_then(|config| config.get_mut("Labels")));
            clear(image.get_mut("ContainerConfig").and_then(|config| config.get_mut("Labels")));
        }
    }
    answer
}

/// Replaces an image's names by those that the client knows.
fn name_image(guard: &Guard, image: &mut Map<String, Value>) {
    let Policy::Job(_) = &guard.policy else { return };
    let id = text_of(image, "Id").and_then(full_id).unwrap_or_default();
    let names = guard.table.references(&id);
    let shown: Vec<String> =
        names.iter().filter(|name| !name.starts_with("longshore-guard/")).map(|name| familiar(name)).collect();
    image.insert("RepoTags".to_owned(), json!(shown.iter().filter(|name| !name.contains('@')).collect::<Vec<_>>()));
    let digests: Vec<&String> = shown.iter().filter(|name| name.contains('@')).collect();
    image.insert("RepoDigests".to_owned(), json!(digests));
    if let Some(Value::Object(config)) = image.get_mut("Config") {
        without_labels(guard, config.get_mut("Labels"));
    }
    without_labels(guard, image.get_mut("Labels"));
}

/// Whether a container was created from the image that the client calls `wanted`.
pub(super) fn is_image(guard: &Guard, container: &Map<String, Value>, wanted: &str) -> bool {
    let id = text_of(container, "ImageID").and_then(full_id);
    ImageName::parse(wanted)
        .and_then(|name| guard.table.image(&name).map(|(id, _)| id.to_owned()))
        .is_ok_and(|wanted| Some(wanted) == id)
}

fn matches_any(patterns: &[String], reference: &str) -> bool {
    patterns.iter().any(|pattern| matches_reference(pattern, reference))
}

fn matches_reference(pattern: &str, reference: &str) -> bool {
    if let Ok(parsed) = ImageRef::parse(reference) {
        let wanted = ImageRef::parse(pattern);
        // Without a tag, a pattern matches all tags of the repository.
        let whole = wanted.as_ref().is_ok_and(|wanted| *wanted == parsed);
        let bare = !pattern.rsplit('/').next().unwrap_or_default().contains([':', '@']);
        let repository = wanted.is_ok_and(|wanted| bare && wanted.name() == parsed.name());
        let starred = pattern.split_once('*').is_some_and(|(start, end)| {
            let name = parsed.familiar();
            name.starts_with(start) && name.ends_with(end)
        });
        return whole || repository || starred;
    }
    false
}
