//! Memory snapshots as generations (SN2–SN5, SN14). Sizes are bytes; build ids are UUIDs in lower case.
//!
//! A chain is an array of paths: generation 0 first, the newest last.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use napi::{Env, bindgen_prelude::Object};
use napi_derive::napi;

use super::{number, promise, whole};
use crate::{
    failure::{Failure, Outcome},
    process::identity::Identity,
    snapshot::{
        base,
        build_id::BuildId,
        capture::{Capture, Prepared},
        chain::Chain,
        flatten,
        generation::Generation,
        merge::{self, MERGE_AT},
        publish, restore,
        store::Stored,
        verify,
    },
};

/// A VMM and the file (generation 0) that it has mapped privately, once and whole. The file is recognised by device
/// and inode, so any of its hard links will do.
#[napi(object)]
pub struct MemorySpec {
    pub pid: i32,
    /// Clock ticks after boot, as `processSpawn` gives it.
    pub start_time: f64,
    pub path: String,
    /// The guest's processes stand already: it writes next to nothing any more.
    pub still: Option<bool>,
}

#[napi(object)]
pub struct MemoryRestoreSpec {
    pub pid: i32,
    pub start_time: f64,
    /// What the VMM has mapped: generation 0 of the chain, or a hard link of it.
    pub path: String,
    pub chain: Vec<String>,
}

/// Where a generation is written: `dir`/`name`, through `dir`/`.name.part`. A file of that name is replaced.
#[napi(object)]
pub struct GenerationSpec {
    pub chain: Vec<String>,
    pub dir: String,
    pub name: String,
    /// Default: a new one.
    pub build_id: Option<String>,
}

#[napi(object)]
pub struct BaseSpec {
    /// What a VMM had as its memory. The VMM must be gone.
    pub file: String,
    pub memory_bytes: f64,
    /// The name it gets; may be the one it has. Same file system.
    pub dir: String,
    pub name: String,
    /// Default: a new one.
    pub build_id: Option<String>,
}

#[napi(object)]
pub struct GenerationInfo {
    pub path: String,
    pub build_id: String,
    /// 0: flat, to be mapped.
    pub generation: f64,
    pub memory_bytes: f64,
    /// Of blocks stored in it; without index and holes.
    pub data_bytes: f64,
}

#[napi(object)]
pub struct PublishedGeneration {
    pub path: String,
    pub build_id: String,
    pub generation: f64,
    pub memory_bytes: f64,
    /// Stored: changed since the generation before, and not zeros.
    pub data_bytes: f64,
    /// Captured, but as the chain has it: not stored.
    pub unchanged_bytes: f64,
    /// Zeroed since the generation before: an entry of the index, not stored.
    pub zeroed_bytes: f64,
    /// The chain with this one has 8 files: call `generationsMerge` before the next.
    pub merge_due: bool,
}

/// A VMM whose memory can be captured in as little time as copying takes: everything is opened and found, and memory
/// for the copy is taken. Made while the VM still runs. Not for long: the memory taken is what is dirty and 16 MiB more
/// (1 MiB where it is `still`).
#[napi]
pub struct PreparedMemory {
    prepared: Mutex<Option<Arc<Prepared>>>,
    memory_bytes: u64,
    dirty_bytes: u64,
}

#[napi]
impl PreparedMemory {
    #[napi(getter)]
    pub fn memory_bytes(&self) -> f64 {
        number(self.memory_bytes)
    }

    /// Of the VM's own when this was made.
    #[napi(getter)]
    pub fn dirty_bytes(&self) -> f64 {
        number(self.dirty_bytes)
    }

    /// Copies the VM's own pages. Its vCPUs must stand still until this resolves; then they may run on, or the VMM may
    /// end. Rejects with `process_gone`.
    #[napi(ts_return_type = "Promise<MemoryCapture>")]
    pub fn capture<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        let prepared = held(&self.prepared);
        promise(env, move || Ok(MemoryCapture::new(prepared?.capture()?)))
    }

    /// Gives the memory back.
    #[napi]
    pub fn close(&self) {
        self.prepared.lock().expect("nobody panics with it").take();
    }
}

/// The pages that a VM had of its own at one moment, in this process's memory until `close()`.
#[napi]
pub struct MemoryCapture {
    capture: Mutex<Option<Arc<Capture>>>,
    memory_bytes: u64,
    dirty_bytes: u64,
}

impl MemoryCapture {
    fn new(capture: Capture) -> Self {
        Self {
            memory_bytes: capture.memory_bytes,
            dirty_bytes: capture.dirty_bytes(),
            capture: Mutex::new(Some(Arc::new(capture))),
        }
    }
}

