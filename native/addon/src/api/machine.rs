//! What the machine can do (AG7), and loop devices.

use std::path::Path;

use napi::{Env, bindgen_prelude::Object};
use napi_derive::napi;

use super::promise;
use crate::{
    loops,
    probe::{self, Finding},
};

#[napi(object, use_nullable = true)]
pub struct Probed {
    pub works: bool,
    /// In words, where it does not.
    pub why: Option<String>,
}

impl From<Finding> for Probed {
    fn from(finding: Finding) -> Self {
        Self {
            works: finding.is_ok(),
            why: finding.err(),
        }
    }
}

#[napi(object)]
pub struct KernelSupport {
    /// A virtual machine ran kernel code.
    pub kvm: Probed,
    /// A page was served on its fault.
    pub userfaultfd: Probed,
    /// PAGEMAP_SCAN of Linux 6.7.
    pub pagemap_scan: Probed,
    /// A network namespace with a tap device was made.
    pub namespaces: Probed,
    /// Our rules were installed in a namespace of the probe's own.
    pub nftables: Probed,
    pub device_mapper: Probed,
    pub loop_devices: Probed,
}

/// Finds out by doing, and leaves nothing. Takes milliseconds where all works, and at most 5 s.
#[napi(ts_return_type = "Promise<KernelSupport>")]
pub fn probe_kernel<'env>(env: &'env Env) -> napi::Result<Object<'env>> {
    promise(env, || {
        let found = probe::probe();
        Ok(KernelSupport {
            kvm: found.kvm.into(),
            userfaultfd: found.userfaultfd.into(),
            pagemap_scan: found.pagemap_scan.into(),
            namespaces: found.namespaces.into(),
            nftables: found.nftables.into(),
            device_mapper: found.device_mapper.into(),
            loop_devices: found.loop_devices.into(),
        })
    })
}

/// Frequency of the time stamp counter in kHz, measured: what guests need as `tsc_early_khz`. Takes 50 ms.
#[napi(ts_return_type = "Promise<number>")]
pub fn tsc_khz<'env>(env: &'env Env) -> napi::Result<Object<'env>> {
    promise(env, probe::tsc::khz)
}

#[napi(object)]
pub struct LoopSpec {
    pub path: String,
    pub readonly: Option<bool>,
}

#[napi(object)]
pub struct LoopInfo {
    pub device: String,
    pub backing_file: String,
}

/// Makes a file a block device and says which. It stays until it is detached.
#[napi(ts_return_type = "Promise<string>")]
pub fn loop_attach<'env>(env: &'env Env, spec: LoopSpec) -> napi::Result<Object<'env>> {
    promise(env, move || {
        let device = loops::attach(Path::new(&spec.path), spec.readonly.unwrap_or(false))?;
        Ok(device.display().to_string())
    })
}

/// Takes the file away from a device; one without a file is fine.
#[napi(ts_return_type = "Promise<void>")]
pub fn loop_detach<'env>(env: &'env Env, device: String) -> napi::Result<Object<'env>> {
    promise(env, move || loops::detach(Path::new(&device)))
}

/// The devices that have a file.
#[napi(ts_return_type = "Promise<Array<LoopInfo>>")]
pub fn loop_list<'env>(env: &'env Env) -> napi::Result<Object<'env>> {
    promise(env, || {
        let found = loops::list()?.into_iter().map(|each| LoopInfo {
            device: each.device.display().to_string(),
            backing_file: each.backing_file,
        });
        Ok(found.collect::<Vec<_>>())
    })
}
