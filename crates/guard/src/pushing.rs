//! The name that an image has on the engine while a job pushes it, and its mark.
//!
//! For as long as a push takes, the engine has the image under the name that it is pushed under, which others may start
//! images by. A second name, the mark, has a digest of the first in it, and tells them that the image has the first for
//! the push alone. If the job's guard is killed meanwhile, both are found by the mark and removed.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::decision::{EngineCall, Push};
use crate::image_ref::ImageRef;
use crate::job::tag_call;
use crate::policy::MADE_IN_JOBS;
use crate::refusal::{Judged, refuse};
use crate::table::full_id;

/// The start of a mark's tag.
const MARK: &str = "push-";

/// What the engine has by the name that an image is pushed under, before the push.
#[derive(Debug, Clone, PartialEq)]
pub enum BeforePush {
    /// The image itself.
    TheImage,
    /// Another image, which gets the name back by this call, or none.
    Other { restore: Option<EngineCall> },
}

impl Push {
    /// Judges what the engine has by the name, as it describes it.
    ///
    /// # Errors
    /// If the name belongs to an image that is in no registry: who starts it would not find it during the push.
    pub fn before(&self, found: Option<&Value>) -> Judged<BeforePush> {
        let Some(found) = found.filter(|found| !has_only_for_a_push(&self.reference, found)) else {
            return Ok(BeforePush::Other { restore: None });
        };
        let id = found["Id"].as_str().and_then(full_id);
        if id.as_ref() == Some(&self.image) {
            return Ok(BeforePush::TheImage);
        }
        if found["RepoDigests"].as_array().is_none_or(Vec::is_empty) {
            return refuse!(
                Image,
                "the engine has another image of the name {}, which is in no registry: push under another name",
                self.reference
            );
        }
        Ok(BeforePush::Other { restore: id.map(|id| tag_call(&id, &self.reference)) })
    }

    /// Whether another job pushes an image under the name, by the list of those that are marked for it.
    #[must_use]
    pub fn is_held(&self, marked: Option<&Value>) -> bool {
        let images = marked.and_then(Value::as_array).into_iter().flatten();
        let names =
            images.flat_map(|image| image["RepoTags"].as_array().into_iter().flatten().filter_map(Value::as_str));
        names.filter(|name| *name != self.mark_name).any(|name| push_mark(&self.reference, [name]).is_some())
    }

    /// Whether the engine has the image by the name, as it describes what it has by that name.
    #[must_use]
    pub fn is_named(&self, found: Option<&Value>) -> bool {
        found.and_then(|found| full_id(found["Id"].as_str()?)).as_ref() == Some(&self.image)
    }
}

/// Returns the mark of an image that is pushed as `reference` by a job whose images are in `repository`.
pub(crate) fn mark(repository: &str, reference: &ImageRef) -> String {
    format!("{repository}:{}", tag(reference))
}

fn tag(reference: &ImageRef) -> String {
    format!("{MARK}{}", digest(&reference.to_string()))
}

/// Stands for a reference in a tag.
pub(crate) fn digest(reference: &str) -> String {
    hex::encode(&Sha256::digest(reference.as_bytes())[..16])
}

/// Whether a name of an image is a mark.
#[must_use]
pub fn is_push_mark(name: &str) -> bool {
    name.strip_prefix(MADE_IN_JOBS).and_then(|rest| rest.split_once(':')).is_some_and(|(_, tag)| tag.starts_with(MARK))
}

/// Returns the mark that an image has if its name `reference` is there for a push alone. `names` are all names of the
/// image.
#[must_use]
pub fn push_mark<'a>(reference: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let tag = tag(&ImageRef::parse(reference).ok()?);
    names.into_iter().find(|name| is_push_mark(name) && name.ends_with(&tag))
}

/// Whether an image, as the engine describes it, has a name for a push alone.
pub(crate) fn has_only_for_a_push(reference: &str, image: &Value) -> bool {
    let names = image["RepoTags"].as_array().into_iter().flatten().filter_map(Value::as_str);
    push_mark(reference, names).is_some()
}

/// Whether the registry of a reference has the image, as the engine describes it.
pub(crate) fn is_of_registry(reference: &str, image: &Value) -> bool {
    let Ok(reference) = ImageRef::parse(reference) else { return false };
    let mut digests = image["RepoDigests"].as_array().into_iter().flatten().filter_map(Value::as_str);
    digests.any(|digest| ImageRef::parse(digest).is_ok_and(|digest| digest.name() == reference.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_there_for_a_push_if_its_own_mark_is() {
        let mark = mark("longshore-guard/job1", &ImageRef::parse("us/app").unwrap());
        let names = ["us/app:latest", mark.as_str(), "longshore-guard/job1:00", "ghcr.io/us/app:latest"];
        for spelled in ["us/app", "us/app:latest", "docker.io/us/app:latest", "index.docker.io/us/app"] {
            assert_eq!(push_mark(spelled, names), Some(mark.as_str()), "{spelled}");
        }
        for other in ["us/app:1", "ghcr.io/us/app", "longshore-guard/job1:00", &mark, "us/app@sha256:00"] {
            assert_eq!(push_mark(other, names), None, "{other}");
        }
        let elsewhere = mark.replace("longshore-guard/", "me/");
        assert_eq!(push_mark("us/app", ["us/app:latest", elsewhere.as_str()]), None, "a name that anybody may give");
    }
}
