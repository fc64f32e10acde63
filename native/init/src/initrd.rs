//! First role: from the initrd to the disk.

use crate::{
    modules,
    mounts::mount_fs,
    report::{Doing, Failure},
};
use rustix::mount::{MountFlags, mount, mount_move};
use std::{ffi::CStr, fs, os::unix::process::CommandExt, path::Path, process::Command};

const MODULES: &str = "/modules";
const DISK: &str = "/dev/vda";
const NEW_ROOT: &str = "/root";
/// Not reading the bitmaps of a whole disk ahead: a template is frozen soon after its boot, and each of its clones would go
/// on with that where it has other things to do.
const OPTIONS: &CStr = c"no_prefetch_block_bitmaps";
const NEXT: &str = "/sbin/wrenn-init";

pub fn run() -> Result<(), Failure> {
    mount_fs("devtmpfs", "/dev", MountFlags::NOSUID, "mode=0755")?;
    modules::load_all(Path::new(MODULES))?;
    // virtio-blk scans its device while the module loads, so the node is there when load_all returns.
    mount(DISK, NEW_ROOT, "ext4", MountFlags::NOATIME, Some(OPTIONS)).doing("mounting /dev/vda")?;
    mount_move("/dev", "/root/dev").doing("moving /dev")?;
    free_initrd();
    rustix::process::chdir(NEW_ROOT).doing("entering the disk")?;
    mount_move(".", "/").doing("moving the disk to /")?;
    rustix::process::chroot(".").doing("chroot")?;
    Err(Command::new(NEXT).exec()).doing(NEXT)
}

/// The initrd's files stay in memory for ever unless they are removed.
fn free_initrd() {
    let _ = fs::remove_dir_all(MODULES);
    let _ = fs::remove_file("/init");
}
