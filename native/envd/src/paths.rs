//! Paths as clients write them.

use crate::fault::Fault;
use crate::users::User;
use std::path::{Component, Path, PathBuf};

/// Makes a client's path absolute and clean.
///
/// An empty path is the default working directory, or the user's home. `~` and relative paths lead from the home.
/// The homes of other users (`~name`) are refused.
pub fn resolve(path: &str, user: &User, workdir: Option<&str>) -> Result<PathBuf, Fault> {
    if path.contains('\0') {
        return Err(Fault::invalid("path contains a NUL byte"));
    }
    let path = match (path, workdir) {
        ("", Some(workdir)) => workdir,
        (path, _) => path,
    };
    let expanded = if path == "~" {
        user.home.clone()
    } else if let Some(rest) = path.strip_prefix("~/") {
        user.home.join(rest)
    } else if path.starts_with('~') {
        return Err(Fault::invalid(format!(
            "cannot resolve path '{path}': only '~' of the own user is supported"
        )));
    } else {
        user.home.join(path)
    };
    Ok(clean(&expanded))
}

/// Removes `.` and `..` by their text, as clients expect; the result is absolute.
fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => {
                cleaned.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(path: &str, workdir: Option<&str>) -> Option<String> {
        let user = User {
            name: "u".into(),
            uid: 1,
            gid: 1,
            home: "/home/u".into(),
            groups: vec![],
        };
        resolve(path, &user, workdir)
            .ok()
            .map(|path| path.to_str().unwrap().to_owned())
    }

    #[test]
    fn resolves_like_a_shell_in_the_home() {
        for (path, expected) in [
            ("", "/home/u"),
            ("a/b", "/home/u/a/b"),
            ("./a//b/", "/home/u/a/b"),
            ("../x", "/home/x"),
            ("~", "/home/u"),
            ("~/x", "/home/u/x"),
            ("/../../etc", "/etc"),
            ("a/~", "/home/u/a/~"),
        ] {
            assert_eq!(resolved(path, None).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn the_working_directory_is_only_for_empty_paths() {
        assert_eq!(resolved("", Some("/work")).as_deref(), Some("/work"));
        assert_eq!(resolved("x", Some("/work")).as_deref(), Some("/home/u/x"));
    }

    #[test]
    fn refuses_other_homes_and_nul() {
        assert_eq!(resolved("~root/x", None), None);
        assert_eq!(resolved("a\0b", None), None);
    }
}
