//! One read-only loop device per base image, shared by all disks made of it (FS1).

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Mutex, PoisonError},
};

use crate::{
    failure::{During, Outcome},
    loops::{self, Held},
};

/// The kernel keeps the count: a device that nobody holds any more, neither this program nor a disk, is gone.
#[derive(Debug, Default)]
pub struct LoopRegistry {
    /// Two at once would make two devices.
    one_at_a_time: Mutex<()>,
}

impl LoopRegistry {
    /// The device of an image, made if there is none. Held until dropped; a disk made of it meanwhile holds it on.
    pub fn acquire(&self, image: &Path) -> Outcome<Held> {
        let _alone = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        let metadata = fs::metadata(image).during(|| format!("looking at {}", image.display()))?;
        match loops::find_held((metadata.dev(), metadata.ino()))? {
            Some(held) => Ok(held),
            None => loops::attach_held(image, true),
        }
    }
}
