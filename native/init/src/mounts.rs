//! The kernel's file systems of a running guest (VM5).

use crate::report::{self, Doing, Failure};
use rustix::mount::{MountFlags, mount};
use std::{ffi::CString, fs};

const NO_PROGRAMS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
const PLAIN: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// Mounts all of them. `/dev` is mounted already, by the initrd. One that fails is reported and left out.
///
/// `/tmp` stays on the disk: programs and agents put large files there, which as a tmpfs would take the memory of a
/// small guest, end with its 507 long before the disk is full, and be written out with every pause.
pub fn mount_all() {
    let table = [
        ("proc", "/proc", NO_PROGRAMS, ""),
        ("sysfs", "/sys", NO_PROGRAMS, ""),
        (
            "devpts",
            "/dev/pts",
            MountFlags::NOSUID.union(MountFlags::NOEXEC),
            "gid=5,mode=0620,ptmxmode=0666",
        ),
        ("tmpfs", "/dev/shm", PLAIN, "mode=1777"),
        ("tmpfs", "/run", PLAIN, "mode=0755,size=20%"),
        ("cgroup2", "/sys/fs/cgroup", NO_PROGRAMS, "nsdelegate"),
    ];
    for (kind, target, flags, options) in table {
        report::warn(mount_fs(kind, target, flags, options));
    }
    for (link, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "fd/0"),
        ("/dev/stdout", "fd/1"),
        ("/dev/stderr", "fd/2"),
    ] {
        let _ = std::os::unix::fs::symlink(target, link);
    }
}

pub fn mount_fs(kind: &str, target: &str, flags: MountFlags, options: &str) -> Result<(), Failure> {
    fs::create_dir_all(target).doing(target)?;
    let options = CString::new(options).doing("mount options")?;
    mount(kind, target, kind, flags, Some(options.as_c_str())).doing(&format!("mounting {target}"))
}
