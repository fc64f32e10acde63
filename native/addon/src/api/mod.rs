//! The JavaScript face: thin functions, each a call of the layer below on a pool thread. What JavaScript sends and gets
//! is declared beside the function; conversions that several need, and how a failure becomes an `Error`, are here.

#![cfg_attr(test, allow(dead_code, reason = "napi-derive exports nothing from a test build"))]

mod cgroups;
mod disks;
mod door;
mod files;
mod front;
mod machine;
mod network;
mod processes;
mod snapshots;
mod uffd;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::LazyLock,
};

use napi::{
    Env, JsError, JsValue,
    bindgen_prelude::{Object, ToNapiValue},
};
use tokio::runtime::{Builder, Runtime};

use crate::{
    failure::{Failure, Outcome},
    net::namespace::panic_message,
};

/// One runtime for all: its blocking pool does the system calls, its two workers the byte path.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(64)
        .thread_name("wrenn-addon")
        .enable_all()
        .build()
        .expect("the machine can start a thread")
});

type Resolver<T> = Box<dyn FnOnce(Env) -> napi::Result<T>>;

/// Does blocking work on a pool thread and promises its outcome.
fn promise<'env, T, W>(env: &'env Env, work: W) -> napi::Result<Object<'env>>
where
    T: ToNapiValue + Send + 'static,
    W: FnOnce() -> Outcome<T> + Send + 'static,
{
    let (deferred, promise) = env.create_deferred::<T, Resolver<T>>()?;
    RUNTIME.spawn_blocking(move || {
        let outcome = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            Err(Failure::Panic {
                message: panic_message(&*panic),
            })
        });
        deferred.resolve(Box::new(move |env| outcome.map_err(|failure| into_js(&env, &failure))));
    });
    Ok(promise)
}

/// An `Error` with `code`, and `errno` and `step` where there are such.
fn into_js(env: &Env, failure: &Failure) -> napi::Error {
    let error: JsError<String> = napi::Error::new(failure.code().to_owned(), failure.to_string()).into();
    let value = error.into_unknown(*env);
    let mut object = Object::from_raw(env.raw(), value.raw());
    let details = failure
        .errno()
        .map_or(Ok(()), |errno| object.set("errno", errno))
        .and(match failure {
            Failure::SlotStep { step, .. } => object.set("step", *step),
            _ => Ok(()),
        });
    details.err().unwrap_or_else(|| value.into())
}

/// JavaScript's numbers are exact up to 2^53; what counts bytes, ticks or microseconds stays far below.
fn number(value: u64) -> f64 {
    value as f64
}

fn whole(what: &'static str, value: f64) -> Outcome<u64> {
    const LARGEST: f64 = 9_007_199_254_740_991.0;
    if value.fract() == 0.0 && (0.0..=LARGEST).contains(&value) {
        return Ok(value as u64);
    }
    Err(Failure::invalid(
        what,
        format!("{value} is not a whole number from 0 to 2^53"),
    ))
}
