//! Lists, measures, flattens and removes the volumes of caches beside jobs. In the background, one thing at a time;
//! the caller decides what, since it has the records.

use std::time::Duration;

use crate::engine::{ToolSpec, VolumeContent, VolumeSpec};
use crate::error::EngineError;
use crate::executor::Executor;
use crate::lasting::caches::copy;
use crate::names::VolumeName;
use crate::objects::{Kind, ObjectId, VolumeObject};
use crate::removing::cleaning::is_within;

/// The most volumes that are measured by one container.
const VOLUMES_PER_CONTAINER: usize = 50;

impl Executor {
    /// Lists this instance's volumes that may be layers of entries.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn cache_volumes(&self) -> Result<Vec<VolumeObject>, EngineError> {
        let mut volumes = self.engine.list(Some(self.engine.instance())).await?.volumes;
        volumes.retain(|volume| volume.kind == Some(Kind::Cache));
        Ok(volumes)
    }

    /// Removes containers of this instance that measured or copied for processes which were killed: those that have
    /// ended, and were created this long ago.
    ///
    /// # Errors
    /// Those of the engine, for the list.
    pub async fn remove_ended_tools(&self, ago: Duration) -> Result<(), EngineError> {
        for container in self.engine.list(Some(self.engine.instance())).await?.containers {
            let is_over = container.kind == Kind::Agent && !container.running;
            if is_over && !is_within(ago, container.created) {
                let container = ObjectId::Container(container.id);
                self.removals.in_turn(self.removals.now(&container, Duration::ZERO)).await;
            }
        }
        Ok(())
    }

    /// Returns the bytes that each of these volumes takes on the engine's disk, or why it cannot be measured.
    ///
    /// # Errors
    /// Those of an engine that cannot be asked.
    pub async fn measure_volumes(&self, volumes: &[VolumeName]) -> Result<Vec<Result<u64, String>>, EngineError> {
        let mut sizes = Vec::with_capacity(volumes.len());
        for some in volumes.chunks(VOLUMES_PER_CONTAINER) {
            match self.measure_together(some).await {
                Ok(measured) => sizes.extend(measured),
                // The files of one of them may have crashed the program. Measured one by one, it does not hide the
                // others.
                Err(EngineError::Local { .. }) => {
                    for one in some {
                        match self.measure_together(std::slice::from_ref(one)).await {
                            Ok(measured) => sizes.extend(measured),
                            Err(error @ EngineError::Local { .. }) => sizes.push(Err(error.to_string())),
                            Err(error) => return Err(error),
                        }
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(sizes)
    }

    /// Measures volumes in one container.
    async fn measure_together(&self, volumes: &[VolumeName]) -> Result<Vec<Result<u64, String>>, EngineError> {
        let places: Vec<String> = (0..volumes.len()).map(|at| format!("/longshore/volumes/{at}")).collect();
        let arguments: Vec<&str> = std::iter::once("measure").chain(places.iter().map(String::as_str)).collect();
        let printed = self.engine.run_tool(&ToolSpec { arguments: &arguments, read: volumes, write: &[] }).await?;
        let measured: Vec<Result<u64, String>> =
            printed.lines().map(|line| line.trim().parse().map_err(|_| line.trim().to_owned())).collect();
        if measured.len() != volumes.len() {
            let reason = format!("{} volumes, and {} sizes", volumes.len(), measured.len());
            return Err(EngineError::Local { what: "volumes cannot be measured", reason });
        }
        Ok(measured)
    }

    /// Copies the files of these layers, the topmost first, into one new volume, which is removed if the copy fails.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn flatten_layers(&self, layers: &[VolumeName]) -> Result<VolumeName, EngineError> {
        let made = rand::random::<u64>();
        let name = |what: &str| VolumeName::made(format!("longshore-cache-{what}-{made:016x}"));
        let (flat, merged) = (name("flat"), name("merged"));
        let work = async {
            let content = VolumeContent::Merged { lower: layers };
            self.engine.create_volume(&VolumeSpec { name: &merged, owner: None, content, disk: None }).await?;
            let content = VolumeContent::Lasting;
            self.engine.create_volume(&VolumeSpec { name: &flat, owner: None, content, disk: None }).await?;
            copy(&*self.engine, &merged, &flat).await
        };
        let done = work.await;
        self.remove_volume(&merged).await;
        if done.is_err() {
            self.remove_volume(&flat).await;
        }
        done.map(|()| flat)
    }

    /// Removes a volume that nothing uses and that may have very many files, and returns whether it is gone. Its files
    /// are deleted first.
    pub async fn remove_large_volume(&self, volume: &VolumeName) -> bool {
        self.removals.delete_files(volume).await;
        self.remove_volume(volume).await
    }

    /// Removes a volume, and returns whether it is gone. A volume that a container uses stays.
    pub async fn remove_volume(&self, volume: &VolumeName) -> bool {
        let volume = ObjectId::Volume(volume.clone());
        self.removals.in_turn(self.removals.now(&volume, Duration::ZERO)).await.unwrap_or(false)
    }
}
