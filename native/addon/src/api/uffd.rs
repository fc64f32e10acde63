//! Memory served page by page to a VMM that does Firecracker's userfaultfd handshake (SN6).

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use napi::{Env, bindgen_prelude::Object};
use napi_derive::napi;

use super::{RUNTIME, Resolver, number, promise, whole};
use crate::{
    process::identity::Identity,
    snapshot::chain::Chain,
    uffd::server::{Options, Reason, Server},
};

#[napi(object)]
pub struct UffdSpec {
    /// Path of the unix socket that the VMM connects to; made here, for `uid` only.
    pub socket: String,
    /// The VMM: nobody else is served, and it is killed where the server fails.
    pub pid: i32,
    pub start_time: f64,
    /// The VMM's user.
    pub uid: u32,
    /// Paths, generation 0 first.
    pub chain: Vec<String>,
    /// What `saveWorkingSet` wrote, brought in ahead. One that is missing or damaged is passed over.
    pub working_set: Option<String>,
}

#[napi(object)]
pub struct UffdStats {
    /// Pages that somebody waited for.
    pub faults: f64,
    /// Of these, zeros.
    pub zeros: f64,
    /// Pages placed before anybody wanted them.
    pub prefetched: f64,
    /// Given back by the guest: zeros from then on.
    pub removed_bytes: f64,
}

#[napi(object, use_nullable = true)]
pub struct UffdEnd {
    /// `failed`: the VM was killed. `closed`: by `close()`, which kills a VM that is being served.
    #[napi(ts_type = "'vm_ended' | 'closed' | 'failed'")]
    pub reason: String,
    /// Of a failure: `snapshot_damaged`, or as of any system call.
    pub code: Option<String>,
    pub message: Option<String>,
}

/// Serves one VM until it ends, whether this object is kept or not.
#[napi]
pub struct UffdServer {
    server: Arc<Server>,
}

#[napi]
impl UffdServer {
    #[napi]
    pub fn stats(&self) -> UffdStats {
        let counters = self.server.counters();
        let count = |counter: &std::sync::atomic::AtomicU64| number(counter.load(Ordering::Relaxed));
        UffdStats {
            faults: count(&counters.faults),
            zeros: count(&counters.zeros),
            prefetched: count(&counters.prefetched),
            removed_bytes: count(&counters.removed_bytes),
        }
    }

    /// Writes the list of pages that were placed so far, at a pause: `workingSet` of the next time. Durable when it
    /// resolves, with the number of pages. Rejects with `no_space`, `locked`.
    #[napi(ts_return_type = "Promise<number>")]
    pub fn save_working_set<'env>(&self, env: &'env Env, dir: String, name: String) -> napi::Result<Object<'env>> {
        let server = Arc::clone(&self.server);
        promise(env, move || server.save_working_set(Path::new(&dir), &name).map(number))
    }

    /// Resolves when it has ended. Does not keep the program alive.
    #[napi(ts_return_type = "Promise<UffdEnd>")]
    pub fn ended<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        let (deferred, promise) = env.create_deferred::<UffdEnd, Resolver<UffdEnd>>()?;
        let mut end = self.server.end();
        RUNTIME.spawn(async move {
            let end = end.wait_for(Option::is_some).await.map(|end| end.clone());
            deferred.resolve(Box::new(move |_| {
                let end = end.ok().flatten();
                let (code, message) = end.as_ref().and_then(|end| end.failure.clone()).unzip();
                let reason = match end.map(|end| end.reason) {
                    Some(Reason::VmEnded) => "vm_ended",
                    Some(Reason::Closed) => "closed",
                    Some(Reason::Failed) | None => "failed",
                };
                Ok(UffdEnd {
                    reason: reason.to_owned(),
                    code: code.map(str::to_owned),
                    message,
                })
            }));
        });
        Ok(promise)
    }

    /// Stops serving. A VM that is being served is killed: it could not go on.
    #[napi]
    pub fn close(&self) {
        self.server.close();
    }
}

/// Listens for the VMM; it may be told of the socket once this resolves. The socket's name goes with the handshake.
/// Rejects with `snapshot_damaged`, `process_gone`, `invalid_argument`.
#[napi(ts_return_type = "Promise<UffdServer>")]
pub fn uffd_listen<'env>(env: &'env Env, spec: UffdSpec) -> napi::Result<Object<'env>> {
    promise(env, move || {
        let chain = Chain::open(&spec.chain.iter().map(PathBuf::from).collect::<Vec<_>>())?;
        let options = Options {
            socket: spec.socket.into(),
            process: Identity {
                pid: spec.pid,
                start_time: whole("startTime", spec.start_time)?,
            },
            uid: spec.uid,
            working_set: spec.working_set.map(PathBuf::from),
        };
        Ok(UffdServer {
            server: Arc::new(Server::listen(options, chain)?),
        })
    })
}
