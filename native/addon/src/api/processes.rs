//! Processes (VM2, VM3).

use std::{collections::HashMap, path::PathBuf};

use napi::{
    Env, Status,
    bindgen_prelude::{Function, Object},
    threadsafe_function::ThreadsafeFunctionCallMode,
};
use napi_derive::napi;

use super::{into_js, number, promise, whole};
use crate::{
    failure::Outcome,
    process::{
        identity::Identity,
        spawn::{self, Bind, Launch},
        stat, watch,
    },
};

#[napi(object)]
pub struct BindMount {
    pub source: String,
    pub target: String,
    pub readonly: Option<bool>,
}

#[napi(object)]
pub struct SpawnOptions {
    /// The program and its arguments; the program by path, or looked up in the `PATH` of `env`.
    pub argv: Vec<String>,
    /// The whole environment: nothing is inherited. Default: empty.
    pub env: Option<HashMap<String, String>>,
    pub cwd: Option<String>,
    /// Name of a network namespace.
    pub netns: Option<String>,
    /// With mounts the process gets its own mount namespace.
    pub mounts: Option<Vec<BindMount>>,
    /// Folder that becomes its root. Program, `cwd` and the targets of `mounts` are paths as it sees them.
    pub root: Option<String>,
    /// Folders of control groups; the process is in them before its program starts.
    pub cgroups: Option<Vec<String>>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub supplementary_gids: Option<Vec<u32>>,
    pub oom_score_adj: Option<i32>,
    /// Appended to; default /dev/null.
    pub stdout: Option<String>,
    pub stderr: Option<String>,
    /// A session of its own. Default: true.
    pub new_session: Option<bool>,
    /// No rights by set-user-id programs. Default: true.
    pub no_new_privs: Option<bool>,
}

/// A process for sure: pids are used again, a pid with its start time (clock ticks after boot) is not.
#[napi(object)]
pub struct ProcessIdentity {
    pub pid: i32,
    pub start_time: f64,
}

/// Both null: the process was not our child, so how it ended is not known.
#[napi(object, use_nullable = true)]
pub struct ProcessExit {
    pub code: Option<i32>,
    pub signal: Option<i32>,
}

#[napi(object, use_nullable = true)]
pub struct ProcessUsage {
    pub start_time: f64,
    pub rss_bytes: f64,
    pub cpu_usec: f64,
    /// Memory shared with nobody, where the kernel says.
    pub private_bytes: Option<f64>,
}

impl From<SpawnOptions> for Launch {
    fn from(options: SpawnOptions) -> Self {
        let paths = |paths: Option<Vec<String>>| paths.unwrap_or_default().into_iter().map(PathBuf::from).collect();
        Self {
            argv: options.argv,
            env: options.env.unwrap_or_default(),
            cwd: options.cwd.map(Into::into),
            netns: options.netns,
            mounts: options.mounts.unwrap_or_default().into_iter().map(Into::into).collect(),
            root: options.root.map(Into::into),
            cgroups: paths(options.cgroups),
            uid: options.uid,
            gid: options.gid,
            supplementary_gids: options.supplementary_gids.unwrap_or_default(),
            oom_score_adj: options.oom_score_adj,
            stdout: options.stdout.map(Into::into),
            stderr: options.stderr.map(Into::into),
            new_session: options.new_session.unwrap_or(true),
            no_new_privs: options.no_new_privs.unwrap_or(true),
        }
    }
}

impl From<BindMount> for Bind {
    fn from(mount: BindMount) -> Self {
        Self {
            source: mount.source.into(),
            target: mount.target.into(),
            readonly: mount.readonly.unwrap_or(false),
        }
    }
}

fn identity(pid: i32, start_time: f64) -> Outcome<Identity> {
    Ok(Identity {
        pid,
        start_time: whole("startTime", start_time)?,
    })
}

/// Starts a process that outlives us. Rejects with `not_found` where the program is missing.
#[napi(ts_return_type = "Promise<ProcessIdentity>")]
pub fn process_spawn<'env>(env: &'env Env, options: SpawnOptions) -> napi::Result<Object<'env>> {
    promise(env, move || {
        let started = spawn::spawn(&options.into())?;
        Ok(ProcessIdentity {
            pid: started.pid,
            start_time: number(started.start_time),
        })
    })
}

/// Calls back once when the process ends, at once if it has. Works for processes that others started too. Does not keep
/// the program alive. A later watch of the same process takes the earlier one's place.
#[napi]
pub fn process_watch(
    env: &Env,
    pid: i32,
    start_time: f64,
    callback: Function<'_, ProcessExit, ()>,
) -> napi::Result<()> {
    let on_exit = callback.build_threadsafe_function().weak::<true>().build()?;
    let watched = identity(pid, start_time).and_then(|identity| {
        watch::watch(
            identity,
            Box::new(move |exit| {
                let exit = ProcessExit {
                    code: exit.code,
                    signal: exit.signal,
                };
                let status = on_exit.call(exit, ThreadsafeFunctionCallMode::NonBlocking);
                debug_assert!(matches!(status, Status::Ok | Status::Closing));
            }),
        )
    });
    watched.map_err(|failure| into_js(env, &failure))
}

/// No callback any more for this process.
#[napi]
pub fn process_unwatch(env: &Env, pid: i32, start_time: f64) -> napi::Result<()> {
    identity(pid, start_time)
        .and_then(watch::unwatch)
        .map_err(|failure| into_js(env, &failure))
}

/// Sends a signal to this process and never to another that has its pid now. False: it is gone.
#[napi(ts_return_type = "Promise<boolean>")]
pub fn process_kill<'env>(env: &'env Env, pid: i32, start_time: f64, signal: i32) -> napi::Result<Object<'env>> {
    promise(env, move || identity(pid, start_time)?.kill(signal))
}

#[napi(ts_return_type = "Promise<boolean>")]
pub fn process_alive<'env>(env: &'env Env, pid: i32, start_time: f64) -> napi::Result<Object<'env>> {
    promise(env, move || identity(pid, start_time)?.alive())
}

/// What the process with this pid uses; null: there is none.
#[napi(ts_return_type = "Promise<ProcessUsage | null>")]
pub fn process_stat<'env>(env: &'env Env, pid: i32) -> napi::Result<Object<'env>> {
    promise(env, move || {
        Ok(stat::usage(pid)?.map(|usage| ProcessUsage {
            start_time: number(usage.start_time),
            rss_bytes: number(usage.rss_bytes),
            cpu_usec: number(usage.cpu_usec),
            private_bytes: usage.private_bytes.map(number),
        }))
    })
}
