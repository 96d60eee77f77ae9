//! Judges what a job's container mounts: the job's workspace and volumes, and nothing else of the host.

use crate::guard::Guard;
use crate::mounts::{Mount, Source};
use crate::names::chosen;
use crate::policy::JobPolicy;
use crate::refusal::{Judged, refuse};

/// The oldest minor version of the API that can mount a folder of a volume.
const SUBPATH_API: u32 = 45;

/// Judges a mount. Returns the name of the job's own volume, if it is one.
pub(super) fn judge_mount(
    guard: &Guard,
    policy: &JobPolicy,
    mount: &mut Mount,
    volumes: &mut Vec<String>,
) -> Judged<Option<String>> {
    if mount.volume_size.is_some() {
        return refuse!(Volume, "the size of a volume may not be set");
    }
    let labels = std::mem::take(&mut mount.labels);
    let mut own = None;
    let (volume, folder) = match &mount.source {
        Source::Anonymous | Source::Tmpfs { .. } => return Ok(None),
        Source::Socket(_) | Source::OfEngine(_) => {
            return refuse!(HostPath, "a socket has to be mounted by its path");
        }
        Source::Path(path) if policy.socket.as_ref().is_some_and(|socket| socket.paths.contains(path)) => {
            let host = policy.socket.as_ref().map(|socket| socket.host.clone()).unwrap_or_default();
            mount.source = Source::Socket(host);
            return Ok(None);
        }
        Source::Path(path) => {
            let Some((place, folder)) = policy.place(path) else {
                return refuse!(
                    HostPath,
                    "{path} of the host may not be mounted: {}",
                    policy.places.first().map_or_else(
                        || "use a volume".to_owned(),
                        |place| format!("paths below {} and volumes may", place.path)
                    )
                );
            };
            // The engine must not copy files of the image into the job's volume.
            mount.no_copy = true;
            (place.volume.clone(), folder)
        }
        Source::Volume { name, subpath } => {
            let name = match guard.table.volume(name) {
                Ok(name) => name.to_owned(),
                Err(_) => {
                    let name = chosen("volume", name)?;
                    let new = volumes.iter().filter(|known| !guard.table.volumes.contains(*known)).count();
                    if !volumes.contains(&name) && guard.table.volumes.len() + new >= policy.budget.volumes {
                        return refuse!(Budget, "the job has used all of its {} volumes", policy.budget.volumes);
                    }
                    name
                }
            };
            // Existing volumes are labelled as well: this one may have been removed meanwhile.
            mount.labels = policy.stamp(labels, &name)?;
            mount.no_copy |= !guard.table.may_fill(&guard.policy, &name);
            own = Some(name.clone());
            let on_engine = policy.engine_name(&name);
            if !volumes.contains(&name) {
                volumes.push(name);
            }
            (on_engine, subpath.clone())
        }
    };
    if !folder.is_empty() && guard.engine.api < SUBPATH_API {
        return refuse!(
            HostPath,
            "this engine (API 1.{}) cannot mount a folder of a volume, here {folder:?}: mount {} itself, or use Docker 26 or later",
            guard.engine.api,
            policy.places.iter().find(|place| place.volume == volume).map_or("the volume", |place| place.path.as_str())
        );
    }
    mount.source = Source::Volume { name: volume, subpath: folder };
    Ok(own)
}
