//! Finds out by trying whether this engine's volumes can be overlays over others: not where the engine's own folder
//! lies on an overlay, not on every rootless engine, and not on Podman. A mount that succeeds proves nothing, since
//! some kernels lose what was removed; so our own program tries it.

use std::path::PathBuf;

use bollard::Docker;
use longshore_executor::engine::{Engine, ToolSpec, VolumeContent, VolumeSpec};
use longshore_executor::names::VolumeName;
use longshore_executor::objects::ObjectId;
use longshore_executor::{EngineError, runtime_dir};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use crate::error::not_understood;
use crate::options::DockerOptions;
use crate::removal;

/// Remembers whether it works.
#[derive(Debug)]
pub(crate) struct Overlays {
    /// Locked while it is tried, so that everyone else waits for the same trial.
    known: Mutex<Option<bool>>,
    /// For short-lived processes, and only what worked.
    file: Option<PathBuf>,
}

impl Overlays {
    pub(crate) fn new(options: &DockerOptions) -> Self {
        let host = hex::encode(&Sha256::digest(options.host.as_bytes())[..4]);
        let file = options.runtime_dir.as_ref().map(|dir| dir.join(format!("overlays-{host}")));
        Self { known: Mutex::default(), file }
    }

    /// Returns whether overlays work. An engine that is away has not been asked.
    pub(crate) async fn work(&self, engine: &dyn Engine, docker: &Docker) -> Result<bool, EngineError> {
        let mut known = self.known.lock().await;
        if let Some(known) = *known {
            return Ok(known);
        }
        if self.file.as_ref().is_some_and(|file| file.exists()) {
            return Ok(*known.insert(true));
        }
        let works = match try_once(engine, docker).await {
            Ok(()) => true,
            Err(error) if error.is_away() => return Err(error),
            Err(error) => {
                tracing::info!(%error, "this engine has no overlays: caches are copied");
                false
            }
        };
        if let Some(file) = self.file.as_ref().filter(|_| works) {
            let written =
                file.parent().map_or(Ok(()), runtime_dir::make).and_then(|()| std::fs::write(file, "works\n"));
            if let Err(error) = written {
                tracing::debug!(%error, "that overlays work is not remembered");
            }
        }
        Ok(*known.insert(works))
    }
}

/// Makes an overlay and tries it. Leaves nothing.
async fn try_once(engine: &dyn Engine, docker: &Docker) -> Result<(), EngineError> {
    let trial = rand::random::<u32>();
    let name = |what: &str| {
        VolumeName::new(format!("longshore-trial-{trial:08x}-{what}"))
            .map_err(|error| not_understood("name a volume", error))
    };
    let (lower, upper, work, view) = (name("lower")?, name("upper")?, name("work")?, name("view")?);
    let tried = async {
        for plain in [&lower, &upper, &work] {
            let volume = VolumeSpec { name: plain, owner: None, content: VolumeContent::Passing, disk: None };
            engine.create_volume(&volume).await?;
        }
        let place = "/longshore/volumes/0";
        let fill = ToolSpec { arguments: &["overlay", "fill", place], read: &[], write: std::slice::from_ref(&lower) };
        engine.run_tool(&fill).await?;
        let content = VolumeContent::Overlay { upper: &upper, work: &work, lower: std::slice::from_ref(&lower) };
        engine.create_volume(&VolumeSpec { name: &view, owner: None, content, disk: None }).await?;
        let ask = ToolSpec { arguments: &["overlay", "try", place], read: &[], write: std::slice::from_ref(&view) };
        engine.run_tool(&ask).await?;
        Ok(())
    };
    let tried = tried.await;
    removal::remove_own(docker, [view, upper, work, lower].map(ObjectId::Volume).to_vec()).await;
    tried
}
