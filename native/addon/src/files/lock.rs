//! A lock that a dead process cannot hold.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use crate::failure::{During, Failure, Outcome};

/// Held as long as this lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the exclusive flock(2) of a file, made if need be, or fails at once with `Locked`. The lock goes when the
    /// process does; no child inherits it, since the descriptor closes on exec.
    pub fn take(path: &Path) -> Outcome<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .during(|| format!("opening {}", path.display()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Failure::Locked {
                path: path.display().to_string(),
            }),
            Err(error) => Err(error).during(|| format!("locking {}", path.display())),
        }
    }
}

/// Makes the names in a folder durable, as fsync makes a file's bytes.
pub fn sync_folder(path: &Path) -> Outcome<()> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .during(|| format!("syncing {}", path.display()))
}
