//! Which file systems can be watched.

use crate::fault::Fault;
use std::path::Path;

/// Numbers of linux/magic.h.
const NETWORK: [(i64, &str); 7] = [
    (0x6969, "nfs"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb2"),
    (0x6573_5546, "fuse"),
    (0x00c3_6400, "ceph"),
    (0x0102_1997, "9p"),
    (0x517b, "smb"),
];

/// Refuses network file systems: changes made on other machines would be missed there.
pub fn check_local(path: &Path) -> Result<(), Fault> {
    let about = rustix::fs::statfs(path)
        .map_err(|error| Fault::io(format!("cannot look at '{}'", path.display()), &error.into()))?;
    match NETWORK.iter().find(|(magic, _)| *magic == about.f_type as i64) {
        Some((_, name)) => Err(Fault::invalid(format!(
            "cannot watch '{}': it is on a network file system ({name}), where changes made elsewhere are not seen",
            path.display()
        ))),
        None => Ok(()),
    }
}