#[napi]
impl MemoryCapture {
    #[napi(getter)]
    pub fn memory_bytes(&self) -> f64 {
        number(self.memory_bytes)
    }

    #[napi(getter)]
    pub fn dirty_bytes(&self) -> f64 {
        number(self.dirty_bytes)
    }

    /// Writes the generation after the last of the chain the VM was restored from, durable when this resolves (mode
    /// 0400). Blocks that the chain has are left out. Rejects with `snapshot_damaged` (a file of the chain), `no_space`
    /// (nothing is left behind; all earlier generations stay usable), `locked` (that name is being written).
    #[napi(ts_return_type = "Promise<PublishedGeneration>")]
    pub fn publish<'env>(&self, env: &'env Env, spec: GenerationSpec) -> napi::Result<Object<'env>> {
        let capture = held(&self.capture);
        promise(env, move || publish_after(&*capture?, spec))
    }

    /// Writes all of the memory as a new generation 0 (mode 0444), for children of a fork with much to write. Rejects as
    /// `publish`.
    #[napi(ts_return_type = "Promise<GenerationInfo>")]
    pub fn publish_flat<'env>(&self, env: &'env Env, spec: GenerationSpec) -> napi::Result<Object<'env>> {
        let capture = held(&self.capture);
        promise(env, move || {
            let Target { dir, name, build } = target(spec.dir, spec.name, spec.build_id)?;
            let stored = publish::publish_flat(&*capture?, &open(&spec.chain)?, &dir, &name, build)?;
            Ok(info(dir.join(name), &stored))
        })
    }

    /// Gives the memory back, once publishing that is under way is through.
    #[napi]
    pub fn close(&self) {
        self.capture.lock().expect("nobody panics with it").take();
    }
}

/// Prepares a capture. Rejects with `process_gone`, `invalid_argument` (the file is not mapped, or not privately).
#[napi(ts_return_type = "Promise<PreparedMemory>")]
pub fn memory_prepare<'env>(env: &'env Env, spec: MemorySpec) -> napi::Result<Object<'env>> {
    promise(env, move || {
        let (process, path) = (identity(spec.pid, spec.start_time)?, Path::new(&spec.path));
        let prepared = match spec.still {
            Some(true) => Prepared::of_still(process, path),
            _ => Prepared::new(process, path),
        }?;
        Ok(PreparedMemory {
            memory_bytes: prepared.memory_bytes(),
            dirty_bytes: prepared.dirty_bytes(),
            prepared: Mutex::new(Some(Arc::new(prepared))),
        })
    })
}

/// `memoryPrepare` and `capture` in one, for a VM that stands still already.
#[napi(ts_return_type = "Promise<MemoryCapture>")]
pub fn memory_capture<'env>(env: &'env Env, spec: MemorySpec) -> napi::Result<Object<'env>> {
    promise(env, move || {
        let prepared = Prepared::of_still(identity(spec.pid, spec.start_time)?, Path::new(&spec.path))?;
        Ok(MemoryCapture::new(prepared.capture()?))
    })
}

/// Writes what the chain has beyond generation 0 into a VMM that waits: after it has mapped generation 0, before it
/// loads its devices. Resolves with the bytes written. Rejects with `snapshot_damaged` (checksums of later generations
/// are compared; the VMM is then to be ended), `process_gone`, `invalid_argument`.
#[napi(ts_return_type = "Promise<number>")]
pub fn memory_restore<'env>(env: &'env Env, spec: MemoryRestoreSpec) -> napi::Result<Object<'env>> {
    promise(env, move || {
        let process = identity(spec.pid, spec.start_time)?;
        restore::restore(process, Path::new(&spec.path), &open(&spec.chain)?).map(number)
    })
}

/// Makes generation 0 of the memory file of a VMM that is gone: zeros become holes, index and checksums are put behind
/// the memory, mode 0444, renamed. May be repeated after a crash. A VMM maps its first `memoryBytes`.
#[napi(ts_return_type = "Promise<GenerationInfo>")]
pub fn base_publish<'env>(env: &'env Env, spec: BaseSpec) -> napi::Result<Object<'env>> {
    promise(env, move || {
        let Target { dir, name, build } = target(spec.dir, spec.name, spec.build_id)?;
        let memory_bytes = whole("memoryBytes", spec.memory_bytes)?;
        let stored = base::publish(Path::new(&spec.file), memory_bytes, &dir, &name, build)?;
        Ok(info(dir.join(name), &stored))
    })
}

