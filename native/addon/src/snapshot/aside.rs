//! A file that appears under its name complete and durable, or not at all (SN5).

use std::{
    fs::{self, File, OpenOptions, Permissions},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use crate::{
    failure::{During, Failure, Outcome},
    files::lock::sync_folder,
};

/// Written as `.<name>.part`, where a crash may leave it; whoever writes that name next takes it over. Dropped without
/// `publish` it is removed.
#[derive(Debug)]
pub struct Aside {
    file: File,
    folder: PathBuf,
    part: PathBuf,
    target: PathBuf,
    published: bool,
}

impl Aside {
    pub fn new(folder: &Path, name: &str) -> Outcome<Self> {
        let target = named(folder, name)?;
        let part = folder.join(format!(".{name}.part"));
        let action = || format!("writing {}", part.display());
        let file = loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&part)
                .during(action)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(Failure::Locked {
                        path: part.display().to_string(),
                    });
                }
                Err(error) => return Err(error).during(action),
            }
            // Another may have published this very file between our open and our lock: then the name is free again.
            let ours = file.metadata().during(action)?;
            if fs::metadata(&part).is_ok_and(|named| named.ino() == ours.ino() && named.dev() == ours.dev()) {
                break file;
            }
        };
        file.set_len(0).during(action)?;
        Ok(Self {
            file,
            folder: folder.to_owned(),
            target,
            part,
            published: false,
        })
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// Makes it durable under its name, which may have been another file's.
    pub fn publish(mut self, mode: u32) -> Outcome<PathBuf> {
        let action = || format!("publishing {}", self.target.display());
        self.file.set_permissions(Permissions::from_mode(mode)).during(action)?;
        self.file.sync_all().during(action)?;
        fs::rename(&self.part, &self.target).during(action)?;
        self.published = true;
        sync_folder(&self.folder)?;
        Ok(self.target.clone())
    }
}

/// The path of a name that is one plain file name.
pub fn named(folder: &Path, name: &str) -> Outcome<PathBuf> {
    let mut parts = Path::new(name).components();
    if matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name) {
        return Ok(folder.join(name));
    }
    Err(Failure::invalid("name", "it is not one plain file name"))
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.published {
            // What stays is taken over by the next one of this name.
            let _ = fs::remove_file(&self.part);
        }
    }
}
