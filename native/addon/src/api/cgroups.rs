//! Control groups, `wrenn/<name>`.

use napi::{Env, bindgen_prelude::Object};
use napi_derive::napi;

use super::{number, promise, whole};
use crate::cgroup::{
    group::{self, Limits},
    hierarchy::{Controller, Hierarchies, LIMITING, Version},
};

/// `writable` was found out by making a group.
#[napi(object)]
pub struct CgroupControllers {
    #[napi(ts_type = "'writable' | 'absent'")]
    pub memory: String,
    #[napi(ts_type = "'writable' | 'absent'")]
    pub cpu: String,
    #[napi(ts_type = "'writable' | 'absent'")]
    pub pids: String,
}

#[napi(object)]
pub struct CgroupSupport {
    #[napi(ts_type = "'1' | '2' | 'hybrid' | 'none'")]
    pub version: String,
    pub controllers: CgroupControllers,
}

#[napi(object)]
pub struct CgroupSpec {
    /// One plain name: letters, digits, `-`, `_`, `.`
    pub name: String,
    pub memory_bytes: Option<f64>,
    /// Fractions allowed, at least 0.01.
    pub cpus: Option<f64>,
    pub pids: Option<u32>,
}

#[napi(object)]
pub struct CgroupInfo {
    /// For `processSpawn({cgroups})`.
    pub paths: Vec<String>,
    #[napi(ts_type = "Array<'memory' | 'cpu' | 'pids'>")]
    pub enforced: Vec<String>,
    /// Asked for, but this machine has no such controller.
    #[napi(ts_type = "Array<'memory' | 'cpu' | 'pids'>")]
    pub not_enforced: Vec<String>,
}

#[napi(object, use_nullable = true)]
pub struct CgroupUsage {
    pub memory_bytes: Option<f64>,
    pub cpu_usec: Option<f64>,
    pub processes: Vec<i32>,
}

#[napi(ts_return_type = "Promise<CgroupSupport>")]
pub fn cgroup_probe<'env>(env: &'env Env) -> napi::Result<Object<'env>> {
    promise(env, || {
        let found = Hierarchies::find()?;
        let [memory, cpu, pids] = LIMITING.map(|controller| {
            let word = if found.writable(controller) {
                "writable"
            } else {
                "absent"
            };
            word.to_owned()
        });
        let version = match found.version() {
            Version::V1 => "1",
            Version::V2 => "2",
            Version::Hybrid => "hybrid",
            Version::None => "none",
        };
        Ok(CgroupSupport {
            version: version.to_owned(),
            controllers: CgroupControllers { memory, cpu, pids },
        })
    })
}

/// Makes a group and sets its limits; sets them anew where it exists.
#[napi(ts_return_type = "Promise<CgroupInfo>")]
pub fn cgroup_create<'env>(env: &'env Env, spec: CgroupSpec) -> napi::Result<Object<'env>> {
    promise(env, move || {
        let limits = Limits {
            memory_bytes: spec.memory_bytes.map(|bytes| whole("memoryBytes", bytes)).transpose()?,
            cpus: spec.cpus,
            pids: spec.pids.map(Into::into),
        };
        let group = group::create(&spec.name, limits)?;
        let names = |controllers: Vec<Controller>| controllers.iter().map(|each| each.name().to_owned()).collect();
        Ok(CgroupInfo {
            paths: group
                .folders
                .iter()
                .map(|folder| folder.display().to_string())
                .collect(),
            enforced: names(group.enforced),
            not_enforced: names(group.not_enforced),
        })
    })
}

/// Removes a group; an absent one is fine. With `kill` whoever is in it ends, without that is `busy`.
#[napi(ts_return_type = "Promise<void>")]
pub fn cgroup_remove<'env>(env: &'env Env, name: String, kill: Option<bool>) -> napi::Result<Object<'env>> {
    promise(env, move || group::remove(&name, kill.unwrap_or(false)))
}

/// Null: there is no such group.
#[napi(ts_return_type = "Promise<CgroupUsage | null>")]
pub fn cgroup_usage<'env>(env: &'env Env, name: String) -> napi::Result<Object<'env>> {
    promise(env, move || {
        Ok(group::usage(&name)?.map(|usage| CgroupUsage {
            memory_bytes: usage.memory_bytes.map(number),
            cpu_usec: usage.cpu_usec.map(number),
            processes: usage.processes,
        }))
    })
}

#[napi(ts_return_type = "Promise<Array<string>>")]
pub fn cgroup_list<'env>(env: &'env Env) -> napi::Result<Object<'env>> {
    promise(env, group::list)
}
