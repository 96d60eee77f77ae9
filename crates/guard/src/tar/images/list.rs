//! The images of an archive: what its list and their descriptions say, compared with its files.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::super::{BLOCK, header::plain_text_name, written::file};
use super::{ImageReader, LIST};
use crate::guard::Guard;
use crate::image_ref::ImageRef;
use crate::job::check_names_left;
use crate::json::{self, Json};
use crate::names::RESERVED;
use crate::policy::{Policy, is_reserved_label};
use crate::refusal::{Judged, Refusal, refuse};

/// An entry of the list. Other keys are not for the engine.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// An image of an archive that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedImage {
    config: String,
    layers: Vec<String>,
    /// The SHA-256 of its description, which is its id.
    pub(super) digest: String,
    pub(super) names: Vec<ImageRef>,
}

/// What the images of an archive are called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadedNames {
    /// The client's names, with the engine's.
    pub references: BTreeMap<String, String>,
    pub ids: Vec<String>,
}

impl ImageReader {
    /// Returns the images of the archive, once it was read to its end.
    ///
    /// # Errors
    /// If it is cut off, has no list of images, or layers that are not those of its images.
    pub fn images(&self) -> Result<Vec<LoadedImage>, Refusal> {
        if self.current.is_some() || !self.header.is_empty() {
            return refuse!(Archive, "the archive is cut off");
        }
        let Some(list) = self.files.get(LIST).and_then(|file| file.kept.as_ref()) else {
            return refuse!(Archive, "the archive has no {LIST}: write it in Docker's format (`--output type=docker`)");
        };
        let listed: Vec<Listed> = match serde_json::from_slice(list) {
            Ok(listed) => listed,
            Err(error) => return refuse!(Archive, "{LIST} of the archive is not a list of images: {error}"),
        };
        if listed.is_empty() {
            return refuse!(Archive, "the archive has no image");
        }
        listed.into_iter().map(|image| self.image(image)).collect()
    }

    fn image(&self, listed: Listed) -> Judged<LoadedImage> {
        let Listed { config, repo_tags, layers } = listed;
        let config = plain_text_name(config.as_bytes())?;
        let layers = layers.iter().map(|layer| plain_text_name(layer.as_bytes())).collect::<Judged<Vec<_>>>()?;
        let described = self.files.get(&config).and_then(|file| Some((file, file.kept.as_ref()?)));
        let Some((file, description)) = described else {
            return refuse!(Archive, "the archive has no description of its image at {config:?}");
        };
        let description = json::parse(description)?;
        check_labels(&description)?;
        let ids = layers_of(description)?;
        let layers_match = layers.len() == ids.len()
            && layers.iter().zip(&ids).all(|(layer, id)| {
                self.files.get(layer).is_some_and(|file| id.strip_prefix("sha256:") == Some(&file.digest))
            });
        if !layers_match {
            return refuse!(Archive, "the archive does not have the layers that its image {config:?} names");
        }
        if let Some(fault) = layers.iter().find_map(|layer| self.files.get(layer)?.fault.clone()) {
            return Err(Refusal { reason: format!("a layer of the image {config:?}: {}", fault.reason), ..fault });
        }
        let names =
            repo_tags.unwrap_or_default().iter().map(|name| ImageRef::parse(name)).collect::<Judged<Vec<_>>>()?;
        if names.iter().any(|name| name.tag().is_none()) {
            return refuse!(Image, "an image that is loaded cannot be named by a digest");
        }
        Ok(LoadedImage { config, layers, digest: file.digest.clone(), names })
    }
}

/// Returns the digests of its layers that an image's description names. It is forwarded as it is, so the engine has to
/// read the same.
fn layers_of(description: Json) -> Judged<Vec<String>> {
    let rootfs = take_exact_key(description, "rootfs")?.unwrap_or(Json::Null);
    let ids = match take_exact_key(rootfs, "diff_ids")? {
        Some(Json::List(ids)) => ids,
        _ => return refuse!(Archive, "the description of an image names no layers"),
    };
    let texts = ids.into_iter().map(|id| match id {
        Json::Text(id) => Ok(id),
        other => refuse!(Archive, "a layer in the description of an image is {}", other.kind()),
    });
    texts.collect()
}

/// Refuses labels that we alone set: an image with these labels counts as a job's own.
fn check_labels(description: &Json) -> Judged<()> {
    let config = take_exact_key(description.clone(), "config")?.unwrap_or(Json::Null);
    match take_exact_key(config, "Labels")? {
        Some(Json::Object(labels)) => match labels.iter().find(|(label, _)| is_reserved_label(label)) {
            Some((label, _)) => refuse!(Label, "an image of the archive has the label {label}, which is reserved"),
            None => Ok(()),
        },
        Some(Json::Null) | None => Ok(()),
        Some(other) => refuse!(Archive, "the labels in the description of an image are {}", other.kind()),
    }
}

/// Takes the value of a key, of which the object has no other spelling: Docker takes keys in any case for the same.
fn take_exact_key(object: Json, key: &str) -> Judged<Option<Json>> {
    let Json::Object(entries) = object else { return Ok(None) };
    let same = |name: &str| name.replace('\u{17f}', "s").replace('\u{212a}', "k").eq_ignore_ascii_case(key);
    if let Some((name, _)) = entries.iter().find(|(name, _)| name != key && same(name)) {
        return refuse!(Archive, "the description of an image has the key {name:?}, which stands for {key:?}");
    }
    Ok(entries.into_iter().find(|(name, _)| name == key).map(|(_, value)| value))
}

impl Guard {
    /// Returns the end of an archive of images that the client loads, and what they are called.
    ///
    /// # Errors
    /// If the client has no names left.
    pub fn load(&self, images: Vec<LoadedImage>) -> Result<(Vec<u8>, LoadedNames), Refusal> {
        let Policy::Job(policy) = &self.policy else {
            return refuse!(Server, "the server may not load images");
        };
        let ids = images.iter().map(|image| format!("sha256:{}", image.digest)).collect();
        let mut references = BTreeMap::new();
        let mut named = Vec::new();
        for image in images {
            let mut names: Vec<String> = image.names.iter().map(ToString::to_string).collect();
            if names.is_empty() {
                names.push(format!("{RESERVED}-guard/unnamed:{}", image.digest));
            }
            // Another one for each image: an image whose name goes to the next would be left on the engine without any.
            let kept_as = |name: &String| policy.engine_image(&format!("{name}@{}", image.digest));
            let on_engine: Vec<String> = names.iter().map(kept_as).collect();
            references.extend(names.into_iter().zip(on_engine.iter().cloned()));
            named.push((image, on_engine));
        }
        check_names_left(self, policy, references.keys())?;
        Ok((end(&named), LoadedNames { references, ids }))
    }
}

/// Returns the end of the archive: its list of images, each with the engine's names for it.
pub(super) fn end(images: &[(LoadedImage, Vec<String>)]) -> Vec<u8> {
    let entry = |(image, names): &(LoadedImage, Vec<String>)| json!({ "Config": image.config, "RepoTags": names, "Layers": image.layers });
    let list = serde_json::Value::Array(images.iter().map(entry).collect()).to_string();
    let mut out = file(LIST, list.as_bytes());
    out.extend([0; 2 * BLOCK]);
    out
}
