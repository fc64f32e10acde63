//! Disks of sandboxes as device-mapper snapshots (FS1, FS2): one shared read-only loop device per base image, a sparse
//! copy-on-write file per sandbox. Nothing is counted here: a loop device goes when its last user does, so a program
//! that is killed leaves nothing behind but the devices themselves, and those have names.

pub mod control;
pub mod loop_registry;
pub mod snapshot;
