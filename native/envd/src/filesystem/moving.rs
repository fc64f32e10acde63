//! Moves and removes whole trees.

use super::owned;
use crate::fault::Fault;
use crate::users::User;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, lchown, symlink};
use std::path::Path;

/// Renames; makes the parents of the destination. Between file systems it copies and removes, as `mv` does.
pub fn rename(source: &Path, destination: &Path, user: &User) -> Result<(), Fault> {
    fs::symlink_metadata(source).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Fault::not_found(format!("path '{}' does not exist", source.display())),
        _ => Fault::io(format!("cannot move '{}'", source.display()), &error),
    })?;
    owned::make_dirs(destination.parent().unwrap_or(Path::new("/")), user)?;
    let moved = match fs::rename(source, destination) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            copy(source, destination).and_then(|()| remove_tree(source))
        }
        other => other,
    };
    moved.map_err(|error| {
        Fault::io(
            format!("cannot move '{}' to '{}'", source.display(), destination.display()),
            &error,
        )
    })
}

/// Removes a file, a link itself, or a whole directory. What is not there is removed already.
pub fn remove(path: &Path) -> Result<(), Fault> {
    match remove_tree(path) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Err(Fault::io(format!("cannot remove '{}'", path.display()), &error))
        }
        _ => Ok(()),
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

/// Copies files, directories and links with their owners and modes.
fn copy(source: &Path, destination: &Path) -> io::Result<()> {
    let about = fs::symlink_metadata(source)?;
    if about.is_symlink() {
        symlink(fs::read_link(source)?, destination)?;
    } else if about.is_dir() {
        match fs::create_dir(destination) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        for child in fs::read_dir(source)? {
            let child = child?;
            copy(&child.path(), &destination.join(child.file_name()))?;
        }
        fs::set_permissions(destination, about.permissions())?;
    } else if about.is_file() {
        fs::copy(source, destination)?;
        fs::File::options()
            .write(true)
            .open(destination)?
            .set_modified(about.modified()?)?;
    } else {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "devices, pipes and sockets stay on their file system",
        ));
    }
    lchown(destination, Some(about.uid()), Some(about.gid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_a_tree_as_mv_would() {
        let root = std::env::temp_dir().join(format!("envd-moving-{}", std::process::id()));
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/file"), "text").unwrap();
        symlink("b/file", root.join("a/link")).unwrap();
        copy(&root.join("a"), &root.join("c")).unwrap();
        assert_eq!(fs::read_to_string(root.join("c/link")).unwrap(), "text");
        assert_eq!(fs::read_link(root.join("c/link")).unwrap(), Path::new("b/file"));
        remove(&root).unwrap();
        remove(&root).unwrap();
        assert!(!root.exists());
    }
}
