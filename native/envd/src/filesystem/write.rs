//! Writes a stream of bytes to a file in place, so that its links and its inode stay.

use super::metadata::Metadata;
use super::owned;
use crate::fault::{Fault, Kind};
use crate::users::User;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use rustix::fs::{Gid, Uid};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt;

/// Where bytes go, and what the file gets besides them.
pub struct Target<'a> {
    pub path: PathBuf,
    pub user: &'a User,
    pub metadata: &'a Metadata,
}

/// Writes the stream; `length` is its size where it is known.
///
/// A disk that cannot hold it is told before the old content is lost where the size is known, else when it is full.
/// A new file that could not be written whole is removed.
pub async fn write(
    target: &Target<'_>,
    bytes: impl Stream<Item = io::Result<Bytes>> + Unpin,
    length: Option<u64>,
) -> Result<(), Fault> {
    let path = &target.path;
    let old = match fs::metadata(path) {
        Ok(about) if about.is_dir() => return Err(Fault::invalid(format!("path '{}' is a directory", path.display()))),
        Ok(about) if !about.is_file() => {
            return Err(Fault::invalid(format!(
                "path '{}' is not a regular file",
                path.display()
            )));
        }
        Ok(about) => Some(about),
        Err(_) => None,
    };
    let parent = path.parent().unwrap_or(Path::new("/"));
    owned::make_dirs(parent, target.user)?;
    if let Some(length) = length {
        check_space(parent, length.saturating_sub(old.as_ref().map_or(0, fs::Metadata::len)))?;
    }
    let fail = |error: &io::Error| Fault::io(format!("cannot write '{}'", path.display()), error);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .await
        .map_err(|e| fail(&e))?;
    let result = fill(&file, target, bytes).await;
    if result.is_err() && old.is_none() {
        let _ = fs::remove_file(path);
    }
    result
}

async fn fill(
    file: &File,
    target: &Target<'_>,
    mut bytes: impl Stream<Item = io::Result<Bytes>> + Unpin,
) -> Result<(), Fault> {
    let path = target.path.display();
    let user = target.user;
    rustix::fs::fchown(file, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)))
        .map_err(|error| Fault::io(format!("cannot give '{path}' to {}", user.name), &error.into()))?;
    target.metadata.replace(file)?;
    let mut file = file
        .try_clone()
        .await
        .map_err(|error| Fault::io(format!("cannot write '{path}'"), &error))?;
    while let Some(chunk) = bytes.next().await {
        let chunk = chunk.map_err(|error| Fault::invalid(format!("the upload of '{path}' broke off: {error}")))?;
        file.write_all(&chunk)
            .await
            .map_err(|error| Fault::io(format!("cannot write '{path}'"), &error))?;
    }
    file.flush()
        .await
        .map_err(|error| Fault::io(format!("cannot write '{path}'"), &error))
}

fn check_space(directory: &Path, wanted: u64) -> Result<(), Fault> {
    let Ok(about) = rustix::fs::statvfs(directory) else {
        return Ok(());
    };
    let free = about.f_bavail.max(about.f_bfree) * about.f_frsize;
    // File systems that are not on a disk say that they have no blocks.
    if about.f_blocks > 0 && free < wanted {
        return Err(Fault::new(
            Kind::NoSpace,
            format!("not enough disk space: {wanted} bytes needed, {free} available"),
        ));
    }
    Ok(())
}
