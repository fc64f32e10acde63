//! Files and directories made for a user belong to that user.

use crate::fault::Fault;
use crate::users::User;
use rustix::fs::{Gid, Uid};
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Makes a directory and its missing parents, each 0755 and owned by the user. Existing ones are left as they are.
pub fn make_dirs(path: &Path, user: &User) -> Result<(), Fault> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|path| fs::symlink_metadata(path).is_err())
        .collect();
    for path in missing.into_iter().rev() {
        match fs::DirBuilder::new().mode(0o755).create(path) {
            Ok(()) => give(path, user)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Fault::io(format!("cannot make directory '{}'", path.display()), &error)),
        }
    }
    match fs::metadata(path) {
        Ok(about) if about.is_dir() => Ok(()),
        Ok(_) => Err(Fault::invalid(format!("path '{}' is not a directory", path.display()))),
        Err(error) => Err(Fault::io(format!("cannot make directory '{}'", path.display()), &error)),
    }
}

fn give(path: &Path, user: &User) -> Result<(), Fault> {
    rustix::fs::chown(path, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid))).map_err(|error| {
        Fault::io(
            format!("cannot give '{}' to {}", path.display(), user.name),
            &error.into(),
        )
    })
}
