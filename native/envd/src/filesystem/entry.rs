//! What clients are told about a file.

use super::metadata::Metadata;
use crate::fault::Fault;
use crate::proto::filesystem::{EntryInfo, FileType};
use crate::users::Names;
use buffa_types::google::protobuf::Timestamp;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Describes a path; a symbolic link is described itself, with where it leads.
pub fn describe(path: &Path, names: &Names) -> Result<EntryInfo, Fault> {
    let about = fs::symlink_metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            Fault::not_found(format!("path '{}' does not exist", path.display()))
        }
        _ => Fault::io(format!("cannot look at '{}'", path.display()), &error),
    })?;
    Ok(describe_as(path, path, &about, names))
}

/// Describes what is at `real` under the path that the client knows it by.
pub fn describe_as(shown: &Path, real: &Path, about: &fs::Metadata, names: &Names) -> EntryInfo {
    EntryInfo {
        name: shown
            .file_name()
            .map_or("/".into(), |name| name.to_string_lossy().into_owned()),
        r#type: file_type(about, real).into(),
        path: shown.to_string_lossy().into_owned(),
        size: about.len() as i64,
        mode: about.mode() & 0o7777,
        permissions: permissions(about),
        owner: names.user(about.uid()),
        group: names.group(about.gid()),
        modified_time: Timestamp {
            seconds: about.mtime(),
            nanos: about.mtime_nsec() as i32,
            ..Default::default()
        }
        .into(),
        symlink_target: about.is_symlink().then(|| symlink_target(real)),
        metadata: Metadata::read(real).0.into_iter().collect(),
        ..Default::default()
    }
}

/// A link has the type of what it leads to, so that clients can open it; one that leads nowhere is a link.
fn file_type(about: &fs::Metadata, real: &Path) -> FileType {
    let kind = about.file_type();
    if kind.is_symlink() {
        return match fs::metadata(real) {
            Ok(target) => file_type(&target, real),
            Err(_) => FileType::FILE_TYPE_SYMLINK,
        };
    }
    match (kind.is_dir(), kind.is_file()) {
        (true, _) => FileType::FILE_TYPE_DIRECTORY,
        (_, true) => FileType::FILE_TYPE_FILE,
        _ => FileType::FILE_TYPE_UNSPECIFIED,
    }
}

/// Absolute path of the final target, or the link's own text where that is missing.
fn symlink_target(real: &Path) -> String {
    let target = fs::canonicalize(real).or_else(|_| fs::read_link(real));
    target
        .map(|target| target.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Nine letters after one for the type.
fn permissions(about: &fs::Metadata) -> String {
    let kind = about.file_type();
    let first = match () {
        _ if kind.is_dir() => 'd',
        _ if kind.is_symlink() => 'L',
        _ if kind.is_fifo() => 'p',
        _ if kind.is_socket() => 's',
        _ if kind.is_char_device() => 'c',
        _ if kind.is_block_device() => 'b',
        _ => '-',
    };
    let bit = |index: u32, letter: char| {
        if about.mode() & (0o400 >> index) != 0 {
            letter
        } else {
            '-'
        }
    };
    let letters = "rwxrwxrwx"
        .chars()
        .enumerate()
        .map(|(index, letter)| bit(index as u32, letter));
    std::iter::once(first).chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn describes_files_directories_and_links() {
        let root = std::env::temp_dir().join(format!("envd-entry-{}", std::process::id()));
        fs::create_dir_all(root.join("dir")).unwrap();
        fs::write(root.join("file"), "four").unwrap();
        fs::set_permissions(root.join("file"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("file", root.join("link")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        let names = Names::load();
        let of = |name: &str| describe(&root.join(name), &names).unwrap();

        let file = of("file");
        assert_eq!(
            (file.size, file.mode, file.permissions.as_str()),
            (4, 0o640, "-rw-r-----")
        );
        assert_eq!(file.symlink_target, None);
        assert_eq!(of("dir").r#type, FileType::FILE_TYPE_DIRECTORY);
        let link = of("link");
        assert_eq!(link.r#type, FileType::FILE_TYPE_FILE);
        assert_eq!(
            link.symlink_target.as_deref(),
            fs::canonicalize(root.join("file")).unwrap().to_str()
        );
        assert_eq!(of("dangling").r#type, FileType::FILE_TYPE_SYMLINK);
        assert!(describe(&root.join("nope"), &names).is_err());
        fs::remove_dir_all(root).unwrap();
    }
}
