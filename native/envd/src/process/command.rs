//! Finds the program that a command names, and makes its vectors for exec.

use crate::fault::{Fault, Kind};
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Looks a command up as a shell does: with a slash it is a path from the working directory, else it is in PATH.
/// A command that is not there is `not_found`, one that cannot be run `permission_denied`.
pub fn find(command: &str, path: &str, cwd: &Path) -> Result<PathBuf, Fault> {
    if command.is_empty() {
        return Err(Fault::invalid("the command is empty"));
    }
    let candidates: Vec<PathBuf> = if command.contains('/') {
        vec![cwd.join(command)]
    } else {
        path.split(':')
            .map(|directory| cwd.join(directory).join(command))
            .collect()
    };
    let mut not_executable = false;
    for candidate in candidates {
        match fs::metadata(&candidate) {
            Ok(about) if about.is_file() && about.permissions().mode() & 0o111 != 0 => return Ok(candidate),
            Ok(_) => not_executable = true,
            Err(_) => {}
        }
    }
    if not_executable {
        return Err(Fault::new(
            Kind::PermissionDenied,
            format!("command '{command}' is not executable"),
        ));
    }
    Err(Fault::not_found(format!("command '{command}' not found")))
}

/// For exec; a NUL inside a text is the client's error.
pub fn c_string(text: impl AsRef<std::ffi::OsStr>) -> Result<CString, Fault> {
    CString::new(text.as_ref().as_bytes()).map_err(|_| Fault::invalid("an argument contains a NUL byte"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_missing_from_not_executable() {
        let find = |command| find(command, "/nowhere:/usr/bin:/bin:/etc", Path::new("/etc"));
        assert!(find("sh").unwrap().is_file());
        assert_eq!(find("no-such-command").unwrap_err().kind, Kind::NotFound);
        assert_eq!(find("./passwd").unwrap_err().kind, Kind::PermissionDenied);
        assert_eq!(find("passwd-nope/x").unwrap_err().kind, Kind::NotFound);
        assert_eq!(find("").unwrap_err().kind, Kind::InvalidArgument);
    }
}
