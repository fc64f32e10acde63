//! Lists a directory to a depth.

use super::entry;
use crate::fault::Fault;
use crate::proto::filesystem::EntryInfo;
use crate::users::Names;
use std::fs;
use std::io;
use std::path::Path;

/// Entries by name, each directory followed by what is in it. Links are not followed, except the directory itself:
/// its entries appear under the path that was asked for.
pub fn list(path: &Path, depth: u32) -> Result<Vec<EntryInfo>, Fault> {
    let fail = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Fault::not_found(format!("path '{}' does not exist", path.display())),
        _ => Fault::io(format!("cannot list '{}'", path.display()), &error),
    };
    let real = fs::canonicalize(path).map_err(fail)?;
    if !fs::metadata(&real).map_err(fail)?.is_dir() {
        return Err(Fault::invalid(format!("path '{}' is not a directory", path.display())));
    }
    let names = Names::load();
    let mut entries = Vec::new();
    walk(path, &real, depth.max(1), &names, &mut entries).map_err(fail)?;
    Ok(entries)
}

fn walk(shown: &Path, real: &Path, depth: u32, names: &Names, entries: &mut Vec<EntryInfo>) -> io::Result<()> {
    let mut children: Vec<_> = fs::read_dir(real)?.collect::<Result<_, _>>()?;
    children.sort_by_key(|child| child.file_name());
    for child in children {
        // What vanished meanwhile is not there.
        let Ok(about) = child.metadata() else { continue };
        let shown = shown.join(child.file_name());
        entries.push(entry::describe_as(&shown, &child.path(), &about, names));
        if about.is_dir() && depth > 1 {
            match walk(&shown, &child.path(), depth - 1, names, entries) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}
