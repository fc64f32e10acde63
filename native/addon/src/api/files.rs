//! Files: locks, durability, sparse copies.

use std::path::Path;

use napi::{Env, bindgen_prelude::Object};
use napi_derive::napi;

use super::{number, promise, whole};
use crate::files::{
    lock::{self, Lock},
    space::{self, Copied},
};

/// A lock that is held until `release()` or the end of the process, whichever way it ends. Keep a reference to it: one
/// that is garbage-collected is released.
#[napi]
pub struct FileLock {
    lock: Option<Lock>,
}

#[napi]
impl FileLock {
    #[napi]
    pub fn release(&mut self) {
        self.lock = None;
    }
}

/// Takes an exclusive flock(2) on a file (made if need be), or rejects at once with `locked`.
#[napi(ts_return_type = "Promise<FileLock>")]
pub fn lock_file<'env>(env: &'env Env, path: String) -> napi::Result<Object<'env>> {
    promise(env, move || {
        Ok(FileLock {
            lock: Some(Lock::take(Path::new(&path))?),
        })
    })
}

/// fsync of a folder: makes created, renamed and removed names durable.
#[napi(ts_return_type = "Promise<void>")]
pub fn sync_dir<'env>(env: &'env Env, path: String) -> napi::Result<Object<'env>> {
    promise(env, move || lock::sync_folder(Path::new(&path)))
}

/// Reserves the first `bytes` of a file, made if need be.
#[napi(ts_return_type = "Promise<void>")]
pub fn allocate<'env>(env: &'env Env, path: String, bytes: f64) -> napi::Result<Object<'env>> {
    promise(env, move || space::allocate(Path::new(&path), whole("bytes", bytes)?))
}

/// Makes a hole of `bytes` at `offset`; the file's size stays.
#[napi(ts_return_type = "Promise<void>")]
pub fn punch<'env>(env: &'env Env, path: String, offset: f64, bytes: f64) -> napi::Result<Object<'env>> {
    promise(env, move || {
        space::punch(Path::new(&path), whole("offset", offset)?, whole("bytes", bytes)?)
    })
}

/// Copies a file to a name that must be free: as a reflink where the file system has such, else its data without its
/// holes. Says which.
#[napi(ts_return_type = "Promise<'reflink' | 'data'>")]
pub fn sparse_copy<'env>(env: &'env Env, source: String, target: String) -> napi::Result<Object<'env>> {
    promise(env, move || {
        Ok(match space::sparse_copy(Path::new(&source), Path::new(&target))? {
            Copied::Reflink => "reflink",
            Copied::Data => "data",
        })
    })
}

/// Bytes on disk (FS6), not the apparent size.
#[napi(ts_return_type = "Promise<number>")]
pub fn allocated_bytes<'env>(env: &'env Env, path: String) -> napi::Result<Object<'env>> {
    promise(env, move || space::allocated_bytes(Path::new(&path)).map(number))
}