/// Writes the generation after the last of the chain from a diff snapshot of Firecracker: a file as large as the memory,
/// with data where it changed since the chain's newest and holes elsewhere. Rejects as `MemoryCapture.publish`.
#[napi(ts_return_type = "Promise<PublishedGeneration>")]
pub fn diff_publish<'env>(env: &'env Env, file: String, spec: GenerationSpec) -> napi::Result<Object<'env>> {
    promise(env, move || publish_after(&Capture::of_diff(Path::new(&file))?, spec))
}

/// Makes one generation of all after generation 0 (SN3): a chain of the old generation 0 and this is the same memory.
/// The merged files are the caller's to unlink. Rejects with `snapshot_damaged`, `no_space`, `locked`.
#[napi(ts_return_type = "Promise<GenerationInfo>")]
pub fn generations_merge<'env>(env: &'env Env, spec: GenerationSpec) -> napi::Result<Object<'env>> {
    promise(env, move || {
        let Target { dir, name, build } = target(spec.dir, spec.name, spec.build_id)?;
        let stored = merge::merge(&open(&spec.chain)?, &dir, &name, build)?;
        Ok(info(dir.join(name), &stored))
    })
}

/// Makes a new generation 0 of a whole chain: one flat sparse file (mode 0444). Rejects as `generationsMerge`.
#[napi(ts_return_type = "Promise<GenerationInfo>")]
pub fn generations_flatten<'env>(env: &'env Env, spec: GenerationSpec) -> napi::Result<Object<'env>> {
    promise(env, move || {
        let Target { dir, name, build } = target(spec.dir, spec.name, spec.build_id)?;
        let stored = flatten::flatten(&open(&spec.chain)?, &dir, &name, build)?;
        Ok(info(dir.join(name), &stored))
    })
}

/// What a generation says of itself; its data are not read. Rejects with `snapshot_damaged`.
#[napi(ts_return_type = "Promise<GenerationInfo>")]
pub fn generation_info<'env>(env: &'env Env, path: String) -> napi::Result<Object<'env>> {
    promise(env, move || {
        let stored = verify::describe(&Generation::open(Path::new(&path))?);
        Ok(info(path.into(), &stored))
    })
}

/// Reads all of a generation and compares its checksums. Rejects with `snapshot_damaged`.
#[napi(ts_return_type = "Promise<GenerationInfo>")]
pub fn generation_verify<'env>(env: &'env Env, path: String) -> napi::Result<Object<'env>> {
    promise(env, move || {
        let stored = verify::verify(Path::new(&path))?;
        Ok(info(path.into(), &stored))
    })
}

fn publish_after(capture: &Capture, spec: GenerationSpec) -> Outcome<PublishedGeneration> {
    let Target { dir, name, build } = target(spec.dir, spec.name, spec.build_id)?;
    let chain = open(&spec.chain)?;
    let published = publish::publish(capture, &chain, &dir, &name, build)?;
    let info = info(dir.join(name), &published.stored);
    Ok(PublishedGeneration {
        path: info.path,
        build_id: info.build_id,
        generation: info.generation,
        memory_bytes: info.memory_bytes,
        data_bytes: info.data_bytes,
        unchanged_bytes: number(published.unchanged_bytes),
        zeroed_bytes: number(published.zeroed_bytes),
        merge_due: chain.layers().len() + 1 >= MERGE_AT,
    })
}

struct Target {
    dir: PathBuf,
    name: String,
    build: BuildId,
}

fn target(dir: String, name: String, build_id: Option<String>) -> Outcome<Target> {
    Ok(Target {
        dir: dir.into(),
        name,
        build: build_id.map_or_else(BuildId::random, |text| text.parse())?,
    })
}

fn open(chain: &[String]) -> Outcome<Chain> {
    Chain::open(&chain.iter().map(PathBuf::from).collect::<Vec<_>>())
}

fn held<T>(holder: &Mutex<Option<Arc<T>>>) -> Outcome<Arc<T>> {
    let held = holder.lock().expect("nobody panics with it").clone();
    held.ok_or_else(|| Failure::invalid("this", "it is closed"))
}

fn identity(pid: i32, start_time: f64) -> Outcome<Identity> {
    Ok(Identity {
        pid,
        start_time: whole("startTime", start_time)?,
    })
}

fn info(path: PathBuf, stored: &Stored) -> GenerationInfo {
    GenerationInfo {
        path: path.display().to_string(),
        build_id: stored.build.to_string(),
        generation: number(stored.generation),
        memory_bytes: number(stored.memory_bytes),
        data_bytes: number(stored.data_bytes),
    }
}
