//! Room on the engine's disk: measures it, holds up starts while the disk is full, and removes images that were pulled
//! for jobs. The caller decides when.

use longshore_core::ImageRef;

use crate::engine::ToolSpec;
use crate::error::EngineError;
use crate::executor::Executor;
use crate::names::ImageId;
use crate::objects::ObjectId;
use crate::pulling::images::ImageUse;

/// How much of a disk's bytes or inodes is free, and how much it has in all: 0 if there is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    pub free: u64,
    pub total: u64,
}

impl Capacity {
    #[must_use]
    pub const fn used(self) -> u64 {
        self.total.saturating_sub(self.free)
    }

    /// Returns how many percent are used; a part of one counts as one.
    #[must_use]
    pub fn percent_used(self) -> u64 {
        100 - self.free.saturating_mul(100).checked_div(self.total).unwrap_or(100).min(100)
    }
}

/// The room on the engine's disk. Either may run out before the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineDisk {
    pub bytes: Capacity,
    /// Each file needs one.
    pub inodes: Capacity,
}

impl Executor {
    /// Lets jobs that should start wait for room, and says why; `None` lets them start again. Running jobs go on.
    pub fn hold_starts(&self, why: Option<String>) {
        self.placement.room.set(why);
    }

    /// Measures the room on the engine's disk.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn engine_disk(&self) -> Result<EngineDisk, EngineError> {
        // A container's file system is on the disk to measure.
        let printed = self.engine.run_tool(&ToolSpec { arguments: &["disk", "/"], read: &[], write: &[] }).await?;
        let numbers: Vec<u64> = printed.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let capacity = |free, total| Capacity { free, total };
        match numbers[..] {
            [bytes, all_bytes, inodes, all_inodes] => {
                Ok(EngineDisk { bytes: capacity(bytes, all_bytes), inodes: capacity(inodes, all_inodes) })
            }
            _ => Err(EngineError::Local {
                what: "the engine's disk cannot be measured",
                reason: printed.chars().take(200).collect(),
            }),
        }
    }

    /// Returns the images that jobs have used since the last call.
    #[must_use]
    pub fn take_used_images(&self) -> Vec<ImageUse> {
        self.placement.images.take_used()
    }

    /// Returns whether this name still means this image.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn has_image(&self, name: &str, id: &ImageId) -> Result<bool, EngineError> {
        let Ok(name) = ImageRef::parse(name) else { return Ok(false) };
        Ok(self.engine.image(&name).await?.is_some_and(|image| image.id == *id))
    }

    /// Removes an image that was pulled for jobs, by its name, if that still means this image and no container uses it.
    /// Returns its size if it is gone. Other names of the same image stay, with the image.
    ///
    /// # Errors
    /// The engine is away.
    pub async fn remove_own_image(&self, name: &str, id: &ImageId) -> Result<Option<u64>, EngineError> {
        let (Ok(parsed), Ok(by_name)) = (ImageRef::parse(name), ImageId::new(name)) else { return Ok(None) };
        let Some(image) = self.engine.image(&parsed).await?.filter(|image| image.id == *id) else { return Ok(None) };
        match self.engine.remove(&ObjectId::Image(by_name)).await {
            Ok(()) => Ok(Some(image.bytes)),
            Err(error) if error.is_away() => Err(error),
            Err(error) => {
                tracing::debug!(name, %error, "an image stays");
                Ok(None)
            }
        }
    }
}
