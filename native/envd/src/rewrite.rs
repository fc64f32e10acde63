//! Small files that say who this guest is.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Gives a file new content where it is, and makes it if it is not there. Not by truncating it first: ext4 writes such a
/// file to the disk as soon as it is closed, and a clone would wait for that before its processes go on.
pub fn rewrite(path: impl AsRef<Path>, content: &str) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    file.write_all_at(content.as_bytes(), 0)?;
    if file.metadata()?.len() > content.len() as u64 {
        file.set_len(content.len() as u64)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn nothing_is_left_of_longer_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("name");
        for content in ["short", "something longer", "", "last"] {
            rewrite(&path, content).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
    }
}
