//! Joins files; the kernel copies, or shares blocks where the file system can.

use super::owned;
use crate::fault::Fault;
use crate::users::User;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Writes the sources one after the other, puts the result in the destination's place at once and removes the sources.
/// On a failure the sources and the old destination are as they were.
pub fn compose(sources: &[PathBuf], destination: &Path, user: &User) -> Result<(), Fault> {
    if sources.is_empty() {
        return Err(Fault::invalid("no source paths are given"));
    }
    let name = destination
        .file_name()
        .ok_or_else(|| Fault::invalid("the destination is no file"))?;
    if destination.is_dir() {
        return Err(Fault::invalid(format!(
            "path '{}' is a directory",
            destination.display()
        )));
    }
    let files: Vec<File> = sources.iter().map(|source| open(source)).collect::<Result<_, _>>()?;
    let parent = destination.parent().unwrap_or(Path::new("/"));
    owned::make_dirs(parent, user)?;
    let aside = parent.join(format!(".{}.composing", name.to_string_lossy()));
    let composed = join(files, &aside, user)
        .and_then(|()| fs::rename(&aside, destination))
        .map_err(|error| Fault::io(format!("cannot compose '{}'", destination.display()), &error));
    if composed.is_err() {
        let _ = fs::remove_file(&aside);
        return composed;
    }
    for source in sources.iter().filter(|source| *source != destination) {
        let _ = fs::remove_file(source);
    }
    Ok(())
}

fn open(source: &Path) -> Result<File, Fault> {
    let fail = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Fault::not_found(format!("path '{}' does not exist", source.display())),
        _ => Fault::io(format!("cannot read '{}'", source.display()), &error),
    };
    match fs::metadata(source).map_err(fail)?.is_file() {
        true => File::open(source).map_err(fail),
        false => Err(Fault::invalid(format!(
            "path '{}' is not a regular file",
            source.display()
        ))),
    }
}

fn join(sources: Vec<File>, path: &Path, user: &User) -> io::Result<()> {
    let mut joined = File::create(path)?;
    std::os::unix::fs::fchown(&joined, Some(user.uid), Some(user.gid))?;
    for mut source in sources {
        io::copy(&mut source, &mut joined)?;
    }
    Ok(())
}
