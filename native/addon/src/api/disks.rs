//! Disks of sandboxes as device-mapper snapshots (FS1, FS2). Sizes are bytes.

use std::path::Path;

use napi::{Env, bindgen_prelude::Object};
use napi_derive::napi;

use super::{number, promise, whole};
use crate::{
    dm::snapshot::{self, Disk, Made, Status},
    failure::Outcome,
    files::space::Copied,
};

#[napi(object)]
pub struct DmDiskSpec {
    /// A plain name: letters, digits, `-`, `_`, `.`. The device is `wrenn-<id>`.
    pub id: String,
    /// Image, never written to: all disks made of it share one loop device.
    pub base: String,
    /// What the guest writes; a sparse file.
    pub cow: String,
    /// Size of the disk, at least the image's, a multiple of 4096.
    pub bytes: f64,
}

#[napi(object)]
pub struct DmDisk {
    /// `/dev/dm-<minor>`
    pub device: String,
    pub major: u32,
    pub minor: u32,
}

#[napi(object, use_nullable = true)]
pub struct DmDiskStatus {
    pub device: String,
    pub bytes: f64,
    /// Of the copy-on-write device, which is large enough for all of the disk: what runs out first is the host's space.
    pub used_bytes: f64,
    pub cow_bytes: f64,
    /// The kernel's word where writes are lost from now on (`Invalid`: the host's disk was full, or failed).
    pub broken: Option<String>,
}

impl From<Made> for DmDisk {
    fn from(made: Made) -> Self {
        Self {
            device: made.device.display().to_string(),
            major: made.number.major,
            minor: made.number.minor,
        }
    }
}

impl From<Status> for DmDiskStatus {
    fn from(status: Status) -> Self {
        Self {
            device: status.made.device.display().to_string(),
            bytes: number(status.bytes),
            used_bytes: number(status.used_bytes),
            cow_bytes: number(status.cow_bytes),
            broken: status.broken,
        }
    }
}

fn disk(spec: DmDiskSpec) -> Outcome<Disk> {
    Ok(Disk {
        bytes: whole("bytes", spec.bytes)?,
        id: spec.id,
        base: spec.base.into(),
        cow: spec.cow.into(),
    })
}

/// A new disk; makes the copy-on-write file. Rejects with `already_exists`; leaves nothing.
#[napi(ts_return_type = "Promise<DmDisk>")]
pub fn dm_disk_create<'env>(env: &'env Env, spec: DmDiskSpec) -> napi::Result<Object<'env>> {
    promise(env, move || snapshot::create(&disk(spec)?).map(DmDisk::from))
}

/// The same disk again, from its files.
#[napi(ts_return_type = "Promise<DmDisk>")]
pub fn dm_disk_restore<'env>(env: &'env Env, spec: DmDiskSpec) -> napi::Result<Object<'env>> {
    promise(env, move || snapshot::restore(&disk(spec)?).map(DmDisk::from))
}

/// Takes the devices away; files stay, an absent disk is fine. After the VM, never before. Tries for 10 s, then rejects
/// with `busy`.
#[napi(ts_return_type = "Promise<void>")]
pub fn dm_disk_remove<'env>(env: &'env Env, id: String) -> napi::Result<Object<'env>> {
    promise(env, move || snapshot::remove(&id))
}

/// Null: there is no such disk.
#[napi(ts_return_type = "Promise<DmDiskStatus | null>")]
pub fn dm_disk_status<'env>(env: &'env Env, id: String) -> napi::Result<Object<'env>> {
    promise(env, move || Ok(snapshot::status(&id)?.map(DmDiskStatus::from)))
}

/// Ids of the disks that are set up on this machine, of whichever agent.
#[napi(ts_return_type = "Promise<Array<string>>")]
pub fn dm_disk_list<'env>(env: &'env Env) -> napi::Result<Object<'env>> {
    promise(env, snapshot::list)
}

/// Writes what the guest sees as a sparse image `dir`/`name`, durable when this resolves. Nobody may write to the disk
/// meanwhile. Rejects with `not_found`, `no_space`.
#[napi(ts_return_type = "Promise<string>")]
pub fn dm_disk_flatten<'env>(env: &'env Env, id: String, dir: String, name: String) -> napi::Result<Object<'env>> {
    promise(env, move || {
        let path = snapshot::flatten(&id, Path::new(&dir), &name)?;
        Ok(path.display().to_string())
    })
}

/// Copies the copy-on-write file as it is at this moment, for `dmDiskRestore` under another id; the guest's writes wait
/// meanwhile. Says how it was copied.
#[napi(ts_return_type = "Promise<'reflink' | 'data'>")]
pub fn dm_disk_branch<'env>(env: &'env Env, id: String, cow: String, copy: String) -> napi::Result<Object<'env>> {
    promise(env, move || {
        Ok(match snapshot::branch(&id, Path::new(&cow), Path::new(&copy))? {
            Copied::Reflink => "reflink",
            Copied::Data => "data",
        })
    })
}
